//! What the store holds: the log of each room and stream, as the store answered it, and what became of each line that
//! anybody wrote.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chinwag::chat::{Completion, Line, Request, RoomKey, RoomName, Ticket, UserId};

use crate::store::Store;
use crate::{Verdict, hold};

/// The logs.
#[derive(Debug, Default)]
pub struct Truth {
    logs: HashMap<RoomName, Log>,
    keys: HashMap<RoomKey, RoomName>,
    reads: HashMap<Ticket, RoomKey>,
    /// What was the oldest line when the store read what it has just answered.
    pub oldest_read: u64,
    pub written: Vec<Written>,
    /// Every epoch that a room ever had.
    epochs: HashSet<(RoomName, Arc<str>)>,
    /// The epochs of rooms under which places above a `seq` mean lines that were lost.
    ends: HashMap<(RoomName, Arc<str>), u64>,
    /// More lines of a room are kept than these, if any ever goes.
    pub kept_max: Option<u64>,
}

/// A room or a stream, in its present life.
#[derive(Debug)]
pub struct Log {
    pub epoch: Arc<str>,
    pub lines: Vec<Arc<Line>>,
    /// Nothing below is kept, as far as the store has said.
    pub oldest: u64,
    /// An earlier epoch, under which places up to a `seq` are good.
    pub former: Option<(Arc<str>, u64)>,
    /// Of the lines under this epoch some were lost.
    is_cut: bool,
}

/// A line that somebody wrote; its text is its number.
#[derive(Debug)]
pub struct Written {
    /// The number of the person.
    pub by: usize,
    pub to: Target,
    pub fate: Fate,
    /// Where the store has it, in this life or an earlier one.
    pub stored: Vec<RoomName>,
    /// The store had it, and lost it.
    pub lost: bool,
}

/// Where a line goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Room(RoomName),
    /// In private, to another user of `chinwag.v1`.
    User(UserId),
    /// In private, to whoever it is.
    Anybody,
}

/// What its writer was told of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing yet.
    Open,
    Acknowledged,
    /// Perhaps sent: the replay would not have shown it.
    Perhaps,
    /// It was refused, or never sent.
    Failed,
    /// Its writer does not ask (plain clients).
    Unasked,
}

impl Truth {
    pub fn new(kept_max: Option<u64>) -> Self {
        Self { kept_max, ..Self::default() }
    }

    pub fn log(&self, room: &RoomName) -> Option<&Log> {
        self.logs.get(room)
    }

    /// The newest `seq` that was answered.
    pub fn newest(&self, room: &RoomName) -> u64 {
        self.logs.get(room).map_or(0, |log| log.lines.len() as u64)
    }

    pub fn line(&self, room: &RoomName, seq: u64) -> Option<&Arc<Line>> {
        self.logs.get(room)?.lines.get((seq as usize).checked_sub(1)?)
    }

    pub fn write(&mut self, by: usize, to: Target, fate: Fate) -> usize {
        self.written.push(Written { by, to, fate, stored: Vec::new(), lost: false });
        self.written.len() - 1
    }

    /// The server is gone, and with it what it held.
    pub fn restart(&mut self) {
        self.logs.clear();
        self.keys.clear();
        self.reads.clear();
    }

    /// The server is gone, and what it had stored is not: all that it answered is there, in its place, unless some of the end
    /// `may_miss`. What it did not answer may be there.
    pub fn restart_with(&mut self, store: &Store, may_miss: bool) -> Verdict {
        self.keys.clear();
        self.reads.clear();
        let mut rooms: Vec<_> = self.logs.keys().cloned().collect();
        rooms.sort_unstable();
        for room in rooms {
            let there: Vec<_> = store.lines(&room).cloned().collect();
            let log = self.logs.get_mut(&room).expect("it was just there");
            let same = log.lines.iter().zip(&there).take_while(|(was, is)| was == is).count();
            hold!(same == log.lines.len().min(there.len()), "line {} of {room} has become another", same + 1);
            hold!(may_miss || same == log.lines.len(), "{room} had {} lines, and has {same}", log.lines.len());
            for lost in log.lines.drain(same..) {
                let written = &mut self.written[number_of(&lost)];
                written.stored.retain(|other| *other != room);
                written.lost = true;
                log.is_cut = true;
            }
            if log.is_cut {
                // What had gone to make place for those may be back.
                log.oldest = 1;
                let end = self.ends.entry((room.clone(), log.epoch.clone())).or_insert(u64::MAX);
                *end = (same as u64).min(*end);
            }
            there[same..].iter().try_for_each(|line| self.appended(line))?;
        }
        Ok(())
    }

    /// Whether somebody who is at a place under an epoch has seen lines that were lost since.
    pub fn has_seen_lost(&self, room: &RoomName, epoch: &Arc<str>, seq: u64) -> bool {
        self.ends.get(&(room.clone(), epoch.clone())).is_some_and(|&end| seq > end)
    }

    pub fn requested(&mut self, request: &Request) {
        match request {
            Request::Load { room, name, .. } => drop(self.keys.insert(*room, name.clone())),
            Request::Fetch { ticket, room, .. } => drop(self.reads.insert(*ticket, *room)),
            Request::Append { .. } | Request::Recall { .. } | Request::Unload { .. } => {}
        }
    }

    /// Takes note of what the store answered.
    pub fn completed(&mut self, completion: &Completion) -> Verdict {
        match completion {
            Completion::Loaded { room, epoch, newest, former, .. } => {
                let name = &self.keys[room];
                let is_new = self.epochs.insert((name.clone(), epoch.clone()));
                let log = self.logs.entry(name.clone()).or_insert_with(|| Log::new(epoch));
                if log.epoch != *epoch {
                    hold!(is_new, "{name} has {epoch} again, which was another life");
                    let goes_on = self.kept_max.is_some() && *newest > 0;
                    let lines = if goes_on { std::mem::take(&mut log.lines) } else { Vec::new() };
                    *log = Log { lines, ..Log::new(epoch) };
                }
                hold!(!log.is_cut, "{name} has lost lines, and is the same");
                hold!(*newest == log.lines.len() as u64, "{name} was loaded with {newest}");
                log.former.clone_from(former);
            }
            Completion::Appended { lines, .. } => lines.iter().try_for_each(|line| self.appended(line))?,
            Completion::Fetched { ticket, oldest, .. } => {
                if let Some(room) = self.reads.remove(ticket) {
                    let log = self.logs.get_mut(&self.keys[&room]).ok_or("a room was read that was not loaded")?;
                    log.oldest = log.oldest.max(*oldest);
                    self.oldest_read = *oldest;
                }
            }
            Completion::Recalled { .. } => {}
            Completion::Refused { ticket, .. } => drop(self.reads.remove(ticket)),
        }
        Ok(())
    }

    fn appended(&mut self, line: &Arc<Line>) -> Verdict {
        let log = self.logs.get_mut(&line.room).ok_or("a line in no room")?;
        log.lines.push(line.clone());
        hold!(line.seq == log.lines.len() as u64, "line {} of {} came out of order", line.seq, line.room);
        let written = &mut self.written[number_of(line)];
        let there = match &written.to {
            Target::Room(room) => line.room == *room,
            Target::User(user) => {
                line.room == RoomName::stream(*user) || line.room == RoomName::stream(line.draft.user)
            }
            Target::Anybody => line.room.is_stream(),
        };
        hold!(there, "{line:?} went to another place than {:?}", written.to);
        if written.stored.contains(&line.room) {
            let before = log.lines.iter().find(|other| other.draft.message == line.draft.message);
            let kept = self.kept_max.unwrap_or(u64::MAX);
            let is_gone = before.is_some_and(|before| before.seq.saturating_add(kept) <= line.seq);
            hold!(is_gone, "{line:?} was stored twice in {}", line.room);
        } else {
            written.stored.push(line.room.clone());
        }
        Ok(())
    }

    /// What became of every line, now that nothing is under way.
    pub fn judge_rest(&self) -> Verdict {
        for (number, written) in self.written.iter().enumerate() {
            let Written { by, to, fate, stored, lost } = written;
            let once = match to {
                Target::Room(_) => stored.len() == 1,
                // Its writer's stream and the other's.
                Target::User(user) => stored.contains(&RoomName::stream(*user)) && stored.len() == 2,
                Target::Anybody => !stored.is_empty() && stored.len() <= 2,
            };
            let good = match fate {
                Fate::Open => false,
                Fate::Acknowledged => once || (*lost && stored.is_empty()),
                Fate::Perhaps => once || stored.is_empty(),
                Fate::Failed => stored.is_empty(),
                Fate::Unasked => true,
            };
            hold!(good, "line {number} of person {by} to {to:?} is {fate:?}, and the store had it in {stored:?}");
        }
        Ok(())
    }
}

impl Log {
    fn new(epoch: &Arc<str>) -> Self {
        Self { epoch: epoch.clone(), lines: Vec::new(), oldest: 1, former: None, is_cut: false }
    }
}

/// A line's number among all that were written.
pub fn number_of(line: &Line) -> usize {
    line.draft.message.parse().expect("a line's text is its number")
}
