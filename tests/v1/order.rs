//! What comes before what.

use crate::client::V1;
use crate::common::server::Server;
use crate::wire::Wire;

/// > An `ack` means: it has a `seq` and is stored as the storage policy promises.
///
/// > To a live member its own `chat` comes first, then the `ack`. An `ack` means: it has a `seq` and is stored
#[test]
fn ones_own_line_comes_before_its_ack() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = V1::come(&server, "alice", &["tea", "cake"]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    alice.typed("user_join");
    alice.send(r#"{"type":"chat","message":"hi","id":"one","ref":"r"}"#);
    alice.expect(r#"{"type":"chat","from":"alice","message":"hi","timestamp":"<T1>","room":"tea","seq":1,"user":"<U1>","id":"one"}"#);
    alice.expect(r#"{"type":"ack","id":"one","room":"tea","seq":1,"ref":"r","timestamp":"<T>"}"#);
    // The same frame for everybody.
    bob.expect(r#"{"type":"chat","from":"alice","message":"hi","timestamp":"<T1>","room":"tea","seq":1,"user":"<U1>","id":"one"}"#);
    bob.quiet();
    // Many at once, in two rooms: each line before its ack, lines in order, acks in order within a room.
    let room = |number: u64| if number.is_multiple_of(3) { "cake" } else { "tea" };
    let line = |number| format!(r#"{{"type":"chat","room":"{}","message":"{number}","id":"{number}"}}"#, room(number));
    alice.wire().send_all((0..600).map(line));
    let mut acked = 0;
    while acked < 600 {
        let frame = alice.json();
        if frame["type"] == "ack" {
            let (id, room) = (frame["id"].as_str().expect("an id"), frame["room"].as_str().expect("a room"));
            assert!(alice.view[room].iter().any(|line| line == id), "the ack came first: {frame}");
            assert!(alice.places[room].seq >= frame["seq"].as_u64().expect("a seq"));
            acked += 1;
        }
    }
    let of_room = |which: &str| -> Vec<String> {
        (0..600).filter(|&number| room(number) == which).map(|number| number.to_string()).collect()
    };
    assert_eq!(alice.view["tea"][1..], of_room("tea"));
    assert_eq!(alice.view["cake"], of_room("cake"));
    alice.quiet();
}

/// > (One who catches up may get the `ack` before the line.)
///
/// > It never advances a reader.
///
/// Who speaks while catching up is acknowledged before the line comes in its place; nothing before it is lost for that.
#[test]
fn an_ack_does_not_advance_who_catches_up() {
    const MISSED: u64 = 900;
    let server = Server::start(&["--rate", "0"]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    alice.cut();
    bob.wire().send_all((0..MISSED).map(|n| format!(r#"{{"type":"chat","message":"{n} {}"}}"#, "x".repeat(300))));
    for _ in 0..MISSED {
        bob.typed("chat");
    }
    let fields = format!(r#""session":"{}","rooms":{}"#, alice.session, alice.positions());
    let mut wire = Wire::open(&server, "alice");
    let chat = r#"{"type":"chat","message":"me too","id":"m"}"#;
    wire.send_all([&format!(r#"{{"type":"hello",{fields}}}"#), chat, chat]);
    alice.go_on_over(wire);
    let mut acks = Vec::new();
    while alice.places["tea"].seq < MISSED + 1 || acks.len() < 2 {
        let frame = alice.json();
        if frame["type"] == "ack" {
            assert_eq!(frame["seq"], MISSED + 1, "{frame}");
            acks.push(frame["duplicate"] == true);
        }
    }
    assert_eq!(acks, [false, true]);
    assert_eq!(alice.view["tea"].last().map(String::as_str), Some("me too"));
    bob.expect_chat("alice", "me too");
    alice.quiet();
    bob.quiet();
}

/// > A leave or rename takes effect after the user's last line that the store has not answered yet.
#[test]
fn a_leave_a_rename_and_a_goodbye_come_after_the_last_line() {
    let server = Server::start(&["--rate", "0"]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut paul = server.join("paul", "tea", 2);
    bob.typed("user_join");
    let chat = r#"{"type":"chat","message":"last words","id":"w"}"#;
    for round in 0..5 {
        let mut alice = V1::come(&server, "alice", &["tea"]);
        assert_eq!(
            (bob.typed("user_join")["online_count"].clone(), paul.json()["online_count"].clone()),
            (3.into(), 3.into())
        );
        alice.wire().send_all([chat.replace("\"w\"", "\"w1\""), r#"{"type":"name","name":"anna"}"#.into()]);
        bob.expect_chat("alice", "last words");
        assert_eq!(bob.typed("user_rename")["to"], "anna");
        paul.expect_chat("alice", "last words");
        paul.expect(r#"{"type":"system","message":"alice is now known as anna","timestamp":"<T>"}"#);
        alice.expect_chat("alice", "last words");
        alice.until("the rename", |frame| frame["type"] == "user_rename");
        if round % 2 == 0 {
            alice.wire().send_all([chat, r#"{"type":"leave","room":"tea"}"#]);
            alice.until("the line", |frame| frame["message"] == "last words");
            // Its ack may come before `left` or after it.
            alice.until("the leave", |frame| frame["type"] == "left");
            alice.send(r#"{"type":"ping"}"#);
            alice.until("the pong", |frame| frame["type"] == "pong");
            alice.goodbye();
        } else {
            alice.send(chat);
            alice.wire().say_close(Some(1000));
        }
        bob.expect_chat("anna", "last words");
        assert_eq!(bob.typed("user_leave")["name"], "anna");
        paul.expect_chat("anna", "last words");
        assert_eq!(paul.json()["type"], "user_leave");
    }
}

/// > Frames that are not stored pass at once: `user_join`, `user_rename`, answers, acknowledgements
///
/// Who catches up over a connection that takes little is told of them long before it has caught up.
#[test]
fn what_is_not_stored_does_not_wait_for_the_catching_up() {
    const MISSED: u64 = 300;
    let server = Server::start(&["--rate", "0"]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    alice.cut();
    for number in 1..=MISSED {
        bob.say("tea", &format!("{number} {}", "x".repeat(60_000)));
        assert_eq!(bob.typed("chat")["seq"], number);
    }
    alice.return_slowly(&server);
    for room in ["@me", "tea"] {
        assert_eq!(alice.joined(room)["recovered"], true);
    }
    // She is owed 18 MB, and has read next to nothing of it.
    let _carol = V1::come(&server, "carol", &["tea"]);
    bob.typed("user_join");
    bob.send(r#"{"type":"name","name":"ben"}"#);
    bob.typed("user_rename");
    alice.send(r#"{"type":"ping","t":"now"}"#);
    let mut told = Vec::new();
    while told.len() < 3 {
        let frame = alice.json();
        match frame["type"].as_str() {
            Some("chat") => {}
            Some(kind) => told.push(kind.to_owned()),
            None => panic!("{frame}"),
        }
    }
    told.sort();
    assert_eq!(told, ["pong", "user_join", "user_rename"]);
    let at = alice.places["tea"].seq;
    assert!(at < MISSED, "they came behind all of what was missed");
    while alice.places["tea"].seq < MISSED {
        alice.typed("chat");
    }
    alice.quiet();
    eprintln!("told at line {at} of {MISSED}");
}
