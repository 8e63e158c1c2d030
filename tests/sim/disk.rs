//! A store that outlives the process, as plain as can be: one list of commits, of which the end may be lost.
//!
//! It shares nothing with the store that the server has but what `chinwag::store` promises, and how an epoch follows another
//! when lines are lost.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chinwag::chat::{Completion, ErrorCode, Line, Part, Request, RoomKey, RoomName, Row, Ticket};

/// How much it keeps, and tells at once.
#[derive(Clone, Copy, Debug)]
pub struct DiskLimits {
    /// Lines of a room.
    pub kept_max: u64,
    /// Lines that one recall looks through.
    pub recalled_max: u64,
}

/// The store.
#[derive(Debug)]
pub struct Disk {
    limits: DiskLimits,
    seed: u64,
    /// How often the end was lost.
    generation: u64,
    /// The rooms of each commit's lines.
    commits: Vec<Vec<RoomName>>,
    rooms: HashMap<RoomName, Vec<Kept>>,
    /// Of users who were here.
    streams: HashSet<RoomName>,
    loaded: HashMap<RoomKey, (RoomName, Marks)>,
}

/// A line, and what was written down of its room with it.
#[derive(Debug)]
struct Kept {
    line: Arc<Line>,
    marks: Marks,
}

#[derive(Clone, Debug)]
struct Marks {
    epoch: Arc<str>,
    generation: u64,
    former: Option<(Arc<str>, u64)>,
}

impl Disk {
    pub fn new(limits: DiskLimits, seed: u64) -> Self {
        let (commits, rooms, streams, loaded) = Default::default();
        Self { limits, seed, generation: 0, commits, rooms, streams, loaded }
    }

    /// The process ends, and another begins. Of the last commits so many are lost, if that is some.
    pub fn restart(&mut self, lost: usize) {
        self.loaded.clear();
        for rooms in self.commits.drain(self.commits.len().saturating_sub(lost)..).rev() {
            for room in rooms.iter().rev() {
                self.rooms.get_mut(room).and_then(Vec::pop).expect("what was committed is there");
            }
        }
        self.generation += u64::from(lost > 0);
    }

    pub fn commits(&self) -> usize {
        self.commits.len()
    }

    /// All lines that were ever stored in a room and not lost, kept or not.
    pub fn lines<'a>(&'a self, room: &RoomName) -> impl Iterator<Item = &'a Arc<Line>> {
        self.rooms.get(room).into_iter().flatten().map(|kept| &kept.line)
    }

    pub fn submit(&mut self, request: Request) -> Option<Completion> {
        Some(match request {
            Request::Load { ticket, room, name, must_exist } => self.load(ticket, room, name, must_exist),
            Request::Append { ticket, rows } => {
                let lines: smallvec::SmallVec<_> = rows.into_iter().map(|row| self.append(row)).collect();
                self.commits.push(lines.iter().map(|line: &Arc<Line>| line.room.clone()).collect());
                Completion::Appended { ticket, lines }
            }
            Request::Fetch { ticket, room, part } => self.fetch(ticket, room, part),
            Request::Recall { ticket, room, seqs } => self.recall(ticket, room, seqs),
            Request::Unload { room, .. } => {
                self.loaded.remove(&room).expect("only a loaded room is unloaded");
                return None;
            }
        })
    }

    fn load(&mut self, ticket: Ticket, room: RoomKey, name: RoomName, must_exist: bool) -> Completion {
        let lines = self.rooms.get(&name).map_or(&[][..], |lines| lines);
        if must_exist && lines.is_empty() && !self.streams.contains(&name) {
            return Completion::Refused { ticket, code: ErrorCode::NoSuchUser };
        }
        self.streams.extend(name.is_stream().then(|| name.clone()));
        let (generation, newest) = (self.generation, lines.len() as u64);
        let first = |generation: u64| format!("{name}x{}x{generation}", self.seed).into();
        let marks = match lines.last().map(|last| &last.marks) {
            Some(marks) if marks.generation == generation => marks.clone(),
            Some(marks) => Marks {
                epoch: format!("{}x{generation}", marks.epoch).into(),
                generation,
                former: Some((marks.epoch.clone(), newest)),
            },
            None => {
                let former = generation.checked_sub(1).map(|before| (first(before), 0));
                Marks { epoch: first(generation), generation, former }
            }
        };
        let (epoch, former) = (marks.epoch.clone(), marks.former.clone());
        let other = self.loaded.insert(room, (name, marks));
        assert!(other.is_none(), "{room:?} is in use");
        Completion::Loaded { ticket, room, epoch, newest, former }
    }

    fn append(&mut self, Row { room, draft }: Row) -> Arc<Line> {
        let (name, marks) = self.loaded.get(&room).expect("lines go to loaded rooms");
        let lines = self.rooms.entry(name.clone()).or_default();
        let line = Arc::new(Line { room: name.clone(), seq: lines.len() as u64 + 1, draft });
        lines.push(Kept { line: line.clone(), marks: marks.clone() });
        line
    }

    /// The lines that are kept, in a range, and the oldest that is.
    fn kept(&self, room: RoomKey, (first, last): (u64, u64)) -> (impl DoubleEndedIterator<Item = &Arc<Line>>, u64) {
        let (name, _) = self.loaded.get(&room).expect("reads come of loaded rooms");
        let lines = self.rooms.get(name).map_or(&[][..], |lines| lines);
        let oldest = (lines.len() as u64 + 1).saturating_sub(self.limits.kept_max).max(1);
        let from = first.max(oldest) as usize - 1;
        let to = usize::try_from(last).unwrap_or(usize::MAX).min(lines.len());
        (lines[from.min(to)..to].iter().map(|kept| &kept.line), oldest)
    }

    fn fetch(&self, ticket: Ticket, room: RoomKey, part: Part) -> Completion {
        let (kept, oldest) = self.kept(room, part.seqs);
        let mut bytes = 0;
        let fits = |line: &&Arc<Line>| {
            let first = bytes == 0;
            bytes += line.draft.message.len().max(1);
            first || bytes <= part.bytes_max
        };
        let count = part.lines_max as usize;
        let lines = if part.newest_first {
            let mut lines: Vec<_> = kept.rev().take(count).take_while(fits).cloned().collect();
            lines.reverse();
            lines
        } else {
            kept.take(count).take_while(fits).cloned().collect()
        };
        Completion::Fetched { ticket, lines, oldest }
    }

    fn recall(&self, ticket: Ticket, room: RoomKey, (first, last): (u64, u64)) -> Completion {
        let through = last.min(first + self.limits.recalled_max - 1);
        let (kept, _) = self.kept(room, (first, through));
        let id = |line: &Arc<Line>| Some((line.draft.user, Box::from(&**line.draft.id.as_ref()?), line.seq));
        Completion::Recalled { ticket, ids: kept.filter_map(id).collect(), through }
    }
}
