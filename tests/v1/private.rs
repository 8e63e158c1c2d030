//! Private messages: in one step into the streams of both, each with its own numbers, resumed like a room.

use serde_json::json;

use crate::client::V1;
use crate::common::server::Server;
use crate::wire::Wire;

#[track_caller]
fn tell(from: &mut V1, to: &str, message: &str) {
    from.send(&json!({"type": "private", "to": to, "message": message}).to_string());
}

/// The next frame has to be this private message; gives its `seq`.
#[track_caller]
fn expect(client: &mut V1, from: &str, to: &str, message: &str) -> u64 {
    let frame = client.typed("private");
    let of = |field: &str| frame[field].as_str().unwrap_or_default();
    assert_eq!((of("room"), of("from"), of("to"), of("message")), ("@me", from, to, message), "{frame}");
    frame["seq"].as_u64().expect("a seq")
}

/// > | the sender gets | `private`, with the `seq` of its own stream |
///
/// > `id` is the sender's own, and the other one's frame has it too: tell your own lines by `user`.
///
/// > A private message is stored in one step in the streams (`@me`, each with its own epoch and seq) of both users
///
/// > Each side's frame has its own stream's `seq`.
///
/// > | the `ack`, if there is an `id` | with `"room":"@me"` and the `seq` of the sender's stream |
///
/// > A note to oneself is in the stream once.
#[test]
fn each_side_has_its_own_numbers() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    let mut bob = V1::come(&server, "bob", &["cake"]);
    let mut carol = V1::come(&server, "carol", &[]);
    assert_ne!(alice.places["@me"].epoch, bob.places["@me"].epoch);
    tell(&mut carol, "bob", "one for the numbers");
    assert_eq!(expect(&mut carol, "carol", "bob", "one for the numbers"), 1);
    assert_eq!(expect(&mut bob, "carol", "bob", "one for the numbers"), 1);
    alice.send(r#"{"type":"private","to":"BOB","message":"psst","id":"p1","ref":"r"}"#);
    alice.expect(r#"{"type":"private","room":"@me","seq":1,"from":"alice","user":"<U1>","to":"bob","message":"psst","id":"p1","timestamp":"<T1>"}"#);
    alice.expect(r#"{"type":"ack","id":"p1","room":"@me","seq":1,"ref":"r","timestamp":"<T>"}"#);
    bob.expect(r#"{"type":"private","room":"@me","seq":2,"from":"alice","user":"<U1>","to":"bob","message":"psst","id":"p1","timestamp":"<T1>"}"#);
    tell(&mut bob, &alice.user, "what?");
    assert_eq!(expect(&mut bob, "bob", "alice", "what?"), 3);
    assert_eq!(expect(&mut alice, "bob", "alice", "what?"), 2);
    // To oneself: once.
    alice.send(r#"{"type":"private","to":"alice","message":"note","id":"n"}"#);
    assert_eq!(expect(&mut alice, "alice", "alice", "note"), 3);
    assert_eq!(alice.ack(), ("n".into(), 3, false));
    for client in [&mut alice, &mut bob, &mut carol] {
        client.quiet();
    }
}

/// > Private messages to somebody who is away are kept (section 17), and so are the lines of its rooms.
///
/// > if it was away, on coming back with a position
///
/// > A user who is away keeps receiving into the stream: within the grace by name or `user`, after it by `user`
///
/// > `to` is the other one's name when it was said; its `user`, if it had left.
#[test]
fn who_is_away_keeps_receiving() {
    let server = Server::start(&["--rate", "0", "--grace-ms", "60000"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    let mut bob = V1::come(&server, "bob", &["cake"]);
    let user = bob.user.clone();
    for round in 0..4 {
        // In the grace, by name and by user; then behind a half-open connection.
        if round % 2 == 0 {
            bob.cut();
        }
        tell(&mut alice, "bob", "by name");
        expect(&mut alice, "alice", "bob", "by name");
        tell(&mut alice, &user, "by user");
        expect(&mut alice, "alice", "bob", "by user");
        bob.resume(&server);
        expect(&mut bob, "alice", "bob", "by name");
        expect(&mut bob, "alice", "bob", "by user");
        bob.quiet();
    }
    // Gone for good, as it seems: the user is known, the name is nobody's.
    bob.goodbye();
    alice.send(r#"{"type":"private","to":"bob","message":"by name","id":"i","ref":"r"}"#);
    let error = alice.expect_error("no_such_user");
    assert_eq!((&error["id"], &error["ref"]), (&"i".into(), &"r".into()));
    for message in ["one", "two"] {
        alice.send(&json!({"type": "private", "to": user, "message": message, "id": message}).to_string());
        expect(&mut alice, "alice", &user, message);
        assert!(!alice.ack().2);
    }
    let entries = bob.positions();
    bob.return_with(&server, &format!(r#""rooms":{entries}"#));
    assert_eq!(bob.joined("@me")["recovered"], true);
    bob.until("one", |frame| frame["message"] == "one");
    bob.until("two", |frame| frame["message"] == "two");
    bob.quiet();
    assert_eq!(bob.view["@me"].len(), 10);
    alice.quiet();
}

/// > Every user of `chinwag.v1` has a stream, shown to it as the room `@me`, which nobody else can read: its private
/// > messages, those that it got and copies of those that it sent. It has an `epoch`, a `seq`, positions and
/// > `history` like a room; `hello` takes a position of it, and its `joined` follows `welcome`.
///
/// > resumed like a room
///
/// Without a position it is live; what was there is in its history. What is trimmed is told.
#[test]
fn a_stream_is_read_like_a_room() {
    let server = Server::start(&["--rate", "0", "--recent-messages", "5"]);
    let mut alice = V1::come(&server, "alice", &[]);
    let mut bob = V1::come(&server, "bob", &[]);
    let start = bob.position("@me");
    bob.cut();
    for number in 1..=8 {
        tell(&mut alice, "bob", &number.to_string());
        expect(&mut alice, "alice", "bob", &number.to_string());
    }
    let mut frames = Vec::new();
    bob.return_with(&server, &format!(r#""rooms":[{{{start}}}]"#));
    let joined = bob.joined("@me");
    assert_eq!((&joined["reason"], &joined["gap"]), (&"trimmed".into(), &json!({"from": 1, "to": 3})), "{joined}");
    for number in 4..=8 {
        let frame = bob.typed("private");
        assert_eq!(frame["message"], number.to_string());
        frames.push(frame);
    }
    bob.quiet();
    for (begin, first) in [("", 9), (r#","last":2"#, 7), (r#","epoch":"x","seq":8"#, 9)] {
        bob.return_with(&server, &format!(r#""rooms":[{{"room":"@me"{begin}}}]"#));
        assert_eq!(bob.joined("@me")["recovered"], false);
        for number in first..=8 {
            assert_eq!(bob.typed("private")["seq"], number);
        }
        bob.quiet();
    }
    bob.send(r#"{"type":"history","room":"@me","limit":3}"#);
    let history = bob.typed("history");
    assert_eq!((&history["room"], &history["more"]), (&"@me".into(), &true.into()));
    assert_eq!(history["messages"], json!(frames[2..]), "the frames as they were sent");
    assert_eq!((&history["oldest"], &history["newest"]), (&4.into(), &8.into()));
    // Nobody else's can be read.
    let stream = format!("@{}", bob.user);
    for room in [&stream, "@bob", &bob.user] {
        alice.send(&format!(r#"{{"type":"history","room":"{room}"}}"#));
        let error = alice.typed("error");
        assert!(error["code"] == "room_invalid" || error["code"] == "not_joined", "{room}: {error}");
        alice.send(&format!(r#"{{"type":"join","room":"{room}","last":50}}"#));
        let answer = alice.json();
        assert!(answer["code"] == "room_invalid" || answer["seq"] == 0, "{room}: {answer}");
    }
}

/// > For `private` the room is `@me`; the `id` is looked up before `to`.
///
/// > is answered with `ack`, `duplicate:true` and the first `seq`, and is not shown again
#[test]
fn a_private_retry_is_shown_once() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    let mut bob = V1::come(&server, "bob", &[]);
    let private = |to: &str| format!(r#"{{"type":"private","to":"{to}","message":"psst","id":"p"}}"#);
    alice.wire().send_all([private("bob"), private("bob")]);
    assert_eq!(expect(&mut alice, "alice", "bob", "psst"), 1);
    assert_eq!((alice.ack(), alice.ack()), (("p".into(), 1, false), ("p".into(), 1, true)));
    expect(&mut bob, "alice", "bob", "psst");
    bob.goodbye();
    // Whoever it goes to now: it was said.
    for (round, to) in ["bob", "nobody", "", "alice"].into_iter().enumerate() {
        if round % 2 == 1 {
            alice.cut();
        }
        alice.resume(&server);
        alice.send(&private(to));
        assert_eq!(alice.ack(), ("p".into(), 1, true), "to {to:?}");
        alice.quiet();
    }
    // In a room it is another line.
    alice.send(r#"{"type":"chat","message":"psst","id":"p"}"#);
    alice.expect_chat("alice", "psst");
    assert_eq!(alice.ack(), ("p".into(), 1, false));
    bob.return_with(&server, &format!(r#""rooms":[{{{}}}]"#, bob.position("@me")));
    assert_eq!(bob.joined("@me")["recovered"], true);
    bob.quiet();
}

/// > Nobody by that name or user: `no_such_user`.
#[test]
fn a_private_message_to_nobody_is_an_error() {
    let server = Server::start(&[]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    let mut paul = server.join("paul", "cake", 1);
    paul.send("hi");
    let gone = paul.json()["user"].as_str().expect("a user").to_owned();
    paul.close(1000, "");
    paul.closed();
    // A plain user has no stream to be kept, and nobody can make one by writing to it.
    for to in ["carol", "", "uaaaaaaaaaaaaaaaa", "@me", "x\\u0000", &gone] {
        for _ in 0..2 {
            alice.send(&format!(r#"{{"type":"private","to":"{to}","message":"psst","id":"i","ref":"r"}}"#));
            let error = alice.expect_error("no_such_user");
            assert_eq!((&error["id"], &error["ref"]), (&"i".into(), &"r".into()), "{to}");
        }
    }
    alice.send(r#"{"type":"private","message":"psst"}"#);
    alice.expect_error("bad_request");
    alice.quiet();
    assert_eq!(alice.places["@me"].seq, 0, "nothing was stored");
}

/// > (What is written by or to somebody on `chinwag.v1` is kept for that one: section 17.)
///
/// > | somebody writes to one of them | `system`: `alice (private): psst` | `private` |
///
/// > A plain recipient has no stream.
///
/// > What would reach it unasked as another type (a private message,
///
/// > ) comes as `system` with the same facts
#[test]
fn between_plain_and_v1_each_gets_what_it_understands() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = V1::come(&server, "alice", &[]);
    let mut paul = server.join("paul", "tea", 1);
    alice.send(r#"{"type":"private","to":"paul","message":"psst","id":"a"}"#);
    assert_eq!(expect(&mut alice, "alice", "paul", "psst"), 1);
    assert_eq!(alice.ack(), ("a".into(), 1, false));
    paul.expect(r#"{"type":"system","message":"alice (private): psst","timestamp":"<T>"}"#);
    paul.send(r#"{"type":"private","to":"alice","message":"what?","id":"b"}"#);
    paul.expect(r#"{"type":"private","room":"@me","from":"paul","user":"<U2>","to":"alice","message":"what?","id":"b","timestamp":"<T>"}"#);
    paul.expect(r#"{"type":"ack","id":"b","room":"@me","timestamp":"<T>"}"#);
    assert_eq!(expect(&mut alice, "paul", "alice", "what?"), 2);
    // Away, she gets it later; a retry by whom has no stream is one too.
    alice.cut();
    for duplicate in [false, true] {
        paul.send(r#"{"type":"private","to":"alice","message":"are you there?","id":"c"}"#);
        if !duplicate {
            assert_eq!(paul.json()["type"], "private");
        }
        assert_eq!(paul.json()["duplicate"] == true, duplicate);
    }
    alice.resume(&server);
    assert_eq!(expect(&mut alice, "paul", "alice", "are you there?"), 3);
    alice.quiet();
    paul.quiet();
}

/// > A private message is stored in one step
///
/// > A private message is stored in both streams or in none (section 17).
///
/// Many, both ways, while both are cut again and again: neither stream has a hole or a repeat, and both say the same.
#[test]
fn both_streams_agree_through_many_cuts() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = V1::come(&server, "alice", &[]);
    let mut bob = V1::come(&server, "bob", &[]);
    for round in 0..60 {
        let (from, to, name) =
            if round % 2 == 0 { (&mut alice, &mut bob, "bob") } else { (&mut bob, &mut alice, "alice") };
        for part in 0..3 {
            let id = format!("{round}.{part}");
            from.send(&json!({"type": "private", "to": name, "message": id, "id": id}).to_string());
        }
        if round % 3 == 0 {
            to.cut();
        }
        // The sender does not wait for its own copies either.
        if round % 5 == 0 {
            from.cut();
            from.resume(&server);
            for part in 0..3 {
                let id = format!("{round}.{part}");
                from.send(&json!({"type": "private", "to": name, "message": id, "id": id}).to_string());
            }
        }
        from.until("the last ack", |frame| frame["type"] == "ack" && frame["id"] == format!("{round}.2"));
        to.resume(&server);
    }
    for client in [&mut alice, &mut bob] {
        while client.places["@me"].seq < 180 {
            client.json();
        }
        client.send(r#"{"type":"ping"}"#);
        client.until("the pong", |frame| frame["type"] == "pong");
        assert_eq!(client.view["@me"].len(), 180);
    }
    assert_eq!(alice.view, bob.view);
}

/// > `join`, `leave`, `chat`, `who` and `typing` know no such room (`room_invalid`).
///
/// > A plain user has none.
#[test]
fn only_history_knows_the_stream_as_a_room() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    let mut paul = server.join("paul", "cake", 1);
    tell(&mut alice, "alice", "note");
    expect(&mut alice, "alice", "alice", "note");
    for kind in ["join", "leave", "chat", "who", "typing", "history"] {
        let command = format!(r#"{{"type":"{kind}","room":"@me","ref":"{kind}"}}"#);
        paul.send(&command);
        let error = paul.expect_error("room_invalid");
        assert_eq!((&error["room"], &error["ref"]), (&"@me".into(), &kind.into()));
        alice.send(&command);
        if kind == "history" {
            assert_eq!(alice.typed("history")["messages"][0]["message"], "note");
        } else {
            let error = alice.expect_error("room_invalid");
            assert_eq!((&error["room"], &error["ref"]), (&"@me".into(), &kind.into()));
        }
    }
    alice.quiet();
}

/// > It counts as a room for `--recent-messages`, `--recent-bytes` and `--rooms-max`, not for `--rooms-per-connection`.
///
/// The stream that holds most loses its oldest line, and no room does. (The other three: `a_stream_is_read_like_a_room`,
/// `streams_make_place_when_there_are_too_many_rooms`, `a_welcome_tells_the_limits_as_they_are`.)
#[test]
fn a_stream_counts_for_the_bytes_that_are_kept() {
    let server = Server::start(&["--rate", "0", "--recent-bytes", "150000", "--message-bytes", "20000"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    alice.say("tea", "small");
    alice.expect_chat("alice", "small");
    for number in 1..=20 {
        tell(&mut alice, "alice", &"x".repeat(19_000));
        assert_eq!(alice.typed("private")["seq"], number);
    }
    let mut oldest = |room: &str| {
        alice.send(&format!(r#"{{"type":"history","room":"{room}","limit":1}}"#));
        alice.typed("history")["oldest"].as_u64().expect("a seq")
    };
    assert!(oldest("@me") > 12, "150 kB hold seven of 19 kB");
    assert_eq!(oldest("tea"), 1);
}

/// > dropped 30 days, or up to a day more, after the user was last seen
///
/// Until then it is kept, though nobody is there: its numbers go on.
#[test]
fn a_stream_goes_on_where_it_was() {
    let server = Server::start(&[]);
    let mut alice = V1::come(&server, "alice", &[]);
    tell(&mut alice, "alice", "note");
    expect(&mut alice, "alice", "alice", "note");
    alice.goodbye();
    let wire = Wire::open(&server, "alice");
    let fields = format!(r#""session":"{}","rooms":{}"#, alice.session, alice.positions());
    alice.greet(wire, &fields);
    let joined = alice.joined("@me");
    assert_eq!((&joined["recovered"], &joined["seq"]), (&true.into(), &1.into()), "{joined}");
    let guest = alice.name.clone();
    tell(&mut alice, &guest, "another");
    assert_eq!(alice.typed("private")["seq"], 2);
}
