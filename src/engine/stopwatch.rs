//! How long turns are busy with the store. It is noted only where `--log debug` asks for it, since the clock is read for it, and
//! told when the run ends. The caller is `decide`; the load harness reads what it tells.

use std::fmt;
use std::time::Duration;

/// Each doubling of a time has so many buckets, so a figure is at most a sixteenth too large.
const BUCKETS_PER_DOUBLING: u64 = 16;

/// How many doublings there are, below the last of 64 bits.
const DOUBLINGS: usize = 60;

/// The times of all turns that had to do with the store.
pub(super) struct Stopwatch {
    elapsed: Times,
    running: Times,
    /// Of the turn that is going on; `None` as long as it has nothing to do with the store.
    turn: Option<Reading>,
}

/// Two clocks, or the time that went by on them. They differ when the system lets others run meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// The time that everybody sees.
    pub(super) elapsed: Duration,
    /// The time in which the loop's thread ran.
    pub(super) running: Duration,
}

/// How long something took, each time.
struct Times {
    /// How often it took so long, by [`bucket`].
    counts: Vec<u64>,
    longest_ns: u64,
}

impl Stopwatch {
    /// Nothing is noted so far.
    pub(super) fn new() -> Self {
        Self { elapsed: Times::new(), running: Times::new(), turn: None }
    }

    /// More of the turn went to the store: from one reading to the other.
    pub(super) fn add(&mut self, from: Reading, to: Reading) {
        let turn = self.turn.get_or_insert_default();
        turn.elapsed += to.elapsed.saturating_sub(from.elapsed);
        turn.running += to.running.saturating_sub(from.running);
    }

    /// The turn is over.
    pub(super) fn end_turn(&mut self) {
        if let Some(Reading { elapsed, running }) = self.turn.take() {
            self.elapsed.note(elapsed);
            self.running.note(running);
        }
    }
}

impl fmt::Display for Stopwatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { elapsed, running, .. } = self;
        write!(
            f,
            "{} turns had to do with the store, for {elapsed}; in that time they ran for {running}",
            elapsed.count()
        )
    }
}

impl Times {
    fn new() -> Self {
        Self { counts: vec![0; (DOUBLINGS + 1) * BUCKETS_PER_DOUBLING as usize], longest_ns: 0 }
    }

    fn note(&mut self, time: Duration) {
        // 64 bits of nanoseconds are 584 years.
        let ns = time.as_nanos() as u64;
        self.counts[bucket(ns)] += 1;
        self.longest_ns = self.longest_ns.max(ns);
    }

    fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// So many of 1,000 took no longer, in nanoseconds.
    fn quantile(&self, of_thousand: u64) -> u64 {
        let due = (self.count() * of_thousand).div_ceil(1_000);
        let mut seen = 0;
        let reached = |count: &u64| {
            seen += count;
            seen >= due
        };
        self.counts.iter().position(reached).map_or(0, largest_of).min(self.longest_ns)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |ns: u64| ns as f64 / 1e3;
        let [half, most, nearly_all] = [500, 990, 999].map(|share| us(self.quantile(share)));
        let longest = us(self.longest_ns);
        write!(f, "p50 {half:.1} µs, p99 {most:.1} µs, p99.9 {nearly_all:.1} µs, at most {longest:.1} µs")
    }
}

/// The bucket of a time.
fn bucket(ns: u64) -> usize {
    if ns < BUCKETS_PER_DOUBLING {
        return ns as usize;
    }
    let doubling = (ns / BUCKETS_PER_DOUBLING).ilog2();
    let step = (ns >> doubling) - BUCKETS_PER_DOUBLING;
    ((u64::from(doubling) + 1) * BUCKETS_PER_DOUBLING + step) as usize
}

/// The longest time that goes into a bucket.
fn largest_of(bucket: usize) -> u64 {
    let (doubling, step) = (bucket as u64 / BUCKETS_PER_DOUBLING, bucket as u64 % BUCKETS_PER_DOUBLING);
    match doubling.checked_sub(1) {
        None => step,
        // The very last bucket ends where 64 bits do.
        Some(doubling) => (u128::from(BUCKETS_PER_DOUBLING + step + 1) << doubling).saturating_sub(1) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_bucket_and_none_is_shown_more_than_a_sixteenth_too_large() {
        for shift in 0..64 {
            for ns in [1_u64 << shift, (1 << shift) + (1 << shift) / 3, (1 << shift) - 1] {
                let shown = largest_of(bucket(ns));
                assert!((ns..=ns + ns / 16).contains(&shown) || shown == u64::MAX, "{ns} is shown as {shown}");
                assert!(bucket(ns) < Times::new().counts.len(), "{ns}");
            }
        }
    }

    #[test]
    fn turns_without_the_store_do_not_count_and_the_slowest_are_not_lost() {
        let mut stopwatch = Stopwatch::new();
        let zero = Reading::default();
        let reading = |elapsed, running| Reading {
            elapsed: Duration::from_micros(elapsed),
            running: Duration::from_micros(running),
        };
        for turn in 0..2_000 {
            if turn % 2 == 0 {
                stopwatch.add(zero, reading(if turn < 10 { 400 } else { 2 }, 1));
                stopwatch.add(reading(100, 50), reading(108, 54));
            }
            stopwatch.end_turn();
        }
        let Stopwatch { elapsed, running, .. } = &stopwatch;
        assert_eq!(elapsed.count(), 1_000);
        assert!((10_000..10_700).contains(&elapsed.quantile(990)), "{elapsed}");
        assert_eq!((elapsed.quantile(999), elapsed.longest_ns), (408_000, 408_000), "{elapsed}");
        assert_eq!((running.quantile(500), running.longest_ns), (5_000, 5_000), "{running}");
    }
}
