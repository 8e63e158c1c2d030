//! A file may have several names: hard links, as snapshots are made of. SQLite keeps the log beside the name by which the file was
//! opened, and by another one it does not find it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::archive;
use super::open::{OpenError, beside, is_filled};
use super::schema;

/// Sees to it that no log of the file is beside another of its names. By any name a store can be used that was closed in order.
///
/// # Errors
/// When there may be one. What would be written without it could not be read together with it.
pub(super) fn check(path: &Path) -> Result<(), OpenError> {
    let system = |error| OpenError::System(path.to_owned(), error);
    if fs::metadata(path).map_err(system)?.nlink() < 2 || is_filled(&beside(path, "-wal")) {
        return Ok(());
    }
    let clean = archive::connect_fixed(path).and_then(|file| schema::mark::<i64>(&file, "clean"));
    // What cannot be read may be so for want of the log.
    if matches!(clean, Ok(Some(1))) { Ok(()) } else { Err(OpenError::Elsewhere(path.to_owned())) }
}
