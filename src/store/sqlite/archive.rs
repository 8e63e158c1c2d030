//! A store as it is read from outside of the server: room by room, page by page. `chinwag history` calls it.
//!
//! It may be read while a server writes to it. Each answer is a short read transaction of its own, so the log can be taken over into
//! the file between two of them (but for [`Archive::check`], which is one long one).
//!
//! Nothing is written, and the files are left as they were. A file that was closed in order has no log beside it; SQLite makes an empty
//! one to read the file, and takes it away at the end, because this connection could write and so may do that (it is told not to write).
//! A log that is there is left as it is; its index (`-shm`) may be made. Where neither can be made, in a folder that may only be
//! read, a file without a log is read as one that cannot change, and [`Archive::end`] finds out whether it has.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, Rows};

use super::names;
use super::open::{OpenError, beside, check_header, is_filled, is_room_missing, prepare, refusal, resolve};
use super::reader;
use super::row::{self, Names, out_of_order};
use super::schema::{self, Epochs};
use crate::chat::{Line, Millis, RoomName};

/// Rooms in one answer.
const ROOMS_MAX: i64 = 200;

/// Lines in one answer: a few milliseconds of reading.
const LINES_MAX: usize = 1_000;

/// What the lines of one answer cost, by [`row::cost`], at most; but one line is always there.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// A room that counts less than this is added up: what the file counts of it may be behind by an eighth of that.
const COUNTED_BYTES_MIN: u64 = 512 << 10;

/// A store that is open for reading.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    connection: Connection,
    epochs: Epochs,
    generation: u64,
    /// What the file looked like when it was opened, if it is read as one that does not change.
    fixed: Option<Look>,
}

/// A room of the file, or what goes for one.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number; rooms are listed by it.
    pub id: i64,
    /// As it is in the file; `Err` with what is there instead of a name.
    pub name: Result<RoomName, String>,
}

/// What is there of a room at one moment.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The epoch under which its lines are known: of two under which they mean the same, the former one. So it is the same after the
    /// lines were put into another store.
    pub epoch: Arc<str>,
    /// The newest `seq` that was given, and its time if that line is there.
    pub newest: (u64, Option<Millis>),
    /// The oldest `seq` that is kept, and its time; one more than the newest, and none, when nothing is.
    pub oldest: (u64, Option<Millis>),
    /// What its lines cost in the file, up to 64 KiB less than they do.
    pub bytes: u64,
    /// As it is in the file, to know it again.
    written: Arc<str>,
}

/// Lines in a row.
#[derive(Debug)]
pub struct Page {
    /// In order; `Err` with the `seq` of one that is not what was written.
    pub lines: Vec<Result<Arc<Line>, u64>>,
    /// What they cost in the file.
    pub bytes: usize,
    /// The oldest that is kept at this moment; one more than the newest when none is.
    pub oldest: u64,
}

/// Why a store that is open cannot be read.
#[derive(Debug)]
pub struct ReadError {
    path: PathBuf,
    /// `None`: it has changed although it was read as one that does not.
    error: Option<rusqlite::Error>,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.error {
            Some(error) => write!(f, "cannot read the store {path}: {error}"),
            None => write!(f, "the store {path} was changed while it was read; what was read of it may be wrong"),
        }
    }
}

impl std::error::Error for ReadError {}

impl ReadError {
    /// Without the name of the file.
    pub fn why(&self) -> String {
        self.error.as_ref().map_or_else(|| "it was changed".to_owned(), ToString::to_string)
    }
}

impl Archive {
    /// Opens the file.
    ///
    /// # Errors
    /// When it is not there, is no store, is damaged where that makes the rest unreadable, or may not be read.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let path = &resolve(path)?;
        let system = |error| OpenError::System(path.to_owned(), error);
        let fixed = Look::at(path).map_err(system)?;
        if !check_header(path)? {
            return Err(OpenError::Foreign(path.to_owned()));
        }
        names::check(path)?;
        let has_log = is_filled(&beside(path, "-wal"));
        let (connection, is_fixed) = match connect(path, has_log) {
            Ok(Some(connection)) => (connection, false),
            Ok(None) => (connect_fixed(path).map_err(|error| refusal(path, error))?, true),
            Err(error) if has_log && is_closed_folder(&error) => {
                let why = "its log cannot be read in a folder that may not be written to: copy both to another one";
                return Err(system(io::Error::other(why)));
            }
            // A full disk has no room for an index, either.
            Err(error) if !has_log && (is_closed_folder(&error) || is_room_missing(&error)) => {
                (connect_fixed(path).map_err(|error| refusal(path, error))?, true)
            }
            Err(error) => return Err(refusal(path, error)),
        };
        let marks = || -> rusqlite::Result<([u8; 32], u64)> {
            let key = schema::mark(&connection, "key")?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            Ok((key, schema::mark::<i64>(&connection, "generation")?.unwrap_or(0).cast_unsigned()))
        };
        let (key, generation) = marks().map_err(|error| refusal(path, error))?;
        let fixed = is_fixed.then_some(fixed);
        Ok(Self { path: path.to_owned(), connection, epochs: Epochs::new(&key), generation, fixed })
    }

    /// What all lines cost in the file, to within some KiB a room: the work of reading them all.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn bytes(&self) -> Result<u64, ReadError> {
        let sum = self.connection.query_row("SELECT ifnull(sum(bytes), 0) FROM room", [], |row| row.get::<_, i64>(0));
        self.read(sum.map(|bytes| u64::try_from(bytes).unwrap_or(0)))
    }

    /// Some of the rooms behind this number, in order; none when there are no more.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn rooms(&self, after: i64) -> Result<Vec<Entry>, ReadError> {
        let list = || {
            let mut statement =
                self.connection.prepare_cached("SELECT id, name FROM room WHERE id > ?1 ORDER BY id LIMIT ?2")?;
            let entries = statement.query_map((after, ROOMS_MAX), |row| {
                let name = row.get_ref(1)?.as_bytes().map(String::from_utf8_lossy)?;
                Ok(Entry { id: row.get(0)?, name: RoomName::kept(&name).ok_or_else(|| name.into_owned()) })
            })?;
            let entries = entries.collect::<rusqlite::Result<Vec<Entry>>>()?;
            let ids = std::iter::once(after).chain(entries.iter().map(|entry| entry.id));
            if ids.is_sorted_by(|one, next| one < next) { Ok(entries) } else { Err(out_of_order()) }
        };
        self.read(list())
    }

    /// The largest number of a room at this moment.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last_room(&self) -> Result<i64, ReadError> {
        self.read(self.connection.query_row("SELECT ifnull(max(id), 0) FROM room", [], |row| row.get(0)))
    }

    /// What is there of a room; `None` if it is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn extent(&self, name: &RoomName) -> Result<Option<Extent>, ReadError> {
        self.read(self.try_extent(name))
    }

    fn try_extent(&self, name: &RoomName) -> rusqlite::Result<Option<Extent>> {
        let transaction = self.connection.unchecked_transaction()?;
        let Some(found) = reader::find(&transaction, &self.epochs, self.generation, name)? else { return Ok(None) };
        let id = found.id.expect("it was found");
        let time = |seq: u64| -> rusqlite::Result<Option<Millis>> {
            let mut statement = transaction.prepare_cached("SELECT time FROM message WHERE room = ?1 AND seq = ?2")?;
            let time = statement.query_row((id, seq.cast_signed()), |row| row.get::<_, i64>(0)).optional()?;
            Ok(time.map(i64::cast_unsigned))
        };
        let sql = "SELECT bytes FROM room WHERE id = ?1";
        let bytes: i64 = transaction.prepare_cached(sql)?.query_row([id], |row| row.get(0))?;
        let written = found.written.unwrap_or_else(|| Arc::clone(&found.epoch));
        let epoch = match found.former {
            Some((former, top)) if top >= found.newest => former,
            _ => found.epoch,
        };
        let newest = (found.newest, time(found.newest)?);
        let oldest = (found.oldest, time(found.oldest)?);
        Ok(Some(Extent { epoch, newest, oldest, bytes: u64::try_from(bytes).unwrap_or(0), written }))
    }

    /// What its lines cost in the file, to within an eighth: what the file counts of it, or, where that may be far off, their sum.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn room_bytes(&self, name: &RoomName, extent: &Extent) -> Result<u64, ReadError> {
        if extent.bytes >= COUNTED_BYTES_MIN {
            return Ok(extent.bytes);
        }
        let sum = || {
            let sql = format!(
                "SELECT ifnull(sum({}), 0) FROM message WHERE room = (SELECT id FROM room WHERE name = ?1)",
                row::COST
            );
            self.connection.prepare_cached(&sql)?.query_row([&**name], |row| row.get::<_, i64>(0))
        };
        self.read(sum().map(i64::cast_unsigned))
    }

    /// The lines of a room from one `seq` to another, or the first some of them. `None` if that room is not there any more.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn page(&self, name: &RoomName, extent: &Extent, from: u64, through: u64) -> Result<Option<Page>, ReadError> {
        self.read(self.try_page(name, extent, from, through))
    }

    fn try_page(&self, name: &RoomName, extent: &Extent, from: u64, through: u64) -> rusqlite::Result<Option<Page>> {
        let transaction = self.connection.unchecked_transaction()?;
        // Another life of the room has neither epoch.
        let sql = "SELECT id, top FROM room WHERE name = ?1 AND (epoch = ?2 OR former = ?2)";
        let room = transaction
            .prepare_cached(sql)?
            .query_row((&**name, &*extent.written), |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)));
        let Some((id, top)) = room.optional()? else { return Ok(None) };
        let oldest = reader::end(&transaction, id, "ASC")?.unwrap_or_else(|| top.max(0).cast_unsigned() + 1);
        let sql =
            format!("SELECT {} FROM message WHERE room = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq", row::COLUMNS);
        let mut statement = transaction.prepare_cached(&sql)?;
        let mut rows = statement.query((id, from.cast_signed(), through.cast_signed()))?;
        let (mut page, mut names) = (Page { lines: Vec::new(), bytes: 0, oldest }, Names::default());
        let mut next = from;
        while page.lines.len() < LINES_MAX
            && page.bytes < PAGE_BYTES_MAX
            && let Some(row) = page.next(&mut rows)?
        {
            let line = row::read(row, name, &mut names)?;
            let seq = line.as_ref().map_or_else(|&seq| seq, |line| line.seq);
            if !(next..=through).contains(&seq) {
                // Whoever goes on from it would not come to an end.
                if page.lines.is_empty() {
                    return Err(out_of_order());
                }
                break;
            }
            next = seq + 1;
            page.bytes += line.as_ref().map_or(0, |line| row::cost(&line.draft));
            page.lines.push(line);
        }
        Ok(Some(page))
    }

    /// Behind a `seq` that cannot be read the first from which it goes on; `None` if that is not before the end.
    ///
    /// Damage is of pages, and each holds some lines in a row.
    pub fn readable_behind(&self, name: &RoomName, extent: &Extent, seq: u64, end: u64) -> Option<u64> {
        let is_readable = |seq| self.page(name, extent, seq, end).is_ok();
        let (mut bad, mut step) = (seq, 1);
        let mut good = loop {
            if bad >= end {
                return None;
            }
            let next = end.min(bad.saturating_add(step));
            if is_readable(next) {
                break next;
            }
            (bad, step) = (next, 2 * step);
        };
        while good - bad > 1 {
            let between = bad + (good - bad) / 2;
            *if is_readable(between) { &mut good } else { &mut bad } = between;
        }
        Some(good)
    }

    /// What SQLite finds wrong with the file, `most` places at most; nothing if all is well.
    ///
    /// One long read transaction: meanwhile a log that is written to cannot be given back.
    ///
    /// # Errors
    /// When it cannot even look.
    pub fn check(&self, most: usize) -> Result<Vec<String>, ReadError> {
        let check = || {
            let mut statement = self.connection.prepare(&format!("PRAGMA integrity_check({most})"))?;
            let found = statement.query_map([], |row| row.get::<_, String>(0))?;
            // It may break off where it cannot read on.
            let texts = found.map(|text| text.unwrap_or_else(|error| error.to_string()));
            // A text may have several lines, the first of which says what is known.
            let is_place = |line: &&str| *line != "ok" && !line.starts_with("***");
            Ok(texts.flat_map(|text| text.lines().filter(is_place).map(str::to_owned).collect::<Vec<_>>()).collect())
        };
        self.read(check())
    }

    /// The first number of a room behind this one of which there are lines, and whether there is such a room.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn lines_of_any_room(&self, after: i64) -> Result<Option<(i64, bool)>, ReadError> {
        let sql = "SELECT room, EXISTS (SELECT 1 FROM room WHERE id = room) FROM message \
                   WHERE room > ?1 ORDER BY room LIMIT 1";
        let look = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let found = statement.query_row([after], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            if found.is_none_or(|(id, _)| id > after) { Ok(found) } else { Err(out_of_order()) }
        };
        self.read(look())
    }

    /// Bytes of the file, and of the log beside it.
    ///
    /// # Errors
    /// When the file is gone.
    pub fn file_bytes(&self) -> io::Result<(u64, u64)> {
        let log = fs::metadata(beside(&self.path, "-wal")).map_or(0, |metadata| metadata.len());
        Ok((fs::metadata(&self.path)?.len(), log))
    }

    /// To be called when all is read.
    ///
    /// # Errors
    /// When what was read may be wrong.
    pub fn end(self) -> Result<(), ReadError> {
        let changed = self.fixed.as_ref().is_some_and(|fixed| Look::at(&self.path).ok().as_ref() != Some(fixed));
        if changed { Err(ReadError { path: self.path, error: None }) } else { Ok(()) }
    }

    fn read<T>(&self, result: rusqlite::Result<T>) -> Result<T, ReadError> {
        result.map_err(|error| ReadError { path: self.path.clone(), error: Some(error) })
    }
}

impl Page {
    /// The next row. One that cannot be read is the end of what is there already.
    fn next<'a>(&self, rows: &'a mut Rows<'_>) -> rusqlite::Result<Option<&'a Row<'a>>> {
        match rows.next() {
            Err(_) if !self.lines.is_empty() => Ok(None),
            next => next,
        }
    }
}

/// What a file looks like from outside: a server that has used it since has changed that.
#[derive(Debug, PartialEq)]
struct Look {
    bytes: u64,
    modified: Option<SystemTime>,
    has_log: bool,
}

impl Look {
    fn at(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        let has_log = is_filled(&beside(path, "-wal"));
        Ok(Self { bytes: metadata.len(), modified: metadata.modified().ok(), has_log })
    }
}

/// As the reader of a server does it, but so that no files are left behind; `None` if that cannot be.
fn connect(path: &Path, has_log: bool) -> rusqlite::Result<Option<Connection>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    if !has_log && connection.is_readonly("main")? {
        // It would make a log and could not take it away.
        return Ok(None);
    }
    // Whoever closes a file last takes its log over, and away: only one that was made here.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_log)?;
    look(&connection)?;
    Ok(Some(connection))
}

/// Opens a file to which nobody writes, without a lock and without another file beside it.
pub(super) fn connect_fixed(path: &Path) -> rusqlite::Result<Connection> {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.');
    let uri = format!("file:{}?immutable=1", percent_encode(path.as_os_str().as_encoded_bytes(), KEPT));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags)?;
    look(&connection)?;
    Ok(connection)
}

fn look(connection: &Connection) -> rusqlite::Result<()> {
    prepare(connection)?;
    connection.pragma_update(None, "query_only", true)?;
    // This reads what tables there are, and no more: whoever reads on is to find what else is damaged, and where.
    connection
        .prepare(&format!("SELECT {}, room.name FROM message, room", row::COLUMNS.replace("id,", "message.id,")))
        .map(drop)
}

/// Whether what a connection needs beside the file could not be made there.
fn is_closed_folder(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied))
}

#[cfg(test)]
mod tests {
    use super::super::support::{Clock, Driver, Folder};
    use super::*;
    use crate::store::SqliteOptions;

    /// In a folder that may only be read nothing can be locked; somebody else may write there.
    #[test]
    fn a_change_of_a_file_that_should_not_change_is_noticed() {
        let folder = Folder::new();
        let serve = || Driver::open(&SqliteOptions::at(folder.store()), &Clock::new()).expect("it opens");
        drop(serve());
        let open = || {
            let archive = Archive::open(&folder.store()).expect("it opens");
            Archive { fixed: Some(Look::at(&folder.store()).expect("it is there")), ..archive }
        };
        open().end().expect("nothing has changed");
        let archive = open();
        let server = serve();
        assert!(archive.end().is_err(), "a server has begun");
        drop(server);
        let archive = open();
        drop(serve());
        assert!(archive.end().is_err(), "a server has been there");
    }
}
