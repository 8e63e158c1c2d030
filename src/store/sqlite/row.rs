//! A line as a row, and back. A row that is not what was written is found by its CRC.

use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, ErrorCode, Row, ffi, params};

use crate::chat::{Draft, Line, Name, RoomName, UserId};

/// The columns, in the order that [`read`] expects.
pub(super) const COLUMNS: &str = "seq, time, user, sender, recipient, id, crc, body";

/// For [`insert`].
pub(super) fn prepare_insert(connection: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
    connection.prepare_cached(
        "INSERT INTO message (room, seq, time, user, sender, recipient, id, crc, body) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )
}

/// Adds a line to the room with this number; gives its CRC.
pub(super) fn insert(statement: &mut CachedStatement<'_>, room: i64, line: &Line) -> rusqlite::Result<u32> {
    let draft = &line.draft;
    let crc = crc(&line.room, line.seq, draft);
    let added = statement.execute(params![
        room,
        line.seq.cast_signed(),
        draft.time_ms.cast_signed(),
        draft.user.0,
        &*draft.from,
        draft.to.as_deref(),
        draft.id.as_deref(),
        crc,
        &*draft.message,
    ]);
    added.map(|_| crc)
}

/// What a row costs in the file, by what retention counts: its texts, and about what SQLite adds.
pub(super) fn cost(draft: &Draft) -> usize {
    /// Two integers, the user, a CRC, a header of ten bytes, the cell's pointer, and its share of what is left of a page.
    const FIXED: usize = 64;
    let id = draft.id.as_ref().map_or(0, |id| id.len());
    FIXED + draft.from.len() + draft.to.as_deref().map_or(0, str::len) + id + draft.message.len()
}

/// The same, of a row in the file.
pub(super) const COST: &str = "64 + octet_length(sender) + ifnull(octet_length(recipient), 0) \
    + ifnull(octet_length(id), 0) + octet_length(body)";

/// Reads a row of `room`; `Err` with its `seq` where it is not what was written.
///
/// # Errors
/// When not even the `seq` can be read, which is part of the key.
pub(super) fn read(row: &Row<'_>, room: &RoomName, names: &mut Names) -> rusqlite::Result<Result<Arc<Line>, u64>> {
    let seq = row.get::<_, i64>(0)?.cast_unsigned();
    let line = parse(row, room, seq, names).ok().filter(|(line, crc)| *crc == self::crc(room, seq, &line.draft));
    Ok(line.map(|(line, _)| Arc::new(line)).ok_or(seq))
}

fn parse(row: &Row<'_>, room: &RoomName, seq: u64, names: &mut Names) -> rusqlite::Result<(Line, u32)> {
    let recipient = row.get_ref(4)?.as_str_or_null()?;
    let id = row.get_ref(5)?.as_str_or_null()?;
    let draft = Draft {
        time_ms: row.get::<_, i64>(1)?.cast_unsigned(),
        user: UserId(row.get(2)?),
        from: names.name(row.get_ref(3)?.as_str()?),
        to: recipient.map(|name| names.name(name)),
        id: id.map(Arc::from),
        message: row.get_ref(7)?.as_str()?.into(),
    };
    Ok((Line { room: room.clone(), seq, draft }, row.get(6)?))
}

/// SQLite follows what it finds, and does not see that the keys of a damaged page do not ascend. Whoever goes on from the last one
/// would go in circles.
pub(super) fn out_of_order() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some("rows are out of order".to_owned()))
}

/// Whether something is not what was written.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
}

/// Over every field with its length, so that nothing can run over from one into the next.
fn crc(room: &str, seq: u64, draft: &Draft) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    let mut fixed = [0; 26];
    fixed[..8].copy_from_slice(&seq.to_le_bytes());
    fixed[8..16].copy_from_slice(&draft.time_ms.to_le_bytes());
    fixed[16..].copy_from_slice(&draft.user.0);
    hasher.update(&fixed);
    for text in [Some(room), Some(&*draft.from), draft.to.as_deref(), draft.id.as_deref(), Some(&*draft.message)] {
        let length = text.map_or(u64::MAX, |text| text.len() as u64);
        hasher.update(&length.to_le_bytes());
        hasher.update(text.unwrap_or_default().as_bytes());
    }
    hasher.finalize()
}

/// The names in an answer: those who say much share one copy, as they do when they are present.
#[derive(Debug, Default)]
pub(super) struct Names {
    recent: Vec<Name>,
}

impl Names {
    fn name(&mut self, text: &str) -> Name {
        /// A lively talk has a few voices; to look among more would cost more than a copy.
        const RECENT_MAX: usize = 8;
        if let Some(name) = self.recent.iter().find(|name| ***name == *text) {
            return name.clone();
        }
        let name = Name::kept(text.into());
        if self.recent.len() == RECENT_MAX {
            self.recent.remove(0);
        }
        self.recent.push(name.clone());
        name
    }
}
