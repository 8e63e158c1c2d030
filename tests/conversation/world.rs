//! People with clients, a network that breaks, and a server: one turn after the other, every choice from a seed.

use chinwag::chat::{CloseReason, ConnId, Limits, Now};
use chinwag::client::Mode;
use chinwag::client::conversation::{Action, Event};
use chinwag::client::talk::Intent;
use chinwag::store::MemoryLimits;
use slab::Slab;

use crate::network::{Down, Link, Up};
use crate::person::Person;
use crate::server::{Keeping, Server};
use crate::store::{DiskLimits, Lateness};
use crate::{Coverage, Verdict, hold};

/// How long the server waits for a sign of life.
const SILENCE_MS: u64 = 60_000;

/// Turns of a run before it calms down.
const TURNS: usize = 1_500;

struct World {
    dice: fastrand::Rng,
    now: Now,
    server: Server,
    links: Slab<Link>,
    people: Vec<Person>,
    coverage: Coverage,
    accepted: u32,
    calm: bool,
    trace: bool,
    restarts: u64,
    on_disk: bool,
    breaks: u32,
    seed: u64,
    /// Since when nothing was heard, by connection.
    heard: Vec<(ConnId, u64)>,
}

/// Runs one seed to its end.
pub fn run(seed: u64, trace: bool) -> (Verdict, Coverage) {
    let mut world = World::new(seed, trace);
    let verdict = world.live().and_then(|()| world.calm_down());
    (verdict, world.coverage)
}

impl World {
    fn new(seed: u64, trace: bool) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let limits = Limits {
            rooms_per_user_max: [2, 3, 64][dice.usize(0..3)],
            page_bytes_max: [20, 60, 32_768][dice.usize(0..3)],
            grace_ms: [500, 10_000, 30_000][dice.usize(0..3)],
            ..Limits::default()
        };
        let on_disk = dice.bool();
        let memory = MemoryLimits {
            recent_messages_max: [1_000, 60, 12, 4][dice.usize(0..4)],
            recent_bytes_max: 64 << 20,
            rooms_max: 100,
        };
        let late = dice.bool().then(|| Lateness {
            done_percent: [20, 50, 85][dice.usize(0..3)],
            refused_percent: [0, 0, 4][dice.usize(0..3)],
        });
        let late = late.or(on_disk.then_some(Lateness { done_percent: 100, refused_percent: 0 }));
        let disk = on_disk.then(|| DiskLimits {
            kept_max: [1_000_000, 60][dice.usize(0..2)],
            recalled_max: [1_000, 3][dice.usize(0..2)],
        });
        let outbox_max = [30, 400][dice.usize(0..2)];
        let people = (0..dice.usize(2..6))
            .map(|number| {
                let mode = if dice.bool() { Mode::Terminal } else { Mode::Plain };
                Person::new(number, mode, seed ^ (number as u64) << 32)
            })
            .collect();
        Self {
            server: Server::new(limits, Keeping { memory, late, disk }, outbox_max, seed),
            now: Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 },
            links: Slab::new(),
            people,
            coverage: Coverage::new(),
            accepted: 0,
            calm: false,
            trace,
            restarts: if on_disk { 10 } else { [0, 0, 2, 10][dice.usize(0..4)] },
            on_disk,
            breaks: [2, 10, 40][dice.usize(0..3)],
            seed,
            heard: Vec::new(),
            dice,
        }
    }

    fn note(&mut self, what: &'static str) {
        *self.coverage.entry(what).or_default() += 1;
    }

    fn live(&mut self) -> Verdict {
        for _ in 0..TURNS {
            let passed = if self.dice.u8(0..60) == 0 { self.dice.u64(400..30_000) } else { self.dice.u64(0..30) };
            self.advance(passed);
            for person in 0..self.people.len() {
                for _ in 0..self.dice.usize(0..3) {
                    self.something(person)?;
                }
            }
            self.turn()?;
            if self.dice.u64(0..3_000) < self.restarts {
                self.restart();
            }
        }
        Ok(())
    }

    fn advance(&mut self, passed: u64) {
        self.now.mono_ms += passed;
        self.now.wall_ms += passed;
    }

    /// A person does something, or the network does something to it.
    fn something(&mut self, number: usize) -> Verdict {
        let person = &mut self.people[number];
        let room = ["lobby", "tea", "cake", "jam"][self.dice.usize(0..4)].to_owned();
        let intent = match self.dice.u32(0..1_000) {
            _ if person.conversation.is_over() => return Ok(()),
            choice if choice < self.breaks => return self.break_off(number),
            0..350 => {
                if person.mode == Mode::Plain && !person.conversation.takes_lines() {
                    return Ok(());
                }
                let line = person.compose(self.dice.usize(0..4));
                Intent::Say(line)
            }
            350..420 => {
                if person.mode == Mode::Plain && !person.conversation.takes_lines() {
                    return Ok(());
                }
                let message = person.compose(0);
                Intent::Private { to: format!("p{}", self.dice.usize(0..6)), message }
            }
            420..450 => {
                if !person.rooms.contains(&room) {
                    person.forget(&room);
                }
                Intent::Join(room)
            }
            450..465 => Intent::Leave(self.dice.bool().then_some(room)),
            465..490 => Intent::Room(Some(room)),
            490..520 => Intent::History(self.dice.u32(1..30)),
            520..530 => Intent::Who,
            530..535 => Intent::Name(format!("x{}", self.dice.u8(0..8))),
            535..537 => {
                self.note("quit in the middle");
                Intent::Quit
            }
            _ => return Ok(()),
        };
        self.tell(number, Event::Intent(intent))
    }

    /// Tells a person's client of something, and does what it says.
    fn tell(&mut self, number: usize, event: Event<'_>) -> Verdict {
        if self.trace {
            println!("{:>8} p{number} <- {event:?}", self.now.mono_ms);
        }
        let mut actions = Vec::new();
        self.people[number].conversation.handle(self.now.mono_ms, event, &mut actions);
        for action in actions {
            if self.trace {
                println!("{:>8} p{number} -> {action:?}", self.now.mono_ms);
            }
            let person = &mut self.people[number];
            let link = person.link;
            match action {
                Action::Connect { .. } => {
                    hold!(link.is_none() && person.opens_at.is_none(), "two connections at once");
                    let delay = if self.calm { 1 } else { self.dice.u64(0..200) };
                    person.opens_at = Some(self.now.mono_ms + delay);
                }
                Action::Send(text) => {
                    let Some(link) = link else { return Err(format!("{text} is sent without a connection")) };
                    if text.contains("\"type\":\"ping\"") {
                        *self.coverage.entry("heartbeat").or_default() += 1;
                    }
                    if let Some((_, id)) = text.split_once("\"id\":\"")
                        && !person.sent.insert(id.to_owned())
                    {
                        *self.coverage.entry("a line sent again").or_default() += 1;
                    }
                    self.links[link].up.push_back(Up::Text(text));
                }
                Action::Ping(_) => return Err("a WebSocket Ping on chinwag.v1".into()),
                Action::Goodbye => self.links[link.ok_or("goodbye to nobody")?].up.push_back(Up::Goodbye),
                Action::GiveUp => self.give_up(number),
                Action::Remember { session, .. } => person.session = Some(session),
                Action::Show(shown) => {
                    person
                        .see(shown, &self.server, &mut self.coverage)
                        .map_err(|what| format!("{what}\n  as person {number} sees it"))?;
                }
            }
        }
        Ok(())
    }

    fn give_up(&mut self, number: usize) {
        let person = &mut self.people[number];
        person.opens_at = None;
        if let Some(link) = person.link.take() {
            let link = &mut self.links[link];
            let arrives = self.dice.usize(0..=link.up.len());
            let late = [0, 50, 5_000][self.dice.usize(0..3)];
            link.drop_by_client(arrives, self.now.mono_ms + late);
        }
    }

    fn break_off(&mut self, number: usize) -> Verdict {
        let Some(place) = self.people[number].link else {
            if self.people[number].opens_at.take().is_some() {
                return self.tell(number, Event::Broken { why: "refused" });
            }
            return Ok(());
        };
        if self.dice.u8(0..4) == 0 {
            self.note("a half-open connection");
            let link = &mut self.links[place];
            link.dead = true;
            link.up.truncate(self.dice.usize(0..=link.up.len()));
            link.down.truncate(self.dice.usize(0..=link.down.len()));
            return Ok(());
        }
        self.note("a break");
        let frames = self.dice.usize(0..=self.links[place].down.len());
        self.read_some(number, frames)?;
        if self.people[number].link != Some(place) {
            return Ok(());
        }
        self.give_up(number);
        self.tell(number, Event::Broken { why: "cut" })
    }

    /// One turn of the server, the network and the clients.
    fn turn(&mut self) -> Verdict {
        for number in 0..self.people.len() {
            if self.people[number].conversation.is_over() && self.ended(number)? {
                continue;
            }
            self.connect(number)?;
        }
        self.serve();
        for number in 0..self.people.len() {
            let frames = if self.calm { 1_000 } else { [0, 1, 4, 1_000][self.dice.usize(0..4)] };
            self.read_some(number, frames)?;
            // A loss may be followed by an attempt at once, and no more.
            for ticks in 0.. {
                let deadline = self.people[number].conversation.next_deadline();
                if deadline.is_none_or(|at| at > self.now.mono_ms) && (ticks > 0 || self.dice.u8(0..10) > 0) {
                    break;
                }
                hold!(ticks < 3, "person {number} would spin");
                self.tell(number, Event::Tick)?;
            }
        }
        self.links.retain(|_, link| link.open || link.attached);
        Ok(())
    }

    /// A client has ended: its person starts another one.
    fn ended(&mut self, number: usize) -> Result<bool, String> {
        hold!(self.people[number].ended.is_some(), "it ended without a word");
        hold!(self.people[number].link.is_none(), "it ended with a connection");
        if !self.calm {
            let seed = self.seed;
            self.people[number].start_again(seed);
        }
        Ok(true)
    }

    fn connect(&mut self, number: usize) -> Verdict {
        if self.people[number].opens_at.is_none_or(|at| at > self.now.mono_ms) {
            return Ok(());
        }
        let conn = ConnId { index: self.accepted, generation: self.accepted };
        self.accepted += 1;
        let person = &mut self.people[number];
        person.opens_at = None;
        person.link = Some(self.links.insert(Link::new(conn)));
        self.heard.push((conn, self.now.mono_ms));
        let secret = std::array::from_fn(|_| self.dice.u8(..));
        self.server.connected(self.now, conn, secret);
        self.tell(number, Event::Opened { lasting: true })
    }

    fn serve(&mut self) {
        let now = self.now;
        self.heard.retain(|(conn, _)| self.links.iter().any(|(_, link)| link.conn == *conn && link.open));
        for (_, link) in &mut self.links {
            let heard = self.heard.iter_mut().find(|(conn, _)| *conn == link.conn);
            let frames = if self.calm { 1_000 } else { [0, 1, 3, 1_000][self.dice.usize(0..4)] };
            for _ in 0..frames.min(link.up.len()) {
                if link.open {
                    self.server.hear(now, link);
                }
            }
            if let Some((_, at)) = heard {
                // It pings, too, and a client that lives answers.
                if frames > 0 && link.attached && !link.dead {
                    *at = now.mono_ms;
                }
                if now.mono_ms >= *at + SILENCE_MS {
                    self.server.end(link, Some(CloseReason::Silent));
                }
            }
            if link.ends_at.is_some_and(|at| at <= now.mono_ms) && link.up.is_empty() {
                self.server.end(link, None);
            }
        }
        self.server.end_turn(now, &mut self.links);
        let mut slow = 0;
        for (_, link) in &mut self.links {
            link.flush();
            slow += u64::from(self.server.judge_backlog(link));
        }
        if slow > 0 {
            self.note("a slow reader closed");
        }
    }

    fn read_some(&mut self, number: usize, frames: usize) -> Verdict {
        for _ in 0..frames {
            let Some(place) = self.people[number].link else { return Ok(()) };
            let link = &mut self.links[place];
            let Some(frame) = link.down.pop_front().filter(|_| !link.dead) else { return Ok(()) };
            match frame {
                Down::Text(text) => {
                    if text.starts_with("{\"type\":\"welcome\"") {
                        let welcome: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                        welcome["user"].as_str().expect("a user").clone_into(&mut self.people[number].user);
                    }
                    self.tell(number, Event::Text(&text))?;
                }
                Down::Close(code, reason) => {
                    hold!(code < 4500, "nobody has replaced person {number}");
                    self.tell(number, Event::Closed { code: Some(code), reason })?;
                }
                Down::End => self.tell(number, Event::Broken { why: "ended" })?,
            }
        }
        Ok(())
    }

    /// The server ends, and starts again.
    fn restart(&mut self) {
        self.note("a restart");
        self.advance(5);
        for (_, link) in &mut self.links {
            link.open = false;
            link.up.clear();
            link.outbox.clear();
            link.down.truncate(self.dice.usize(0..=link.down.len()));
            link.down.push_back(Down::End);
        }
        let key = if self.on_disk || self.dice.bool() { self.seed as u8 } else { self.dice.u8(..) };
        let lost_percent = if self.on_disk { [0, 0, 1, 5, 40][self.dice.usize(0..5)] } else { 0 };
        self.server.restart(key, lost_percent, self.dice.u64(..));
    }

    /// The network is well again: everybody comes back, everything is acknowledged, and all go home.
    fn calm_down(&mut self) -> Verdict {
        self.calm = true;
        self.server.store.hurry();
        for (_, link) in &mut self.links {
            link.ends_at = link.ends_at.map(|_| 0);
        }
        self.rest("they do not come to rest", |world| {
            let content = |person: &Person| person.conversation.is_over() || person.connected && person.waiting == 0;
            world.people.iter().all(content) && world.server.is_settled()
        })?;
        self.people.iter().try_for_each(|person| person.judge(&self.server))?;
        let leftover = |person: &Person| person.lines.values().any(|fate| *fate != crate::person::Fate::Fine);
        let clean: Vec<bool> = self.people.iter().map(|person| person.starts == 0 && !leftover(person)).collect();
        for number in 0..self.people.len() {
            self.tell(number, Event::EndOfInput)?;
        }
        self.rest("they do not go home", |world| world.people.iter().all(|person| person.conversation.is_over()))?;
        for (person, clean) in self.people.iter().zip(clean) {
            let success = person.ended == Some(true);
            hold!(success || !clean, "person {} ends with {:?}", person.number, person.ended);
        }
        Ok(())
    }

    fn rest(&mut self, why: &str, is_content: impl Fn(&Self) -> bool) -> Verdict {
        let mut quiet = 0;
        // The first half minute is for rooms that the server had no room for: nobody is told that they are asked for again.
        for turn in 0..6_000 {
            self.advance(20);
            self.turn()?;
            let idle = self.links.iter().all(|(_, link)| {
                !link.attached || link.up.is_empty() && link.down.is_empty() && link.outbox.is_empty() && !link.watched
            });
            quiet = if idle && is_content(self) { quiet + 1 } else { 0 };
            if quiet >= 5 && turn * 20 >= 30_000 {
                return Ok(());
            }
        }
        let stuck: Vec<_> = self.people.iter().filter(|person| !person.conversation.is_over()).collect();
        if self.trace {
            for person in &stuck {
                println!("{:#?}", person.conversation);
            }
        }
        let stuck: Vec<_> = stuck.iter().map(|person| (person.number, person.connected, person.waiting)).collect();
        Err(format!("{why}: {stuck:?}, settled: {}", self.server.is_settled()))
    }
}
