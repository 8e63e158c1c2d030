//! The file beside the store that keeps a second server out, and knows what the store itself may have forgotten.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::iter;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::last::{self, Last, Noter};
use super::open::{OpenError, beside, own};

/// A file that is locked for as long as the store is in use. It also says, outside of the store, how often that was opened, and
/// which line was the last: so an older copy that is put back is told from the one that was there. One that says nothing goes when
/// it is unlocked.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
    /// The store's file itself: it may have other names, and another lock beside each.
    store: Option<File>,
    noted: Option<Noted>,
}

/// What was noted, in two lines.
#[derive(Debug)]
struct Noted {
    /// The store's.
    id: String,
    /// How often it was opened.
    opens: u64,
    /// It was closed in order.
    clean: bool,
    /// As it was when the lock was taken, or when the store was opened: the [`Noter`] writes it.
    last: Option<Last>,
}

impl Lock {
    /// Of the store at `path`.
    ///
    /// # Errors
    /// When another server has it, or the system does not let us.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let system = |error| OpenError::System(path.to_owned(), error);
        let lock = beside(path, "-lock");
        let mut file = loop {
            let file = own().create(true).truncate(false).open(&lock).map_err(system)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path.to_owned())),
                Err(TryLockError::Error(error)) => return Err(system(error)),
            }
            // Whoever had it may just have taken it away; then it keeps nobody out.
            if is_at(&file, &lock) {
                break file;
            }
        };
        let mut text = String::new();
        // What cannot be read says nothing.
        let _ = Read::by_ref(&mut file).take(1_024).read_to_string(&mut text);
        Ok(Self { path: lock, file, store: None, noted: Noted::parse(&text) })
    }

    /// Locks the store's file itself, which is there now.
    ///
    /// This is another lock than those of SQLite. But when a file is closed, the process loses all of those that it has in it: so it
    /// is opened before SQLite opens it, and closed after that.
    ///
    /// # Errors
    /// When another server has it, by whatever name, or the system does not let us.
    pub(super) fn hold(&mut self, store: &Path) -> Result<(), OpenError> {
        let system = |error| OpenError::System(store.to_owned(), error);
        let file = File::open(store).map_err(system)?;
        match file.try_lock() {
            Ok(()) => self.store = Some(file),
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(store.to_owned())),
            Err(TryLockError::Error(error)) => return Err(system(error)),
        }
        Ok(())
    }

    /// Why it may be that a store is not what it was: with this id, that was opened so often and closed in order or not.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn doubt(
        &self,
        connection: &Connection,
        id: &str,
        opens: u64,
        clean: bool,
    ) -> rusqlite::Result<Option<String>> {
        match self.noted.as_ref().filter(|noted| noted.id == id) {
            Some(noted) if (opens, clean) < (noted.opens, noted.clean) => {
                Ok(Some("an older copy of the store was put back".to_owned()))
            }
            Some(Noted { last: Some(last), .. }) => last.missing(connection),
            Some(_) => Ok(None),
            // What was closed in order may have come from elsewhere, without a lock.
            None if clean => Ok(None),
            None => Ok(Some("the store was not closed, and nothing beside it (-lock) says how far it was".to_owned())),
        }
    }

    /// Notes how often the store was opened by now. If `is_new`, it begins a generation: the line that was the last is not.
    pub(super) fn note(&mut self, id: &str, opens: u64, is_new: bool) {
        let last = self.noted.take().filter(|noted| noted.id == id && !is_new).and_then(|noted| noted.last);
        let noted = Noted { id: id.to_owned(), opens, clean: false, last };
        self.write(&(noted.state() + &last::text(last)));
        self.noted = Some(noted);
    }

    /// For noting the last line, after [`note`](Self::note). Rooms with lines were forgotten so often.
    ///
    /// # Errors
    /// When there are no descriptors.
    pub(super) fn noter(&self, lives: u64) -> io::Result<Noter> {
        let at = self.noted.as_ref().map_or(0, |noted| noted.state().len() as u64);
        Ok(Noter::new(self.file.try_clone()?, at, lives))
    }

    /// Notes that the store was closed in order.
    pub(super) fn note_closed(&mut self) {
        let Some(noted) = &mut self.noted else { return };
        noted.clean = true;
        let state = noted.state();
        self.write(&state);
    }

    fn write(&self, text: &str) {
        if let Err(error) = self.file.write_all_at(text.as_bytes(), 0) {
            log::warn!("what is noted beside the store cannot be written: {error}");
        }
    }
}

impl Noted {
    fn parse(text: &str) -> Option<Self> {
        let (state, last) = text.split_once('\n')?;
        let mut words = state.split(' ');
        Some(Self {
            id: words.next()?.to_owned(),
            opens: words.next()?.parse().ok()?,
            clean: words.next()? == "closed",
            last: last.strip_suffix('\n').and_then(Last::parse),
        })
    }

    /// The first line. Its length does not change, so it needs no room on a full disk.
    fn state(&self) -> String {
        format!("{} {:020} {}\n", self.id, self.opens, if self.clean { "closed" } else { "opened" })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let is_empty = self.file.metadata().is_ok_and(|metadata| metadata.len() == 0);
        if is_empty && is_at(&self.file, &self.path) {
            // What cannot be taken away does no harm.
            let _ = fs::remove_file(&self.path);
        }
        // Closing it is not enough while another thread of this process starts a program, which has a copy of it for a moment.
        for file in iter::once(&self.file).chain(&self.store) {
            let _ = file.unlock();
        }
    }
}

/// Whether a file still has its name.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |one: &fs::Metadata, other: &fs::Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
    file.metadata().is_ok_and(|open| fs::metadata(path).is_ok_and(|named| same(&open, &named)))
}
