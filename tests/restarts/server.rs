//! A server that is started again and again: the core and the store on a disk, without sockets, driven as the engine
//! drives them; and a client that reads what it is told as JSON.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use chinwag::chat::{Chat, Completion, ConnId, Effects, ErrorCode, Event, Limits, Now, Request};
use chinwag::store::{Sqlite, SqliteOptions};
use chinwag::wire::command::parse_v1;
use chinwag::wire::encode::{Encoder, Lang};
use serde_json::{Value, json};

use crate::frames::texts;

/// A folder of the test's own, which is gone after it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("chinwag-restarts-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a folder for temporary files");
        Self(path)
    }

    /// What is there at this moment, as a crash would leave it to the next start.
    pub fn image(&self) -> Self {
        let image = Self::new();
        self.copy_to(&image, |name| !name.ends_with("-shm"));
        image
    }

    /// Puts an older copy of the store into its place.
    pub fn put_back(&self, older: &Self) {
        older.copy_to(self, |name| name == "chinwag.db");
    }

    fn copy_to(&self, other: &Self, which: impl Fn(&str) -> bool) {
        for entry in fs::read_dir(&self.0).expect("the folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name();
            if which(&name.to_string_lossy()) {
                fs::copy(entry.path(), other.0.join(name)).expect("a copy");
            }
        }
    }

    pub fn options(&self) -> SqliteOptions {
        SqliteOptions::at(self.0.join("chinwag.db"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server, and what it told each connection.
pub struct Server {
    pub chat: Chat,
    store: Sqlite,
    woken: Receiver<()>,
    effects: Effects,
    encoder: Encoder,
    now: Now,
    accepted: u32,
    told: HashMap<ConnId, Vec<Value>>,
    /// The store cannot do the next of what this picks.
    pub refuses: Option<Refusal>,
}

/// What the store cannot do.
pub struct Refusal {
    pub which: fn(&Request) -> bool,
    pub code: ErrorCode,
}

/// Counts time over restarts.
static TIME: AtomicU64 = AtomicU64::new(0);

fn now() -> Now {
    let mono_ms = TIME.fetch_add(1, Ordering::Relaxed);
    Now { mono_ms, wall_ms: 1_800_000_000_000 + mono_ms }
}

impl Server {
    pub fn start(folder: &Folder) -> Self {
        Self::start_with(&folder.options())
    }

    pub fn start_with(options: &SqliteOptions) -> Self {
        let (wake, woken) = channel();
        let opened = Sqlite::open(options, now, move || wake.send(()).unwrap_or(())).expect("it opens");
        Self {
            chat: Chat::new(Limits::default(), opened.key),
            store: opened.store,
            woken,
            effects: Effects::default(),
            encoder: Encoder::new(Lang::English),
            now: now(),
            accepted: 0,
            told: HashMap::new(),
            refuses: None,
        }
    }

    /// Somebody connects and says `hello`; gives the connection and what it was told.
    pub fn hello(&mut self, fields: &Value) -> (ConnId, Vec<Value>) {
        let conn = ConnId { index: self.accepted, generation: self.accepted };
        self.accepted += 1;
        let mut secret = [0; 16];
        secret[..8].copy_from_slice(&now().mono_ms.to_be_bytes());
        self.chat.handle(self.now, Event::Connected { conn, secret }, &mut self.effects);
        let mut hello = json!({"type": "hello"});
        hello.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        let told = self.ask(conn, &hello);
        (conn, told)
    }

    /// A client asks for something; gives what it was told until all is answered.
    pub fn ask(&mut self, conn: ConnId, command: &Value) -> Vec<Value> {
        self.send(conn, command);
        self.settle();
        self.take(conn)
    }

    /// A client asks for something, and the store has not answered.
    pub fn send(&mut self, conn: ConnId, command: &Value) {
        self.now = now();
        let text = command.to_string();
        self.chat.handle(self.now, Event::Heard { conn, command: parse_v1(&text) }, &mut self.effects);
    }

    /// What a client was told since it was asked last.
    pub fn take(&mut self, conn: ConnId) -> Vec<Value> {
        self.told.remove(&conn).unwrap_or_default()
    }

    /// Until all is answered.
    pub fn settle(&mut self) {
        loop {
            let mut completions = Vec::new();
            for request in std::mem::take(&mut self.effects.requests) {
                match self.refuses.take_if(|refusal| (refusal.which)(&request)) {
                    Some(Refusal { code, .. }) => {
                        completions.push(Completion::Refused { ticket: ticket(&request), code });
                    }
                    None => self.store.submit(request),
                }
            }
            self.store.collect(&mut completions, || false);
            let is_idle = completions.is_empty() && !self.store.has_more();
            for completion in completions {
                self.chat.handle(self.now, Event::Completed(completion), &mut self.effects);
            }
            self.share_out();
            if self.effects.requests.is_empty() {
                if self.chat.is_settled() {
                    return;
                }
                if is_idle {
                    self.woken.recv_timeout(Duration::from_mins(1)).expect("the store answers");
                }
            }
        }
    }

    fn share_out(&mut self) {
        for told in std::mem::take(&mut self.effects.deliveries) {
            let mut bytes = Vec::new();
            self.encoder.encode(&mut bytes, &told.message, self.now.wall_ms);
            for conn in &self.effects.readers[told.to.start as usize..told.to.end as usize] {
                let frames = texts(&bytes).into_iter().map(|text| serde_json::from_str::<Value>(&text).expect("JSON"));
                self.told.entry(*conn).or_default().extend(frames);
            }
        }
        let drained = std::mem::take(&mut self.effects.watches);
        self.effects.clear();
        for conn in drained {
            self.chat.handle(self.now, Event::Drained { conn }, &mut self.effects);
        }
    }
}

fn ticket(request: &Request) -> chinwag::chat::Ticket {
    match *request {
        Request::Load { ticket, .. }
        | Request::Append { ticket, .. }
        | Request::Fetch { ticket, .. }
        | Request::Recall { ticket, .. } => ticket,
        Request::Unload { .. } => panic!("nobody answers an unload"),
    }
}

/// The frames of one type among some.
pub fn of<'a>(told: &'a [Value], kind: &str) -> Vec<&'a Value> {
    told.iter().filter(|frame| frame["type"] == kind).collect()
}

/// The `joined` of a room among some.
pub fn joined<'a>(told: &'a [Value], room: &str) -> &'a Value {
    let found = of(told, "joined").into_iter().find(|joined| joined["room"] == room);
    found.unwrap_or_else(|| panic!("joined {room}: {told:?}"))
}

/// A place after a line that came as `frame` in a room that was joined with `joined`.
pub fn place(joined: &Value, frame: &Value) -> Value {
    json!({"room": joined["room"], "epoch": joined["epoch"], "seq": frame["seq"], "time": frame["timestamp"]})
}
