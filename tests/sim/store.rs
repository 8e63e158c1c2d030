//! The store under the core: memory as it is, or behind a wrapper that answers late and out of order, as one on a disk
//! will.

use chinwag::chat::{Completion, ErrorCode, Request, RoomKey, Ticket};
use chinwag::store::{Memory, MemoryLimits};

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
    memory: Memory,
    late: Option<Lateness>,
    dice: fastrand::Rng,
    /// Not done yet, in order of submission.
    waiting: Vec<Request>,
    /// Done and not answered yet, in the order in which they were done, with the rooms of an append.
    done: Vec<(Rooms, Completion)>,
}

impl Store {
    pub fn new(limits: MemoryLimits, late: Option<Lateness>, seed: u64) -> Self {
        let dice = fastrand::Rng::with_seed(seed ^ 0x5707);
        Self { memory: Memory::new(limits, seed), late, dice, waiting: Vec::new(), done: Vec::new() }
    }

    pub fn submit(&mut self, request: Request) {
        if self.late.is_some() && !matches!(request, Request::Unload { .. }) {
            self.waiting.push(request);
        } else {
            self.memory.submit(request);
        }
    }

    pub fn collect(&mut self, completions: &mut Vec<Completion>) {
        match self.late {
            None => self.memory.collect(completions),
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
        }
    }

    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.done.is_empty()
    }

    /// Does some of what waits. Appends to a room are done in their order; a read may be done before or after appends
    /// that were submitted before it.
    fn work(&mut self, late: Lateness) {
        let mut stuck: Vec<RoomKey> = Vec::new();
        for request in std::mem::take(&mut self.waiting) {
            let ready = self.dice.u8(0..100) < late.done_percent;
            let rooms: Rooms = match &request {
                Request::Append { rows, .. } => rows.iter().map(|row| row.room).collect(),
                _ => Rooms::new(),
            };
            if !ready || rooms.iter().any(|room| stuck.contains(room)) {
                stuck.extend(rooms);
                self.waiting.push(request);
            } else if self.dice.u8(0..100) < late.refused_percent {
                self.done.push((rooms, Completion::Refused { ticket: ticket(&request), code: ErrorCode::Overloaded }));
            } else {
                let mut completions = Vec::new();
                self.memory.submit(request);
                self.memory.collect(&mut completions);
                self.done.extend(completions.into_iter().map(|completion| (rooms.clone(), completion)));
            }
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
