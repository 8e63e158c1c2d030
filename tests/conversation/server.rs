//! The server: the core, the store and the spelling, driven as the engine drives them, and a record of all that was
//! ever stored.

use std::collections::{BTreeMap, HashMap};

use chinwag::chat::{
    Chat, Class, CloseReason, Completion, ConnId, Effects, Event, Limits, Line, Now, Request, RoomKey, RoomName,
};
use chinwag::store::MemoryLimits;
use chinwag::wire::command::parse_v1;
use chinwag::wire::encode::{Encoder, Lang};
use slab::Slab;

use crate::frames::texts;
use crate::network::{DRAINED, Down, Link, Up};
use crate::store::{DiskLimits, Lateness, Store};

/// Which store.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    pub memory: MemoryLimits,
    pub late: Option<Lateness>,
    /// It outlives the process.
    pub disk: Option<DiskLimits>,
}

impl Keeping {
    fn store(&self, seed: u64) -> Store {
        Store::new(self.memory, self.late, self.disk, seed)
    }
}

/// Where a line was stored: its room, the room's epoch at that time, and its `seq`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub room: RoomName,
    pub epoch: String,
    pub seq: u64,
    /// After so many starts.
    pub start: u64,
}

pub struct Server {
    chat: Chat,
    pub store: Store,
    limits: Limits,
    keeping: Keeping,
    effects: Effects,
    encoder: Encoder,
    keys: HashMap<RoomKey, RoomName>,
    pub logs: HashMap<RoomName, Log>,
    /// By its words, which nobody says twice.
    pub stored: HashMap<String, Vec<Place>>,
    /// Where there is no such line any more, and since which start.
    pub lost: HashMap<Place, u64>,
    starts: u64,
    departed: Vec<(ConnId, bool)>,
    outbox_max: usize,
}

/// A room: its epoch, and the places of its lines.
#[derive(Debug, Default)]
pub struct Log {
    epoch: String,
    pub lines: BTreeMap<u64, Place>,
}

impl Server {
    pub fn new(limits: Limits, keeping: Keeping, outbox_max: usize, seed: u64) -> Self {
        Self {
            chat: Chat::new(limits.clone(), [seed as u8; 32]),
            store: keeping.store(seed),
            limits,
            keeping,
            effects: Effects::default(),
            encoder: Encoder::new(Lang::English),
            keys: HashMap::new(),
            logs: HashMap::new(),
            stored: HashMap::new(),
            lost: HashMap::new(),
            starts: 0,
            departed: Vec::new(),
            outbox_max,
        }
    }

    /// The process ends, and another begins: the memory is gone, and of a disk so much of the end, in percent.
    pub fn restart(&mut self, key: u8, lost_percent: usize, seed: u64) {
        self.starts += 1;
        self.chat = Chat::new(self.limits.clone(), [key; 32]);
        self.effects = Effects::default();
        self.keys.clear();
        self.departed.clear();
        if self.keeping.disk.is_none() {
            self.store = self.keeping.store(seed);
            for (_, log) in self.logs.drain() {
                self.lost.extend(log.lines.into_values().map(|place| (place, self.starts)));
            }
            return;
        }
        self.store.crash(lost_percent);
        let rooms: Vec<_> = self.logs.keys().cloned().collect();
        for room in rooms {
            let there: Vec<_> = self.store.lines(&room).cloned().collect();
            let log = self.logs.get_mut(&room).expect("it was just there");
            let lost = log.lines.split_off(&(there.len() as u64 + 1));
            self.lost.extend(lost.into_values().map(|place| (place, self.starts)));
            // What was stored, and not answered.
            for line in &there {
                self.note(line);
            }
        }
    }

    pub fn connected(&mut self, now: Now, conn: ConnId, secret: [u8; 16]) {
        self.chat.handle(now, Event::Connected { conn, secret }, &mut self.effects);
    }

    /// Hears the next thing from a connection, unless it is still busy with the one before.
    pub fn hear(&mut self, now: Now, link: &mut Link) {
        if self.chat.is_held(link.conn) {
            return;
        }
        match link.up.pop_front() {
            Some(Up::Text(text)) => {
                let command = parse_v1(&text);
                self.chat.handle(now, Event::Heard { conn: link.conn, command }, &mut self.effects);
            }
            Some(Up::Goodbye) => self.end(link, Some(CloseReason::Goodbye(Some(1000)))),
            None => {}
        }
    }

    /// It ends a connection, or notices that it ended.
    pub fn end(&mut self, link: &mut Link, reason: Option<CloseReason>) {
        if !link.open {
            return;
        }
        link.open = false;
        link.up.clear();
        if matches!(reason, Some(CloseReason::Replaced | CloseReason::SlowReader)) {
            link.outbox.clear();
        }
        if !link.dead && link.attached {
            let rest: Vec<_> = link.outbox.drain(..).map(Down::Text).collect();
            link.down.extend(rest);
            link.down.push_back(match reason.and_then(|reason| Some((reason.code()?, reason.text()))) {
                Some((code, text)) => Down::Close(code, text),
                None => Down::End,
            });
        }
        let for_good = match reason {
            Some(CloseReason::Goodbye(code)) => code == Some(1000),
            Some(reason) => reason.code().is_some_and(|code| (4500..4600).contains(&code)),
            None => false,
        };
        self.departed.push((link.conn, for_good));
    }

    /// The rest of a turn.
    pub fn end_turn(&mut self, now: Now, links: &mut Slab<Link>) {
        self.chat.handle(now, Event::Tick, &mut self.effects);
        for (_, link) in links.iter_mut() {
            if link.open && link.watched && link.outbox.len() < DRAINED {
                link.watched = false;
                self.chat.handle(now, Event::Drained { conn: link.conn }, &mut self.effects);
            }
        }
        loop {
            for request in std::mem::take(&mut self.effects.requests) {
                if let Request::Load { room, name, .. } = &request {
                    self.keys.insert(*room, name.clone());
                }
                self.store.submit(request);
            }
            let mut completions = Vec::new();
            self.store.collect(&mut completions);
            for completion in completions {
                self.record(&completion);
                self.chat.handle(now, Event::Completed(completion), &mut self.effects);
            }
            if self.effects.requests.is_empty() {
                break;
            }
        }
        self.share_out(now, links);
        for (conn, reason) in std::mem::take(&mut self.effects.closes) {
            if let Some(link) = find(links, conn) {
                self.end(link, Some(reason));
            }
        }
        for conn in std::mem::take(&mut self.effects.watches) {
            if let Some(link) = find(links, conn) {
                link.watched = true;
            }
        }
        self.effects.clear();
        for (conn, for_good) in std::mem::take(&mut self.departed) {
            self.chat.handle(now, Event::Closed { conn, for_good }, &mut self.effects);
        }
    }

    fn record(&mut self, completion: &Completion) {
        match completion {
            Completion::Loaded { room, epoch, newest, .. } => {
                let log = self.logs.entry(self.keys[room].clone()).or_default();
                log.epoch = epoch.to_string();
                // A room may be forgotten while nobody is there.
                let lost = log.lines.split_off(&(newest + 1));
                self.lost.extend(lost.into_values().map(|place| (place, self.starts)));
            }
            Completion::Appended { lines, .. } => lines.iter().for_each(|line| self.note(line)),
            // A read may bring lines whose storing was not answered yet.
            Completion::Fetched { lines, .. } => lines.iter().for_each(|line| self.note(line)),
            Completion::Refused { .. } | Completion::Recalled { .. } => {}
        }
    }

    fn note(&mut self, line: &Line) {
        let log = self.logs.get_mut(&line.room).expect("it was loaded");
        if log.lines.contains_key(&line.seq) {
            return;
        }
        let place = Place { room: line.room.clone(), epoch: log.epoch.clone(), seq: line.seq, start: self.starts };
        log.lines.insert(line.seq, place.clone());
        self.stored.entry(line.draft.message.to_string()).or_default().push(place);
    }

    fn share_out(&mut self, now: Now, links: &mut Slab<Link>) {
        let deliveries = std::mem::take(&mut self.effects.deliveries);
        let (acks, others): (Vec<_>, Vec<_>) = deliveries.iter().partition(|told| told.class == Class::Ack);
        for told in others.into_iter().chain(acks) {
            let mut bytes = Vec::new();
            self.encoder.encode(&mut bytes, &told.message, now.wall_ms);
            for conn in &self.effects.readers[told.to.start as usize..told.to.end as usize] {
                if let Some(link) = find(links, *conn) {
                    link.outbox.extend(texts(&bytes));
                }
            }
        }
    }

    /// Closes who reads too slowly.
    pub fn judge_backlog(&mut self, link: &mut Link) -> bool {
        let slow = link.open && link.outbox.len() > self.outbox_max;
        if slow {
            self.end(link, Some(CloseReason::SlowReader));
        }
        slow
    }

    pub fn is_settled(&self) -> bool {
        self.chat.is_settled() && self.store.is_idle() && self.effects.is_empty()
    }
}

fn find(links: &mut Slab<Link>, conn: ConnId) -> Option<&mut Link> {
    links.iter_mut().map(|(_, link)| link).find(|link| link.open && link.conn == conn)
}
