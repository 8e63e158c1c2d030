//! The store's beginning and end. It is opened before anything else, so that nobody is let in whose lines could not be kept, and
//! closed last. In between `decide` asks it once a turn, and its threads wake the loop when they have something to say.

use std::io;
use std::mem;
use std::sync::{Arc, mpsc};
use std::thread;

use mio::{Registry, Waker};

use crate::config::{Config, Disk, History};
use crate::store::{Failure, Memory, MemoryLimits, Sqlite, SqliteOptions, Store};

use super::clock::Clock;
use super::secrets::random_bytes;
use super::{BindError, Outcome, STORE, Server};

/// What the server needs of a store that is open.
pub(super) struct Opened {
    pub(super) store: Store,
    /// Sessions are sealed with it: kept in the file, or made for this run.
    pub(super) key: [u8; 32],
    /// `None` in memory, where every answer is there at once.
    pub(super) waker: Option<Arc<Waker>>,
}

/// Opens the store that the configuration asks for.
pub(super) fn open(config: &Config, clock: Clock, registry: &Registry) -> Result<Opened, BindError> {
    let memory = &config.memory;
    let Disk { path, sync, retention } = match &config.history {
        History::Disk(disk) => disk,
        History::Memory => {
            let limits = MemoryLimits {
                recent_messages_max: memory.recent_messages_max,
                recent_bytes_max: memory.recent_bytes_max,
                rooms_max: memory.rooms_max,
            };
            let seed = u64::from_le_bytes(random_bytes().map_err(BindError::Setup)?);
            let store = Store::Memory(Box::new(Memory::new(limits, seed)));
            return Ok(Opened { store, key: random_bytes().map_err(BindError::Setup)?, waker: None });
        }
    };
    let options = SqliteOptions {
        sync: *sync,
        retention: *retention,
        recent_messages_max: memory.recent_messages_max,
        recent_bytes_max: memory.recent_bytes_max,
        rooms_max: memory.rooms_max,
        ..SqliteOptions::at(path)
    };
    let waker = Arc::new(Waker::new(registry, STORE).map_err(BindError::Setup)?);
    let alarm = Arc::clone(&waker);
    let wake = move || {
        if let Err(error) = alarm.wake() {
            // The loop asks in its next turn, whenever that is.
            log::error!("the store cannot wake the loop: {error}");
        }
    };
    let opened = Sqlite::open(&options, move || clock.now(), wake).map_err(BindError::Store)?;
    Ok(Opened { store: Store::Sqlite(Box::new(opened.store)), key: opened.key, waker: Some(waker) })
}

impl Server {
    /// Ends the store as the run's outcome says. After a drain everything is written first, however long that takes; a signal ends
    /// it at once.
    ///
    /// # Errors
    /// When the kernel refuses to wait for events.
    pub(super) fn close_store(self, outcome: Outcome) -> io::Result<Outcome> {
        let Self { store, waker, mut poll, mut events, mut signals, .. } = self;
        let (Store::Sqlite(store), Some(waker)) = (store, waker) else { return Ok(outcome) };
        if outcome != Outcome::Drained || store.failure().is_some() {
            // Nothing more is to be written, or waited for: the process ends now, as if it were killed.
            let failed = outcome == Outcome::Drained;
            mem::forget(store);
            return Ok(if failed { Outcome::StoreFailed } else { outcome });
        }
        log::info!("closing the store");
        let (sender, closed) = mpsc::channel();
        // Ours stays: what the last owner of a waker has said goes with it.
        let alarm = Arc::clone(&waker);
        // If there is no thread to be had, dropping the store closes it, too.
        let _ = thread::Builder::new().name("store closer".to_owned()).spawn(move || {
            // Nobody waits any more if a signal came.
            let _ = sender.send(store.close());
            if let Err(error) = alarm.wake() {
                log::error!("the store cannot wake the loop: {error}");
            }
        });
        let outcome = loop {
            match closed.try_recv() {
                Ok(closed) => break closed.map_or_else(|failure| closed_badly(&failure), |()| Outcome::Drained),
                // There is nothing left to close, or it was logged that the thread panicked.
                Err(mpsc::TryRecvError::Disconnected) => break Outcome::Drained,
                Err(mpsc::TryRecvError::Empty) => {}
            }
            if let Err(error) = poll.poll(&mut events, None)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
            if let Some(signal) = signals.pending().next() {
                log::warn!("{} again: exiting before the store is closed", super::signals::name(signal));
                break Outcome::Interrupted(signal);
            }
        };
        drop(waker);
        Ok(outcome)
    }
}

fn closed_badly(failure: &Failure) -> Outcome {
    log::error!("the store could not be closed in order: {failure}");
    Outcome::StoreFailed
}
