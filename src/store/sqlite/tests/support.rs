//! A folder that goes with the test, a clock that stands still, and a store that is driven as the loop does it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::chat::{
    Completion, Draft, ErrorCode, Line, Millis, Name, Now, Part, Request, RoomKey, RoomName, Row, Ticket, UserId,
};
use crate::store::{OpenError, Sqlite, SqliteOptions};

/// A folder of the test's own, which is gone after it.
pub(in crate::store) struct Folder(PathBuf);

impl Folder {
    pub(in crate::store) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("chinwag-store-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a folder for temporary files");
        Self(path)
    }

    pub(in crate::store) fn store(&self) -> PathBuf {
        self.0.join("chinwag.db")
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Copies what is there as it is at this moment, as a crash would leave it to the next start.
    pub(super) fn image(&self) -> Self {
        let image = Self::new();
        for entry in fs::read_dir(&self.0).expect("the folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name();
            // What is in the index of the log is made anew, as after a crash; and nobody holds the lock.
            if !name.to_string_lossy().ends_with("-shm") {
                fs::copy(entry.path(), image.0.join(name)).expect("a copy");
            }
        }
        image
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A clock that the test sets.
#[derive(Clone, Debug)]
pub(in crate::store) struct Clock {
    mono_ms: Arc<AtomicU64>,
    wall_ms: Arc<AtomicU64>,
}

impl Clock {
    pub(in crate::store) fn new() -> Self {
        let at = |ms| Arc::new(AtomicU64::new(ms));
        Self { mono_ms: at(3_600_000), wall_ms: at(1_800_000_000_000) }
    }

    pub(super) fn advance(&self, ms: Millis) {
        self.mono_ms.fetch_add(ms, Ordering::SeqCst);
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }

    pub(super) fn wall_ms(&self) -> Millis {
        self.wall_ms.load(Ordering::SeqCst)
    }

    pub(in crate::store) fn now(&self) -> Now {
        Now { mono_ms: self.mono_ms.load(Ordering::SeqCst), wall_ms: self.wall_ms() }
    }
}

/// A store, and who waits for it.
pub(in crate::store) struct Driver {
    pub(super) store: Sqlite,
    pub(super) key: [u8; 32],
    pub(super) clock: Clock,
    woken: mpsc::Receiver<()>,
    tickets: u64,
}

pub(super) const ALL: Part =
    Part { seqs: (0, u64::MAX), newest_first: false, lines_max: u32::MAX, bytes_max: usize::MAX };

/// What a loaded room answers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Loaded {
    pub(super) epoch: Arc<str>,
    pub(super) newest: u64,
    pub(super) former: Option<(Arc<str>, u64)>,
}

impl Driver {
    pub(in crate::store) fn open(options: &SqliteOptions, clock: &Clock) -> Result<Self, OpenError> {
        let (wake, woken) = mpsc::channel();
        let source = clock.clone();
        // When the test is over, nobody is there to be woken.
        let opened = Sqlite::open(options, move || source.now(), move || wake.send(()).unwrap_or(()))?;
        Ok(Self { store: opened.store, key: opened.key, clock: clock.clone(), woken, tickets: 0 })
    }

    /// With the defaults and a clock of its own.
    pub(super) fn at(folder: &Folder) -> Self {
        Self::open(&SqliteOptions::at(folder.store()), &Clock::new()).expect("it opens")
    }

    pub(in crate::store) fn submit(&mut self, request: Request) {
        self.store.submit(request);
    }

    /// Waits until there is at least one answer, or the store has failed.
    pub(in crate::store) fn collect(&mut self, completions: &mut Vec<Completion>) {
        loop {
            self.store.collect(completions, || false);
            if !completions.is_empty() {
                return;
            }
            if self.store.has_more() {
                continue;
            }
            if self.store.failure().is_some() {
                return;
            }
            self.wait();
        }
    }

    /// Waits until the store wakes the loop.
    pub(super) fn wait(&self) {
        self.woken.recv_timeout(Duration::from_mins(1)).expect("the store answers");
    }

    /// Has everything handed over that needs no answer.
    pub(in crate::store) fn hand_over(&mut self) {
        let mut completions = Vec::new();
        self.store.collect(&mut completions, || false);
        assert_eq!(completions, []);
    }

    pub(super) fn ask(&mut self, request: impl FnOnce(Ticket) -> Request) -> Completion {
        self.ask_perhaps(request).unwrap_or_else(|| panic!("{:?}", self.store.failure()))
    }

    /// `None` when the store has failed.
    pub(super) fn ask_perhaps(&mut self, request: impl FnOnce(Ticket) -> Request) -> Option<Completion> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.submit(request(ticket));
        let mut completions = Vec::new();
        self.collect(&mut completions);
        let completion = completions.pop()?;
        assert_eq!(completions, [], "one answer for one request");
        assert_eq!(completion.ticket(), ticket);
        Some(completion)
    }

    pub(super) fn try_load(&mut self, key: u32, name: &str, must_exist: bool) -> Result<Loaded, ErrorCode> {
        let name = RoomName::kept(name).expect("a room's name");
        match self.ask(|ticket| Request::Load { ticket, room: RoomKey(key), name, must_exist }) {
            Completion::Loaded { epoch, newest, former, .. } => Ok(Loaded { epoch, newest, former }),
            Completion::Refused { code, .. } => Err(code),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn load(&mut self, key: u32, name: &str) -> Loaded {
        self.try_load(key, name, false).expect("it is there or made")
    }

    pub(super) fn unload(&mut self, key: u32) {
        let wall_ms = self.clock.wall_ms();
        self.submit(Request::Unload { room: RoomKey(key), wall_ms });
        self.hand_over();
    }

    pub(super) fn try_append(&mut self, key: u32, message: &str) -> Result<u64, ErrorCode> {
        let rows: SmallVec<[Row; 1]> = [row(key, message, &self.clock)].into();
        match self.ask(|ticket| Request::Append { ticket, rows }) {
            Completion::Appended { lines, .. } => Ok(lines[0].seq),
            Completion::Refused { code, .. } => Err(code),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn append(&mut self, key: u32, message: &str) -> u64 {
        self.try_append(key, message).expect("it is stored")
    }

    /// Many lines at once, with these numbers as text.
    pub(super) fn append_all(&mut self, key: u32, numbers: std::ops::RangeInclusive<u64>) {
        let mut open = 0;
        for number in numbers {
            self.tickets += 1;
            let ticket = Ticket(self.tickets);
            self.submit(Request::Append { ticket, rows: [row(key, &number.to_string(), &self.clock)].into() });
            open += 1;
        }
        while open > 0 {
            let mut completions = Vec::new();
            self.collect(&mut completions);
            open -= completions.len();
            assert!(completions.iter().all(|one| matches!(one, Completion::Appended { .. })), "{completions:?}");
        }
    }

    pub(super) fn fetch(&mut self, key: u32, part: Part) -> (Vec<Arc<Line>>, u64) {
        match self.ask(|ticket| Request::Fetch { ticket, room: RoomKey(key), part }) {
            Completion::Fetched { lines, oldest, .. } => (lines, oldest),
            other => panic!("{other:?}"),
        }
    }

    /// Their places, and the oldest that is kept.
    pub(super) fn seqs(&mut self, key: u32, part: Part) -> (Vec<u64>, u64) {
        let (lines, oldest) = self.fetch(key, part);
        (lines.iter().map(|line| line.seq).collect(), oldest)
    }

    /// All lines of a room, each of which says its number.
    pub(super) fn assert_counts(&mut self, key: u32, seqs: std::ops::RangeInclusive<u64>) {
        let (lines, oldest) = self.fetch(key, ALL);
        assert_eq!(oldest, *seqs.start());
        assert!(lines.iter().map(|line| line.seq).eq(seqs.clone()), "{seqs:?}, not {}", lines.len());
        for line in lines {
            assert_eq!(*line.draft.message, line.seq.to_string());
        }
    }
}

pub(super) fn draft(message: &str, time_ms: Millis) -> Draft {
    let from = Name::parse("alice", 32).expect("a name");
    Draft { time_ms, user: UserId([1; 10]), from, id: None, message: message.into(), to: None }
}

pub(super) fn row(key: u32, message: &str, clock: &Clock) -> Row {
    Row { room: RoomKey(key), draft: draft(message, clock.wall_ms()) }
}
