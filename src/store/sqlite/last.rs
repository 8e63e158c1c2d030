//! The last line that was stored, noted outside of the store: so it is noticed when the store has lost its end.
//!
//! The system keeps what was committed when the process is killed. But the log may be deleted, cut or damaged before the next
//! start, or an older copy be put back: the store cannot know that of itself. Transactions come back in order, so if the last line
//! that anybody was told of is there, all before it is.
//!
//! It is written after a commit and before that is answered: nothing that anybody has seen is behind it. It is never synced, since
//! after a loss of power a store that was not closed is in doubt anyway.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use rusqlite::{Connection, OptionalExtension as _};

use super::row::is_damage;
use super::schema;

/// A line, as far as it need be known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    /// The number of its room in the file.
    pub(super) room: i64,
    pub(super) seq: u64,
    /// As it is in the row: it goes over everything in it.
    pub(super) crc: u32,
}

/// A line that was the last one when it was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    line: Trace,
    /// How often a room had been forgotten by then ([`schema`]).
    lives: u64,
}

impl Last {
    /// What [`text`] has written; `None` if it was no line, or something else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let line = Trace {
            room: words.next()?.parse().ok().filter(|&room| room != 0)?,
            seq: words.next()?.parse().ok()?,
            crc: words.next()?.parse().ok()?,
        };
        Some(Self { line, lives: words.next()?.parse().ok()? })
    }

    /// What is wrong if the store does not have all that it had when this was noted.
    ///
    /// # Errors
    /// When that cannot be read.
    pub(super) fn missing(&self, connection: &Connection) -> rusqlite::Result<Option<String>> {
        match self.is_there(connection) {
            Ok(true) => Ok(None),
            Err(error) if !is_damage(&error) => Err(error),
            _ => {
                let sql = "SELECT name FROM room WHERE id = ?1";
                let name = connection.query_row(sql, [self.line.room], |row| row.get(0));
                let name = name.unwrap_or_else(|_| "a room that is not there".to_owned());
                Ok(Some(format!(
                    "the end of the store is gone, or an older copy was put back (seq {} of {name} was stored)",
                    self.line.seq
                )))
            }
        }
    }

    fn is_there(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let Trace { room, seq, crc } = self.line;
        let seq = seq.cast_signed();
        let sql = "SELECT crc FROM message WHERE room = ?1 AND seq = ?2";
        let found = connection.query_row(sql, (room, seq), |row| row.get::<_, i64>(0)).optional()?;
        // Or retention has taken it out since: first the line, which the room's count tells, and then the room. What is there by its
        // number may then be another one.
        if found == Some(i64::from(crc)) || lives(connection)? > self.lives {
            return Ok(true);
        }
        let sql = "SELECT top FROM room WHERE id = ?1";
        let top = connection.query_row(sql, [room], |row| row.get::<_, i64>(0)).optional()?;
        Ok(found.is_none() && top.is_some_and(|top| top >= seq))
    }
}

/// Of a length that does not change.
pub(super) fn text(last: Option<Last>) -> String {
    let (Trace { room, seq, crc }, lives) =
        last.map_or((Trace { room: 0, seq: 0, crc: 0 }, 0), |last| (last.line, last.lives));
    format!("{room:020} {seq:020} {crc:010} {lives:020}\n")
}

/// How often a room was forgotten that had had lines.
pub(super) fn lives(connection: &Connection) -> rusqlite::Result<u64> {
    Ok(schema::mark::<i64>(connection, "lives")?.unwrap_or(0).cast_unsigned())
}

/// Notes the last line.
#[derive(Debug)]
pub(super) struct Noter {
    file: File,
    /// Where in the file.
    at: u64,
    /// How often a room was forgotten.
    pub(super) lives: u64,
    has_failed: bool,
}

impl Noter {
    pub(super) fn new(file: File, at: u64, lives: u64) -> Self {
        Self { file, at, lives, has_failed: false }
    }

    /// This is the last line now.
    pub(super) fn note(&mut self, line: Trace) {
        let text = text(Some(Last { line, lives: self.lives }));
        // One call, of which a kill leaves all or nothing.
        let written = self.file.write_all_at(text.as_bytes(), self.at);
        if let (Err(error), false) = (&written, self.has_failed) {
            log::warn!("how far the store is cannot be noted beside it: {error}");
        }
        self.has_failed = written.is_err();
    }
}
