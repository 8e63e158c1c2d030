//! The wheel: each connection waits for a deadline, and when it has passed, for the next.

use divan::Bencher;
use divan::counter::ItemsCount;

use chinwag::chat::ConnId;

use crate::wheel::{TICK_MS, Wheel};

/// How far away the deadlines are: the default `--ping-ms`.
const AHEAD_MS: u64 = 30_000;

/// A wheel that turns, with as many entries.
pub(crate) struct Clockwork {
    wheel: Wheel,
    now_ms: u64,
    expired: Vec<(u64, ConnId)>,
}

impl Clockwork {
    /// An entry for each connection, spread over [`AHEAD_MS`], in no order.
    pub(crate) fn new(connections: usize) -> Self {
        let mut wheel = Wheel::new(0);
        let mut random = fastrand::Rng::with_seed(7);
        for index in 0..connections {
            wheel.insert(random.u64(1..=AHEAD_MS), ConnId { index: index as u32, generation: 0 });
        }
        Self { wheel, now_ms: 0, expired: Vec::new() }
    }

    /// Lets time go on until at least so many entries came out and were filed anew; returns how many.
    pub(crate) fn turn(&mut self, entries: usize) -> usize {
        let mut count = 0;
        while count < entries {
            self.now_ms += TICK_MS;
            let all_out = !self.wheel.advance(self.now_ms, &mut self.expired, usize::MAX);
            assert!(all_out, "the budget is not bounded");
            count += self.expired.len();
            for (_, conn) in self.expired.drain(..) {
                self.wheel.insert(self.now_ms + AHEAD_MS, conn);
            }
        }
        count
    }
}

/// Each of 1,000 connections' deadlines passes once.
#[divan::bench]
fn wheel_expire_and_file(bencher: Bencher<'_, '_>) {
    let mut clockwork = Clockwork::new(1_000);
    bencher.counter(ItemsCount::new(1_000_usize)).bench_local(move || clockwork.turn(1_000));
}
