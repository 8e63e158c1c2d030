//! Many people with clients, a network that breaks, and a server: one turn after the other, every choice from a seed.

use chinwag::chat::{Now, RoomName};

use crate::client::{Client, Sends};
use crate::coverage::Coverage;
use crate::link::{Frame, Heard, Links, Up};
use crate::mutation::{Mutation, Saboteur};
use crate::plain::Plain;
use crate::plan::Plan;
use crate::server::Server;
use crate::{Verdict, hold};

/// How long the server waits for a sign of life.
const SILENCE_MS: u64 = 60_000;

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    pub coverage: Coverage,
    pub events: usize,
    /// What promise was broken.
    pub verdict: Verdict,
}

/// Runs one seed to its end.
pub fn run(plan: Plan, mutation: Option<Mutation>, trace: bool) -> Outcome {
    let mut world = World::new(plan, mutation, trace);
    let verdict = world.live().and_then(|()| world.wind_down());
    let mut coverage = std::mem::take(&mut world.coverage);
    coverage.merge(&world.server.presence.coverage);
    coverage.add("events", world.server.events as u64);
    coverage.add("a line sent again", world.clients.iter().map(|client| client.outbox.retries).sum());
    Outcome { coverage, events: world.server.events, verdict }
}

pub struct World {
    pub plan: Plan,
    pub dice: fastrand::Rng,
    pub server: Server,
    pub links: Links,
    pub clients: Vec<Client>,
    pub plains: Vec<Plain>,
    /// For each person, `chinwag.v1` first: whether it reads slowly.
    slow: Vec<bool>,
    pub rooms: Vec<RoomName>,
    pub now: Now,
    pub turn: u64,
    starts: u64,
    pub coverage: Coverage,
    /// Nobody breaks, breaks off or begins anything any more.
    pub calm: bool,
    trace: bool,
}

impl World {
    fn new(plan: Plan, mutation: Option<Mutation>, trace: bool) -> Self {
        if trace {
            println!("{plan:#?}");
        }
        let mut dice = fastrand::Rng::with_seed(plan.seed);
        let rooms: Vec<_> =
            (0..plan.rooms)
                .map(|room| {
                    if room == 0 { RoomName::lobby() } else { RoomName::parse(&format!("room-{room}")).expect("good") }
                })
                .collect();
        let people = plan.clients + plan.plain;
        let clients = (0..plan.clients).map(Client::new).collect();
        Self {
            server: Server::new(&plan, mutation.map(|mutation| Saboteur::new(mutation, plan.seed)), trace),
            links: Links::default(),
            clients,
            plains: (0..plan.plain).map(|_| Plain::new(rooms[dice.usize(0..rooms.len())].clone())).collect(),
            slow: (0..people).map(|_| dice.u8(0..100) < plan.slow_percent).collect(),
            rooms,
            now: Now { mono_ms: 0, wall_ms: 1_700_000_000_000 },
            turn: 0,
            starts: 0,
            coverage: Coverage::default(),
            calm: false,
            dice,
            trace,
            plan,
        }
    }

    fn live(&mut self) -> Verdict {
        while self.server.events < self.plan.events {
            self.advance();
            for _ in 0..self.dice.usize(0..=self.plan.batch_max) {
                self.something()?;
            }
            self.go_round()?;
            if self.dice.u32(0..100_000) < self.plan.restarts {
                self.restart()?;
            }
        }
        Ok(())
    }

    /// Lets time pass. The wall clock may jump, the other never goes back.
    fn advance(&mut self) {
        let pause = self.dice.u32(0..1_000) < self.plan.pauses;
        let passed = if pause { self.dice.u64(400..20_000) } else { self.dice.u64(0..20) };
        self.now.mono_ms += passed;
        self.now.wall_ms += passed;
        if self.dice.u16(0..1_000) == 0 {
            let days = [1_000, 3_600_000, 20 * 3_600_000, 31 * 24 * 3_600_000][self.dice.usize(0..4)];
            let jump = self.dice.u64(0..days);
            self.now.wall_ms = if self.dice.bool() { self.now.wall_ms + jump } else { self.now.wall_ms - jump };
            self.coverage.note("the clock jumps");
        }
    }

    /// One turn, of the server and of the network.
    pub fn go_round(&mut self) -> Verdict {
        self.connect()?;
        self.hear()?;
        let due = self.server.chat.next_deadline().is_some_and(|due| due <= self.now.mono_ms);
        if if due { self.dice.u8(0..10) > 0 } else { self.dice.u8(0..50) == 0 } {
            self.server.tick(self.now)?;
        }
        let (dice, calm) = (&mut self.dice, self.calm);
        self.server.drain(self.now, &mut self.links, || calm || dice.u8(0..3) > 0)?;
        self.server.end_turn(self.now, &mut self.links)?;
        for number in self.numbers() {
            let link = &mut self.links.all[number];
            link.flush();
            if link.open && link.outbox.len() > self.plan.outbox_max {
                let conn = link.conn;
                self.coverage.note("a slow reader closed");
                self.server.end(&mut self.links, conn, Some(chinwag::chat::CloseReason::SlowReader));
            }
        }
        self.read()?;
        self.links.sweep();
        if self.turn.is_multiple_of(64) || self.trace {
            self.server.chat.check();
        }
        self.turn += 1;
        Ok(())
    }

    fn numbers(&self) -> Vec<usize> {
        self.links.all.iter().map(|(number, _)| number).collect()
    }

    /// The server reads some of what came.
    fn hear(&mut self) -> Verdict {
        for number in self.numbers() {
            let budget = self.dice.usize(0..8) * usize::from(self.calm || self.dice.u8(0..4) > 0);
            let budget = if self.calm { 8 } else { budget };
            for _ in 0..budget {
                let Some(link) = self.links.all.get_mut(number).filter(|link| link.open) else { break };
                let conn = link.conn;
                if self.server.chat.is_held(conn) {
                    break;
                }
                match link.up.pop_front() {
                    Some(Up::Command(command)) => self.server.hear(self.now, conn, command)?,
                    Some(Up::Goodbye) => {
                        let goodbye = chinwag::chat::CloseReason::Goodbye(Some(1000));
                        self.server.end(&mut self.links, conn, Some(goodbye));
                    }
                    Some(Up::End) => self.server.end(&mut self.links, conn, None),
                    None if link.ends_at.is_some_and(|turn| turn <= self.turn) => {
                        self.server.end(&mut self.links, conn, None);
                    }
                    None => break,
                }
            }
            let Some(link) = self.links.all.get_mut(number).filter(|link| link.open) else { continue };
            let silent = link.silent_since.is_some_and(|since| since + SILENCE_MS <= self.now.mono_ms);
            if silent {
                let conn = link.conn;
                self.coverage.note("a silent connection closed");
                self.server.end(&mut self.links, conn, Some(chinwag::chat::CloseReason::Silent));
            }
        }
        Ok(())
    }

    /// Whoever is away and wants to be there connects.
    fn connect(&mut self) -> Verdict {
        for person in 0..self.clients.len() + self.plains.len() {
            let place = person.checked_sub(self.clients.len());
            let away = match place {
                None => self.clients[person].link.is_none() && self.clients[person].back_at <= self.turn,
                Some(place) => self.plains[place].link.is_none() && self.plains[place].back_at <= self.turn,
            };
            if away {
                self.come(person)?;
            }
        }
        Ok(())
    }

    /// A connection is made; the `hello` is under way.
    pub fn come(&mut self, person: usize) -> Verdict {
        let wire_max = if self.slow[person] && !self.calm { self.dice.usize(1..6) } else { 64 };
        let number = self.links.open(wire_max);
        let conn = self.links.all[number].conn;
        let mut secret = [0; 16];
        self.dice.fill(&mut secret);
        let plain = person.checked_sub(self.clients.len()).map(|place| self.plains[place].room.clone());
        self.server.open(self.now, conn, secret, plain)?;
        if let Some(place) = person.checked_sub(self.clients.len()) {
            self.plains[place].link = Some(number);
            return Ok(());
        }
        let bare = !self.calm && self.dice.u8(0..30) == 0;
        let name = (self.dice.u8(0..3) == 0).then(|| self.name());
        let last = [0, 0, 3, 50][self.dice.usize(0..4)];
        let hello = self.clients[person].hello(number, bare, name, last, &mut self.server.truth);
        self.links.all[number].up.push_back(Up::Command(hello));
        Ok(())
    }

    pub fn name(&mut self) -> String {
        ["alice", "Alice", "bob", "carol", "dave", "erin", " ", "guest-aaaa"][self.dice.usize(0..8)].into()
    }

    /// Everybody reads some of what came.
    fn read(&mut self) -> Verdict {
        for person in 0..self.clients.len() + self.plains.len() {
            let slow = self.slow[person] && !self.calm;
            let frames = match self.dice.u8(0..8) {
                _ if self.calm => 1_000,
                _ if slow => usize::from(self.dice.u8(0..3) == 0),
                0 => 0,
                1 => 1,
                _ => 1_000,
            };
            self.read_some(person, frames)?;
        }
        Ok(())
    }

    fn link_of(&self, person: usize) -> Option<usize> {
        match person.checked_sub(self.clients.len()) {
            None => self.clients[person].link,
            Some(place) => self.plains[place].link,
        }
    }

    /// A person's client reads so many frames at most.
    fn read_some(&mut self, person: usize, frames: usize) -> Verdict {
        for _ in 0..frames {
            let Some(number) = self.link_of(person) else { return Ok(()) };
            let link = &mut self.links.all[number];
            let Some(frame) = link.wire.pop_front() else {
                link.flush();
                return Ok(());
            };
            let conn = link.conn;
            match frame {
                Frame::Message(message) => {
                    let read = match person.checked_sub(self.clients.len()) {
                        None => self.clients[person].read(&message, &mut self.server.truth, &mut self.coverage),
                        Some(place) => {
                            self.plains[place].read(&message, &self.server.presence, conn).map(|()| Sends::new())
                        }
                    };
                    let sends =
                        read.map_err(|what| format!("{what}\n  as person {person} sees it, told {message:?}"))?;
                    self.send(number, sends);
                }
                Frame::Close(reason) => {
                    if self.trace {
                        println!("       person {person} reads {reason:?}");
                    }
                    let final_code = reason.code().is_some_and(|code| code >= 4500);
                    hold!(!final_code, "person {person} has no other connection, and was told {reason:?}");
                    self.links.all[number].attached = false;
                    self.lost(person);
                }
                Frame::End => {
                    self.links.all[number].attached = false;
                    self.lost(person);
                }
            }
        }
        Ok(())
    }

    pub fn send(&mut self, number: usize, sends: Sends) {
        let link = &mut self.links.all[number];
        link.up.extend(sends.into_iter().map(Up::Command));
    }

    /// A client notices that its connection is gone.
    fn lost(&mut self, person: usize) {
        let pause = if self.calm { 1 } else { [1, 3, 30, 200][self.dice.usize(0..4)] };
        match person.checked_sub(self.clients.len()) {
            None => self.clients[person].lost(self.turn + pause),
            Some(place) => self.plains[place].lost(self.turn + pause),
        }
    }

    /// Somebody's connection breaks, in the middle of whatever is under way.
    pub fn break_off(&mut self, person: usize) -> Verdict {
        let Some(number) = self.link_of(person) else { return Ok(()) };
        let written = self.links.all[number].wire.len();
        let delivered = self.dice.usize(0..=written);
        self.read_some(person, delivered)?;
        if self.link_of(person) != Some(number) {
            return Ok(());
        }
        let heard = match self.dice.u8(0..3) {
            0 => Heard::AtOnce,
            1 => Heard::Late(self.dice.u64(1..200)),
            _ => Heard::Never,
        };
        let link = &mut self.links.all[number];
        let arrives = self.dice.usize(0..=link.up.len());
        if self.trace {
            println!("       person {person} loses {:?}: {heard:?}, {arrives} of {} arrive", link.conn, link.up.len());
        }
        link.lose(arrives, heard, self.turn, self.now.mono_ms);
        if matches!(heard, Heard::Never) {
            self.coverage.note("a half-open connection");
        }
        self.coverage.note("a break");
        self.lost(person);
        Ok(())
    }

    /// The server ends, and starts again.
    fn restart(&mut self) -> Verdict {
        self.starts += 1;
        let on_disk = self.plan.disk.is_some();
        let same_key = on_disk || self.dice.bool();
        let lost_percent = if on_disk { [0, 0, 0, 1, 3, 40][self.dice.usize(0..6)] } else { 0 };
        self.coverage.note(match lost_percent {
            _ if !on_disk => "a restart without the lines",
            0 => "a restart with all lines",
            1..=9 => "a lost tail",
            _ => "an older copy put back",
        });
        self.coverage.note(if same_key { "a restart under the same key" } else { "a restart under another key" });
        for (_, link) in &mut self.links.all {
            link.open = false;
            link.up.clear();
            link.outbox.clear();
            link.wire.truncate(self.dice.usize(0..=link.wire.len()));
            link.wire.push_back(Frame::End);
        }
        // What was on its way is read before anybody comes again.
        for person in 0..self.clients.len() + self.plains.len() {
            self.read_some(person, usize::MAX)?;
        }
        self.links = Links::default();
        let seed = self.plan.seed ^ self.starts.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.server.restart(&self.plan, same_key, lost_percent, seed)
    }
}
