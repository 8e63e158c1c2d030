//! The file beside the store that keeps a second server out, and knows what the store itself may have forgotten.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::open::{OpenError, beside, own};

/// A file that is locked for as long as the store is in use. It also says, outside of the store, how often that was opened: so an
/// older copy that is put back is told from the one that was there. One that says nothing goes when it is unlocked.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
    /// The store's id, how often it was opened, and whether it was closed in order, as they were last noted.
    noted: Option<(String, u64, bool)>,
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
        let mut words = text.split_whitespace();
        let noted = (|| Some((words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()? == "closed")))();
        Ok(Self { path: lock, file, noted })
    }

    /// Whether the store was later than it says it is.
    pub(super) fn is_older(&self, id: &str, opens: u64, clean: bool) -> bool {
        let Some((noted_id, noted_opens, noted_clean)) = &self.noted else { return false };
        id == noted_id && (opens, clean) < (*noted_opens, *noted_clean)
    }

    /// Notes how often the store was opened by now.
    pub(super) fn note(&mut self, id: &str, opens: u64) {
        self.noted = Some((id.to_owned(), opens, false));
        self.write();
    }

    /// Notes that the store was closed in order.
    pub(super) fn note_closed(&mut self) {
        if let Some((_, _, clean)) = &mut self.noted {
            *clean = true;
        }
        self.write();
    }

    fn write(&mut self) {
        let Some((id, opens, clean)) = &self.noted else { return };
        // Of a length that does not change, so that it needs no room on a full disk.
        let text = format!("{id} {opens:020} {}\n", if *clean { "closed" } else { "opened" });
        let written = self.file.rewind().and_then(|()| self.file.write_all(text.as_bytes()));
        if let Err(error) = written {
            log::warn!("what is noted beside the store cannot be written: {error}");
        }
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
        let _ = self.file.unlock();
    }
}

/// Whether a file still has its name.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |one: &fs::Metadata, other: &fs::Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
    file.metadata().is_ok_and(|open| fs::metadata(path).is_ok_and(|named| same(&open, &named)))
}
