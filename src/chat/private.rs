//! Private messages: one line in the streams of both, and as it is to those who have no stream.
//!
//! A user of `chinwag.v1` has a stream, a room of its own that nobody else is in. It has places and is caught up with as any
//! room is, and it is kept while its owner is away.

use std::sync::Arc;

use smallvec::SmallVec;

use super::command::{ErrorCode, Fault};
use super::effects::{Effects, Row};
use super::ids::{ConnId, Now, RoomKey, UserId};
use super::joining::Join;
use super::message::{Draft, Message};
use super::names::{Name, RoomName};
use super::retries::Place;
use super::speaking::ack;
use super::users::UserKey;
use super::{Asker, Chat, Subject};

/// What a private message needs beyond its rows.
#[derive(Debug)]
pub(super) struct PrivateDue {
    /// The stream of somebody else among the rows.
    pub(super) incoming: Option<RoomKey>,
    /// Told as it is, for want of a stream.
    plain_reader: Option<UserId>,
    /// The sender has no stream that its own copy would be in.
    plain_sender: bool,
}

/// A private message on its way to a stream that must be loaded first.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) to: UserId,
    message: Arc<str>,
    id: Option<Box<str>>,
    reference: Option<Box<str>>,
}

impl Post {
    pub(super) fn refuse(self, user: UserKey, conn: ConnId, fault: Fault, effects: &mut Effects) {
        let subject = Subject { room: None, id: self.id.as_deref() };
        Asker { user, conn, reference: self.reference }.refuse(fault, subject, effects);
    }
}

impl Chat {
    /// A private message: into the streams of both, or, for want of one, as it is.
    pub(super) fn say_privately(
        &mut self,
        now: Now,
        asker: Asker,
        to: &str,
        message: &str,
        id: Option<&str>,
        effects: &mut Effects,
    ) {
        if let Some(id) = id
            && let Some(stream) = self.stream_of(asker.user)
            && !self.knows_ids(stream)
        {
            return self.await_ids(asker, stream, Some(to), message, id, effects);
        }
        self.write_to(now, asker, to, message, id, effects);
    }

    /// Writes to somebody; the ids of the writer's own stream are known, if the message has one.
    pub(super) fn write_to(
        &mut self,
        now: Now,
        asker: Asker,
        to: &str,
        message: &str,
        id: Option<&str>,
        effects: &mut Effects,
    ) {
        let place = self.private_place(asker.user);
        if self.is_retry(&asker, &place, id, effects) {
            return;
        }
        let Asker { user, conn, reference } = asker;
        let id = id.map(Box::from);
        let present = self.user_by_text(to);
        let target = present.map(|target| self.users[target].id).or_else(|| UserId::parse(to));
        let Some(target_id) = target else {
            let post = Post { to: self.users[user].id, message: "".into(), id, reference };
            return post.refuse(user, conn, NO_SUCH_USER, effects);
        };
        let post = Post { to: target_id, message: message.into(), id, reference };
        if present.is_some_and(|target| !self.users[target].has_stream()) {
            self.post(now, user, conn, None, post, effects);
        } else {
            self.go(now, user, RoomName::stream(target_id), Join::Post(Box::new(post)), effects);
        }
    }

    /// Stores a private message; `incoming` is the stream of the one it goes to, if there is one.
    pub(super) fn post(
        &mut self,
        now: Now,
        user: UserKey,
        conn: ConnId,
        incoming: Option<RoomKey>,
        post: Post,
        effects: &mut Effects,
    ) {
        let target = self.users.by_id(post.to);
        let own = self.stream_of(user);
        let sender = &self.users[user];
        let draft = Draft {
            time_ms: now.wall_ms,
            user: sender.id,
            from: sender.name.clone(),
            id: post.id.as_deref().map(Arc::from),
            message: post.message,
            to: Some(target.map_or_else(|| Name::of(post.to), |target| self.users[target].name.clone())),
        };
        let incoming = incoming.filter(|&room| Some(room) != own);
        let private = PrivateDue {
            incoming,
            plain_reader: (incoming.is_none() && post.to != sender.id).then_some(post.to),
            plain_sender: own.is_none(),
        };
        let place = self.private_place(user);
        let rows: SmallVec<[Row; 1]> =
            own.into_iter().chain(incoming).map(|room| Row { room, draft: draft.clone() }).collect();
        if !rows.is_empty() {
            if let Some(room) = incoming {
                self.rooms[room].incoming += 1;
            }
            return self.append(user, place, rows, Some(private), post.reference, effects);
        }
        // Neither has a stream: nothing is stored, so nothing is awaited.
        self.tell_plainly(user, &private, &draft, effects);
        if let Some(id) = draft.id {
            let hash = self.retries.hash(draft.user, &place, &id);
            let count = self.count_private(user);
            effects.acknowledge(conn, ack(&place, id, count, false, post.reference));
            self.retries.stored(hash, place, count);
        }
    }

    /// Tells a private message to those who have no stream to read it in.
    pub(super) fn tell_plainly(&self, user: UserKey, private: &PrivateDue, draft: &Draft, effects: &mut Effects) {
        let told = || Message::Private {
            user: draft.user,
            from: draft.from.clone(),
            to: draft.to.clone().unwrap_or_else(|| draft.from.clone()),
            message: draft.message.clone(),
            id: draft.id.clone(),
        };
        if let Some(reader) = private.plain_reader.and_then(|id| self.users.by_id(id))
            && let Some(conn) = self.users[reader].conn
        {
            effects.reply(conn, told().unasked(self.users[reader].dialect));
        }
        if let Some(conn) = self.users[user].conn
            && private.plain_sender
        {
            effects.reply(conn, told());
        }
    }

    /// The user's own stream, if it has one.
    fn stream_of(&self, user: UserKey) -> Option<RoomKey> {
        let user = &self.users[user];
        user.has_stream().then(|| self.rooms.by_name(&RoomName::stream(user.id))).flatten()
    }

    /// Where a user's private messages are looked for when they come again.
    fn private_place(&self, user: UserKey) -> Place {
        let user = &self.users[user];
        if user.has_stream() { Place::Room(RoomName::stream(user.id)) } else { Place::Private(user.id) }
    }

    pub(super) fn count_private(&mut self, user: UserKey) -> u64 {
        let count = &mut self.users[user].rare().private_count;
        *count += 1;
        *count
    }

    /// Somebody who is here or expected back, by id or name.
    fn user_by_text(&self, text: &str) -> Option<UserKey> {
        let by_id = UserId::parse(text).and_then(|id| self.users.by_id(id));
        let user = by_id.or_else(|| {
            let name = Name::parse(text, self.limits.name_chars_max)?;
            self.users.by_name(&name.key())
        })?;
        // Nothing comes before the welcome: to a plain user it would, while its first room is loaded.
        let found = &self.users[user];
        (found.has_stream() || (found.welcomed && found.conn.is_some())).then_some(user)
    }

    /// A private message is in its stream, or never will be.
    pub(super) fn end_incoming(&mut self, now: Now, private: Option<PrivateDue>, effects: &mut Effects) {
        if let Some(room) = private.and_then(|private| private.incoming) {
            self.rooms[room].incoming -= 1;
            self.unload_if_idle(now, room, effects);
        }
    }
}

/// What is said to whoever writes to nobody.
pub(super) const NO_SUCH_USER: Fault = Fault::new(ErrorCode::NoSuchUser, "nobody has that name or id");
