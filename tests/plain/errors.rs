//! Errors: every code, and what comes back with it.

use crate::common::server::Server;

/// > `retry` says whether the same request may succeed later.
///
/// > What a command gets wrong is answered with an `error`, to its sender only, and the connection lives on
///
/// > `room`, `ref` and `id` are the request's own, where it has them
#[test]
fn an_error_has_what_the_request_had() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "tea", 1);
    let mut bob = server.join("bob", "tea", 2);
    assert_eq!(alice.json()["type"], "user_join");
    alice.send(r#"{"type":"chat","message":"x","room":"cake","ref":"r1","id":"m1"}"#);
    let frame = alice.expect_error("not_joined");
    assert_eq!((&frame["room"], &frame["ref"], &frame["id"]), (&"cake".into(), &"r1".into(), &"m1".into()));
    alice.send(r#"{"type":"leave","room":"cake"}"#);
    let frame = alice.expect_error("not_joined");
    assert_eq!((&frame["room"], frame.get("ref"), frame.get("id")), (&"cake".into(), None, None));
    alice.send(r#"{"type":"dance","ref":"r2"}"#);
    assert_eq!(alice.expect_error("unknown_type")["ref"], "r2");
    alice.send(r#"{"type":"chat","message":7,"ref":"r3","id":"m3"}"#);
    assert_eq!(alice.expect_error("bad_request")["ref"], "r3");
    bob.quiet();
    alice.send("and on it goes");
    alice.expect_chat("alice", "and on it goes");
}

/// > | `bad_request` | a known field of the wrong type, a needed one missing, a number out of range; `hello` (it is for
/// > `chinwag.v1`) |
#[test]
fn bad_requests() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.join("alice", "tea", 1);
    for text in [
        r#"{"type":"hello"}"#,
        r#"{"type":"hello","name":"x","rooms":[]}"#,
        r#"{"type":"join"}"#,
        r#"{"type":"join","room":null}"#,
        r#"{"type":"join","room":["tea"]}"#,
        r#"{"type":"leave"}"#,
        r#"{"type":"name"}"#,
        r#"{"type":"name","name":7}"#,
        r#"{"type":"private","message":"x"}"#,
        r#"{"type":"private","to":7,"message":"x"}"#,
        r#"{"type":"private","to":"alice","message":{}}"#,
        r#"{"type":"who","room":7}"#,
        r#"{"type":"typing","room":{}}"#,
        r#"{"type":"ping","t":[]}"#,
        r#"{"type":"ping","t":true}"#,
        r#"{"type":"ping","ref":7}"#,
    ] {
        alice.send(text);
        let frame = alice.json();
        assert_eq!((&frame["type"], &frame["code"]), (&"error".into(), &"bad_request".into()), "{text}: {frame}");
    }
}

/// > | `too_large` | `ref`, `id` or a string `t` of more than 64 bytes |
#[test]
fn fields_that_are_too_large() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.join("alice", "tea", 1);
    let (good, bad) = ("é".repeat(32), format!("{}x", "é".repeat(32)));
    for field in ["ref", "t"] {
        alice.send(&format!(r#"{{"type":"ping","{field}":"{good}"}}"#));
        assert_eq!(alice.json()[field], *good);
        alice.send(&format!(r#"{{"type":"ping","{field}":"{bad}"}}"#));
        alice.expect_error("too_large");
    }
    alice.send(&format!(r#"{{"type":"chat","message":"x","id":"{good}"}}"#));
    assert_eq!((alice.json()["type"].clone(), alice.json()["id"].clone()), ("chat".into(), (*good).into()));
    alice.send(&format!(r#"{{"type":"chat","message":"x","id":"{bad}"}}"#));
    alice.expect_error("too_large");
    alice.send(&format!(r#"{{"type":"private","to":"alice","message":"x","id":"{bad}"}}"#));
    alice.expect_error("too_large");
    alice.quiet();
}

/// > | `room_invalid` | not the name of a room (section 1.1) |
#[test]
fn rooms_that_are_none() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.join("alice", "tea", 1);
    let long = "x".repeat(65);
    for room in ["", "@me", "a b", "ä", "a/b", "tea ", &long] {
        for kind in ["join", "chat", "history", "who", "leave", "typing"] {
            alice.send(&format!(r#"{{"type":"{kind}","room":"{room}","message":"x","ref":"r"}}"#));
            let frame = alice.json();
            assert_eq!(
                (&frame["code"], &frame["ref"]),
                (&"room_invalid".into(), &"r".into()),
                "{kind} {room:?}: {frame}"
            );
        }
    }
    alice.quiet();
}

/// > of a request that is wrong in itself, those that are strings of up to 64 bytes.
///
/// What is longer, or no string, is left out; the rest is there.
#[test]
fn an_error_of_a_bad_request_has_what_is_good_of_it() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.join("alice", "tea", 1);
    let (good, long) = ("x".repeat(64), "x".repeat(65));
    for (fields, code, room, reference, id) in [
        (format!(r#""room":"{good}","ref":"{good}","id":"{good}","message":7"#), "bad_request", true, true, true),
        (format!(r#""room":"{long}","ref":"{good}","id":"{good}","message":7"#), "bad_request", false, true, true),
        (format!(r#""room":7,"ref":"{good}","id":"{good}""#), "bad_request", false, true, true),
        (format!(r#""room":"{good}","ref":"{good}","id":"{long}""#), "too_large", true, true, false),
        (format!(r#""room":"{good}","ref":"{good}","id":[7]"#), "bad_request", true, true, false),
        (format!(r#""room":"{good}","ref":"{long}","id":"{good}""#), "too_large", true, false, true),
        (format!(r#""room":"{good}","ref":7,"id":"{good}""#), "bad_request", true, false, true),
    ] {
        alice.send(&format!(r#"{{"type":"chat",{fields}}}"#));
        let error = alice.expect_error(code);
        for (field, there) in [("room", room), ("ref", reference), ("id", id)] {
            assert_eq!(error.get(field), there.then(|| good.clone().into()).as_ref(), "{field}, {fields}: {error}");
        }
    }
    // Of a request that is well formed, the room is what was asked for, however long.
    alice.send(&format!(r#"{{"type":"join","room":"{long}"}}"#));
    assert_eq!(alice.expect_error("room_invalid")["room"], long);
}
