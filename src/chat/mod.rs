//! THE RULES: who is where, under which name, and who gets what. No I/O, clock, dice, sockets or threads.
//!
//! [`Chat::handle`] takes one [`Event`] and notes in [`Effects`] what should be done. It never acts, so whole
//! conversations of thousands can be replayed from a seed (`tests/sim.rs`). The engine calls it, once for each thing
//! that happened in a turn, then applies the effects in order.
//!
//! A line's way through here: [`Ask::Chat`] becomes a [`Request::Append`] with a ticket; the store gives it its `seq`
//! and answers [`Completion::Appended`] with that ticket; only then is it handed to the room's readers, and after it
//! the acknowledgement to its sender. What the core does not know before the store says it is a line's place.
//!
//! In reading order: [`ids`], [`names`], [`command`] (what is asked), [`message`] (what is told), [`effects`] (what goes
//! in and out); then `users`, `rooms`, `greeting` (`hello`, being away, taking over) and `session`, `joining`,
//! `catching_up`, `leaving`, `speaking` (lines, binary, typing), `private`, `asking` (who, history, names), `presence`
//! (large rooms), `retries`, `recalling` (what the store has to say of those) and `tickets`.

pub mod command;
pub mod effects;
pub mod ids;
pub mod message;
pub mod names;
pub mod slack;

mod asking;
mod catching_up;
mod greeting;
mod joining;
mod leaving;
mod presence;
mod private;
mod recalling;
mod retries;
mod rooms;
mod session;
mod speaking;
mod tickets;
mod users;

pub use command::{Ask, Command, ErrorCode, Fault};
pub use effects::{Class, CloseReason, Completion, Delivery, Effects, Event, Part, Request, Row};
pub use ids::{ConnId, Millis, Now, RoomKey, Ticket, UserId};
pub use message::{Draft, Line, Message, Notice};
pub use names::{Name, NameKey, RoomName};

use greeting::Absent;
use presence::Telling;
use retries::Retries;
use rooms::Rooms;
use session::Sealer;
use tickets::{Pending, Tickets};
use users::{UserKey, Users, Waiting};

/// How much the core allows.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest name, in characters (32: a line of a list still has room for the rest).
    pub name_chars_max: usize,
    /// Rooms that one user may be in (64: a join costs memory for as long as it lasts).
    pub rooms_per_user_max: usize,
    /// Members up to which each single join, leave, rename and typing is told (200: N joiners cost N² frames).
    pub members_told_max: usize,
    /// Bytes of text in one page of a replay (32 KiB: a reader who catches up costs no more memory than that).
    pub page_bytes_max: usize,
    /// Lines of a room among which a retry is found (10,000).
    pub dedup_room_max: usize,
    /// Lines in all rooms among which a retry is found (4 million, some 200 MB; the idle rooms' go first).
    pub dedup_max: usize,
    /// How long a `chinwag.v1` connection may take to say `hello`, in milliseconds (10 s).
    pub hello_ms: Millis,
    /// How long a user who lost the connection stays present, in milliseconds (30 s: a tunnel, or a page's reload).
    pub grace_ms: Millis,
    /// Users who may be away at a time (as many as connections, 20,000); past it, who is away longest goes early.
    pub away_max: usize,
    /// Rooms that users who are away may be in, all together (25,000, a quarter of all rooms: each keeps its rooms loaded).
    pub away_rooms_max: usize,
    /// Told in `welcome`: after how much silence a client should ping (25 s: 5 s before the server does).
    pub heartbeat_ms: Millis,
    /// Told in `welcome`: the longest message that the engine lets through (64 KiB).
    pub message_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            name_chars_max: 32,
            rooms_per_user_max: 64,
            members_told_max: 200,
            page_bytes_max: 32 * 1024,
            dedup_room_max: 10_000,
            dedup_max: 4_000_000,
            hello_ms: 10_000,
            grace_ms: 30_000,
            away_max: 20_000,
            away_rooms_max: 25_000,
            heartbeat_ms: 25_000,
            message_bytes_max: 65_536,
        }
    }
}

/// Everybody and every room, and the rules by which they meet.
#[derive(Debug)]
pub struct Chat {
    limits: Limits,
    users: Users,
    rooms: Rooms,
    tickets: Tickets,
    retries: Retries,
    telling: Telling,
    absent: Absent,
    sealer: Sealer,
    /// Bytes of the lines that wait until it is known whether they are retries.
    unsaid_bytes: usize,
    /// When the first event came: the start, as far as the core can tell.
    started: Option<Now>,
}

/// How much there is of what should be gone when everybody has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Users, those among them who are away: in their grace, or until the store has answered their last lines.
    pub users: usize,
    /// Names that are taken.
    pub names: usize,
    /// Rooms that are loaded or loading.
    pub rooms: usize,
    /// Memberships of users in rooms.
    pub members: usize,
    /// Requests that the store has not answered.
    pub tickets: usize,
    /// Deadlines of the core's own.
    pub deadlines: usize,
}

impl Chat {
    /// Nobody, nowhere. `key` is random: sessions are sealed with it, and the hashes by which retries are found are
    /// keyed by it. Under the same key, earlier sessions are good.
    pub fn new(limits: Limits, key: [u8; 32]) -> Self {
        let mut retries_key = [0; 16];
        retries_key.copy_from_slice(&key[..16]);
        Self {
            users: Users::default(),
            rooms: Rooms::default(),
            tickets: Tickets::default(),
            retries: Retries::new(retries_key, limits.dedup_room_max, limits.dedup_max),
            telling: Telling::default(),
            absent: Absent::default(),
            sealer: Sealer::new(&key),
            unsaid_bytes: 0,
            started: None,
            limits,
        }
    }

    /// Takes notice of `event` and notes in `effects` what follows from it.
    ///
    /// A connection that [is held](Self::is_held) must not be heard until it is released. An event for a connection
    /// that is not known (any more) is ignored.
    pub fn handle(&mut self, now: Now, event: Event<'_>, effects: &mut Effects) {
        self.started.get_or_insert(now);
        match event {
            Event::Opened { conn, room, name, secret } => self.open(now, conn, room, name, secret, effects),
            Event::Connected { conn, secret } => self.connect(now, conn, secret),
            Event::Heard { conn, command } => match self.users.by_conn(conn) {
                Some(user) => {
                    debug_assert!(self.users[user].waiting.is_none(), "{conn:?} is held and was heard");
                    self.hear(now, user, conn, command, effects);
                }
                None => self.hear_stranger(now, conn, command, effects),
            },
            Event::Closed { conn, for_good } => match self.users.by_conn(conn) {
                Some(user) => self.lose(now, user, for_good, effects),
                None => self.lose_stranger(conn),
            },
            Event::Drained { conn } => {
                if let Some(user) = self.users.by_conn(conn) {
                    self.feed(user, effects);
                }
            }
            Event::Completed(completion) => self.complete(now, completion, effects),
            Event::Tick => {
                self.tell_crowds(now, effects);
                self.end_waits(now, effects);
            }
        }
        #[cfg(debug_assertions)]
        self.check_cheaply();
    }

    /// When an [`Event::Tick`] is due at the latest, on the monotonic clock.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.telling.next_deadline().into_iter().chain(self.absent.next_deadline()).min()
    }

    /// Whether an answer is awaited before the next request of this connection may be heard: what a room's loading or
    /// the store has to say first, or the fate of the user's earlier lines.
    pub fn is_held(&self, conn: ConnId) -> bool {
        self.users.by_conn(conn).is_some_and(|user| self.users[user].waiting.is_some())
    }

    /// Whether the store has answered everything.
    pub fn is_settled(&self) -> bool {
        self.tickets.len() == 0
    }

    /// Counts what there is.
    pub fn usage(&self) -> Usage {
        Usage {
            users: self.users.len(),
            names: self.users.names_len(),
            rooms: self.rooms.len(),
            members: self.rooms.members_len(),
            tickets: self.tickets.len(),
            deadlines: self.telling.len() + self.absent.len(),
        }
    }

    fn hear(&mut self, now: Now, user: UserKey, conn: ConnId, command: Command<'_>, effects: &mut Effects) {
        effects.cost_tokens += 1;
        let Command { ask, reference } = command;
        let reference = reference.map(|text| Box::from(&*text));
        let asker = Asker { user, conn, reference };
        match ask {
            Ask::Hello(_) => {
                let fault = Fault::new(ErrorCode::BadRequest, "`hello` comes once, first, and on `chinwag.v1` only");
                asker.refuse(fault, Subject::default(), effects);
            }
            Ask::Chat { room, message, id } => self.say(now, asker, room.as_deref(), &message, id.as_deref(), effects),
            Ask::Private { to, message, id } => self.say_privately(now, asker, &to, &message, id.as_deref(), effects),
            Ask::Join { room, from } => self.join(now, asker, &room, from, effects),
            Ask::Leave { room } => self.leave(now, asker, &room, effects),
            Ask::Rename { name } => self.rename(asker, &name, effects),
            Ask::Who { room } => self.tell_who(asker, room.as_deref(), effects),
            Ask::History { room, span, limit } => self.ask_history(asker, room.as_deref(), span, limit, effects),
            Ask::Typing { room } => self.tell_typing(now, asker, room.as_deref(), effects),
            Ask::Ping { t } => effects.reply(conn, Message::Pong { t, reference: asker.reference }),
            Ask::Binary(bytes) => self.relay(asker, bytes, effects),
            Ask::Wrong { fault, room, id } => {
                asker.refuse(fault, Subject { room: room.as_deref(), id: id.as_deref() }, effects);
            }
        }
    }

    fn complete(&mut self, now: Now, completion: Completion, effects: &mut Effects) {
        let Some(pending) = self.tickets.take(completion.ticket()) else {
            panic!("the store answered {completion:?}, which nobody asked");
        };
        let user = match &pending {
            Pending::Load { .. } | Pending::Recall { .. } => None,
            Pending::Line { user, .. }
            | Pending::Probe { user, .. }
            | Pending::Page { user, .. }
            | Pending::History { user, .. } => Some(*user),
        };
        match (pending, completion) {
            (Pending::Load { room }, Completion::Loaded { epoch, newest, former, .. }) => {
                self.loaded(now, room, epoch, newest, former, effects);
            }
            (Pending::Recall { room, first }, Completion::Recalled { ids, through, .. }) => {
                self.recalled(now, room, first, &ids, through, effects);
            }
            (Pending::Recall { room, .. }, Completion::Refused { code, .. }) => {
                self.not_recalled(now, room, code, effects);
            }
            (Pending::Load { room }, Completion::Refused { code, .. }) => self.not_loaded(now, room, code, effects),
            (Pending::Line { user, line }, Completion::Appended { lines, .. }) => {
                self.appended(now, user, *line, lines, effects);
            }
            (Pending::Line { user, line }, Completion::Refused { code, .. }) => {
                self.not_appended(now, user, *line, code, effects);
            }
            (Pending::Probe { user, visit, join }, Completion::Fetched { lines, oldest, .. }) => {
                let conn = self.still_there(user, visit);
                self.probed(now, user, conn, join, lines.first(), oldest, effects);
            }
            (Pending::Page { user, visit, room }, Completion::Fetched { lines, oldest, .. }) => {
                if let Some(conn) = self.still_there(user, visit) {
                    self.fed(user, conn, room, lines, oldest, effects);
                }
            }
            (Pending::History { user, visit, room, span, reference }, Completion::Fetched { lines, oldest, .. }) => {
                if let Some(conn) = self.still_there(user, visit) {
                    self.tell_history(user, conn, room, span, reference, lines, oldest, effects);
                }
            }
            (pending, Completion::Refused { code, .. }) => self.not_fetched(now, pending, code, effects),
            (pending, completion) => panic!("the store answered {pending:?} with {completion:?}"),
        }
        if let Some(user) = user {
            self.users[user].outstanding -= 1;
            self.settle(now, user, effects);
        }
    }

    /// The connection on which the user asked, if it is still that one.
    fn still_there(&self, user: UserKey, visit: u32) -> Option<ConnId> {
        self.users[user].conn.filter(|_| self.users[user].visit == visit)
    }

    /// Does what waited for the user's lines, once the last of them is answered.
    fn settle(&mut self, now: Now, user: UserKey, effects: &mut Effects) {
        if self.users[user].outstanding > 0 {
            return;
        }
        let Some(conn) = self.users[user].conn else {
            if self.users[user].grace_until_ms.is_none() {
                self.depart(now, user, effects);
            }
            return;
        };
        match self.users[user].waiting.take().map(|waiting| *waiting) {
            Some(Waiting::Greeting(greeting)) => self.welcome(now, user, conn, greeting, effects),
            Some(Waiting::Leave { room, reference }) => self.leave_now(now, user, conn, room, reference, effects),
            Some(Waiting::Rename { name, reference }) => self.rename_now(user, conn, name, reference, effects),
            other => self.users[user].waiting = other.map(Box::new),
        }
    }

    /// Holds that the parts agree with each other. Costs a walk over everything; for tests.
    ///
    /// # Panics
    /// When they do not.
    pub fn check(&self) {
        self.check_cheaply();
        self.users.check();
        self.rooms.check(&self.users);
        for (user, _) in self.users.iter() {
            let streams = usize::from(self.users[user].has_stream());
            assert!(self.users[user].rooms.len() <= self.limits.rooms_per_user_max + streams, "too many rooms");
        }
    }

    fn check_cheaply(&self) {
        assert!(self.unsaid_bytes == 0 || self.tickets.len() > 0, "what waits for ids has asked for them");
        assert!(self.users.names_len() == self.users.len(), "a name for each user");
        assert!(self.telling.len() <= self.rooms.len(), "at most one deadline a room");
        assert!(self.absent.len() == 0 || self.absent.next_deadline().is_some(), "whoever is awaited has a deadline");
    }
}

/// Who asked, and what the answer must carry.
#[derive(Debug)]
struct Asker {
    user: UserKey,
    conn: ConnId,
    reference: Option<Box<str>>,
}

/// What an error was about, as the request gave it.
#[derive(Clone, Copy, Debug, Default)]
struct Subject<'a> {
    room: Option<&'a str>,
    id: Option<&'a str>,
}

impl Asker {
    fn refuse(self, fault: Fault, subject: Subject<'_>, effects: &mut Effects) {
        let reply = message::ErrorReply {
            code: fault.code,
            message: fault.message,
            room: subject.room.map(Box::from),
            reference: self.reference,
            id: subject.id.map(Box::from),
        };
        effects.reply(self.conn, Message::Error(Box::new(reply)));
    }
}
