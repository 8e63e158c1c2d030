//! What must go: lines over the limits, and rooms of which nothing is left.
//!
//! In small steps, each within a transaction of the writer's. Lines over a limit go along with the lines that come, so that no more
//! come than go. What nobody writes to is found by a walk over all rooms, now and then, when there is nothing else to do. It also has those
//! rooms counted of whose lines a crash has left some uncounted.

use rusqlite::{Connection, OptionalExtension as _};

use super::count::Count;
use super::held::{self, Rooms};
use super::row::{self, is_damage, out_of_order};
use super::{reader, schema};
use crate::chat::{Millis, RoomName};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Lines of one room, and up to a 64th more (500 at most): they go some at a time. Default 100,000.
    pub messages_max: u64,
    /// Days that a line is kept; 0 for ever. Default 0.
    pub days_max: u64,
    /// Bytes of the file, without what is free in it. The largest room loses its oldest lines. Default 4 GiB.
    pub bytes_max: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { messages_max: 100_000, days_max: 0, bytes_max: 4 << 30 }
    }
}

/// Rows deleted in one step when there is nothing else to do: a millisecond or two.
const STEP_ROWS: usize = 500;

/// Rooms looked at in one step.
const STEP_ROOMS: i64 = 100;

/// From the end of one walk to the next: 15 minutes.
const WALK_EVERY_MS: Millis = 15 * 60_000;

const DAY_MS: Millis = held::DAY_S * 1_000;

/// Streams are kept for 30 days after their owners were seen. When that was is written at most once a day.
const STREAM_KEPT_S: u64 = 31 * held::DAY_S;

/// Streams without a line that are kept; past it, those go first whose owners were not seen for longer. A user costs 150 bytes,
/// and whoever says hello is one.
const EMPTY_STREAMS_MAX: u64 = 1_000_000;

/// Rooms that are set aside at a time. When there are more, it is not these rooms that are damaged.
const ASIDE_MAX: usize = 100;

/// The state of it.
#[derive(Debug)]
pub(super) struct Upkeep {
    retention: Retention,
    /// Loaded rooms with too many lines.
    over: Vec<usize>,
    /// The file was too large when it was last looked at, and there was something to take out.
    too_large: bool,
    /// Of what is not counted yet.
    count: Count,
    /// Something damaged is in the way: nothing is taken out until the next step.
    rests: bool,
    /// The room in which that was, if it was in one.
    damaged: Option<(i64, RoomName)>,
    /// Such rooms, out of which nothing is taken until this time.
    aside: Vec<i64>,
    aside_until_ms: Millis,
    /// The walk: rooms up to this number were looked at.
    walked: Option<i64>,
    next_walk_ms: Millis,
    /// Streams without lines that this walk has found, and for how many seconds they are kept after the last one.
    empty_streams: u64,
    empty_kept_s: u64,
}

/// A room as the walk sees it.
struct Walked {
    id: i64,
    name: RoomName,
    /// As its row has it.
    top: u64,
    seen_s: Option<u64>,
}

/// What a step has taken out of a loaded room: its slot, and the oldest line that is left.
pub(super) type Trimmed = Vec<(usize, u64)>;

impl Upkeep {
    /// The first walk is due at once.
    pub(super) fn new(retention: Retention) -> Self {
        Self {
            retention,
            over: Vec::new(),
            too_large: false,
            count: Count::default(),
            rests: false,
            damaged: None,
            aside: Vec::new(),
            aside_until_ms: 0,
            walked: None,
            next_walk_ms: 0,
            empty_streams: 0,
            empty_kept_s: STREAM_KEPT_S,
        }
    }

    /// Notes that a loaded room has so many lines.
    pub(super) fn grown(&mut self, slot: usize, lines: u64) {
        let slack = (self.retention.messages_max / 64).min(500);
        if lines > self.retention.messages_max.saturating_add(slack) && !self.over.contains(&slot) {
            self.over.push(slot);
        }
    }

    /// A slot has no room any more.
    pub(super) fn released(&mut self, slot: usize) {
        self.over.retain(|&other| other != slot);
    }

    /// Something damaged was met. Has nothing taken out of the store until the next [`step`](Self::step): what is damaged in one place
    /// does not keep lines from being stored in others. If that was in a room, gives its name, and has nothing taken out of it until
    /// this time: it does not keep lines from being taken out of others, either.
    pub(super) fn rest(&mut self, until_ms: Millis) -> Option<RoomName> {
        self.rests = true;
        let (id, name) = self.damaged.take().filter(|_| self.aside.len() < ASIDE_MAX)?;
        if self.aside.is_empty() {
            self.aside_until_ms = until_ms;
        }
        self.aside.push(id);
        Some(name)
    }

    /// What came of looking into a room; notes that it is damaged if it is.
    fn looked_into<T>(&mut self, id: i64, name: &RoomName, result: rusqlite::Result<T>) -> rusqlite::Result<T> {
        if result.as_ref().is_err_and(is_damage) {
            self.damaged = Some((id, name.clone()));
        }
        result
    }

    /// When there is a step to be done, on the monotonic clock.
    pub(super) fn due_ms(&self) -> Millis {
        if self.walked.is_some() || self.too_large || !self.over.is_empty() { 0 } else { self.next_walk_ms }
    }

    /// Takes out what is over the limits, `rows_max` rows at most.
    pub(super) fn relieve(
        &mut self,
        connection: &Connection,
        rooms: &mut Rooms,
        mut rows_max: usize,
    ) -> rusqlite::Result<Trimmed> {
        let mut trimmed = Trimmed::new();
        if self.rests {
            return Ok(trimmed);
        }
        while rows_max > 0
            && let Some(&slot) = self.over.last()
        {
            let room = rooms.room(slot);
            let below = (room.written.top + 1).saturating_sub(self.retention.messages_max);
            let (id, name) = (room.written.id.expect("a room with lines is in the file"), room.name.clone());
            if self.aside.contains(&id) {
                self.over.pop();
                continue;
            }
            let step = trim(connection, rooms, (id, Some(slot)), below, rows_max, u64::MAX);
            let step = self.looked_into(id, &name, step)?;
            rows_max -= step.rows.min(rows_max);
            trimmed.extend(step.oldest.map(|oldest| (slot, oldest)));
            if step.oldest.is_none_or(|oldest| oldest >= below) {
                self.over.pop();
            }
        }
        self.shrink(connection, rooms, rows_max, &mut trimmed)?;
        Ok(trimmed)
    }

    /// Takes from the largest rooms in turn, of each an eighth at most, so that none is emptied while others are as large.
    fn shrink(
        &mut self,
        connection: &Connection,
        rooms: &mut Rooms,
        mut rows_max: usize,
        trimmed: &mut Trimmed,
    ) -> rusqlite::Result<()> {
        let mut excess = self.excess_bytes(connection)?;
        self.too_large = excess > 0;
        if excess == 0 || rows_max == 0 {
            return Ok(());
        }
        let known = self.largest(connection)?.map_or(0, |(_, _, bytes)| bytes);
        let may_be_more = self.count.go_on(connection, rooms, rows_max, known)?;
        self.too_large = may_be_more || self.largest(connection)?.is_some();
        while excess > 0
            && rows_max > 0
            && let Some((id, name, bytes)) = self.largest(connection)?
        {
            let slot = rooms.slot(&name);
            let step = trim(connection, rooms, (id, slot), u64::MAX, rows_max, excess.min(bytes / 8));
            let step = self.looked_into(id, &name, step)?;
            trimmed.extend(slot.zip(step.oldest));
            if step.rows == 0 {
                // It counts what is not there. Nothing is gained by looking again at once.
                held::discount(connection, id)?;
                self.too_large = false;
                break;
            }
            rows_max -= step.rows;
            excess = excess.saturating_sub(step.bytes);
        }
        Ok(())
    }

    /// The room that holds most, and how much, if there is one that holds anything and is not set aside.
    fn largest(&self, connection: &Connection) -> rusqlite::Result<Option<(i64, RoomName, u64)>> {
        let sql = "SELECT id, name, bytes FROM room WHERE class > 0 ORDER BY class DESC";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            if !self.aside.contains(&id) {
                let name = RoomName::kept(row.get_ref(1)?.as_str()?);
                let bytes = row.get::<_, i64>(2)?.max(0).cast_unsigned();
                return Ok(name.map(|name| (id, name, bytes)));
            }
        }
        Ok(None)
    }

    /// By how much the file is too large.
    fn excess_bytes(&self, connection: &Connection) -> rusqlite::Result<u64> {
        let number = |sql: &str| connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
        let used = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
        Ok(used.cast_unsigned().saturating_mul(schema::PAGE_BYTES).saturating_sub(self.retention.bytes_max))
    }

    /// One step, for when there is nothing else to do.
    pub(super) fn step(
        &mut self,
        connection: &Connection,
        rooms: &mut Rooms,
        mono_ms: Millis,
        wall_ms: Millis,
    ) -> rusqlite::Result<Trimmed> {
        self.rests = false;
        if self.aside_until_ms <= mono_ms {
            self.aside.clear();
        }
        let mut trimmed = self.relieve(connection, rooms, STEP_ROWS)?;
        if self.walked.is_none() && mono_ms < self.next_walk_ms {
            return Ok(trimmed);
        }
        let from = self.walked.unwrap_or(0);
        let Some((last, found)) = look(connection, from)? else {
            self.end_walk(mono_ms);
            return Ok(trimmed);
        };
        let mut rows_max = STEP_ROWS;
        for room in found {
            if self.aside.contains(&room.id) {
                continue;
            }
            let slot = rooms.slot(&room.name);
            let step = self.visit(connection, rooms, (&room, slot), wall_ms, rows_max);
            let step = self.looked_into(room.id, &room.name, step)?;
            rows_max -= step.rows.min(rows_max);
            trimmed.extend(slot.zip(step.oldest));
            if rows_max == 0 {
                // There may be more to take out of this one.
                self.walked = Some(room.id - 1);
                return Ok(trimmed);
            }
        }
        self.walked = Some(last);
        Ok(trimmed)
    }

    fn end_walk(&mut self, mono_ms: Millis) {
        self.walked = None;
        self.next_walk_ms = mono_ms + WALK_EVERY_MS;
        let kept = u128::from(self.empty_kept_s) * u128::from(EMPTY_STREAMS_MAX);
        // Fewer than may be: longer again, step by step.
        let kept_s = kept / u128::from(self.empty_streams.max(EMPTY_STREAMS_MAX / 2));
        self.empty_kept_s = u64::try_from(kept_s).unwrap_or(u64::MAX).clamp(1, STREAM_KEPT_S);
        self.empty_streams = 0;
    }

    /// Looks at one room: has it counted, takes out what is too old or too much, and the room when nothing is left of it.
    fn visit(
        &mut self,
        connection: &Connection,
        rooms: &mut Rooms,
        (room, slot): (&Walked, Option<usize>),
        wall_ms: Millis,
        mut rows_max: usize,
    ) -> rusqlite::Result<Step> {
        let (today_s, held) = (wall_ms / 1_000, slot.is_some());
        let top = room.top.max(reader::end(connection, room.id, "DESC")?.unwrap_or(0));
        let mut step = Step::default();
        if top > room.top && !slot.is_some_and(|slot| rooms.room(slot).written.checked) {
            // There was a crash since somebody wrote to it.
            step.rows = held::count_missed(connection, room.id)?;
            rows_max -= step.rows.min(rows_max);
        }
        if let (Some(seen_s), true) = (room.seen_s, held) {
            // Its owner is here, as far as can be told: after a crash nobody will say when that ended.
            if seen_s + held::DAY_S <= today_s {
                set_seen(connection, room.id, today_s)?;
            }
        }
        let expired = |kept_s: u64| !held && room.seen_s.is_some_and(|seen_s| seen_s.saturating_add(kept_s) <= today_s);
        let Some((oldest, oldest_ms)) = oldest(connection, room.id)? else {
            self.empty_streams += u64::from(room.seen_s.is_some());
            if !held && (room.seen_s.is_none() || expired(self.empty_kept_s)) {
                forget(connection, room.id, top)?;
            }
            return Ok(step);
        };
        let mut below = (top + 1).saturating_sub(self.retention.messages_max);
        if expired(STREAM_KEPT_S) {
            below = u64::MAX;
        } else if self.retention.days_max > 0 {
            let cutoff_ms = wall_ms.saturating_sub(self.retention.days_max.saturating_mul(DAY_MS));
            if oldest_ms < cutoff_ms {
                below = below.max(first_since(connection, room.id, cutoff_ms, rows_max)?);
            }
        }
        if below <= oldest {
            return Ok(step);
        }
        let trimmed = trim(connection, rooms, (room.id, slot), below, rows_max, u64::MAX)?;
        Ok(Step { rows: step.rows + trimmed.rows, ..trimmed })
    }
}

/// What was taken out of a room.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    /// Those that the walk has counted on its way, too.
    rows: usize,
    /// What they cost.
    bytes: u64,
    /// The oldest line that is left, if anything was taken out.
    oldest: Option<u64>,
}

/// Takes out a room's oldest lines, of those below a `seq`: until there are so many, or they cost so much; one at least.
fn trim(
    connection: &Connection,
    rooms: &mut Rooms,
    (id, slot): (i64, Option<usize>),
    below: u64,
    rows_max: usize,
    bytes_max: u64,
) -> rusqlite::Result<Step> {
    // What is not counted yet must not be taken from what is.
    match slot.filter(|&slot| rooms.room(slot).written.checked) {
        Some(slot) => rooms.change(slot).count(connection)?,
        None => held::count_missed(connection, id).map(drop)?,
    }
    let sql = format!("SELECT seq, {} FROM message WHERE room = ?1 AND seq < ?2 ORDER BY seq LIMIT ?3", row::COST);
    let below = i64::try_from(below).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query((id, below, i64::try_from(rows_max).unwrap_or(i64::MAX)))?;
    let (mut rows, mut last, mut bytes) = (0, 0, 0);
    while let Some(row) = found.next()? {
        let seq: i64 = row.get(0)?;
        if seq <= last {
            return Err(out_of_order());
        }
        (rows, last, bytes) = (rows + 1, seq, bytes + row.get::<_, i64>(1)?);
        if bytes.cast_unsigned() >= bytes_max {
            break;
        }
    }
    drop(found);
    if rows == 0 {
        return Ok(Step::default());
    }
    let gone = connection.prepare_cached("DELETE FROM message WHERE room = ?1 AND seq <= ?2")?.execute((id, last))?;
    if gone != rows {
        return Err(out_of_order());
    }
    held::resize(connection, id, -bytes, last.cast_unsigned())?;
    Ok(Step { rows, bytes: bytes.cast_unsigned(), oldest: Some(last.cast_unsigned() + 1) })
}

/// The rooms behind this one, and how far that reaches; `None` when there are no more.
fn look(connection: &Connection, from: i64) -> rusqlite::Result<Option<(i64, Vec<Walked>)>> {
    let sql = "SELECT id, name, top, seen FROM room WHERE id > ?1 ORDER BY id LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((from, STEP_ROOMS))?;
    let (mut last, mut found) = (from, Vec::new());
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        if id <= last {
            return Err(out_of_order());
        }
        last = id;
        let name = row.get_ref(1)?.as_str()?;
        let Some(name) = RoomName::kept(name) else {
            log::error!("the store has a room {id} by the name {name:?}, which is none");
            continue;
        };
        let top = row.get::<_, i64>(2)?.max(0).cast_unsigned();
        found.push(Walked { id, name, top, seen_s: row.get::<_, Option<i64>>(3)?.map(i64::cast_unsigned) });
    }
    Ok((last > from).then_some((last, found)))
}

/// A room's oldest line: its `seq` and time.
fn oldest(connection: &Connection, id: i64) -> rusqlite::Result<Option<(u64, Millis)>> {
    let sql = "SELECT seq, time FROM message WHERE room = ?1 ORDER BY seq LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row([id], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
    Ok(found.optional()?.map(|(seq, time_ms)| (seq.cast_unsigned(), time_ms.cast_unsigned())))
}

/// The first line at or after a time, as far as `rows_max` reach: the lines before it are older.
fn first_since(connection: &Connection, id: i64, cutoff_ms: Millis, rows_max: usize) -> rusqlite::Result<u64> {
    let sql = "SELECT seq, time FROM message WHERE room = ?1 ORDER BY seq LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((id, i64::try_from(rows_max).unwrap_or(i64::MAX)))?;
    let mut below = 0;
    while let Some(row) = rows.next()? {
        let (seq, time_ms): (i64, i64) = (row.get(0)?, row.get(1)?);
        if time_ms.cast_unsigned() >= cutoff_ms {
            break;
        }
        below = seq.cast_unsigned() + 1;
    }
    Ok(below)
}

/// Takes a room out of which nothing is left.
fn forget(connection: &Connection, id: i64, top: u64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM room WHERE id = ?1")?.execute([id])?;
    if top > 0 {
        // Its count begins anew, under an epoch that it never had.
        let lives = schema::mark::<i64>(connection, "lives")?.unwrap_or(0);
        schema::set_mark(connection, "lives", lives + 1)?;
    }
    Ok(())
}

/// Notes when a stream's owner was seen.
pub(super) fn set_seen(connection: &Connection, id: i64, seen_s: u64) -> rusqlite::Result<()> {
    let sql = "UPDATE room SET seen = ?2 WHERE id = ?1";
    connection.prepare_cached(sql)?.execute((id, seen_s.cast_signed())).map(drop)
}
