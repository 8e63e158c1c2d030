//! No hole that is not told of, not even when lines are trimmed while somebody catches up.

use crate::client::V1;
use crate::common::server::Server;

fn line(number: u64) -> String {
    format!("{number} {}", "x".repeat(60_000))
}

/// > A second `joined` on the way has `reason` `trimmed` and the `gap` of what went while it was fed.
///
/// > After `trimmed` it goes on behind `gap.to`.
///
/// > If trimming overtakes a slow catch-up, a second `joined` says so. Never a silent hole.
///
/// Where the past is read in pages, lines that are trimmed between two of them are missing and nobody says so
/// (bytedance/deer-flow#4426 is a server that learnt it; GetStream/stream-chat-react-native#3571 asks for a way to notice).
#[test]
fn trimming_during_the_catching_up_leaves_no_silent_hole() {
    // What is kept is more than a kernel buffers for one connection: 12 MB.
    const KEPT: u64 = 200;
    const MORE: u64 = 300;
    let server = Server::start(&["--rate", "0", "--recent-messages", "200"]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    alice.cut();
    for number in 1..=KEPT {
        bob.say("tea", &line(number));
        assert_eq!(bob.typed("chat")["seq"], number);
    }
    alice.return_slowly(&server);
    for room in ["@me", "tea"] {
        assert_eq!(alice.joined(room)["recovered"], true);
    }
    for number in KEPT + 1..=KEPT + MORE {
        bob.say("tea", &line(number));
        assert_eq!(bob.typed("chat")["seq"], number);
    }
    // That no hole is silent is seen to by the client itself; here they are counted.
    let (mut shown, mut lost) = (0, 0);
    while alice.places["tea"].seq < KEPT + MORE {
        let frame = alice.json();
        match frame["type"].as_str() {
            Some("chat") => shown += 1,
            Some("joined") => {
                let end = |which: &str| frame["gap"][which].as_u64().expect("a number");
                assert_eq!((&frame["recovered"], &frame["reason"]), (&false.into(), &"trimmed".into()), "{frame}");
                lost += end("to") + 1 - end("from");
            }
            _ => panic!("{frame}"),
        }
    }
    assert!(lost > 0, "nothing was lost: the test tests nothing");
    assert_eq!(shown + lost, KEPT + MORE);
    alice.quiet();
    // Her place is good again.
    alice.cut();
    bob.say("tea", "the next");
    bob.expect_chat("bob", "the next");
    alice.resume(&server);
    alice.expect_chat("bob", "the next");
    alice.quiet();
    bob.quiet();
    eprintln!("{shown} lines were shown, {lost} were lost and told of");
}

/// > A reader who has missed much is fed as fast as it reads, a page at a time
///
/// > Until then it gets no new line of that room before those that it missed.
///
/// Twenty who read nothing come back to 48 MB that they have missed. The server must not hold it for each.
#[test]
fn a_backlog_is_fed_and_not_piled_up() {
    const LINES: u64 = 800;
    const READERS: usize = 20;
    let flags = ["--rate", "0", "--recent-messages", "1000", "--recent-bytes", "100000000", "--outbox-bytes", "400000"];
    let server = Server::start(&flags);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut readers: Vec<V1> = Vec::new();
    for number in 0..READERS {
        readers.push(V1::come(&server, &format!("reader{number}"), &["tea"]));
        bob.typed("user_join");
    }
    for reader in &mut readers {
        reader.cut();
    }
    for number in 1..=LINES {
        bob.say("tea", &line(number));
        assert_eq!(bob.typed("chat")["seq"], number);
    }
    let before = server.resident_bytes();
    for reader in &mut readers {
        reader.return_slowly(&server);
        for room in ["@me", "tea"] {
            assert_eq!(reader.joined(room)["recovered"], true);
        }
        // Each has the first page; more than the kernel takes is not begun.
        reader.json();
    }
    bob.quiet();
    let fed = server.resident_bytes().saturating_sub(before);
    eprintln!("{READERS} readers who have missed {} MB cost {fed} bytes", LINES * 60_000 / 1_000_000);
    assert!(fed < 40_000_000, "{fed} bytes are held for {READERS} slow readers");
    // New lines do not go past those that were missed, and nobody is closed for what was not given out.
    bob.say("tea", "the next");
    bob.expect_chat("bob", "the next");
    for reader in readers.iter_mut().take(2) {
        while reader.places["tea"].seq <= LINES {
            reader.json();
        }
        reader.quiet();
        assert_eq!(reader.view, bob.view);
    }
    bob.quiet();
}

/// > | 4002 | slow reader: it did not read what it was sent | reconnect and resume |
///
/// A live reader for whom too much waits is closed; it loses nothing when it comes back.
#[test]
fn a_slow_reader_is_closed_and_loses_nothing() {
    const LINES: u64 = 400;
    let flags = ["--rate", "0", "--recent-bytes", "100000000", "--outbox-bytes", "400000", "--close-ms", "20000"];
    let server = Server::start(&flags);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    alice.return_slowly(&server);
    alice.joined("@me");
    alice.joined("tea");
    for number in 1..=LINES {
        bob.say("tea", &line(number));
        assert_eq!(bob.typed("chat")["seq"], number);
    }
    let (frames, code) = alice.wire().rest();
    assert_eq!(code, Some(4002), "after {} frames", frames.len());
    for (frame, seq) in frames.iter().zip(1_u64..) {
        assert_eq!((&frame["type"], &frame["seq"]), (&"chat".into(), &seq.into()), "whole, in order, without holes");
    }
    assert!((frames.len() as u64) < LINES, "nothing was dropped: the test tests nothing");
    // She has shown none of them yet, so she asks for all.
    bob.quiet();
    alice.resume(&server);
    while alice.places["tea"].seq < LINES {
        alice.json();
    }
    alice.quiet();
    bob.quiet();
    assert_eq!(alice.view, bob.view);
}
