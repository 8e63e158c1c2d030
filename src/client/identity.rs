//! Who one was the last time: the session, a secret, kept in a file for each server.
//!
//! The file is `ws+HOST+PORT` in the state folder, readable for its owner alone, and is replaced in one step. Beside it
//! lies a lock: two clients with one session would close each other's connections for ever (close code 4500), so the second
//! one has to come as somebody else.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::url::Address;

/// No session is longer than this, in bytes: what is more is none.
const SESSION_BYTES_MAX: u64 = 128;

/// An identity at one server. It is this client's own for as long as it lives.
#[derive(Debug)]
pub(super) struct Identity {
    file: PathBuf,
    /// The session of the last time, if there was one.
    pub(super) session: Option<String>,
    /// Locked until it is dropped.
    _lock: File,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Unkept {
    /// Another client has it now.
    Taken,
    /// It cannot be kept.
    Failed(String),
}

impl Identity {
    /// Takes the identity at `address` that is kept in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// Why one has to come as a guest.
    pub(super) fn take(folder: &Path, address: &Address) -> Result<Self, Unkept> {
        let name = format!("ws+{}+{}", address.host, address.port);
        let failed = |path: &Path, error: io::Error| Unkept::Failed(format!("{}: {error}", path.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| failed(folder, error))?;
        let lock_path = folder.join(format!("{name}.lock"));
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
        let lock = lock.map_err(|error| failed(&lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Unkept::Taken),
            Err(TryLockError::Error(error)) => return Err(failed(&lock_path, error)),
        }
        let file = folder.join(name);
        let session = read(&file).map_err(|error| failed(&file, error))?;
        Ok(Self { file, session, _lock: lock })
    }

    /// Keeps a session for the next time, in place of the one before.
    ///
    /// # Errors
    /// Why not, with the file's name.
    pub(super) fn keep(&self, session: &str) -> Result<(), String> {
        let new = self.file.with_added_extension("new");
        let written = write(&new, session).and_then(|()| fs::rename(&new, &self.file));
        written.map_err(|error| {
            let _ = fs::remove_file(&new);
            format!("{}: {error}", self.file.display())
        })
    }
}

/// Where sessions are kept: `$XDG_STATE_HOME/chinwag`, or `~/.local/state/chinwag`. `None` if there is no home either.
pub(super) fn state_folder() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("chinwag"))
}

fn read(file: &Path) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    match File::open(file) {
        Ok(file) => file.take(SESSION_BYTES_MAX + 2).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&bytes);
    let session = text.trim_end();
    let good = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    let is_one = !session.is_empty() && session.len() as u64 <= SESSION_BYTES_MAX && session.chars().all(good);
    // What is none is replaced by the next one.
    Ok(is_one.then(|| session.to_owned()))
}

fn write(path: &Path, session: &str) -> io::Result<()> {
    // One that was left over may have another mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{session}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A folder of this test's own, gone with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("chinwag-identity-{name}-{}", std::process::id())))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn at(url: &str) -> Address {
        Address::parse(url).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_session_is_kept_for_each_server_and_for_nobody_elses_eyes() {
        let folder = Folder::new("kept");
        let inner = folder.0.join("state/chinwag");
        for (url, session) in [("localhost", "one"), ("localhost:9", "two"), ("[::1]", "three")] {
            let identity = Identity::take(&inner, &at(url)).unwrap();
            assert_eq!(identity.session, None, "{url}");
            identity.keep("older").unwrap();
            identity.keep(session).unwrap();
            assert_eq!(mode(&identity.file), 0o600);
        }
        assert_eq!(mode(&inner), 0o700);
        let take = |url| Identity::take(&inner, &at(url)).unwrap().session;
        assert_eq!(take("ws://LOCALHOST:8765/rooms/tea"), Some("one".into()));
        assert_eq!(take("localhost:9"), Some("two".into()));
        assert_eq!(take("[::1]"), Some("three".into()));
        let names: Vec<_> = fs::read_dir(&inner).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 6, "three sessions, three locks: {names:?}");
    }

    #[test]
    fn a_second_client_finds_it_taken_until_the_first_one_ends() {
        let folder = Folder::new("taken");
        let first = Identity::take(&folder.0, &at("localhost")).unwrap();
        assert!(matches!(Identity::take(&folder.0, &at("localhost")), Err(Unkept::Taken)));
        assert!(Identity::take(&folder.0, &at("localhost:1")).is_ok(), "another server's is not");
        drop(first);
        assert!(Identity::take(&folder.0, &at("localhost")).is_ok());
    }

    #[test]
    fn what_is_no_session_is_replaced_and_what_cannot_be_kept_is_told() {
        let folder = Folder::new("bad");
        let identity = Identity::take(&folder.0, &at("localhost")).unwrap();
        for bad in ["", "\n", "two words", "a\nb", &"x".repeat(129), "\u{e9}"] {
            fs::write(&identity.file, bad).unwrap();
            assert_eq!(read(&identity.file).unwrap(), None, "{bad}");
        }
        fs::set_permissions(&identity.file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(identity.file.with_added_extension("new"), "left over").unwrap();
        identity.keep("good").unwrap();
        assert_eq!((read(&identity.file).unwrap(), mode(&identity.file)), (Some("good".into()), 0o600));
        let file = identity.file.clone();
        let Err(Unkept::Failed(why)) = Identity::take(&file, &at("localhost")) else { panic!("a file is no folder") };
        assert!(why.starts_with(&*file.to_string_lossy()), "{why}");
        fs::remove_dir_all(&folder.0).unwrap();
        assert!(identity.keep("late").is_err());
    }
}
