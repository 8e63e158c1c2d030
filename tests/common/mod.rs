//! What the black-box tests share: the real binary as a child process, clients of our own, and patterns for frames.
//!
//! No test waits for a time to pass: it waits for an event, and [`PATIENCE`] is only the bound after which it fails.
//! When a test fails while a [`server::Server`] lives, the server prints what is needed to replay it: the command
//! line, everything that was said, and the server's own log.
#![allow(dead_code, clippy::disallowed_methods, reason = "each test binary uses its part; tests may read the clock")]

pub(crate) mod client;
pub(crate) mod folder;
pub(crate) mod page;
pub(crate) mod pattern;
pub(crate) mod raw;
pub(crate) mod server;

use std::time::{Duration, Instant};

/// How long a test waits for something that should come at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Asks again and again until the answer is yes; fails after [`PATIENCE`]. For what gives no event, as `/proc`.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
