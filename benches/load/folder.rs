//! A folder for what servers store, on a disk, and gone when the harness is. It does not know what lies in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::failure::Failure;

/// What our folders' names begin with; then comes the harness' process id.
const PREFIX: &str = "chinwag-load-";

/// The folder; removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    system: String,
    files: AtomicU32,
}

impl Folder {
    /// Makes one in `parent`; where nothing else is said, where cargo has room for what benches need. What a harness that was
    /// killed has left there goes.
    ///
    /// # Errors
    /// When it cannot be made, or `parent` is on no disk.
    pub(crate) fn new(parent: Option<&Path>) -> Result<Self, Failure> {
        let parent = parent.unwrap_or(Path::new(env!("CARGO_TARGET_TMPDIR")));
        let words = |error: io::Error| Failure::from(format!("{}: {error}", parent.display()));
        fs::create_dir_all(parent).map_err(words)?;
        let parent = parent.canonicalize().map_err(words)?;
        let system = system(&parent, &fs::read_to_string("/proc/self/mountinfo")?);
        if system == "tmpfs" {
            let words = format!("{} is in memory, where a sync costs nothing: --folder says another", parent.display());
            return Err(Failure::from(words));
        }
        for entry in fs::read_dir(&parent).map_err(words)?.flatten() {
            let name = entry.file_name();
            let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
            if process.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists()) {
                fs::remove_dir_all(entry.path()).map_err(words)?;
            }
        }
        let path = parent.join(format!("{PREFIX}{}", process::id()));
        fs::create_dir(&path).map_err(words)?;
        Ok(Self { path, system, files: AtomicU32::new(0) })
    }

    /// The path of a file that was not there before.
    pub(crate) fn file(&self, kind: &str) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("{number}.{kind}"))
    }

    /// The kind of file system that it is on, as the kernel names it.
    pub(crate) fn system(&self) -> &str {
        &self.system
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It is in a folder for what may go at any time.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The kind of the file system that `path` is on, by the kernel's list of mounts (proc(5)): the mount point is the fifth word, the
/// kind follows a lone `-`. Of those around it the innermost counts, and of several in one place the last.
fn system(path: &Path, mounts: &str) -> String {
    let around = mounts.lines().filter_map(|line| {
        let (mount, rest) = line.split_once(" - ")?;
        let point = Path::new(mount.split(' ').nth(4)?);
        path.starts_with(point).then(|| (point.components().count(), rest.split(' ').next().unwrap_or_default()))
    });
    around.max_by_key(|&(depth, _)| depth).map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}
