//! What the person asks for.

use crate::chat::ids::Millis;
use crate::client::talk::{Intent, OwnLine, OwnWord};

use super::outbox::Own;
use super::seat::{Seat, State};
use super::{Action, Actions, Conversation, ME, Object, Phase};

/// The `ref` of a `join`.
pub(super) const JOIN: &str = "join";
/// The `ref` of a rename.
pub(super) const NAME: &str = "name";
/// The `ref` of a `history` that fills a gap.
pub(super) const GAP: &str = "gap";
/// The `ref` of a `history` that the person asked for.
pub(super) const OLDER: &str = "older";
/// The `ref` of a `who`.
const WHO: &str = "who";
/// The `ref` of a `leave`.
pub(super) const LEAVE: &str = "leave";

/// Lines of a `history` at most, by the protocol.
const HISTORY_MAX: u32 = 200;

impl Conversation {
    /// Does what the person asks for.
    pub(super) fn ask(&mut self, now: Millis, intent: Intent, actions: &mut Actions) {
        if self.is_finishing() && intent != Intent::Quit {
            // Too late: goodbye is said, or about to be.
            let line = match intent {
                Intent::Say(message) => OwnLine { to: None, message },
                Intent::Private { to, message } => OwnLine { to: Some(to), message },
                _ => return,
            };
            return self.not_sent(line, actions);
        }
        let plain = self.lasting == Some(false);
        match intent {
            Intent::Quit => self.quit(now),
            Intent::Say(message) if plain => self.put(now, Some(""), None, message, actions),
            Intent::Say(message) => {
                if let Some(room) = self.current.clone() {
                    return self.put(now, Some(&room), None, message, actions);
                }
                self.say_rooms(actions);
                self.not_sent(OwnLine { to: None, message }, actions);
            }
            _ if plain => self.say(OwnWord::NeedsV1, actions),
            Intent::Private { to, message } => self.put(now, None, Some(to), message, actions),
            Intent::Name(name) => self.rename(name, actions),
            Intent::Who => {
                let room = self.current.clone();
                self.send(&Object::new("who").with_some("room", room).with("ref", WHO).finish(), actions);
            }
            Intent::Join(room) => self.join(&room, actions),
            Intent::Leave(room) => self.leave(room, actions),
            Intent::Room(None) => self.say_rooms(actions),
            Intent::Room(Some(room)) if self.rooms().contains(&room) => {
                self.current = Some(room);
                self.say_rooms(actions);
            }
            Intent::Room(Some(room)) => self.say(OwnWord::NotIn { room }, actions),
            Intent::History(lines) => self.ask_history(lines, actions),
        }
    }

    /// Puts a line into the outbox.
    fn put(&mut self, now: Millis, room: Option<&str>, to: Option<String>, message: String, actions: &mut Actions) {
        if self.outbox.is_full() {
            return self.not_sent(OwnLine { to, message }, actions);
        }
        let id = format!("{:016x}", self.dice.u64(..));
        self.outbox.add(Own::new(id, room, to, message, now));
    }

    fn not_sent(&mut self, line: OwnLine, actions: &mut Actions) {
        self.failed += 1;
        self.say(OwnWord::NotSent { line }, actions);
    }

    /// Sends a command that is of no use later.
    fn send(&self, command: &str, actions: &mut Actions) {
        if self.phase == Phase::Talking {
            actions.push(Action::Send(command.to_owned()));
        } else {
            self.say(OwnWord::NotConnected, actions);
        }
    }

    fn rename(&mut self, name: String, actions: &mut Actions) {
        if self.phase == Phase::Talking {
            let ask = Object::new("name").with("name", &name).with("ref", NAME);
            actions.push(Action::Send(ask.finish()));
        }
        // If it breaks before the answer, the next `hello` asks again.
        self.wished = Some(name);
    }

    fn join(&mut self, room: &str, actions: &mut Actions) {
        let last = self.last_lines();
        let seat = self.seats.iter_mut().find(|seat| seat.room == room && room != ME);
        match seat {
            Some(seat) if seat.is_left() => seat.join_again(),
            Some(_) => {
                self.current = Some(room.to_owned());
                return self.say_rooms(actions);
            }
            None => self.seats.push(Seat::new(room)),
        }
        self.current = Some(room.to_owned());
        if self.phase == Phase::Talking {
            let join = Seat::new(room).spell(Object::new("join"), last).with("ref", JOIN);
            actions.push(Action::Send(join.finish()));
        }
    }

    fn leave(&mut self, room: Option<String>, actions: &mut Actions) {
        let Some(room) = room.or_else(|| self.current.clone()) else { return self.say_rooms(actions) };
        if !self.rooms().contains(&room) {
            return self.say(OwnWord::NotIn { room }, actions);
        }
        if self.phase == Phase::Talking {
            if let Some(seat) = self.seat(&room) {
                seat.state = State::Leaving { was_in: seat.state == State::In };
            }
            let leave = Object::new("leave").with("room", &room).with("ref", LEAVE);
            actions.push(Action::Send(leave.finish()));
            self.leave_current(&room);
        } else {
            self.drop_room(&room, actions);
        }
        self.say_rooms(actions);
    }

    /// Says who one is, and in which rooms one wants to be.
    pub(super) fn say_hello(&mut self, actions: &mut Actions) {
        let last = self.last_lines();
        let rooms: Vec<String> = self.seats.iter().map(|seat| seat.spell(Object::bare(), last).finish()).collect();
        let hello = Object::new("hello")
            .with_some("name", self.wished.as_deref())
            .with_some("session", self.session.as_deref())
            .raw("rooms", &format!("[{}]", rooms.join(",")));
        self.greeted = (self.rooms(), self.wished.clone());
        actions.push(Action::Send(hello.finish()));
    }

    /// Asks for what was wished while `hello` was on its way, which could not know of it.
    pub(super) fn ask_belated(&mut self, actions: &mut Actions) {
        let (rooms, name) = std::mem::take(&mut self.greeted);
        let last = self.last_lines();
        for seat in self.seats.iter().filter(|seat| seat.room != ME && !rooms.contains(&seat.room)) {
            let join = seat.spell(Object::new("join"), last).with("ref", JOIN);
            actions.push(Action::Send(join.finish()));
        }
        for room in rooms.iter().filter(|room| !self.seats.iter().any(|seat| seat.room == **room)) {
            let leave = Object::new("leave").with("room", room).with("ref", LEAVE);
            actions.push(Action::Send(leave.finish()));
        }
        if self.wished != name
            && let Some(name) = self.wished.clone()
        {
            self.rename(name, actions);
        }
    }

    /// Speaks elsewhere, if it was there.
    pub(super) fn leave_current(&mut self, room: &str) {
        if self.current.as_deref() == Some(room) {
            self.current = self.rooms().into_iter().find(|other| other != room);
        }
    }

    pub(super) fn say_rooms(&self, actions: &mut Actions) {
        self.say(OwnWord::Rooms { current: self.current.clone(), all: self.rooms() }, actions);
    }

    fn ask_history(&mut self, lines: u32, actions: &mut Actions) {
        let Some(room) = self.current.clone() else { return self.say_rooms(actions) };
        let Some(seat) = self.seat(&room) else { return };
        let before = seat.oldest_shown.unwrap_or(seat.seq + 1);
        let ask = Object::new("history").with("room", &room).with("before", &before);
        self.send(&ask.with("limit", &lines.clamp(1, HISTORY_MAX)).with("ref", OLDER).finish(), actions);
    }
}
