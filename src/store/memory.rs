//! The store that forgets: a ring of recent lines per room, gone with the process.
//!
//! Answers every request at once. Three limits bound it: lines a room, bytes in all, and rooms. What it does not do:
//! refuse a line. There is always room for the newest, because an older one goes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::chat::slack::{self, Slots};
use crate::chat::{Completion, ErrorCode, Line, Millis, Part, Request, RoomKey, RoomName, Row, Ticket};

use super::ring::{Ring, Sizes};
use seen::Seen;

/// How long a user's stream is kept after the user was last seen: as long as a session is good. Of one that never held a line only the
/// day is noted.
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
    sizes: Sizes,
    completions: Vec<Completion>,
}

#[derive(Debug)]
struct Room {
    name: RoomName,
    epoch: Arc<str>,
    /// The number of this life, of which the epoch is made.
    life: u32,
    ring: Ring,
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
            sizes: Sizes::default(),
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
                let ring = &self.rooms[self.loaded(room)].ring;
                let lines = ring.read(part, ring.oldest()).expect("all that is kept is held");
                Completion::Fetched { ticket, lines, oldest: ring.oldest() }
            }
            Request::Recall { ticket, room, seqs } => self.recall(ticket, room, seqs),
            Request::Unload { room, wall_ms } => return self.unload(room, wall_ms),
        };
        self.completions.push(completion);
    }

    /// Adds the answers that were not collected yet, in the order of their requests.
    pub fn collect(&mut self, completions: &mut Vec<Completion>) {
        completions.append(&mut self.completions);
    }

    /// Gives back what a rush of requests left.
    pub fn tidy(&mut self) {
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
        let (epoch, newest) = (Arc::clone(&room.epoch), room.ring.newest());
        let known = self.by_key.insert(key, slot);
        assert!(known.is_none(), "{key:?} is in use");
        Completion::Loaded { ticket, room: key, epoch, newest, former: None }
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
            ring: Ring::after(0),
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
            if room.ring.newest() == 0 {
                let life = room.life;
                self.forget(slot);
                return self.seen.insert(owner, life, wall_ms);
            }
            self.idle_streams.insert(self.unloads, (wall_ms, slot));
            if room.ring.is_empty() {
                self.idle_empty.insert(self.unloads, slot);
            }
        } else if room.ring.is_empty() {
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
        self.sizes.resized(slot, room.ring.bytes(), 0);
    }

    fn append(&mut self, ticket: Ticket, rows: SmallVec<[Row; 1]>) -> Completion {
        let mut lines = SmallVec::with_capacity(rows.len());
        for row in rows {
            let slot = self.loaded(row.room);
            let room = &mut self.rooms[slot];
            let line = Arc::new(Line { room: room.name.clone(), seq: room.ring.newest() + 1, draft: row.draft });
            let bytes_before = room.ring.bytes();
            room.ring.push(Arc::clone(&line));
            while room.ring.len() > self.limits.recent_messages_max {
                room.ring.drop_oldest();
            }
            self.sizes.resized(slot, bytes_before, room.ring.bytes());
            lines.push(line);
        }
        while self.sizes.bytes() > self.limits.recent_bytes_max {
            self.drop_one();
        }
        Completion::Appended { ticket, lines }
    }

    /// Takes the oldest line from the room that holds most.
    fn drop_one(&mut self) {
        let slot = self.sizes.largest().expect("what has bytes is in the index");
        let room = &mut self.rooms[slot];
        let bytes_before = room.ring.bytes();
        room.ring.drop_oldest();
        let emptied = room.idle_at.filter(|_| room.ring.is_empty());
        let forgotten = emptied.is_some() && !room.name.is_stream();
        self.idle_empty.extend(emptied.map(|place| (place, slot)));
        self.sizes.resized(slot, bytes_before, self.rooms[slot].ring.bytes());
        if forgotten {
            self.forget(slot);
        }
    }

    fn recall(&self, ticket: Ticket, room: RoomKey, seqs: (u64, u64)) -> Completion {
        let ring = &self.rooms[self.loaded(room)].ring;
        let part = Part { seqs, newest_first: false, lines_max: u32::MAX, bytes_max: usize::MAX };
        let lines = ring.read(part, ring.oldest()).expect("all that is kept is held");
        let id = |line: &Arc<Line>| Some((line.draft.user, Box::from(&**line.draft.id.as_ref()?), line.seq));
        Completion::Recalled { ticket, ids: lines.iter().filter_map(id).collect(), through: seqs.1 }
    }

    fn loaded(&self, key: RoomKey) -> usize {
        *self.by_key.get(&key).unwrap_or_else(|| panic!("{key:?} is not loaded"))
    }
}

#[cfg(test)]
impl Memory {
    /// Holds that the indexes agree with the rooms and that the limits hold.
    pub(super) fn check(&self) {
        self.seen.check();
        assert!(self.rooms.len() + self.seen.len() <= self.limits.rooms_max);
        assert!(self.sizes.bytes() <= self.limits.recent_bytes_max);
        self.sizes.check(self.rooms.iter().map(|(slot, room)| (slot, room.ring.bytes())));
        assert_eq!(self.by_name.len(), self.rooms.len());
        assert_eq!(self.by_key.len() + self.idle.len(), self.rooms.len());
        for (slot, room) in self.rooms.iter() {
            assert_eq!(self.by_name[&room.name], slot);
            assert!(room.ring.len() <= self.limits.recent_messages_max);
            room.ring.check();
            match room.idle_at {
                Some(place) => {
                    assert_eq!(self.idle[&place], slot);
                    assert!(!room.ring.is_empty() || room.name.is_stream());
                    assert_eq!(self.idle_empty.contains_key(&place), room.ring.is_empty());
                }
                None => assert!(self.by_key.values().any(|&other| other == slot)),
            }
        }
    }
}

mod seen;
#[cfg(test)]
mod tests;
