//! The judge of `chinwag.v1`: people with clients that follow the client rules of `docs/PROTOCOL.md` section 3, a
//! network that breaks at every step, and the core with the memory store, or with one that outlives the process, all from a
//! seed.
//!
//! The judge holds what a person would see: of each room, between its joins and leaves, exactly its lines, in
//! order, none missing but those of a gap that was told, none twice; an acknowledged line is in every member's
//! view; a line in a client's outbox is in the end stored exactly once, or was left to the person as "perhaps
//! sent"; so it is over a start of the server, too, and when the end of its log is lost, whoever has seen a line that is not
//! there any more is told, and nobody else; nobody is told of a leave or a join of somebody who came back within the grace; nobody has another's
//! name; and when all are gone, nothing is left of them.
//!
//! | file | what |
//! |---|---|
//! | `plan` | what a seed decides beforehand |
//! | `world`, `people`, `link` | the turns; what people do; the network: half-open connections, lost frames, slow readers |
//! | `client`, `outbox`, `plain` | the clients: resume, retry, doubt |
//! | `server` | the core and the store, driven as the engine drives them |
//! | `screen` | what one person sees of one room |
//! | `truth` | what the store holds, and what became of each line |
//! | `presence` | who is there, and whether what is said is so when it is said |
//! | `rest` | the end: all come back, catch up, look round, and go |
//! | `mutation` | ways to break the server, each of which the judge must find |
//!
//! A failure prints its seed, its event and the command that replays it with a trace: `CHINWAG_SIM_SEED=n`.
//! `CHINWAG_JUDGE_SEEDS` and `CHINWAG_JUDGE_EVENTS` say how much is run. The full judgement, 1,000 seeds of 10,000 events:
//! `cargo test --release --test judge -- --ignored full`.
//!
//! # That the judge judges
//!
//! `mutations_are_found` breaks the server on purpose and expects each to be found, within 200 seeds:
//!
//! - `ReplayWithoutLast`: a replay leaves its last line out.
//! - `PageBackwards`: the lines of a page are handed over backwards.
//! - `LiveBeforeReplay`: live lines also go to readers who still catch up.
//! - `LiveOneLate`: a reader who has caught up misses the next line: it becomes live one line late.
//! - `PositionForgotten`: a position is taken for the newest: `recovered:true`, and nothing is replayed.
//! - `AckedAndLost`: a line is acknowledged and not stored.
//! - `RetryUnknown`: a retry is stored as a line of its own.
//! - `EarlierStillTold`: the earlier connection gets lines after the take-over.
//! - `SessionIgnored`: a session is not looked at: whoever comes back is somebody new.
//! - `NoGrace`: whoever loses the connection is gone at once.
//! - `LeaveAtCut`: the others are told of a leave as soon as a connection breaks.
//! - `EpochKept`: after a restart a room has its earlier epoch.
//! - `TrimmedUntold`: what was trimmed before a join is not told.
//! - `OvertakenUntold`: what is trimmed during a replay is not told.
//! - `PrivateOneSided`: a private message reaches its writer only.
//! - `LineLostForOne`: one reader of several does not get a line.
//! - `LineTwiceForOne`: one reader of several gets a line twice.
//! - `ResumedWrong`: `resumed` says the contrary.
//! - `BeforeWelcome`: something comes before the `welcome`.
//! - `AckLost`: an acknowledgement is never handed over.
//! - `AckBeforeLine`: an acknowledgement comes before its line.
//! - `DrainUnheard`: nobody goes on with a replay when the outbox has room.
//! - `EndUnheard`: the core does not hear that a connection ended.
//! - `JoinToldAgain`: a join of somebody who was there all the time is told.
//! - `LineInAnotherRoom`: a line is told in another room's name, to the readers of that.
//! - `RowAstray`: a private message is stored twice with its writer, and not with the one that it goes to.
//! - `FormerIgnored`: after the end of the log was lost, nobody's place is good any more.
//! - `FormerEndless`: after the end of the log was lost, every place is good.
//! - `RecallSkipped`: what the store has from before a start is not asked for.
//! - `RecallFirstPageOnly`: of what the store has from before a start, it is asked for the first page only.
//! - `RecallWithoutLast`: of what the store has from before a start, the last `id` is overlooked.
//! - `RecallRefusalIgnored`: that the store cannot say what it has is taken for that it has nothing.

#![allow(unreachable_pub, reason = "all of it is one test binary, which nobody else reaches")]

#[path = "judge/client.rs"]
mod client;
#[path = "sim/coverage.rs"]
#[expect(dead_code, reason = "the paths are those of the plain simulation")]
mod coverage;
#[path = "judge/link.rs"]
mod link;
#[path = "judge/mutation.rs"]
mod mutation;
#[path = "judge/outbox.rs"]
mod outbox;
#[path = "judge/people.rs"]
mod people;
#[path = "judge/plain.rs"]
mod plain;
#[path = "judge/plan.rs"]
mod plan;
#[path = "judge/presence.rs"]
mod presence;
#[path = "judge/rest.rs"]
mod rest;
#[path = "judge/screen.rs"]
mod screen;
#[path = "judge/server.rs"]
mod server;
#[path = "sim/store.rs"]
mod store;
#[path = "judge/truth.rs"]
mod truth;
#[path = "sim/verdict.rs"]
mod verdict;
#[path = "judge/world.rs"]
mod world;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use coverage::Coverage;
use mutation::Mutation;
use plan::Plan;
pub use verdict::Verdict;
use world::Outcome;

thread_local! {
    /// The number of the event that this thread is at, for a panic of the core.
    pub static EVENT: Cell<usize> = const { Cell::new(0) };
    /// Whether a panic of this thread is what a test wants, and not to be printed.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Seeds and events of a plain `cargo test`, and of the full judgement.
const SEEDS: u64 = 200;
const EVENTS: usize = 6_000;
const SEEDS_FULL: u64 = 1_000;
const EVENTS_FULL: usize = 10_000;
/// Events of a run with a mutation.
const EVENTS_BROKEN: usize = 1_500;

/// What every judgement must have met, each in several seeds.
const PATHS: &[&str] = &[
    "a break",
    "a client that changes its network",
    "a former epoch",
    "a goodbye",
    "a half-open connection",
    "a hello of an earlier connection",
    "a hello of somebody who was not there",
    "a line sent again",
    "a lost tail",
    "a page",
    "a private message",
    "a restart under another key",
    "a restart under the same key",
    "a restart with all lines",
    "a retry of long ago",
    "a return after a start",
    "a return within the grace",
    "a session that is good",
    "a session that is void",
    "a silent connection closed",
    "a slow reader closed",
    "a take-over",
    "an ack",
    "an ack of a retry",
    "an older copy put back",
    "history",
    "ids told again",
    "internal",
    "joined",
    "left",
    "name_taken",
    "no_such_user",
    "not recovered: ahead",
    "not recovered: epoch",
    "not recovered: trimmed",
    "overloaded",
    "perhaps sent",
    "presence",
    "recovered",
    "recovered under a new epoch",
    "recovered with lines",
    "resumed",
    "somebody new",
    "storage_full",
    "the clock jumps",
    "trimming overtook a replay",
    "user_join",
    "user_leave",
    "user_rename",
];

/// Runs one seed; fails with how to replay it.
fn run(seed: u64, events: usize, trace: bool) -> Outcome {
    let replay = format!(
        "replay: CHINWAG_SIM_SEED={seed} CHINWAG_JUDGE_EVENTS={events} cargo test --test judge seeds -- --nocapture"
    );
    let outcome = catch_unwind(AssertUnwindSafe(|| world::run(Plan::new(seed, events), None, trace)));
    let Ok(outcome) = outcome else { panic!("seed {seed}, at event {}: a panic\n{replay}", EVENT.get()) };
    if let Err(what) = &outcome.verdict {
        panic!("seed {seed}, at event {}: {what}\n{replay}", outcome.events);
    }
    outcome
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect("a number"))
}

/// Runs so many seeds on two threads.
fn run_all(seeds: u64, events: usize) {
    let coverage = Coverage::of_seeds(seeds, |seed| run(seed, events, false).coverage);
    coverage.lines().for_each(|line| println!("{line}"));
    if seeds >= SEEDS {
        let rare: Vec<_> = PATHS.iter().filter(|path| coverage.count(path) < 10).collect();
        assert!(rare.is_empty(), "hardly ever taken: {rare:?}");
    }
}

/// How many events a seed has, if the environment does not say otherwise.
fn events(usually: usize) -> usize {
    number("CHINWAG_JUDGE_EVENTS").map_or(usually, |events| events as usize)
}

#[test]
fn seeds() {
    match number("CHINWAG_SIM_SEED") {
        Some(seed) => drop(run(seed, events(EVENTS), true)),
        None => run_all(number("CHINWAG_JUDGE_SEEDS").unwrap_or(SEEDS), events(EVENTS)),
    }
}

#[test]
#[ignore = "for release: a minute"]
fn full() {
    run_all(number("CHINWAG_JUDGE_SEEDS").unwrap_or(SEEDS_FULL), events(EVENTS_FULL));
}

/// A seed gives the same events, or nothing could be replayed.
#[test]
fn a_seed_is_a_seed() {
    for seed in 0..5 {
        let counts = || world::run(Plan::new(seed, 1_000), None, false).coverage.lines().collect::<Vec<_>>();
        assert_eq!(counts(), counts(), "seed {seed}");
    }
}

/// The first seed that finds a mutation, by the judge or by the core's own asserts, and what it says.
fn find(mutation: Mutation) -> Option<(u64, String)> {
    (0..SEEDS).find_map(|seed| {
        QUIET.set(true);
        let run = || world::run(Plan::new(seed, EVENTS_BROKEN), Some(mutation), false).verdict;
        let verdict = catch_unwind(AssertUnwindSafe(run));
        QUIET.set(false);
        match verdict {
            Err(_) => Some((seed, "the core panicked".into())),
            Ok(verdict) => verdict.err().map(|what| (seed, what)),
        }
    })
}

/// The judge is judged. (That it says nothing of a server that is whole, the same seeds show in `seeds`.)
#[test]
fn mutations_are_found() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !QUIET.get() {
            loud(info);
        }
    }));
    for &mutation in Mutation::ALL {
        let Some((seed, what)) = find(mutation) else { panic!("{mutation:?} is not found by {SEEDS} seeds") };
        let what: String = what.lines().next().unwrap_or_default().chars().take(120).collect();
        println!("{mutation:?}: found by seed {seed}: {what}");
    }
}
