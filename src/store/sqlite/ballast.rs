//! Room to delete: on a full disk, taking something out of the file needs room, too.
//!
//! A file beside the store holds some blocks while all is well. When the disk is full it is given up: then the write-ahead log can
//! be taken over into the file, and old lines can be deleted. While it is not back, no line is accepted, so that lines cannot take
//! the room either. It comes back when there is room for it and for some lines.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use super::open::own;

/// What it holds: as much as a checkpoint and a step of deleting need.
const BALLAST_BYTES: usize = 4 << 20;

/// What must be free besides: less would be full again at once.
const MARGIN_BYTES: usize = 1 << 20;

/// The file.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
}

impl Ballast {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Whether it is there, as far as its length tells.
    pub(super) fn is_there(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() == BALLAST_BYTES as u64)
    }

    /// Gives the room up.
    pub(super) fn release(&self) {
        // If it is not there, it holds nothing.
        let _ = fs::remove_file(&self.path);
    }

    /// Takes the room again.
    ///
    /// # Errors
    /// When there is not enough; then nothing is taken.
    pub(super) fn restore(&self) -> io::Result<()> {
        let restored = self.write();
        if restored.is_err() {
            self.release();
        }
        restored
    }

    fn write(&self) -> io::Result<()> {
        let mut file = own().create(true).truncate(true).open(&self.path)?;
        // Not zeros, which a file system may not store.
        let block: Vec<u8> = (0..64 * 1024_u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for _ in 0..(BALLAST_BYTES + MARGIN_BYTES) / block.len() {
            file.write_all(&block)?;
        }
        // Some file systems find out only now that there is no room.
        file.sync_data()?;
        file.set_len(BALLAST_BYTES as u64)
    }

    /// Whether the disk is full, as far as can be told by writing to it.
    pub(super) fn disk_is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        self.release();
        self.restore().is_err_and(|error| matches!(error.kind(), QuotaExceeded | StorageFull))
    }
}
