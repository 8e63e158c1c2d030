//! `chinwag.v1`: who somebody is, coming back, being away, and taking over.
//!
//! A connection is a stranger's until its `hello`. A session brings back the user whom it proves, whatever became of the
//! earlier connection: still there (it is closed), gone a moment ago (nobody was told), or long gone. Then the user's
//! own stream and its rooms are come into one after the other, each with the position that the client has.

use std::collections::{HashMap, VecDeque};

use super::command::{Ask, Command, ErrorCode, Fault, From, Hello};
use super::effects::{CloseReason, Effects, split_secret};
use super::ids::{ConnId, Millis, Now};
use super::joining::{Begin, ROOM_INVALID};
use super::message::{Message, Welcome};
use super::names::{ME, RoomName};
use super::session::{Proof, SESSION_MS};
use super::slack;
use super::users::{Dialect, Reader, User, UserKey, Waiting};
use super::{Asker, Chat, Subject};

/// Connections that have not said `hello`, and users who are away: each kind waits equally long.
#[derive(Debug, Default)]
pub(super) struct Absent {
    /// The random bits that came with each stranger.
    strangers: HashMap<ConnId, [u8; 16]>,
    hellos_due: VecDeque<(Millis, ConnId)>,
    away: usize,
    /// The rooms that they are in.
    away_rooms: usize,
    graces_due: VecDeque<(Millis, UserKey)>,
}

/// A `hello` that waits until the store has answered what the user asked before.
#[derive(Debug)]
pub(super) struct Greeting {
    name: Option<Box<str>>,
    /// The session that was shown, if it proved somebody.
    session: Option<(Proof, Box<str>)>,
    resumed: bool,
    rooms: Option<Vec<(Box<str>, Begin)>>,
    reference: Option<Box<str>>,
    /// Acknowledgements and errors that came meanwhile: nothing comes before the `welcome`.
    pub(super) owed: Vec<Message>,
}

/// What a stranger is told who says anything else.
const HELLO_FIRST: Fault = Fault::new(ErrorCode::BadRequest, "say `hello` first");

impl Absent {
    pub(super) fn next_deadline(&self) -> Option<Millis> {
        let hello = self.hellos_due.front().map(|&(due_ms, _)| due_ms);
        let grace = self.graces_due.front().map(|&(due_ms, _)| due_ms);
        hello.into_iter().chain(grace).min()
    }

    /// Strangers and users who are away.
    pub(super) fn len(&self) -> usize {
        self.strangers.len() + self.away
    }

    /// Somebody who was away is back, or has departed.
    pub(super) fn end_grace(&mut self, user: &User) {
        self.away -= 1;
        self.away_rooms -= user.rooms.len();
        if self.away == 0 {
            self.graces_due.clear();
            slack::trim_queue(&mut self.graces_due);
        }
    }

    fn remove_stranger(&mut self, conn: ConnId) -> Option<[u8; 16]> {
        let secret = self.strangers.remove(&conn)?;
        slack::trim_table(&mut self.strangers);
        if self.strangers.is_empty() {
            self.hellos_due.clear();
            slack::trim_queue(&mut self.hellos_due);
        }
        Some(secret)
    }
}

impl Chat {
    /// A connection that speaks `chinwag.v1` comes; it must say `hello`.
    pub(super) fn connect(&mut self, now: Now, conn: ConnId, secret: [u8; 16]) {
        self.absent.strangers.insert(conn, secret);
        self.absent.hellos_due.push_back((now.mono_ms + self.limits.hello_ms, conn));
    }

    /// A connection that has not said `hello` says something, or is none that is known.
    pub(super) fn hear_stranger(&mut self, now: Now, conn: ConnId, command: Command<'_>, effects: &mut Effects) {
        if !self.absent.strangers.contains_key(&conn) {
            return;
        }
        effects.cost_tokens += 1;
        let reference = command.reference.map(|text| Box::from(&*text));
        let (fault, room, id) = match command.ask {
            Ask::Hello(hello) => {
                let secret = self.absent.remove_stranger(conn).expect("it was just there");
                return self.greet(now, conn, secret, hello, reference, effects);
            }
            Ask::Wrong { fault, room, id } if fault.code != ErrorCode::UnknownType => (fault, room, id),
            Ask::Wrong { room, id, .. } | Ask::Chat { room, id, .. } => (HELLO_FIRST, room, id),
            Ask::Private { id, .. } => (HELLO_FIRST, None, id),
            Ask::Join { room, .. } | Ask::Leave { room } => (HELLO_FIRST, Some(room), None),
            Ask::Who { room } | Ask::History { room, .. } | Ask::Typing { room } => (HELLO_FIRST, room, None),
            Ask::Rename { .. } | Ask::Ping { .. } | Ask::Binary(_) => (HELLO_FIRST, None, None),
        };
        let reply = super::message::ErrorReply {
            code: fault.code,
            message: fault.message,
            room: room.map(|room| Box::from(&*room)),
            reference,
            id: id.map(|id| Box::from(&*id)),
        };
        effects.reply(conn, Message::Error(Box::new(reply)));
    }

    pub(super) fn lose_stranger(&mut self, conn: ConnId) {
        self.absent.remove_stranger(conn);
    }

    /// Closes strangers who said no `hello` in time, and lets users go whose grace is over.
    pub(super) fn end_waits(&mut self, now: Now, effects: &mut Effects) {
        while let Some(&(due_ms, conn)) = self.absent.hellos_due.front()
            && due_ms <= now.mono_ms
        {
            self.absent.hellos_due.pop_front();
            if self.absent.remove_stranger(conn).is_some() {
                effects.closes.push((conn, CloseReason::Silent));
            }
        }
        while self.absent.graces_due.front().is_some_and(|&(due_ms, _)| due_ms <= now.mono_ms) {
            self.end_first_grace(now, effects);
        }
    }

    /// Lets the user go who is away longest.
    fn end_first_grace(&mut self, now: Now, effects: &mut Effects) {
        let Some((due_ms, user)) = self.absent.graces_due.pop_front() else { return };
        // It may have come back, or gone for good, or the slot may be somebody else's.
        if self.users.find(user).is_some_and(|found| found.grace_until_ms == Some(due_ms)) {
            self.users[user].grace_until_ms = None;
            self.absent.end_grace(&self.users[user]);
            if self.users[user].outstanding == 0 {
                self.depart(now, user, effects);
            }
        }
    }

    fn greet(
        &mut self,
        now: Now,
        conn: ConnId,
        secret: [u8; 16],
        hello: Hello<'_>,
        reference: Option<Box<str>>,
        effects: &mut Effects,
    ) {
        // Whoever asks for replays pays for them now: they come while others are heard.
        let replays = hello.rooms.iter().flatten().filter(|entry| entry.from != From::Live).count();
        effects.cost_tokens += 4 * replays as u32;
        let session = hello.session.and_then(|text| Some((self.sealer.open(&text, now.wall_ms)?, Box::from(&*text))));
        let (new_id, seed) = split_secret(secret);
        let id = session.as_ref().map_or(new_id, |(proof, _)| proof.user);
        let present = self.users.by_id(id);
        let current = present.and_then(|user| self.users[user].conn);
        if current.is_some_and(|current| is_newer(current, conn)) {
            // It was under way when the client gave it up and made another: of two connections, the older one ends.
            effects.closes.push((conn, CloseReason::Replaced));
            return;
        }
        let (user, owed) = match present {
            Some(user) => (user, self.take_over(user, conn, effects)),
            None => (self.users.add(id, self.guest_name(seed), Dialect::V1, conn), Vec::new()),
        };
        // Who was here before the server was restarted comes back now, with all the others: that is no news.
        let started = self.started.unwrap_or(now);
        let early = now.mono_ms < started.mono_ms + self.limits.grace_ms;
        self.users[user].quiet = early && session.as_ref().is_some_and(|(proof, _)| proof.made_ms < started.wall_ms);
        let greeting = Greeting {
            name: hello.name.map(|name| Box::from(&*name)),
            session,
            resumed: present.is_some(),
            rooms: hello.rooms.map(|rooms| {
                rooms.into_iter().map(|entry| (Box::from(&*entry.room), Begin::from(entry.from))).collect()
            }),
            reference,
            owed,
        };
        self.users[user].waiting = Some(Box::new(Waiting::Greeting(greeting)));
        self.settle(now, user, effects);
    }

    /// The user's earlier connection, if it has one, ends now, and what it still waited for is void.
    ///
    /// Returns what it is still owed by that one's `hello`, if it was not welcomed there.
    fn take_over(&mut self, user: UserKey, conn: ConnId, effects: &mut Effects) -> Vec<Message> {
        if let Some(earlier) = self.users.disconnect(user) {
            effects.closes.push((earlier, CloseReason::Replaced));
        }
        let owed = match self.stop_reading(user) {
            Some(Waiting::Greeting(greeting)) => greeting.owed,
            _ => Vec::new(),
        };
        if self.users[user].grace_until_ms.is_some() {
            self.absent.end_grace(&self.users[user]);
        }
        self.users.connect(user, conn);
        owed
    }

    /// The user has no connection, or another one: it gets nothing until it says where to go on, and what it waited for
    /// is void.
    pub(super) fn stop_reading(&mut self, user: UserKey) -> Option<Waiting> {
        for membership in &mut self.users[user].rooms {
            let room = &mut self.rooms[membership.room];
            let member = &mut room.members[membership.place as usize];
            member.conn = None;
            member.live = false;
            membership.reader = Reader::Away;
            room.part_audience();
        }
        self.users[user].set_arrivals(VecDeque::new());
        let waiting = self.users[user].waiting.take().map(|waiting| *waiting);
        match &waiting {
            Some(Waiting::Load { room, .. }) => self.rooms[*room].stop_waiting(user),
            Some(Waiting::Ids { room, unsaid }) => {
                self.unsaid_bytes -= unsaid.bytes();
                self.rooms[*room].stop_waiting(user);
            }
            _ => {}
        }
        waiting
    }

    /// The connection ended, but the user is expected back.
    pub(super) fn await_return(&mut self, now: Now, user: UserKey, effects: &mut Effects) {
        let due_ms = now.mono_ms + self.limits.grace_ms;
        self.users[user].grace_until_ms = Some(due_ms);
        self.absent.away += 1;
        self.absent.away_rooms += self.users[user].rooms.len();
        self.absent.graces_due.push_back((due_ms, user));
        while self.absent.away > self.limits.away_max || self.absent.away_rooms > self.limits.away_rooms_max {
            self.end_first_grace(now, effects);
        }
    }

    /// Everything that the user asked before is answered: welcomes it, and lets it into its rooms.
    pub(super) fn welcome(&mut self, now: Now, user: UserKey, conn: ConnId, greeting: Greeting, effects: &mut Effects) {
        let mut faults = Vec::new();
        if let Some(typed) = &greeting.name {
            match self.free_name(typed, Some(user)) {
                Ok(name) if name != self.users[user].name => {
                    self.take_name(user, name, effects);
                }
                Ok(_) => {}
                Err(fault) => faults.push((fault, None)),
            }
        }
        let arrivals = self.arrivals(user, greeting.rooms, &mut faults);
        let id = self.users[user].id;
        let welcome = Welcome {
            session: self.session_for(now, id, greeting.session),
            user: id,
            name: self.users[user].name.clone(),
            resumed: greeting.resumed,
            heartbeat_ms: self.limits.heartbeat_ms,
            message_bytes_max: self.limits.message_bytes_max,
            name_chars_max: self.limits.name_chars_max,
            rooms_max: self.limits.rooms_per_user_max,
            reference: greeting.reference,
        };
        effects.reply(conn, Message::Welcome(Box::new(welcome)));
        for (fault, room) in faults {
            let subject = Subject { room: room.as_deref(), id: None };
            Asker { user, conn, reference: None }.refuse(fault, subject, effects);
        }
        for message in greeting.owed {
            effects.acknowledge(conn, message);
        }
        let leaving: Vec<_> = self.users[user]
            .rooms
            .iter()
            .map(|membership| membership.room)
            .filter(|&room| !arrivals.iter().any(|(name, _)| *name == self.rooms[room].name))
            .collect();
        for room in leaving {
            self.exit(now, user, room, effects);
        }
        self.users[user].set_arrivals(arrivals);
        self.arrive_next(now, user, effects);
    }

    /// The same session while it is young; a new one when half of its time is over, so that who comes often stays.
    fn session_for(&self, now: Now, user: super::UserId, shown: Option<(Proof, Box<str>)>) -> Box<str> {
        match shown {
            Some((proof, session)) if now.wall_ms < proof.made_ms + SESSION_MS / 2 => session,
            _ => self.sealer.seal(Proof { user, made_ms: now.wall_ms }),
        }
    }

    /// Where the user is to be: its own stream first, then the rooms that it names, or those it is in, or the lobby.
    fn arrivals(
        &self,
        user: UserKey,
        rooms: Option<Vec<(Box<str>, Begin)>>,
        faults: &mut Vec<(Fault, Option<Box<str>>)>,
    ) -> VecDeque<(RoomName, Begin)> {
        let user = &self.users[user];
        let mut arrivals = VecDeque::from([(RoomName::stream(user.id), Begin::Live)]);
        let Some(rooms) = rooms else {
            let names = user.rooms.iter().map(|membership| self.rooms[membership.room].name.clone());
            arrivals.extend(names.filter(|name| !name.is_stream()).map(|name| (name, Begin::Live)));
            if arrivals.len() == 1 {
                arrivals.push_back((RoomName::lobby(), Begin::Live));
            }
            return arrivals;
        };
        for (typed, begin) in rooms {
            if &*typed == ME {
                arrivals[0].1 = begin;
                continue;
            }
            let fault = match RoomName::parse(&typed) {
                Some(name) if arrivals.iter().any(|(other, _)| *other == name) => continue,
                Some(_) if arrivals.len() > self.limits.rooms_per_user_max => self.room_limit(),
                Some(name) => {
                    arrivals.push_back((name, begin));
                    continue;
                }
                None => ROOM_INVALID,
            };
            faults.push((fault, Some(typed)));
        }
        arrivals
    }
}

/// Whether `one` was accepted after `other`. Generations wrap.
fn is_newer(one: ConnId, other: ConnId) -> bool {
    let ahead = one.generation.wrapping_sub(other.generation);
    (1..=u32::MAX / 2).contains(&ahead)
}
