//! Coming into a room, catching up there, and going.
//!
//! Whoever comes waits until the room is loaded; with a position, also until the store has said whether the position is
//! good. A reader who has lines to catch up with gets none by fan-out: it is fed a page at a time, as its outbox drains,
//! and becomes live in the turn in which it has all that was answered.

use std::mem;
use std::sync::Arc;

use super::command::{self, ErrorCode, Fault};
use super::effects::{CloseReason, Effects, Part, Request, split_secret};
use super::ids::{ConnId, Now, RoomKey};
use super::message::{Joined, Line, Message, Notice, Recovery};
use super::names::{Name, RoomName};
use super::presence::Way;
use super::retries::Place;
use super::rooms::Member;
use super::tickets::Pending;
use super::users::{CatchingUp, Membership, UserKey, Waiting};
use super::{Asker, Chat, Subject};

/// A wish to come in.
#[derive(Debug)]
pub(super) enum Join {
    /// A plain connection's own room; the fault is what was wrong with the name that it asked for.
    Path { fault: Option<Fault> },
    /// By `join`.
    Asked { begin: Begin, reference: Option<Box<str>> },
}

/// Where to begin; [`command::From`] that can be kept.
#[derive(Debug)]
pub(super) enum Begin {
    Live,
    Last(u32),
    Position { epoch: Box<str>, seq: u64, time_ms: Option<u64> },
}

/// A position that the store looks at.
#[derive(Debug)]
pub(super) struct JoinAt {
    room: RoomKey,
    seq: u64,
    time_ms: Option<u64>,
    reference: Option<Box<str>>,
}

/// Letters of a guest's name at most: the random bits of a secret fill that many.
const GUEST_LETTERS_MAX: usize = 25;

/// Lines in one page at most, so that a page of empty lines is no larger than one of long ones.
const PAGE_LINES_MAX: u32 = 128;

impl Chat {
    /// A plain connection comes, under the name that it asked for or a guest's.
    pub(super) fn open(
        &mut self,
        now: Now,
        conn: ConnId,
        room: RoomName,
        wished: Option<&str>,
        secret: [u8; 16],
        effects: &mut Effects,
    ) {
        let (id, seed) = split_secret(secret);
        let (wished, fault) = match wished.map(|typed| self.free_name(typed, None)) {
            None => (None, None),
            Some(Ok(name)) => (Some(name), None),
            Some(Err(fault)) => (None, Some(fault)),
        };
        let name = wished.unwrap_or_else(|| self.guest_name(seed));
        let user = self.users.add(id, name, conn);
        self.go(now, user, room, Join::Path { fault }, effects);
    }

    /// A name that nobody has; longer than usual where the short ones are taken.
    fn guest_name(&self, seed: u128) -> Name {
        (4..=GUEST_LETTERS_MAX)
            .map(|letters| Name::guest(seed, letters))
            .find(|name| self.users.by_name(&name.key()).is_none())
            .expect("there are more names than users")
    }

    pub(super) fn join(&mut self, now: Now, asker: Asker, room: &str, from: command::From<'_>, effects: &mut Effects) {
        let subject = Subject { room: Some(room), id: None };
        let Some(name) = RoomName::parse(room) else {
            return asker.refuse(ROOM_INVALID, subject, effects);
        };
        if let Some(key) = self.rooms.by_name(&name)
            && self.users[asker.user].membership(key).is_some()
        {
            self.tell_joined(asker.conn, key, Recovery::Fresh, asker.reference, effects);
            return;
        }
        if self.users[asker.user].rooms.len() >= self.limits.rooms_per_user_max {
            let fault = Fault {
                code: ErrorCode::RoomLimit,
                message: format!("one can be in {} rooms; leave one first", self.limits.rooms_per_user_max).into(),
            };
            return asker.refuse(fault, subject, effects);
        }
        let begin = match from {
            command::From::Live | command::From::Last(0) => Begin::Live,
            command::From::Last(lines) => Begin::Last(lines),
            command::From::Position { epoch, seq, time_ms } => Begin::Position { epoch: (*epoch).into(), seq, time_ms },
        };
        if !matches!(begin, Begin::Live) {
            effects.cost_tokens += 4;
        }
        self.go(now, asker.user, name, Join::Asked { begin, reference: asker.reference }, effects);
    }

    /// Goes into a room, or waits until it is loaded.
    fn go(&mut self, now: Now, user: UserKey, name: RoomName, join: Join, effects: &mut Effects) {
        let room = self.rooms.by_name(&name).unwrap_or_else(|| {
            let room = self.rooms.add(name.clone());
            let ticket = self.tickets.issue(Pending::Load { room });
            effects.requests.push(Request::Load { ticket, room, name });
            room
        });
        if self.rooms[room].epoch.is_some() {
            self.arrive(now, user, room, join, effects);
        } else {
            self.rooms[room].waiters.push(user);
            self.users[user].waiting = Some(Waiting::Load { room, join });
        }
    }

    pub(super) fn loaded(&mut self, now: Now, room: RoomKey, epoch: Arc<str>, newest: u64, effects: &mut Effects) {
        let here = &mut self.rooms[room];
        self.retries.room_loaded(&here.name, &epoch);
        here.epoch = Some(epoch);
        here.newest = newest;
        for user in mem::take(&mut here.waiters) {
            match self.users[user].waiting.take() {
                Some(Waiting::Load { join, .. }) => self.arrive(now, user, room, join, effects),
                other => panic!("{user:?} waits for a room with {other:?}"),
            }
        }
        self.unload_if_empty(room, effects);
    }

    pub(super) fn not_loaded(&mut self, room: RoomKey, code: ErrorCode, effects: &mut Effects) {
        let room = self.rooms.remove(room);
        for user in room.waiters {
            let conn = self.users[user].conn.expect("whoever lost the connection does not wait");
            match self.users[user].waiting.take() {
                Some(Waiting::Load { join: Join::Path { .. }, .. }) => {
                    effects.closes.push((conn, CloseReason::Overloaded));
                }
                Some(Waiting::Load { join: Join::Asked { reference, .. }, .. }) => {
                    let asker = Asker { user, conn, reference };
                    asker.refuse(unavailable(code), Subject { room: Some(&room.name), id: None }, effects);
                }
                other => panic!("{user:?} waits for a room with {other:?}"),
            }
        }
    }

    /// The room is there: goes in, or has the position looked at first.
    fn arrive(&mut self, now: Now, user: UserKey, room: RoomKey, join: Join, effects: &mut Effects) {
        let conn = self.users[user].conn.expect("whoever lost the connection does not arrive");
        let (begin, reference) = match join {
            Join::Path { fault } => {
                self.enter(now, user, conn, room, None, effects);
                self.users[user].welcomed = true;
                let online = self.rooms[room].online();
                effects.reply(conn, Message::System(Notice::Welcome { online }));
                if let Some(fault) = fault {
                    Asker { user, conn, reference: None }.refuse(fault, Subject::default(), effects);
                }
                return;
            }
            Join::Asked { begin, reference } => (begin, reference),
        };
        let here = &self.rooms[room];
        let newest = here.newest;
        let (recovery, catching_up) = match begin {
            Begin::Live => (Recovery::Fresh, None),
            Begin::Last(lines) => {
                let next = newest.saturating_sub(u64::from(lines)) + 1;
                (Recovery::Fresh, Some(CatchingUp { next, fetching: false, hole_counts: false }))
            }
            Begin::Position { epoch, .. } if here.epoch.as_deref() != Some(&*epoch) => (Recovery::Epoch, None),
            Begin::Position { seq, .. } if seq > newest => (Recovery::Ahead, None),
            Begin::Position { seq, time_ms, .. } => {
                let join = JoinAt { room, seq, time_ms, reference };
                self.probe(user, join, effects);
                return;
            }
        };
        let catching_up = catching_up.filter(|reader| reader.next <= newest);
        self.enter(now, user, conn, room, catching_up, effects);
        self.tell_joined(conn, room, recovery, reference, effects);
    }

    fn probe(&mut self, user: UserKey, join: JoinAt, effects: &mut Effects) {
        let room = join.room;
        let part = Part { seqs: (join.seq.max(1), u64::MAX), newest_first: false, lines_max: 1, bytes_max: 0 };
        self.rooms[room].waiters.push(user);
        self.users[user].waiting = Some(Waiting::Answer);
        self.fetch(user, room, part, Pending::Probe { user, join }, effects);
    }

    /// The store told what there is at a position.
    pub(super) fn probed(
        &mut self,
        now: Now,
        user: UserKey,
        join: JoinAt,
        first: Option<&Arc<Line>>,
        oldest: u64,
        effects: &mut Effects,
    ) {
        let JoinAt { room, seq, time_ms, reference } = join;
        self.rooms[room].waiters.retain(|&waiter| waiter != user);
        self.users[user].waiting = None;
        let Some(conn) = self.users[user].conn else {
            self.unload_if_empty(room, effects);
            return;
        };
        let newest = self.rooms[room].newest;
        // The store may know of more than it has answered.
        let oldest = oldest.min(newest + 1);
        let is_another =
            |line: &Arc<Line>| line.seq == seq && time_ms.is_some_and(|time_ms| line.draft.time_ms != time_ms);
        let (recovery, next) = if first.is_some_and(is_another) {
            (Recovery::Ahead, newest + 1)
        } else if seq + 1 < oldest {
            (Recovery::Trimmed { from: seq + 1, to: oldest - 1 }, oldest)
        } else {
            (Recovery::Recovered, seq + 1)
        };
        let catching_up = (next <= newest).then_some(CatchingUp { next, fetching: false, hole_counts: true });
        self.enter(now, user, conn, room, catching_up, effects);
        self.tell_joined(conn, room, recovery, reference, effects);
    }

    fn enter(
        &mut self,
        now: Now,
        user: UserKey,
        conn: ConnId,
        room: RoomKey,
        catching_up: Option<CatchingUp>,
        effects: &mut Effects,
    ) {
        let live = catching_up.is_none();
        if !live {
            effects.watches.push(conn);
        }
        let here = &mut self.rooms[room];
        let membership = Membership { room, place: here.members.len() as u32, catching_up: catching_up.map(Box::new) };
        let who = &mut self.users[user];
        here.members.push(Member { user, conn: Some(conn), live, takes_binary: who.takes_binary });
        here.part_audience();
        who.rooms.push(membership);
        self.tell_move(now, room, user, Way::In, effects);
    }

    fn tell_joined(
        &mut self,
        conn: ConnId,
        room: RoomKey,
        recovery: Recovery,
        reference: Option<Box<str>>,
        effects: &mut Effects,
    ) {
        let here = &mut self.rooms[room];
        here.part_audience();
        let joined = Joined {
            room: here.name.clone(),
            epoch: here.epoch.clone().expect("only a loaded room has members"),
            seq: here.newest,
            online: here.online(),
            recovery,
            reference,
        };
        effects.reply(conn, Message::Joined(Box::new(joined)));
    }

    /// Fetches the next page for a reader whose outbox has room: of the first room in which it catches up.
    pub(super) fn feed(&mut self, user: UserKey, effects: &mut Effects) {
        let behind = self.users[user].rooms.iter_mut().find_map(|membership| {
            let room = membership.room;
            membership.catching_up.as_mut().map(|reader| (room, reader))
        });
        let Some((room, reader)) = behind.filter(|(_, reader)| !reader.fetching) else { return };
        reader.fetching = true;
        let part = Part {
            seqs: (reader.next, u64::MAX),
            newest_first: false,
            lines_max: PAGE_LINES_MAX,
            bytes_max: self.limits.page_bytes_max,
        };
        self.fetch(user, room, part, Pending::Page { user, room }, effects);
    }

    /// A page came.
    pub(super) fn fed(
        &mut self,
        user: UserKey,
        room: RoomKey,
        mut lines: Vec<Arc<Line>>,
        oldest: u64,
        effects: &mut Effects,
    ) {
        let newest = self.rooms[room].newest;
        let Some(conn) = self.users[user].conn else { return };
        let membership = self.users[user].membership_mut(room).expect("nobody leaves while a page is fetched");
        let place = membership.place as usize;
        let reader = membership.catching_up.as_mut().expect("only its own pages make a reader live");
        reader.fetching = false;
        // What the store has not answered is handed to whoever is live when it does.
        lines.retain(|line| line.seq <= newest);
        let first = lines.first().map_or(oldest.min(newest + 1), |line| line.seq);
        let hole = (first > reader.next && reader.hole_counts).then(|| (reader.next, first - 1));
        reader.next = lines.last().map_or(first.max(reader.next), |line| line.seq + 1);
        reader.hole_counts = true;
        if reader.next > newest {
            membership.catching_up = None;
            let here = &mut self.rooms[room];
            here.members[place].live = true;
            here.part_audience();
        }
        if let Some((from, to)) = hole {
            self.tell_joined(conn, room, Recovery::Trimmed { from, to }, None, effects);
        }
        if !lines.is_empty() {
            effects.reply(conn, Message::Page(lines));
        }
        if self.users[user].rooms.iter().any(|membership| membership.catching_up.is_some()) {
            effects.watches.push(conn);
        }
    }

    /// The store could not read what was asked for.
    pub(super) fn not_fetched(&mut self, pending: Pending, code: ErrorCode, effects: &mut Effects) {
        let (user, room, reference) = match pending {
            Pending::Probe { user, join } => {
                self.rooms[join.room].waiters.retain(|&waiter| waiter != user);
                (user, join.room, join.reference)
            }
            Pending::History { user, room, reference, .. } => (user, room, reference),
            Pending::Page { user, .. } => {
                // It would have a hole, or wait for ever: let it come back and resume.
                let conn = self.users[user].conn;
                effects.closes.extend(conn.map(|conn| (conn, CloseReason::Overloaded)));
                return;
            }
            pending @ (Pending::Load { .. } | Pending::Line { .. }) => panic!("{pending:?} is no reading"),
        };
        self.users[user].waiting = None;
        if let Some(conn) = self.users[user].conn {
            let subject = Subject { room: Some(&self.rooms[room].name), id: None };
            Asker { user, conn, reference }.refuse(unavailable(code), subject, effects);
        }
        self.unload_if_empty(room, effects);
    }

    pub(super) fn fetch(&mut self, user: UserKey, room: RoomKey, part: Part, why: Pending, effects: &mut Effects) {
        self.users[user].outstanding += 1;
        let ticket = self.tickets.issue(why);
        effects.requests.push(Request::Fetch { ticket, room, part });
    }

    pub(super) fn leave(&mut self, now: Now, asker: Asker, room: &str, effects: &mut Effects) {
        let key = match self.room_of(asker.user, Some(room)) {
            Ok(key) => key,
            Err(fault) => return asker.refuse(fault, Subject { room: Some(room), id: None }, effects),
        };
        let user = &mut self.users[asker.user];
        if user.outstanding > 0 {
            user.waiting = Some(Waiting::Leave { room: key, reference: asker.reference });
            return;
        }
        self.leave_now(now, asker.user, asker.conn, key, asker.reference, effects);
    }

    pub(super) fn leave_now(
        &mut self,
        now: Now,
        user: UserKey,
        conn: ConnId,
        room: RoomKey,
        reference: Option<Box<str>>,
        effects: &mut Effects,
    ) {
        let name = self.rooms[room].name.clone();
        self.exit(now, user, room, effects);
        effects.reply(conn, Message::Left { room: name, reference });
    }

    /// The connection ended: the user departs, at the latest when the store has answered all it was asked.
    pub(super) fn lose(&mut self, now: Now, user: UserKey, effects: &mut Effects) {
        self.users.disconnect(user);
        for membership in &self.users[user].rooms {
            let room = &mut self.rooms[membership.room];
            room.members[membership.place as usize].conn = None;
            room.part_audience();
        }
        if let Some(Waiting::Load { room, .. }) = self.users[user].waiting.take() {
            self.rooms[room].waiters.retain(|&waiter| waiter != user);
        }
        if self.users[user].outstanding == 0 {
            self.depart(now, user, effects);
        }
    }

    /// Takes a user out of all rooms and frees the name.
    pub(super) fn depart(&mut self, now: Now, user: UserKey, effects: &mut Effects) {
        while let Some(membership) = self.users[user].rooms.last() {
            self.exit(now, user, membership.room, effects);
        }
        let user = self.users.remove(user);
        self.retries.forget(&Place::Private(user.id));
    }

    fn exit(&mut self, now: Now, user: UserKey, room: RoomKey, effects: &mut Effects) {
        let rooms = &mut self.users[user].rooms;
        let which = rooms.iter().position(|membership| membership.room == room).expect("only members leave");
        let place = rooms.remove(which).place;
        let here = &mut self.rooms[room];
        here.members.swap_remove(place as usize);
        here.part_audience();
        if let Some(moved) = here.members.get(place as usize) {
            let membership = self.users[moved.user].membership_mut(room).expect("a member knows the room");
            membership.place = place;
        }
        self.tell_move(now, room, user, Way::Out, effects);
        self.unload_if_empty(room, effects);
    }

    fn unload_if_empty(&mut self, room: RoomKey, effects: &mut Effects) {
        let here = &self.rooms[room];
        let Some(epoch) = &here.epoch else { return };
        if here.members.is_empty() && here.waiters.is_empty() {
            self.retries.room_unloaded(&here.name, epoch);
            self.telling.forget(room);
            self.rooms.remove(room);
            effects.requests.push(Request::Unload { room });
        }
    }
}

/// What is wrong with a room's name.
pub(super) const ROOM_INVALID: Fault =
    Fault::new(ErrorCode::RoomInvalid, "a room's name has 1 to 64 letters, digits, '-', '_' or '.'");

/// What the store cannot do now.
pub(super) const fn unavailable(code: ErrorCode) -> Fault {
    Fault::new(code, "the server cannot do that now; try again")
}
