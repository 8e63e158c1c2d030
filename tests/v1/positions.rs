//! Coming with a position: recovered exactly, or told why not.

use serde_json::{Value, json};

use crate::client::V1;
use crate::common::server::Server;
use crate::wire::Wire;

/// A room `tea` with so many lines by bob; the time of each.
#[track_caller]
fn room(flags: &[&str], lines: u64) -> (Server, V1, Vec<String>) {
    let server = Server::start(&[flags, &["--rate", "0"]].concat());
    let mut bob = V1::come(&server, "bob", &["tea"]);
    bob.wire().send_all((1..=lines).map(|line| format!(r#"{{"type":"chat","message":"{line}"}}"#)));
    let time = |frame: &Value| frame["timestamp"].as_str().expect("a time").to_owned();
    let times = (0..lines).map(|_| time(&bob.typed("chat"))).collect();
    (server, bob, times)
}

/// Comes with a position, by `hello` or by `join`; gives the `joined` and all lines that follow.
#[track_caller]
fn come_with(server: &Server, by_hello: bool, position: &Value) -> (Value, Vec<u64>) {
    let mut entry = position.clone();
    entry["room"] = "tea".into();
    let mut wire = Wire::open(server, "reader");
    if by_hello {
        wire.send(&json!({"type": "hello", "rooms": [entry]}).to_string());
    } else {
        entry["type"] = "join".into();
        wire.send_all([r#"{"type":"hello","rooms":[]}"#, &entry.to_string()]);
    }
    assert_eq!(wire.json()["type"], "welcome");
    assert_eq!(wire.json()["room"], "@me");
    let joined = wire.json();
    assert_eq!((&joined["type"], &joined["room"]), (&"joined".into(), &"tea".into()), "{joined}");
    // What is replayed comes before what is live.
    wire.send(r#"{"type":"chat","room":"tea","message":"the end"}"#);
    let mut seqs = Vec::new();
    loop {
        let frame = wire.json();
        assert_eq!(frame["type"], "chat", "{frame}");
        let (seq, newest) = (frame["seq"].as_u64().expect("a seq"), joined["seq"].as_u64().expect("a seq"));
        if seq == newest + 1 {
            assert_eq!(frame["message"], "the end");
            wire.say_close(Some(1000));
            wire.rest();
            return (joined, seqs);
        }
        seqs.push(seq);
    }
}

/// > A position is the `epoch` that `joined` said, the `seq` of the last line that one has, and the `timestamp` of
/// > that line as `time`.
///
/// > | `true` | | nothing is lost | what was missed, then the new lines |
///
/// > recovers when epochs are equal, `seq` ≤ newest, `seq`+1 ≥ oldest kept, and the row at `seq`, if kept, has that
/// > `time`
///
/// > Then exactly the missed messages come, in order, then live ones.
#[test]
fn a_good_position_is_recovered_exactly() {
    let (server, bob, times) = room(&["--recent-messages", "1000"], 40);
    let epoch = &bob.places["tea"].epoch;
    let mut newest = 40;
    for by_hello in [true, false] {
        for seq in [0, 1, 17, 39, 40] {
            let mut position = json!({"epoch": epoch, "seq": seq});
            let (joined, seqs) = come_with(&server, by_hello, &position);
            assert_eq!((&joined["recovered"], &joined["seq"]), (&true.into(), &newest.into()), "{joined}");
            assert_eq!((joined.get("reason"), joined.get("gap")), (None, None), "{joined}");
            assert_eq!(seqs, (seq + 1..=newest).collect::<Vec<u64>>(), "from {seq}");
            newest += 1;
            if seq > 0 {
                position["time"] = times[seq as usize - 1][..].into();
                position["last"] = 3.into();
                let (joined, seqs) = come_with(&server, by_hello, &position);
                assert_eq!(joined["recovered"], true, "{joined}");
                assert_eq!(seqs, (seq + 1..=newest).collect::<Vec<u64>>(), "from {seq}, with the time");
                newest += 1;
            }
        }
    }
}

/// > | `false` | `epoch` | the numbering is another one: the store is, or the room was forgotten | the new lines |
///
/// > | `false` | `ahead` | the room has no such line (any more), or another at that `seq` | the new lines |
///
/// > | `false` | `trimmed` | the lines from `gap.from` to `gap.to` are not kept any more | the rest of what was
/// > missed, then the new lines |
///
/// > After `epoch` and `ahead` a reader is at the `seq` that `joined` says
///
/// > Otherwise `recovered:false` with the reason, to this client only; for `trimmed` also the `gap` that is lost, then what
/// > is left.
#[test]
fn a_bad_position_is_told_why() {
    let (server, bob, times) = room(&["--recent-messages", "10"], 15);
    let epoch = &bob.places["tea"].epoch;
    for by_hello in [true, false] {
        // Each visit says one line, which trims one.
        let before: u64 = if by_hello { 15 } else { 15 + 7 };
        for (newest, (position, reason)) in (before..).zip([
            (json!({"epoch": "xxxxxxxx", "seq": 3}), "epoch"),
            (json!({"epoch": "", "seq": 0}), "epoch"),
            (json!({"epoch": epoch, "seq": 1000}), "ahead"),
            (json!({"epoch": epoch, "seq": 9_007_199_254_740_991_u64}), "ahead"),
            (json!({"epoch": epoch, "seq": before + 4, "time": "2001-01-01T00:00:00.000Z"}), "ahead"),
            (json!({"epoch": epoch, "seq": 0}), "trimmed"),
            (json!({"epoch": epoch, "seq": 4, "time": times[3]}), "trimmed"),
        ]) {
            let (joined, seqs) = come_with(&server, by_hello, &position);
            assert_eq!(
                (&joined["recovered"], &joined["reason"]),
                (&false.into(), &reason.into()),
                "{position}: {joined}"
            );
            assert_eq!((&joined["seq"], &joined["epoch"]), (&newest.into(), &epoch[..].into()), "{joined}");
            if reason == "trimmed" {
                let oldest = newest - 9;
                let from = position["seq"].as_u64().expect("a seq") + 1;
                assert_eq!(joined["gap"], json!({"from": from, "to": oldest - 1}), "{joined}");
                // The line that is said at the end may trim what is left, before it is sent. Here it all comes in time.
                assert_eq!(seqs, (oldest..=newest).collect::<Vec<u64>>(), "{position}");
            } else {
                assert_eq!((joined.get("gap"), &seqs[..]), (None, &[][..]), "{position}: live from here");
            }
        }
    }
}

/// > the row at `seq`, if kept, has that `time` (a rewound log can reuse a number)
///
/// At the edge: the line itself is gone, but nothing behind it; its time cannot be looked at, and does not need to.
#[test]
fn a_position_at_the_edge_of_what_is_kept_is_good() {
    let (server, mut bob, _) = room(&["--recent-messages", "10"], 15);
    let epoch = bob.places["tea"].epoch.clone();
    for (time, recovered) in [(json!("2001-01-01T00:00:00.000Z"), true), (Value::Null, true)] {
        let seq = bob.places["tea"].seq - 10;
        let (joined, seqs) = come_with(&server, true, &json!({"epoch": epoch, "seq": seq, "time": time}));
        assert_eq!(joined["recovered"], recovered, "{joined}");
        assert_eq!(seqs, (seq + 1..=seq + 10).collect::<Vec<u64>>());
        bob.until("that line", |frame| frame["message"] == "the end");
    }
}

/// > to this client only
#[test]
fn nobody_else_hears_of_a_bad_position() {
    let (server, mut bob, _) = room(&["--recent-messages", "10"], 15);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    for position in [r#""epoch":"x","seq":0"#, r#""epoch":"x","seq":99"#] {
        alice.return_with(&server, &format!(r#""rooms":[{{"room":"tea",{position}}}]"#));
        alice.joined("@me");
        assert_eq!(alice.joined("tea")["reason"], "epoch");
        alice.quiet();
    }
    bob.quiet();
    // And she goes on as if nothing had been.
    bob.say("tea", "next");
    bob.expect_chat("bob", "next");
    assert_eq!(alice.expect_chat("bob", "next"), 16);
}

/// > A reader who has missed much is fed as fast as it reads, a page at a time, room after room, and becomes live in a room
/// > when it has all of it.
///
/// Long lines, many of them, in two rooms and the own stream at once: each room in its own order, exactly.
#[test]
fn several_rooms_are_caught_up_with_at_once() {
    let server = Server::start(&["--rate", "0", "--recent-messages", "2000"]);
    let mut bob = V1::come(&server, "bob", &["tea", "cake"]);
    let mut alice = V1::come(&server, "alice", &["tea", "cake"]);
    for _ in 0..2 {
        bob.typed("user_join");
    }
    alice.cut();
    for number in 0..300 {
        for room in ["tea", "cake"] {
            bob.say(room, &format!("{number} {}", "x".repeat(number * 7)));
            bob.typed("chat");
        }
        bob.send(r#"{"type":"private","to":"alice","message":"psst"}"#);
        bob.typed("private");
    }
    alice.resume(&server);
    bob.say("tea", "live");
    bob.expect_chat("bob", "live");
    while alice.places.values().any(|place| place.seq < 300) || alice.places["tea"].seq < 301 {
        alice.json();
    }
    alice.quiet();
    for room in ["tea", "cake"] {
        assert_eq!(alice.view[room], bob.view[room]);
    }
    assert_eq!(alice.view["@me"].len(), 300);
}

/// > fewer come when they would be more than 256 KiB, but at least one
///
/// > `messages` (the frames as they were sent)
///
/// > A reader
///
/// > on a jump asks `history after:last`.
#[test]
fn a_history_has_the_frames_as_they_were_sent() {
    let server = Server::start(&["--rate", "0"]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut frames = Vec::new();
    for number in 1..=9 {
        bob.send(&format!(r#"{{"type":"chat","message":"{number} {}","id":"i{number}"}}"#, "x".repeat(60_000)));
        frames.push(bob.typed("chat"));
        bob.ack();
    }
    bob.send(r#"{"type":"history","after":2,"ref":"h"}"#);
    let history = bob.typed("history");
    assert_eq!((&history["room"], &history["ref"], &history["more"]), (&"tea".into(), &"h".into(), &true.into()));
    assert_eq!((&history["oldest"], &history["newest"]), (&1.into(), &9.into()));
    assert_eq!(history["epoch"], bob.places["tea"].epoch[..]);
    assert_eq!(
        history["messages"],
        Value::from(frames[2..6].to_vec()),
        "four of them are 240 kB, five more than 256 KiB"
    );
    bob.send(r#"{"type":"history","after":6}"#);
    let history = bob.typed("history");
    assert_eq!((&history["messages"], &history["more"]), (&Value::from(frames[6..].to_vec()), &false.into()));
}
