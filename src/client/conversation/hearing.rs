//! Frames of `chinwag.v1`: what each means for what is known, shown and sent.

use crate::chat::ids::Millis;
use crate::chat::names::ME;
use crate::client::talk::{OwnLine, OwnWord, Said, Shown};

use super::asking::{GAP, JOIN, LEAVE, NAME, OLDER};
use super::frame::Frame;
use super::seat::{Joined, Seat, Start, State, Taken};
use super::sending::later;
use super::{Action, Actions, Conversation, HEARTBEAT_MS, Object, Phase, RECONNECT_MAX_MS};

/// How many lines a `history` that fills a gap is asked for: as many as the protocol allows.
const GAP_LINES: u64 = 200;

/// The longest session, in characters.
const SESSION_CHARS_MAX: usize = 128;

impl Conversation {
    /// Hears a text message. What is no frame, or of an unknown type, is nothing.
    pub(super) fn hear_frame(&mut self, now: Millis, text: &str, actions: &mut Actions) {
        let Some(frame) = Frame::parse(text) else { return };
        self.note_reconnect(&frame);
        let kind = frame.words("type");
        match &*kind {
            // The answer to a heartbeat, and what cannot come twice.
            "pong" | "welcome" => return,
            "chat" | "private" => return self.hear_line(now, &frame, text, actions),
            "history" => return self.hear_history(now, &frame, text, actions),
            _ => self.print(|| text.to_owned(), actions),
        }
        match &*kind {
            "joined" => self.hear_joined(&frame, actions),
            "left" => self.hear_left(&frame.words("room"), actions),
            "ack" => {
                self.arrived(now, &frame.words("id"));
            }
            "error" => self.hear_error(now, &frame, actions),
            "presence" => self.hear_presence(&frame, actions),
            "system" | "user_join" | "user_leave" | "user_rename" => self.hear_notice(&kind, &frame, actions),
            _ => {}
        }
    }

    /// Hears what comes before `welcome`: nothing but errors and a word about going away, each with its code. Who says
    /// something else has agreed to what it does not know.
    pub(super) fn hear_greeting(&mut self, now: Millis, text: &str, actions: &mut Actions) {
        let frame = Frame::parse(text);
        let kind = frame.as_ref().map(|frame| frame.words("type")).unwrap_or_default();
        let code = frame.as_ref().map(|frame| frame.words("code")).unwrap_or_default();
        match (&*kind, frame) {
            ("welcome", Some(frame)) => {
                // The secret is nobody's business.
                self.print(|| frame.without("session"), actions);
                self.hear_welcome(now, &frame, actions);
            }
            ("error" | "system", Some(frame)) if !code.is_empty() && code != "unknown_type" => {
                self.print(|| text.to_owned(), actions);
                self.note_reconnect(&frame);
                if kind == "system" {
                    return self.hear_notice(&kind, &frame, actions);
                }
                let why = format!("{} ({code})", frame.words("message"));
                if !frame.is("retry") {
                    // The same `hello` would be refused again.
                    let why = OwnWord::CannotConnect { url: self.settings.url.clone(), why };
                    return self.end(false, Some(why), actions);
                }
                self.lost(now, &why, actions);
            }
            _ if self.may_retract() => self.retract(actions),
            _ => {}
        }
    }

    fn hear_welcome(&mut self, now: Millis, frame: &Frame<'_>, actions: &mut Actions) {
        self.phase = Phase::Talking;
        self.lasting = Some(true);
        self.link.welcomed_at = Some(now);
        self.link.heartbeat_ms = frame.number("heartbeat_ms").unwrap_or(HEARTBEAT_MS).clamp(1_000, 600_000);
        self.message_bytes_max = frame
            .object("limits")
            .and_then(|limits| limits.number("message_bytes"))
            .and_then(|bytes| usize::try_from(bytes).ok());
        let user = frame.words("user");
        if self.was_there && user != self.user {
            // What somebody else sent cannot be sent again.
            self.doubt(|_| true, actions);
        }
        self.user = user;
        self.name = frame.words("name");
        let letters = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
        let session = frame.text("session").filter(|session| {
            !session.is_empty() && session.len() <= SESSION_CHARS_MAX && session.chars().all(letters)
        });
        if session.is_some() {
            self.session = session;
        }
        if self.was_there {
            self.link.missed = Some(0);
            // Lines of rooms that were left before the break was noticed.
            let rooms: Vec<String> = self.seats.iter().map(|seat| seat.room.clone()).collect();
            self.give_up_lines(|line| !rooms.contains(&line.room), actions);
        } else {
            self.was_there = true;
            let (url, name, rooms) = (self.settings.url.clone(), self.name.clone(), self.rooms());
            self.say(OwnWord::Connected { url, name, rooms, lasting: true }, actions);
        }
        self.ask_belated(actions);
        // Whoever left comes back without a name, and a guest is somebody, too.
        self.wished = self.wished.take().or_else(|| Some(self.name.clone()).filter(|name| !name.is_empty()));
        self.remember(actions);
    }

    /// Has it kept who one is, if that has changed: the name is the one that the next `hello` asks for.
    fn remember(&mut self, actions: &mut Actions) {
        let (Some(session), Some(name)) = (&self.session, &self.wished) else { return };
        if self.kept.as_ref().is_none_or(|kept| (&kept.0, &kept.1) != (session, name)) {
            let (session, name) = self.kept.insert((session.clone(), name.clone())).clone();
            actions.push(Action::Remember { session, name });
        }
    }

    fn hear_joined(&mut self, frame: &Frame<'_>, actions: &mut Actions) {
        let room = frame.words("room");
        let last = self.last_lines();
        let (Some(epoch), Some(seq)) = (frame.text("epoch"), frame.number("seq")) else { return };
        let gap_to = frame.object("gap").and_then(|gap| gap.number("to"));
        let (recovered, reason) = (frame.is("recovered"), frame.text("reason"));
        let Some(seat) = self.seat(&room) else { return };
        let start = seat.joined(Joined { epoch, seq, recovered, reason, gap_to }, last);
        match start {
            Start::Known => {}
            // What was sent before it was left and joined again.
            Start::Begins => self.doubt(|line| line.room == room, actions),
            Start::GoesOn { missed } => self.note_missed(missed),
            Start::Elsewhere { reason, missed } => {
                if let Some(reason) = reason {
                    self.say(OwnWord::MayMiss { room: room.clone(), reason }, actions);
                }
                self.doubt(|line| line.room == room, actions);
                self.note_missed(missed);
            }
        }
        if frame.text("ref").as_deref() == Some(JOIN) {
            self.say_rooms(actions);
        }
        self.fill_gap(&room, false, actions);
        self.tell_missed(actions);
    }

    fn note_missed(&mut self, lines: u64) {
        if let Some(missed) = &mut self.link.missed {
            *missed += lines;
        }
    }

    /// Says how much was missed, once each room has answered.
    fn tell_missed(&mut self, actions: &mut Actions) {
        if self.seats.iter().all(|seat| seat.state != State::Asked)
            && let Some(missed) = self.link.missed.take()
        {
            self.say(OwnWord::Back { missed }, actions);
        }
    }

    fn hear_left(&mut self, room: &str, actions: &mut Actions) {
        if self.seat(room).is_some_and(Seat::left) {
            self.drop_room(room, actions);
        }
    }

    /// A room is not there any more, nor are the lines to it.
    pub(super) fn drop_room(&mut self, room: &str, actions: &mut Actions) {
        self.seats.retain(|seat| seat.room != room || room == ME);
        self.give_up_lines(|line| line.room == room && room != ME, actions);
        self.leave_current(room);
    }

    fn hear_line(&mut self, now: Millis, frame: &Frame<'_>, text: &str, actions: &mut Actions) {
        let is_own = !self.user.is_empty() && frame.text("user").as_ref() == Some(&self.user);
        if is_own && let Some(id) = frame.text("id") {
            self.arrived(now, &id);
        }
        let room = line_room(frame);
        let (Some(seq), timestamp) = (frame.number("seq"), frame.words("timestamp")) else { return };
        let Some(seat) =
            self.seat(&room).filter(|seat| matches!(seat.state, State::In | State::Leaving { was_in: true }))
        else {
            return;
        };
        match seat.take(seq, &timestamp) {
            Taken::Show => {
                self.link.was_useful = true;
                self.print(|| text.to_owned(), actions);
                self.show(Shown::Said(self.said(frame, room, is_own, false)), actions);
            }
            Taken::Seen | Taken::Known => {}
            Taken::Jumps => self.fill_gap(&room, true, actions),
        }
    }

    /// Asks for lines that are missing, once for each place.
    fn fill_gap(&mut self, room: &str, jumped: bool, actions: &mut Actions) {
        if let Some(after) = self.seat(room).and_then(|seat| seat.asks_after(jumped)) {
            let ask = Object::new("history").with("room", room).with("after", &after).with("limit", &GAP_LINES);
            actions.push(Action::Send(ask.with("ref", GAP).finish()));
        }
    }

    fn hear_history(&mut self, now: Millis, frame: &Frame<'_>, text: &str, actions: &mut Actions) {
        match frame.text("ref").as_deref() {
            Some(GAP) => self.hear_gap(now, frame, actions),
            Some(OLDER) => {
                self.print(|| text.to_owned(), actions);
                self.hear_older(frame, actions);
            }
            _ => {}
        }
    }

    fn hear_gap(&mut self, now: Millis, frame: &Frame<'_>, actions: &mut Actions) {
        let room = frame.words("room");
        let (epoch, oldest) = (frame.words("epoch"), frame.number("oldest").unwrap_or(0));
        let Some(seat) = self.seat(&room).filter(|seat| seat.state == State::In) else { return };
        if !seat.can_read_from(&epoch, oldest) {
            return self.lost(now, "lines are not kept any more", actions);
        }
        for item in frame.items("messages") {
            if let Some(line) = Frame::parse(item).filter(|line| line_room(line) == room) {
                self.hear_line(now, &line, item, actions);
            }
        }
        self.fill_gap(&room, true, actions);
    }

    fn hear_older(&mut self, frame: &Frame<'_>, actions: &mut Actions) {
        let room = frame.words("room");
        let (user, epoch) = (self.user.clone(), frame.text("epoch"));
        let Some(seat) = self.seat(&room).filter(|seat| seat.epoch == epoch) else { return };
        let mut before = seat.oldest_shown.unwrap_or(seat.seq + 1);
        let mut lines = Vec::new();
        // From the newest down, so that each is older than what was shown.
        for item in frame.items("messages").into_iter().rev() {
            let Some(line) = Frame::parse(item).filter(|line| line_room(line) == room) else { continue };
            if let Some(seq) = line.number("seq").filter(|&seq| seq < before) {
                before = seq;
                let is_own = !user.is_empty() && line.text("user").as_ref() == Some(&user);
                lines.push(Shown::Said(self.said(&line, room.clone(), is_own, true)));
            }
        }
        if lines.is_empty() {
            return self.say(OwnWord::NoOlder { room }, actions);
        }
        if let Some(seat) = self.seat(&room) {
            seat.oldest_shown = Some(before);
        }
        lines.into_iter().rev().for_each(|line| self.show(line, actions));
    }

    fn hear_error(&mut self, now: Millis, frame: &Frame<'_>, actions: &mut Actions) {
        let (room, id, retry) = (frame.text("room"), frame.text("id"), frame.is("retry"));
        let reference = frame.text("ref");
        let line = id.as_deref().and_then(|id| self.outbox.find(id)).map(|line| line.id.clone());
        let mut about = None;
        match (line, room, reference.as_deref()) {
            (Some(id), ..) if retry => return self.send_again_later(now, &id),
            (Some(id), ..) if frame.words("code") == "no_such_user" && self.send_to_departed(&id, actions) => return,
            (Some(id), ..) => {
                about = self.outbox.settle(&id).map(|line| line.told());
                self.failed += 1;
                self.progress(now);
            }
            // It was never joined: that was refused, too.
            (None, Some(room), Some(LEAVE)) => return self.hear_left(&room, actions),
            (None, Some(room), Some(GAP)) => {
                if let Some(seat) = self.seat(&room) {
                    seat.history_refused();
                }
                return;
            }
            (None, Some(room), None | Some(JOIN)) => {
                let Some(seat) = self.seat(&room).filter(|seat| seat.awaits_joined()) else {
                    return self.refuse(frame, about, actions);
                };
                if retry {
                    seat.state = State::Refused { again_at: now + later(seat.refusals) };
                    seat.refusals += 1;
                } else {
                    self.drop_room(&room, actions);
                }
                self.tell_missed(actions);
            }
            (None, _, Some(NAME)) => self.keep_name(actions),
            // A name of the `hello` that no other would be given either: it is not asked for again.
            (None, None, None) if frame.words("code") == "name_invalid" => self.keep_name(actions),
            (None, Some(_), Some(OLDER)) if frame.words("code") == "history_gone" => {
                let room = frame.words("room");
                return self.say(OwnWord::NoOlder { room }, actions);
            }
            _ => {}
        }
        self.refuse(frame, about, actions);
    }

    fn refuse(&self, frame: &Frame<'_>, about: Option<OwnLine>, actions: &mut Actions) {
        let (code, message) = (frame.words("code"), frame.words("message"));
        self.show(Shown::Refused { code, message, about }, actions);
    }

    fn hear_presence(&self, frame: &Frame<'_>, actions: &mut Actions) {
        let users = frame.items("users");
        let names: Vec<String> =
            users.into_iter().filter_map(|user| Frame::parse(user).and_then(|user| user.text("name"))).collect();
        let online = frame.number("online_count").unwrap_or(names.len() as u64);
        self.show(Shown::Present { room: frame.words("room"), names, online }, actions);
    }

    fn hear_notice(&mut self, kind: &str, frame: &Frame<'_>, actions: &mut Actions) {
        if kind == "user_rename" && frame.text("user").as_ref() == Some(&self.user) {
            self.name = frame.text("to").unwrap_or_else(|| self.name.clone());
            if frame.text("ref").as_deref() == Some(NAME) {
                self.keep_name(actions);
            }
        }
        if kind == "user_leave"
            && let (Some(user), Some(name)) = (frame.text("user"), frame.text("name"))
        {
            self.departed.note(user, name);
        }
        if let Some(message) = frame.text("message") {
            let (room, timestamp) = (frame.text("room"), frame.words("timestamp"));
            self.show(Shown::Notice { room, message, timestamp }, actions);
        }
    }

    /// The name that one has is the one to ask for.
    fn keep_name(&mut self, actions: &mut Actions) {
        self.wished = Some(self.name.clone());
        self.remember(actions);
    }

    fn said(&self, frame: &Frame<'_>, room: String, own: bool, old: bool) -> Said {
        let private = room == ME;
        // Of somebody who had left it is the user.
        let known = |user: &str| if user == self.user { Some(&*self.name) } else { self.departed.name(user) };
        let to = frame.text("to").filter(|_| private).map(|to| known(&to).map_or(to.clone(), str::to_owned));
        Said {
            room: (!private).then_some(room),
            from: frame.words("from"),
            user: frame.text("user"),
            to,
            message: frame.words("message"),
            timestamp: frame.words("timestamp"),
            own,
            old,
        }
    }

    /// Notes when the server wants one to come back, if it says so.
    pub(super) fn note_reconnect(&mut self, frame: &Frame<'_>) {
        if let Some(wait) = frame.number("reconnect_in_ms") {
            let spread = frame.number("reconnect_spread_ms").unwrap_or(0).min(RECONNECT_MAX_MS);
            self.link.wait_ms = Some(wait.min(RECONNECT_MAX_MS) + self.dice.u64(0..=spread));
        }
    }
}

/// The room of a line.
fn line_room(frame: &Frame<'_>) -> String {
    if frame.words("type") == "private" { ME.to_owned() } else { frame.words("room") }
}
