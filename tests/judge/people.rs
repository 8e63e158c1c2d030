//! What people do: they talk, come and go, and lose the connection.

use chinwag::chat::command::{From, Span};
use chinwag::chat::names::ME;
use chinwag::chat::{Ask, RoomName};

use crate::Verdict;
use crate::client::{State, command};
use crate::link::Up;
use crate::outbox::Whither;
use crate::truth::{Fate, Target};
use crate::world::World;

impl World {
    /// Somebody does something.
    pub fn something(&mut self) -> Verdict {
        let person = self.dice.usize(0..self.clients.len() + self.plains.len());
        if self.dice.u32(0..1_000) < self.plan.breaks {
            return self.break_off(person);
        }
        match person.checked_sub(self.clients.len()) {
            None => self.client_does(person),
            Some(place) => {
                self.plain_does(person, place);
                Ok(())
            }
        }
    }

    fn client_does(&mut self, person: usize) -> Verdict {
        let client = &self.clients[person];
        let Some(number) = client.link.filter(|_| !client.leaving) else {
            // Away, it writes for later.
            if self.dice.u8(0..10) == 0 {
                self.write_to_room(person);
            }
            return Ok(());
        };
        if !client.welcomed {
            // It may lose patience.
            if self.dice.u16(0..300) == 0 {
                return self.take_over(person, number);
            }
            return Ok(());
        }
        match self.dice.u16(0..1_000) {
            0..=549 => self.write_to_room(person),
            550..=689 => self.write_privately(person),
            690..=719 => self.join(person, number),
            720..=734 => self.leave(person, number),
            735..=754 => {
                let name = self.name();
                self.send(number, vec![command(Ask::Rename { name: name.into() })]);
            }
            755..=799 => self.ask(person, number),
            800..=819 => self.repeat(person, number),
            820..=829 => self.nag(person, number),
            830..=834 => {
                self.coverage.note("a goodbye");
                self.clients[person].leaving = true;
                self.links.all[number].up.push_back(Up::Goodbye);
            }
            835..=839 => return self.take_over(person, number),
            840..=869 => {
                let binary: &[u8] = b"\0\xff";
                self.send(number, vec![command(Ask::Binary(binary))]);
            }
            _ => {}
        }
        Ok(())
    }

    /// The client believes its connection dead and makes another, though the server sees both.
    fn take_over(&mut self, person: usize, number: usize) -> Verdict {
        let link = &mut self.links.all[number];
        let arrives = link.up.len();
        link.lose(arrives, crate::link::Heard::Never, self.turn, self.now.mono_ms);
        self.coverage.note("a client that changes its network");
        self.clients[person].lost(self.turn);
        self.come(person)
    }

    fn write_to_room(&mut self, person: usize) {
        let client = &mut self.clients[person];
        let rooms: Vec<_> = client.seats.iter().filter(|seat| seat.wanted && seat.room != ME).collect();
        if rooms.is_empty() || client.outbox.is_full() {
            return;
        }
        let room = rooms[self.dice.usize(0..rooms.len())].room.clone();
        let name = RoomName::parse(&room).expect("rooms of ours");
        let number = self.server.truth.write(person, Target::Room(name), Fate::Open);
        client.outbox.write(number, Whither::Room(room));
        self.send_due(person);
    }

    fn write_privately(&mut self, person: usize) {
        if self.clients[person].outbox.is_full() {
            return;
        }
        let own = self.clients[person].user;
        let other = self.clients[self.dice.usize(0..self.clients.len())].user;
        let anybody = self.server.presence.anybody(&mut self.dice);
        let (to, target) = match (self.dice.u8(0..4), other, anybody) {
            (0..=1, Some(user), _) if Some(user) != own => (user.to_string(), Target::User(user)),
            (2, _, Some((user, _))) => (user.to_string(), Target::Anybody),
            (_, _, Some((_, Some(name)))) => (name.to_string(), Target::Anybody),
            _ => ("uaaaaaaaaaaaaaaaa".into(), Target::Anybody),
        };
        let number = self.server.truth.write(person, target, Fate::Open);
        self.clients[person].outbox.write(number, Whither::To(to));
        self.coverage.note("a private message");
        self.send_due(person);
    }

    fn send_due(&mut self, person: usize) {
        let sends = self.clients[person].due();
        if let Some(number) = self.clients[person].link {
            self.send(number, sends);
        }
    }

    fn join(&mut self, person: usize, number: usize) {
        let room = self.rooms[self.dice.usize(0..self.rooms.len())].to_string();
        let last = self.dice.u32(0..5);
        let fresh = self.dice.u8(0..4) == 0;
        let client = &mut self.clients[person];
        let rooms = client.seats.iter().filter(|seat| seat.wanted).count();
        let seat = client.seat(&room);
        let from = match seat.screen.position() {
            Some(position) if !fresh => position,
            _ if last > 0 => From::Last(last),
            _ => From::Live,
        };
        match &seat.state {
            State::In => seat.state = State::Again,
            State::Out | State::Refused(_) if rooms <= self.plan.limits.rooms_per_user_max => {
                (seat.wanted, seat.state) = (true, State::Asked(from.clone()));
            }
            _ => return,
        }
        self.send(number, vec![command(Ask::Join { room: room.into(), from })]);
    }

    fn leave(&mut self, person: usize, number: usize) {
        let client = &mut self.clients[person];
        let outbox = &client.outbox;
        let leaves = |seat: &crate::client::Seat| {
            seat.room != ME && seat.state == State::In && !outbox.is_waiting_for(&seat.room)
        };
        let Some(place) = client.seats.iter().position(leaves) else { return };
        let seat = &mut client.seats[place];
        (seat.wanted, seat.state) = (false, State::Leaving);
        let room = seat.room.clone();
        self.send(number, vec![command(Ask::Leave { room: room.into() })]);
    }

    fn ask(&mut self, person: usize, number: usize) {
        let seats = self.clients[person].seats.iter().filter(|seat| seat.state == State::In && seat.room != ME);
        let rooms: Vec<_> = seats.map(|seat| seat.room.clone()).collect();
        if rooms.is_empty() {
            return;
        }
        let room = Some(rooms[self.dice.usize(0..rooms.len())].clone().into());
        let seq = self.dice.u64(0..40);
        let ask = match self.dice.u8(0..6) {
            0 => Ask::Typing { room },
            1 => Ask::History { room, span: Span::After(seq), limit: 20 },
            2 => Ask::History { room: Some(ME.into()), span: Span::Newest, limit: 20 },
            3 => Ask::Ping { t: None },
            _ => Ask::Who { room },
        };
        self.send(number, vec![command(ask)]);
    }

    /// Sends a line again that is not acknowledged yet.
    fn repeat(&mut self, person: usize, number: usize) {
        let client = &mut self.clients[person];
        let seats = &client.seats;
        let mut sends = Vec::new();
        client.outbox.repeat(&mut sends, |room| seats.iter().any(|seat| seat.room == room && seat.is_through()));
        self.send(number, sends);
    }

    /// Sends again what was stored long ago: a retry that comes late, and must be answered as one. (Of a private line the
    /// `id` is looked up before `to`.)
    fn nag(&mut self, person: usize, number: usize) {
        let client = &self.clients[person];
        let through: Vec<_> = client.seats.iter().filter(|seat| seat.is_through()).collect();
        let Some(user) = client.user.filter(|_| !through.is_empty()) else { return };
        let room = through[self.dice.usize(0..through.len())].room.clone();
        let name = if room == ME { RoomName::stream(user) } else { RoomName::parse(&room).expect("rooms of ours") };
        let lines = self.server.truth.log(&name).map_or(&[][..], |log| &log.lines);
        let own: Vec<_> = lines.iter().filter(|line| line.draft.user == user && line.draft.id.is_some()).collect();
        // What is not kept any more, a restart forgets.
        let gone = self.server.truth.kept_max.map_or(0, |kept_max| (lines.len() as u64).saturating_sub(kept_max / 2));
        let own: Vec<_> = own.into_iter().filter(|line| line.seq > gone).collect();
        if own.is_empty() {
            return;
        }
        let text = own[self.dice.usize(0..own.len())].draft.message.to_string();
        let (message, id) = (text.clone().into(), Some(text.into()));
        self.coverage.note("a retry of long ago");
        let ask = if room == ME {
            Ask::Private { to: "uaaaaaaaaaaaaaaaa".into(), message, id }
        } else {
            Ask::Chat { room: Some(room.into()), message, id }
        };
        self.send(number, vec![command(ask)]);
    }

    fn plain_does(&mut self, person: usize, place: usize) {
        let plain = &self.plains[place];
        let Some(number) = plain.link.filter(|_| plain.welcomed) else { return };
        let room = plain.room.clone();
        let private = self.dice.u8(0..5) == 0;
        let anybody = self.server.presence.anybody(&mut self.dice).filter(|_| private);
        let target = if anybody.is_some() { Target::Anybody } else { Target::Room(room) };
        let text = self.server.truth.write(person, target, Fate::Unasked).to_string();
        let id = self.dice.bool().then(|| text.clone().into());
        let ask = match anybody {
            Some((user, _)) => Ask::Private { to: user.to_string().into(), message: text.into(), id },
            None => Ask::Chat { room: None, message: text.into(), id },
        };
        self.send(number, vec![command(ask)]);
    }

    /// Rooms that were refused for now are asked for again.
    pub fn insist(&mut self) {
        for person in 0..self.clients.len() {
            let client = &mut self.clients[person];
            let Some(number) = client.link else { continue };
            let mut sends = Vec::new();
            for seat in &mut client.seats {
                if let State::Refused(from) = &seat.state {
                    sends.push(command(Ask::Join { room: seat.room.clone().into(), from: from.clone() }));
                    seat.state = State::Asked(from.clone());
                }
            }
            sends.extend(client.due());
            self.send(number, sends);
        }
    }
}
