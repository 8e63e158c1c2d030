//! What is not needed any more is not kept.

use std::io::{Read as _, Write as _};

use crate::client::V1;
use crate::common::raw::{TEXT, frame, parse};
use crate::common::server::Server;

/// Sends so many private messages to a user, and takes the sender's copies. It counts only, so it is fast.
#[track_caller]
fn write_to(client: &mut V1, user: &str, messages: usize) {
    const AT_ONCE: usize = 500;
    let line = frame(TEXT, format!(r#"{{"type":"private","to":"{user}","message":"are you there?"}}"#).as_bytes());
    let lines = line.repeat(AT_ONCE);
    let stream = &mut client.wire().stream;
    let mut buffer = Vec::new();
    for _ in 0..messages / AT_ONCE {
        stream.write_all(&lines).expect("the server takes lines");
        let mut came = 0;
        while came < AT_ONCE {
            let mut chunk = [0; 16_384];
            let length = stream.read(&mut chunk).expect("the copies come");
            buffer.extend_from_slice(&chunk[..length]);
            let mut taken = 0;
            while let Some((copy, length)) = parse(&buffer[taken..]) {
                assert!(copy.text().starts_with(r#"{"type":"private""#), "{copy:?}");
                taken += length;
                came += 1;
            }
            buffer.drain(..taken);
        }
    }
}

/// > A user who is away keeps receiving into the stream
///
/// Everything has a limit: five lines of the stream are kept here, and so what 200,000 cost is what five cost.
#[test]
fn writing_to_who_is_away_leaves_nothing_behind() {
    let server = Server::start(&["--rate", "0", "--recent-messages", "5", "--log", "warn"]);
    let mut gone = V1::come(&server, "gone", &[]);
    gone.goodbye();
    let mut bob = V1::come(&server, "bob", &[]);
    bob.goodbye();
    let mut alice = V1::come(&server, "alice", &[]);
    write_to(&mut alice, &bob.user, 20_000);
    let before = server.resident_bytes();
    write_to(&mut alice, &bob.user, 200_000);
    let kept = server.resident_bytes().saturating_sub(before);
    assert!(kept < 2_000_000, "{kept} bytes are kept of 200,000 messages, of which there are five");
}

/// > | 1013 | overloaded: the server has no room for it now | reconnect and resume |
///
/// > Sooner it goes only with a store in memory, or as any room there may when there are more than `--rooms-max`. Its next life has a new
/// > epoch.
///
/// > if that is `@me`, the connection is closed with 1013
#[test]
fn streams_make_place_when_there_are_too_many_rooms() {
    let server = Server::start(&["--rooms-max", "4", "--rate", "0"]);
    let mut alice = V1::come(&server, "alice", &[]);
    alice.send(r#"{"type":"private","to":"alice","message":"note"}"#);
    alice.typed("private");
    alice.goodbye();
    // Her stream, bob's, and two rooms: as many as there may be.
    let mut bob = V1::come(&server, "bob", &["tea", "cake"]);
    alice.return_with(&server, &format!(r#""rooms":{}"#, alice.positions()));
    assert_eq!(alice.joined("@me")["recovered"], true);
    alice.goodbye_at_last();
    bob.send(r#"{"type":"join","room":"pie"}"#);
    bob.joined("pie");
    bob.send(r#"{"type":"join","room":"jam","ref":"j"}"#);
    assert_eq!(bob.expect_error("overloaded")["ref"], "j");
    let hello = format!(r#"{{"type":"hello","session":"{}","rooms":{}}}"#, alice.session, alice.positions());
    let mut refused = crate::wire::Wire::open(&server, "alice");
    refused.send(&hello);
    let (_, code) = refused.rest();
    assert_eq!(code, Some(1013));
    bob.send(r#"{"type":"leave","room":"pie"}"#);
    bob.typed("left");
    alice.return_with(&server, &format!(r#""rooms":{}"#, alice.positions()));
    let joined = alice.joined("@me");
    assert_eq!((&joined["recovered"], &joined["reason"], &joined["seq"]), (&false.into(), &"epoch".into(), &0.into()));
    alice.quiet();
    bob.quiet();
}

/// > A room that the server cannot make ready now is answered with `overloaded` or `internal` in place of its `joined`
///
/// The others are come into all the same.
#[test]
fn a_room_too_many_in_hello_is_told_in_its_place() {
    let server = Server::start(&["--rooms-max", "3"]);
    let mut alice = V1::hello(&server, "alice", r#""rooms":[{"room":"a"},{"room":"b"},{"room":"c"},{"room":"a"}]"#);
    for room in ["@me", "a", "b"] {
        alice.joined(room);
    }
    let error = alice.expect_error("overloaded");
    assert_eq!((&error["room"], error.get("ref")), (&"c".into(), None), "{error}");
    alice.quiet();
    alice.say("b", "here");
    assert_eq!(alice.typed("chat")["room"], "b");
    // With place again, it may be joined.
    alice.send(r#"{"type":"leave","room":"a"}"#);
    alice.typed("left");
    alice.send(r#"{"type":"join","room":"c"}"#);
    alice.joined("c");
}
