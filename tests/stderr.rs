//! A standard error that nobody reads stops nothing: its pipe fills up, and the server goes on.
#![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

mod common;

use std::time::Instant;

use common::server::Launch;

#[test]
fn a_full_pipe_as_standard_error_stops_nothing() {
    let server = Launch::new(&["--log", "debug", "--rate", "0"]).leave_stderr().start();
    let mut watcher = server.join("watcher", "tea", 1);
    // A pipe holds 64 KiB on Linux. Each visit is worth two lines of the log or more.
    for round in 0..2_000 {
        let mut visitor = server.connect("visitor", "/");
        assert_eq!(visitor.json()["type"], "system", "round {round}");
        visitor.close(1000, "");
        visitor.closed();
    }
    let asked = Instant::now();
    watcher.quiet();
    assert!(asked.elapsed().as_millis() < 1000, "a ping took {:?}", asked.elapsed());
    watcher.send("nothing stopped");
    watcher.expect_chat("watcher", "nothing stopped");
}

/// And it ends properly, too.
#[test]
fn a_full_pipe_as_standard_error_does_not_hold_up_the_end() {
    let mut server = Launch::new(&["--log", "debug"]).leave_stderr().start();
    for _ in 0..1_000 {
        let mut visitor = server.connect("visitor", "/");
        assert_eq!(visitor.json()["type"], "system");
    }
    let start = Instant::now();
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(0));
    assert!(start.elapsed().as_secs() < 9, "{:?}", start.elapsed());
}
