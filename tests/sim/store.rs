//! The store under the core: memory as it is, or behind a wrapper that answers late and out of order, as one on a disk
//! does; and a disk, which outlives the process, and has its own ways to fail.

#[path = "disk.rs"]
mod disk;

use std::sync::Arc;

use chinwag::chat::{Completion, ErrorCode, Line, Request, RoomKey, RoomName, Ticket};
use chinwag::store::{Memory, MemoryLimits};

use disk::Disk;
pub use disk::DiskLimits;

/// How late the late store is.
#[derive(Clone, Copy, Debug)]
pub struct Lateness {
    /// The odds that a request is done at a look at the store, and then that its answer is given, in percent.
    pub done_percent: u8,
    /// The odds that a request is refused, in percent.
    pub refused_percent: u8,
}

/// The rooms that an append goes to: two for a private message. None for all else.
type Rooms = smallvec::SmallVec<[RoomKey; 2]>;

/// The store.
#[derive(Debug)]
pub struct Store {
    kind: Kind,
    late: Option<Lateness>,
    dice: fastrand::Rng,
    /// There is no room for lines.
    full: bool,
    /// Not done yet, in order of submission.
    waiting: Vec<Request>,
    /// Done and not answered yet, in the order in which they were done, with the rooms of an append.
    done: Vec<(Rooms, Completion)>,
}

#[derive(Debug)]
enum Kind {
    Memory(Box<Memory>),
    Disk(Disk),
}

impl Kind {
    fn exchange(&mut self, request: Request, completions: &mut Vec<Completion>) {
        match self {
            Self::Memory(memory) => {
                memory.submit(request);
                memory.collect(completions);
            }
            Self::Disk(disk) => completions.extend(disk.submit(request)),
        }
    }
}

impl Store {
    /// An empty one; a disk, which is late always, if it is to outlive the process.
    pub fn new(limits: MemoryLimits, late: Option<Lateness>, disk: Option<DiskLimits>, seed: u64) -> Self {
        let kind = match disk {
            Some(limits) if late.is_some() => Kind::Disk(Disk::new(limits, seed)),
            _ => Kind::Memory(Box::new(Memory::new(limits, seed))),
        };
        let dice = fastrand::Rng::with_seed(seed ^ 0x5707);
        Self { kind, late, dice, full: false, waiting: Vec::new(), done: Vec::new() }
    }

    /// The process ends, and another begins. What was handed over is committed as far as the process came, and of the last
    /// commits a share is lost, in percent.
    pub fn crash(&mut self, lost_percent: usize) {
        let Kind::Disk(disk) = &mut self.kind else { panic!("memory does not outlive the process") };
        let came = if self.full { 0 } else { self.dice.usize(0..=self.waiting.len()) };
        for request in self.waiting.drain(..).take(came).filter(|request| matches!(request, Request::Append { .. })) {
            disk.submit(request);
        }
        self.waiting.clear();
        self.done.clear();
        self.full = false;
        disk.restart((disk.commits() * lost_percent).div_ceil(100));
    }

    /// The lines of a room that outlived the process: all that were not lost.
    pub fn lines<'a>(&'a self, room: &RoomName) -> impl Iterator<Item = &'a Arc<Line>> {
        let Kind::Disk(disk) = &self.kind else { panic!("memory does not outlive the process") };
        disk.lines(room)
    }

    pub fn submit(&mut self, request: Request) {
        if matches!(request, Request::Unload { .. }) {
            self.kind.exchange(request, &mut Vec::new());
        } else {
            self.waiting.push(request);
        }
    }

    pub fn collect(&mut self, completions: &mut Vec<Completion>) {
        match self.late {
            None => self.waiting.drain(..).for_each(|request| self.kind.exchange(request, completions)),
            Some(late) => {
                self.work(late);
                self.answer(late.done_percent, completions);
            }
        }
    }

    /// From now on answers at once, and first what it owes.
    pub fn hurry(&mut self) {
        if self.late.is_some() {
            self.late = Some(Lateness { done_percent: 100, refused_percent: 0 });
            self.full = false;
        }
    }

    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.done.is_empty()
    }

    /// Does some of what waits. Appends to a room are done in their order; a read may be done before or after appends
    /// that were submitted before it.
    fn work(&mut self, late: Lateness) {
        let mut stuck: Vec<RoomKey> = Vec::new();
        if late.refused_percent > 0 && matches!(self.kind, Kind::Disk(_)) {
            let odds = if self.full { 10 } else { 200 };
            self.full ^= self.dice.u32(0..odds) == 0;
        }
        for request in std::mem::take(&mut self.waiting) {
            let ready = self.dice.u8(0..100) < late.done_percent;
            let rooms: Rooms = match &request {
                Request::Append { rows, .. } => rows.iter().map(|row| row.room).collect(),
                _ => Rooms::new(),
            };
            if !ready || rooms.iter().any(|room| stuck.contains(room)) {
                stuck.extend(rooms);
                self.waiting.push(request);
            } else if let Some(code) = self.refusal(&request, late) {
                self.done.push((rooms, Completion::Refused { ticket: ticket(&request), code }));
            } else {
                let mut completions = Vec::new();
                self.kind.exchange(request, &mut completions);
                self.done.extend(completions.into_iter().map(|completion| (rooms.clone(), completion)));
            }
        }
    }

    /// Why a request is refused, if it is.
    fn refusal(&mut self, request: &Request, late: Lateness) -> Option<ErrorCode> {
        let chance = self.dice.u8(0..100) < late.refused_percent;
        match (&self.kind, request) {
            (Kind::Disk(_), Request::Append { .. }) if self.full => Some(ErrorCode::StorageFull),
            _ if !chance => None,
            (Kind::Memory(_), _) | (Kind::Disk(_), Request::Append { .. }) => Some(ErrorCode::Overloaded),
            (Kind::Disk(_), _) => Some(ErrorCode::Internal),
        }
    }

    /// Gives some of the answers: those to a room's appends in order, all others in any.
    fn answer(&mut self, percent: u8, completions: &mut Vec<Completion>) {
        let mut stuck: Vec<RoomKey> = Vec::new();
        for (rooms, completion) in std::mem::take(&mut self.done) {
            let ready = self.dice.u8(0..100) < percent;
            if !ready || rooms.iter().any(|room| stuck.contains(room)) {
                stuck.extend(rooms.iter().copied());
                self.done.push((rooms, completion));
            } else {
                completions.push(completion);
            }
        }
    }
}

fn ticket(request: &Request) -> Ticket {
    match *request {
        Request::Load { ticket, .. }
        | Request::Append { ticket, .. }
        | Request::Fetch { ticket, .. }
        | Request::Recall { ticket, .. } => ticket,
        Request::Unload { .. } => panic!("nobody answers an unload"),
    }
}
