//! The store that forgets: a ring of recent lines per room, gone with the process.
//!
//! Answers every request at once. Three limits bound it: lines a room, bytes in all, and rooms. What it does not do:
//! refuse a line. There is always room for the newest, because an older one goes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use slab::Slab;
use smallvec::SmallVec;

use crate::chat::{Completion, ErrorCode, Line, Part, Request, RoomKey, RoomName, Row, Ticket};

/// How much [`Memory`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Lines of one room. Default 1,000: some days of a lively room, and what a reader on a train has missed.
    pub recent_messages_max: usize,
    /// Bytes of all lines together, with what their bookkeeping costs. Default 64 MiB. The room that holds most loses
    /// its oldest line, so that one loud room cannot take the others' history.
    pub recent_bytes_max: usize,
    /// Rooms, loaded or not. Default 100,000: a room costs some 300 bytes even when it holds a single short line.
    pub rooms_max: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self { recent_messages_max: 1_000, recent_bytes_max: 64 << 20, rooms_max: 100_000 }
    }
}

/// The recent lines of every room.
///
/// A room that holds no line and is not loaded is forgotten at once. When there are `rooms_max` rooms, the one that was
/// unloaded the longest ago makes place for a new one; when all of them are loaded, the new one is refused with
/// [`ErrorCode::Overloaded`].
#[derive(Debug)]
pub struct Memory {
    limits: MemoryLimits,
    dice: fastrand::Rng,
    rooms: Slab<Room>,
    by_name: HashMap<RoomName, usize>,
    by_key: HashMap<RoomKey, usize>,
    /// The rooms that are not loaded, the one that has been so the longest first.
    idle: BTreeMap<u64, usize>,
    /// How often a room was unloaded: gives the next place in `idle`.
    unloads: u64,
    /// The rooms that hold lines, by [`size_class`]; the last one holds most.
    by_size: BTreeSet<(u32, usize)>,
    bytes: usize,
    completions: Vec<Completion>,
}

#[derive(Debug)]
struct Room {
    name: RoomName,
    epoch: Arc<str>,
    /// The `seq` of the newest line that ever was, kept or not.
    newest: u64,
    /// The newest lines, in order, without holes.
    lines: VecDeque<Arc<Line>>,
    /// What `lines` costs, by [`line_bytes`].
    bytes: usize,
    /// Its place in [`Memory::idle`]; `None` while it is loaded.
    idle_at: Option<u64>,
}

impl Memory {
    /// Holds nothing. `seed` is for the epochs: it should differ from start to start, or a client would take the new
    /// log for the one that it knew.
    pub fn new(limits: MemoryLimits, seed: u64) -> Self {
        Self {
            limits,
            dice: fastrand::Rng::with_seed(seed),
            rooms: Slab::new(),
            by_name: HashMap::new(),
            by_key: HashMap::new(),
            idle: BTreeMap::new(),
            unloads: 0,
            by_size: BTreeSet::new(),
            bytes: 0,
            completions: Vec::new(),
        }
    }

    /// Does what is asked. The answer is there at the next [`collect`](Self::collect).
    ///
    /// # Panics
    /// If the request is for a room that is not loaded, or loads one that is: the core breaks the
    /// [order of requests](super) then.
    pub fn submit(&mut self, request: Request) {
        let completion = match request {
            Request::Load { ticket, room, name } => self.load(ticket, room, name),
            Request::Append { ticket, rows } => self.append(ticket, rows),
            Request::Fetch { ticket, room, part } => {
                let (lines, oldest) = self.rooms[self.loaded(room)].read(part);
                Completion::Fetched { ticket, lines, oldest }
            }
            Request::Unload { room } => return self.unload(room),
        };
        self.completions.push(completion);
    }

    /// Adds the answers that were not collected yet, in the order of their requests.
    pub fn collect(&mut self, completions: &mut Vec<Completion>) {
        completions.append(&mut self.completions);
    }

    fn load(&mut self, ticket: Ticket, key: RoomKey, name: RoomName) -> Completion {
        let slot = match self.by_name.get(&name).copied() {
            Some(slot) => slot,
            None if self.make_place() => self.add(name),
            None => return Completion::Refused { ticket, code: ErrorCode::Overloaded },
        };
        let room = &mut self.rooms[slot];
        if let Some(place) = room.idle_at.take() {
            self.idle.remove(&place);
        }
        let (epoch, newest) = (Arc::clone(&room.epoch), room.newest);
        let known = self.by_key.insert(key, slot);
        assert!(known.is_none(), "{key:?} is in use");
        Completion::Loaded { ticket, room: key, epoch, newest }
    }

    /// Makes place for one more room if there is none; `false` if every room is loaded.
    fn make_place(&mut self) -> bool {
        if self.rooms.len() < self.limits.rooms_max {
            return true;
        }
        let Some((_, &slot)) = self.idle.first_key_value() else { return false };
        self.forget(slot);
        true
    }

    /// Adds a room in its first life, which is not loaded yet.
    fn add(&mut self, name: RoomName) -> usize {
        const EPOCH_CHARS: usize = 12;
        let epoch: String = (0..EPOCH_CHARS).map(|_| self.dice.alphanumeric()).collect();
        let room = Room {
            name: name.clone(),
            epoch: epoch.into(),
            newest: 0,
            lines: VecDeque::new(),
            bytes: 0,
            idle_at: Some(self.unloads),
        };
        let slot = self.rooms.insert(room);
        self.idle.insert(self.unloads, slot);
        self.unloads += 1;
        self.by_name.insert(name, slot);
        slot
    }

    fn unload(&mut self, key: RoomKey) {
        let slot = self.loaded(key);
        self.by_key.remove(&key);
        let room = &mut self.rooms[slot];
        room.idle_at = Some(self.unloads);
        self.idle.insert(self.unloads, slot);
        self.unloads += 1;
        if room.lines.is_empty() {
            self.forget(slot);
        }
    }

    /// Forgets a room that is not loaded, with its epoch.
    fn forget(&mut self, slot: usize) {
        let room = self.rooms.remove(slot);
        let place = room.idle_at.expect("only a room that is not loaded is forgotten");
        self.idle.remove(&place);
        self.by_name.remove(&room.name);
        self.by_size.remove(&(size_class(room.bytes), slot));
        self.bytes -= room.bytes;
    }

    fn append(&mut self, ticket: Ticket, rows: SmallVec<[Row; 1]>) -> Completion {
        let mut lines = SmallVec::with_capacity(rows.len());
        for row in rows {
            let slot = self.loaded(row.room);
            let room = &mut self.rooms[slot];
            room.newest += 1;
            let line = Arc::new(Line { room: room.name.clone(), seq: room.newest, draft: row.draft });
            let bytes_before = room.bytes;
            room.bytes += line_bytes(&line);
            room.lines.push_back(Arc::clone(&line));
            while room.lines.len() > self.limits.recent_messages_max {
                room.drop_oldest();
            }
            self.resized(slot, bytes_before);
            lines.push(line);
        }
        while self.bytes > self.limits.recent_bytes_max {
            self.drop_one();
        }
        Completion::Appended { ticket, lines }
    }

    /// Takes the oldest line from the room that holds most.
    fn drop_one(&mut self) {
        let &(_, slot) = self.by_size.last().expect("what has bytes is in the index");
        let room = &mut self.rooms[slot];
        let bytes_before = room.bytes;
        room.drop_oldest();
        let forgotten = room.lines.is_empty() && room.idle_at.is_some();
        self.resized(slot, bytes_before);
        if forgotten {
            self.forget(slot);
        }
    }

    /// Notes that a room's size is not `bytes_before` any more. Costs next to nothing while its class is the same.
    fn resized(&mut self, slot: usize, bytes_before: usize) {
        let bytes = self.rooms[slot].bytes;
        self.bytes = self.bytes - bytes_before + bytes;
        let (before, after) = (size_class(bytes_before), size_class(bytes));
        if before != after {
            self.by_size.remove(&(before, slot));
            if bytes > 0 {
                self.by_size.insert((after, slot));
            }
        }
    }

    fn loaded(&self, key: RoomKey) -> usize {
        *self.by_key.get(&key).unwrap_or_else(|| panic!("{key:?} is not loaded"))
    }
}

impl Room {
    fn oldest(&self) -> u64 {
        self.newest + 1 - self.lines.len() as u64
    }

    fn drop_oldest(&mut self) {
        if let Some(line) = self.lines.pop_front() {
            self.bytes -= line_bytes(&line);
        }
        // A ring that was long once must not keep its slots: 100,000 of those would be 800 MB that no limit counts.
        if self.lines.len() < self.lines.capacity() / 4 {
            self.lines.shrink_to(self.lines.capacity() / 2);
        }
    }

    fn read(&self, part: Part) -> (Vec<Arc<Line>>, u64) {
        let oldest = self.oldest();
        let (first, last) = (part.seqs.0.max(oldest), part.seqs.1.min(self.newest));
        if first > last {
            return (Vec::new(), oldest);
        }
        // Bounded by the ring's length, so by `recent_messages_max`.
        let (start, end) = ((first - oldest) as usize, (last - oldest) as usize + 1);
        let range = self.lines.range(start..end);
        let lines = if part.newest_first {
            let count = count_that_fits(range.rev(), part);
            self.lines.range(end - count..end).cloned().collect()
        } else {
            let count = count_that_fits(range, part);
            self.lines.range(start..start + count).cloned().collect()
        };
        (lines, oldest)
    }
}

/// How many of `lines` an answer may have: within the limits, but at least one.
fn count_that_fits<'a>(lines: impl Iterator<Item = &'a Arc<Line>>, part: Part) -> usize {
    let mut bytes = 0;
    let fitting = lines.take(part.lines_max as usize).take_while(|line| {
        bytes += line.draft.message.len();
        bytes <= part.bytes_max
    });
    fitting.count().max(1)
}

/// What a line costs: its texts and their bookkeeping, its own, and its place in the ring.
///
/// The name is counted in full, though a user's lines share it: whoever renames before each line owns as many names.
fn line_bytes(line: &Line) -> usize {
    /// What an allocator adds to an allocation: a word of its own, and half of a 16-byte step on average.
    const ALLOCATION: usize = 16;
    /// The two counters of an `Arc`.
    const SHARED: usize = 2 * size_of::<usize>() + ALLOCATION;
    /// A ring doubles, so half of its slots are empty at worst (while it grows).
    const SLOTS: usize = 2 * size_of::<Arc<Line>>();

    let id = line.draft.id.as_ref().map_or(0, |id| SHARED + id.len());
    let texts = id + SHARED + line.draft.message.len() + SHARED + line.draft.from.len();
    texts + SHARED + size_of::<Line>() + SLOTS
}

/// A size to within an eighth: eight classes for each doubling. Ascending; 0 only for 0.
///
/// "The room that holds most" need not be exact, and an index that is right to the byte would be written at each line.
fn size_class(bytes: usize) -> u32 {
    let bits = usize::BITS - bytes.leading_zeros();
    match bits.checked_sub(4) {
        None => bytes as u32,
        Some(shift) => ((shift + 1) << 3) + ((bytes >> shift) as u32 & 7),
    }
}

#[cfg(test)]
impl Memory {
    /// Holds that the indexes agree with the rooms and that the limits hold.
    pub(super) fn check(&self) {
        assert!(self.rooms.len() <= self.limits.rooms_max);
        assert!(self.bytes <= self.limits.recent_bytes_max);
        assert_eq!(self.bytes, self.rooms.iter().map(|(_, room)| room.bytes).sum::<usize>());
        assert_eq!(self.by_name.len(), self.rooms.len());
        assert_eq!(self.by_key.len() + self.idle.len(), self.rooms.len());
        assert_eq!(self.by_size.len(), self.rooms.iter().filter(|(_, room)| room.bytes > 0).count());
        for (slot, room) in &self.rooms {
            assert_eq!(self.by_name[&room.name], slot);
            assert_eq!(room.bytes, room.lines.iter().map(|line| line_bytes(line)).sum::<usize>());
            assert!(room.lines.len() <= self.limits.recent_messages_max);
            assert!(room.bytes == 0 || self.by_size.contains(&(size_class(room.bytes), slot)));
            assert!(room.lines.iter().map(|line| line.seq).eq(room.oldest()..=room.newest));
            match room.idle_at {
                Some(place) => assert!(self.idle[&place] == slot && !room.lines.is_empty()),
                None => assert!(self.by_key.values().any(|&other| other == slot)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Draft, Name, UserId};

    /// A store and the tickets that it was given.
    struct Driver {
        memory: Memory,
        tickets: u64,
    }

    impl Driver {
        fn new(recent_messages_max: usize, recent_bytes_max: usize, rooms_max: usize) -> Self {
            Self {
                memory: Memory::new(MemoryLimits { recent_messages_max, recent_bytes_max, rooms_max }, 7),
                tickets: 0,
            }
        }

        fn ask(&mut self, request: impl FnOnce(Ticket) -> Request) -> Completion {
            self.tickets += 1;
            self.memory.submit(request(Ticket(self.tickets)));
            self.memory.check();
            let mut completions = Vec::new();
            self.memory.collect(&mut completions);
            let completion = completions.pop().expect("memory answers at once");
            assert!(completions.is_empty(), "one answer for one request");
            assert_eq!(completion.ticket(), Ticket(self.tickets));
            completion
        }

        /// Its epoch and newest `seq`, or why not.
        fn load(&mut self, key: u32, name: &str) -> Result<(Arc<str>, u64), ErrorCode> {
            let name = RoomName::parse(name).expect("a room's name");
            match self.ask(|ticket| Request::Load { ticket, room: RoomKey(key), name }) {
                Completion::Loaded { epoch, newest, .. } => Ok((epoch, newest)),
                Completion::Refused { code, .. } => Err(code),
                other => panic!("{other:?}"),
            }
        }

        fn unload(&mut self, key: u32) {
            self.memory.submit(Request::Unload { room: RoomKey(key) });
            self.memory.check();
        }

        fn append(&mut self, key: u32, message: &str) -> u64 {
            let rows = [row(key, message)].into();
            match self.ask(|ticket| Request::Append { ticket, rows }) {
                Completion::Appended { lines, .. } => lines[0].seq,
                other => panic!("{other:?}"),
            }
        }

        fn fetch(&mut self, key: u32, part: Part) -> (Vec<u64>, u64) {
            match self.ask(|ticket| Request::Fetch { ticket, room: RoomKey(key), part }) {
                Completion::Fetched { lines, oldest, .. } => (lines.iter().map(|line| line.seq).collect(), oldest),
                other => panic!("{other:?}"),
            }
        }

        fn kept(&mut self, key: u32) -> (Vec<u64>, u64) {
            self.fetch(key, ALL)
        }
    }

    const ALL: Part = Part { seqs: (0, u64::MAX), newest_first: false, lines_max: u32::MAX, bytes_max: usize::MAX };

    fn row(key: u32, message: &str) -> Row {
        let from = Name::parse("alice", 32).expect("a name");
        let draft = Draft { time_ms: 1, user: UserId([1; 10]), from, id: None, message: message.into() };
        Row { room: RoomKey(key), draft }
    }

    fn cost(message: &str) -> usize {
        let room = RoomName::lobby();
        line_bytes(&Line { room, seq: 1, draft: row(0, message).draft })
    }

    #[test]
    fn a_room_keeps_its_newest_lines_and_its_count() {
        let mut driver = Driver::new(3, 1 << 20, 10);
        assert_eq!(driver.load(1, "a").expect("there is place").1, 0);
        assert_eq!(driver.kept(1), (vec![], 1));
        for seq in 1..=5 {
            assert_eq!(driver.append(1, "hi"), seq);
        }
        assert_eq!(driver.kept(1), (vec![3, 4, 5], 3));
    }

    #[test]
    fn a_fetch_keeps_to_its_part() {
        let mut driver = Driver::new(10, 1 << 20, 10);
        driver.load(1, "a").expect("there is place");
        for _ in 0..12 {
            driver.append(1, "four");
        }
        let mut fetch = |seqs, newest_first, lines_max, bytes_max| {
            let (lines, oldest) = driver.fetch(1, Part { seqs, newest_first, lines_max, bytes_max });
            assert_eq!(oldest, 3);
            lines
        };
        let all = usize::MAX;
        assert_eq!(fetch((5, 7), false, 50, all), [5, 6, 7]);
        assert_eq!(fetch((5, 7), false, 2, all), [5, 6]);
        assert_eq!(fetch((5, 7), true, 2, all), [6, 7]);
        assert_eq!(fetch((0, 4), true, 50, all), [3, 4]);
        assert_eq!(fetch((0, 4), false, 1, all), [3]);
        assert_eq!(fetch((11, u64::MAX), false, 50, all), [11, 12]);
        assert_eq!(fetch((5, 12), false, 50, 8), [5, 6]);
        assert_eq!(fetch((5, 12), true, 50, 11), [11, 12]);
        assert_eq!(fetch((5, 12), true, 50, 0), [12], "at least one");
        assert_eq!(fetch((5, 12), false, 0, all), [5], "at least one");
        for nothing in [(0, 2), (13, 20), (7, 5), (0, 0), (u64::MAX, u64::MAX)] {
            assert_eq!(fetch(nothing, false, 50, all), [0; 0], "{nothing:?}");
            assert_eq!(fetch(nothing, true, 50, all), [0; 0], "{nothing:?}");
        }
    }

    #[test]
    fn the_rows_of_an_append_get_their_places_in_order() {
        let mut driver = Driver::new(10, 1 << 20, 10);
        driver.load(1, "a").expect("there is place");
        driver.load(2, "b").expect("there is place");
        driver.append(2, "first");
        let rows = [row(1, "x"), row(2, "y"), row(1, "z")].into_iter().collect();
        let Completion::Appended { lines, .. } = driver.ask(|ticket| Request::Append { ticket, rows }) else {
            panic!("memory refuses no line");
        };
        let places: Vec<_> = lines.iter().map(|line| (&*line.room, line.seq, &*line.draft.message)).collect();
        assert_eq!(places, [("a", 1, "x"), ("b", 2, "y"), ("a", 2, "z")]);
    }

    #[test]
    fn a_room_without_lines_is_forgotten_when_it_is_unloaded() {
        let mut driver = Driver::new(10, cost("hi") * 4, 10);
        let (first, _) = driver.load(1, "a").expect("there is place");
        assert_eq!(first.len(), 12);
        driver.unload(1);
        let (second, _) = driver.load(1, "a").expect("there is place");
        assert_ne!(first, second, "nothing was said: a new life");
        driver.append(1, "hi");
        driver.unload(1);
        assert_eq!(driver.load(2, "a").expect("it is kept"), (second.clone(), 1), "under another number");

        // A line that is too long for all: its room's count goes on while it is loaded.
        driver.load(3, "b").expect("there is place");
        assert_eq!(driver.append(3, &"x".repeat(cost("hi") * 4)), 1);
        assert_eq!(driver.kept(3), (vec![], 2));
        assert_eq!(driver.append(3, "hi"), 2);
        assert_eq!((driver.kept(2), driver.kept(3)), ((vec![1], 1), (vec![2], 2)));

        // Trimmed to nothing while it is not loaded.
        driver.append(2, &"x".repeat(cost("hi") * 3 - cost("")));
        assert_eq!(driver.kept(2), (vec![2], 2));
        driver.unload(2);
        driver.append(3, "hi");
        assert_eq!(driver.memory.rooms.len(), 1);
        let (third, newest) = driver.load(2, "a").expect("there is place");
        assert_eq!((third != second, newest), (true, 0), "a new life");
    }

    #[test]
    fn the_room_unloaded_longest_makes_place() {
        let mut driver = Driver::new(10, 1 << 20, 3);
        let mut epochs = Vec::new();
        for (key, name) in [(1, "a"), (2, "b"), (3, "c")] {
            epochs.push(driver.load(key, name).expect("there is place").0);
            driver.append(key, "hi");
        }
        assert_eq!(driver.load(4, "d"), Err(ErrorCode::Overloaded), "all are loaded");
        driver.unload(2);
        driver.unload(1);
        assert_eq!(driver.load(5, "b").expect("it is kept"), (epochs[1].clone(), 1));
        driver.unload(5);
        assert_eq!(driver.load(4, "d").expect("a goes").1, 0);
        assert_eq!(driver.load(2, "b").expect("it is kept"), (epochs[1].clone(), 1));
        assert_eq!(driver.load(1, "a"), Err(ErrorCode::Overloaded));
    }

    #[test]
    fn the_room_that_holds_most_loses_its_oldest_line() {
        let mut dice = fastrand::Rng::with_seed(1);
        let mut driver = Driver::new(1_000, 40_000, 20);
        for key in 0..10 {
            driver.load(key, &format!("room{key}")).expect("there is place");
        }
        let sizes = |driver: &Driver| -> Vec<usize> {
            (0..10).map(|key| driver.memory.rooms[driver.memory.by_key[&RoomKey(key)]].bytes).collect()
        };
        let mut drops = 0;
        for _ in 0..3_000 {
            let mut before = sizes(&driver);
            let key = dice.u32(0..10).min(dice.u32(0..10));
            driver.append(key, "lines of one length, so that one goes for one that comes");
            before[key as usize] += cost("lines of one length, so that one goes for one that comes");
            let largest = *before.iter().max().expect("ten rooms");
            for (before, after) in before.iter().zip(sizes(&driver)).filter(|(before, after)| after < before) {
                drops += 1;
                assert!(before * 9 / 8 >= largest, "{before} of {largest} bytes became {after}");
            }
        }
        assert!(drops > 1_000, "the limit was reached");
    }

    #[test]
    fn a_ring_gives_its_slots_back() {
        let mut driver = Driver::new(1_000, 400 * cost(""), 1_000);
        for key in 0..50 {
            driver.load(key, &format!("room{key}")).expect("there is place");
            for _ in 0..300 {
                driver.append(key, "");
            }
        }
        let slots: usize = driver.memory.rooms.iter().map(|(_, room)| room.lines.capacity()).sum();
        assert!(slots < 4 * 400 + 50 * 8, "{slots} slots for 400 lines");
    }

    #[test]
    fn size_classes_ascend_and_are_an_eighth_wide() {
        let mut last = 0;
        for bytes in (1..5_000).chain((5_000..5_000_000).step_by(977)).chain([usize::MAX]) {
            let class = size_class(bytes);
            assert!(class >= last);
            last = class;
            if bytes < 5_000_000 {
                assert!(size_class(bytes + bytes.div_ceil(8)) > class, "{bytes}");
            }
        }
        assert_eq!(size_class(0), 0);
    }
}
