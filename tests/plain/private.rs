//! Private messages.

use crate::common::server::Server;

/// > `{"type":"private","to":"bob","message":"hi"}` goes to one user, wherever that user is.
///
/// > goes to one user, wherever that user is. `to` is a name or a `user`. The sender gets a copy of its own, of type
/// > `private`; who receives it gets it as `system`.
#[test]
fn a_private_message_reaches_one_user_in_any_room() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "one", 1);
    let mut bob = server.join("bob", "two", 1);
    let mut carol = server.join("carol", "one", 2);
    assert_eq!(alice.json()["type"], "user_join");
    bob.send("hello");
    bob.expect(
        r#"{"type":"chat","from":"bob","message":"hello","timestamp":"<T>","room":"two","seq":1,"user":"<U2>"}"#,
    );
    for to in ["bob", "BOB", " Bob ", "<U2>"] {
        alice.send(&format!(r#"{{"type":"private","to":"{to}","message":"psst","id":"{to}"}}"#));
        let copy = alice.json();
        assert_eq!(
            (&copy["type"], &copy["room"], &copy["to"]),
            (&"private".into(), &"@me".into(), &"bob".into()),
            "{copy}"
        );
        assert_eq!(
            (&copy["from"], &copy["message"], copy.get("seq")),
            (&"alice".into(), &"psst".into(), None),
            "{copy}"
        );
        let ack = alice.json();
        assert_eq!((&ack["type"], &ack["room"], ack.get("seq")), (&"ack".into(), &"@me".into(), None), "{ack}");
        bob.expect(r#"{"type":"system","message":"alice (private): psst","timestamp":"<T>"}"#);
    }
    for client in [&mut alice, &mut bob, &mut carol] {
        client.quiet();
    }
}

/// > | `no_such_user` | section 6 |
///
/// > Nobody by that name or user: error `no_such_user`.
#[test]
fn a_private_message_to_nobody_is_an_error() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "one", 1);
    for to in ["carol", "", "uaaaaaaaaaaaaaaaa", "@me", "x\\u0000"] {
        alice.send(&format!(r#"{{"type":"private","to":"{to}","message":"psst","id":"i","ref":"r"}}"#));
        let error = alice.expect_error("no_such_user");
        assert_eq!((&error["id"], &error["ref"]), (&"i".into(), &"r".into()), "{to}");
    }
    alice.send(r#"{"type":"private","message":"psst"}"#);
    alice.expect_error("bad_request");
}

/// > It has no `seq` and is kept nowhere.
///
/// > Sending the same `id` to the same room again is harmless
#[test]
fn a_private_retry_is_shown_once_even_when_the_reader_has_gone() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "one", 1);
    let mut bob = server.join("bob", "one", 2);
    assert_eq!(alice.json()["type"], "user_join");
    let line = r#"{"type":"private","to":"bob","message":"psst","id":"p1"}"#.to_owned();
    alice.send_all([line.clone(), line.clone()]);
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let frame = alice.json();
        kinds.push((frame["type"].as_str().expect("a type").to_owned(), frame["duplicate"] == true));
    }
    assert_eq!(kinds, [("private".into(), false), ("ack".into(), false), ("ack".into(), true)]);
    bob.expect(r#"{"type":"system","message":"alice (private): psst","timestamp":"<T>"}"#);
    bob.quiet();
    bob.send(r#"{"type":"history"}"#);
    assert_eq!(bob.json()["newest"], 0);
    bob.close(1000, "");
    bob.closed();
    assert_eq!(alice.json()["type"], "user_leave");
    alice.send(&line);
    alice.expect(r#"{"type":"ack","id":"p1","room":"@me","duplicate":true,"timestamp":"<T>"}"#);
}
