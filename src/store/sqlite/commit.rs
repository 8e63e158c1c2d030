//! One transaction: the lines that were waiting get their places, all of them or none.

use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use smallvec::SmallVec;

use super::Stored;
use super::held::{Held, Rooms};
use super::last::Trace;
use super::row;
use super::upkeep::{self, Trimmed, Upkeep};
use crate::chat::{Draft, ErrorCode, Line, Millis, RoomName, Ticket};

/// Bytes of a room's lines that its row need not count yet.
const UNCOUNTED_BYTES_MAX: usize = 64 << 10;

/// Lines on their way, each with the slot of the room that it goes to.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) ticket: Ticket,
    pub(super) rows: SmallVec<[(usize, Draft); 1]>,
    /// What they cost, by [`row::cost`].
    pub(super) bytes: usize,
}

impl Append {
    /// It became this.
    pub(super) fn became(&self, outcome: Result<Lines, ErrorCode>) -> Stored {
        Stored { ticket: self.ticket, rows: self.rows.len(), bytes: self.bytes, outcome }
    }
}

/// Lines that have their places.
pub(super) type Lines = SmallVec<[(usize, Arc<Line>); 1]>;

/// Something to be written of which nobody is told.
#[derive(Debug)]
pub(super) enum Note {
    /// A stream is new: others may write to it from now on. Its slot, name, and the number of the load.
    New(usize, RoomName, u64),
    /// A room is not loaded any more, since this time.
    Left(Box<Held>, Millis),
}

/// What one transaction is to do.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) notes: Vec<Note>,
    pub(super) appends: Vec<Append>,
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// What it has done.
#[derive(Debug)]
pub(super) struct Committed {
    /// In the order of the batch's appends.
    pub(super) lines: Vec<Lines>,
    /// The last of them.
    pub(super) last: Option<Trace>,
    pub(super) trimmed: Trimmed,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.appends.is_empty()
    }

    /// Stores it.
    ///
    /// # Errors
    /// When it cannot be stored: then nothing of it is, and `rooms` is as it was.
    pub(super) fn commit(
        &self,
        connection: &Connection,
        rooms: &mut Rooms,
        upkeep: &mut Upkeep,
        generation: u64,
        wall_ms: Millis,
    ) -> rusqlite::Result<Committed> {
        let committed = self.store(connection, Place { rooms, generation, wall_ms }, upkeep);
        rooms.end(committed.is_ok());
        committed
    }

    fn store(&self, connection: &Connection, mut place: Place<'_>, upkeep: &mut Upkeep) -> rusqlite::Result<Committed> {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        for note in &self.notes {
            place.write(&transaction, note)?;
        }
        let mut statement = row::prepare_insert(&transaction)?;
        let mut lines = Vec::with_capacity(self.appends.len());
        let mut last = None;
        for append in &self.appends {
            let mut placed = Lines::with_capacity(append.rows.len());
            for (slot, draft) in &append.rows {
                let (id, room) = place.change(&transaction, *slot)?;
                room.written.top += 1;
                let line = Arc::new(Line { room: room.name.clone(), seq: room.written.top, draft: draft.clone() });
                let crc = row::insert(&mut statement, id, &line)?;
                last = Some(Trace { room: id, seq: line.seq, crc });
                room.written.uncounted += row::cost(draft);
                placed.push((*slot, line));
            }
            lines.push(placed);
        }
        drop(statement);
        for slot in place.rooms.changed() {
            let room = place.rooms.room(slot);
            if room.written.uncounted >= UNCOUNTED_BYTES_MAX {
                room.count(&transaction)?;
            }
            upkeep.grown(slot, (room.written.top + 1).saturating_sub(room.oldest));
        }
        // As much goes as comes, and a little more.
        let trimmed = upkeep.relieve(&transaction, place.rooms, 2 * self.rows + 16)?;
        transaction.commit()?;
        Ok(Committed { lines, last, trimmed })
    }
}

/// Where things go, and when.
struct Place<'a> {
    rooms: &'a mut Rooms,
    generation: u64,
    wall_ms: Millis,
}

impl Place<'_> {
    /// Sees to it that a room that is to be changed is in the file; gives its number there.
    fn change(&mut self, connection: &Connection, slot: usize) -> rusqlite::Result<(i64, &mut Held)> {
        let room = self.rooms.change(slot);
        Ok((room.ensure(connection, self.generation, self.wall_ms)?, room))
    }

    fn write(&mut self, connection: &Connection, note: &Note) -> rusqlite::Result<()> {
        match note {
            Note::New(slot, _, load) => {
                if self.rooms.is_held(*slot, *load) {
                    self.change(connection, *slot)?;
                }
                Ok(())
            }
            Note::Left(room, wall_ms) => {
                // If this fails, the next try begins with the same.
                let mut room = room.clone();
                let id = room.ensure(connection, self.generation, *wall_ms)?;
                if room.is_seen_anew(*wall_ms) {
                    upkeep::set_seen(connection, id, *wall_ms / 1_000)?;
                }
                room.count(connection)
            }
        }
    }
}
