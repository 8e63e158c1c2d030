//! The end of a run: the network heals, everybody comes back and catches up, and all that was promised must be so; then
//! all go, and nothing may be left.

use chinwag::chat::{Ask, Usage};

use crate::client::command;
use crate::link::{Heard, Link, Up};
use crate::world::World;
use crate::{Verdict, hold};

impl World {
    pub fn wind_down(&mut self) -> Verdict {
        self.calm = true;
        self.server.store.hurry();
        for (_, link) in &mut self.links.all {
            link.wire_max = 1_000;
            link.ends_at = link.ends_at.map(|_| self.turn);
        }
        for client in &mut self.clients {
            client.give_up(&mut self.server.truth);
        }
        self.rest("they do not come to rest", |world| {
            world.clients.iter().all(|client| client.is_content() && !client.leaving)
                && world.plains.iter().all(|plain| plain.welcomed)
        })?;
        self.server.truth.judge_rest()?;
        for client in &self.clients {
            client.judge_rest(&self.server.truth)?;
        }
        for plain in &self.plains {
            plain.judge_rest(&self.server.truth)?;
        }
        self.look_round()?;
        self.go_home()
    }

    /// Turns without anything new, until all is quiet.
    fn rest(&mut self, why: &str, is_content: impl Fn(&Self) -> bool) -> Verdict {
        let mut quiet = 0;
        for _ in 0..3_000 {
            self.now.mono_ms += 20;
            self.now.wall_ms += 20;
            let events = self.server.events;
            self.insist();
            self.go_round()?;
            let idle = self.server.store.is_idle() && self.server.chat.is_settled();
            let is_empty = |link: &Link| link.up.is_empty() && link.outbox.is_empty() && !link.watched;
            let empty = self.links.all.iter().all(|(_, link)| is_empty(link) || !link.attached);
            let same = self.server.events <= events + 1;
            quiet = if idle && empty && same && is_content(self) { quiet + 1 } else { 0 };
            if quiet == 5 {
                return Ok(());
            }
        }
        let waiting: Vec<_> = self.clients.iter().filter(|client| !client.is_content()).collect();
        Err(format!("{why}: {waiting:?}"))
    }

    /// Everybody looks who is there: those who are, and nobody else, once the graces are over.
    fn look_round(&mut self) -> Verdict {
        // First the silent connections end, then the graces of those who do not come back as themselves.
        for _ in 0..2 {
            self.now.mono_ms += 100_000;
            self.rest("they do not come to rest", |world| world.clients.iter().all(|client| client.welcomed))?;
        }
        for person in 0..self.clients.len() {
            let Some(number) = self.clients[person].link else { continue };
            let rooms =
                self.clients[person].seats.iter().filter(|seat| seat.is_through() && !seat.room.starts_with('@'));
            let asks = rooms.map(|seat| command(Ask::Who { room: Some(seat.room.clone().into()) })).collect();
            self.send(number, asks);
        }
        self.rest("they do not come to rest", |_| true)?;
        for room in &self.rooms {
            let there = self
                .clients
                .iter()
                .filter(|client| client.seats.iter().any(|seat| seat.room == **room && seat.is_through()));
            let there = there.count() + self.plains.iter().filter(|plain| plain.room == *room).count();
            let known = self.server.presence.surely_in(room, self.now);
            hold!(there == known, "{there} believe to be in {room}, and {known} are");
        }
        let named: Vec<_> = self.clients.iter().filter_map(|client| client.name.clone()).collect();
        for (place, name) in named.iter().enumerate() {
            hold!(named[..place].iter().all(|other| other.key() != name.key()), "two are called {name}");
        }
        let members = self.server.chat.usage().members;
        let seats = |client: &crate::client::Client| client.seats.iter().filter(|seat| seat.is_through()).count();
        let expected = self.clients.iter().map(seats).sum::<usize>() + self.plains.len();
        hold!(members == expected, "{members} memberships, and {expected} are believed in");
        hold!(self.server.chat.usage().users == self.clients.len() + self.plains.len(), "somebody is left over");
        Ok(())
    }

    /// All go, each in its way; nothing may be left.
    fn go_home(&mut self) -> Verdict {
        for (_, link) in &mut self.links.all {
            match self.dice.u8(0..3) {
                0 => link.up.push_back(Up::Goodbye),
                1 => link.up.push_back(Up::End),
                _ => link.lose(0, Heard::Never, self.turn, self.now.mono_ms),
            }
        }
        for client in &mut self.clients {
            client.back_at = u64::MAX;
            client.link = None;
        }
        for plain in &mut self.plains {
            plain.back_at = u64::MAX;
            plain.link = None;
        }
        for _ in 0..12 {
            self.now.mono_ms += 15_000;
            self.go_round()?;
            self.now.mono_ms += 100;
            self.server.tick(self.now)?;
        }
        let usage = self.server.chat.usage();
        hold!(usage == Usage::default(), "all are gone, and the core has {usage:?}");
        hold!(self.server.chat.next_deadline().is_none(), "all are gone, and the core has a deadline");
        Ok(())
    }
}
