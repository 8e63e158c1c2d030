//! The clock: the one place where the program asks what time it is. The loop reads it once a turn and passes it on;
//! the store's threads are given a copy.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use super::stopwatch::Reading;
use crate::chat::ids::{Millis, Now};

/// What [`Now::mono_ms`] is at the start: an hour, so that 0 stands for "never" and reads as long ago, and so that a
/// few minutes may be taken off any time without going below 0.
const MONO_START_MS: Millis = 3_600_000;

/// Counts from the moment it was started. Copies count from the same moment.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    /// Starts the monotonic clock at one hour.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// The time now, on both clocks. A wall clock before 1970 reads as 1970.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            // 64 bits of milliseconds are 584 million years.
            mono_ms: MONO_START_MS + self.started.elapsed().as_millis() as Millis,
            wall_ms: wall.as_millis() as Millis,
        }
    }

    /// For measuring how long something takes, to the nanosecond. It asks the system, which costs some tenths of a microsecond.
    pub(super) fn read(&self) -> Reading {
        // Where a thread's time is not counted, none goes by.
        let running = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from);
        Reading { elapsed: self.started.elapsed(), running }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_begins_after_zero_and_never_goes_back() {
        let clock = Clock::start();
        let mut last = clock.now();
        assert!(last.mono_ms >= MONO_START_MS);
        // 2020-01-01: the wall clock counts from 1970, in milliseconds.
        assert!(last.wall_ms > 1_577_836_800_000, "{last:?}");
        for _ in 0..10_000 {
            let now = clock.now();
            assert!(now.mono_ms >= last.mono_ms);
            last = now;
        }
    }
}
