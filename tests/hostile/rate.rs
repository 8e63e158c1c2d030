//! Rates and budgets: one client's haste is nobody else's loss, and not its own either.

use std::time::Instant;

use crate::common::raw::{CONTINUATION, FIN, PING, TEXT, frame, frame_with, handshake};
use crate::common::server::Server;

/// > | the rate of a connection | 50 a second, 100 at once | `--rate`, `--burst` | it is read later |
///
/// > A client without tokens is not read until it has some again: nothing is lost, it is only late, and nobody else
/// > notices.
#[test]
fn over_the_rate_nothing_is_lost_only_late() {
    let server = Server::start(&["--rate", "20", "--burst", "5"]);
    let mut hasty = server.join("hasty", "tea", 1);
    let mut other = server.join("other", "tea", 2);
    assert_eq!(hasty.json()["type"], "user_join");
    let mut elsewhere = server.join("elsewhere", "cake", 1);
    let start = Instant::now();
    // Long ones: what is in hand already is not unread.
    hasty.send_all((0..30).map(|number| format!("{number} {}", "x".repeat(500))));
    for number in 0..30 {
        let came = other.json();
        assert!(came["message"].as_str().is_some_and(|text| text.starts_with(&format!("{number} "))), "{came}");
        assert_eq!(hasty.json()["seq"], number + 1);
        if number == 4 {
            let asked = Instant::now();
            elsewhere.quiet();
            assert!(asked.elapsed().as_millis() < 500, "another one waited {:?}", asked.elapsed());
        }
    }
    let took = start.elapsed();
    assert!(took.as_millis() >= 500, "30 lines at 20 a second with 5 at once took only {took:?}");
    hasty.quiet();
}

/// > `--rate 0` sets no limit.
#[test]
fn one_senders_20000_lines_starve_nobody() {
    const LINES: u32 = 20_000;
    let server = Server::start(&["--rate", "0"]);
    let mut other = server.join("other", "cake", 1);
    let mut raw = server.raw().upgraded("/rooms/tea?name=flood");
    let mut writer = raw.stream.try_clone().expect("a second handle");
    let flood: Vec<u8> = (0..LINES).flat_map(|number| frame(TEXT, number.to_string().as_bytes())).collect();
    let start = Instant::now();
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &flood));
    let reading = std::thread::spawn(move || {
        for number in 0..LINES {
            let came = raw.until(TEXT);
            assert!(came.text().contains(&format!(r#""message":"{number}""#)), "{came:?}");
        }
    });
    let mut slowest = std::time::Duration::ZERO;
    while !reading.is_finished() {
        let asked = Instant::now();
        other.quiet();
        slowest = slowest.max(asked.elapsed());
        assert!(start.elapsed().as_secs() < 60, "the flood never ends");
    }
    eprintln!("{LINES} lines in {:?}; another client's slowest ping took {slowest:?}", start.elapsed());
    sending.join().expect("no panic").expect("all was sent");
    reading.join().expect("all came back, in order");
    assert!(slowest.as_millis() < 1000, "another client's ping took {slowest:?}");
}

/// > `who`, `history` and a `join` with a position or `last` cost 5, `name` 10, anything else 1
#[test]
fn dear_commands_cost_more() {
    let server = Server::start(&["--rate", "20", "--burst", "10"]);
    for (command, least_ms) in
        [(r#"{"type":"ping"}"#, 0), (r#"{"type":"who"}"#, 500), (r#"{"type":"name","name":"x"}"#, 1500)]
    {
        let mut raw = server.raw().upgraded("/");
        let start = Instant::now();
        // One by one, so that each waits for the tokens that the last one took.
        for _ in 0..6 {
            raw.send(frame(TEXT, command.as_bytes()));
            raw.until(TEXT);
        }
        // By the book: (6 - 1) * cost - burst tokens have to come back, at 20 a second. Half of it may be a matter of
        // rounding and of when tokens are looked at.
        let took = start.elapsed();
        assert!(took.as_millis() >= least_ms / 2, "{command} six times took only {took:?}");
        assert!(took.as_secs() < 20, "{command} six times took {took:?}");
    }
}

/// > A line costs one token and one more for every 500 members of the room
#[test]
fn a_line_costs_more_in_a_large_room() {
    let server = Server::start(&["--rate", "20", "--burst", "10"]);
    let _crowd: Vec<_> = (0..500).map(|_| server.raw().upgraded("/rooms/hall")).collect();
    let mut raw = server.raw().upgraded("/rooms/hall?name=speaker");
    let start = Instant::now();
    for number in 0..16 {
        raw.send(frame(TEXT, format!("line {number}").as_bytes()));
        raw.until_text(&format!(r#""message":"line {number}""#));
    }
    // By the book: 15 lines at 2 tokens, less the 10 at once, at 20 a second: 1 s. At 1 token each it would be 0.25 s.
    let took = start.elapsed();
    assert!(took.as_millis() >= 700, "16 lines to 501 members took only {took:?}");
    assert!(took.as_secs() < 10, "16 lines to 501 members took {took:?}");
}

/// Many handshakes at once: all are served, and those who are in notice nothing.
#[test]
fn a_rush_of_handshakes_is_served() {
    let server = Server::start(&[]);
    let mut other = server.join("other", "cake", 1);
    let mut rush: Vec<_> = (0..300).map(|_| server.raw()).collect();
    for raw in &mut rush {
        raw.send(handshake("/rooms/tea"));
    }
    other.quiet();
    for raw in &mut rush {
        raw.expect_101();
        assert!(raw.frame().text().contains("Welcome"));
    }
    other.quiet();
}

/// > a WebSocket Ping or Pong, and a fragment of a message that goes on, a sixteenth
#[test]
fn small_frames_cost_little() {
    let server = Server::start(&["--rate", "20", "--burst", "10"]);
    let mut raw = server.raw().upgraded("/");
    let start = Instant::now();
    // 161 frames that go on: ten tokens, which are there; one each would have taken more than seven seconds.
    let mut message = frame_with(TEXT, b"a");
    (0..160).for_each(|_| message.extend(frame_with(CONTINUATION, b"b")));
    message.extend(frame_with(FIN | CONTINUATION, b"c"));
    raw.send(message);
    raw.until_text(&format!("a{}c", "b".repeat(160)));
    assert!(start.elapsed().as_secs() < 5, "it took {:?}", start.elapsed());
}

/// > Of one that has hung up meanwhile, what it left is read for 60 s more at the most (`--silence-ms`).
#[test]
fn one_that_is_not_read_and_vanishes_is_noticed() {
    let flags = ["--rate", "1", "--burst", "1", "--ping-ms", "200", "--silence-ms", "600"];
    let server = Server::start(&flags);
    let mut other = server.join("other", "tea", 1);
    let mut raw = server.raw().upgraded("/rooms/tea?name=gone");
    assert_eq!(other.json()["type"], "user_join");
    // So overdrawn that it would not be read for a minute, and more behind it.
    let mut message = frame_with(TEXT, b"");
    (0..1_000).for_each(|_| message.extend(frame_with(CONTINUATION, b"")));
    raw.send(message);
    raw.reset();
    let start = Instant::now();
    let left = other.json();
    assert_eq!(left["type"], "user_leave", "{left}");
    assert!(start.elapsed().as_secs() < 6, "it took {:?}", start.elapsed());
}

/// > A client without tokens is not read until it has some again
///
/// Nor is what was read already heard before: many small requests in one piece are no way around the rate.
#[test]
fn many_requests_in_one_piece_are_heard_at_the_rate() {
    let server = Server::start(&["--rate", "20", "--burst", "5"]);
    let mut other = server.join("other", "tea", 1);
    let mut raw = server.raw();
    let start = Instant::now();
    let requests: Vec<u8> = (0..30).flat_map(|_| frame(TEXT, br#"{"type":"ping"}"#)).collect();
    raw.send([handshake("/rooms/tea").into_bytes(), requests].concat());
    raw.expect_101();
    for _ in 0..30 {
        raw.until_text("pong");
    }
    assert!(start.elapsed().as_millis() >= 600, "30 at 20 a second with 5 at once took only {:?}", start.elapsed());
    assert_eq!(other.json()["type"], "user_join");
}

/// > Tokens come back at `--rate` a second, up to `--burst`.
///
/// Who was silent for long has saved no more than that.
#[test]
fn nobody_saves_more_tokens_than_the_burst() {
    let server = Server::start(&["--rate", "40", "--burst", "10", "--ping-ms", "1000"]);
    let mut raw = server.raw().upgraded("/");
    // The server's Ping says that a second went by: 40 tokens, of which 10 are kept.
    assert_eq!(raw.until(PING).first & 0xf, PING);
    let start = Instant::now();
    // One by one, so that each waits for the tokens that the last one took.
    for number in 0..40 {
        raw.send(frame(TEXT, format!(r#"{{"type":"ping","t":{number}}}"#).as_bytes()));
        raw.until_text(&format!(r#""t":{number}"#));
    }
    // By the book: 39 less the 10 at once, at 40 a second: 0.7 s.
    let took = start.elapsed();
    assert!(took.as_millis() >= 400, "40 at 40 a second with 10 at once took only {took:?}");
    assert!(took.as_secs() < 8, "40 at 40 a second took {took:?}");
}
