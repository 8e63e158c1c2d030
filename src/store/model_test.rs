//! One seeded random test for every store: what it promises, against a model that keeps everything in plain vectors.
//!
//! The store is driven by a closure that takes requests and gives whatever answers there are, so one that answers later
//! goes through the same test.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::chat::{Completion, Draft, ErrorCode, Line, Name, Part, Request, RoomKey, RoomName, Row, Ticket, UserId};

use super::sqlite::support::{Clock, Driver, Folder};
use super::{Memory, MemoryLimits, SqliteOptions};

/// What the store under test keeps.
#[derive(Clone, Copy, Debug)]
struct Policy {
    /// At most so many lines of a room.
    lines_max: usize,
    /// Exactly as many as there are up to `lines_max`, or perhaps fewer because of another limit.
    exactly: bool,
    /// Rooms that it keeps when they are not loaded.
    rooms_max: usize,
    /// It outlives the process: whatever has a line is never forgotten.
    durable: bool,
}

/// A room as the model sees it. Lives that ended stay in `Model::epochs` only.
struct Room {
    name: RoomName,
    key: Option<RoomKey>,
    /// A `Load` that is not answered.
    loading: bool,
    epoch: Option<Arc<str>>,
    /// Every line of this life, kept or not; the `seq` is the place and one.
    lines: Vec<Draft>,
    /// Lines that were submitted and not answered, with their tickets.
    pending: VecDeque<(Ticket, Draft)>,
    /// Fetches that were not answered, with the newest answered line when they were submitted.
    fetches: Vec<(Ticket, Part, u64)>,
    /// Recalls that were not answered, likewise.
    recalls: Vec<(Ticket, (u64, u64), u64)>,
    /// The oldest that is kept, as far as known.
    oldest: u64,
}

struct Model {
    policy: Policy,
    rooms: Vec<Room>,
    /// Every epoch that ever was.
    epochs: Vec<Arc<str>>,
    dice: fastrand::Rng,
    tickets: u64,
    /// How often each kind of answer came: loaded anew, loaded again, appended, fetched, recalled, refused.
    seen: [usize; 6],
}

impl Room {
    fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.fetches.is_empty() && self.recalls.is_empty()
    }
}

impl Model {
    fn new(policy: Policy, seed: u64) -> Self {
        let room = |name: &str| Room {
            name: RoomName::parse(name).expect("a room's name"),
            key: None,
            loading: false,
            epoch: None,
            lines: Vec::new(),
            pending: VecDeque::new(),
            fetches: Vec::new(),
            recalls: Vec::new(),
            oldest: 1,
        };
        let rooms = ["a", "b", "c", "lobby", "Lobby", "x.y-z_"].map(room).into();
        let dice = fastrand::Rng::with_seed(seed);
        Self { policy, rooms, epochs: Vec::new(), dice, tickets: 0, seen: [0; 6] }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Anything that the core may ask now.
    fn request(&mut self) -> Request {
        let place = self.dice.usize(0..self.rooms.len());
        let Some(key) = self.rooms[place].key.filter(|_| !self.rooms[place].loading) else {
            return self.load(place);
        };
        let ticket = self.ticket();
        match self.dice.u8(0..20) {
            0 if self.rooms[place].is_settled() => {
                self.rooms[place].key = None;
                Request::Unload { room: key, wall_ms: 0 }
            }
            0..=11 => self.append(ticket, place),
            12 => {
                let seqs = self.part(place).seqs;
                let newest = self.rooms[place].lines.len() as u64;
                self.rooms[place].recalls.push((ticket, seqs, newest));
                Request::Recall { ticket, room: key, seqs }
            }
            _ => {
                let part = self.part(place);
                let newest = self.rooms[place].lines.len() as u64;
                self.rooms[place].fetches.push((ticket, part, newest));
                Request::Fetch { ticket, room: key, part }
            }
        }
    }

    /// Loads a room, or reads another if that is under way already.
    fn load(&mut self, place: usize) -> Request {
        if self.rooms[place].loading {
            let ready = self.rooms.iter().position(|room| room.key.is_some() && !room.loading);
            if let Some(ready) = ready {
                let ticket = self.ticket();
                return self.append(ticket, ready);
            }
        }
        let place = if self.rooms[place].loading {
            self.rooms.iter().position(|room| !room.loading).expect("some room is neither loading nor ready")
        } else {
            place
        };
        let ticket = self.ticket();
        let used = |key| self.rooms.iter().any(|room| room.key == Some(key));
        let key = (0..9).map(RoomKey).find(|&key| !used(key)).expect("there are more numbers than rooms");
        let room = &mut self.rooms[place];
        room.key = Some(key);
        room.loading = true;
        Request::Load { ticket, room: key, name: room.name.clone(), must_exist: false }
    }

    fn append(&mut self, ticket: Ticket, place: usize) -> Request {
        let mut places = vec![place];
        if self.dice.u8(0..5) == 0 {
            let other = self.dice.usize(0..self.rooms.len());
            places.extend((self.rooms[other].key.is_some() && !self.rooms[other].loading).then_some(other));
        }
        let mut rows = Vec::new();
        for place in places {
            let draft = self.draft();
            let room = &mut self.rooms[place];
            room.pending.push_back((ticket, draft.clone()));
            rows.push(Row { room: room.key.expect("it is loaded"), draft });
        }
        Request::Append { ticket, rows: rows.into() }
    }

    fn draft(&mut self) -> Draft {
        let length = if self.dice.u8(0..20) == 0 { self.dice.usize(0..3_000) } else { self.dice.usize(0..30) };
        let message: String = (0..length).map(|_| self.dice.alphanumeric()).collect();
        let id: Option<String> = self.dice.bool().then(|| (0..8).map(|_| self.dice.alphanumeric()).collect());
        Draft {
            time_ms: self.dice.u64(0..1 << 48),
            user: UserId([self.dice.u8(..); 10]),
            from: Name::guest(self.dice.u128(..), 4),
            id: id.map(Into::into),
            to: None,
            message: message.into(),
        }
    }

    fn part(&mut self, place: usize) -> Part {
        let newest = self.rooms[place].lines.len() as u64;
        let mut end = || match self.dice.u8(0..8) {
            0 => 0,
            1 => u64::MAX,
            _ => self.dice.u64(0..newest + 4),
        };
        let seqs = (end(), end());
        let lines_max = if self.dice.bool() { self.dice.u32(1..10) } else { 1_000 };
        let bytes_max = if self.dice.bool() { self.dice.usize(0..200) } else { usize::MAX };
        Part { seqs, newest_first: self.dice.bool(), lines_max, bytes_max }
    }

    fn answered(&mut self, completion: Completion) {
        match completion {
            Completion::Loaded { room: key, epoch, newest, .. } => self.loaded(key, &epoch, newest),
            Completion::Appended { ticket, lines } => {
                self.seen[2] += 1;
                assert!(!lines.is_empty());
                for line in lines {
                    self.appended(ticket, &line);
                }
                assert!(self.rooms.iter().all(|room| room.pending.iter().all(|(other, _)| *other != ticket)));
            }
            Completion::Fetched { ticket, lines, oldest } => self.fetched(ticket, &lines, oldest),
            Completion::Recalled { ticket, ids, through } => self.recalled(ticket, &ids, through),
            Completion::Refused { code, .. } => {
                self.seen[5] += 1;
                assert_eq!(code, ErrorCode::Overloaded);
                let loaded = self.rooms.iter().filter(|room| room.key.is_some()).count();
                assert!(loaded > self.policy.rooms_max, "there was place");
                // Loads are the only requests that this test lets fail, and rooms that wait are refused in order.
                let room = self.rooms.iter_mut().find(|room| room.loading).expect("a room was loading");
                (room.key, room.loading) = (None, false);
            }
        }
    }

    fn loaded(&mut self, key: RoomKey, epoch: &Arc<str>, newest: u64) {
        let room = self.rooms.iter_mut().find(|room| room.key == Some(key)).expect("somebody asked for it");
        assert!(std::mem::take(&mut room.loading), "loaded once");
        if room.epoch.as_ref() == Some(epoch) {
            self.seen[1] += 1;
            assert_eq!(newest, room.lines.len() as u64, "the same life, the same count");
            return;
        }
        self.seen[0] += 1;
        assert!(epoch.len() >= 8 && epoch.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{epoch}");
        assert_eq!(newest, 0, "a new life starts from nothing");
        assert!(!self.epochs.contains(epoch), "an epoch came back");
        let kept = room.lines.len().min(self.policy.lines_max);
        let crowded = self.policy.rooms_max < 6;
        assert!(kept == 0 || crowded || !self.policy.exactly, "{} was forgotten with {kept} lines", room.name);
        assert!(room.lines.is_empty() || !self.policy.durable, "{} was forgotten", room.name);
        self.epochs.push(Arc::clone(epoch));
        room.epoch = Some(Arc::clone(epoch));
        room.lines.clear();
        room.oldest = 1;
    }

    fn appended(&mut self, ticket: Ticket, line: &Line) {
        let room = self.rooms.iter_mut().find(|room| room.name == line.room).expect("a room of ours");
        let (first, draft) = room.pending.pop_front().expect("a line was pending");
        assert_eq!(first, ticket, "answered in the order of submission");
        assert_eq!(line.seq, room.lines.len() as u64 + 1, "dense");
        assert_eq!(line.draft, draft);
        room.lines.push(draft);
    }

    fn fetched(&mut self, ticket: Ticket, lines: &[Arc<Line>], oldest: u64) {
        self.seen[3] += 1;
        let asked = |room: &Room| room.fetches.iter().position(|&(other, ..)| other == ticket);
        let (room, place) =
            self.rooms.iter_mut().find_map(|room| asked(room).map(|place| (room, place))).expect("somebody asked");
        let (_, part, newest_then) = room.fetches.remove(place);
        let draft = |seq: u64| {
            let place = seq as usize - 1;
            room.lines.get(place).or_else(|| Some(&room.pending.get(place - room.lines.len())?.1))
        };
        for (place, line) in lines.iter().enumerate() {
            assert_eq!(line.seq, lines[0].seq + place as u64, "without holes");
            assert_eq!(line.room, room.name);
            assert_eq!(Some(&line.draft), draft(line.seq), "{} {}", room.name, line.seq);
            assert!((part.seqs.0..=part.seqs.1).contains(&line.seq) && line.seq >= oldest, "{part:?} {}", line.seq);
        }
        let newest = room.lines.len() as u64;
        let newest_perhaps = newest + room.pending.len() as u64;
        assert!((room.oldest..=newest_perhaps + 1).contains(&oldest), "nothing that is gone comes back");
        room.oldest = oldest;
        assert!(newest.saturating_sub(oldest - 1) <= self.policy.lines_max as u64, "more is kept than may be");
        if self.policy.exactly {
            // It was read when some of the pending lines were stored already, perhaps.
            let exact = |newest: u64| newest + 1 - newest.min(self.policy.lines_max as u64);
            assert!((exact(newest)..=exact(newest_perhaps)).contains(&oldest), "less is kept than could be");
        }

        let bytes: usize = lines.iter().map(|line| line.draft.message.len()).sum();
        assert!(lines.len() <= part.lines_max as usize);
        assert!(bytes <= part.bytes_max || lines.len() == 1);
        // Nothing is left out but for a reason.
        let (first, last) = (part.seqs.0.max(oldest), part.seqs.1.min(newest_then));
        if first > last {
            return;
        }
        let (Some(start), Some(end)) = (lines.first(), lines.last()) else {
            panic!("{part:?} has {first} to {last}, and nothing came");
        };
        let next = if part.newest_first {
            (start.seq > first).then(|| start.seq - 1)
        } else {
            (end.seq < last).then_some(end.seq + 1)
        };
        assert!(if part.newest_first { end.seq >= last } else { start.seq == first }, "{part:?}: from the right end");
        if let Some(next) = next {
            let more = draft(next).expect("it was said").message.len();
            assert!(lines.len() == part.lines_max as usize || bytes + more > part.bytes_max, "{part:?}: all that fits");
        }
    }

    fn recalled(&mut self, ticket: Ticket, ids: &[(UserId, Box<str>, u64)], through: u64) {
        self.seen[4] += 1;
        let asked = |room: &Room| room.recalls.iter().position(|&(other, ..)| other == ticket);
        let (room, place) =
            self.rooms.iter_mut().find_map(|room| asked(room).map(|place| (room, place))).expect("somebody asked");
        let (_, (first, last), newest_then) = room.recalls.remove(place);
        assert!(through == last || (first..last).contains(&through), "{first} to {last}: it goes on from {through}");
        assert!(ids.is_sorted_by_key(|&(.., seq)| seq));
        let said = room.lines.iter().chain(room.pending.iter().map(|(_, draft)| draft));
        let expected = (1..).zip(said).filter_map(|(seq, draft)| Some((draft.user, draft.id.as_deref()?, seq)));
        // What the ring of memory has lost, or what was stored meanwhile, may be there or not.
        let certain = room.oldest.max(first)..=newest_then.min(through);
        let found: Vec<_> = ids.iter().map(|(user, id, seq)| (*user, &**id, *seq)).collect();
        let expected: Vec<_> = expected.filter(|&(.., seq)| (first..=through).contains(&seq)).collect();
        assert!(found.iter().all(|id| expected.contains(id)), "{} has an id that nobody gave", room.name);
        let missed = expected.iter().find(|id| certain.contains(&id.2) && !found.contains(id));
        assert!(missed.is_none() || !self.policy.durable, "{}: {missed:?} was not recalled", room.name);
    }
}

/// What is done to the store under test.
enum Act {
    /// It gets requests, in order, and gives the answers that there are.
    Exchange(Vec<Request>),
    /// The process ends, everything having been answered, and starts again.
    Restart,
}

/// Drives a store for `steps` requests and more until all is answered; gives how often each kind of answer came.
///
fn drive(policy: Policy, seed: u64, steps: usize, mut act: impl FnMut(Act, &mut Vec<Completion>)) -> [usize; 6] {
    let mut model = Model::new(policy, seed);
    let mut completions = Vec::new();
    let mut open = 0;
    let mut done = 0;
    while done < steps || open > 0 {
        let mut requests = Vec::new();
        // A load is answered before the next request, since this test does not foresee which one a full store refuses.
        while done < steps && requests.len() < 6 && !model.rooms.iter().any(|room| room.loading) {
            requests.push(model.request());
            done += 1;
        }
        open += requests.iter().filter(|request| !matches!(request, Request::Unload { .. })).count();
        act(Act::Exchange(requests), &mut completions);
        open -= completions.len();
        for completion in completions.drain(..) {
            model.answered(completion);
        }
        if policy.durable && open == 0 && model.dice.u8(0..4) == 0 {
            act(Act::Restart, &mut completions);
            model.rooms.iter_mut().for_each(|room| room.key = None);
        }
    }
    model.seen
}

fn drive_memory(seed: u64, limits: MemoryLimits, policy: Policy) -> [usize; 6] {
    let mut memory = Memory::new(limits, seed);
    drive(policy, seed, 300, |act, completions| {
        let Act::Exchange(requests) = act else { panic!("memory does not outlive the process") };
        for request in requests {
            memory.submit(request);
            memory.check();
        }
        memory.collect(completions);
    })
}

#[test]
fn memory_keeps_its_promises() {
    let mut seen = [0; 6];
    for seed in 0..400 {
        let lines_max = [0, 1, 7, 50][seed as usize % 4];
        let bytes_max = if seed % 3 == 0 { 20_000 } else { 1 << 30 };
        let rooms_max = if seed % 5 == 0 { 3 } else { 10 };
        let limits = MemoryLimits { recent_messages_max: lines_max, recent_bytes_max: bytes_max, rooms_max };
        let policy = Policy { lines_max, exactly: bytes_max > 20_000, rooms_max, durable: false };
        let answers = std::panic::catch_unwind(|| drive_memory(seed, limits, policy));
        let answers = answers.unwrap_or_else(|_| panic!("seed {seed} with {limits:?}"));
        seen.iter_mut().zip(answers).for_each(|(sum, count)| *sum += count);
    }
    assert!(seen.iter().all(|&count| count > 500), "every kind of answer came: {seen:?}");
}

fn drive_sqlite(seed: u64, recent_messages_max: usize, recent_bytes_max: usize) -> [usize; 6] {
    let folder = Folder::new();
    let clock = Clock::new();
    let options = SqliteOptions { recent_messages_max, recent_bytes_max, ..SqliteOptions::at(folder.store()) };
    let open = || Driver::open(&options, &clock).expect("it opens");
    let mut driver = Some(open());
    let mut waiting = 0;
    let policy = Policy { lines_max: usize::MAX, exactly: true, rooms_max: usize::MAX, durable: true };
    drive(policy, seed, 300, |act, completions| match act {
        Act::Exchange(requests) => {
            let driver = driver.as_mut().expect("it is open");
            for request in requests {
                waiting += usize::from(!matches!(request, Request::Unload { .. }));
                driver.submit(request);
            }
            if waiting > 0 {
                driver.collect(completions);
                waiting -= completions.len();
            } else {
                driver.hand_over();
            }
        }
        Act::Restart => {
            drop(driver.take());
            driver = Some(open());
        }
    })
}

#[test]
fn sqlite_keeps_its_promises() {
    let mut seen = [0; 6];
    for seed in 0..60 {
        let recent_messages_max = [0, 1, 7, 1_000][seed as usize % 4];
        let recent_bytes_max = if seed % 3 == 0 { 10_000 } else { 1 << 30 };
        let answers = std::panic::catch_unwind(|| drive_sqlite(seed, recent_messages_max, recent_bytes_max));
        let answers = answers.unwrap_or_else(|_| panic!("seed {seed}"));
        seen.iter_mut().zip(answers).for_each(|(sum, count)| *sum += count);
    }
    assert!(seen[..5].iter().all(|&count| count > 100), "every kind of answer came: {seen:?}");
}
