//! The conversation of the terminal client under a random driver: the real core and store behind a network that breaks at
//! every step, and what a person would see held against what was stored.
//!
//! The store may outlive the process, and lose its end. Held is: of each room, from its join to its leave, every line once and in order, none missing but after a word about it;
//! own lines told as own; of each own line either exactly one is stored, or the person was told that it was not, or
//! perhaps not; and when the network is calm all is acknowledged, and goodbye succeeds.
//!
//! A failure prints its seed: `CHINWAG_SIM_SEED=n` replays it with a trace. `CHINWAG_CONVERSATION_SEEDS` says how many are run.

#![allow(unreachable_pub, reason = "all of it is one test binary, which nobody else reaches")]

#[path = "sim/frames.rs"]
mod frames;
#[path = "conversation/network.rs"]
mod network;
#[path = "conversation/person.rs"]
mod person;
#[path = "conversation/server.rs"]
mod server;
#[path = "sim/store.rs"]
mod store;
#[path = "sim/verdict.rs"]
mod verdict;
#[path = "conversation/world.rs"]
mod world;

use std::collections::BTreeMap;

pub use verdict::Verdict;

/// What happened how often.
pub type Coverage = BTreeMap<&'static str, u64>;

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 150;

/// What must have been met, each in several seeds.
const MUST_MEET: [&str; 20] = [
    "a line",
    "a private line",
    "an older line",
    "a break",
    "a half-open connection",
    "a restart",
    "a line sent again",
    "epoch",
    "ahead",
    "trimmed",
    "perhaps sent",
    "not sent",
    "back, and lines were missed",
    "refused: no_such_user",
    "refused: room_limit",
    "a slow reader closed",
    "heartbeat",
    "quit in the middle",
    "a new name",
    "reconnecting",
];

#[test]
fn what_a_person_sees_is_each_line_once() {
    let of = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = of("CHINWAG_SIM_SEED") {
        let (verdict, coverage) = world::run(seed, true);
        println!("{coverage:#?}");
        return verdict.unwrap();
    }
    let mut met = Coverage::new();
    let seeds = of("CHINWAG_CONVERSATION_SEEDS").unwrap_or(SEEDS);
    for seed in 0..seeds {
        let (verdict, coverage) = world::run(seed, false);
        if let Err(what) = verdict {
            panic!("{what}\n  replay: CHINWAG_SIM_SEED={seed} cargo test --test conversation");
        }
        for name in coverage.keys() {
            *met.entry(name).or_default() += 1;
        }
    }
    let rare: Vec<_> = MUST_MEET.iter().filter(|name| met.get(*name).is_none_or(|seeds| *seeds < 3)).collect();
    assert!(seeds < SEEDS || rare.is_empty(), "too rarely met: {rare:?} of {met:#?}");
}
