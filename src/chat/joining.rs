//! Coming into a room.
//!
//! Whoever comes waits until the room is loaded; with a position, also until the store has said whether the position is
//! good. What a reader then has to catch up with is `catching_up`'s.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use super::command::{self, ErrorCode, Fault};
use super::effects::{CloseReason, Effects, Part, Request, split_secret};
use super::ids::{ConnId, Now, RoomKey};
use super::message::{Joined, Line, Message, Notice, Recovery};
use super::names::{Name, RoomName};
use super::presence::Way;
use super::private::{NO_SUCH_USER, Post};
use super::recalling::Ids;
use super::rooms::Member;
use super::tickets::Pending;
use super::users::{CatchingUp, Dialect, Membership, Reader, UserKey, Waiting};
use super::{Asker, Chat, Subject};

/// What somebody waits for a room with.
#[derive(Debug)]
pub(super) enum Join {
    /// A plain connection's own room; the fault is what was wrong with the name that it asked for.
    Path { fault: Option<Fault> },
    /// By `join`, or (`hello`) because the user is to be there.
    Asked { begin: Begin, hello: bool, reference: Option<Box<str>> },
    /// Not to come in: a private message for the stream of somebody who is away.
    Post(Box<Post>),
}

/// Where to begin; [`command::From`] that can be kept.
#[derive(Debug)]
pub(super) enum Begin {
    Live,
    Last(u32),
    Position { epoch: Box<str>, seq: u64, time_ms: Option<u64> },
}

impl From<command::From<'_>> for Begin {
    fn from(from: command::From<'_>) -> Self {
        match from {
            command::From::Live | command::From::Last(0) => Self::Live,
            command::From::Last(lines) => Self::Last(lines),
            command::From::Position { epoch, seq, time_ms } => Self::Position { epoch: (*epoch).into(), seq, time_ms },
        }
    }
}

/// A position that the store looks at.
#[derive(Debug)]
pub(super) struct JoinAt {
    pub(super) room: RoomKey,
    seq: u64,
    time_ms: Option<u64>,
    pub(super) hello: bool,
    pub(super) reference: Option<Box<str>>,
}

/// Letters of a guest's name at most: the random bits of a secret fill that many.
const GUEST_LETTERS_MAX: usize = 25;

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
        let user = self.users.add(id, name, Dialect::Plain, conn);
        self.go(now, user, room, Join::Path { fault }, effects);
    }

    /// A name that nobody has; longer than usual where the short ones are taken.
    pub(super) fn guest_name(&self, seed: u128) -> Name {
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
        let user = &self.users[asker.user];
        if user.rooms.len() - usize::from(user.has_stream()) >= self.limits.rooms_per_user_max {
            return asker.refuse(self.room_limit(), subject, effects);
        }
        let begin = Begin::from(from);
        if !matches!(begin, Begin::Live) {
            effects.cost_tokens += 4;
        }
        self.go(now, asker.user, name, Join::Asked { begin, hello: false, reference: asker.reference }, effects);
    }

    pub(super) fn room_limit(&self) -> Fault {
        let message = format!("one can be in {} rooms; leave one first", self.limits.rooms_per_user_max);
        Fault { code: ErrorCode::RoomLimit, message: message.into() }
    }

    /// Lets a user who said `hello` into the rooms that are left, until one must be waited for.
    pub(super) fn arrive_next(&mut self, now: Now, user: UserKey, effects: &mut Effects) {
        while self.users[user].waiting.is_none()
            && let Some((room, begin)) = self.users[user].next_arrival()
        {
            self.go(now, user, room, Join::Asked { begin, hello: true, reference: None }, effects);
        }
        if self.users[user].waiting.is_none() {
            // Where all have arrived, no room is needed for more.
            self.users[user].set_arrivals(VecDeque::new());
            self.users[user].quiet = false;
        }
    }

    /// Goes into a room, or waits until it is loaded.
    pub(super) fn go(&mut self, now: Now, user: UserKey, name: RoomName, join: Join, effects: &mut Effects) {
        let room = self.rooms.by_name(&name).unwrap_or_else(|| {
            let room = self.rooms.add(name);
            // Somebody of `chinwag.v1` who is here has a stream, if only in a moment.
            let has_stream = |id| self.users.by_id(id).is_some_and(|user| self.users[user].has_stream());
            let must_exist = matches!(&join, Join::Post(post) if !has_stream(post.to));
            self.load(room, must_exist, effects);
            room
        });
        if self.rooms[room].epoch.is_some() {
            self.arrive(now, user, room, join, effects);
        } else {
            self.rooms[room].waiters.push(user);
            self.users[user].waiting = Some(Box::new(Waiting::Load { room, join }));
        }
    }

    fn load(&mut self, room: RoomKey, must_exist: bool, effects: &mut Effects) {
        let ticket = self.tickets.issue(Pending::Load { room });
        let name = self.rooms[room].name.clone();
        effects.requests.push(Request::Load { ticket, room, name, must_exist });
    }

    pub(super) fn loaded(
        &mut self,
        now: Now,
        room: RoomKey,
        epoch: Arc<str>,
        newest: u64,
        former: Option<(Arc<str>, u64)>,
        effects: &mut Effects,
    ) {
        let here = &mut self.rooms[room];
        here.ids = match self.retries.room_loaded(&here.name, &epoch, newest) {
            Some((first, last)) => Ids::Unknown { first, last },
            None => Ids::Known,
        };
        here.epoch = Some(epoch);
        here.former = former;
        here.newest = newest;
        for user in mem::take(&mut here.waiters) {
            match self.users[user].waiting.take().map(|waiting| *waiting) {
                Some(Waiting::Load { join, .. }) => self.arrive(now, user, room, join, effects),
                other => panic!("{user:?} waits for a room with {other:?}"),
            }
            self.arrive_next(now, user, effects);
        }
        self.unload_if_idle(now, room, effects);
    }

    pub(super) fn not_loaded(&mut self, now: Now, room: RoomKey, code: ErrorCode, effects: &mut Effects) {
        let mut here = self.rooms.remove(room);
        let name = here.name.clone();
        let subject = Subject { room: Some(name.shown()), id: None };
        let mut owner = None;
        for user in here.waiters.drain(..) {
            let conn = self.users[user].conn.expect("whoever lost the connection does not wait");
            match self.users[user].waiting.take().map(|waiting| *waiting) {
                Some(Waiting::Load { join: Join::Post(post), .. }) => {
                    let fault = if code == ErrorCode::NoSuchUser { NO_SUCH_USER } else { unavailable(code) };
                    post.refuse(user, conn, fault, effects);
                }
                // The stream was only looked for; its owner came meanwhile, and it may be made.
                waiting @ Some(Waiting::Load { .. }) if code == ErrorCode::NoSuchUser => {
                    self.users[user].waiting = waiting.map(Box::new);
                    owner = Some(user);
                }
                Some(Waiting::Load { join: Join::Asked { reference, hello, .. }, .. })
                    if !(hello && name.is_stream()) =>
                {
                    Asker { user, conn, reference }.refuse(unavailable(code), subject, effects);
                    self.arrive_next(now, user, effects);
                }
                // Without a room of its own, or its stream, a connection is of no use.
                Some(Waiting::Load { .. }) => effects.closes.push((conn, CloseReason::Overloaded)),
                other => panic!("{user:?} waits for a room with {other:?}"),
            }
        }
        if let Some(owner) = owner {
            let again = self.rooms.add(name);
            self.rooms[again].waiters.push(owner);
            if let Some(Waiting::Load { room, .. }) = self.users[owner].waiting.as_deref_mut() {
                *room = again;
            }
            self.load(again, false, effects);
        }
    }

    /// The room is there: goes in, or has the position looked at first.
    fn arrive(&mut self, now: Now, user: UserKey, room: RoomKey, join: Join, effects: &mut Effects) {
        let conn = self.users[user].conn.expect("whoever lost the connection does not arrive");
        let (begin, hello, reference) = match join {
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
            Join::Asked { begin, hello, reference } => (begin, hello, reference),
            Join::Post(post) => return self.post(now, user, conn, Some(room), *post, effects),
        };
        let here = &self.rooms[room];
        let newest = here.newest;
        let (recovery, catching_up) = match begin {
            Begin::Live => (Recovery::Fresh, None),
            Begin::Last(lines) => {
                let next = newest.saturating_sub(u64::from(lines)) + 1;
                (Recovery::Fresh, Some(CatchingUp { next, fetching: false, hole_counts: false }))
            }
            Begin::Position { epoch, seq, time_ms } => {
                let Err(recovery) = here.has(&epoch, seq) else {
                    let join = JoinAt { room, seq, time_ms, hello, reference };
                    return self.probe(user, join, effects);
                };
                (recovery, None)
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
        self.users[user].waiting = Some(Box::new(Waiting::Answer));
        let visit = self.users[user].visit;
        self.fetch(user, room, part, Pending::Probe { user, visit, join }, effects);
    }

    /// The store told what there is at a position.
    #[expect(clippy::too_many_arguments, reason = "the request's parts and the answer's, each used once")]
    pub(super) fn probed(
        &mut self,
        now: Now,
        user: UserKey,
        conn: Option<ConnId>,
        join: JoinAt,
        first: Option<&Arc<Line>>,
        oldest: u64,
        effects: &mut Effects,
    ) {
        let JoinAt { room, seq, time_ms, reference, .. } = join;
        self.rooms[room].stop_waiting(user);
        let Some(conn) = conn else {
            self.unload_if_idle(now, room, effects);
            return;
        };
        self.users[user].waiting = None;
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
        self.arrive_next(now, user, effects);
    }

    /// Becomes a member; or, if the user is one, reads on from where it says.
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
        let reader = catching_up.map_or(Reader::Live, |reader| Reader::CatchingUp(Box::new(reader)));
        let here = &mut self.rooms[room];
        here.part_audience();
        let who = &mut self.users[user];
        if let Some(membership) = who.membership_mut(room) {
            membership.reader = reader;
            let member = &mut here.members[membership.place as usize];
            member.conn = Some(conn);
            member.live = live;
            return;
        }
        let (takes_binary, dialect) = (who.takes_binary, who.dialect);
        who.rooms.push(Membership { room, place: here.members.len() as u32, reader });
        here.members.push(Member { user, conn: Some(conn), live, takes_binary, dialect });
        if !self.users[user].quiet {
            self.tell_move(now, room, user, Way::In, effects);
        }
    }

    pub(super) fn tell_joined(
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
}

/// What is wrong with a room's name.
pub(super) const ROOM_INVALID: Fault =
    Fault::new(ErrorCode::RoomInvalid, "a room's name has 1 to 64 letters, digits, '-', '_' or '.'");

/// What the store cannot do now.
pub(super) const fn unavailable(code: ErrorCode) -> Fault {
    let message = match code {
        ErrorCode::StorageFull => "the server's disk is full; try again later",
        ErrorCode::Internal => "the server cannot read what it keeps; try again later",
        _ => "the server cannot do that now; try again",
    };
    Fault::new(code, message)
}
