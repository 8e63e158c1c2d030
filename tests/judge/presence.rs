//! Who is there, as plain data, and whether what the server says is true when it says it.
//!
//! Whoever is gone for good, or whose grace is over, may be there or not: the store may owe an answer. Of everybody else
//! it is known.

use std::collections::HashMap;
use std::sync::Arc;

use chinwag::chat::command::{From, Hello};
use chinwag::chat::message::{Joined, Recovery, Welcome};
use chinwag::chat::{
    Ask, CloseReason, Command, ConnId, Effects, Line, Message, Millis, Name, Notice, Now, RoomName, UserId,
};

use crate::coverage::Coverage;
use crate::truth::Truth;
use crate::{Verdict, hold};

/// How long a session is good, and how far the clock may have gone back since it was made.
const SESSION_MS: Millis = 30 * 24 * 3_600_000;
const CLOCK_SLACK_MS: Millis = 24 * 3_600_000;

/// Everybody.
#[derive(Debug, Default)]
pub struct Presence {
    users: HashMap<UserId, Who>,
    /// By the connection's generation.
    visits: HashMap<u32, Visit>,
    /// Whom a session proves, and when it was made.
    sessions: HashMap<Box<str>, (UserId, Millis)>,
    grace_ms: Millis,
    /// The time of the server's first event.
    pub started: Option<Now>,
    pub coverage: Coverage,
}

#[derive(Debug)]
struct Who {
    name: Option<Name>,
    conn: Option<ConnId>,
    gone: Gone,
    members: Vec<RoomName>,
    /// Rooms that it may have left.
    leaving: Vec<RoomName>,
    /// Rooms that it asked to leave.
    asked: Vec<RoomName>,
    /// Rooms into which its return is no news: it was there before the server started.
    quiet: Vec<RoomName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    /// Here, or expected back until then.
    Until(Millis),
    ForGood,
}

/// A connection, as the server knows it.
#[derive(Debug)]
struct Visit {
    /// The user that it is if its session proves nobody.
    fresh: UserId,
    user: Option<UserId>,
    welcomed: bool,
    /// The server said that it ends, or heard so.
    closed: bool,
    /// What `resumed` must be, if that is certain.
    resumed: Option<bool>,
    plain: Option<RoomName>,
    /// The `seq` that it has, by room as clients know it.
    positions: HashMap<String, u64>,
    /// Where a plain reader begins.
    begin: u64,
}

impl Who {
    fn is_gone(&self, now: Now) -> bool {
        self.conn.is_none()
            && match self.gone {
                Gone::Until(due_ms) => due_ms <= now.mono_ms,
                Gone::ForGood => true,
            }
    }

    fn is_surely_in(&self, room: &RoomName, now: Now) -> bool {
        self.members.contains(room) && !self.leaving.contains(room) && !self.asked.contains(room) && !self.is_gone(now)
    }

    fn enter(&mut self, room: &RoomName) {
        self.leaving.retain(|other| other != room);
        if !self.members.contains(room) {
            self.members.push(room.clone());
        }
    }

    fn exit(&mut self, room: &RoomName) {
        self.asked.retain(|other| other != room);
        self.leaving.retain(|other| other != room);
        self.members.retain(|other| other != room);
    }
}

impl Visit {
    fn note_positions(&mut self, ask: &Ask<'_>) {
        let mut note = |room: &str, from: &From<'_>| match from {
            From::Position { seq, .. } => drop(self.positions.insert(room.into(), *seq)),
            From::Live | From::Last(_) => drop(self.positions.remove(room)),
        };
        match ask {
            Ask::Hello(hello) => hello.rooms.iter().flatten().for_each(|entry| note(&entry.room, &entry.from)),
            Ask::Join { room, from } => note(room, from),
            _ => {}
        }
    }
}

impl Presence {
    pub fn new(grace_ms: Millis) -> Self {
        Self { grace_ms, ..Self::default() }
    }

    /// The server was started again; under the same key its sessions are still good.
    pub fn restart(&mut self, same_key: bool) {
        self.started = None;
        self.users.clear();
        self.visits.clear();
        if !same_key {
            self.sessions.clear();
        }
    }

    pub fn opened(&mut self, conn: ConnId, secret: [u8; 16], plain: Option<RoomName>) {
        let mut id = [0; 10];
        id.copy_from_slice(&secret[..10]);
        let fresh = UserId(id);
        let user = plain.is_some().then_some(fresh);
        if user.is_some() {
            self.users.insert(fresh, Who::here(conn));
        }
        let visit = Visit {
            fresh,
            user,
            welcomed: false,
            closed: false,
            resumed: None,
            plain,
            positions: HashMap::new(),
            begin: 0,
        };
        self.visits.insert(conn.generation, visit);
    }

    /// Takes note of what somebody asks for. `settled`: the store owes nobody an answer.
    pub fn heard(&mut self, now: Now, conn: ConnId, command: &Command<'_>, settled: bool) {
        let Some(visit) = self.visits.get_mut(&conn.generation).filter(|visit| !visit.closed) else { return };
        visit.note_positions(&command.ask);
        match (&command.ask, visit.user) {
            (Ask::Hello(hello), None) => self.greeted(now, conn, hello, settled),
            (Ask::Join { room, .. }, Some(user)) => {
                if let Some(who) = self.users.get_mut(&user) {
                    who.quiet.retain(|other| **other != **room);
                }
            }
            (Ask::Leave { room }, Some(user)) => {
                if let (Some(room), Some(who)) = (RoomName::parse(room), self.users.get_mut(&user)) {
                    who.asked.push(room);
                }
            }
            _ => {}
        }
    }

    /// Whom a `hello` proves, and since when.
    fn proven(&mut self, now: Now, hello: &Hello<'_>) -> Option<(UserId, Millis)> {
        let text = hello.session.as_deref()?;
        let good = |made_ms: Millis| made_ms <= now.wall_ms + CLOCK_SLACK_MS && now.wall_ms < made_ms + SESSION_MS;
        let proven = self.sessions.get(text).filter(|(_, made_ms)| good(*made_ms)).copied();
        self.coverage.note(if proven.is_some() { "a session that is good" } else { "a session that is void" });
        proven
    }

    fn greeted(&mut self, now: Now, conn: ConnId, hello: &Hello<'_>, settled: bool) {
        let proven = self.proven(now, hello);
        let visit = self.visits.get_mut(&conn.generation).expect("it was just there");
        let id = proven.map_or(visit.fresh, |(user, _)| user);
        visit.user = Some(id);
        // Of two connections the older one ends, whichever `hello` is heard first.
        let current = self.users.get(&id).and_then(|who| who.conn);
        if current.is_some_and(|current| current.generation > conn.generation) {
            visit.closed = true;
            self.coverage.note("a hello of an earlier connection");
            return;
        }
        let new = !self.users.contains_key(&id);
        let who = self.users.entry(id).or_insert_with(|| Who::here(conn));
        let surely_gone = new || (who.is_gone(now) && who.gone == Gone::ForGood && settled);
        visit.resumed = if surely_gone { Some(false) } else { (!who.is_gone(now)).then_some(true) };
        self.coverage.note(match (visit.resumed, who.conn) {
            (Some(true), Some(_)) => "a take-over",
            (Some(true), None) => "a return within the grace",
            _ => "a hello of somebody who was not there",
        });
        // What was asked on the earlier connection may or may not come about.
        let asked = std::mem::take(&mut who.asked);
        who.leaving.extend(asked);
        if visit.resumed != Some(true) {
            who.leaving.clone_from(&who.members);
        }
        if visit.resumed == Some(false) {
            who.members.clear();
            who.leaving.clear();
        }
        let started = self.started.unwrap_or(now);
        let is_early = now.mono_ms < started.mono_ms + self.grace_ms;
        let is_quiet = is_early && proven.is_some_and(|(_, made_ms)| made_ms < started.wall_ms);
        let rooms = hello.rooms.iter().flatten().filter(|_| is_quiet);
        who.quiet = rooms.filter_map(|entry| RoomName::parse(&entry.room)).collect();
        if let Some(rooms) = &hello.rooms {
            let named = |room: &RoomName| room.is_stream() || rooms.iter().any(|entry| *entry.room == **room);
            let left: Vec<_> = who.members.iter().filter(|room| !named(room)).cloned().collect();
            who.leaving.extend(left);
        }
        if let Some(earlier) = who.conn.replace(conn).filter(|earlier| *earlier != conn)
            && let Some(visit) = self.visits.get_mut(&earlier.generation)
        {
            visit.closed = true;
        }
    }

    /// A connection ended.
    pub fn closed(&mut self, now: Now, conn: ConnId, for_good: bool) {
        let Some(visit) = self.visits.get_mut(&conn.generation) else { return };
        visit.closed = true;
        let plain = visit.plain.is_some();
        let Some(who) = visit.user.and_then(|user| self.users.get_mut(&user)) else { return };
        if who.conn == Some(conn) {
            who.conn = None;
            who.gone = if for_good || plain { Gone::ForGood } else { Gone::Until(now.mono_ms + self.grace_ms) };
        }
    }

    /// Where a plain reader begins.
    pub fn begin(&self, conn: ConnId) -> u64 {
        self.visits[&conn.generation].begin
    }

    /// Whether the server has ended this connection, or knows that it ended.
    pub fn is_closed(&self, conn: ConnId) -> bool {
        self.visits.get(&conn.generation).is_none_or(|visit| visit.closed)
    }

    /// Judges what the server says from the given places on.
    pub fn told(&mut self, now: Now, effects: &Effects, delivery: usize, close: usize, truth: &Truth) -> Verdict {
        for delivery in &effects.deliveries[delivery..] {
            let readers = &effects.readers[delivery.to.start as usize..delivery.to.end as usize];
            for reader in readers {
                hold!(!self.is_closed(*reader), "{reader:?} was told something after its end: {:?}", delivery.message);
            }
            self.told_one(now, &delivery.message, readers, truth)?;
        }
        for (conn, reason) in &effects.closes[close..] {
            let visit = self.visits.get_mut(&conn.generation).ok_or("an unknown connection was closed")?;
            if *reason == CloseReason::Replaced {
                let who = visit.user.and_then(|user| self.users.get(&user)).ok_or("a stranger was replaced")?;
                hold!(visit.closed && who.conn.is_some_and(|other| other != *conn), "{conn:?} was replaced by nobody");
            }
        }
        Ok(())
    }

    fn told_one(&mut self, now: Now, message: &Message, readers: &[ConnId], truth: &Truth) -> Verdict {
        let conn = readers[0];
        match message {
            Message::Line(line) => self.told_lines(std::slice::from_ref(line), readers, truth),
            Message::Page(lines) => self.told_lines(lines, readers, truth),
            Message::History(history) => {
                let dense = history.lines.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq);
                hold!(dense, "a history with a hole");
                self.coverage.note("history");
                let is_stored = |line: &Arc<Line>| truth.line(&line.room, line.seq).is_none_or(|stored| stored == line);
                hold!(history.lines.iter().all(is_stored), "{history:?} is not what is stored");
                Ok(())
            }
            Message::Welcome(welcome) => self.told_welcome(now, conn, welcome),
            Message::System(Notice::Welcome { online }) => self.told_plain_welcome(now, conn, *online, truth),
            Message::Joined(joined) => self.told_joined(now, conn, joined, truth),
            Message::Left { room, .. } => {
                self.who(conn)?.exit(room);
                Ok(())
            }
            Message::UserJoin { room, user, name, online } => {
                let who = self.users.get_mut(user).ok_or("a join of nobody")?;
                hold!(!who.is_surely_in(room, now), "{name} was told to join {room}, and never left");
                hold!(!who.quiet.contains(room), "{name} was told to join {room}, and was there before the start");
                who.enter(room);
                who.name.get_or_insert_with(|| name.clone());
                self.coverage.note("user_join");
                self.count(now, room, *online)
            }
            Message::UserLeave { room, user, name, online } => {
                let who = self.users.get_mut(user).ok_or("a leave of nobody")?;
                hold!(!who.is_surely_in(room, now), "{name} was told to leave {room}, and is there");
                who.exit(room);
                self.coverage.note("user_leave");
                self.count(now, room, *online)
            }
            Message::Coming { room, online, .. } => self.count(now, room, *online),
            Message::Ack { id, room: Some(room), seq: Some(seq), .. } => {
                let user = self.visits[&conn.generation].user;
                let line = truth.line(room, *seq).ok_or_else(|| format!("line {seq} of {room} was acknowledged"))?;
                let own = Some(line.draft.user) == user && line.draft.id.as_ref() == Some(id);
                hold!(own, "{id} was acknowledged as {line:?}");
                Ok(())
            }
            Message::Renamed { user, to, .. } => {
                self.users.get_mut(user).ok_or("nobody was renamed")?.name = Some(to.clone());
                self.coverage.note("user_rename");
                self.is_only(now, *user, to)
            }
            Message::Presence { room, users, online, .. } => self.told_presence(now, room, users, *online),
            _ => Ok(()),
        }
    }

    fn told_lines(&mut self, lines: &[Arc<Line>], readers: &[ConnId], truth: &Truth) -> Verdict {
        for line in lines {
            hold!(truth.line(&line.room, line.seq) == Some(line), "{line:?} is not what is stored");
        }
        let room = &lines[0].room;
        for conn in readers {
            let who = self.who(*conn)?;
            hold!(who.members.contains(room), "{:?} is not in {room}", who.name);
        }
        Ok(())
    }

    fn told_plain_welcome(&mut self, now: Now, conn: ConnId, online: u32, truth: &Truth) -> Verdict {
        let visit = self.visits.get_mut(&conn.generation).ok_or("a stranger is welcomed")?;
        let room = visit.plain.clone().ok_or("a plain welcome")?;
        (visit.welcomed, visit.begin) = (true, truth.newest(&room) + 1);
        self.who(conn)?.enter(&room);
        self.count(now, &room, online)
    }

    fn told_presence(&mut self, now: Now, room: &RoomName, users: &[(UserId, Name)], online: u32) -> Verdict {
        for (id, who) in &self.users {
            let listed = users.iter().find(|(user, _)| user == id);
            hold!(listed.is_some() || !who.is_surely_in(room, now), "{:?} is in {room} and not listed", who.name);
            hold!(listed.is_none() || who.members.contains(room), "{:?} is listed in {room}", who.name);
            let same = listed.is_none_or(|(_, name)| who.name.as_ref().is_none_or(|known| known == name));
            hold!(same, "{:?} is listed as {listed:?}", who.name);
        }
        self.coverage.note("presence");
        self.count(now, room, online)
    }

    fn who(&mut self, conn: ConnId) -> Result<&mut Who, String> {
        let user = self.visits.get(&conn.generation).and_then(|visit| visit.user);
        user.and_then(|user| self.users.get_mut(&user)).ok_or_else(|| format!("{conn:?} is nobody's"))
    }

    fn told_welcome(&mut self, now: Now, conn: ConnId, welcome: &Welcome) -> Verdict {
        let visit = self.visits.get_mut(&conn.generation).ok_or("a stranger is welcomed")?;
        hold!(!visit.welcomed, "a second welcome");
        visit.welcomed = true;
        hold!(visit.user == Some(welcome.user), "welcomed as {}, and is {:?}", welcome.user, visit.user);
        let resumed = visit.resumed;
        hold!(resumed.is_none_or(|resumed| resumed == welcome.resumed), "resumed should be {resumed:?}: {welcome:?}");
        if welcome.resumed {
            self.coverage.note("resumed");
        }
        self.sessions.entry(welcome.session.clone()).or_insert((welcome.user, now.wall_ms));
        self.who(conn)?.name = Some(welcome.name.clone());
        self.is_only(now, welcome.user, &welcome.name)
    }

    fn told_joined(&mut self, now: Now, conn: ConnId, joined: &Joined, truth: &Truth) -> Verdict {
        let Joined { room, epoch, seq, online, recovery, .. } = joined;
        let log = truth.log(room).ok_or("joined a room that is not loaded")?;
        hold!(log.epoch == *epoch, "{room} is told to be of another life");
        hold!(*seq == log.lines.len() as u64, "{room} has {} lines, and is told to have {seq}", log.lines.len());
        if let Recovery::Trimmed { from, to } = recovery {
            let kept = truth.oldest_read.min(seq + 1);
            hold!(from <= to && to + 1 == kept, "{from} to {to} are told to be lost, and {kept} is kept");
        }
        if *recovery == Recovery::Recovered {
            let position = self.visits[&conn.generation].positions.get(room.shown()).copied();
            let position = position.ok_or("recovered without a position")?;
            let kept = truth.oldest_read.min(seq + 1);
            hold!(position + 1 >= kept, "recovered from {position}, and {kept} is the oldest of {room}");
        }
        let who = self.who(conn)?;
        who.enter(room);
        let quiet = who.quiet.len();
        who.quiet.retain(|other| other != room);
        if who.quiet.len() < quiet {
            self.coverage.note("a return after a start");
        }
        self.count(now, room, *online)
    }

    /// Whether so many can be in a room now.
    fn count(&mut self, now: Now, room: &RoomName, online: u32) -> Verdict {
        let surely = self.users.values().filter(|who| who.is_surely_in(room, now)).count();
        let perhaps = self.users.values().filter(|who| who.members.contains(room)).count();
        hold!(
            (surely..=perhaps).contains(&(online as usize)),
            "{online} in {room}, and {surely} to {perhaps} are there"
        );
        Ok(())
    }

    /// Nobody else who is there has that name.
    fn is_only(&self, now: Now, user: UserId, name: &Name) -> Verdict {
        let here = self.users.iter().filter(|(id, who)| **id != user && !who.is_gone(now));
        for (other, who) in here {
            let same = who.name.as_ref().is_some_and(|known| known.key() == name.key());
            hold!(!same, "{name} is the name of {user} and of {other}");
        }
        Ok(())
    }

    /// Names of everybody who is surely in a room.
    pub fn surely_in(&self, room: &RoomName, now: Now) -> usize {
        self.users.values().filter(|who| who.is_surely_in(room, now)).count()
    }

    /// Whom a client may write to in private: users, and whether they have a stream.
    pub fn anybody(&self, dice: &mut fastrand::Rng) -> Option<(UserId, Option<Name>)> {
        let mut users: Vec<_> = self.users.iter().map(|(user, who)| (*user, who.name.clone())).collect();
        users.sort_unstable_by_key(|(user, _)| *user);
        (!users.is_empty()).then(|| users[dice.usize(0..users.len())].clone())
    }
}

impl Who {
    fn here(conn: ConnId) -> Self {
        Self {
            name: None,
            conn: Some(conn),
            gone: Gone::ForGood,
            members: Vec::new(),
            leaving: Vec::new(),
            asked: Vec::new(),
            quiet: Vec::new(),
        }
    }
}
