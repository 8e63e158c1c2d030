//! `chinwag history`: what is kept, looked after from the command line.
//!
//! - `verify`: is everything as it was written?
//! - `export`: what was said, a message a line.
//! - `import`: an export, put into a store.
//! - `stats`: how much there is.
//!
//! `line` spells a message as a line of JSON and reads it back; `places` lists what is damaged; `progress` shows how far it is. How lines lie in the
//! file is [`store`](crate::store)'s: this reads by an [`Archive`](crate::store::Archive), which is safe beside a server that runs, and writes
//! by a [`Restore`](crate::store::Restore), which no server is beside.
//!
//! Called by `main`, which brings standard output along.

mod export;
mod import;
mod line;
mod places;
mod progress;
mod stats;
mod verify;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::chat::RoomName;
use crate::store::{OpenError, ReadError};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The store's file. Default `chinwag.db` in the working directory, as the server's.
    pub store: PathBuf,
    /// What is to be done with it.
    pub words: Words,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Words {
    /// Look for damage.
    Verify,
    /// Write out what was said.
    Export {
        /// Of one room, or of all of them and the private streams.
        room: Option<RoomName>,
        /// How.
        format: Format,
    },
    /// Put in what was written out.
    Import {
        /// From this file, or from standard input.
        file: Option<PathBuf>,
    },
    /// Count.
    Stats {
        /// How it is told.
        format: Format,
    },
}

/// Who is to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Programs.
    Json,
    /// People.
    Text,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Whole,
    /// Something is damaged, and was told.
    Damaged,
}

/// Why it cannot be done.
#[derive(Debug)]
pub enum Failure {
    /// The store cannot be opened, or what was put in cannot be kept.
    Open(OpenError),
    /// The store cannot be read.
    Read(ReadError),
    /// Nobody takes what is written.
    Output(io::Error),
    /// The file to be put in cannot be read.
    Input(PathBuf, io::Error),
    /// One of its lines, counted from 1, cannot be put in; so none is.
    Line(u64, String),
    /// The store has no such room.
    NoRoom(PathBuf, RoomName),
}

impl Failure {
    /// Whether whoever read the output has enough.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Read(error) => error.fmt(f),
            Self::Output(error) => write!(f, "cannot write: {error}"),
            Self::Input(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Line(number, why) => write!(f, "line {number}: {why}; nothing was imported"),
            Self::NoRoom(path, room) => write!(f, "there is no room {room} in the store {}", path.display()),
        }
    }
}

impl std::error::Error for Failure {}

impl Task {
    /// Does it. What was asked for goes to `output`, which may end as a pipe does; what is to be noted besides to standard error.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn run(&self, output: &mut impl Write) -> Result<Outcome, Failure> {
        match &self.words {
            Words::Verify => verify::run(&self.store, output),
            Words::Export { room, format } => export::run(&self.store, room.as_ref(), *format, output),
            Words::Import { file } => import::run(&self.store, file.as_deref(), output),
            Words::Stats { format } => stats::run(&self.store, *format, output),
        }
    }
}

/// How much there is, or was: `3 rooms, 2 streams, 12040 messages`.
fn amounts(rooms: u64, streams: u64, messages: u64) -> String {
    [count(rooms, "room"), count(streams, "stream"), count(messages, "message")].join(", ")
}

/// So many of something: `1 room`, `12 rooms`.
fn count(number: u64, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}
