//! A core, a store and many clients in one turn after the other, as an engine drives them; every choice from a seed.

use chinwag::chat::{Chat, Completion, ConnId, Effects, Now, RoomName, Usage};

use crate::coverage::Coverage;
use crate::faults::{Fault, Saboteur};
use crate::hold;
use crate::model::{Model, Verdict};
use crate::plan::Plan;
use crate::store::Store;
use crate::turn::{Input, Step, Told, Turn, brief};
use crate::views::Views;
use crate::wishes::Wishes;

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    pub coverage: Coverage,
    /// Events that the core was given.
    pub events: usize,
    /// Whether the fault that was asked for could be done.
    pub sabotaged: bool,
    /// What promise was broken.
    pub verdict: Verdict,
}

/// Runs one seed to its end.
pub fn run(plan: Plan, fault: Option<Fault>, trace: bool) -> Outcome {
    let mut world = World::new(plan, fault, trace);
    let verdict = world.live().and_then(|()| world.wind_down());
    let mut coverage = std::mem::take(&mut world.model.coverage);
    coverage.add("events", world.events as u64);
    let sabotaged = world.saboteur.is_some_and(|saboteur| saboteur.done);
    Outcome { coverage, events: world.events, sabotaged, verdict }
}

struct World {
    plan: Plan,
    dice: fastrand::Rng,
    chat: Chat,
    store: Store,
    effects: Effects,
    model: Model,
    views: Views,
    wishes: Wishes,
    now: Now,
    turn: Turn,
    turns: u64,
    events: usize,
    /// Connections that are open, as their clients see it.
    open: Vec<ConnId>,
    /// Connections that ended and of which the core hears in the next turn.
    ended: Vec<ConnId>,
    free_slots: Vec<u32>,
    accepted: u32,
    watched: Vec<ConnId>,
    last_heard: Option<ConnId>,
    /// The last of which the core heard that it ended.
    departed: Option<ConnId>,
    saboteur: Option<Saboteur>,
    trace: bool,
}

impl World {
    fn new(plan: Plan, fault: Option<Fault>, trace: bool) -> Self {
        if trace {
            println!("{plan:#?}");
        }
        Self {
            dice: fastrand::Rng::with_seed(plan.seed),
            chat: Chat::new(plan.limits.clone(), [plan.seed as u8; 32]),
            store: plan.store(),
            effects: Effects::default(),
            model: Model::new(plan.limits.clone()),
            views: Views::new(plan.limits.members_told_max),
            wishes: Wishes::new(&plan),
            now: Now { mono_ms: 0, wall_ms: 1_700_000_000_000 },
            turn: Turn::default(),
            turns: 0,
            events: 0,
            open: Vec::new(),
            ended: Vec::new(),
            free_slots: Vec::new(),
            accepted: 0,
            watched: Vec::new(),
            last_heard: None,
            departed: None,
            saboteur: fault.map(|fault| Saboteur::new(fault, plan.seed)),
            trace,
            plan,
        }
    }

    fn live(&mut self) -> Verdict {
        while self.events < self.plan.events {
            self.advance();
            self.begin_turn();
            for _ in 0..self.dice.usize(0..=self.plan.batch_max) {
                self.something();
            }
            self.end_turn()?;
            // (What a fault breaks, a start may mend.)
            if self.dice.u32(0..10_000) < self.plan.restarts && self.saboteur.is_none() {
                self.restart()?;
            }
        }
        Ok(())
    }

    /// The process ends between two steps, and another begins with the same store, the end of which may be lost.
    fn restart(&mut self) -> Verdict {
        let lost_percent = [0, 0, 1, 5, 50][self.dice.usize(0..5)];
        if self.trace {
            println!("------ started again, {lost_percent} percent are lost");
        }
        self.model.coverage.note(if lost_percent > 0 { "a lost end" } else { "a restart" });
        for conn in self.open.drain(..).chain(self.ended.drain(..)) {
            self.views.close(conn);
            self.wishes.forget(conn);
            self.free_slots.push(conn.index);
        }
        self.watched.clear();
        self.last_heard = None;
        self.chat = Chat::new(self.plan.limits.clone(), [self.plan.seed as u8; 32]);
        self.effects = Effects::default();
        self.store.crash(lost_percent);
        self.model.restart(&self.store, lost_percent > 0)
    }

    /// Lets everything that is under way come about, then everybody go, and looks at what is left.
    fn wind_down(&mut self) -> Verdict {
        self.store.hurry();
        self.rest()?;
        self.model.judge_rest()?;
        self.views.judge_rest(&self.model)?;
        while !self.open.is_empty() {
            for _ in 0..self.dice.usize(1..=self.plan.batch_max.max(5)) {
                self.hang_up_somebody();
            }
            self.advance();
            self.begin_turn();
            self.end_turn()?;
        }
        self.rest()?;
        for _ in 0..3 {
            self.now.mono_ms += 10_000;
            self.begin_turn();
            self.end_turn()?;
        }
        let usage = self.chat.usage();
        hold!(usage == Usage::default(), "all are gone, and the core has {usage:?}");
        hold!(self.chat.next_deadline().is_none(), "all are gone, and the core has a deadline");
        hold!(self.model.users.is_empty(), "all are gone, and the model has users");
        Ok(())
    }

    /// Turns without anything new, until nothing is under way.
    fn rest(&mut self) -> Verdict {
        for _ in 0..20_000 {
            let quiet = self.ended.is_empty() && self.watched.is_empty() && self.store.is_idle();
            if quiet && self.effects.requests.is_empty() {
                return Ok(());
            }
            self.advance();
            self.begin_turn();
            for conn in std::mem::take(&mut self.watched) {
                self.feed(Input::Drained { conn });
            }
            self.end_turn()?;
        }
        Err("it never comes to rest".into())
    }

    /// Lets time pass. The wall clock may jump, the other never goes back.
    fn advance(&mut self) {
        let pause = self.dice.u32(0..1_000) < self.plan.pauses;
        let passed = if pause { self.dice.u64(400..4_000) } else { self.dice.u64(0..20) };
        self.now.mono_ms += passed;
        self.now.wall_ms += passed;
        if self.dice.u8(0..100) == 0 {
            let jump = self.dice.u64(0..1_000_000_000);
            self.now.wall_ms = if self.dice.bool() { self.now.wall_ms + jump } else { self.now.wall_ms - jump };
        }
    }

    fn begin_turn(&mut self) {
        self.turn = Turn::default();
        for conn in std::mem::take(&mut self.ended) {
            let for_good = self.dice.bool();
            self.feed(Input::Closed { conn, for_good });
            self.departed = Some(conn);
            self.wishes.forget(conn);
            // A core that did not hear of it would be right not to expect another there.
            if self.saboteur.is_none() {
                self.free_slots.push(conn.index);
            }
        }
        let due = self.chat.next_deadline().is_some_and(|deadline| deadline <= self.now.mono_ms);
        // Now and then late, now and then for nothing.
        if if due { self.dice.u8(0..10) > 0 } else { self.dice.u8(0..50) == 0 } {
            self.feed(Input::Tick);
        }
    }

    /// One event, if there is one that can be.
    fn something(&mut self) {
        let moves = self.plan.moves_percent;
        let roll = self.dice.u8(0..100);
        if self.open.is_empty() || (roll < moves && self.open.len() < self.plan.clients) {
            self.come();
        } else if roll < moves {
            self.hang_up_somebody();
        } else if self.dice.u8(0..100) == 0 {
            self.stale();
        } else if !self.watched.is_empty() && self.dice.u8(0..4) == 0 {
            let conn = self.watched.swap_remove(self.dice.usize(0..self.watched.len()));
            self.feed(Input::Drained { conn });
        } else {
            // Often the same one again, without waiting for an answer.
            let again = self.last_heard.filter(|conn| self.open.contains(conn) && self.dice.u8(0..3) == 0);
            let conn = again.unwrap_or_else(|| self.open[self.dice.usize(0..self.open.len())]);
            if !self.chat.is_held(conn) {
                self.last_heard = Some(conn);
                let command = self.wishes.command(conn, &self.model);
                self.feed(Input::Heard { conn, command });
            }
        }
    }

    /// An event for a connection that is gone; its slot may have another tenant.
    fn stale(&mut self) {
        if let Some(conn) = self.departed {
            let input = if self.dice.bool() {
                Input::Drained { conn }
            } else {
                Input::Closed { conn, for_good: self.dice.bool() }
            };
            self.feed(input);
        }
    }

    fn come(&mut self) {
        let index = self.free_slots.pop().unwrap_or(self.accepted);
        let conn = ConnId { index, generation: self.accepted };
        self.accepted += 1;
        let room = RoomName::parse(&self.wishes.room()).expect("rooms of ours");
        let name = (self.dice.u8(0..3) > 0).then(|| self.wishes.name());
        let mut secret = [0; 16];
        self.dice.fill(&mut secret);
        if self.plan.guests_collide {
            secret[10..].fill(0);
        }
        self.open.push(conn);
        self.views.open(conn, room.clone());
        self.feed(Input::Opened { conn, room, name, secret });
    }

    fn hang_up_somebody(&mut self) {
        if !self.open.is_empty() {
            let place = self.dice.usize(0..self.open.len());
            self.hang_up(self.open[place]);
        }
    }

    /// A connection ends: nobody hears it any more, and nothing reaches it.
    fn hang_up(&mut self, conn: ConnId) {
        let Some(place) = self.open.iter().position(|open| *open == conn) else { return };
        self.open.swap_remove(place);
        self.watched.retain(|watched| *watched != conn);
        self.views.close(conn);
        self.ended.push(conn);
    }

    /// Gives the core one event and notes what it says.
    fn feed(&mut self, input: Input) {
        let requests = self.effects.requests.len();
        let closes = self.effects.closes.len();
        let hidden = self.saboteur.as_mut().is_some_and(|saboteur| saboteur.hides(&input));
        if !hidden {
            self.chat.handle(self.now, input.event(), &mut self.effects);
        }
        let step = self.turn.steps.len();
        if self.trace {
            println!("{:>6} {:>9} ms  {}", self.events, self.now.mono_ms, brief(&input));
        }
        for delivery in self.effects.deliveries.drain(..) {
            let readers = self.effects.readers[delivery.to.start as usize..delivery.to.end as usize].to_vec();
            if self.trace {
                println!("       -> {:?} {} to {readers:?}", delivery.class, brief(&delivery.message));
            }
            let (range, class) = (delivery.to, delivery.class);
            self.turn.told.push(Told { step, message: delivery.message, readers, range, class, begin: None });
        }
        let requests = self.effects.requests[requests..].to_vec();
        let closes = self.effects.closes[closes..].to_vec();
        if self.trace && !(requests.is_empty() && closes.is_empty()) {
            println!("       -> {} {closes:?}", brief(&requests));
        }
        self.turn.steps.push(Step { now: self.now, input, requests, closes, cost: self.effects.take_cost() });
        self.events += 1;
    }

    /// The rest of a turn, in the engine's order: the store, the answers, the deliveries, the closes.
    fn end_turn(&mut self) -> Verdict {
        let mut completions: Vec<Completion> = Vec::new();
        loop {
            for request in self.effects.requests.drain(..) {
                self.store.submit(request);
            }
            self.store.collect(&mut completions);
            for completion in completions.drain(..) {
                self.feed(Input::Completed(completion));
            }
            if self.effects.requests.is_empty() {
                break;
            }
        }
        let mut turn = std::mem::take(&mut self.turn);
        if let Some(saboteur) = &mut self.saboteur {
            saboteur.spoil(&mut turn, &self.open);
        }
        self.model.judge(&mut turn)?;
        let gathering = self.dice.u8(0..4);
        for told in turn.in_order(|_| gathering > 0 && (gathering > 1 || self.dice.bool())) {
            self.views.deliver(told, &self.model)?;
        }
        self.views.end_turn(&self.model)?;
        self.watched.extend(self.effects.watches.iter().filter(|conn| self.open.contains(conn)));
        for (conn, _) in std::mem::take(&mut self.effects.closes) {
            self.hang_up(conn);
        }
        self.effects.clear();
        self.judge_stalls()?;
        if self.turns.is_multiple_of(16) || self.plan.clients < 20 {
            self.chat.check();
        }
        self.turns += 1;
        if let Some(due) = self.model.tally_due() {
            let deadline = self.chat.next_deadline();
            hold!(
                deadline.is_some_and(|deadline| deadline <= due),
                "a tally is due at {due}, and a tick at {deadline:?}"
            );
        }
        Ok(())
    }

    /// Nobody waits for nothing.
    fn judge_stalls(&self) -> Verdict {
        for (conn, room) in self.views.behind() {
            let coming = self.watched.contains(&conn) || self.model.users[&conn].outstanding > 0;
            hold!(coming, "{conn:?} is behind in {room}, and nothing is on its way");
        }
        for conn in &self.open {
            let (held, waiting) = (self.chat.is_held(*conn), &self.model.users[conn].waiting);
            hold!(held == waiting.is_some(), "{conn:?} is held: {held}, and waits for {waiting:?}");
        }
        Ok(())
    }
}
