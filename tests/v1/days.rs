//! What would take days, or gigabytes, over sockets: the core and the memory store themselves, with a clock that the test
//! sets. That the engine tells them the real time, `hello` and `grace` show.

use chinwag::chat::{Chat, ConnId, Effects, ErrorCode, Event, Limits, Message, Now};
use chinwag::store::{Memory, MemoryLimits};
use chinwag::wire::command::parse_v1;

const DAY_MS: u64 = 24 * 3_600_000;

/// A server without sockets, at a time of the test's own.
struct Core {
    chat: Chat,
    store: Memory,
    effects: Effects,
    start_ms: u64,
    now: Now,
    connections: u32,
}

impl Core {
    /// Started so many days after the first; `key` is the store's.
    fn start(limits: Limits, key: u8, days: u64) -> Self {
        let start_ms = 1_800_000_000_000 + days * DAY_MS;
        Self {
            chat: Chat::new(limits, [key; 32]),
            store: Memory::new(MemoryLimits::default(), u64::from(key)),
            effects: Effects::default(),
            start_ms,
            now: Now { mono_ms: 0, wall_ms: start_ms },
            connections: 0,
        }
    }

    /// It is so many milliseconds after the start.
    fn at(&mut self, ms: u64) {
        self.now = Now { mono_ms: ms, wall_ms: self.start_ms + ms };
        self.handle(Event::Tick);
    }

    /// One event and all that the store answers to it: what is said, to whomever.
    fn handle(&mut self, event: Event<'_>) -> Vec<Message> {
        self.chat.handle(self.now, event, &mut self.effects);
        let mut completions = Vec::new();
        loop {
            self.effects.requests.drain(..).for_each(|request| self.store.submit(request));
            self.store.collect(&mut completions);
            if completions.is_empty() {
                let told = self.effects.deliveries.drain(..).map(|delivery| delivery.message).collect();
                self.effects.clear();
                return told;
            }
            for completion in completions.drain(..) {
                self.chat.handle(self.now, Event::Completed(completion), &mut self.effects);
            }
        }
    }

    /// Somebody connects and says `hello` with these fields: the connection, the user and the session.
    fn hello(&mut self, fields: &str) -> (ConnId, String, String) {
        self.connections += 1;
        let conn = ConnId { index: self.connections, generation: self.connections };
        let mut secret = [0; 16];
        // Of two servers too, the random bits differ.
        secret[..8].copy_from_slice(&(self.start_ms + u64::from(self.connections)).to_le_bytes());
        self.handle(Event::Connected { conn, secret });
        let told = self.say(conn, &format!(r#"{{"type":"hello"{fields}}}"#));
        let Some(Message::Welcome(welcome)) = told.first() else { panic!("no welcome: {told:?}") };
        (conn, welcome.user.to_string(), welcome.session.to_string())
    }

    fn say(&mut self, conn: ConnId, text: &str) -> Vec<Message> {
        self.handle(Event::Heard { conn, command: parse_v1(text) })
    }

    fn goodbye(&mut self, conn: ConnId) {
        self.handle(Event::Closed { conn, for_good: true });
    }

    /// Somebody comes with this session, and says goodbye: who it is, and its session from now on.
    fn visit(&mut self, session: &str) -> (String, String) {
        let (conn, user, session) = self.hello(&format!(r#","session":"{session}""#));
        self.goodbye(conn);
        (user, session)
    }
}

/// > It is good for 30 days. The `welcome` repeats the one that was shown; when that is older than 15 days, it brings a
/// > fresh one.
///
/// > | the age of a `session` | 30 days | | one is somebody new |
///
/// > The server keeps no list of sessions.
#[test]
fn a_session_is_good_for_30_days_and_is_renewed_after_15() {
    let mut core = Core::start(Limits::default(), 7, 0);
    let (conn, user, first) = core.hello("");
    core.goodbye(conn);
    core.at(15 * DAY_MS - 1);
    assert_eq!(core.visit(&first), (user.clone(), first.clone()));
    core.at(15 * DAY_MS + 1);
    let (same, second) = core.visit(&first);
    assert_eq!(same, user);
    assert_ne!(second, first, "whoever comes often stays");
    core.at(30 * DAY_MS - 1);
    assert_eq!(core.visit(&first).0, user, "the earlier one is good until its time is over");
    core.at(30 * DAY_MS);
    assert_ne!(core.visit(&first).0, user);
    core.at(45 * DAY_MS);
    assert_eq!(core.visit(&second).0, user);
    core.at(45 * DAY_MS + 1);
    assert_ne!(core.visit(&second).0, user);
    // Another server has no list of anybody. Where it has the key, the session proves the user there, too.
    for (key, proven) in [(7, true), (8, false)] {
        let mut other = Core::start(Limits::default(), key, 1);
        assert_eq!(other.visit(&first).0 == user, proven, "key {key}");
    }
}

/// > it is dropped 30 days, or up to a day more, after the user was last seen or written to
///
/// > | a stream whose user is not seen | 30 to 31 days | | it is dropped |
///
/// Bob comes and goes meanwhile: a store looks at what it keeps when something changes.
#[test]
fn a_stream_is_dropped_after_30_days_or_one_more() {
    let mut core = Core::start(Limits::default(), 7, 0);
    let (alice, user, _) = core.hello("");
    core.goodbye(alice);
    let (bob, ..) = core.hello(r#","rooms":[]"#);
    let write = |core: &mut Core, days: u64, after_ms: u64| {
        core.at(days * DAY_MS + after_ms);
        core.say(bob, r#"{"type":"join","room":"tea"}"#);
        core.say(bob, r#"{"type":"leave","room":"tea"}"#);
        let told = core.say(bob, &format!(r#"{{"type":"private","to":"{user}","message":"hello?","id":"{days}"}}"#));
        match &told[..] {
            [Message::Error(error)] => {
                assert_eq!(error.code, ErrorCode::NoSuchUser);
                false
            }
            [Message::Line(_), Message::Ack { duplicate: false, .. }] => true,
            other => panic!("{other:?}"),
        }
    };
    // Nothing is in it, and it is kept; it is written to, and it is kept from then on.
    assert!(write(&mut core, 29, DAY_MS - 1));
    assert!(write(&mut core, 59, DAY_MS - 2));
    assert!(!write(&mut core, 90, 0));
    // A stream of which nobody ever wrote goes as well.
    let (carol, user, _) = core.hello("");
    core.goodbye(carol);
    core.at(121 * DAY_MS);
    core.say(bob, r#"{"type":"join","room":"tea"}"#);
    core.say(bob, r#"{"type":"leave","room":"tea"}"#);
    let told = core.say(bob, &format!(r#"{{"type":"private","to":"{user}","message":"hello?"}}"#));
    assert!(matches!(&told[..], [Message::Error(error)] if error.code == ErrorCode::NoSuchUser), "{told:?}");
}

/// > (Of all rooms together the server knows 4 million lines with an `id`; the idle rooms' go first.)
#[test]
fn of_all_rooms_the_idle_ones_retries_are_forgotten_first() {
    let limits = Limits::default();
    assert_eq!(limits.dedup_max, 4_000_000);
    let mut core = Core::start(Limits { dedup_max: 100, ..limits }, 7, 0);
    let (alice, ..) = core.hello(r#","rooms":[{"room":"idle"},{"room":"busy"}]"#);
    let mut is_new = |room: &str, id: u32| {
        let told = core.say(alice, &format!(r#"{{"type":"chat","room":"{room}","message":"x","id":"{id}"}}"#));
        match told.last() {
            Some(&Message::Ack { duplicate, .. }) => !duplicate,
            other => panic!("{other:?}"),
        }
    };
    for id in 0..10 {
        assert!(is_new("idle", id) && !is_new("idle", id));
    }
    for id in 0..100 {
        assert!(is_new("busy", id));
    }
    assert!((0..100).all(|id| !is_new("busy", id)), "the busy room's are all known");
    assert!(is_new("idle", 0), "the idle room's are not");
}
