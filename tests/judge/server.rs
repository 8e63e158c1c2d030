//! The server: a core and a store, driven in turns as the engine drives them, with everything that it says judged on the
//! way out.

use std::rc::Rc;

use chinwag::chat::{Chat, Class, CloseReason, Command, Completion, ConnId, Effects, Event, Now, RoomName};

use crate::link::{DRAINED, Frame, Links};
use crate::mutation::Saboteur;
use crate::plan::Plan;
use crate::presence::Presence;
use crate::store::Store;
use crate::truth::Truth;
use crate::{EVENT, Verdict};

/// Frames in an outbox from which on it gets nothing that may be dropped.
const LAG: usize = 6;

pub struct Server {
    pub chat: Chat,
    key: u8,
    pub store: Store,
    effects: Effects,
    completions: Vec<Completion>,
    pub truth: Truth,
    pub presence: Presence,
    pub saboteur: Option<Saboteur>,
    pub events: usize,
    trace: bool,
    /// Connections whose end the core hears at the turn's end.
    departed: Vec<(ConnId, bool)>,
    /// So many deliveries of the turn were judged.
    judged: usize,
    order: Vec<(u32, u32, u32)>,
    first: Vec<u32>,
}

impl Server {
    pub fn new(plan: &Plan, saboteur: Option<Saboteur>, trace: bool) -> Self {
        Self {
            chat: Chat::new(plan.limits.clone(), [plan.seed as u8; 32]),
            key: plan.seed as u8,
            store: plan.store(plan.seed),
            effects: Effects::default(),
            completions: Vec::new(),
            truth: Truth::new(plan.disk.map(|disk| disk.kept_max)),
            presence: Presence::new(plan.limits.grace_ms),
            saboteur,
            events: 0,
            trace,
            departed: Vec::new(),
            judged: 0,
            order: Vec::new(),
            first: Vec::new(),
        }
    }

    /// The process ends, and another begins: the memory is gone, and of a disk so much of the end, in percent.
    pub fn restart(&mut self, plan: &Plan, same_key: bool, lost_percent: usize, seed: u64) -> Verdict {
        if self.trace {
            println!("------ started again, with the same key: {same_key}, {lost_percent} percent are lost");
        }
        if !same_key {
            self.key = self.key.wrapping_add(1);
        }
        self.presence.restart(same_key);
        self.chat = Chat::new(plan.limits.clone(), [self.key; 32]);
        if plan.disk.is_some() {
            self.store.crash(lost_percent);
        } else {
            self.store = plan.store(seed);
        }
        self.effects = Effects::default();
        self.judged = 0;
        self.completions.clear();
        self.departed.clear();
        if let Some(saboteur) = &mut self.saboteur {
            saboteur.restarted();
        }
        if plan.disk.is_some() {
            return self.truth.restart_with(&self.store, lost_percent > 0);
        }
        self.truth.restart();
        Ok(())
    }

    /// A connection is upgraded.
    pub fn open(&mut self, now: Now, conn: ConnId, secret: [u8; 16], plain: Option<RoomName>) -> Verdict {
        self.presence.opened(conn, secret, plain.clone());
        match plain {
            Some(room) => self.feed(now, Event::Opened { conn, room, name: None, secret }),
            None => self.feed(now, Event::Connected { conn, secret }),
        }
    }

    pub fn hear(&mut self, now: Now, conn: ConnId, mut command: Command<'static>) -> Verdict {
        self.presence.heard(now, conn, &command, self.chat.usage().tickets == 0);
        if let Some(saboteur) = &mut self.saboteur {
            saboteur.spoil_command(&mut command, &self.truth);
        }
        self.feed(now, Event::Heard { conn, command })
    }

    pub fn tick(&mut self, now: Now) -> Verdict {
        self.feed(now, Event::Tick)
    }

    pub fn drained(&mut self, now: Now, conn: ConnId) -> Verdict {
        if self.saboteur.as_mut().is_some_and(Saboteur::hides_drained) {
            return Ok(());
        }
        self.feed(now, Event::Drained { conn })
    }

    /// The server ends a connection, or notices that it ended. The core hears of it at the turn's end.
    pub fn end(&mut self, links: &mut Links, conn: ConnId, reason: Option<CloseReason>) {
        let Some(link) = links.find(conn).filter(|link| link.open) else { return };
        if self.trace {
            println!("       {conn:?} ends: {reason:?}");
        }
        link.open = false;
        link.up.clear();
        if matches!(reason, Some(CloseReason::Replaced | CloseReason::SlowReader)) {
            link.outbox.clear();
        }
        link.outbox.push_back(reason.map_or(Frame::End, Frame::Close));
        let for_good = match reason {
            Some(CloseReason::Goodbye(code)) => code == Some(1000),
            Some(reason) => reason.code().is_some_and(|code| (4500..4600).contains(&code)),
            None => false,
        };
        self.departed.push((conn, for_good));
    }

    /// Gives the core one event and judges what it says.
    fn feed(&mut self, now: Now, event: Event<'_>) -> Verdict {
        self.events += 1;
        EVENT.set(self.events);
        self.presence.started.get_or_insert(now);
        let (delivery, close) = (self.judged, self.effects.closes.len());
        if self.trace {
            println!("{:>6} {:>9} ms  {event:?}", self.events, now.mono_ms);
        }
        self.chat.handle(now, event, &mut self.effects);
        if let Some(saboteur) = &mut self.saboteur {
            saboteur.spoil(&mut self.effects, delivery, &self.truth);
        }
        if self.trace {
            for told in &self.effects.deliveries[delivery..] {
                let readers = &self.effects.readers[told.to.start as usize..told.to.end as usize];
                println!("       -> {:?} {:?} to {readers:?}", told.class, told.message);
            }
            self.effects.closes[close..].iter().for_each(|close| println!("       -> {close:?}"));
        }
        self.judged = self.effects.deliveries.len();
        self.presence.told(now, &self.effects, delivery, close, &self.truth)
    }

    /// The rest of a turn: the store, the answers, the deliveries, the closes, the ends.
    pub fn end_turn(&mut self, now: Now, links: &mut Links) -> Verdict {
        loop {
            for mut request in std::mem::take(&mut self.effects.requests) {
                self.truth.requested(&request);
                let lost = self.saboteur.as_mut().and_then(|saboteur| saboteur.spoil_request(&mut request));
                match lost {
                    Some(completion) => self.completions.push(completion),
                    None => self.store.submit(request),
                }
            }
            self.store.collect(&mut self.completions);
            for mut completion in std::mem::take(&mut self.completions) {
                self.note(&completion);
                self.truth.completed(&completion)?;
                if let Some(saboteur) = &mut self.saboteur {
                    saboteur.spoil_completion(&mut completion);
                }
                self.feed(now, Event::Completed(completion))?;
            }
            if self.effects.requests.is_empty() {
                break;
            }
        }
        self.share_out(links);
        for (conn, reason) in std::mem::take(&mut self.effects.closes) {
            self.end(links, conn, Some(reason));
        }
        for conn in std::mem::take(&mut self.effects.watches) {
            if let Some(link) = links.find(conn) {
                link.watched = true;
            }
        }
        self.effects.clear();
        self.judged = 0;
        for (conn, mut for_good) in std::mem::take(&mut self.departed) {
            links.free_slot(conn);
            self.presence.closed(now, conn, for_good);
            if let Some(saboteur) = &mut self.saboteur {
                saboteur.ended(conn, for_good, &mut self.effects);
                if saboteur.hides_closed(&mut for_good) {
                    continue;
                }
            }
            self.feed(now, Event::Closed { conn, for_good })?;
        }
        Ok(())
    }

    fn note(&mut self, completion: &Completion) {
        match completion {
            Completion::Recalled { ids, .. } if !ids.is_empty() => self.presence.coverage.note("ids told again"),
            Completion::Loaded { former: Some(_), .. } => self.presence.coverage.note("a former epoch"),
            _ => {}
        }
    }

    /// Hands the turn's messages over in the engine's order: those to the same readers of a room together, at the place
    /// of the first; acknowledgements last.
    fn share_out(&mut self, links: &mut Links) {
        const NONE: u32 = u32::MAX;
        self.first.clear();
        self.first.resize(self.effects.readers.len(), NONE);
        self.order.clear();
        for (number, delivery) in self.effects.deliveries.iter().enumerate() {
            let (number, start) = (number as u32, delivery.to.start as usize);
            let (rank, reader) = match delivery.class {
                Class::Room => {
                    self.first[start] = self.first[start].min(number);
                    (self.first[start], 0)
                }
                Class::Ephemeral | Class::Reply => (number, 0),
                Class::Ack => (NONE, self.effects.readers[start].index),
            };
            self.order.push((rank, reader, number));
        }
        self.order.sort_unstable();
        let mut deliveries: Vec<_> = std::mem::take(&mut self.effects.deliveries).into_iter().map(Some).collect();
        for &(.., number) in &self.order {
            let Some(delivery) = deliveries[number as usize].take() else { continue };
            let message = Rc::new(delivery.message);
            for conn in &self.effects.readers[delivery.to.start as usize..delivery.to.end as usize] {
                let Some(link) = links.find(*conn).filter(|link| link.open) else { continue };
                if delivery.class != Class::Ephemeral || link.outbox.len() < LAG {
                    link.outbox.push_back(Frame::Message(message.clone()));
                }
            }
        }
    }

    /// Connections whose outbox is awaited and has room.
    pub fn drain(&mut self, now: Now, links: &mut Links, mut comes: impl FnMut() -> bool) -> Verdict {
        let mut due = Vec::new();
        for (_, link) in &mut links.all {
            if link.watched && link.outbox.len() < DRAINED && comes() {
                link.watched = false;
                due.push(link.conn);
            }
        }
        due.into_iter().try_for_each(|conn| self.drained(now, conn))
    }
}
