//! What the store holds: the log of each room and stream, as the store answered it, and what became of each line that
//! anybody wrote.

use std::collections::HashMap;
use std::sync::Arc;

use chinwag::chat::{Completion, Line, Request, RoomKey, RoomName, Ticket, UserId};

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
}

/// A room or a stream, in its present life.
#[derive(Debug)]
pub struct Log {
    pub epoch: Arc<str>,
    pub lines: Vec<Arc<Line>>,
    /// Nothing below is kept, as far as the store has said.
    pub oldest: u64,
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
        self.written.push(Written { by, to, fate, stored: Vec::new() });
        self.written.len() - 1
    }

    /// The server is gone, and with it what it held.
    pub fn restart(&mut self) {
        self.logs.clear();
        self.keys.clear();
        self.reads.clear();
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
            Completion::Loaded { room, epoch, newest, .. } => {
                let name = &self.keys[room];
                let log = self.logs.entry(name.clone()).or_insert_with(|| Log::new(epoch));
                if log.epoch != *epoch {
                    *log = Log::new(epoch);
                }
                hold!(*newest == log.lines.len() as u64, "{name} was loaded with {newest}");
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
        hold!(!written.stored.contains(&line.room), "{line:?} was stored twice in {}", line.room);
        written.stored.push(line.room.clone());
        Ok(())
    }

    /// What became of every line, now that nothing is under way.
    pub fn judge_rest(&self) -> Verdict {
        for (number, written) in self.written.iter().enumerate() {
            let Written { by, to, fate, stored } = written;
            let once = match to {
                Target::Room(_) => stored.len() == 1,
                // Its writer's stream and the other's.
                Target::User(user) => stored.contains(&RoomName::stream(*user)) && stored.len() == 2,
                Target::Anybody => !stored.is_empty() && stored.len() <= 2,
            };
            let good = match fate {
                Fate::Open => false,
                Fate::Acknowledged => once,
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
        Self { epoch: epoch.clone(), lines: Vec::new(), oldest: 1 }
    }
}

/// A line's number among all that were written.
pub fn number_of(line: &Line) -> usize {
    line.draft.message.parse().expect("a line's text is its number")
}
