//! What users ask for: who is there, what was said, another name.

use std::sync::Arc;

use super::command::{ErrorCode, Fault, Span};
use super::effects::{Class, Effects, Part};
use super::ids::{ConnId, RoomKey};
use super::joining::ROOM_INVALID;
use super::message::{History, Line, Message};
use super::names::{ME, Name, RoomName};
use super::tickets::Pending;
use super::users::{UserKey, Waiting};
use super::{Asker, Chat, Subject};

/// Users in one `presence` at most.
const PRESENCE_USERS_MAX: usize = 1_000;

/// Bytes of text in one `history` at most, but for a single line.
const HISTORY_BYTES_MAX: usize = 256 * 1024;

impl Chat {
    /// The room that a request means: by name, or the first that the user is in.
    pub(super) fn room_of(&self, user: UserKey, room: Option<&str>) -> Result<RoomKey, Fault> {
        let Some(typed) = room else {
            let mut rooms = self.users[user].rooms.iter().map(|membership| membership.room);
            let first = rooms.find(|&room| !self.rooms[room].name.is_stream());
            return first.ok_or(Fault::new(ErrorCode::NotJoined, "you are in no room; join one first"));
        };
        let name = RoomName::parse(typed).ok_or(ROOM_INVALID)?;
        self.rooms
            .by_name(&name)
            .filter(|&room| self.users[user].membership(room).is_some())
            .ok_or(Fault::new(ErrorCode::NotJoined, "you are not in that room; join it first"))
    }

    /// As [`room_of`](Self::room_of), but the user's own stream may be meant, too.
    fn readable_of(&self, user: UserKey, room: Option<&str>) -> Result<RoomKey, Fault> {
        if room != Some(ME) {
            return self.room_of(user, room);
        }
        let mut rooms = self.users[user].rooms.iter().map(|membership| membership.room);
        let stream = rooms.find(|&room| self.rooms[room].name.is_stream());
        stream.ok_or(Fault::new(ErrorCode::RoomInvalid, "private messages are kept on `chinwag.v1` only"))
    }

    pub(super) fn tell_who(&mut self, asker: Asker, room: Option<&str>, effects: &mut Effects) {
        effects.cost_tokens += 4;
        let key = match self.room_of(asker.user, room) {
            Ok(key) => key,
            Err(fault) => return asker.refuse(fault, Subject { room, id: None }, effects),
        };
        let here = &mut self.rooms[key];
        here.part_audience();
        let user = |member: &super::rooms::Member| {
            let user = &self.users[member.user];
            (user.id, user.name.clone())
        };
        let presence = Message::Presence {
            room: here.name.clone(),
            users: here.members.iter().take(PRESENCE_USERS_MAX).map(user).collect(),
            online: here.online(),
            reference: asker.reference,
        };
        effects.reply(asker.conn, presence);
    }

    pub(super) fn ask_history(
        &mut self,
        asker: Asker,
        room: Option<&str>,
        span: Span,
        limit: u32,
        effects: &mut Effects,
    ) {
        effects.cost_tokens += 4;
        let key = match self.readable_of(asker.user, room) {
            Ok(key) => key,
            Err(fault) => return asker.refuse(fault, Subject { room, id: None }, effects),
        };
        let (seqs, newest_first) = match span {
            Span::Newest => ((1, u64::MAX), true),
            Span::Before(seq) => ((1, seq.saturating_sub(1)), true),
            Span::After(seq) => ((seq.saturating_add(1), u64::MAX), false),
        };
        let part = Part { seqs, newest_first, lines_max: limit, bytes_max: HISTORY_BYTES_MAX };
        self.users[asker.user].waiting = Some(Box::new(Waiting::Answer));
        let visit = self.users[asker.user].visit;
        let why = Pending::History { user: asker.user, visit, room: key, span, reference: asker.reference };
        self.fetch(asker.user, key, part, why, effects);
    }

    #[expect(clippy::too_many_arguments, reason = "the request's parts and the answer's, each used once")]
    pub(super) fn tell_history(
        &mut self,
        user: UserKey,
        conn: ConnId,
        room: RoomKey,
        span: Span,
        reference: Option<Box<str>>,
        lines: Vec<Arc<Line>>,
        oldest: u64,
        effects: &mut Effects,
    ) {
        self.users[user].waiting = None;
        let here = &mut self.rooms[room];
        here.part_audience();
        // What the store has and has not answered yet is stored, so it may be told.
        let newest = lines.last().map_or(here.newest, |line| line.seq.max(here.newest));
        let oldest = oldest.min(newest + 1);
        if let Span::Before(seq) = span
            && lines.is_empty()
            && seq.min(oldest) > 1
        {
            let fault = Fault::new(ErrorCode::HistoryGone, "what was said before that is not kept any more");
            let name = here.name.clone();
            let subject = Subject { room: Some(name.shown()), id: None };
            return Asker { user, conn, reference }.refuse(fault, subject, effects);
        }
        let more = match span {
            Span::Newest | Span::Before(_) => lines.first().is_some_and(|line| line.seq > oldest),
            Span::After(_) => lines.last().is_some_and(|line| line.seq < newest),
        };
        let epoch = here.epoch.clone().expect("only a loaded room has members");
        let history = History { room: here.name.clone(), epoch, lines, oldest, newest, more, reference };
        effects.reply(conn, Message::History(Box::new(history)));
    }

    /// A name that `user` may take: good, and nobody else's.
    pub(super) fn free_name(&self, typed: &str, user: Option<UserKey>) -> Result<Name, Fault> {
        let chars_max = self.limits.name_chars_max;
        let name = Name::parse(typed, chars_max).ok_or_else(|| Fault {
            code: ErrorCode::NameInvalid,
            message: format!("a name has 1 to {chars_max} characters that can be seen").into(),
        })?;
        match self.users.by_name(&name.key()) {
            Some(holder) if Some(holder) != user => Err(NAME_TAKEN),
            _ => Ok(name),
        }
    }

    pub(super) fn rename(&mut self, asker: Asker, typed: &str, effects: &mut Effects) {
        effects.cost_tokens += 9;
        let name = match self.free_name(typed, Some(asker.user)) {
            Ok(name) => name,
            Err(fault) => return asker.refuse(fault, Subject::default(), effects),
        };
        let user = &mut self.users[asker.user];
        if user.outstanding > 0 {
            user.waiting = Some(Box::new(Waiting::Rename { name, reference: asker.reference }));
            return;
        }
        self.rename_now(asker.user, asker.conn, name, asker.reference, effects);
    }

    pub(super) fn rename_now(
        &mut self,
        user: UserKey,
        conn: ConnId,
        to: Name,
        reference: Option<Box<str>>,
        effects: &mut Effects,
    ) {
        let (id, from) = (self.users[user].id, self.users[user].name.clone());
        if !self.take_name(user, to.clone(), effects) {
            return Asker { user, conn, reference }.refuse(NAME_TAKEN, Subject::default(), effects);
        }
        effects.reply(conn, Message::Renamed { user: id, from, to, reference });
    }

    /// Changes a user's name and tells the others; `false` if somebody else has it.
    pub(super) fn take_name(&mut self, user: UserKey, to: Name, effects: &mut Effects) -> bool {
        let (id, from) = (self.users[user].id, self.users[user].name.clone());
        if !self.users.rename(user, to.clone()) {
            return false;
        }
        let mut others = Vec::new();
        for membership in &self.users[user].rooms {
            let room = &mut self.rooms[membership.room];
            room.part_audience();
            if room.members.len() <= self.limits.members_told_max {
                others.extend(room.others_by_dialect(user));
            }
        }
        // Who shares several rooms with the user is told once.
        others.sort_unstable_by_key(|&(_, conn)| conn);
        others.dedup();
        effects.tell(&others.iter().copied(), &Message::Renamed { user: id, from, to, reference: None }, Class::Room);
        true
    }
}

const NAME_TAKEN: Fault = Fault::new(ErrorCode::NameTaken, "somebody else has that name");
