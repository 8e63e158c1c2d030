//! The rooms that are loaded, as the writer knows them: it need not look up where a line goes.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _};

use super::reader::checked_seq;
use super::row::{self, is_damage};
use crate::chat::slack;
use crate::chat::{Millis, RoomName};
use crate::store::ring::size_class;

/// When a stream's owner was seen is written no more often than this, in seconds.
pub(super) const DAY_S: u64 = 24 * 3_600;

/// A room that is loaded.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// The number of the load, by which the front tells it from the slot's next tenant.
    pub(super) load: u64,
    pub(super) name: RoomName,
    pub(super) epoch: Arc<str>,
    pub(super) former: Option<(Arc<str>, u64)>,
    /// The oldest line that is kept; one more than the newest when none is.
    pub(super) oldest: u64,
    /// Of a stream: when its owner was seen, as the file has it, in seconds since 1970.
    pub(super) seen_s: u64,
    /// What a transaction changes, and takes back when it fails.
    pub(super) written: Written,
    /// Its place among what the transaction in hand has changed; void where another slot is there.
    pub(super) changed: Option<usize>,
}

/// What is in the file of a room.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// The newest `seq`.
    pub(super) top: u64,
    /// Its number, if it is there.
    pub(super) id: Option<i64>,
    /// The epoch with which it is there, if that is not the one that is good now.
    pub(super) epoch: Option<Arc<str>>,
    /// It was looked at since it was loaded: from then on it stays there.
    pub(super) checked: bool,
    /// Bytes of lines that the room's row does not count yet: of those behind its `top`.
    pub(super) uncounted: usize,
}

/// All of them, by the front's slots.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    slots: Vec<Option<Held>>,
    by_name: HashMap<RoomName, usize>,
    /// What the transaction in hand has changed, by slots, as it was before.
    changed: Vec<(usize, Written)>,
}

impl Rooms {
    pub(super) fn hold(&mut self, slot: usize, room: Held) {
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        self.by_name.insert(room.name.clone(), slot);
        self.slots[slot] = Some(room);
    }

    pub(super) fn release(&mut self, slot: usize) -> Held {
        let room = self.slots[slot].take().expect("what is released was held");
        self.by_name.remove(&room.name);
        slack::trim_table(&mut self.by_name);
        while let Some(None) = self.slots.last() {
            self.slots.pop();
        }
        slack::trim(&mut self.slots);
        room
    }

    pub(super) fn room(&mut self, slot: usize) -> &mut Held {
        self.slots[slot].as_mut().expect("lines go to rooms that are held")
    }

    /// The same, for a transaction that changes what is in the file of it: it becomes as it was if that [fails](Self::end).
    pub(super) fn change(&mut self, slot: usize) -> &mut Held {
        let room = self.slots[slot].as_mut().expect("lines go to rooms that are held");
        let known = room.changed.and_then(|place| self.changed.get(place)).is_some_and(|(other, _)| *other == slot);
        if !known {
            room.changed = Some(self.changed.len());
            self.changed.push((slot, room.written.clone()));
        }
        room
    }

    /// The slots of the rooms that the transaction in hand has changed.
    pub(super) fn changed(&self) -> Vec<usize> {
        self.changed.iter().map(|(slot, _)| *slot).collect()
    }

    /// The transaction in hand is over: it is committed, or nothing of it is.
    pub(super) fn end(&mut self, is_committed: bool) {
        for (slot, before) in self.changed.drain(..) {
            if let (false, Some(room)) = (is_committed, &mut self.slots[slot]) {
                room.written = before;
            }
        }
        slack::trim(&mut self.changed);
    }

    /// Whether a slot holds the room of this load.
    pub(super) fn is_held(&self, slot: usize, load: u64) -> bool {
        self.slots.get(slot).is_some_and(|room| room.as_ref().is_some_and(|room| room.load == load))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Held> {
        self.slots.iter_mut().flatten()
    }

    /// How many slots there are, with those in which no room is.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Bytes that the row of a slot's room does not count yet; none if there is no room.
    pub(super) fn uncounted(&self, slot: usize) -> usize {
        self.slots.get(slot).and_then(Option::as_ref).map_or(0, |room| room.written.uncounted)
    }

    /// The slot of a room, if it is loaded.
    pub(super) fn slot(&self, name: &RoomName) -> Option<usize> {
        self.by_name.get(name).copied()
    }
}

impl Held {
    /// Whether it is a stream, and what the file says of its owner a day old.
    pub(super) fn is_seen_anew(&self, wall_ms: Millis) -> bool {
        self.name.is_stream() && self.seen_s + DAY_S <= wall_ms / 1_000
    }

    /// Whether the file must be told that it is not loaded any more.
    pub(super) fn is_to_be_noted(&self, wall_ms: Millis) -> bool {
        let is_new = self.name.is_stream() && self.written.id.is_none();
        is_new || self.is_seen_anew(wall_ms) || self.written.uncounted > 0
    }

    /// Has the room's row count what it does not yet.
    pub(super) fn count(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let uncounted = std::mem::take(&mut self.written.uncounted);
        match self.written.id.filter(|_| uncounted > 0) {
            Some(id) => resize(connection, id, i64::try_from(uncounted).unwrap_or(i64::MAX), self.written.top),
            None => Ok(()),
        }
    }

    /// Sees to it that the room is in the file as it was loaded, within a transaction; gives its number.
    ///
    /// It may have been forgotten between its loading and now, and is put back as it was.
    pub(super) fn ensure(
        &mut self,
        connection: &Connection,
        generation: u64,
        wall_ms: Millis,
    ) -> rusqlite::Result<i64> {
        if let (Some(id), true) = (self.written.id, self.written.checked) {
            return Ok(id);
        }
        let known = match self.written.id {
            Some(id) => self.renew(connection, id, generation)?,
            None => None,
        };
        let id = if let Some(id) = known { id } else { self.make(connection, generation, wall_ms)? };
        if let Err(error) = count_missed(connection, id)
            && !is_damage(&error)
        {
            // What cannot be read cannot be taken out, either, and does not keep lines from being stored.
            return Err(error);
        }
        self.written = Written { id: Some(id), epoch: None, checked: true, ..self.written.clone() };
        Ok(id)
    }

    /// Gives the room in the file the epoch that is good now; `None` if it is not there.
    fn renew(&self, connection: &Connection, id: i64, generation: u64) -> rusqlite::Result<Option<i64>> {
        let sql = "UPDATE room SET epoch = ?3, generation = ?4, former = ?5, former_top = ?6 \
                   WHERE id = ?1 AND epoch = ?2 RETURNING id";
        let epoch = self.written.epoch.as_ref().unwrap_or(&self.epoch);
        let (former, former_top) = self.former_columns();
        let values = (id, &**epoch, &*self.epoch, generation.cast_signed(), former, former_top);
        connection.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()
    }

    fn make(&mut self, connection: &Connection, generation: u64, wall_ms: Millis) -> rusqlite::Result<i64> {
        let sql = "INSERT INTO room (name, epoch, generation, former, former_top, top, bytes, class, seen) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7) \
                   ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, generation = excluded.generation, \
                   former = excluded.former, former_top = excluded.former_top, top = max(top, excluded.top) \
                   RETURNING id";
        self.seen_s = wall_ms / 1_000;
        let seen = self.name.is_stream().then_some(self.seen_s.cast_signed());
        let top = self.written.top.cast_signed();
        let (former, former_top) = self.former_columns();
        let values = (&*self.name, &*self.epoch, generation.cast_signed(), former, former_top, top, seen);
        connection.prepare_cached(sql)?.query_row(values, |row| row.get(0))
    }

    fn former_columns(&self) -> (Option<&str>, Option<i64>) {
        self.former.as_ref().map(|(epoch, top)| (&**epoch, top.cast_signed())).unzip()
    }
}

/// Has the row of a room that nobody writes to count all its lines. After a crash those behind its `top` are not; nobody knows how
/// many bytes they are. Gives their number.
pub(super) fn count_missed(connection: &Connection, id: i64) -> rusqlite::Result<usize> {
    let sql = format!(
        "SELECT count(*), sum({}), max(seq) FROM message \
         WHERE room = ?1 AND seq > (SELECT top FROM room WHERE id = ?1)",
        row::COST
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let (rows, bytes, newest) =
        statement.query_row([id], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?)))?;
    if let (Some(bytes), Some(newest)) = (bytes, newest) {
        resize(connection, id, bytes, checked_seq(newest)?)?;
    }
    Ok(usize::try_from(rows).unwrap_or(usize::MAX))
}

/// Notes that a room holds so many bytes more, or less, and that its count is at least at `top`, up to which its bytes are counted
/// now.
///
/// Not done for each line: it would be a page more to write for each commit.
pub(super) fn resize(connection: &Connection, id: i64, bytes: i64, top: u64) -> rusqlite::Result<()> {
    let sql = "UPDATE room SET bytes = bytes + ?2, top = max(top, ?3) WHERE id = ?1 RETURNING bytes, class";
    let mut statement = connection.prepare_cached(sql)?;
    let (bytes, class): (i64, u32) =
        statement.query_row((id, bytes, top.cast_signed()), |row| Ok((row.get(0)?, row.get(1)?)))?;
    // An index is written whenever its column is, changed or not.
    let now = size_class(usize::try_from(bytes).unwrap_or(0));
    if now != class {
        connection.prepare_cached("UPDATE room SET class = ?2 WHERE id = ?1")?.execute((id, now))?;
    }
    Ok(())
}

/// Notes that a room in which no line is holds no bytes.
pub(super) fn discount(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("UPDATE room SET bytes = 0, class = 0 WHERE id = ?1")?.execute([id]).map(drop)
}
