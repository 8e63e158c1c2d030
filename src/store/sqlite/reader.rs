//! The thread that reads: rooms that are loaded, and lines that are not in memory.
//!
//! It has a connection of its own that cannot write, so nobody waits for a sync to read. Each request is a short read
//! transaction, so the write-ahead log can be taken over into the file soon. Lines that somebody waits for go before ids that are
//! recalled. It ends when the front, which gives it work, is gone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use rusqlite::{Connection, OptionalExtension as _};

use super::Answer;
use super::row::{self, Names, out_of_order};
use super::schema::{self, Epochs};
use crate::chat::{Completion, ErrorCode, Line, Part, RoomName, Ticket, UserId};

/// Rows that one recall looks through: some 3 ms, for which nobody's history waits longer.
const RECALLED_ROWS_MAX: i64 = 1_000;

/// No `seq` is as large.
const SEQ_END: u64 = 1 << 53;

/// What the front wants to know.
pub(super) enum Job {
    /// What is there of a room.
    Find { slot: usize, room: RoomName },
    /// Lines.
    Fetch { slot: usize, ticket: Ticket, room: RoomName, part: Part },
    /// Ids.
    Recall { ticket: Ticket, room: RoomName, seqs: (u64, u64) },
}

/// A room as it is in the file, or would be.
#[derive(Debug)]
pub(super) struct Found {
    /// Its number, if it is there.
    pub(super) id: Option<i64>,
    pub(super) epoch: Arc<str>,
    pub(super) former: Option<(Arc<str>, u64)>,
    /// The epoch that is in the file, if it is there and not the one that is good now.
    pub(super) written: Option<Arc<str>>,
    /// The newest `seq`, and the oldest that is kept.
    pub(super) newest: u64,
    pub(super) oldest: u64,
    /// Of a stream: when its owner was seen, in seconds since 1970.
    pub(super) seen_s: u64,
}

/// The thread's own.
pub(super) struct Reader<W> {
    pub(super) connection: Connection,
    pub(super) epochs: Epochs,
    /// Of this start.
    pub(super) generation: u64,
    pub(super) answers: Sender<Answer>,
    pub(super) wake: W,
    /// What was last told in the log, so that a damaged place that is read often does not fill it.
    pub(super) told: String,
}

impl<W: Fn()> Reader<W> {
    /// Works until nobody can ask any more.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let mut recalls: VecDeque<Job> = VecDeque::new();
        loop {
            let job = match jobs.try_recv() {
                Ok(job) => job,
                Err(_) => match recalls.pop_front() {
                    Some(recall) => {
                        if !self.reply(recall) {
                            return;
                        }
                        continue;
                    }
                    None => match jobs.recv() {
                        Ok(job) => job,
                        Err(_) => return,
                    },
                },
            };
            if matches!(job, Job::Recall { .. }) {
                recalls.push_back(job);
            } else if !self.reply(job) {
                return;
            }
        }
    }

    /// `false` if nobody wants the answer any more.
    fn reply(&mut self, job: Job) -> bool {
        let answer = self.answer(job);
        let wanted = self.answers.send(answer).is_ok();
        (self.wake)();
        wanted
    }

    fn answer(&mut self, job: Job) -> Answer {
        match job {
            Job::Find { slot, room } => {
                let found = self.find(&room);
                Answer::Found { slot, found: self.told(&room, found) }
            }
            Job::Fetch { slot, ticket, room, part } => {
                let fetched = self.fetch(&room, part);
                let read = self.told(&room, fetched);
                Answer::Fetched { slot, ticket, part, read }
            }
            Job::Recall { ticket, room, seqs } => {
                let recalled = self.recall(&room, seqs);
                let completion = match self.told(&room, recalled) {
                    Some(Recalled { ids, through }) => Completion::Recalled { ticket, ids, through },
                    None => Completion::Refused { ticket, code: ErrorCode::Internal },
                };
                Answer::Completed(completion)
            }
        }
    }

    /// Tells an error in the log, once.
    fn told<T>(&mut self, room: &RoomName, result: rusqlite::Result<T>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        self.tell(format!("the store cannot read {room}: {error}"));
        None
    }

    fn tell(&mut self, text: String) {
        if self.told != text {
            log::error!("{text}");
            self.told = text;
        }
    }

    fn find(&self, name: &RoomName) -> rusqlite::Result<Found> {
        let transaction = self.connection.unchecked_transaction()?;
        match find(&transaction, &self.epochs, self.generation, name)? {
            Some(found) => Ok(found),
            None => self.not_found(name),
        }
    }

    /// A room that is not in the file.
    fn not_found(&self, name: &RoomName) -> rusqlite::Result<Found> {
        let lives = schema::mark::<i64>(&self.connection, "lives")?.unwrap_or(0).cast_unsigned();
        let former = self.generation.checked_sub(1).map(|before| (self.epochs.first(name, lives, before), 0));
        let epoch = self.epochs.first(name, lives, self.generation);
        Ok(Found { id: None, epoch, former, written: None, newest: 0, oldest: 1, seen_s: 0 })
    }

    /// The lines of a part, and the oldest that is kept (if the room is in the file). A line that is damaged or missing is a hole: the
    /// answer begins after it, or ends before it.
    fn fetch(&mut self, name: &RoomName, part: Part) -> rusqlite::Result<Read> {
        let transaction = self.connection.unchecked_transaction()?;
        let sql = "SELECT id, top FROM room WHERE name = ?1";
        let room =
            transaction.prepare_cached(sql)?.query_row([&**name], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)));
        let Some((id, top)) = room.optional()? else {
            return Ok(Read { lines: Vec::new(), oldest: None });
        };
        let top = top.max(0).cast_unsigned();
        let oldest = end(&transaction, id, "ASC")?.unwrap_or(top + 1);
        let order = if part.newest_first { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT {} FROM message WHERE room = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq {order}",
            row::COLUMNS
        );
        let mut statement = transaction.prepare_cached(&sql)?;
        let mut rows = statement.query((id, signed(part.seqs.0), signed(part.seqs.1)))?;
        let (mut lines, mut bytes, mut names) = (Vec::<Arc<Line>>::new(), 0, Names::default());
        let (mut damaged, mut left) = (None, part.seqs);
        while lines.len() < part.lines_max.max(1) as usize
            && let Some(row) = rows.next()?
        {
            let line = row::read(row, name, &mut names)?;
            let seq = line.as_ref().map_or_else(|&seq| seq, |line| line.seq);
            if !(left.0..=left.1).contains(&seq) {
                if lines.is_empty() {
                    return Err(out_of_order());
                }
                break;
            }
            let is_next = |last: &Arc<Line>| if part.newest_first { seq + 1 == last.seq } else { last.seq + 1 == seq };
            if !lines.last().is_none_or(is_next) {
                break;
            }
            left = if part.newest_first { (left.0, seq.saturating_sub(1)) } else { (seq + 1, left.1) };
            match line {
                Ok(line) => {
                    bytes += line.draft.spelled_bytes();
                    if bytes > part.bytes_max && !lines.is_empty() {
                        break;
                    }
                    lines.push(line);
                }
                Err(seq) => {
                    damaged = Some(damaged.unwrap_or(seq).max(seq));
                    if !lines.is_empty() {
                        break;
                    }
                }
            }
        }
        drop(rows);
        drop(statement);
        drop(transaction);
        if part.newest_first {
            lines.reverse();
        }
        if let Some(seq) = damaged {
            self.tell(format!("line {seq} of {name} is damaged and left out"));
        }
        // Where nothing else was there, what is left begins behind it; and what is counted, but not there, is gone.
        let behind = damaged.map_or(0, |seq| seq + 1).max(if part.newest_first { 0 } else { top.min(part.seqs.1) + 1 });
        Ok(Read { oldest: Some(if lines.is_empty() { oldest.max(behind) } else { oldest }), lines })
    }

    fn recall(&self, name: &RoomName, seqs: (u64, u64)) -> rusqlite::Result<Recalled> {
        let sql = "SELECT user, id, seq FROM message WHERE room = (SELECT id FROM room WHERE name = ?1) \
                   AND seq BETWEEN ?2 AND ?3 ORDER BY seq LIMIT ?4";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query((&**name, signed(seqs.0), signed(seqs.1), RECALLED_ROWS_MAX))?;
        let (mut ids, mut count, mut through) = (Vec::new(), 0, 0);
        let mut next = seqs.0;
        while let Some(row) = rows.next()? {
            count += 1;
            through = row.get::<_, i64>(2)?.cast_unsigned();
            if !(next..=seqs.1).contains(&through) {
                return Err(out_of_order());
            }
            next = through + 1;
            if let Some(id) = row.get::<_, Option<Box<str>>>(1)? {
                ids.push((UserId(row.get(0)?), id, through));
            }
        }
        if count < RECALLED_ROWS_MAX {
            through = seqs.1;
        }
        Ok(Recalled { ids, through })
    }
}

/// What was recalled, and how far that reaches.
struct Recalled {
    ids: Vec<(UserId, Box<str>, u64)>,
    through: u64,
}

/// What was read of a part.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) lines: Vec<Arc<Line>>,
    /// `None` if the room is not in the file.
    pub(super) oldest: Option<u64>,
}

/// A room as it is in the file, with the epoch that is good in this generation; `None` if it is not there. Within a transaction.
pub(super) fn find(
    connection: &Connection,
    epochs: &Epochs,
    generation: u64,
    name: &RoomName,
) -> rusqlite::Result<Option<Found>> {
    let sql = "SELECT id, epoch, generation, former, former_top, top, ifnull(seen, 0) FROM room WHERE name = ?1";
    let found = connection
        .prepare_cached(sql)?
        .query_row([&**name], |row| {
            let former: Option<Arc<str>> = row.get(3)?;
            let former_top = row.get::<_, Option<i64>>(4)?.unwrap_or(0).cast_unsigned();
            let found = Found {
                id: Some(row.get(0)?),
                epoch: row.get(1)?,
                former: former.map(|epoch| (epoch, former_top)),
                written: None,
                newest: row.get::<_, i64>(5)?.max(0).cast_unsigned(),
                oldest: 0,
                seen_s: row.get::<_, i64>(6)?.cast_unsigned(),
            };
            Ok((found, row.get::<_, i64>(2)?.cast_unsigned()))
        })
        .optional()?;
    let Some((mut found, made_in)) = found else { return Ok(None) };
    let id = found.id.expect("it was just read");
    found.newest = found.newest.max(end(connection, id, "DESC")?.unwrap_or(0));
    found.oldest = end(connection, id, "ASC")?.unwrap_or(found.newest + 1);
    if found.oldest > found.newest + 1 {
        return Err(out_of_order());
    }
    if made_in < generation {
        let epoch = epochs.next(&found.epoch, generation);
        let written = std::mem::replace(&mut found.epoch, epoch);
        found.former = Some((Arc::clone(&written), found.newest));
        found.written = Some(written);
    }
    Ok(Some(found))
}

/// The first or last `seq` that is kept of a room.
///
/// # Errors
/// Also when it is none.
pub(super) fn end(connection: &Connection, room: i64, order: &str) -> rusqlite::Result<Option<u64>> {
    let sql = format!("SELECT seq FROM message WHERE room = ?1 ORDER BY seq {order} LIMIT 1");
    let seq = connection.prepare_cached(&sql)?.query_row([room], |row| row.get::<_, i64>(0)).optional()?;
    seq.map(checked_seq).transpose()
}

/// A `seq` of the file.
///
/// # Errors
/// When it is none.
pub(super) fn checked_seq(seq: i64) -> rusqlite::Result<u64> {
    Some(seq.cast_unsigned()).filter(|seq| (1..SEQ_END).contains(seq)).ok_or_else(out_of_order)
}

/// A `seq` in a request may be anything, in the file it is below 2^53.
fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
