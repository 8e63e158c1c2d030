//! A home folder for a client, gone with the test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A home folder, and the surroundings of a client that lives there.
pub(crate) struct Home {
    folder: PathBuf,
    locale: &'static str,
}

impl Home {
    /// A new one, for who speaks English.
    pub(crate) fn new() -> Self {
        Self::of_locale("C.UTF-8")
    }

    /// A new one, with a locale.
    pub(crate) fn of_locale(locale: &'static str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("chinwag-connect-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).expect("the folder for temporary files takes one");
        Self { folder, locale }
    }

    /// Everything that a client finds in its environment.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let path = std::env::var("PATH").unwrap_or_default();
        let folder = |name: &str| self.folder.join(name).to_string_lossy().into_owned();
        [
            ("PATH", path),
            ("HOME", folder("home")),
            ("XDG_STATE_HOME", folder("state")),
            ("LC_ALL", self.locale.to_owned()),
            ("TERM", "xterm-256color".to_owned()),
            ("TZ", "UTC".to_owned()),
            ("PS1", "$ ".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Where all of it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where sessions are kept.
    pub(crate) fn sessions(&self) -> PathBuf {
        self.folder.join("state/chinwag")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
