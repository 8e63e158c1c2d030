//! Who one was the last time: the session, a secret, and the name, kept in a file for each server.
//!
//! The file is `ws+HOST+PORT` in the state folder, a line for each, readable for its owner alone, and is replaced in one step. Beside it
//! lies a lock: two clients with one session would close each other's connections for ever (close code 4500), so the second
//! one has to come as somebody else.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::connection::words;
use super::url::Address;

/// No session is longer than this, in bytes: what is more is none.
const SESSION_BYTES_MAX: usize = 128;

/// No name is longer than this, in bytes: a server allows 256 characters at most, of 4 bytes.
const NAME_BYTES_MAX: usize = 1_024;

/// An identity at one server. It is this client's own for as long as it lives.
#[derive(Debug)]
pub(super) struct Identity {
    file: PathBuf,
    /// The session of the last time, if there was one.
    pub(super) session: Option<String>,
    /// The name of the last time, likewise.
    pub(super) name: Option<String>,
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
        let failed = |path: &Path, error: io::Error| Unkept::Failed(format!("{}: {}", path.display(), words(&error)));
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
        let (session, name) = read(&file).map_err(|error| failed(&file, error))?;
        Ok(Self { file, session, name, _lock: lock })
    }

    /// Keeps a session and a name for the next time, in place of those before.
    ///
    /// # Errors
    /// Why not, with the file's name.
    pub(super) fn keep(&mut self, session: String, name: String) -> Result<(), String> {
        let (session, name) = (Some(session), Some(name).filter(|name| is_name(name)));
        if (&self.session, &self.name) == (&session, &name) {
            return Ok(());
        }
        (self.session, self.name) = (session, name);
        let text: String = [&self.session, &self.name].into_iter().flatten().flat_map(|line| [line, "\n"]).collect();
        let new = self.file.with_added_extension("new");
        let written = write(&new, &text).and_then(|()| fs::rename(&new, &self.file));
        written.map_err(|error| {
            let _ = fs::remove_file(&new);
            format!("{}: {}", self.file.display(), words(&error))
        })
    }
}

/// Where sessions are kept: `$XDG_STATE_HOME/chinwag`, or `~/.local/state/chinwag`. `None` if there is no home either.
pub(super) fn state_folder() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("chinwag"))
}

/// The session and the name. What is none is replaced by the next one.
fn read(file: &Path) -> io::Result<(Option<String>, Option<String>)> {
    let mut bytes = Vec::new();
    match File::open(file) {
        Ok(file) => file.take((SESSION_BYTES_MAX + NAME_BYTES_MAX + 4) as u64).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, None)),
        Err(error) => return Err(error),
    };
    let Ok(text) = String::from_utf8(bytes) else { return Ok((None, None)) };
    let mut lines = text.lines();
    let good = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    let session = lines
        .next()
        .filter(|session| !session.is_empty() && session.len() <= SESSION_BYTES_MAX && session.chars().all(good));
    let name = session.and(lines.next()).filter(|name| is_name(name) && lines.next().is_none());
    Ok((session.map(str::to_owned), name.map(str::to_owned)))
}

/// Whether it may be a name: one line, and no longer than any.
fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    // One that was left over may have another mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
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
            let mut identity = Identity::take(&inner, &at(url)).unwrap();
            assert_eq!((&identity.session, &identity.name), (&None, &None), "{url}");
            identity.keep("older".into(), "ann".into()).unwrap();
            identity.keep(session.into(), format!("Ann {session}")).unwrap();
            assert_eq!(mode(&identity.file), 0o600);
        }
        assert_eq!(mode(&inner), 0o700);
        let take = |url| {
            let identity = Identity::take(&inner, &at(url)).unwrap();
            (identity.session.clone().unwrap(), identity.name.clone().unwrap())
        };
        assert_eq!(take("ws://LOCALHOST:8765/rooms/tea"), ("one".into(), "Ann one".into()));
        assert_eq!(take("localhost:9"), ("two".into(), "Ann two".into()));
        assert_eq!(take("[::1]"), ("three".into(), "Ann three".into()));
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
        let mut identity = Identity::take(&folder.0, &at("localhost")).unwrap();
        for bad in ["", "\n", "two words", "\nb", &"x".repeat(129), "\u{e9}"] {
            fs::write(&identity.file, bad).unwrap();
            assert_eq!(read(&identity.file).unwrap(), (None, None), "{bad}");
        }
        for bad in ["", "\n", "\n\n", "\nann\nlee", "\na\tb", &format!("\n{}", "x".repeat(1_025))] {
            fs::write(&identity.file, format!("good{bad}")).unwrap();
            assert_eq!(read(&identity.file).unwrap(), (Some("good".into()), None), "{bad:?}");
        }
        fs::set_permissions(&identity.file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(identity.file.with_added_extension("new"), "left over").unwrap();
        identity.keep("good".into(), "a\nb".into()).unwrap();
        assert_eq!(read(&identity.file).unwrap(), (Some("good".into()), None));
        identity.keep("good".into(), "ann".into()).unwrap();
        assert_eq!(read(&identity.file).unwrap(), (Some("good".into()), Some("ann".into())));
        assert_eq!(mode(&identity.file), 0o600);
        let file = identity.file.clone();
        let Err(Unkept::Failed(why)) = Identity::take(&file, &at("localhost")) else { panic!("a file is no folder") };
        assert!(why.starts_with(&*file.to_string_lossy()), "{why}");
        fs::remove_dir_all(&folder.0).unwrap();
        assert!(identity.keep("good".into(), "ann".into()).is_ok(), "it is kept already");
        assert!(identity.keep("late".into(), "ann".into()).is_err());
    }
}
