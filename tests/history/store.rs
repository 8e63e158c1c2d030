//! A store in a folder of the test's own, written by the store itself, and the command that looks after it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use chinwag::chat::{Completion, Draft, Name, Now, Request, RoomKey, RoomName, Row, Ticket, UserId};
use chinwag::store::{Sqlite, SqliteOptions};
use serde_json::Value;

use crate::common::PATIENCE;

/// Half past eight in the morning of 2026-11-22, UTC.
pub(crate) const NOW_MS: u64 = 1_795_336_200_000;

/// A folder that is gone after the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("chinwag-history-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a folder for temporary files");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where the store lies.
    pub(crate) fn store(&self) -> PathBuf {
        self.file("chinwag.db")
    }

    /// The files in it, with what is in them.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(&self.0).expect("the folder");
        let files = entries.map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, fs::read(path).expect("a file"))
        });
        files.collect()
    }

    /// Copies it as it is at this moment, as a crash would leave it.
    pub(crate) fn image(&self) -> Self {
        let image = Self::new();
        for (name, bytes) in self.files() {
            if !name.ends_with("-shm") {
                fs::write(image.file(&name), bytes).expect("a copy");
            }
        }
        image
    }

    /// Opens the store with another program.
    pub(crate) fn tamper(&self, sql: &str) {
        let other = rusqlite::Connection::open(self.store()).expect("it opens");
        other.execute_batch(sql).expect("it is changed");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A store as a server has it.
pub(crate) struct Store {
    sqlite: Sqlite,
    woken: mpsc::Receiver<()>,
    tickets: u64,
    rooms: Vec<String>,
}

/// What a room says when it is loaded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loaded {
    pub(crate) epoch: Arc<str>,
    pub(crate) newest: u64,
    pub(crate) former: Option<(Arc<str>, u64)>,
}

impl Store {
    pub(crate) fn open(path: &Path) -> Self {
        Self::open_with(&SqliteOptions::at(path))
    }

    pub(crate) fn open_with(options: &SqliteOptions) -> Self {
        let (wake, woken) = mpsc::channel();
        let clock = || Now { mono_ms: 0, wall_ms: NOW_MS };
        // When the test is over, nobody is there to be woken.
        let opened = Sqlite::open(options, clock, move || wake.send(()).unwrap_or(()));
        Self { sqlite: opened.expect("it opens").store, woken, tickets: 0, rooms: Vec::new() }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn answers(&mut self, count: usize) -> Vec<Completion> {
        let mut answers = Vec::new();
        loop {
            self.sqlite.collect(&mut answers, || false);
            if answers.len() >= count {
                return answers;
            }
            if !self.sqlite.has_more() {
                self.woken.recv_timeout(PATIENCE).expect("the store answers");
            }
        }
    }

    pub(crate) fn load(&mut self, name: &str) -> Loaded {
        let (ticket, room) = (self.ticket(), RoomKey(u32::try_from(self.rooms.len()).expect("few rooms")));
        self.rooms.push(name.to_owned());
        let name = RoomName::kept(name).expect("a room's name");
        self.sqlite.submit(Request::Load { ticket, room, name, must_exist: false });
        match self.answers(1).remove(0) {
            Completion::Loaded { epoch, newest, former, .. } => Loaded { epoch, newest, former },
            other => panic!("{other:?}"),
        }
    }

    fn key(&mut self, name: &str) -> RoomKey {
        if !self.rooms.iter().any(|room| room == name) {
            self.load(name);
        }
        let place = self.rooms.iter().position(|room| room == name).expect("it is loaded");
        RoomKey(u32::try_from(place).expect("few rooms"))
    }

    /// Has lines stored in a room, and waits for it.
    pub(crate) fn add(&mut self, room: &str, drafts: impl IntoIterator<Item = Draft>) {
        let room = self.key(room);
        let mut waiting = 0;
        for draft in drafts {
            let ticket = self.ticket();
            self.sqlite.submit(Request::Append { ticket, rows: [Row { room, draft }].into_iter().collect() });
            waiting += 1;
            if waiting == 1_000 {
                self.stored(std::mem::take(&mut waiting));
            }
        }
        self.stored(waiting);
    }

    /// Has a line stored in several rooms at once, as a private message is in two.
    pub(crate) fn add_together(&mut self, draft: &Draft, rooms: &[String]) {
        let ticket = self.ticket();
        let rows = rooms.iter().map(|room| Row { room: self.key(room), draft: draft.clone() }).collect();
        self.sqlite.submit(Request::Append { ticket, rows });
        self.stored(1);
    }

    fn stored(&mut self, count: usize) {
        if count > 0 {
            let answers = self.answers(count);
            assert!(answers.iter().all(|one| matches!(one, Completion::Appended { .. })), "{answers:?}");
        }
    }

    /// Numbered lines.
    pub(crate) fn count(&mut self, room: &str, numbers: std::ops::RangeInclusive<u64>) {
        self.add(room, numbers.map(|number| said(&format!("line {number:06}"))));
    }
}

/// A line of Alice's.
pub(crate) fn said(message: &str) -> Draft {
    said_by("alice", 1, message)
}

pub(crate) fn said_by(name: &str, user: u8, message: &str) -> Draft {
    let from = Name::parse(name, 256).expect("a name");
    Draft { time_ms: NOW_MS + 7, user: UserId([user; 10]), from, id: None, message: message.into(), to: None }
}

/// A user's stream.
pub(crate) fn stream(user: u8) -> String {
    RoomName::stream(UserId([user; 10])).to_string()
}

/// A folder with a store that counts to this in the room `tea`, closed in order.
pub(crate) fn counted(lines: u64) -> Folder {
    let folder = Folder::new();
    Store::open(&folder.store()).count("tea", 1..=lines);
    folder
}

/// What the command has said, and its exit code.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

/// The command, not yet started; without a word about the store.
pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chinwag"));
    command.arg("history").args(words).env("TZ", "UTC").stdin(Stdio::null());
    command
}

/// Runs `chinwag history` with these words on the folder's store.
pub(crate) fn history(folder: &Folder, words: &[&str]) -> Ended {
    ended(command(words).arg("--store").arg(folder.store()))
}

pub(crate) fn ended(command: &mut Command) -> Ended {
    let output = command.output().expect("it can be started");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ended { code: output.status.code(), output: text(output.stdout), errors: text(output.stderr) }
}

impl Ended {
    /// All is well, and nothing was to be noted.
    #[track_caller]
    pub(crate) fn well(self) -> String {
        assert!(self.code == Some(0) && self.errors.is_empty(), "{self:?}");
        self.output
    }

    /// It was refused, with this among the reasons and nothing on standard output.
    #[track_caller]
    pub(crate) fn refused(self, why: &str) {
        assert!(self.code == Some(1) && self.output.is_empty() && self.errors.contains(why), "{why}: {self:?}");
        assert!(self.errors.lines().count() == 1 && !self.errors.contains("os error"), "{self:?}");
    }
}

/// The lines of an export.
pub(crate) fn parsed(export: &str) -> Vec<Value> {
    export.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Imports an export into the folder's store.
pub(crate) fn import(folder: &Folder, export: &str) -> Ended {
    let file = folder.file("export.jsonl");
    fs::write(&file, export).expect("a file");
    let ended = history(folder, &["import", file.to_str().expect("a path")]);
    fs::remove_file(file).expect("it is there");
    ended
}

/// Imports from standard input.
pub(crate) fn import_piped(folder: &Folder, from: &Path) -> Ended {
    let input = File::open(from).expect("a file");
    ended(command(&["import", "-"]).arg("--store").arg(folder.store()).stdin(input))
}
