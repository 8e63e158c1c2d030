//! Lines that come from elsewhere are put into a store that no server uses: all of them or none. `chinwag history import` calls it.
//!
//! A new file is filled under another name and gets its own when it is whole; into one that is there everything goes in one transaction.
//!
//! # Epochs
//!
//! Where the lines come from, more may have been said since, under the same epoch. So each room gets an epoch that never was,
//! and the one that came with the lines becomes its former one, good up to the newest line that came ([`Extent`](super::Extent)): readers
//! who are no further go on, and the others are told.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::held::{self, Held, Written};
use super::lock::Lock;
use super::names;
use super::open::{self, OpenError, SqliteOptions, Temporary, beside, is_room_missing, refusal};
use super::row;
use super::schema::{self, Epochs};
use crate::chat::{Line, Millis, RoomName};

/// A store that is being filled. Dropped before its end, it leaves everything as it was.
#[derive(Debug)]
pub struct Restore {
    path: PathBuf,
    /// Where it is filled, if it is new.
    new: Option<Temporary>,
    connection: Connection,
    generation: u64,
    wall_ms: Millis,
    rooms: HashMap<RoomName, Target>,
    /// In the order in which they came.
    order: Vec<RoomName>,
    restored: Restored,
    /// For as long as this lives.
    _lock: Lock,
}

/// A line as it came.
#[derive(Clone, Debug)]
pub struct Given {
    /// With the place that it had.
    pub line: Line,
    /// The epoch under which it had that place, if that is known.
    pub epoch: Option<Box<str>>,
}

/// A room that is being filled.
#[derive(Debug)]
struct Target {
    id: i64,
    epoch: Option<Box<str>>,
    /// The last `seq` that came, and the one that it got.
    given: u64,
    top: u64,
    /// Up to here they are the same.
    agreed: u64,
    bytes: i64,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Rooms and streams.
    pub rooms: usize,
    /// Lines.
    pub lines: u64,
    /// Lines that were missing between others.
    pub missing: u64,
}

/// Why a line is not taken.
#[derive(Debug)]
pub enum Refused {
    /// The store has lines of that room.
    Exists(RoomName),
    /// Its `seq` is not behind that of the room's line before.
    Order(RoomName, u64),
    /// Its epoch is not that of the room's lines before.
    Epoch(RoomName),
    /// It cannot be written.
    Sqlite(rusqlite::Error),
    /// There are no random bits.
    System(io::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(room) => write!(f, "there are lines of {room} in the store already"),
            Self::Order(room, seq) => write!(f, "seq {seq} of {room} is not behind the one before"),
            Self::Epoch(room) => write!(f, "the epoch is not that of the lines of {room} before"),
            Self::Sqlite(error) => error.fmt(f),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Refused {}

impl Restore {
    /// Opens a store, or begins a new one. No server can use it until this is over.
    ///
    /// # Errors
    /// When it cannot be used. Then it is as it was.
    pub fn begin(path: &Path) -> Result<Self, OpenError> {
        let path = &open::resolve(path)?;
        let system = |error| OpenError::System(path.to_owned(), error);
        open::check_header(path)?;
        let mut lock = Lock::take(path)?;
        let new = Temporary::at(beside(path, "-import")).map_err(system)?;
        let is_new = !open::check_header(path)?;
        let connection = if is_new {
            open::create(new.path())?;
            connect_new(new.path())
        } else {
            lock.hold(path)?;
            names::check(path)?;
            open::connect(path, &SqliteOptions::at(path))
        };
        let start = |connection: &Connection| -> rusqlite::Result<(u64, Millis)> {
            connection.execute_batch("BEGIN IMMEDIATE")?;
            let generation = schema::mark::<i64>(connection, "generation")?.unwrap_or(0);
            let now_s = connection.query_row("SELECT unixepoch()", [], |row| row.get::<_, i64>(0))?;
            Ok((generation.cast_unsigned(), now_s.cast_unsigned() * 1_000))
        };
        let begun = connection.and_then(|connection| Ok((start(&connection)?, connection)));
        let ((generation, wall_ms), connection) = begun.map_err(|error| {
            let is_full = is_room_missing(&error) && new.finds_no_room();
            if is_full { OpenError::Full(path.to_owned()) } else { refusal(path, error) }
        })?;
        Ok(Self {
            path: path.to_owned(),
            new: is_new.then_some(new),
            connection,
            generation,
            wall_ms,
            rooms: HashMap::new(),
            order: Vec::new(),
            restored: Restored::default(),
            _lock: lock,
        })
    }

    /// Takes a line. The lines of one room come in order; those behind a gap move up to it.
    ///
    /// # Errors
    /// When it is not taken; then none may follow.
    pub fn add(&mut self, given: Given) -> Result<(), Refused> {
        let Given { mut line, epoch } = given;
        let room = match self.rooms.get_mut(&line.room) {
            Some(room) => room,
            None => self.enter(&line, epoch.clone())?,
        };
        if room.epoch != epoch {
            return Err(Refused::Epoch(line.room));
        }
        let seq = line.seq;
        let Some(missing) = seq.checked_sub(room.given + 1) else { return Err(Refused::Order(line.room, seq)) };
        room.given = seq;
        room.top += 1;
        if room.top == seq {
            room.agreed = seq;
        }
        line.seq = room.top;
        room.bytes += i64::try_from(row::cost(&line.draft)).unwrap_or(i64::MAX);
        let id = room.id;
        row::insert(&mut row::prepare_insert(&self.connection)?, id, &line)?;
        self.restored.lines += 1;
        self.restored.missing += missing;
        Ok(())
    }

    /// The room of a first line.
    fn enter(&mut self, line: &Line, epoch: Option<Box<str>>) -> Result<&mut Target, Refused> {
        let name = &line.room;
        let sql = "SELECT EXISTS (SELECT 1 FROM message WHERE room = (SELECT id FROM room WHERE name = ?1))";
        if self.connection.prepare_cached(sql)?.query_row([&**name], |row| row.get(0))? {
            return Err(Refused::Exists(name.clone()));
        }
        let epochs = Epochs::random().map_err(|error| Refused::System(io::Error::other(error)))?;
        let mut held = Held {
            load: 0,
            name: name.clone(),
            epoch: epochs,
            former: None,
            oldest: line.seq,
            seen_s: 0,
            written: Written { top: 0, id: None, epoch: None, checked: false, uncounted: 0 },
            changed: None,
        };
        let id = held.ensure(&self.connection, self.generation, self.wall_ms)?;
        let before = line.seq - 1;
        let target = Target { id, epoch, given: before, top: before, agreed: before, bytes: 0 };
        self.order.push(name.clone());
        Ok(self.rooms.entry(name.clone()).or_insert(target))
    }

    /// Keeps what came, for good.
    ///
    /// # Errors
    /// When it cannot be kept: then nothing of it is.
    pub fn finish(mut self) -> Result<Restored, OpenError> {
        self.restored.rooms = self.rooms.len();
        self.commit().map_err(|error| refusal(&self.path, error))?;
        if let Some(new) = self.new {
            new.put_in_place(&self.path).map_err(|error| OpenError::System(self.path.clone(), error))?;
        }
        Ok(self.restored)
    }

    fn commit(&self) -> rusqlite::Result<()> {
        let sql = "UPDATE room SET top = ?2, former = ?3, former_top = ?4 WHERE id = ?1";
        for name in &self.order {
            let room = &self.rooms[name];
            held::resize(&self.connection, room.id, room.bytes, room.top)?;
            let former_top = room.epoch.as_ref().map(|_| room.agreed.cast_signed());
            let values = (room.id, room.top.cast_signed(), room.epoch.as_deref(), former_top);
            self.connection.prepare_cached(sql)?.execute(values)?;
        }
        self.connection.execute_batch("COMMIT")?;
        // Whoever closes it takes the log over.
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map(drop)
    }
}

/// A file that nobody knows yet needs neither a log nor a sync before its end.
fn connect_new(new: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(new)?;
    open::prepare(&connection)?;
    connection.pragma_update(None, "journal_mode", "OFF")?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    Ok(connection)
}
