//! The thread that writes: the only connection that does.
//!
//! All that waits when a transaction ends goes into the next one, so a sync is shared by all who were waiting for it (a group
//! commit). After it they are answered, and what is due besides is done: the sync of a bounded interval, a checkpoint, a step of
//! upkeep.
//!
//! A full disk refuses lines and is tried again. An error of a sync is final: the kernel drops what it could not write, and a later
//! sync that succeeds would lie. It ends when the front, which gives it work, is gone, or after such an error.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode as SqliteCode, ffi};

use super::ballast::Ballast;
use super::commit::{Append, Batch, Committed, Note};
use super::held::{Held, Rooms};
use super::last::{self, Noter};
use super::open::BUSY_MS;
use super::place::Place;
use super::row::is_damage;
use super::upkeep::{Trimmed, Upkeep};
use super::{Answer, Failure, reader, schema};
use crate::chat::{ErrorCode, Millis, Now};

/// What the front wants done, in order.
#[derive(Debug)]
pub(super) enum Op {
    /// A room is loaded: lines may come.
    Hold { slot: usize, room: Box<Held> },
    /// It is not any more, at this time.
    Release { slot: usize, wall_ms: Millis },
    /// Lines.
    Append(Append),
}

/// Bounds of one transaction: some 30 ms of work, so that the first who waits does not wait for all.
const BATCH_ROWS_MAX: usize = 4_096;
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Steps of upkeep come after so many transactions at the latest, however busy it is.
const BATCHES_PER_STEP: u32 = 64;

/// The log is taken over into the file when it is idle for so long.
const IDLE_MS: Millis = 1_000;

/// After the disk was full it is tried again when somebody sends a line, but not sooner than after this.
const FULL_RETRY_MS: Millis = 1_000;

/// How long whoever reads is waited for when the disk is full.
const FULL_PATIENCE_MS: Millis = 100;

/// Room in the file that is worth going on for, in pages: 1 MiB.
const FREE_PAGES_MIN: i64 = 256;

/// After upkeep has come to something damaged it is tried again after this: an hour.
const DAMAGED_RETRY_MS: Millis = 3_600_000;

/// The thread's own.
pub(super) struct Writer<C, W> {
    pub(super) connection: Connection,
    pub(super) generation: u64,
    pub(super) answers: Sender<Answer>,
    pub(super) clock: C,
    pub(super) wake: W,
    pub(super) upkeep: Upkeep,
    pub(super) ballast: Ballast,
    /// The file, and its log.
    pub(super) places: [Place; 2],
    pub(super) noter: Noter,
    /// With a bounded interval: how long a commit may be without a sync, and the log's file.
    pub(super) interval: Option<(Millis, File)>,
    /// Pages in the log from which on it is taken over into the file.
    pub(super) checkpoint_pages: i64,
    pub(super) state: State,
}

/// What changes.
#[derive(Debug, Default)]
pub(super) struct State {
    rooms: Rooms,
    /// What came and was not looked at.
    queue: VecDeque<Op>,
    /// When there are commits that are not synced: since when.
    unsynced_ms: Option<Millis>,
    /// When there are commits that are not in the file: the time of the last one.
    in_log_ms: Option<Millis>,
    /// Pages in the log at which a checkpoint is tried next; 0 stands for the usual.
    next_checkpoint_pages: i64,
    /// No checkpoint before this: the last one found no room.
    no_checkpoint_until_ms: Millis,
    /// The disk was full; not to be tried again before this.
    full_until_ms: Option<Millis>,
    /// No step of upkeep before this: the last one found no room.
    no_step_until_ms: Millis,
    batches: u32,
}

/// What is wrong when something fails.
enum Trouble {
    /// The disk is full.
    Full,
    /// Another program holds the file.
    Busy,
    Final(Failure),
}

impl<C: Fn() -> Now, W: Fn()> Writer<C, W> {
    /// Works until the front is gone; closes the file then. `false` if that was not in order.
    pub(super) fn run(mut self, ops: &Receiver<Vec<Op>>) -> bool {
        if !self.ballast.is_there() && self.ballast.restore().is_err() {
            log::warn!("there is little room on the disk of the store");
            // Lines must not take what is to be left. It is looked at again when the first one comes.
            self.state.full_until_ms = Some(0);
        }
        let ended = loop {
            match self.turn(ops) {
                Ok(true) => {}
                Ok(false) => break self.close(),
                Err(failure) => break Err(failure),
            }
        };
        let in_order = ended.is_ok();
        if let Err(failure) = ended {
            log::error!("{failure}");
            // At the end nobody is there to hear it.
            let _ = self.answers.send(Answer::Failed(failure));
        }
        (self.wake)();
        in_order
    }

    /// Does what is there, or waits. `false` when there will be no more.
    fn turn(&mut self, ops: &Receiver<Vec<Op>>) -> Result<bool, Failure> {
        if self.state.queue.is_empty() {
            match ops.recv_timeout(Duration::from_millis(self.patience_ms())) {
                Ok(ops) => self.state.queue.extend(ops),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
            }
        }
        // The front bounds what is on its way.
        self.state.queue.extend(ops.try_iter().flatten());
        let batch = self.take();
        if !batch.is_empty() {
            self.commit(&batch)?;
        }
        self.keep_up()?;
        Ok(true)
    }

    /// How long it may wait for work.
    fn patience_ms(&self) -> Millis {
        let sync = self.interval.as_ref().zip(self.state.unsynced_ms).map(|(&(interval, _), since)| since + interval);
        let checkpoint = self.state.in_log_ms.map(|last| (last + IDLE_MS).max(self.state.no_checkpoint_until_ms));
        let step = self.upkeep.due_ms().max(self.state.no_step_until_ms);
        let due_ms = [sync, checkpoint].into_iter().flatten().fold(step, Millis::min);
        due_ms.saturating_sub((self.clock)().mono_ms)
    }

    /// What goes into the next transaction.
    fn take(&mut self) -> Batch {
        let mut batch = Batch::default();
        while batch.rows < BATCH_ROWS_MAX
            && batch.bytes < BATCH_BYTES_MAX
            && let Some(op) = self.state.queue.pop_front()
        {
            match op {
                Op::Hold { slot, room } => {
                    if room.name.is_stream() && room.written.id.is_none() {
                        batch.notes.push(Note::New(slot, room.name.clone(), room.load));
                    }
                    self.state.rooms.hold(slot, *room);
                    self.look_again(slot);
                }
                Op::Release { slot, wall_ms } => {
                    let room = self.state.rooms.release(slot);
                    self.upkeep.released(slot);
                    if room.is_to_be_noted(wall_ms) {
                        batch.notes.push(Note::Left(Box::new(room), wall_ms));
                    }
                }
                Op::Append(append) => {
                    batch.rows += append.rows.len();
                    batch.bytes += append.bytes;
                    batch.appends.push(append);
                }
            }
        }
        batch
    }

    /// Tells of lines that went between when the reader found a room and now: while nobody knew of it, nobody was told.
    fn look_again(&mut self, slot: usize) {
        let room = self.state.rooms.room(slot);
        let Some(id) = room.written.id.filter(|_| room.oldest <= room.written.top) else { return };
        // What cannot be read is told to whoever wants to.
        let Ok(oldest) = reader::end(&self.connection, id, "ASC") else { return };
        let oldest = oldest.unwrap_or(u64::MAX).min(room.written.top + 1);
        if oldest > room.oldest {
            self.trimmed(vec![(slot, oldest)]);
        }
    }

    /// Stores a batch, and tells what became of it.
    fn commit(&mut self, batch: &Batch) -> Result<(), Failure> {
        let now = (self.clock)();
        if self.is_full(now) {
            self.refuse(batch, ErrorCode::StorageFull);
            return Ok(());
        }
        let mut committed = self.try_commit(batch, now);
        if committed.as_ref().is_err_and(is_full) && self.make_room() {
            committed = self.try_commit(batch, now);
        }
        if let Some(error) = committed.as_ref().err().filter(|error| is_damage(error)) {
            // Perhaps it is only where something was to be taken out.
            self.rest(now, error);
            committed = self.try_commit(batch, now);
        }
        let error = match committed {
            Ok(committed) => {
                // What is acknowledged must be found after the next start.
                self.places
                    .iter()
                    .try_for_each(Place::check)
                    .map_err(|why| Failure::new(format!("the store is gone: {why}")))?;
                // Before anybody is told of it.
                committed.last.into_iter().for_each(|line| self.noter.note(line));
                self.note_commit(now);
                self.trimmed(committed.trimmed);
                let lines = batch.appends.iter().zip(committed.lines);
                let stored = lines.map(|(append, lines)| append.became(Ok(lines)));
                self.answer(Answer::Stored(stored.collect()));
                self.answer_notes(batch);
                return Ok(());
            }
            Err(error) => error,
        };
        match self.trouble(&error) {
            Trouble::Full => {
                self.note_full(now);
                self.refuse(batch, ErrorCode::StorageFull);
                Ok(())
            }
            Trouble::Busy => {
                self.refuse(batch, ErrorCode::Overloaded);
                Ok(())
            }
            Trouble::Final(failure) => Err(failure),
        }
    }

    fn try_commit(&mut self, batch: &Batch, now: Now) -> rusqlite::Result<Committed> {
        batch.commit(&self.connection, &mut self.state.rooms, &mut self.upkeep, self.generation, now.wall_ms)
    }

    fn note_commit(&mut self, now: Now) {
        self.state.unsynced_ms.get_or_insert(now.mono_ms);
        self.state.in_log_ms = Some(now.mono_ms);
        self.state.batches += 1;
    }

    fn refuse(&mut self, batch: &Batch, code: ErrorCode) {
        // Notes that are lost make a user unknown to others after a crash, no more; and they come again when the user goes.
        self.answer_notes(batch);
        let refused = batch.appends.iter().map(|append| append.became(Err(code)));
        self.answer(Answer::Stored(refused.collect()));
    }

    fn answer_notes(&mut self, batch: &Batch) {
        let news = batch.notes.iter().filter_map(|note| match note {
            Note::New(_, name, load) => Some((name.clone(), *load)),
            Note::Left(..) => None,
        });
        let news: Vec<_> = news.collect();
        if !news.is_empty() {
            self.answer(Answer::Noted(news));
        }
    }

    fn answer(&mut self, answer: Answer) {
        // When the front is gone, it ends soon.
        let _ = self.answers.send(answer);
        (self.wake)();
    }

    fn trimmed(&mut self, trimmed: Trimmed) {
        for (slot, oldest) in trimmed {
            let room = self.state.rooms.room(slot);
            room.oldest = oldest;
            let load = room.load;
            self.answer(Answer::Trimmed { slot, load, oldest });
        }
    }

    /// Does what is due besides lines.
    fn keep_up(&mut self) -> Result<(), Failure> {
        let now = (self.clock)();
        self.sync_if_due(now)?;
        let idle = self.state.queue.is_empty();
        let step_due = idle || self.state.batches >= BATCHES_PER_STEP;
        if step_due && self.upkeep.due_ms().max(self.state.no_step_until_ms) <= now.mono_ms {
            self.state.batches = 0;
            self.step(now)?;
        }
        let idle_long = idle && self.state.in_log_ms.is_some_and(|last| last + IDLE_MS <= now.mono_ms);
        if now.mono_ms < self.state.no_checkpoint_until_ms {
            return Ok(());
        }
        let checkpointed = self.checkpoint(idle_long);
        if checkpointed.is_err() {
            self.state.no_checkpoint_until_ms = now.mono_ms + FULL_RETRY_MS;
        }
        self.weather(checkpointed, now)
    }

    /// A step of upkeep.
    fn step(&mut self, now: Now) -> Result<(), Failure> {
        let rooms = &mut self.state.rooms;
        let changes = self.connection.total_changes();
        let stepped = self.connection.unchecked_transaction().and_then(|transaction| {
            let trimmed = self.upkeep.step(&transaction, rooms, now.mono_ms, now.wall_ms)?;
            let lives = last::lives(&transaction)?;
            transaction.commit()?;
            self.noter.lives = lives;
            Ok(trimmed)
        });
        rooms.end(stepped.is_ok());
        match stepped {
            Ok(trimmed) => {
                if self.connection.total_changes() != changes {
                    self.note_commit(now);
                }
                self.trimmed(trimmed);
                Ok(())
            }
            // Lines can be stored and read all the same, perhaps: when they cannot, they say so.
            Err(error) if is_damage(&error) => {
                self.rest(now, &error);
                Ok(())
            }
            Err(error) => {
                self.state.no_step_until_ms = now.mono_ms + FULL_RETRY_MS;
                self.weather(Err(error), now)
            }
        }
    }

    /// Takes nothing out of the damaged room for a while, or out of the whole store.
    fn rest(&mut self, now: Now, error: &rusqlite::Error) {
        let until_ms = now.mono_ms + DAMAGED_RETRY_MS;
        if let Some(room) = self.upkeep.rest(until_ms) {
            log::error!("the store is damaged, nothing is taken out of {room} for now: {error}");
        } else {
            log::error!("the store is damaged, nothing is taken out of it for now: {error}");
            self.state.no_step_until_ms = until_ms;
        }
    }

    /// Goes on after an error that is not final.
    fn weather(&mut self, result: rusqlite::Result<()>, now: Now) -> Result<(), Failure> {
        let Err(error) = result else { return Ok(()) };
        match self.trouble(&error) {
            Trouble::Full => self.note_full(now),
            Trouble::Busy => {}
            Trouble::Final(failure) => return Err(failure),
        }
        Ok(())
    }

    fn sync_if_due(&mut self, now: Now) -> Result<(), Failure> {
        let (Some((interval_ms, file)), Some(since_ms)) = (&self.interval, self.state.unsynced_ms) else {
            return Ok(());
        };
        if since_ms + interval_ms <= now.mono_ms {
            file.sync_data().map_err(|error| Failure::new(format!("syncing the log failed: {error}")))?;
            self.state.unsynced_ms = None;
        }
        Ok(())
    }

    /// Takes the log over into the file if it is long, or if `now`.
    fn checkpoint(&mut self, now: bool) -> rusqlite::Result<()> {
        if self.state.in_log_ms.is_none() {
            return Ok(());
        }
        let run = |mode: &str| {
            let mut statement = self.connection.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?;
            statement.query_row([], |row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))
        };
        let limit = self.state.next_checkpoint_pages.max(self.checkpoint_pages);
        if !now && run("NOOP")?.0 < limit {
            return Ok(());
        }
        let (pages, taken) = run("PASSIVE")?;
        if taken >= pages {
            // It begins anew with the next commit.
            (self.state.in_log_ms, self.state.next_checkpoint_pages) = (None, 0);
        } else {
            // Somebody reads: try again when there is something more.
            self.state.next_checkpoint_pages = pages + self.checkpoint_pages / 4;
            self.state.in_log_ms = self.state.in_log_ms.map(|_| (self.clock)().mono_ms);
        }
        Ok(())
    }

    fn is_full(&mut self, now: Now) -> bool {
        let Some(until_ms) = self.state.full_until_ms else { return false };
        if now.mono_ms < until_ms {
            return true;
        }
        if self.ballast.restore().is_err() && !self.has_free_pages() {
            self.state.full_until_ms = Some(now.mono_ms + FULL_RETRY_MS);
            return true;
        }
        log::info!("there is room on the disk of the store again");
        self.state.full_until_ms = None;
        false
    }

    /// Takes the log over into the file and gives its room back. Whether there is enough then to go on.
    fn make_room(&mut self) -> bool {
        self.ballast.release();
        // Whoever reads is done soon, or it must do without.
        let truncated = self.connection.busy_timeout(Duration::from_millis(FULL_PATIENCE_MS)).and_then(|()| {
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
        });
        let patient = self.connection.busy_timeout(Duration::from_millis(BUSY_MS));
        if let Err(error) = truncated.as_ref().and(patient.as_ref()) {
            log::warn!("the store's log cannot be taken over: {error}");
        }
        truncated.is_ok_and(|busy| busy == 0) && self.ballast.restore().is_ok()
    }

    /// Whether there is room in the file itself, because lines were taken out of it.
    fn has_free_pages(&self) -> bool {
        let free = self.connection.query_row("PRAGMA freelist_count", [], |row| row.get::<_, i64>(0));
        free.is_ok_and(|pages| pages >= FREE_PAGES_MIN)
    }

    fn note_full(&mut self, now: Now) {
        if self.state.full_until_ms.is_none() {
            log::error!("the disk of the store is full: lines are refused");
        }
        self.state.full_until_ms = Some(now.mono_ms + FULL_RETRY_MS);
        self.ballast.release();
    }

    fn trouble(&self, error: &rusqlite::Error) -> Trouble {
        let rusqlite::Error::SqliteFailure(code, _) = error else {
            return Trouble::Final(Failure::new(format!("the store failed: {error}")));
        };
        match code.code {
            SqliteCode::DiskFull => Trouble::Full,
            SqliteCode::DatabaseBusy | SqliteCode::DatabaseLocked => Trouble::Busy,
            // SQLite knows only one of the ways in which a system says that a disk is full.
            SqliteCode::SystemIoFailure if !is_sync(code.extended_code) && self.ballast.disk_is_full() => Trouble::Full,
            _ => Trouble::Final(Failure::new(format!("writing to the store failed: {error}"))),
        }
    }

    /// Leaves everything in the file, and a mark that says so.
    fn close(&mut self) -> Result<(), Failure> {
        let failed = |error: rusqlite::Error| Failure::new(format!("closing the store failed: {error}"));
        let transaction = self.connection.unchecked_transaction().map_err(failed)?;
        self.state.rooms.iter_mut().try_for_each(|room| room.count(&transaction)).map_err(failed)?;
        schema::set_mark(&transaction, "clean", 1).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        if let Some((_, file)) = &self.interval {
            file.sync_data().map_err(|error| Failure::new(format!("syncing the log failed: {error}")))?;
        }
        // Not one that waits for whoever reads. What is left is taken over at the next start.
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(failed)
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(SqliteCode::DiskFull)
}

/// Whether an I/O error is one of a sync.
fn is_sync(code: i32) -> bool {
    [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC].contains(&code)
}
