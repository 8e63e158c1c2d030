//! What a seed decides before anything happens: how many, how limited, how late, how bad the network is.

use chinwag::chat::Limits;
use chinwag::store::MemoryLimits;

use crate::store::{DiskLimits, Lateness, Store};

/// The shape of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Events after which the run winds down.
    pub events: usize,
    pub rooms: usize,
    /// People with a `chinwag.v1` client.
    pub clients: usize,
    /// People with a plain one.
    pub plain: usize,
    /// Things that people do in one turn at most.
    pub batch_max: usize,
    /// Out of 1,000 turns: how many come after a pause of seconds.
    pub pauses: u32,
    /// Out of 1,000 deeds: how often somebody's connection breaks.
    pub breaks: u32,
    /// Out of 100,000 turns: how often the server is started again.
    pub restarts: u32,
    /// How many of the clients read slowly, in percent.
    pub slow_percent: u8,
    /// Frames left over past which a reader is closed.
    pub outbox_max: usize,
    pub limits: Limits,
    pub memory: MemoryLimits,
    pub late: Option<Lateness>,
    /// The store outlives the process.
    pub disk: Option<DiskLimits>,
}

impl Plan {
    pub fn new(seed: u64, events: usize) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed ^ 0x0007_0d6e);
        let defaults = Limits::default();
        let limits = Limits {
            rooms_per_user_max: [2, 4, 64][dice.usize(0..3)],
            members_told_max: [defaults.members_told_max, defaults.members_told_max, 3][dice.usize(0..3)],
            page_bytes_max: [20, 60, defaults.page_bytes_max][dice.usize(0..3)],
            grace_ms: [2_000, 10_000, 30_000][dice.usize(0..3)],
            ..defaults
        };
        let memory = MemoryLimits {
            recent_messages_max: [1_000, 60, 12, 4][dice.usize(0..4)],
            recent_bytes_max: [64 << 20, 64 << 20, 5_000][dice.usize(0..3)],
            rooms_max: [100, 100, 12][dice.usize(0..3)],
        };
        let late = dice.bool().then(|| Lateness {
            done_percent: [20, 50, 85][dice.usize(0..3)],
            refused_percent: [0, 0, 3][dice.usize(0..3)],
        });
        let mut plan = Self {
            seed,
            events,
            rooms: dice.usize(1..5),
            clients: dice.usize(2..8),
            plain: dice.usize(0..4),
            batch_max: [2, 6, 20][dice.usize(0..3)],
            pauses: [2, 20, 100][dice.usize(0..3)],
            breaks: [5, 20, 60][dice.usize(0..3)],
            restarts: [0, 30, 200][dice.usize(0..3)],
            slow_percent: [0, 30, 80][dice.usize(0..3)],
            outbox_max: [60, 400][dice.usize(0..2)],
            limits,
            memory,
            late,
            disk: None,
        };
        if dice.bool() {
            plan.disk = Some(DiskLimits {
                kept_max: [1_000_000, 60, 12][dice.usize(0..3)],
                recalled_max: [1_000, 20, 3][dice.usize(0..3)],
            });
            plan.late = Some(Lateness {
                done_percent: [20, 50, 85, 100][dice.usize(0..4)],
                refused_percent: [0, 3][dice.usize(0..2)],
            });
            plan.restarts = [30, 200, 1_000][dice.usize(0..3)];
        }
        plan
    }

    /// The store, empty.
    pub fn store(&self, seed: u64) -> Store {
        Store::new(self.memory, self.late, self.disk, seed)
    }
}
