//! How often each path was taken: a simulation that never gets anywhere finds nothing.

use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counts: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// Of runs with so many seeds, on two threads.
    pub fn of_seeds(seeds: u64, run: impl Fn(u64) -> Self + Sync) -> Self {
        let (threads, run) = (2, &run);
        let part = |first| {
            move || {
                let mut coverage = Self::default();
                (first..seeds).step_by(threads).for_each(|seed| coverage.merge(&run(seed)));
                coverage
            }
        };
        let mut coverage = Self::default();
        std::thread::scope(|scope| {
            let parts: Vec<_> = (0..threads as u64).map(|first| scope.spawn(part(first))).collect();
            for part in parts {
                match part.join() {
                    Ok(counts) => coverage.merge(&counts),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        coverage
    }

    pub fn note(&mut self, path: &'static str) {
        self.add(path, 1);
    }

    pub fn add(&mut self, path: &'static str, count: u64) {
        *self.counts.entry(path).or_default() += count;
    }

    pub fn count(&self, path: &str) -> u64 {
        self.counts.get(path).copied().unwrap_or(0)
    }

    pub fn merge(&mut self, other: &Self) {
        for (path, count) in &other.counts {
            self.add(path, *count);
        }
    }

    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.counts.iter().map(|(path, count)| format!("{count:>9}  {path}"))
    }
}

/// The paths that every run of all seeds must take.
pub const PATHS: &[&str] = &[
    "a guest's longer name",
    "a guest's name",
    "a history",
    "a history that goes on",
    "a history that is full by its bytes",
    "a join",
    "a join again",
    "a join refused",
    "a leave or rename",
    "a leave or rename waits for a line",
    "a line",
    "a lost end",
    "a restart",
    "recovered under a new epoch",
    "a line waits for ids",
    "a line refused",
    "a move in a large room",
    "a move in a room of more than 200",
    "a name that may be taken",
    "a name that was taken meanwhile",
    "a page",
    "a private message",
    "a private message to nobody",
    "a private message to oneself",
    "a private retry too late",
    "a read refused",
    "a replay refused",
    "a retry",
    "a retry in another life",
    "a retry of a line in flight",
    "a retry of a private message",
    "a retry too late",
    "a room loaded again",
    "a room unloaded",
    "a room's next life",
    "a welcome",
    "a welcome refused",
    "a welcome with a fault",
    "an ack",
    "an empty history",
    "an event for somebody who is gone",
    "bad_request",
    "binary",
    "history_gone",
    "joined",
    "joined at the last lines",
    "many came and went",
    "name_invalid",
    "name_taken",
    "no_such_user",
    "not recovered: ahead",
    "not recovered: epoch",
    "not recovered: trimmed",
    "not_joined",
    "presence",
    "recovered",
    "recovered with lines",
    "renamed",
    "room_invalid",
    "room_limit",
    "too_large",
    "trimming overtook a replay",
    "typing",
    "typing in a large room",
    "typing too often",
    "unknown_type",
    "user_join",
    "user_leave",
];
