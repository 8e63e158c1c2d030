//! What a seed decides before anything happens: how large, how limited, how late.

use chinwag::chat::Limits;
use chinwag::store::MemoryLimits;

use crate::store::{DiskLimits, Lateness, Store};

/// The shape of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Events after which the run winds down.
    pub events: usize,
    /// Different rooms that clients go to.
    pub rooms: usize,
    /// Connections at once, about.
    pub clients: usize,
    /// Events in one turn at most.
    pub batch_max: usize,
    /// Out of 1,000 turns: how many come after a pause of seconds.
    pub pauses: u32,
    /// How often clients come and go, in percent of the events.
    pub moves_percent: u8,
    /// Whether guests' random bits are nearly the same.
    pub guests_collide: bool,
    /// Whether some lines are tens of kilobytes long.
    pub long_lines: bool,
    pub limits: Limits,
    pub memory: MemoryLimits,
    pub late: Option<Lateness>,
    /// The store outlives the process.
    pub disk: Option<DiskLimits>,
    /// Out of 10,000 turns: how often the server is started again, with such a store.
    pub restarts: u32,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed ^ 0x97a7);
        let crowd = seed % 10 == 9;
        let defaults = Limits::default();
        let mut one_in = |count: u32| dice.u32(0..count) == 0;
        let small_window = one_in(4);
        let limits = Limits {
            rooms_per_user_max: if one_in(2) { 2 } else { 5 },
            members_told_max: if crowd || one_in(2) { defaults.members_told_max } else { 3 },
            page_bytes_max: if one_in(2) { 60 } else { defaults.page_bytes_max },
            dedup_room_max: if small_window { 6 } else { defaults.dedup_room_max },
            dedup_max: if small_window && one_in(2) { 20 } else { defaults.dedup_max },
            ..defaults
        };
        let memory = MemoryLimits {
            recent_messages_max: [1_000, 12, 4, 60][dice.usize(0..4)],
            recent_bytes_max: [64 << 20, 64 << 20, 4_000, 700][dice.usize(0..4)],
            rooms_max: [100, 100, 2][dice.usize(0..3)],
        };
        let late = (dice.u8(0..5) < 2).then(|| Lateness {
            done_percent: [15, 50, 85][dice.usize(0..3)],
            refused_percent: [0, 0, 5][dice.usize(0..3)],
        });
        let mut plan = Self {
            seed,
            events: 2_000,
            rooms: if crowd { dice.usize(1..3) } else { dice.usize(1..6) },
            clients: if crowd { dice.usize(202..260) } else { dice.usize(2..14) },
            batch_max: [1, 4, 12, 40][dice.usize(0..4)],
            pauses: [5, 50, 200][dice.usize(0..3)],
            moves_percent: if crowd { 40 } else { [3, 8, 20][dice.usize(0..3)] },
            guests_collide: dice.u8(0..3) == 0,
            long_lines: dice.u8(0..8) == 0,
            limits,
            memory,
            late,
            disk: None,
            restarts: 0,
        };
        if dice.u8(0..4) == 0 {
            plan.disk = Some(DiskLimits {
                kept_max: [1_000_000, 60, 12][dice.usize(0..3)],
                recalled_max: [1_000, 7, 2][dice.usize(0..3)],
            });
            plan.late = Some(Lateness {
                done_percent: [15, 50, 85, 100][dice.usize(0..4)],
                refused_percent: [0, 5][dice.usize(0..2)],
            });
            plan.restarts = [0, 20, 100][dice.usize(0..3)];
        }
        plan
    }

    /// The store, empty.
    pub fn store(&self) -> Store {
        Store::new(self.memory, self.late, self.disk, self.seed)
    }
}
