//! What users say: lines, binary messages, typing.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::command::{ErrorCode, Fault};
use super::effects::{Class, Effects, Request, Row};
use super::ids::{Millis, Now, RoomKey};
use super::joining::unavailable;
use super::message::{Draft, ErrorReply, Line, Message};
use super::private::PrivateDue;
use super::retries::{Known, Place};
use super::tickets::Pending;
use super::users::{UserKey, Waiting};
use super::{Asker, Chat, Subject};

/// A further `typing` of a user in a room is not told for so long.
const TYPING_PAUSE_MS: Millis = 3_000;

/// Handing a line to so many members costs its sender one more rate token.
const MEMBERS_PER_TOKEN: u32 = 500;

/// A line that is being stored, and what follows when it is.
#[derive(Debug)]
pub(super) struct LineDue {
    /// Where its rows go; the sender's own room or stream first.
    rooms: SmallVec<[RoomKey; 1]>,
    reference: Option<Box<str>>,
    ack: Option<AckDue>,
    private: Option<PrivateDue>,
}

/// An acknowledgement that is owed when the line has its place.
#[derive(Debug)]
struct AckDue {
    id: Arc<str>,
    hash: u64,
    /// Where it is looked for when it comes again.
    place: Place,
    /// The `ref`s of retries that came while the line was in flight.
    retries: Vec<Option<Box<str>>>,
}

impl Chat {
    pub(super) fn say(
        &mut self,
        now: Now,
        asker: Asker,
        room: Option<&str>,
        message: &str,
        id: Option<&str>,
        effects: &mut Effects,
    ) {
        let key = match self.room_of(asker.user, room) {
            Ok(key) => key,
            Err(fault) => return asker.refuse(fault, Subject { room, id }, effects),
        };
        effects.cost_tokens += self.rooms[key].online() / MEMBERS_PER_TOKEN;
        if let Some(id) = id
            && !self.knows_ids(key)
        {
            return self.await_ids(asker, key, None, message, id, effects);
        }
        self.say_in(now, asker, key, message, id, effects);
    }

    /// Says a line in a room whose ids are known, if it has one.
    pub(super) fn say_in(
        &mut self,
        now: Now,
        asker: Asker,
        key: RoomKey,
        message: &str,
        id: Option<&str>,
        effects: &mut Effects,
    ) {
        let place = Place::Room(self.rooms[key].name.clone());
        if self.is_retry(&asker, &place, id, effects) {
            return;
        }
        let speaker = &self.users[asker.user];
        let draft = Draft {
            time_ms: now.wall_ms,
            user: speaker.id,
            from: speaker.name.clone(),
            id: id.map(Arc::from),
            message: message.into(),
            to: None,
        };
        let rows = smallvec![Row { room: key, draft }];
        self.append(asker.user, place, rows, None, asker.reference, effects);
    }

    /// Acknowledges a retry: of a line that has its place at once, else when it has.
    pub(super) fn is_retry(&mut self, asker: &Asker, place: &Place, id: Option<&str>, effects: &mut Effects) -> bool {
        let Some(id) = id else { return false };
        let hash = self.retries.hash(self.users[asker.user].id, place, id);
        match self.retries.known(hash) {
            None => return false,
            Some(Known::Stored(seq)) => {
                let ack = ack(place, id.into(), seq, true, asker.reference.clone());
                effects.acknowledge(asker.conn, ack);
            }
            Some(Known::InFlight(ticket)) => match self.tickets.open(ticket) {
                Some(Pending::Line { line, .. }) => {
                    let ack = line.ack.as_mut().expect("a line in flight that is known has an id");
                    ack.retries.push(asker.reference.clone());
                }
                other => panic!("a line in flight is {other:?}"),
            },
        }
        true
    }

    /// Hands rows to the store; all hold the same line.
    pub(super) fn append(
        &mut self,
        user: UserKey,
        place: Place,
        rows: SmallVec<[Row; 1]>,
        private: Option<PrivateDue>,
        reference: Option<Box<str>>,
        effects: &mut Effects,
    ) {
        let speaker = &mut self.users[user];
        speaker.outstanding += 1;
        let ack = rows[0].draft.id.clone().map(|id| AckDue {
            hash: self.retries.hash(speaker.id, &place, &id),
            id,
            place,
            retries: Vec::new(),
        });
        let hash = ack.as_ref().map(|ack| ack.hash);
        let line = LineDue { rooms: rows.iter().map(|row| row.room).collect(), reference, ack, private };
        let ticket = self.tickets.issue(Pending::Line { user, line: Box::new(line) });
        if let Some(hash) = hash {
            self.retries.in_flight(hash, ticket);
        }
        effects.requests.push(Request::Append { ticket, rows });
    }

    /// A line has its place: it is told, and then acknowledged.
    pub(super) fn appended(
        &mut self,
        now: Now,
        user: UserKey,
        due: LineDue,
        lines: SmallVec<[Arc<Line>; 1]>,
        effects: &mut Effects,
    ) {
        let seq = lines[0].seq;
        if let Some(private) = &due.private {
            self.tell_plainly(user, private, &lines[0].draft, effects);
        }
        for (room, line) in due.rooms.into_iter().zip(lines) {
            let here = &mut self.rooms[room];
            assert_eq!(line.seq, here.newest + 1, "the store answered {} out of order", here.name);
            here.newest = line.seq;
            let to = here.audience(effects);
            effects.deliver(to, Message::Line(line), Class::Room);
        }
        self.end_incoming(now, due.private, effects);
        let Some(AckDue { id, hash, place, retries }) = due.ack else { return };
        let seq = if let Place::Private(_) = place { self.count_private(user) } else { seq };
        self.retries.stored(hash, place.clone(), seq);
        for (count, reference) in std::iter::once(due.reference).chain(retries).enumerate() {
            self.owe(user, Class::Ack, ack(&place, id.clone(), seq, count > 0, reference), effects);
        }
    }

    /// What is said of a line to its sender: on the connection that it has now; if it has not been welcomed there, then
    /// after that.
    fn owe(&mut self, user: UserKey, class: Class, message: Message, effects: &mut Effects) {
        let user = &mut self.users[user];
        match (user.conn, user.waiting.as_deref_mut()) {
            (Some(_), Some(Waiting::Greeting(greeting))) => greeting.owed.push(message),
            (Some(conn), _) if class == Class::Ack => effects.acknowledge(conn, message),
            (Some(conn), _) => effects.reply(conn, message),
            (None, _) => {}
        }
    }

    /// A line could not be stored: nobody saw it, and its sender hears so, for each retry too.
    pub(super) fn not_appended(
        &mut self,
        now: Now,
        user: UserKey,
        due: LineDue,
        code: ErrorCode,
        effects: &mut Effects,
    ) {
        let private = due.private.is_some();
        self.end_incoming(now, due.private, effects);
        let room = (!private).then(|| self.rooms[due.rooms[0]].name.clone());
        let (id, retries) = match due.ack {
            Some(ack) => {
                self.retries.failed(ack.hash);
                (Some(ack.id), ack.retries)
            }
            None => (None, Vec::new()),
        };
        for reference in std::iter::once(due.reference).chain(retries) {
            let Fault { code, message } = unavailable(code);
            let (room, id) = (room.as_deref().map(Box::from), id.as_deref().map(Box::from));
            let error = Message::Error(Box::new(ErrorReply { code, message, room, reference, id }));
            self.owe(user, Class::Reply, error, effects);
        }
    }

    /// Hands a binary message to the members of the user's first room: of `chinwag.v1`, and plain ones who have sent
    /// binary messages themselves.
    pub(super) fn relay(&mut self, asker: Asker, bytes: &[u8], effects: &mut Effects) {
        let room = match self.room_of(asker.user, None) {
            Ok(room) => room,
            Err(fault) => return asker.refuse(fault, Subject::default(), effects),
        };
        let user = &mut self.users[asker.user];
        if !user.takes_binary {
            user.takes_binary = true;
            for membership in &user.rooms {
                self.rooms[membership.room].members[membership.place as usize].takes_binary = true;
            }
        }
        let here = &self.rooms[room];
        effects.cost_tokens += here.online() / MEMBERS_PER_TOKEN;
        let takers = here.members.iter().filter(|member| member.takes_binary && member.user != asker.user);
        let to = effects.note_readers(takers.filter_map(|member| member.conn));
        effects.deliver(to, Message::Binary(bytes.into()), Class::Ephemeral);
    }

    /// Tells the others that somebody types.
    pub(super) fn tell_typing(&mut self, now: Now, asker: Asker, room: Option<&str>, effects: &mut Effects) {
        let key = match self.room_of(asker.user, room) {
            Ok(key) => key,
            Err(fault) => return asker.refuse(fault, Subject { room, id: None }, effects),
        };
        let name = self.users[asker.user].name.clone();
        let here = &self.rooms[key];
        let pauses = &mut self.users[asker.user].rare().typing_pauses;
        pauses.retain(|&(_, until_ms)| now.mono_ms < until_ms);
        let pausing = pauses.iter().any(|(room, _)| *room == here.name);
        if here.members.len() > self.limits.members_told_max || pausing {
            return;
        }
        pauses.push((here.name.clone(), now.mono_ms + TYPING_PAUSE_MS));
        let typing = Message::Typing { room: here.name.clone(), user: self.users[asker.user].id, name };
        effects.tell(&here.others_by_dialect(asker.user), &typing, Class::Ephemeral);
    }
}

/// An acknowledgement. What is in no stream has no `seq`.
pub(super) fn ack(place: &Place, id: Arc<str>, seq: u64, duplicate: bool, reference: Option<Box<str>>) -> Message {
    match place {
        Place::Room(room) => Message::Ack { id, room: Some(room.clone()), seq: Some(seq), duplicate, reference },
        Place::Private(_) => Message::Ack { id, room: None, seq: None, duplicate, reference },
    }
}
