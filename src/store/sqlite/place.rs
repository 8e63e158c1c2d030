//! Whether the files are still where they were when the store was opened.
//!
//! A file that is deleted, or that another one was put in the place of, can be written to and synced as before, and is gone with the
//! process. So nothing is acknowledged after that: the writer looks after each commit, which costs a microsecond.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// A file by its name, and which one that is.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Place {
    /// As it is now.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn of(path: PathBuf) -> io::Result<Self> {
        let found = fs::metadata(&path)?;
        Ok(Self { path, device: found.dev(), inode: found.ino() })
    }

    /// Whether it is still that one.
    ///
    /// # Errors
    /// A sentence that says that it is not.
    pub(super) fn check(&self) -> Result<(), String> {
        let path = self.path.display();
        match fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (self.device, self.inode) => Ok(()),
            Ok(_) => Err(format!("{path} is another file than it was")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!("{path} was deleted")),
            Err(error) => Err(format!("{path} cannot be looked at: {error}")),
        }
    }
}
