//! The timer wheel: when which connection wants to be looked at. Pure: it has no clock, and time only goes on when
//! the loop says so.
//!
//! A hashed wheel: an entry lies in the slot of its tick, and a turn of the wheel takes [`SLOTS`] ticks. Entries of
//! later turns share the slot and are passed over once a turn. All entries live in one vector and a slot is a list
//! through it, so that a waiting connection costs 24 bytes and the steady state allocates nothing.
//!
//! An entry fires within one tick (16 ms) after it is due, never before. Nothing is ever taken out: who no longer
//! wants an entry forgets the tick that [`Wheel::insert`] gave, and finds, when the entry comes out, that it is not
//! the one it waits for.

use crate::chat::ids::{ConnId, Millis};

/// How long a tick takes: well below what people notice, and long enough that a busy second of 10,000 deadlines
/// wakes the loop 63 times at most.
pub(crate) const TICK_MS: Millis = 16;

/// Slots of the wheel, a power of two. A turn takes 65.5 s, which is longer than the longest of the default
/// deadlines, so that an entry is usually looked at just once.
const SLOTS: u64 = 4096;

/// Words of the bitmap of slots that hold something.
const WORDS: usize = SLOTS as usize / 64;

/// The end of a list.
const NONE: u32 = u32::MAX;

/// Vectors up to this many entries are kept however empty they are (6 KiB).
const KEPT_ENTRIES: usize = 256;

/// An entry, or a place that is free.
struct Node {
    due_tick: u64,
    conn: ConnId,
    /// The next of the same slot, or the next free place.
    next: u32,
}

/// A walk over the slots, from the tick after `done` up to `until`. It may be interrupted by its budget.
struct Pass {
    /// Entries up to this tick come out. Fixed for the whole pass: were it to move, entries that were passed over
    /// would be forgotten for a turn.
    until: u64,
    /// The tick whose slot is next.
    next_tick: u64,
    /// The rest of the slot that is being walked, cut off from its slot.
    rest: u32,
}

/// The wheel. See the module's text.
pub(crate) struct Wheel {
    /// Each slot's list.
    heads: Vec<u32>,
    /// One bit a slot: its list is not empty.
    occupied: [u64; WORDS],
    nodes: Vec<Node>,
    free: u32,
    length: usize,
    /// The newest tick that has come.
    now_tick: u64,
    /// All entries up to this tick have been handed out.
    done: u64,
    pass: Option<Pass>,
}

impl Wheel {
    /// An empty wheel that stands at `now_ms`.
    pub(crate) fn new(now_ms: Millis) -> Self {
        let tick = now_ms / TICK_MS;
        Self {
            heads: vec![NONE; SLOTS as usize],
            occupied: [0; WORDS],
            nodes: Vec::new(),
            free: NONE,
            length: 0,
            now_tick: tick,
            done: tick,
            pass: None,
        }
    }

    /// The tick that something due at `due_ms` would be filed under.
    pub(crate) fn tick_of(&self, due_ms: Millis) -> u64 {
        due_ms.div_ceil(TICK_MS).max(self.now_tick + 1)
    }

    /// Files `conn` under the first tick that is not before `due_ms` and later than the current one, and returns
    /// that tick: what [`advance`](Self::advance) will hand out with it.
    ///
    /// # Panics
    /// At 2^32 − 1 entries (100 GB).
    pub(crate) fn insert(&mut self, due_ms: Millis, conn: ConnId) -> u64 {
        let due_tick = self.tick_of(due_ms);
        let place = if self.free == NONE {
            let place = u32::try_from(self.nodes.len()).ok().filter(|&place| place != NONE);
            self.nodes.push(Node { due_tick, conn, next: NONE });
            place.expect("the entries of the wheel are fewer than 2^32")
        } else {
            let place = self.free;
            let node = &mut self.nodes[place as usize];
            self.free = node.next;
            (node.due_tick, node.conn) = (due_tick, conn);
            place
        };
        self.length += 1;
        self.link(place);
        due_tick
    }

    /// Lets time go on to `now_ms` and puts entries whose tick has come into `expired`, as they were filed, with
    /// the connection; in the order of their slots, which is the order of their ticks unless time jumped by a turn.
    ///
    /// At most `budget` entries are looked at, so at most that many come out. Returns true when it stopped for that
    /// reason: the next call goes on where this one stopped. Time that goes back is taken for standing still. However
    /// far time jumped, each slot is visited once.
    pub(crate) fn advance(&mut self, now_ms: Millis, expired: &mut Vec<(u64, ConnId)>, mut budget: usize) -> bool {
        self.now_tick = self.now_tick.max(now_ms / TICK_MS);
        while self.pass.is_some() || self.done < self.now_tick {
            let (until, done) = (self.now_tick, self.done);
            let mut pass = self.pass.take().unwrap_or(Pass { until, next_tick: done + 1, rest: NONE });
            if !self.walk(&mut pass, expired, &mut budget) {
                self.pass = Some(pass);
                return true;
            }
            self.done = pass.until;
            self.give_back();
        }
        false
    }

    /// When the loop must call [`advance`](Self::advance) next; `None` when nothing waits. Never late. Early when
    /// the nearest slot holds only entries of later turns, which happens at most once a turn and slot. A time that
    /// has passed means: at once.
    pub(crate) fn next_ms(&self) -> Option<Millis> {
        let tick = match &self.pass {
            Some(pass) => pass.until,
            None => self.done + 1 + self.distance(self.done + 1)?,
        };
        Some(tick.saturating_mul(TICK_MS))
    }

    /// How many entries wait, those included that nobody wants any more.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Goes on with a pass. Returns whether it is complete; it is not when the budget is used up.
    fn walk(&mut self, pass: &mut Pass, expired: &mut Vec<(u64, ConnId)>, budget: &mut usize) -> bool {
        let last_tick = pass.until.min(self.done + SLOTS);
        loop {
            while pass.rest != NONE {
                if *budget == 0 {
                    return false;
                }
                *budget -= 1;
                let place = pass.rest;
                let node = &mut self.nodes[place as usize];
                pass.rest = node.next;
                if node.due_tick <= pass.until {
                    expired.push((node.due_tick, node.conn));
                    node.next = self.free;
                    self.free = place;
                    self.length -= 1;
                } else {
                    self.link(place);
                }
            }
            match self.distance(pass.next_tick) {
                Some(distance) if pass.next_tick + distance <= last_tick => {
                    let slot = slot_of(pass.next_tick + distance);
                    pass.rest = std::mem::replace(&mut self.heads[slot], NONE);
                    self.occupied[slot / 64] &= !(1 << (slot % 64));
                    pass.next_tick += distance + 1;
                }
                _ => return true,
            }
        }
    }

    /// Puts an entry in front of its slot's list.
    fn link(&mut self, place: u32) {
        let node = &mut self.nodes[place as usize];
        let slot = slot_of(node.due_tick);
        node.next = std::mem::replace(&mut self.heads[slot], place);
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    /// How many ticks from `tick` on until one whose slot holds something: less than [`SLOTS`].
    fn distance(&self, tick: u64) -> Option<u64> {
        let start = slot_of(tick);
        let (word, bit) = (start / 64, start % 64);
        let bits = self.occupied[word] >> bit;
        if bits != 0 {
            return Some(u64::from(bits.trailing_zeros()));
        }
        // The last step comes back to the first word, for the bits below the one where we began.
        let step = (1..=WORDS).find(|step| self.occupied[(word + step) % WORDS] != 0)?;
        let bits = self.occupied[(word + step) % WORDS];
        Some((step * 64 - bit) as u64 + u64::from(bits.trailing_zeros()))
    }

    /// After a burst: moves the entries into a vector of half the size or less, once three quarters of it are free.
    /// That many have come out since it grew, so this costs each of them a few nanoseconds. Only between passes.
    fn give_back(&mut self) {
        if self.nodes.capacity() <= KEPT_ENTRIES || self.length > self.nodes.capacity() / 4 {
            return;
        }
        let mut nodes = Vec::with_capacity((self.length * 2).max(KEPT_ENTRIES / 4));
        for head in &mut self.heads {
            let mut place = std::mem::replace(head, NONE);
            while place != NONE {
                let Node { due_tick, conn, next } = self.nodes[place as usize];
                // Fewer than before, so they fit in 32 bits as before.
                let moved = nodes.len() as u32;
                nodes.push(Node { due_tick, conn, next: std::mem::replace(head, moved) });
                place = next;
            }
        }
        debug_assert_eq!(nodes.len(), self.length);
        self.nodes = nodes;
        self.free = NONE;
    }
}

/// The slot of a tick.
fn slot_of(tick: u64) -> usize {
    (tick % SLOTS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(index: u32) -> ConnId {
        ConnId { index, generation: index ^ 0x5555 }
    }

    fn advance(wheel: &mut Wheel, now_ms: Millis) -> Vec<(u64, ConnId)> {
        let mut expired = Vec::new();
        assert!(!wheel.advance(now_ms, &mut expired, usize::MAX));
        expired
    }

    #[test]
    fn a_deadline_is_rounded_up_to_a_tick_and_never_fires_before_it_is_due() {
        for (due_ms, tick) in [(1_600, 101), (1_601, 101), (1_616, 101), (1_617, 102), (0, 101), (1_648, 103)] {
            let mut wheel = Wheel::new(1_600);
            assert_eq!(wheel.insert(due_ms, conn(1)), tick, "{due_ms}");
            assert_eq!(wheel.next_ms(), Some(tick * TICK_MS));
            assert_eq!(advance(&mut wheel, tick * TICK_MS - 1), []);
            assert_eq!(advance(&mut wheel, tick * TICK_MS), [(tick, conn(1))]);
            assert_eq!((wheel.len(), wheel.next_ms()), (0, None));
        }
    }

    #[test]
    fn a_deadline_that_has_passed_fires_at_the_next_tick() {
        let mut wheel = Wheel::new(0);
        assert_eq!(advance(&mut wheel, 1_000_000), []);
        assert_eq!(wheel.insert(5, conn(1)), 62_501);
        assert_eq!(advance(&mut wheel, 999), [], "time does not go back");
        assert_eq!(wheel.insert(5, conn(2)), 62_501);
        assert_eq!(advance(&mut wheel, 62_501 * TICK_MS).len(), 2);
    }

    #[test]
    fn an_entry_of_a_later_turn_waits_for_it_and_wakes_once_a_turn() {
        let turn_ms = SLOTS * TICK_MS;
        let mut wheel = Wheel::new(0);
        let tick = wheel.insert(3 * turn_ms + 160, conn(1));
        let mut wakes = Vec::new();
        let fired_ms = loop {
            let wake_ms = wheel.next_ms().unwrap();
            wakes.push(wake_ms);
            if advance(&mut wheel, wake_ms) == [(tick, conn(1))] {
                break wake_ms;
            }
        };
        assert_eq!(wakes, [160, turn_ms + 160, 2 * turn_ms + 160, 3 * turn_ms + 160]);
        assert_eq!(fired_ms, tick * TICK_MS);
    }

    #[test]
    fn a_huge_jump_hands_out_everything_that_is_due_in_one_pass() {
        let mut wheel = Wheel::new(12_345);
        for index in 0..1_000 {
            wheel.insert(u64::from(index) * 977, conn(index));
        }
        let year_ms = 365 * 86_400_000;
        let late = wheel.insert(2 * year_ms, conn(7_777));
        assert_eq!(advance(&mut wheel, year_ms).len(), 1_000);
        assert_eq!(advance(&mut wheel, 3 * year_ms), [(late, conn(7_777))]);
        let far = wheel.insert(Millis::MAX, conn(1));
        assert_eq!(far, Millis::MAX.div_ceil(TICK_MS));
        assert_eq!(advance(&mut wheel, Millis::MAX), [], "the last tick begins after the last millisecond");
        assert!(wheel.next_ms().is_some());
    }

    #[test]
    fn a_budget_interrupts_and_the_next_call_goes_on() {
        let mut wheel = Wheel::new(0);
        // 100 in one slot, 50 of them two turns later, and 100 spread.
        for index in 0..100 {
            wheel.insert(160 + u64::from(index % 2) * 2 * SLOTS * TICK_MS, conn(index));
            wheel.insert(16 * u64::from(index), conn(1_000 + index));
        }
        let (mut expired, mut calls) = (Vec::new(), 0);
        loop {
            let before = expired.len();
            let more = wheel.advance(16 * 100, &mut expired, 7);
            assert!(expired.len() - before <= 7);
            calls += 1;
            // What comes meanwhile neither gets lost nor comes out before the next tick.
            wheel.insert(0, conn(5_000 + calls));
            if !more {
                break;
            }
            assert!(wheel.next_ms().unwrap() <= 16 * 100, "the loop must not sleep");
        }
        assert_eq!(expired.len(), 150);
        assert!(expired.is_sorted_by_key(|&(tick, _)| tick));
        assert_eq!(advance(&mut wheel, 16 * 101).len() as u32, calls);
        assert_eq!(wheel.len(), 50);
    }

    #[test]
    fn time_that_goes_on_during_an_interrupted_pass_loses_nothing() {
        let mut wheel = Wheel::new(0);
        let turn_ms = SLOTS * TICK_MS;
        for index in 0..10 {
            wheel.insert(160 + u64::from(index) * turn_ms, conn(index));
        }
        let mut expired = Vec::new();
        assert!(wheel.advance(160, &mut expired, 5));
        assert!(wheel.advance(160 + 5 * turn_ms, &mut expired, 5));
        while wheel.advance(160 + 9 * turn_ms, &mut expired, 1) {}
        assert_eq!((expired.len(), wheel.len()), (10, 0));
    }

    #[test]
    fn memory_comes_back_after_a_burst_and_the_rest_still_fires() {
        let mut wheel = Wheel::new(0);
        for index in 0..100_000 {
            wheel.insert(1_000 + u64::from(index % 60_000), conn(index));
        }
        let last = wheel.insert(70_000, conn(123_456));
        assert!(wheel.nodes.capacity() >= 100_000);
        assert_eq!(advance(&mut wheel, 61_008).len(), 100_000);
        assert!(wheel.nodes.capacity() <= KEPT_ENTRIES, "{}", wheel.nodes.capacity());
        assert_eq!(advance(&mut wheel, 70_000), [(last, conn(123_456))]);
    }

    #[test]
    fn a_steady_state_allocates_nothing() {
        let mut wheel = Wheel::new(0);
        for index in 0..10_000 {
            wheel.insert(u64::from(index) * 3, conn(index));
        }
        let (capacity, mut expired) = (wheel.nodes.capacity(), Vec::new());
        for now_ms in (0..300_000).step_by(16) {
            expired.clear();
            wheel.advance(now_ms, &mut expired, usize::MAX);
            for &(_, conn) in &expired {
                wheel.insert(now_ms + 30_000, conn);
            }
        }
        assert_eq!((wheel.len(), wheel.nodes.capacity()), (10_000, capacity));
    }

    #[test]
    fn a_million_entries_come_out_again() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut wheel = Wheel::new(0);
        for index in 0..1_000_000 {
            wheel.insert(random.u64(0..120_000), conn(index));
        }
        let mut expired = Vec::new();
        for now_ms in (0..=120_016).step_by(16) {
            wheel.advance(now_ms, &mut expired, usize::MAX);
        }
        assert_eq!((expired.len(), wheel.len()), (1_000_000, 0));
    }

    /// Against a plain list: the same entries come out at the same calls, and the wheel never oversleeps.
    #[test]
    fn it_does_as_a_plain_list_would() {
        let seeds = match std::env::var("CHINWAG_WHEEL_SEED") {
            Ok(seed) => vec![seed.parse().expect("CHINWAG_WHEEL_SEED is a number")],
            Err(_) => (0..200).collect::<Vec<u64>>(),
        };
        for seed in seeds {
            println!("CHINWAG_WHEEL_SEED={seed} replays this");
            compare_with_a_list(seed);
        }
    }

    fn compare_with_a_list(seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut now_ms = random.u64(0..1_000_000);
        let mut wheel = Wheel::new(now_ms);
        let mut list: Vec<(u64, ConnId)> = Vec::new();
        let far_ms = [100, 70_000, 1_000_000][random.usize(0..3)];
        for step in 0..600 {
            for _ in 0..random.usize(0..20) {
                let due_ms = (now_ms + random.u64(0..far_ms)).saturating_sub(50);
                let conn = conn(random.u32(..));
                let tick = wheel.insert(due_ms, conn);
                assert!(tick * TICK_MS >= due_ms && tick > now_ms / TICK_MS);
                assert!(tick * TICK_MS < due_ms.max(now_ms) + TICK_MS + 1, "step {step}");
                list.push((tick, conn));
            }
            let nearest_ms = list.iter().map(|&(tick, _)| tick * TICK_MS).min();
            assert!(wheel.next_ms() <= nearest_ms || nearest_ms.is_none(), "step {step}: it would oversleep");
            assert_eq!(wheel.next_ms().is_some(), nearest_ms.is_some());
            now_ms = match random.u8(0..10) {
                0 => now_ms + random.u64(0..10 * SLOTS * TICK_MS),
                1..4 => wheel.next_ms().unwrap_or(now_ms).max(now_ms),
                _ => now_ms + random.u64(0..200),
            };
            let (budget, mut expired) = (random.usize(1..64), Vec::new());
            while wheel.advance(now_ms, &mut expired, budget) {
                now_ms += random.u64(0..20);
                if random.u8(0..8) == 0 {
                    let conn = conn(random.u32(..));
                    // The wheel has not seen this time yet: it may file an entry under a tick that has come.
                    list.push((wheel.insert(now_ms + random.u64(0..far_ms), conn), conn));
                }
            }
            let mut wanted: Vec<_> = list.extract_if(.., |entry| entry.0 <= now_ms / TICK_MS).collect();
            wanted.sort_unstable();
            expired.sort_unstable();
            assert_eq!(expired, wanted, "seed {seed}, step {step}");
            assert_eq!(wheel.len(), list.len());
        }
    }
}
