//! Users and their names.

use std::collections::BTreeSet;

use crate::common::server::Server;

/// > If the name is taken or cannot be one, the client is welcomed under a guest's name all the same, and then told the
/// > error (section 3):
#[test]
fn a_name_in_the_query_that_cannot_be_had_is_an_error_after_the_welcome() {
    let server = Server::start(&[]);
    let _alice = server.join("alice", "tea", 1);
    let long = "x".repeat(33);
    for (name, code) in
        [("ALICE", "name_taken"), ("%20alice%20", "name_taken"), (&*long, "name_invalid"), ("a%0Ab", "name_invalid")]
    {
        let mut client = server.connect("other", &format!("/?name={name}"));
        client.expect(r#"{"type":"system","message":"Welcome to the chat room! 1 online","timestamp":"<T>"}"#);
        let error = client.expect_error(code);
        assert_eq!(error["retry"], false);
        client.send("who am I?");
        assert!(client.json()["from"].as_str().is_some_and(|name| name.starts_with("guest-")), "{name}");
        client.close(1000, "");
        client.closed();
    }
}

/// > encoded as in a web form (`%C3%A9` is é, `+` a space)
#[test]
fn a_name_in_the_query_is_encoded_as_in_a_web_form() {
    let server = Server::start(&[]);
    for (typed, name) in [
        ("Jos%C3%A9", "José"),
        ("Mary+Ann", "Mary Ann"),
        ("+a%20%20b+", "a b"),
        ("%F0%9F%A5%B3", "🥳"),
        ("a%26b%3Dc&room=x", "a&b=c"),
        ("%E5%BC%A0%E4%BC%9F", "张伟"),
    ] {
        let mut client = server.connect("client", &format!("/rooms/tea?x=1&name={typed}"));
        client.json();
        client.send("me");
        assert_eq!(client.json()["from"], name, "{typed}");
        client.close(1000, "");
        client.closed();
    }
}

/// > | `name_taken`, `name_invalid` | section 3 |
///
/// > Names are compared as RFC 8266 nicknames, across all rooms, so `Alice` and `ALICE` are one name, and only one user
/// > can have it at a time.
///
/// > A name is free again when its user has gone or taken another.
#[test]
fn a_name_belongs_to_one_user_at_a_time() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.join("Alice", "one", 1);
    let mut bob = server.join("bob", "two", 1);
    for taken in ["alice", "ALICE", " Alice ", "Ａｌｉｃｅ"] {
        bob.send(&format!(r#"{{"type":"name","name":"{taken}","ref":"n"}}"#));
        assert_eq!(bob.expect_error("name_taken")["ref"], "n", "{taken}");
    }
    bob.send("still me");
    bob.expect_chat("bob", "still me");
    alice.send(r#"{"type":"name","name":"ALICE"}"#);
    assert_eq!(alice.json()["to"], "ALICE", "one's own name may be written anew");
    alice.send(r#"{"type":"name","name":"carol"}"#);
    alice.expect(r#"{"type":"user_rename","user":"<U1>","from":"ALICE","to":"carol","message":"ALICE is now known as carol","timestamp":"<T>"}"#);
    bob.send(r#"{"type":"name","name":"alice"}"#);
    bob.expect(r#"{"type":"user_rename","user":"<U2>","from":"bob","to":"alice","message":"bob is now known as alice","timestamp":"<T>"}"#);
    let _watcher = server.join("watcher", "two", 2);
    assert_eq!(bob.json()["name"], "watcher");
    alice.close(1000, "");
    alice.closed();
    bob.send(r#"{"type":"name","name":"carol"}"#);
    assert_eq!(bob.json()["to"], "carol");
}

/// > Spaces at the ends go, several become one. Control characters, text direction overrides and other characters that
/// > cannot be seen are refused with `name_invalid`.
///
/// > A name is 1 to 32 characters (`--name-chars`) long.
#[test]
fn names_are_what_people_can_see() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.join("alice", "tea", 1);
    let (longest, too_long) = ("ö".repeat(32), "ö".repeat(33));
    for bad in ["", "   ", r"a\u0000", r"a\nb", r"a\u202eb", r"\u2066x", r"\u200b", r"\u3164", &too_long] {
        alice.send(&format!(r#"{{"type":"name","name":"{bad}"}}"#));
        alice.expect_error("name_invalid");
    }
    for (typed, name) in [("  bob  the   builder ", "bob the builder"), (&*longest, &*longest), ("张伟", "张伟")] {
        alice.send(&format!(r#"{{"type":"name","name":"{typed}"}}"#));
        assert_eq!(alice.json()["to"], name);
        alice.send("me");
        alice.expect_chat(name, "me");
    }
    let server = Server::start(&["--name-chars", "3"]);
    let mut alice = server.join("ali", "tea", 1);
    alice.send(r#"{"type":"name","name":"alice"}"#);
    alice.expect_error("name_invalid");
}

/// > | `{"type":"name","name":"bob"}` | `user_rename`, or error `name_taken` or `name_invalid` (you keep the old name) |
/// > `system`: `alice is now known as bob` |
#[test]
fn a_rename_is_told_once_to_everybody_who_shares_a_room() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "one", 1);
    let mut bob = server.join("bob", "one", 2);
    let mut carol = server.join("carol", "two", 1);
    assert_eq!(alice.json()["name"], "bob");
    for client in [&mut alice, &mut bob] {
        client.send(r#"{"type":"join","room":"three"}"#);
        assert_eq!(client.json()["type"], "joined");
    }
    assert_eq!(alice.json()["room"], "three");
    alice.send(r#"{"type":"name","name":"eve"}"#);
    alice.expect(r#"{"type":"user_rename","user":"<U1>","from":"alice","to":"eve","message":"alice is now known as eve","timestamp":"<T>"}"#);
    bob.expect(r#"{"type":"system","message":"alice is now known as eve","timestamp":"<T>"}"#);
    [&mut alice, &mut bob, &mut carol].into_iter().for_each(crate::common::client::Client::quiet);
    alice.send("hi");
    alice.expect_chat("eve", "hi");
    bob.expect_chat("eve", "hi");
}

/// > Each plain connection is a user of its own.
///
/// > | who it is | a new user each time |
///
/// > A `user` is `u` and 16 characters of `a`–`z` and `2`–`7`; it is random, and it is gone with the connection: who
/// > connects anew is a new user.
///
/// > Who has no name is called `guest-` and four or more letters or digits.
#[test]
fn every_connection_is_a_new_user() {
    let server = Server::start(&[]);
    let mut users = BTreeSet::new();
    let mut names = BTreeSet::new();
    for _ in 0..20 {
        let mut client = server.connect("client", "/");
        client.json();
        client.send(r#"{"type":"who"}"#);
        client.expect(r#"{"type":"presence","room":"lobby","users":[{"user":"<U>","name":"<N>"}],"online_count":1,"timestamp":"<T>"}"#);
        client.send("me");
        let frame = client.json();
        users.insert(frame["user"].to_string());
        names.insert(frame["from"].to_string());
        client.close(1000, "");
        client.closed();
    }
    assert_eq!(users.len(), 20);
    assert!(names.len() > 15, "guests are hardly told apart: {names:?}");
}

/// > `online_count` counts the users who are in that room.
///
/// > who is in the room (`room`, by default the first that you are in)
#[test]
fn who_lists_the_room_that_was_asked_for() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "one", 1);
    let mut bob = server.join("bob", "two", 1);
    alice.send(r#"{"type":"who","room":"two"}"#);
    assert_eq!(alice.expect_error("not_joined")["room"], "two");
    alice.send(r#"{"type":"join","room":"two"}"#);
    assert_eq!(alice.json()["online_count"], 2);
    bob.json();
    bob.send(r#"{"type":"who","ref":"w"}"#);
    let frame = bob.json();
    let mut names: Vec<&str> =
        frame["users"].as_array().expect("users").iter().filter_map(|u| u["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!((names, &frame["online_count"], &frame["ref"]), (vec!["alice", "bob"], &2.into(), &"w".into()));
    alice.send(r#"{"type":"who","room":"one"}"#);
    assert_eq!(alice.json()["online_count"], 1);
}
