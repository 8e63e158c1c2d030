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
//! in and out); then `users`, `rooms`, `joining` (coming, catching up, going), `speaking` (lines, private messages,
//! binary, typing), `asking` (who, history, names), `presence` (large rooms), `retries` and `tickets`.

pub mod command;
pub mod effects;
pub mod ids;
pub mod message;
pub mod names;

mod asking;
mod joining;
mod presence;
mod retries;
mod rooms;
mod speaking;
mod tickets;
mod users;

pub use command::{Ask, Command, ErrorCode, Fault};
pub use effects::{Class, CloseReason, Completion, Delivery, Effects, Event, Part, Request, Row};
pub use ids::{ConnId, Millis, Now, RoomKey, Ticket, UserId};
pub use message::{Draft, Line, Message, Notice};
pub use names::{Name, NameKey, RoomName};

use presence::Telling;
use retries::Retries;
use rooms::Rooms;
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
}

/// How much there is of what should be gone when everybody has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Users, those among them whose connection ended and whose last lines the store has not answered.
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
    /// Nobody, nowhere. `key` is random: it keys the hashes by which retries are found.
    pub fn new(limits: Limits, key: [u8; 16]) -> Self {
        Self {
            users: Users::default(),
            rooms: Rooms::default(),
            tickets: Tickets::default(),
            retries: Retries::new(key, limits.dedup_room_max, limits.dedup_max),
            telling: Telling::default(),
            limits,
        }
    }

    /// Takes notice of `event` and notes in `effects` what follows from it.
    ///
    /// A connection that [is held](Self::is_held) must not be heard until it is released. An event for a connection
    /// that is not known (any more) is ignored.
    pub fn handle(&mut self, now: Now, event: Event<'_>, effects: &mut Effects) {
        match event {
            Event::Opened { conn, room, name, secret } => self.open(now, conn, room, name, secret, effects),
            Event::Heard { conn, command } => {
                if let Some(user) = self.users.by_conn(conn) {
                    debug_assert!(self.users[user].waiting.is_none(), "{conn:?} is held and was heard");
                    self.hear(now, user, conn, command, effects);
                }
            }
            Event::Closed { conn } => {
                if let Some(user) = self.users.by_conn(conn) {
                    self.lose(now, user, effects);
                }
            }
            Event::Drained { conn } => {
                if let Some(user) = self.users.by_conn(conn) {
                    self.feed(user, effects);
                }
            }
            Event::Completed(completion) => self.complete(now, completion, effects),
            Event::Tick => self.tell_crowds(now, effects),
        }
        #[cfg(debug_assertions)]
        self.check_cheaply();
    }

    /// When an [`Event::Tick`] is due at the latest, on the monotonic clock.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.telling.next_deadline()
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
            deadlines: self.telling.len(),
        }
    }

    fn hear(&mut self, now: Now, user: UserKey, conn: ConnId, command: Command<'_>, effects: &mut Effects) {
        effects.cost_tokens += 1;
        let Command { ask, reference } = command;
        let reference = reference.map(|text| Box::from(&*text));
        let asker = Asker { user, conn, reference };
        match ask {
            Ask::Chat { room, message, id } => self.say(now, asker, room.as_deref(), &message, id.as_deref(), effects),
            Ask::Private { to, message, id } => self.say_privately(asker, &to, &message, id.as_deref(), effects),
            Ask::Join { room, from } => self.join(now, asker, &room, from, effects),
            Ask::Leave { room } => self.leave(now, asker, &room, effects),
            Ask::Rename { name } => self.rename(asker, &name, effects),
            Ask::Who { room } => self.tell_who(asker, room.as_deref(), effects),
            Ask::History { room, span, limit } => self.ask_history(asker, room.as_deref(), span, limit, effects),
            Ask::Typing { room } => self.tell_typing(now, asker, room.as_deref(), effects),
            Ask::Ping { t } => effects.reply(conn, Message::Pong { t, reference: asker.reference }),
            Ask::Binary(bytes) => self.relay(asker, bytes, effects),
            Ask::Wrong(fault) => asker.refuse(fault, Subject::default(), effects),
        }
    }

    fn complete(&mut self, now: Now, completion: Completion, effects: &mut Effects) {
        let Some(pending) = self.tickets.take(completion.ticket()) else {
            panic!("the store answered {completion:?}, which nobody asked");
        };
        let user = match &pending {
            Pending::Load { .. } => None,
            Pending::Line { user, .. }
            | Pending::Probe { user, .. }
            | Pending::Page { user, .. }
            | Pending::History { user, .. } => Some(*user),
        };
        match (pending, completion) {
            (Pending::Load { room }, Completion::Loaded { epoch, newest, .. }) => {
                self.loaded(now, room, epoch, newest, effects);
            }
            (Pending::Load { room }, Completion::Refused { code, .. }) => self.not_loaded(room, code, effects),
            (Pending::Line { user, room, reference, ack }, Completion::Appended { lines, .. }) => {
                self.appended(user, room, reference, ack, lines, effects);
            }
            (Pending::Line { user, room, reference, ack }, Completion::Refused { code, .. }) => {
                self.not_appended(user, room, reference, ack, code, effects);
            }
            (Pending::Probe { user, join }, Completion::Fetched { lines, oldest, .. }) => {
                self.probed(now, user, join, lines.first(), oldest, effects);
            }
            (Pending::Page { user, room }, Completion::Fetched { lines, oldest, .. }) => {
                self.fed(user, room, lines, oldest, effects);
            }
            (Pending::History { user, room, span, reference }, Completion::Fetched { lines, oldest, .. }) => {
                self.tell_history(user, room, span, reference, lines, oldest, effects);
            }
            (pending, Completion::Refused { code, .. }) => self.not_fetched(pending, code, effects),
            (pending, completion) => panic!("the store answered {pending:?} with {completion:?}"),
        }
        if let Some(user) = user {
            self.users[user].outstanding -= 1;
            self.settle(now, user, effects);
        }
    }

    /// Does what waited for the user's lines, once the last of them is answered.
    fn settle(&mut self, now: Now, user: UserKey, effects: &mut Effects) {
        if self.users[user].outstanding > 0 {
            return;
        }
        let Some(conn) = self.users[user].conn else {
            self.depart(now, user, effects);
            return;
        };
        match self.users[user].waiting.take() {
            Some(Waiting::Leave { room, reference }) => self.leave_now(now, user, conn, room, reference, effects),
            Some(Waiting::Rename { name, reference }) => self.rename_now(user, conn, name, reference, effects),
            other => self.users[user].waiting = other,
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
            assert!(self.users[user].rooms.len() <= self.limits.rooms_per_user_max, "too many rooms");
        }
    }

    fn check_cheaply(&self) {
        assert!(self.users.names_len() == self.users.len(), "a name for each user");
        assert!(self.telling.len() <= self.rooms.len(), "at most one deadline a room");
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
