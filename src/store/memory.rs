//! The store that forgets: a ring of recent lines per room, gone with the process.
//!
//! Answers every request at once. Three limits bound it: lines a room, bytes in all, and rooms. What it does not do:
//! refuse a line. There is always room for the newest, because an older one goes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::chat::slack::{self, Slots};
use crate::chat::{Completion, ErrorCode, Line, Millis, Part, Request, RoomKey, RoomName, Row, Ticket};

use seen::Seen;

/// How long a user's stream is kept after the user was last seen: as long as a session is good.
const STREAM_KEPT_MS: Millis = 30 * 24 * 3_600_000;

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
/// A room that holds no line and is not loaded is forgotten at once; a user's stream 30 days after it was unloaded, for
/// its owner may come back, and until then others may write to it; one that never held a line is no more than a record
/// meanwhile. When there are `rooms_max` rooms, the one that was unloaded the longest ago makes place for a new one, an
/// empty stream before any other; when all of them are loaded, the new one is refused with [`ErrorCode::Overloaded`].
#[derive(Debug)]
pub struct Memory {
    limits: MemoryLimits,
    /// Makes epochs of [`lives`](Self::lives) that nobody has seen before.
    seed: u64,
    /// How many rooms have begun.
    lives: u32,
    rooms: Slots<Room>,
    by_name: HashMap<RoomName, usize>,
    by_key: HashMap<RoomKey, usize>,
    /// The rooms that are not loaded, the one that has been so the longest first.
    idle: BTreeMap<u64, usize>,
    /// Those among them that hold no line, but did: streams, which are the first to make place.
    idle_empty: BTreeMap<u64, usize>,
    /// The streams among them, with the time of unloading.
    idle_streams: BTreeMap<u64, (Millis, usize)>,
    /// The streams that are not loaded and never held a line. They count as rooms.
    seen: Seen,
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
    /// The number of this life, of which the epoch is made.
    life: u32,
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
            seed,
            lives: 0,
            rooms: Slots::default(),
            by_name: HashMap::new(),
            by_key: HashMap::new(),
            idle: BTreeMap::new(),
            idle_empty: BTreeMap::new(),
            idle_streams: BTreeMap::new(),
            seen: Seen::default(),
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
            Request::Load { ticket, room, name, must_exist } => self.load(ticket, room, &name, must_exist),
            Request::Append { ticket, rows } => self.append(ticket, rows),
            Request::Fetch { ticket, room, part } => {
                let (lines, oldest) = self.rooms[self.loaded(room)].read(part);
                Completion::Fetched { ticket, lines, oldest }
            }
            Request::Unload { room, wall_ms } => return self.unload(room, wall_ms),
        };
        self.completions.push(completion);
    }

    /// Adds the answers that were not collected yet, in the order of their requests.
    pub fn collect(&mut self, completions: &mut Vec<Completion>) {
        completions.append(&mut self.completions);
        slack::trim(&mut self.completions);
    }

    fn load(&mut self, ticket: Ticket, key: RoomKey, name: &RoomName, must_exist: bool) -> Completion {
        let known = self.by_name.get(name).copied();
        let Some(slot) = known.or_else(|| self.load_seen(name)).or_else(|| self.load_new(name, must_exist)) else {
            let code = if must_exist { ErrorCode::NoSuchUser } else { ErrorCode::Overloaded };
            return Completion::Refused { ticket, code };
        };
        let room = &mut self.rooms[slot];
        if let Some(place) = room.idle_at.take() {
            self.idle.remove(&place);
            self.idle_empty.remove(&place);
            self.idle_streams.remove(&place);
        }
        let (epoch, newest) = (Arc::clone(&room.epoch), room.newest);
        let known = self.by_key.insert(key, slot);
        assert!(known.is_none(), "{key:?} is in use");
        Completion::Loaded { ticket, room: key, epoch, newest }
    }

    /// Makes a room again of a stream of which there was no more than a record.
    fn load_seen(&mut self, name: &RoomName) -> Option<usize> {
        let life = self.seen.take(name.owner()?)?;
        Some(self.add(name.clone(), life))
    }

    /// Begins a room's first life; `None` if that must not be, or if every room is loaded.
    fn load_new(&mut self, name: &RoomName, must_exist: bool) -> Option<usize> {
        if must_exist || !self.make_place() {
            return None;
        }
        self.lives = self.lives.wrapping_add(1);
        Some(self.add(name.clone(), self.lives))
    }

    /// Makes place for one more room if there is none; `false` if every room is loaded.
    fn make_place(&mut self) -> bool {
        if self.rooms.len() + self.seen.len() < self.limits.rooms_max {
            return true;
        }
        // Nobody misses an empty stream as a room would be missed that has something to read.
        if self.seen.forget_first() {
            return true;
        }
        let first = self.idle_empty.first_key_value().or_else(|| self.idle.first_key_value());
        let Some((_, &slot)) = first else { return false };
        self.forget(slot);
        true
    }

    /// Adds a room that is not loaded yet and holds nothing.
    fn add(&mut self, name: RoomName, life: u32) -> usize {
        let room = Room {
            name: name.clone(),
            epoch: self.epoch(life),
            life,
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

    /// The epoch of a life: the same at each call, so that a stream of which there is only a record keeps its own.
    fn epoch(&self, life: u32) -> Arc<str> {
        /// 12 of 62 characters are 71 bits.
        const EPOCH_CHARS: usize = 12;
        // A generator's first outputs for neighbouring seeds are as unlike as any.
        let mut dice = fastrand::Rng::with_seed(self.seed ^ u64::from(life) << 32);
        (0..EPOCH_CHARS).map(|_| dice.alphanumeric()).collect::<String>().into()
    }

    fn unload(&mut self, key: RoomKey, wall_ms: Millis) {
        self.forget_streams(wall_ms);
        let slot = self.loaded(key);
        self.by_key.remove(&key);
        slack::trim_table(&mut self.by_key);
        let room = &mut self.rooms[slot];
        room.idle_at = Some(self.unloads);
        self.idle.insert(self.unloads, slot);
        if let Some(owner) = room.name.owner() {
            if room.newest == 0 {
                let life = room.life;
                self.forget(slot);
                return self.seen.insert(owner, life, wall_ms);
            }
            self.idle_streams.insert(self.unloads, (wall_ms, slot));
            if room.lines.is_empty() {
                self.idle_empty.insert(self.unloads, slot);
            }
        } else if room.lines.is_empty() {
            self.forget(slot);
        }
        self.unloads += 1;
    }

    /// Forgets the streams whose owners were not seen for too long.
    fn forget_streams(&mut self, wall_ms: Millis) {
        while let Some((_, &(unloaded_ms, slot))) = self.idle_streams.first_key_value()
            && unloaded_ms + STREAM_KEPT_MS <= wall_ms
        {
            self.forget(slot);
        }
        self.seen.forget_older(wall_ms, STREAM_KEPT_MS);
    }

    /// Forgets a room that is not loaded, with its epoch.
    fn forget(&mut self, slot: usize) {
        let room = self.rooms.remove(slot);
        let place = room.idle_at.expect("only a room that is not loaded is forgotten");
        self.idle.remove(&place);
        self.idle_empty.remove(&place);
        self.idle_streams.remove(&place);
        self.by_name.remove(&room.name);
        slack::trim_table(&mut self.by_name);
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
        let emptied = room.idle_at.filter(|_| room.lines.is_empty());
        let forgotten = emptied.is_some() && !room.name.is_stream();
        self.idle_empty.extend(emptied.map(|place| (place, slot)));
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
        bytes += line.draft.spelled_bytes();
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
        self.seen.check();
        assert!(self.rooms.len() + self.seen.len() <= self.limits.rooms_max);
        assert!(self.bytes <= self.limits.recent_bytes_max);
        assert_eq!(self.bytes, self.rooms.iter().map(|(_, room)| room.bytes).sum::<usize>());
        assert_eq!(self.by_name.len(), self.rooms.len());
        assert_eq!(self.by_key.len() + self.idle.len(), self.rooms.len());
        assert_eq!(self.by_size.len(), self.rooms.iter().filter(|(_, room)| room.bytes > 0).count());
        for (slot, room) in self.rooms.iter() {
            assert_eq!(self.by_name[&room.name], slot);
            assert_eq!(room.bytes, room.lines.iter().map(|line| line_bytes(line)).sum::<usize>());
            assert!(room.lines.len() <= self.limits.recent_messages_max);
            assert!(room.bytes == 0 || self.by_size.contains(&(size_class(room.bytes), slot)));
            assert!(room.lines.iter().map(|line| line.seq).eq(room.oldest()..=room.newest));
            match room.idle_at {
                Some(place) => {
                    assert_eq!(self.idle[&place], slot);
                    assert!(!room.lines.is_empty() || room.name.is_stream());
                    assert_eq!(self.idle_empty.contains_key(&place), room.lines.is_empty());
                }
                None => assert!(self.by_key.values().any(|&other| other == slot)),
            }
        }
    }
}

mod seen;
#[cfg(test)]
mod tests;
