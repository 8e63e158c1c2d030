//! What must follow from a request: an answer in this step, or one to wait for.

use std::collections::HashMap;
use std::sync::Arc;

use chinwag::chat::command::{From, Span};
use chinwag::chat::message::ErrorReply;
use chinwag::chat::names::ME;
use chinwag::chat::{Ask, Command, ConnId, Draft, ErrorCode, Message, Name, Request, RoomName, Ticket, UserId};

use crate::hold;
use crate::model::{Asked, Due, Flight, Model, Reference, Said, User, Verdict, Waiting};
use crate::turn::Step;

/// A line as it was asked for.
struct Asking<'a> {
    conn: ConnId,
    typed: Option<&'a str>,
    message: &'a str,
    id: Option<&'a str>,
    reference: Reference,
}

impl Model {
    pub fn opened(&mut self, conn: ConnId, room: &RoomName, wished: Option<&str>, secret: [u8; 16]) {
        let mut id = [0; 10];
        id.copy_from_slice(&secret[..10]);
        let (mut name, mut fault, mut perhaps) = (None, None, false);
        if let Some(typed) = wished {
            match Name::parse(typed, self.limits.name_chars_max) {
                None => fault = Some(ErrorCode::NameInvalid),
                Some(good) if self.names.contains_key(&good.key()) => fault = Some(ErrorCode::NameTaken),
                Some(good) if self.may_be_a_guests(&good) => (fault, perhaps) = (Some(ErrorCode::NameTaken), true),
                Some(good) => name = Some(good),
            }
        }
        if let Some(name) = &name {
            self.names.insert(name.key(), conn);
        }
        let waiting = Some(Waiting::Welcome { room: room.clone(), fault, perhaps });
        let id = UserId(id);
        self.ids.insert(id, conn);
        let user = User {
            id,
            name,
            rooms: Vec::new(),
            welcomed: false,
            gone: false,
            sent_binary: false,
            outstanding: 0,
            waiting,
            typed: HashMap::new(),
            private_count: 0,
        };
        self.users.insert(conn, user);
    }

    /// Whether somebody whose name nobody has seen yet may have this one.
    pub fn may_be_a_guests(&self, name: &Name) -> bool {
        name.key().starts_with("guest-") && self.users.values().any(|user| user.name.is_none())
    }

    pub fn heard(&mut self, step: &Step, conn: ConnId, command: &Command<'static>) -> Verdict {
        let user = self.users.get(&conn).ok_or("an unknown connection was heard")?;
        hold!(user.waiting.is_none(), "{conn:?} was heard while it waits for {:?}", user.waiting);
        let reference: Reference = command.reference.as_deref().map(Box::from);
        match &command.ask {
            Ask::Chat { room, message, id } => {
                let (typed, id) = (room.as_deref(), id.as_deref());
                self.heard_chat(step, Asking { conn, typed, message, id, reference })?;
            }
            Ask::Private { to, message, id } => {
                let id = id.as_deref();
                self.heard_private(to, Asking { conn, typed: None, message, id, reference });
            }
            Ask::Join { room, from } => self.heard_join(conn, room, from, reference),
            Ask::Leave { room } => match self.resolve(conn, Some(room)) {
                Ok(name) => self.user(conn).waiting = Some(Waiting::Leave { room: name, reference }),
                Err(code) => self.owe_error(conn, code, Some(room), reference, None),
            },
            Ask::Rename { name } => self.heard_rename(conn, name, reference),
            Ask::Who { room } => match self.resolve(conn, room.as_deref()) {
                Ok(room) => self.current.due.push(Due::Presence { conn, room, reference }),
                Err(code) => self.owe_error(conn, code, room.as_deref(), reference, None),
            },
            // What it would name is kept on `chinwag.v1` only.
            Ask::History { room: Some(room), .. } if room == ME => {
                self.owe_error(conn, ErrorCode::RoomInvalid, Some(room), reference, None);
            }
            Ask::History { room, span, limit } => match self.resolve(conn, room.as_deref()) {
                Ok(room) => self.heard_history(conn, room, *span, *limit, reference),
                Err(code) => self.owe_error(conn, code, room.as_deref(), reference, None),
            },
            Ask::Typing { room } => self.heard_typing(step, conn, room.as_deref(), reference),
            Ask::Ping { t } => {
                self.current.due.push(Due::Exactly(vec![conn], Message::Pong { t: t.clone(), reference }));
            }
            Ask::Binary(bytes) => self.heard_binary(conn, bytes, reference),
            Ask::Wrong { fault, room, id } => {
                self.owe_error(conn, fault.code, room.as_deref(), reference, id.as_deref());
            }
            Ask::Hello(_) => self.owe_error(conn, ErrorCode::BadRequest, None, reference, None),
        }
        let user = &self.users[&conn];
        let tokens = match &user.waiting {
            Some(Waiting::Rename { .. }) => 10,
            Some(Waiting::History { .. } | Waiting::Join { from: From::Last(1..) | From::Position { .. }, .. }) => 5,
            _ if matches!(self.current.due.first(), Some(Due::Presence { .. })) => 5,
            _ => 1,
        };
        hold!(
            step.cost == tokens || self.current.due.iter().any(|due| matches!(due, Due::Error { .. })),
            "it cost {} tokens, and should cost {tokens}",
            step.cost
        );
        if matches!(user.waiting, Some(Waiting::Leave { .. } | Waiting::Rename { .. })) {
            self.coverage.note(if user.outstanding > 0 {
                "a leave or rename waits for a line"
            } else {
                "a leave or rename"
            });
            self.current.settling = Some(conn);
        }
        Ok(())
    }

    fn owe_error(&mut self, conn: ConnId, code: ErrorCode, room: Option<&str>, reference: Reference, id: Option<&str>) {
        self.coverage.note(code.text());
        let (room, id) = (room.map(Into::into), id.map(Into::into));
        self.current.due.push(Due::Error { conn, code, room, or_room: None, reference, id });
    }

    /// The room that a request means.
    fn resolve(&self, conn: ConnId, typed: Option<&str>) -> Result<RoomName, ErrorCode> {
        let rooms = &self.users[&conn].rooms;
        let Some(typed) = typed else { return rooms.first().cloned().ok_or(ErrorCode::NotJoined) };
        let name = RoomName::parse(typed).ok_or(ErrorCode::RoomInvalid)?;
        if rooms.contains(&name) { Ok(name) } else { Err(ErrorCode::NotJoined) }
    }

    fn heard_chat(&mut self, step: &Step, asking: Asking<'_>) -> Verdict {
        let room = match self.resolve(asking.conn, asking.typed) {
            Ok(room) => room,
            Err(code) => {
                let Asking { conn, typed, id, reference, .. } = asking;
                hold!(step.requests.is_empty(), "a line was stored for somebody who is not there");
                self.owe_error(conn, code, typed, reference, id);
                return Ok(());
            }
        };
        let asks = step.requests.iter().any(|request| matches!(request, Request::Recall { .. }));
        let asked = self.asked.values().any(|asked| matches!(asked, Asked::Ids { room: of, .. } if *of == room));
        hold!(step.requests.len() <= 1 && !(asks && asked), "a line was heard, and {:?} asked", step.requests);
        if let Some(id) = asking.id
            && (asks || asked)
        {
            hold!(asks || step.requests.is_empty(), "a line did not wait until it is known whether it is a retry");
            self.coverage.note("a line waits for ids");
            self.joins += 1;
            let (typed, message, id) = (asking.typed.map(Into::into), asking.message.into(), id.into());
            let (order, reference) = (self.joins, asking.reference);
            let conn = asking.conn;
            self.user(conn).waiting = Some(Waiting::Said { room, typed, message, id, order, reference });
            return Ok(());
        }
        hold!(!asks, "a line without an id asked for ids");
        self.say(step, room, asking)
    }

    /// The lines that waited for a room's ids are said now, or refused.
    pub fn recalled(&mut self, step: &Step, room: &RoomName, refusal: Option<ErrorCode>) -> Verdict {
        let waits = |user: &User| match &user.waiting {
            Some(Waiting::Said { room: of, order, .. }) if of == room => Some(*order),
            _ => None,
        };
        let mut waiting: Vec<_> = self.users.iter().filter_map(|(conn, user)| Some((waits(user)?, *conn))).collect();
        waiting.sort_unstable();
        for (_, conn) in waiting {
            let Some(Waiting::Said { typed, message, id, reference, .. }) = self.user(conn).waiting.take() else {
                panic!("it was just there");
            };
            if let Some(code) = refusal {
                self.coverage.note("a line refused for want of ids");
                let (room, or_room, id) = (typed, Some(room.clone()), Some(id));
                self.current.due.push(Due::Error { conn, code, room, or_room, reference, id });
                continue;
            }
            let (typed, message, id) = (typed.as_deref(), &*message, Some(&*id));
            self.say(step, room.clone(), Asking { conn, typed, message, id, reference })?;
        }
        Ok(())
    }

    /// A line is a retry, or is stored in this step.
    fn say(&mut self, step: &Step, room: RoomName, asking: Asking<'_>) -> Verdict {
        let Asking { conn, typed, message, id, reference } = asking;
        let user = self.users[&conn].id;
        let appended = step.requests.iter().find_map(|request| match request {
            Request::Append { ticket, rows } if rows[0].draft.user == user && rows[0].draft.id.as_deref() == id => {
                Some((*ticket, rows))
            }
            _ => None,
        });
        if let Some(id) = id
            && self.heard_again(conn, &room, id, &reference, appended.is_some())?
        {
            return Ok(());
        }
        let (ticket, rows) = appended.ok_or("a line was not stored")?;
        hold!(rows.len() == 1, "one line is one row");
        hold!(self.keys.get(&rows[0].room) == Some(&room), "the line went to another room");
        let draft = rows[0].draft.clone();
        let expected = Draft {
            time_ms: step.now.wall_ms,
            user,
            from: draft.from.clone(),
            id: id.map(Arc::from),
            message: message.into(),
            to: None,
        };
        hold!(draft == expected, "the line was changed: {draft:?}");
        self.see_name(conn, &draft.from)?;
        if let Some(id) = id {
            self.said.insert((user, Some(room.clone()), id.into()), Said::InFlight(ticket));
        }
        self.coverage.note("a line");
        let typed = typed.map(Into::into);
        self.lines_in_flight(ticket, Flight { conn, room, typed, draft, references: vec![reference] });
        Ok(())
    }

    fn lines_in_flight(&mut self, ticket: Ticket, flight: Flight) {
        self.user(flight.conn).outstanding += 1;
        self.asked.insert(ticket, Asked::Line(flight));
    }

    /// A line whose `id` the user gave to one before: `true` if it is a retry and nothing else.
    fn heard_again(
        &mut self,
        conn: ConnId,
        room: &RoomName,
        id: &str,
        reference: &Reference,
        appended: bool,
    ) -> Result<bool, String> {
        let user = self.users[&conn].id;
        let known = self.said.get(&(user, Some(room.clone()), id.to_owned())).cloned();
        match known {
            None | Some(Said::Private { .. }) => Ok(false),
            Some(Said::InFlight(ticket)) => {
                hold!(!appended, "a retry of a line in flight was stored too");
                match self.asked.get_mut(&ticket) {
                    Some(Asked::Line(flight)) => flight.references.push(reference.clone()),
                    other => panic!("{other:?} is no line in flight"),
                }
                self.coverage.note("a retry of a line in flight");
                Ok(true)
            }
            Some(Said::Stored { seq, epoch }) => {
                let here = &self.rooms[room];
                if here.epoch.as_ref() != Some(&epoch) {
                    self.coverage.note("a retry in another life");
                    return Ok(false);
                }
                let newest = here.lines.len() as u64;
                let is_known = newest - seq < self.limits.dedup_room_max as u64;
                let may_be_forgotten = self.ids_stored > self.limits.dedup_max;
                if appended {
                    hold!(!is_known || may_be_forgotten, "a retry of line {seq} was stored again");
                    self.coverage.note("a retry too late");
                    return Ok(false);
                }
                self.coverage.note("a retry");
                self.owe_ack(conn, Some(room.clone()), id, Some(seq), true, reference.clone());
                Ok(true)
            }
        }
    }

    pub fn owe_ack(
        &mut self,
        conn: ConnId,
        room: Option<RoomName>,
        id: &str,
        seq: Option<u64>,
        duplicate: bool,
        reference: Reference,
    ) {
        let ack = Message::Ack { id: id.into(), room, seq, duplicate, reference };
        self.current.due.push(Due::Exactly(vec![conn], ack));
    }

    fn heard_private(&mut self, to: &str, asking: Asking<'_>) {
        let Asking { conn, message, id, reference, .. } = asking;
        let user = self.users[&conn].id;
        let count = self.users[&conn].private_count;
        let key = id.map(|id| (user, None, id.to_owned()));
        // The `id` is looked up before `to`.
        if let Some(Said::Private { count: then }) = key.as_ref().and_then(|key| self.said.get(key)) {
            let is_known = count - then < self.limits.dedup_room_max as u64;
            if is_known && self.ids_stored <= self.limits.dedup_max {
                self.coverage.note("a retry of a private message");
                return self.owe_ack(conn, None, id.expect("it is known"), None, true, reference);
            }
            self.coverage.note("a private retry too late");
            self.current.either = Some(conn);
        }
        let by_id = UserId::parse(to).and_then(|id| self.ids.get(&id)).copied();
        let name = Name::parse(to, self.limits.name_chars_max);
        let by_name = || name.as_ref().and_then(|name| self.names.get(&name.key())).copied();
        let target = by_id.or_else(by_name).filter(|conn| self.users[conn].welcomed && !self.users[conn].gone);
        if target.is_none() && name.is_some_and(|name| self.may_be_a_guests(&name)) {
            // Nobody has seen yet whether it is somebody's name.
            self.current.either = Some(conn);
            return;
        }
        if let (None, Some(nobody)) = (target, UserId::parse(to)) {
            let (stream, id) = (RoomName::stream(nobody), id.map(Into::into));
            self.user(conn).waiting = Some(Waiting::Post { stream, id, reference });
            return;
        }
        if self.current.either == Some(conn) {
            return;
        }
        let Some(target) = target else {
            let room = None;
            return self.owe_error(conn, ErrorCode::NoSuchUser, room, reference, id);
        };
        self.coverage.note(if target == conn { "a private message to oneself" } else { "a private message" });
        let message: Arc<str> = message.into();
        if target != conn {
            self.current.due.push(Due::Private { from: conn, target, message: message.clone() });
        }
        self.current.due.push(Due::Copy { conn, target, message, id: id.map(Arc::from) });
        if let (Some(id), Some(key)) = (id, key) {
            self.ids_stored += 1;
            self.user(conn).private_count += 1;
            self.said.insert(key, Said::Private { count: count + 1 });
            self.owe_ack(conn, None, id, None, false, reference);
        }
    }

    fn heard_join(&mut self, conn: ConnId, typed: &str, from: &From<'static>, reference: Reference) {
        let Some(room) = RoomName::parse(typed) else {
            return self.owe_error(conn, ErrorCode::RoomInvalid, Some(typed), reference, None);
        };
        let rooms = &self.users[&conn].rooms;
        if !rooms.contains(&room) && rooms.len() >= self.limits.rooms_per_user_max {
            return self.owe_error(conn, ErrorCode::RoomLimit, Some(typed), reference, None);
        }
        // Joining again only answers.
        let from = if rooms.contains(&room) { From::Live } else { from.clone() };
        self.coverage.note(if rooms.contains(&room) { "a join again" } else { "a join" });
        self.joins += 1;
        let order = self.joins;
        self.user(conn).waiting = Some(Waiting::Join { room, from, order, reference });
    }

    fn heard_rename(&mut self, conn: ConnId, typed: &str, reference: Reference) {
        let Some(to) = Name::parse(typed, self.limits.name_chars_max) else {
            return self.owe_error(conn, ErrorCode::NameInvalid, None, reference, None);
        };
        if self.names.get(&to.key()).is_some_and(|holder| *holder != conn) {
            return self.owe_error(conn, ErrorCode::NameTaken, None, reference, None);
        }
        self.user(conn).waiting = Some(Waiting::Rename { to, reference });
    }

    fn heard_history(&mut self, conn: ConnId, room: RoomName, span: Span, limit: u32, reference: Reference) {
        let told_then = self.newest(&room);
        self.user(conn).waiting = Some(Waiting::History { room, span, limit, told_then, reference });
    }

    fn heard_typing(&mut self, step: &Step, conn: ConnId, typed: Option<&str>, reference: Reference) {
        let room = match self.resolve(conn, typed) {
            Ok(room) => room,
            Err(code) => return self.owe_error(conn, code, typed, reference, None),
        };
        let (now, others) = (step.now.mono_ms, self.others(&room, conn));
        if self.rooms[&room].members.len() > self.limits.members_told_max {
            return self.coverage.note("typing in a large room");
        }
        let user = self.user(conn);
        if user.typed.get(&room).is_some_and(|last| now < last + 3_000) {
            return self.coverage.note("typing too often");
        }
        user.typed.insert(room, now);
        if !others.is_empty() {
            self.coverage.note("typing");
            self.current.due.push(Due::Typing { of: conn, readers: others });
        }
    }

    fn heard_binary(&mut self, conn: ConnId, bytes: &[u8], reference: Reference) {
        let room = match self.resolve(conn, None) {
            Ok(room) => room,
            Err(code) => return self.owe_error(conn, code, None, reference, None),
        };
        self.user(conn).sent_binary = true;
        let takers: Vec<_> = self.others(&room, conn).into_iter().filter(|conn| self.users[conn].sent_binary).collect();
        if !takers.is_empty() {
            self.coverage.note("binary");
            self.current.due.push(Due::Exactly(takers, Message::Binary(bytes.into())));
        }
    }

    /// Whether an error is the one that is due; the words are free, but not none.
    pub fn is_due_error(due: &Due, conn: ConnId, error: &ErrorReply) -> bool {
        let Due::Error { conn: to, code, room, or_room, reference, id } = due else { return false };
        let room_is_right = error.room.as_deref() == room.as_deref()
            || (or_room.is_some() && error.room.as_deref() == or_room.as_deref());
        *to == conn
            && *code == error.code
            && room_is_right
            && *reference == error.reference
            && id.as_deref() == error.id.as_deref()
            && !error.message.is_empty()
    }
}
