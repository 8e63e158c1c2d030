//! Opening: what is looked at before a file is used. What is not ours, or damaged, or in use, is left as it is.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::ballast::Ballast;
use super::last;
use super::lock::Lock;
use super::names;
use super::place::Place;
use super::reader::Reader;
use super::schema::{self, APPLICATION_ID, Epochs, VERSION};
use super::upkeep::Upkeep;
use super::writer::{State, Writer};
use super::{Recent, Retention, Sqlite, Threads};
use crate::chat::{Millis, Now};

/// How a line is made safe before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// It is committed and synced.
    Full,
    /// It is committed; a sync comes within so many milliseconds. A loss of power costs at most that and one sync, from the
    /// end. Nothing else does: the system has what was committed.
    Interval(Millis),
}

/// What is asked of the store.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The file. It is made if it is not there; its folder is not.
    pub path: PathBuf,
    /// Default full.
    pub sync: SyncPolicy,
    /// What is kept in the file.
    pub retention: Retention,
    /// Lines of one room in memory. Default 1,000.
    pub recent_messages_max: usize,
    /// Bytes of all lines in memory together, with what their bookkeeping costs. Default 64 MiB.
    pub recent_bytes_max: usize,
    /// Rooms that are loaded at a time; a further one is refused with `Overloaded`. Default 100,000.
    pub rooms_max: usize,
    /// The file may not grow past so many pages of 4 KiB; then it is as if the disk were full. Default none.
    pub file_pages_max: Option<u32>,
}

impl SqliteOptions {
    /// The defaults.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            sync: SyncPolicy::Full,
            retention: Retention::default(),
            recent_messages_max: 1_000,
            recent_bytes_max: 64 << 20,
            rooms_max: 100_000,
            file_pages_max: None,
        }
    }
}

/// A store that is open, and what it says about itself.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Sqlite,
    /// 32 random bytes that were made with the file: sessions are sealed with them.
    pub key: [u8; 32],
}

/// Why a store cannot be opened. The file is as it was.
#[derive(Debug)]
pub enum OpenError {
    /// The system does not let us.
    System(PathBuf, io::Error),
    /// Another server has it.
    InUse(PathBuf),
    /// It is something else.
    Foreign(PathBuf),
    /// It was made by a later version of this program.
    Newer(PathBuf, i32),
    /// It is not what was written.
    Damaged(PathBuf, String),
    /// There is a log, but no file that it belongs to.
    Orphan(PathBuf),
    /// It has several names, and its log may be beside another one.
    Elsewhere(PathBuf),
    /// There is no room on the disk, not even to note that it is in use.
    Full(PathBuf),
    /// SQLite does not let us.
    Sqlite(PathBuf, rusqlite::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(path, error) => write!(f, "cannot open the store {}: {error}", path.display()),
            Self::InUse(path) => write!(
                f,
                "another server uses the store {}: stop that one first, or name another file with --store",
                path.display()
            ),
            Self::Foreign(path) => write!(f, "{} is no store of chinwag; it is left as it is", path.display()),
            Self::Newer(path, version) => {
                write!(f, "the store {} is of a later version of chinwag (format {version})", path.display())
            }
            Self::Damaged(path, why) => {
                write!(f, "the store {} is damaged ({why}); it is left as it is", path.display())
            }
            Self::Orphan(log) => write!(
                f,
                "{} holds lines, but the store that it belongs to is gone: put it back, or move the log away",
                log.display()
            ),
            Self::Elsewhere(path) => write!(
                f,
                "the store {0} has another name (a hard link), was used by that one and not closed in order: start the \
                 server with that name once, and its log is taken over; or take that name away, if it has no log (-wal) \
                 beside it. Of a store that is to be kept as it is, make a copy and not a link",
                path.display()
            ),
            Self::Full(path) => write!(f, "there is no room on the disk of the store {}", path.display()),
            Self::Sqlite(path, error) => write!(f, "cannot open the store {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}

/// The SQLite header's first 100 bytes hold all that is looked at (<https://sqlite.org/fileformat2.html>, section 1.3).
const HEADER_BYTES: usize = 100;

/// How long to wait for another program that has the file: 5 s. `chinwag history` only reads.
pub(super) const BUSY_MS: Millis = 5_000;

/// Pages of the log at which it is taken over into the file: 32 MiB, all of which the start after a crash reads.
const CHECKPOINT_PAGES: i64 = 8_000;

impl Sqlite {
    /// Opens the file, or makes it. `clock` and `wake` are used from other threads: `wake` is called when there is something to
    /// collect.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open<C, W>(options: &SqliteOptions, clock: C, wake: W) -> Result<Opened, OpenError>
    where
        C: Fn() -> Now + Send + 'static,
        W: Fn() + Clone + Send + 'static,
    {
        let path = &resolve(&options.path)?;
        let system = |error| OpenError::System(path.clone(), error);
        // Before anything is made beside a file that is not ours.
        check_header(path)?;
        let mut lock = Lock::take(path)?;
        if !check_header(path)? {
            create(path)?;
        }
        lock.hold(path)?;
        names::check(path)?;
        let ballast = Ballast::new(beside(path, "-ballast"));
        let take = || connect(path, options).and_then(|connection| Ok((begin(&connection, &lock)?, connection)));
        let taken = match take() {
            Err(error) if is_room_missing(&error) => {
                ballast.release();
                take()
            }
            taken => taken,
        };
        let (marks, connection) = taken.map_err(|error| {
            let is_full = is_room_missing(&error) && ballast.disk_is_full();
            if is_full { OpenError::Full(path.clone()) } else { refusal(path, error) }
        })?;
        lock.note(&marks.id, marks.opens, marks.is_new_generation);
        let place = |path: PathBuf| Place::of(path).map_err(system);
        let places = [place(path.clone())?, place(beside(path, "-wal"))?];
        let interval = match options.sync {
            SyncPolicy::Full => None,
            SyncPolicy::Interval(ms) => Some((ms, File::open(beside(path, "-wal")).map_err(system)?)),
        };
        let (answers, collected) = mpsc::channel();
        let reader = Reader {
            connection: connect_reader(path).map_err(|error| refusal(path, error))?,
            epochs: Epochs::new(&marks.key),
            generation: marks.generation,
            answers: answers.clone(),
            wake: wake.clone(),
            told: String::new(),
        };
        let writer = Writer {
            connection,
            generation: marks.generation,
            answers,
            clock,
            wake,
            upkeep: Upkeep::new(options.retention),
            ballast,
            places,
            noter: lock.noter(marks.lives).map_err(system)?,
            interval,
            checkpoint_pages: CHECKPOINT_PAGES,
            state: State::default(),
        };
        let threads = start(reader, writer, lock).map_err(system)?;
        let recent =
            Recent { messages: options.recent_messages_max, bytes: options.recent_bytes_max, rooms: options.rooms_max };
        Ok(Opened { store: Sqlite::new(recent, threads, collected), key: marks.key })
    }
}

fn start<C, W>(reader: Reader<W>, writer: Writer<C, W>, mut lock: Lock) -> io::Result<Threads>
where
    C: Fn() -> Now + Send + 'static,
    W: Fn() + Send + 'static,
{
    let (ops, given) = mpsc::channel();
    let (jobs, asked) = mpsc::channel();
    let writer = thread::Builder::new().name("store writer".to_owned()).spawn(move || {
        if writer.run(&given) {
            lock.note_closed();
        }
    })?;
    let mut threads = Threads { writer: Some((ops, writer)), reader: None };
    match thread::Builder::new().name("store reader".to_owned()).spawn(move || reader.run(&asked)) {
        Ok(reader) => threads.reader = Some((jobs, reader)),
        Err(error) => {
            threads.end();
            return Err(error);
        }
    }
    Ok(threads)
}

/// A file beside the store's: its name and something more.
pub(super) fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    name.into()
}

/// Where a link leads, if it is one: SQLite puts its files beside what it leads to, and whoever uses the file by another name must
/// find the same lock. The path itself if there is nothing yet.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    let system = |error| OpenError::System(path.to_owned(), error);
    if !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        return Ok(path.to_owned());
    }
    fs::canonicalize(path).map_err(|error| match error.kind() {
        // Perhaps a disk that is not there. A new store in its place would be in the way.
        io::ErrorKind::NotFound => system(io::Error::new(error.kind(), "it is a link that leads to nothing")),
        _ => system(error),
    })
}

/// For files that only their owner may read, whatever the umask: they hold private messages, and the key to be anybody. What
/// SQLite makes beside a file has the mode of that file.
pub(super) fn own() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Whether there is a file of ours; `false` if there is none yet.
pub(super) fn check_header(path: &Path) -> Result<bool, OpenError> {
    let system = |error| OpenError::System(path.to_owned(), error);
    let log = beside(path, "-wal");
    let mut header = Vec::with_capacity(HEADER_BYTES);
    match File::open(path) {
        Ok(file) if file.metadata().map_err(system)?.is_dir() => {
            return Err(system(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        Ok(file) => file.take(HEADER_BYTES as u64).read_to_end(&mut header).map_err(system)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(system(error)),
    };
    if header.is_empty() {
        return if is_filled(&log) { Err(OpenError::Orphan(log)) } else { Ok(false) };
    }
    let number =
        |at: usize| header.get(at..at + 4).map(|bytes| i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    if !header.starts_with(b"SQLite format 3\0") || number(68) != Some(APPLICATION_ID) {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    match number(60) {
        Some(VERSION) => Ok(true),
        Some(later @ 2..) => Err(OpenError::Newer(path.to_owned(), later)),
        _ => Err(OpenError::Damaged(path.to_owned(), "its header".to_owned())),
    }
}

pub(super) fn is_filled(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0)
}

/// Makes a file with everything in it under another name, and then gives it its own: a crash leaves none that is half made.
pub(super) fn create(path: &Path) -> Result<(), OpenError> {
    let system = |error| OpenError::System(path.to_owned(), error);
    let temporary = Temporary::at(beside(path, "-new")).map_err(system)?;
    let new = temporary.path();
    let mut key = [0; 32];
    let mut id = [0; 8];
    getrandom::fill(&mut key)
        .and_then(|()| getrandom::fill(&mut id))
        .map_err(|error| system(io::Error::other(error)))?;
    let id = u64::from_be_bytes(id);
    // SQLite would let everybody read it; an empty file is one that it fills.
    own().create_new(true).open(new).map_err(system)?;
    let fill = || -> rusqlite::Result<()> {
        let connection = Connection::open(new)?;
        connection.execute_batch(&format!(
            "PRAGMA page_size = {}; PRAGMA synchronous = FULL; BEGIN; PRAGMA application_id = {APPLICATION_ID}; \
             PRAGMA user_version = {VERSION}; {}",
            schema::PAGE_BYTES,
            schema::CREATE
        ))?;
        schema::set_mark(&connection, "key", key)?;
        schema::set_mark(&connection, "id", format!("{id:016x}"))?;
        for name in ["opens", "generation", "lives"] {
            schema::set_mark(&connection, name, 0)?;
        }
        schema::set_mark(&connection, "clean", 1)?;
        schema::set_mark(&connection, "boot", "")?;
        connection.execute_batch("COMMIT")
    };
    fill().map_err(|error| refusal(path, error))?;
    temporary.put_in_place(path).map_err(system)
}

/// A file that is not yet what it will be. It goes when this is dropped, with what SQLite may have left beside it.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// Takes away what a crash has left under this name.
    ///
    /// # Errors
    /// When it stays.
    pub(super) fn at(path: PathBuf) -> io::Result<Self> {
        let temporary = Self { path };
        temporary.remove()?;
        Ok(temporary)
    }

    fn remove(&self) -> io::Result<()> {
        for path in [&self.path, &beside(&self.path, "-journal")] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is no room for a few pages on its disk, as far as can be told by writing them.
    pub(super) fn finds_no_room(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        let written = fs::write(&self.path, vec![0xa5; 64 << 10]);
        written.is_err_and(|error| matches!(error.kind(), QuotaExceeded | StorageFull))
    }

    /// Syncs the file, which is whole, and gives it its own name, for good.
    pub(super) fn put_in_place(self, path: &Path) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        fs::rename(&self.path, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What stays is taken away by the next one.
        let _ = self.remove();
    }
}

pub(super) fn connect(path: &Path, options: &SqliteOptions) -> rusqlite::Result<Connection> {
    let has_log = is_filled(&beside(path, "-wal"));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // Whoever closes a file last takes its log over, and away: not into one that is damaged.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_log)?;
    prepare(&connection)?;
    // Looks before it leaps: this reads, and finds what is damaged.
    schema::mark::<i64>(&connection, "opens")?;
    connection.query_row("SELECT max(id), (SELECT max(room) FROM message) FROM room", [], |_| Ok(()))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    let synchronous = match options.sync {
        SyncPolicy::Full => "FULL",
        SyncPolicy::Interval(_) => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    if let Some(pages) = options.file_pages_max {
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    Ok(connection)
}

fn connect_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    prepare(&connection)?;
    Ok(connection)
}

pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
    connection.set_prepared_statement_cache_capacity(32);
    // 16 MiB of pages: the upper levels of a tree of a few gigabytes, and the ends of the rooms that are alive.
    connection.pragma_update(None, "cache_size", -16_384)
}

/// What is written down about the store.
struct Marks {
    key: [u8; 32],
    id: String,
    opens: u64,
    generation: u64,
    is_new_generation: bool,
    lives: u64,
}

/// Notes that the store is in use from now on, synced. Begins a new generation if lines may be gone from its end.
fn begin(connection: &Connection, lock: &Lock) -> rusqlite::Result<Marks> {
    let transaction = connection.unchecked_transaction()?;
    let number = |name: &str| -> rusqlite::Result<u64> {
        Ok(schema::mark::<i64>(&transaction, name)?.unwrap_or(0).cast_unsigned())
    };
    let missing = || rusqlite::Error::QueryReturnedNoRows;
    let key = schema::mark(&transaction, "key")?.ok_or_else(missing)?;
    let id: String = schema::mark(&transaction, "id")?.ok_or_else(missing)?;
    let was_boot: String = schema::mark(&transaction, "boot")?.ok_or_else(missing)?;
    let (was_opens, mut generation, clean) = (number("opens")?, number("generation")?, number("clean")? == 1);
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let boot = boot.trim();
    let power_failed = !clean && (boot.is_empty() || boot != was_boot);
    let doubt = match lock.doubt(&transaction, &id, was_opens, clean)? {
        _ if power_failed => Some("the system went down".to_owned()),
        doubt => doubt,
    };
    if let Some(why) = &doubt {
        generation += 1;
        log::warn!("{why}: whoever has read lines that are not there is told when it comes back");
    }
    let opens = was_opens + 1;
    schema::set_mark(&transaction, "opens", opens.cast_signed())?;
    schema::set_mark(&transaction, "generation", generation.cast_signed())?;
    schema::set_mark(&transaction, "clean", 0)?;
    schema::set_mark(&transaction, "boot", boot)?;
    transaction.commit()?;
    // Whatever the policy: what follows is only known to be later than this if this is there.
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(Marks { key, id, opens, generation, is_new_generation: doubt.is_some(), lives: last::lives(connection)? })
}

/// Whether it may be that the disk is full. Not every way in which a system says so is known to SQLite.
pub(super) fn is_room_missing(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DiskFull, SystemIoFailure};
    matches!(error.sqlite_error_code(), Some(DiskFull | SystemIoFailure | CannotOpen))
}

pub(super) fn refusal(path: &Path, error: rusqlite::Error) -> OpenError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let path = path.to_owned();
    match &error {
        rusqlite::Error::SqliteFailure(code, _) if matches!(code.code, DatabaseCorrupt | NotADatabase) => {
            OpenError::Damaged(path, error.to_string())
        }
        // A table, a column or a mark that should be there is not.
        rusqlite::Error::SqliteFailure(code, _) if code.code != rusqlite::ErrorCode::Unknown => {
            OpenError::Sqlite(path, error)
        }
        _ => OpenError::Damaged(path, error.to_string()),
    }
}
