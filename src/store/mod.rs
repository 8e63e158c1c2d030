//! THE LOG: what was said, in the order in which it counts. A line has no place until the store gives it one.
//!
//! append → ticket → appended: the core says [`Request::Append`] with a ticket of its own and thinks no more of it; the
//! store gives each line its room's next `seq`, keeps it as its policy promises, and answers [`Completion::Appended`]
//! with that ticket. Only then is the line told and acknowledged. So the answer may come in the same turn (memory), when
//! a commit is on disk, or when another server has agreed, and the core is the same.
//!
//! Every store promises:
//! - Each request but `Unload` is answered exactly once, by a completion with its ticket. No answer waits for a later
//!   request.
//! - A room's `seq` counts from 1 without holes. Its lines get their places in the order in which they were submitted,
//!   and are answered in that order. Between rooms there is no order.
//! - The rows of one append are stored together or, when it is refused, not at all.
//! - What is kept of a room is its newest lines, without holes: trimming takes the oldest, and never changes `newest`.
//! - An epoch is the life of a count: as long as it is the same, no `seq` means another line. A room that is loaded keeps
//!   its epoch; an unloaded one may be forgotten, and its next life has a new one.
//!
//! A store relies on the core for this: a room is loaded under one number at a time, lines and reads come after it was
//! answered, and `Unload` after all of them were. It panics where that does not hold.
//!
//! The engine calls it, once a turn: it submits what the core asked for, in that order, and hands every completion back.
//! Nothing here knows who reads what.
//!
//! [`Request::Append`]: crate::chat::Request::Append
//! [`Completion::Appended`]: crate::chat::Completion::Appended

mod memory;
#[cfg(test)]
mod model_test;
mod ring;
mod sqlite;

pub use memory::{Memory, MemoryLimits};
pub use sqlite::{Archive, Entry, Extent, Page, ReadError};
pub use sqlite::{Failure, OpenError, Opened, Retention, Sqlite, SqliteOptions, SyncPolicy};
pub use sqlite::{Given, Refused, Restore, Restored};

use crate::chat::{Completion, Request};

/// The store that the server was told to use.
#[derive(Debug)]
pub enum Store {
    /// Forgets.
    Memory(Box<Memory>),
    /// Keeps.
    Sqlite(Box<Sqlite>),
}

impl Store {
    /// Takes a request; see [`Memory::submit`] and [`Sqlite::submit`].
    ///
    /// # Panics
    /// As those do.
    pub fn submit(&mut self, request: Request) {
        match self {
            Self::Memory(store) => store.submit(request),
            Self::Sqlite(store) => store.submit(request),
        }
    }

    /// Adds the answers that are there. What comes from a disk is left for the next turn when `is_late` says that the time is over.
    pub fn collect(&mut self, completions: &mut Vec<Completion>, is_late: impl FnMut() -> bool) {
        match self {
            Self::Memory(store) => store.collect(completions),
            Self::Sqlite(store) => store.collect(completions, is_late),
        }
    }

    /// Gives back what a rush of requests left: not to be done in each turn.
    pub fn tidy(&mut self) {
        match self {
            Self::Memory(store) => store.tidy(),
            Self::Sqlite(store) => store.tidy(),
        }
    }

    /// Whether [`collect`](Self::collect) has left answers for the next turn, which must then come at once.
    pub fn has_more(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::Sqlite(store) => store.has_more(),
        }
    }

    /// Why it cannot go on, if it cannot.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Memory(_) => None,
            Self::Sqlite(store) => store.failure(),
        }
    }
}
