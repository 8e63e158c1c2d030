//! The store on a disk: SQLite, on two threads of its own, and the newest lines of loaded rooms in memory.
//!
//! This front runs on the loop and never waits. It hands lines to the thread that writes (`writer`: a group commit, then the
//! answers) and what is not in memory to the thread that reads (`reader`), so nobody who reads waits for a sync. Both answer by one
//! channel, and wake the loop.
//!
//! In reading order: `schema` (what lies in the file), `open` (what is looked at before it is used), `lock`, `last` (whether its end is there), `names` (hard links), this front, `writer`, `commit`
//! (one transaction), `held` (the rooms as the writer knows them), `upkeep` (what must go), `ballast` (a full disk), `place` (a file that is deleted), `reader`, `row`.
//! Then what `chinwag history` uses, without this front: `archive` (reading, beside a server or not) and `restore` (putting lines in).
//!
//! # Continuity
//!
//! An epoch is good as long as no `seq` under it means another line. Epochs follow from a key in the file, so a room keeps its own
//! over a restart, even one in which nobody has said anything. When lines may be gone from the end that somebody has seen (the power
//! failed before a sync, the log is gone, or an older copy of the file was put back), a new generation begins: each room has another
//! epoch from then on, and its former one is good up to the newest line that is there ([`Completion::Loaded`]). So readers whose
//! places are still true go on, and the others are told.

mod archive;
mod ballast;
mod commit;
mod count;
mod held;
mod last;
mod lock;
mod names;
mod open;
mod place;
mod reader;
mod restore;
mod row;
mod schema;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::support;
mod upkeep;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;
use std::vec;

use smallvec::SmallVec;

use super::ring::{Ring, Sizes};
use crate::chat::slack::{self, Slots};
use crate::chat::{Completion, ErrorCode, Millis, Part, Request, RoomKey, RoomName, Row, Ticket};

pub use archive::{Archive, Entry, Extent, Page, ReadError};
use commit::{Append, Lines};
use held::{Held, Written};
pub use open::{OpenError, Opened, SqliteOptions, SyncPolicy};
use reader::{Found, Job, Read};
pub use restore::{Given, Refused, Restore, Restored};
pub use upkeep::Retention;
use writer::Op;

/// Lines on their way to the disk at most; past it they are refused: at 50,000 a second these are half a second.
const WAITING_ROWS_MAX: usize = 20_000;

/// Bytes of them, by [`row::cost`].
const WAITING_BYTES_MAX: usize = 8 << 20;

/// Answers taken in one turn at most, if there is the time: lines that are told together cost less. Each costs the loop more
/// afterwards, when its line is told.
const COLLECTED_MAX: usize = 256;

/// After so many it is asked whether there is the time for more.
const COLLECTED_AT_ONCE: usize = 32;

/// The list of what is handed over next has room for as much as the one before had, up to this.
const OPS_ROOM_MAX: usize = 256;

/// The store. When it is dropped, what was handed over is stored and the file closed.
#[derive(Debug)]
pub struct Sqlite {
    recent: Recent,
    rooms: Slots<Room>,
    by_key: HashMap<RoomKey, usize>,
    sizes: Sizes,
    /// How many rooms were loaded.
    loads: u64,
    /// New streams that may not be in the file yet, with the number of the load.
    unwritten: HashMap<RoomName, u64>,
    /// For the writer, handed over together.
    ops: Vec<Op>,
    waiting_rows: usize,
    waiting_bytes: usize,
    threads: Threads,
    answers: Receiver<Answer>,
    /// What is left of the last commit.
    stored: vec::IntoIter<Stored>,
    /// Answers were left, perhaps.
    has_more: bool,
    completions: Vec<Completion>,
    failure: Option<Failure>,
}

/// What is held in memory at most.
#[derive(Clone, Copy, Debug)]
struct Recent {
    messages: usize,
    bytes: usize,
    rooms: usize,
}

/// The two helpers. Each ends when nobody can give it work.
#[derive(Debug)]
struct Threads {
    writer: Option<(Sender<Vec<Op>>, JoinHandle<()>)>,
    reader: Option<(Sender<Job>, JoinHandle<()>)>,
}

/// A room that is loaded, or loading.
#[derive(Debug)]
struct Room {
    key: RoomKey,
    name: RoomName,
    load: u64,
    /// While it is loading.
    asked: Option<Asked>,
    ring: Ring,
    /// The oldest line that is kept, as far as known; one more than the newest when none is.
    oldest: u64,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    ticket: Ticket,
    must_exist: bool,
    /// It was a new stream of which the file may not have known then.
    unwritten: bool,
}

/// What the helpers say.
#[derive(Debug)]
enum Answer {
    /// Of the reader: a room that is to be loaded; `None` if it cannot be read.
    Found { slot: usize, found: Option<Found> },
    /// Of the reader: lines; `None` if they cannot be read.
    Fetched { slot: usize, ticket: Ticket, part: Part, read: Option<Read> },
    /// Of the reader: an answer as it is.
    Completed(Completion),
    /// Of the writer: what became of appends.
    Stored(Vec<Stored>),
    /// Of the writer: new streams, which are in the file now.
    Noted(Vec<(RoomName, u64)>),
    /// Of the writer: a room has lost lines; from this one on they are kept.
    Trimmed { slot: usize, load: u64, oldest: u64 },
    /// Of the writer: it has given up.
    Failed(Failure),
}

/// What became of an append.
#[derive(Debug)]
struct Stored {
    ticket: Ticket,
    /// What does not wait any more.
    rows: usize,
    bytes: usize,
    /// Its lines in their places, or why not.
    outcome: Result<Lines, ErrorCode>,
}

/// Why a store cannot go on: what it says that it keeps would not be true any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    text: String,
}

impl Failure {
    fn new(text: String) -> Self {
        Self { text }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl Sqlite {
    fn new(recent: Recent, threads: Threads, answers: Receiver<Answer>) -> Self {
        Self {
            recent,
            rooms: Slots::default(),
            by_key: HashMap::new(),
            sizes: Sizes::default(),
            loads: 0,
            unwritten: HashMap::new(),
            ops: Vec::new(),
            waiting_rows: 0,
            waiting_bytes: 0,
            threads,
            answers,
            stored: Vec::new().into_iter(),
            has_more: false,
            completions: Vec::new(),
            failure: None,
        }
    }

    /// Takes note of what is asked; it is handed over at the next [`collect`](Self::collect).
    ///
    /// # Panics
    /// If the request is for a room that is not loaded, or loads one that is: the core breaks the
    /// [order of requests](super) then.
    pub fn submit(&mut self, request: Request) {
        match request {
            Request::Load { ticket, room, name, must_exist } => self.load(ticket, room, name, must_exist),
            Request::Append { ticket, rows } => self.append(ticket, rows),
            Request::Fetch { ticket, room, part } => self.fetch(ticket, self.loaded(room), part),
            Request::Recall { ticket, room, seqs } => {
                let room = self.rooms[self.loaded(room)].name.clone();
                self.read(Job::Recall { ticket, room, seqs });
            }
            Request::Unload { room, wall_ms } => self.unload(room, wall_ms),
        }
    }

    /// Adds the answers that are there, but no more than fit into a turn, by their number and the time: `is_late` says that it is
    /// over. It is to be called after the requests of a turn, when it was woken, and while it [has more](Self::has_more).
    pub fn collect(&mut self, completions: &mut Vec<Completion>, mut is_late: impl FnMut() -> bool) {
        self.hand_over();
        self.has_more = true;
        for taken in 0..COLLECTED_MAX {
            if taken % COLLECTED_AT_ONCE == 0 && is_late() {
                break;
            } else if let Some(Stored { ticket, rows, bytes, outcome }) = self.stored.next() {
                self.waiting_rows -= rows;
                self.waiting_bytes -= bytes;
                self.store(ticket, outcome);
            } else if let Ok(answer) = self.answers.try_recv() {
                self.take(answer);
            } else {
                self.has_more = false;
                break;
            }
        }
        self.hand_over();
        completions.append(&mut self.completions);
    }

    /// Gives back what a rush of requests left.
    pub fn tidy(&mut self) {
        slack::trim(&mut self.completions);
    }

    /// Whether [`collect`](Self::collect) has left answers for the next turn. Nobody is woken for those.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// Why it cannot go on, if it cannot: what was asked since is never answered.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Stores what was handed over and closes the file; waits for that.
    ///
    /// # Errors
    /// When that fails, or when the store has failed before.
    pub fn close(mut self) -> Result<(), Failure> {
        self.hand_over();
        self.threads.end();
        let last = self.answers.try_iter().find_map(|answer| match answer {
            Answer::Failed(failure) => Some(failure),
            _ => None,
        });
        self.failure.take().or(last).map_or(Ok(()), Err)
    }

    fn load(&mut self, ticket: Ticket, key: RoomKey, name: RoomName, must_exist: bool) {
        if self.rooms.len() >= self.recent.rooms {
            self.completions.push(Completion::Refused { ticket, code: ErrorCode::Overloaded });
            return;
        }
        self.loads += 1;
        let asked = Asked { ticket, must_exist, unwritten: self.unwritten.contains_key(&name) };
        let room =
            Room { key, name: name.clone(), load: self.loads, asked: Some(asked), ring: Ring::after(0), oldest: 1 };
        let slot = self.rooms.insert(room);
        let known = self.by_key.insert(key, slot);
        assert!(known.is_none(), "{key:?} is in use");
        self.read(Job::Find { slot, room: name });
    }

    fn found(&mut self, slot: usize, found: Option<Found>) {
        let room = &mut self.rooms[slot];
        let Asked { ticket, must_exist, unwritten } = room.asked.take().expect("only what is loading is looked for");
        let refused = match &found {
            None => Some(ErrorCode::Internal),
            Some(found) if must_exist && found.id.is_none() && !unwritten => Some(ErrorCode::NoSuchUser),
            Some(_) => None,
        };
        if let Some(code) = refused {
            self.by_key.remove(&room.key);
            self.rooms.remove(slot);
            self.completions.push(Completion::Refused { ticket, code });
            return;
        }
        let found = found.expect("it was refused otherwise");
        room.ring = Ring::after(found.newest);
        room.oldest = found.oldest;
        if room.name.is_stream() && found.id.is_none() {
            self.unwritten.insert(room.name.clone(), room.load);
        }
        let held = Held {
            load: room.load,
            name: room.name.clone(),
            epoch: Arc::clone(&found.epoch),
            former: found.former.clone(),
            oldest: found.oldest,
            seen_s: found.seen_s,
            written: Written { top: found.newest, id: found.id, epoch: found.written, checked: false, uncounted: 0 },
            changed: None,
        };
        self.ops.push(Op::Hold { slot, room: Box::new(held) });
        let Found { epoch, former, newest, .. } = found;
        self.completions.push(Completion::Loaded { ticket, room: room.key, epoch, newest, former });
    }

    fn unload(&mut self, key: RoomKey, wall_ms: Millis) {
        let slot = self.loaded(key);
        self.by_key.remove(&key);
        slack::trim_table(&mut self.by_key);
        let room = self.rooms.remove(slot);
        self.sizes.resized(slot, room.ring.bytes(), 0);
        self.ops.push(Op::Release { slot, wall_ms });
    }

    fn append(&mut self, ticket: Ticket, rows: SmallVec<[Row; 1]>) {
        let rows: SmallVec<[_; 1]> = rows.into_iter().map(|row| (self.loaded(row.room), row.draft)).collect();
        let bytes = rows.iter().map(|(_, draft)| row::cost(draft)).sum();
        let too_many = self.waiting_rows + rows.len() > WAITING_ROWS_MAX
            || (self.waiting_rows > 0 && self.waiting_bytes + bytes > WAITING_BYTES_MAX);
        if too_many {
            self.completions.push(Completion::Refused { ticket, code: ErrorCode::Overloaded });
            return;
        }
        self.waiting_rows += rows.len();
        self.waiting_bytes += bytes;
        self.ops.push(Op::Append(Append { ticket, rows, bytes }));
    }

    fn store(&mut self, ticket: Ticket, outcome: Result<Lines, ErrorCode>) {
        let completion = match outcome {
            Err(code) => Completion::Refused { ticket, code },
            Ok(placed) => {
                let mut lines = SmallVec::with_capacity(placed.len());
                for (slot, line) in placed {
                    let ring = &mut self.rooms[slot].ring;
                    let bytes_before = ring.bytes();
                    ring.push(Arc::clone(&line));
                    while ring.len() > self.recent.messages {
                        ring.drop_oldest();
                    }
                    self.sizes.resized(slot, bytes_before, ring.bytes());
                    lines.push(line);
                }
                self.keep_within_bytes();
                Completion::Appended { ticket, lines }
            }
        };
        self.completions.push(completion);
    }

    fn keep_within_bytes(&mut self) {
        while self.sizes.bytes() > self.recent.bytes
            && let Some(slot) = self.sizes.largest()
        {
            let ring = &mut self.rooms[slot].ring;
            let bytes_before = ring.bytes();
            ring.drop_oldest();
            self.sizes.resized(slot, bytes_before, ring.bytes());
        }
    }

    /// From memory if the lines are there; else from the file.
    fn fetch(&mut self, ticket: Ticket, slot: usize, part: Part) {
        let room = &self.rooms[slot];
        if let Some(lines) = room.ring.read(part, room.oldest) {
            self.completions.push(Completion::Fetched { ticket, lines, oldest: room.oldest });
            return;
        }
        let name = room.name.clone();
        self.read(Job::Fetch { slot, ticket, room: name, part });
    }

    fn fetched(&mut self, slot: usize, ticket: Ticket, mut part: Part, read: Option<Read>) {
        let Some(Read { mut lines, oldest }) = read else {
            self.completions.push(Completion::Refused { ticket, code: ErrorCode::Internal });
            return;
        };
        let room = &mut self.rooms[slot];
        let oldest = oldest.unwrap_or(room.oldest);
        if lines.first().is_some_and(|line| line.seq < room.oldest) {
            // Some of it went since it was read. Each time it is less, so this ends.
            lines.retain(|line| line.seq >= room.oldest);
            if lines.is_empty() {
                part.seqs.0 = room.oldest;
                return self.fetch(ticket, slot, part);
            }
        }
        let bytes_before = room.ring.bytes();
        // Those who come back after a restart all read the same lines.
        room.ring.extend_back(&lines, self.recent.messages);
        self.sizes.resized(slot, bytes_before, room.ring.bytes());
        let oldest = oldest.max(room.oldest);
        self.completions.push(Completion::Fetched { ticket, lines, oldest });
        self.keep_within_bytes();
    }

    fn trimmed(&mut self, slot: usize, load: u64, oldest: u64) {
        let Some(room) = self.rooms.get_mut(slot).filter(|room| room.load == load) else { return };
        room.oldest = room.oldest.max(oldest);
        let bytes_before = room.ring.bytes();
        while !room.ring.is_empty() && room.ring.oldest() < oldest {
            room.ring.drop_oldest();
        }
        self.sizes.resized(slot, bytes_before, room.ring.bytes());
    }

    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Found { slot, found } => self.found(slot, found),
            Answer::Fetched { slot, ticket, part, read } => self.fetched(slot, ticket, part, read),
            Answer::Completed(completion) => self.completions.push(completion),
            Answer::Stored(stored) => self.stored = stored.into_iter(),
            Answer::Noted(streams) => {
                for (name, load) in streams {
                    if self.unwritten.get(&name) == Some(&load) {
                        self.unwritten.remove(&name);
                    }
                }
                slack::trim_table(&mut self.unwritten);
            }
            Answer::Trimmed { slot, load, oldest } => self.trimmed(slot, load, oldest),
            Answer::Failed(failure) => self.failure = Some(failure),
        }
    }

    fn hand_over(&mut self) {
        if self.ops.is_empty() {
            return;
        }
        let next = Vec::with_capacity(self.ops.len().min(OPS_ROOM_MAX));
        let ops = std::mem::replace(&mut self.ops, next);
        let (writer, _) = self.threads.writer.as_ref().expect("it is there until the end");
        if writer.send(ops).is_err() {
            self.failure.get_or_insert_with(|| Failure::new("the store's writer is gone".to_owned()));
        }
    }

    fn read(&mut self, job: Job) {
        let (reader, _) = self.threads.reader.as_ref().expect("it is there until the end");
        if reader.send(job).is_err() {
            self.failure.get_or_insert_with(|| Failure::new("the store's reader is gone".to_owned()));
        }
    }

    fn loaded(&self, key: RoomKey) -> usize {
        *self.by_key.get(&key).unwrap_or_else(|| panic!("{key:?} is not loaded"))
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        if self.threads.writer.is_some() {
            self.hand_over();
        }
        self.threads.end();
    }
}

impl Threads {
    /// Gives no more work, and waits for what is in hand. The reader first: whoever closes the file last tidies up.
    fn end(&mut self) {
        if let Some((jobs, thread)) = self.reader.take() {
            drop(jobs);
            // It has panicked, and said so.
            let _ = thread.join();
        }
        if let Some((ops, thread)) = self.writer.take() {
            drop(ops);
            let _ = thread.join();
        }
    }
}
