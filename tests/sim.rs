//! The core and a store, in memory or one that outlives the process, under a seeded random driver, judged by an independent
//! model of `docs/PROTOCOL.md`.
//!
//! A failure prints its seed and the command that replays it. `CHINWAG_SIM_SEED=n` runs that seed alone and prints every
//! event; `CHINWAG_SIM_SEEDS=n` runs so many.

#![allow(unreachable_pub, reason = "all of it is one test binary, which nobody else reaches")]

#[path = "sim/coverage.rs"]
mod coverage;
#[path = "sim/faults.rs"]
mod faults;
#[path = "sim/heard.rs"]
mod heard;
#[path = "sim/model.rs"]
mod model;
#[path = "sim/plan.rs"]
mod plan;
#[path = "sim/reading.rs"]
mod reading;
#[path = "sim/settle.rs"]
mod settle;
#[path = "sim/store.rs"]
mod store;
#[path = "sim/stored.rs"]
mod stored;
#[path = "sim/told.rs"]
mod told;
#[path = "sim/turn.rs"]
mod turn;
#[path = "sim/verdict.rs"]
mod verdict;
#[path = "sim/views.rs"]
mod views;
#[path = "sim/wishes.rs"]
mod wishes;
#[path = "sim/world.rs"]
mod world;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use coverage::{Coverage, PATHS};
use faults::Fault;
use plan::Plan;
use world::Outcome;

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 320;

/// Runs one seed; fails with how to replay it.
fn run(seed: u64, trace: bool) -> Outcome {
    let replay = format!("replay: CHINWAG_SIM_SEED={seed} cargo test --test sim seeds -- --nocapture");
    let outcome = catch_unwind(AssertUnwindSafe(|| world::run(Plan::new(seed), None, trace)));
    let Ok(outcome) = outcome else { panic!("seed {seed}: the core, the store or the simulation panicked\n{replay}") };
    if let Err(what) = &outcome.verdict {
        panic!("seed {seed}, by event {}: {what}\n{replay}", outcome.events);
    }
    outcome
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect("a number"))
}

/// > A line is told to nobody before it is stored.
#[test]
fn seeds() {
    if let Some(seed) = number("CHINWAG_SIM_SEED") {
        run(seed, true);
        return;
    }
    let seeds = number("CHINWAG_SIM_SEEDS").unwrap_or(SEEDS);
    let coverage = Coverage::of_seeds(seeds, |seed| run(seed, false).coverage);
    coverage.lines().for_each(|line| println!("{line}"));
    if seeds >= SEEDS {
        let rare: Vec<_> = PATHS.iter().filter(|path| coverage.count(path) < 10).collect();
        assert!(rare.is_empty(), "hardly ever taken: {rare:?}");
    }
}

/// A seed gives the same events, or nothing could be replayed.
#[test]
fn a_seed_is_a_seed() {
    for seed in 0..10 {
        let counts = || world::run(Plan::new(seed), None, false).coverage.lines().collect::<Vec<_>>();
        assert_eq!(counts(), counts(), "seed {seed}");
    }
}

thread_local! {
    /// Whether a panic of this thread is what a test wants, and not to be printed.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Whether the fault could be done with this seed, and whether it was found (by the model or by the core itself).
fn sabotage(seed: u64, fault: Fault) -> Option<bool> {
    QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| world::run(Plan::new(seed), Some(fault), false)));
    QUIET.set(false);
    match outcome {
        Ok(outcome) => {
            let found = outcome.verdict.is_err();
            assert!(outcome.sabotaged || !found, "seed {seed} failed before any fault: {:?}", outcome.verdict);
            outcome.sabotaged.then_some(found)
        }
        Err(_) => Some(true),
    }
}

/// The judge is judged: each fault is done once in a run. Most show at once, so they must be found each time. A few may
/// pass unseen, because whoever would have seen it went away, or because it was none under the engine's liberties; those
/// must be found in one of eight runs at least.
#[test]
fn faults_are_found() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !QUIET.get() {
            loud(info);
        }
    }));
    for &fault in Fault::ALL {
        let count = if fault.may_pass_unseen() { 16 } else { 6 };
        let runs: Vec<_> =
            (0..200).filter_map(|seed| sabotage(seed, fault).map(|found| (seed, found))).take(count).collect();
        let found = runs.iter().filter(|(_, found)| *found).count();
        let least = if fault.may_pass_unseen() { runs.len().div_ceil(8) } else { runs.len() };
        assert!(runs.len() == count && found >= least, "{fault:?}: found {found} times of {runs:?}");
    }
}
