//! Readers that do not read.

use std::time::Instant;

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::common::raw::{BINARY, CLOSE, Frame, PING, Raw, TEXT, frame};
use crate::common::server::Server;

/// A member of a room whose kernel takes little for it, and who reads only when told to.
fn slow_reader(server: &Server, path: &str) -> Raw {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(&server.address.into()).expect("the server accepts");
    Raw::over(socket.into(), server.scene.clone()).upgraded(path)
}

/// Reads all there is until the end: the lines' numbers, and the close code if one came.
#[track_caller]
fn read_up(slow: &mut Raw) -> (Vec<u64>, Option<u16>) {
    read_up_to(slow, usize::MAX)
}

/// Reads so many lines, or until the end. Fails if a frame came in part only.
#[track_caller]
fn read_up_to(slow: &mut Raw, lines: usize) -> (Vec<u64>, Option<u16>) {
    let mut seqs = Vec::new();
    loop {
        if seqs.len() >= lines {
            return (seqs, None);
        }
        match slow.try_frame() {
            Ok(Frame { first, payload }) if first & 0xf == TEXT => {
                let frame: Value = serde_json::from_slice(&payload).expect("JSON");
                seqs.extend(frame["seq"].as_u64());
            }
            Ok(came) if came.first & 0xf == CLOSE => {
                let (code, reason) = came.close();
                assert!(!reason.is_empty(), "a reason for people");
                let _ = slow.try_send(frame(CLOSE, &came.payload));
                slow.rest();
                return (seqs, Some(code));
            }
            Ok(_) => {}
            Err(rest) => {
                assert!(rest.is_empty(), "a frame was cut: {} bytes of it came", rest.len());
                return (seqs, None);
            }
        }
    }
}

/// > What the others say never waits for a reader that lags.
///
/// > | 4002 | it did not read what it was sent | come back later |
///
/// > A reader for whom too much waits loses what was not begun, gets the frame that was begun and then Close 4002. Nobody
/// > else notices.
///
/// > | what waits for one reader | 4 MiB | `--outbox-bytes` | close 4002 |
#[test]
fn a_peer_that_never_reads_is_closed_with_4002() {
    let server = Server::start(&["--rate", "0", "--outbox-bytes", "400000", "--close-ms", "20000"]);
    let mut slow = slow_reader(&server, "/rooms/tea?name=slow");
    let mut alice = server.join("alice", "tea", 2);
    let mut slowest = std::time::Duration::ZERO;
    let mut lines = 0;
    // 30 MB are more than a kernel buffers for one connection.
    for number in 0..500 {
        let asked = Instant::now();
        alice.send(&format!("{number} {}", "x".repeat(60_000)));
        let came = alice.json();
        slowest = slowest.max(asked.elapsed());
        if came["type"] == "user_leave" {
            assert_eq!(came["name"], "slow");
            break;
        }
        lines += 1;
        assert_eq!(came["seq"], lines);
    }
    assert!(lines < 500, "30 MB wait for a reader that may have 400 kB");
    assert!(slowest.as_millis() < 1000, "the sender noticed: {slowest:?} for a line");
    let (seqs, code) = read_up(&mut slow);
    assert_eq!(code, Some(4002), "after {} lines", seqs.len());
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "what came is whole, in order and without holes");
    assert!((seqs.len() as u64) < lines, "something was lost");
    alice.until("the line at which the other was closed", |frame| frame["type"] == "chat");
    alice.quiet();
    crate::common::eventually("the log tells the reason", || server.logged("slow reader"));
}

/// > | what waits for all readers (the same for several counts once) | 256 MiB | `--outboxes-bytes` | close 4002, for
/// > whom most waits |
#[test]
fn all_outboxes_together_are_limited() {
    const LINE_BYTES: usize = 60_000;
    let flags = ["--outbox-bytes", "40000000", "--outboxes-bytes", "40000000", "--rate", "0", "--close-ms", "20000"];
    let server = Server::start(&flags);
    let mut alice = server.join("alice", "r0", 1);
    let mut slow = Vec::new();
    for number in 0..3 {
        slow.push(slow_reader(&server, &format!("/rooms/r{number}?name=s{number}")));
        alice.send(&format!(r#"{{"type":"join","room":"r{number}"}}"#));
        alice.until("joined", |frame| frame["type"] == "joined");
    }
    let mut lines = 0;
    'all: loop {
        for room in 0..3 {
            alice.send(&format!(r#"{{"type":"chat","room":"r{room}","message":"{}"}}"#, "x".repeat(LINE_BYTES)));
            if alice.json()["type"] == "user_leave" {
                break 'all;
            }
        }
        lines += 1;
        // A reader by itself could be owed 40 MB, besides what the kernel buffers; the three together may not.
        assert!(lines * LINE_BYTES < 35_000_000, "35 MB wait for each of three readers that may have 40 MB together");
    }
    assert!(server.resident_bytes() < 300_000_000, "{} bytes are held", server.resident_bytes());
    let codes: Vec<Option<u16>> = slow.iter_mut().map(|slow| read_up_to(slow, lines).1).collect();
    assert!(codes.contains(&Some(4002)), "{codes:?}");
    assert!(codes.contains(&None), "all were closed where one was enough: {codes:?}");
}

/// > | a reader that takes nothing | 30 s | `--write-stall-ms` | close 4002 |
#[test]
fn a_peer_that_takes_nothing_for_long_is_closed_with_4002() {
    let flags = [
        "--rate",
        "0",
        "--outbox-bytes",
        "100000000",
        "--outboxes-bytes",
        "200000000",
        "--write-stall-ms",
        "300",
        "--close-ms",
        "20000",
    ];
    let server = Server::start(&flags);
    let mut slow = slow_reader(&server, "/rooms/tea?name=slow");
    let mut alice = server.join("alice", "tea", 2);
    for number in 0..200 {
        alice.send(&format!("{number} {}", "x".repeat(60_000)));
        if alice.json()["type"] == "user_leave" {
            break;
        }
    }
    let start = Instant::now();
    alice.until("the leave", |frame| frame["type"] == "user_leave");
    assert!(start.elapsed().as_millis() < 3000, "{:?}", start.elapsed());
    let (seqs, code) = read_up(&mut slow);
    assert_eq!(code, Some(4002), "after {} lines", seqs.len());
    alice.quiet();
}

/// > It has no `seq`, is not stored, and is the first thing that is dropped when a reader lags.
#[test]
fn binary_is_dropped_first() {
    let server = Server::start(&["--rate", "0", "--outbox-bytes", "10000000", "--recent-messages", "3"]);
    let mut slow = slow_reader(&server, "/rooms/tea?name=slow");
    slow.send(frame(BINARY, b"I take binary"));
    let mut alice = server.join("alice", "tea", 2);
    // Far more binary than may wait for one reader: it is dropped, and the reader is not closed for it.
    let bytes = vec![7; 60_000];
    for _ in 0..600 {
        alice.send_binary(&bytes);
    }
    alice.quiet();
    alice.send("after all that");
    alice.expect_chat("alice", "after all that");
    let mut binaries = 0;
    loop {
        let came = slow.frame();
        match came.first & 0xf {
            BINARY => binaries += 1,
            TEXT if came.text().contains("after all that") => break,
            TEXT | PING => {}
            other => panic!("opcode {other} after {binaries} binary frames"),
        }
    }
    assert!(binaries < 600, "none was dropped: the test tests nothing");
}

/// A client that asks and asks and never reads the answers is not read: its answers do not pile up.
#[test]
fn answers_to_one_who_never_reads_are_bounded() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.join("alice", "tea", 1);
    for _ in 0..4 {
        alice.send(&"x".repeat(60_000));
        alice.json();
    }
    let before = server.resident_bytes();
    let mut slow = slow_reader(&server, "/rooms/tea?name=slow");
    assert_eq!(alice.json()["type"], "user_join");
    slow.stream.set_nonblocking(true).expect("a socket");
    let ask = frame(TEXT, br#"{"type":"history","limit":200}"#).repeat(1000);
    // Asks until the server takes no more, or 20,000 times: 5 GB of answers.
    for _ in 0..20 {
        if slow.try_send(&ask).is_err() {
            break;
        }
        alice.quiet();
    }
    let held = server.resident_bytes().saturating_sub(before);
    assert!(held < 50_000_000, "{held} bytes are held for one who never reads");
    alice.quiet();
}

/// The same for one that sends Pings and never reads the Pongs.
#[test]
fn pongs_to_one_who_never_reads_are_bounded() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.join("alice", "tea", 1);
    let before = server.resident_bytes();
    let mut slow = slow_reader(&server, "/rooms/tea?name=slow");
    assert_eq!(alice.json()["type"], "user_join");
    slow.stream.set_nonblocking(true).expect("a socket");
    let pings = frame(PING, &[7; 125]).repeat(8_000);
    for _ in 0..100 {
        if slow.try_send(&pings).is_err() {
            break;
        }
        alice.quiet();
    }
    let held = server.resident_bytes().saturating_sub(before);
    assert!(held < 20_000_000, "{held} bytes are held for one who never reads");
    alice.quiet();
}

/// > | what waits for one reader | 4 MiB | `--outbox-bytes` | close 4002 |
///
/// What many say at once, in one turn of the server's, is more than the kernel takes for a reader; who then reads it is not slow.
#[test]
fn readers_who_read_are_not_closed_though_many_speak_at_once() {
    const SPEAKERS: u32 = 40;
    const LINES: u32 = 5;
    let server = Server::start(&[]);
    let mut speakers: Vec<_> = (1..=SPEAKERS).map(|number| server.join(&format!("s{number}"), "tea", number)).collect();
    // The server stands still until all have spoken.
    server.signal("STOP");
    for speaker in &mut speakers {
        speaker.send_all((0..LINES).map(|line| format!("{line} {}", "x".repeat(9_000))));
    }
    server.signal("CONT");
    for speaker in &mut speakers {
        for _ in 0..SPEAKERS * LINES {
            speaker.until("every line", |frame| frame["type"] == "chat");
        }
    }
}
