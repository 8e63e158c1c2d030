//! The clock: the one place where the program asks what time it is. The loop reads it once a turn and passes it on;
//! the store's threads are given a copy.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use super::stopwatch::Reading;
use crate::chat::ids::{Millis, Now};

/// What [`Now::mono_ms`] is at the start: an hour, so that 0 stands for "never" and reads as long ago, and so that a
/// few minutes may be taken off any time without going below 0.
const MONO_START_MS: Millis = 3_600_000;

/// A turn that begins more than a second later than it should is no slow turn: the process was stopped. In milliseconds.
const LATE_MS_MAX: Millis = 1_000;

/// Counts from the moment it was started. Copies count from the same moment.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    /// What went by and does not count, in milliseconds: see [`wake`](Self::wake).
    stopped_ms: Millis,
}

impl Clock {
    /// Starts the monotonic clock at one hour.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), stopped_ms: 0 }
    }

    /// The time now, on both clocks. A wall clock before 1970 reads as 1970.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            // 64 bits of milliseconds are 584 million years.
            mono_ms: MONO_START_MS + self.started.elapsed().as_millis() as Millis - self.stopped_ms,
            wall_ms: wall.as_millis() as Millis,
        }
    }

    /// The time now, for one who read the clock at `last` and was to wait for `timeout` since.
    ///
    /// If far more went by, the process was stopped (SIGSTOP, a machine that was paused) or did not get to run. Nobody was heard
    /// meanwhile, whatever they said, so nobody was silent, late or away for that long: on this copy's monotonic clock a second
    /// went by. (Not none: where every turn is that slow, deadlines come late, but they come.)
    pub(super) fn wake(&mut self, last: Now, timeout: Option<Duration>) -> Now {
        let now = self.now();
        let Some(timeout) = timeout else { return now };
        let went_by_ms = now.mono_ms - last.mono_ms;
        if went_by_ms <= timeout.as_millis() as Millis + LATE_MS_MAX {
            return now;
        }
        self.stopped_ms += went_by_ms - LATE_MS_MAX;
        Now { mono_ms: last.mono_ms + LATE_MS_MAX, ..now }
    }

    /// How long it has run, for bounding how long something takes.
    pub(super) fn elapsed(self) -> Duration {
        self.started.elapsed()
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

    #[test]
    fn what_goes_by_while_the_process_is_stopped_does_not_count() {
        let mut clock = Clock::start();
        let go_by = |clock: &mut Clock, ms, timeout_ms: Option<Millis>| {
            let last = clock.now();
            clock.started -= Duration::from_millis(ms);
            let now = clock.wake(last, timeout_ms.map(Duration::from_millis));
            assert!(clock.now().mono_ms >= now.mono_ms);
            // The test itself takes a while, too.
            (now.mono_ms - last.mono_ms) / 500 * 500
        };
        assert_eq!(go_by(&mut clock, 5_000, Some(5_000)), 5_000);
        assert_eq!(go_by(&mut clock, 5_500, Some(5_000)), 5_500, "a slow turn");
        assert_eq!(go_by(&mut clock, 70_000, Some(5_000)), 1_000, "stopped");
        assert_eq!(go_by(&mut clock, 70_000, Some(0)), 1_000, "stopped with work to do");
        assert_eq!(go_by(&mut clock, 70_000, None), 70_000, "nothing was due");
        assert_eq!(go_by(&mut clock, 5_000, Some(5_000)), 5_000);
    }
}
