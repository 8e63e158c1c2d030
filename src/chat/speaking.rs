//! What users say: lines, private messages, binary messages, typing.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::command::{ErrorCode, Fault};
use super::effects::{Class, Effects, Request, Row};
use super::ids::{Millis, Now, RoomKey, UserId};
use super::joining::unavailable;
use super::message::{Draft, Line, Message, Notice};
use super::names::Name;
use super::retries::{Known, Place};
use super::tickets::Pending;
use super::users::UserKey;
use super::{Asker, Chat, Subject};

/// A further `typing` of a user in a room is not told for so long.
const TYPING_PAUSE_MS: Millis = 3_000;

/// Handing a line to so many members costs its sender one more rate token.
const MEMBERS_PER_TOKEN: u32 = 500;

/// An acknowledgement that is owed when the line has its place.
#[derive(Debug)]
pub(super) struct AckDue {
    id: Arc<str>,
    hash: u64,
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
        let here = &self.rooms[key];
        effects.cost_tokens += here.online() / MEMBERS_PER_TOKEN;
        let user = self.users[asker.user].id;
        let hash = id.map(|id| (id, self.retries.hash(user, &Place::Room(here.name.clone()), id)));
        if let Some((id, hash)) = hash
            && let Some(known) = self.retries.known(hash)
        {
            return self.acknowledge_again(asker, key, id, known, effects);
        }
        let speaker = &mut self.users[asker.user];
        let draft = Draft {
            time_ms: now.wall_ms,
            user,
            from: speaker.name.clone(),
            id: id.map(Arc::from),
            message: message.into(),
        };
        speaker.outstanding += 1;
        let ack = draft.id.clone().zip(hash).map(|(id, (_, hash))| AckDue { id, hash, retries: Vec::new() });
        let hash = ack.as_ref().map(|ack| ack.hash);
        let ticket = self.tickets.issue(Pending::Line { user: asker.user, room: key, reference: asker.reference, ack });
        if let Some(hash) = hash {
            self.retries.in_flight(hash, ticket);
        }
        effects.requests.push(Request::Append { ticket, rows: smallvec![Row { room: key, draft }] });
    }

    /// A retry of a line that is there, or on its way.
    fn acknowledge_again(&mut self, asker: Asker, room: RoomKey, id: &str, known: Known, effects: &mut Effects) {
        match known {
            Known::Stored(seq) => {
                let ack = Message::Ack {
                    id: id.into(),
                    room: Some(self.rooms[room].name.clone()),
                    seq: Some(seq),
                    duplicate: true,
                    reference: asker.reference,
                };
                effects.acknowledge(asker.conn, ack);
            }
            Known::InFlight(ticket) => match self.tickets.open(ticket) {
                Some(Pending::Line { ack: Some(ack), .. }) => ack.retries.push(asker.reference),
                other => panic!("a line in flight is {other:?}"),
            },
        }
    }

    /// A line has its place: it is told, and then acknowledged.
    pub(super) fn appended(
        &mut self,
        user: UserKey,
        room: RoomKey,
        reference: Option<Box<str>>,
        ack: Option<AckDue>,
        lines: SmallVec<[Arc<Line>; 1]>,
        effects: &mut Effects,
    ) {
        let here = &mut self.rooms[room];
        for line in lines {
            assert_eq!(line.seq, here.newest + 1, "the store answered {} out of order", here.name);
            here.newest = line.seq;
            let to = here.audience(effects);
            effects.deliver(to, Message::Line(line), Class::Room);
        }
        let Some(ack) = ack else { return };
        let (name, seq) = (here.name.clone(), here.newest);
        self.retries.stored(ack.hash, Place::Room(name.clone()), seq);
        let Some(conn) = self.users[user].conn else { return };
        let references = std::iter::once(reference).chain(ack.retries);
        for (count, reference) in references.enumerate() {
            let ack = Message::Ack {
                id: ack.id.clone(),
                room: Some(name.clone()),
                seq: Some(seq),
                duplicate: count > 0,
                reference,
            };
            effects.acknowledge(conn, ack);
        }
    }

    /// A line could not be stored: nobody saw it, and its sender hears so, for each retry too.
    pub(super) fn not_appended(
        &mut self,
        user: UserKey,
        room: RoomKey,
        reference: Option<Box<str>>,
        ack: Option<AckDue>,
        code: ErrorCode,
        effects: &mut Effects,
    ) {
        if let Some(ack) = &ack {
            self.retries.failed(ack.hash);
        }
        let Some(conn) = self.users[user].conn else { return };
        let id = ack.as_ref().map(|ack| ack.id.clone());
        let subject = Subject { room: Some(&self.rooms[room].name), id: id.as_deref() };
        let retries = ack.map_or_else(Vec::new, |ack| ack.retries);
        for reference in std::iter::once(reference).chain(retries) {
            Asker { user, conn, reference }.refuse(unavailable(code), subject, effects);
        }
    }

    /// A private message between plain users: it has no stream that it could be stored in, so it is told at once.
    pub(super) fn say_privately(
        &mut self,
        asker: Asker,
        to: &str,
        message: &str,
        id: Option<&str>,
        effects: &mut Effects,
    ) {
        let sender = &self.users[asker.user];
        let place = Place::Private(sender.id);
        let hash = id.map(|id| self.retries.hash(sender.id, &place, id));
        if hash.is_some_and(|hash| self.retries.known(hash).is_some()) {
            return acknowledge_privately(asker, id, true, effects);
        }
        let Some((target, conn)) = self.user_by_text(to) else {
            let fault = Fault::new(ErrorCode::NoSuchUser, "nobody here has that name or id");
            return asker.refuse(fault, Subject { room: None, id }, effects);
        };
        let message: Arc<str> = message.into();
        let (user, from) = (sender.id, sender.name.clone());
        if target != asker.user {
            let notice = Notice::Private { from: from.clone(), message: message.clone() };
            effects.reply(conn, Message::System(notice));
        }
        let own = Message::Private { user, from, to: self.users[target].name.clone(), message, id: id.map(Arc::from) };
        effects.reply(asker.conn, own);
        if let Some(hash) = hash {
            self.users[asker.user].private_count += 1;
            self.retries.stored(hash, place, self.users[asker.user].private_count);
        }
        acknowledge_privately(asker, id, false, effects);
    }

    /// Somebody who is here, by id or name.
    fn user_by_text(&self, text: &str) -> Option<(UserKey, super::ConnId)> {
        let by_id = UserId::parse(text).and_then(|id| self.users.by_id(id));
        let user = by_id.or_else(|| {
            let name = Name::parse(text, self.limits.name_chars_max)?;
            self.users.by_name(&name.key())
        })?;
        // Nothing comes before the welcome.
        Some((user, self.users[user].conn.filter(|_| self.users[user].welcomed)?))
    }

    /// Hands a binary message to the members of the user's first room who have sent binary messages themselves.
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
        let pauses = &mut self.users[asker.user].typing_pauses;
        pauses.retain(|&(_, until_ms)| now.mono_ms < until_ms);
        let pausing = pauses.iter().any(|(room, _)| *room == here.name);
        if here.members.len() > self.limits.members_told_max || pausing {
            return;
        }
        pauses.push((here.name.clone(), now.mono_ms + TYPING_PAUSE_MS));
        let to = here.others(asker.user, effects);
        effects.deliver(to, Message::System(Notice::Typing { name }), Class::Ephemeral);
    }
}

fn acknowledge_privately(asker: Asker, id: Option<&str>, duplicate: bool, effects: &mut Effects) {
    if let Some(id) = id {
        let ack = Message::Ack { id: id.into(), room: None, seq: None, duplicate, reference: asker.reference };
        effects.acknowledge(asker.conn, ack);
    }
}
