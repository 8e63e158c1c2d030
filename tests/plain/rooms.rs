//! Paths and rooms: who is in which, and who hears of it.

use crate::common::server::{Launch, Server};

/// > | `/rooms/NAME` | `NAME` |
///
/// > A room begins to exist when somebody comes.
///
/// > Rooms are named with 1 to 64 characters of `A`–`Z`, `a`–`z`, `0`–`9`, `-`, `_` and `.`
///
/// > A connection is in its path's room at once: there is nothing to send first.
///
/// > | any other | `lobby` |
#[test]
fn the_path_names_the_room() {
    let server = Server::start(&[]);
    let paths = ["/", "/?name=x", "/chat", "/ws/?a=b", "/room/tea", "/rooms", "/metrics/x", "/rooms/lobby", "/a%20b"];
    for (number, path) in (1..).zip(paths) {
        let mut client = server.connect("first", path);
        client.expect(r#"{"type":"system","message":"Welcome to the chat room! 1 online","timestamp":"<T>"}"#);
        client.send("where?");
        let frame = client.json();
        assert_eq!((&frame["room"], &frame["seq"]), (&"lobby".into(), &number.into()), "{path}: {frame}");
        client.close(1000, "");
        client.closed();
    }
    let long = "x".repeat(64);
    for (path, room) in [("tea", "tea"), ("A-b_c.9", "A-b_c.9"), ("t", "t"), ("te%61", "tea"), (&long, &long)] {
        let mut client = server.connect("other", &format!("/rooms/{path}"));
        client.expect(r#"{"type":"system","message":"Welcome to the chat room! 1 online","timestamp":"<T>"}"#);
        client.send("where?");
        assert_eq!(client.json()["room"], room, "{path}");
        client.close(1000, "");
        client.closed();
    }
}

/// > capitals make a difference
#[test]
fn rooms_are_apart() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "tea", 1);
    let mut bob = server.join("bob", "Tea", 1);
    alice.send("is anybody there?");
    alice.expect_chat("alice", "is anybody there?");
    bob.quiet();
    bob.send("hello?");
    bob.expect_chat("bob", "hello?");
    alice.quiet();
}

/// > | `not_joined` | the user is not in that room, or in none |
///
/// > Where a command says no `room`, it means the first that the user is in: the one of the connection's path,
/// > until the user leaves it, then the one that was joined next.
///
/// > Any room may be left, also the path's.
#[test]
fn the_first_room_is_the_one_that_was_joined_first() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "one", 1);
    for room in ["two", "three"] {
        alice.send(&format!(r#"{{"type":"join","room":"{room}"}}"#));
        assert_eq!(alice.json()["type"], "joined");
    }
    for room in ["one", "two", "three"] {
        alice.send("where am I?");
        assert_eq!(alice.json()["room"], room);
        alice.send(r#"{"type":"history","limit":1}"#);
        assert_eq!(alice.json()["room"], room);
        alice.send(r#"{"type":"who"}"#);
        assert_eq!(alice.json()["room"], room);
        alice.send(&format!(r#"{{"type":"leave","room":"{room}"}}"#));
        alice.expect(&format!(r#"{{"type":"left","room":"{room}","timestamp":"<T>"}}"#));
    }
    for command in ["and now?", r#"{"type":"who"}"#, r#"{"type":"history"}"#, r#"{"type":"typing"}"#] {
        alice.send(command);
        alice.expect_error("not_joined");
    }
    alice.send(r#"{"type":"join","room":"four"}"#);
    assert_eq!(alice.json()["type"], "joined");
    alice.send("here!");
    assert_eq!(alice.json()["room"], "four");
}

/// > Joining a room that one is in is answered with `joined` and tells nobody; where to begin is not looked at then.
#[test]
fn joining_again_only_answers() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "tea", 1);
    let mut bob = server.join("bob", "tea", 2);
    assert_eq!(alice.json()["type"], "user_join");
    bob.send(r#"{"type":"join","room":"tea","ref":"again"}"#);
    bob.expect(r#"{"type":"joined","room":"tea","epoch":"<E1>","seq":0,"online_count":2,"recovered":false,"ref":"again","timestamp":"<T>"}"#);
    alice.quiet();
    alice.send("once");
    alice.expect_chat("alice", "once");
    bob.expect_chat("alice", "once");
    bob.send(r#"{"type":"join","room":"tea","last":1}"#);
    bob.expect(
        r#"{"type":"joined","room":"tea","epoch":"<E1>","seq":1,"online_count":2,"recovered":false,"timestamp":"<T>"}"#,
    );
    bob.quiet();
}

/// > | `{"type":"join","room":"tea"}` | `joined` | `user_join` |
///
/// > it goes, however it goes | the others | `user_leave` |
#[test]
fn a_user_in_several_rooms_leaves_them_all() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "one", 1);
    let mut bob = server.join("bob", "two", 1);
    let mut carol = server.join("carol", "one", 2);
    assert_eq!(alice.json()["type"], "user_join");
    carol.send(r#"{"type":"join","room":"two"}"#);
    assert_eq!(carol.json()["online_count"], 2);
    assert_eq!(bob.json()["type"], "user_join");
    drop(carol);
    alice.expect(r#"{"type":"user_leave","message":"carol left","online_count":1,"timestamp":"<T>","room":"one","user":"<U1>","name":"carol"}"#);
    bob.expect(r#"{"type":"user_leave","message":"carol left","online_count":1,"timestamp":"<T>","room":"two","user":"<U1>","name":"carol"}"#);
}

/// > | `room_limit` | a room too many (section 4) |
///
/// > A user can be in several rooms, 64 at most (`--rooms-per-connection`).
#[test]
fn a_room_too_many_is_refused() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.join("alice", "r1", 1);
    for number in 2..=64 {
        alice.send(&format!(r#"{{"type":"join","room":"r{number}"}}"#));
        assert_eq!(alice.json()["type"], "joined", "room {number}");
    }
    alice.send(r#"{"type":"join","room":"r65","ref":"x"}"#);
    let error = alice.expect_error("room_limit");
    assert_eq!((&error["room"], &error["ref"]), (&"r65".into(), &"x".into()));
    alice.send(r#"{"type":"join","room":"r64"}"#);
    assert_eq!(alice.json()["type"], "joined", "a room that one is in is none too many");
    alice.send(r#"{"type":"leave","room":"r3"}"#);
    assert_eq!(alice.json()["type"], "left");
    alice.send(r#"{"type":"join","room":"r65"}"#);
    assert_eq!(alice.json()["type"], "joined");
}

/// > | 1013 | the server has no room now | come back later |
///
/// > A room that nobody is in and that holds no line may be forgotten; its next life has a new epoch.
///
/// > the server has no room for it now, as with more than 100,000 rooms (`--rooms-max`); `retry` is true
#[test]
fn rooms_in_all_are_limited_and_empty_ones_make_room() {
    let server = Server::start(&["--rooms-max", "2"]);
    let mut alice = server.join("alice", "one", 1);
    alice.send(r#"{"type":"join","room":"two"}"#);
    assert_eq!(alice.json()["type"], "joined");
    alice.send(r#"{"type":"join","room":"three","ref":"r"}"#);
    let error = alice.expect_error("overloaded");
    assert_eq!((&error["retry"], &error["room"], &error["ref"]), (&true.into(), &"three".into(), &"r".into()));
    let mut bob = server.connect("bob", "/rooms/four");
    assert_eq!(bob.closed().0, 1013);
    alice.send(r#"{"type":"leave","room":"two"}"#);
    assert_eq!(alice.json()["type"], "left");
    alice.send(r#"{"type":"join","room":"three"}"#);
    assert_eq!(alice.json()["type"], "joined");
    alice.quiet();
}

/// > With a store in memory, lines are kept for as long as the server runs
#[test]
fn a_room_keeps_its_lines_while_nobody_is_there() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "tea", 1);
    alice.send("remember me");
    alice.expect_chat("alice", "remember me");
    alice.close(1000, "");
    alice.closed();
    let mut bob = server.join("bob", "tea", 1);
    bob.send(r#"{"type":"history"}"#);
    assert_eq!(bob.json()["messages"][0]["message"], "remember me");
    bob.send("next");
    assert_eq!(bob.expect_chat("bob", "next"), 2);
}

/// > The frames of section 2 are frozen.
///
/// > These frames are frozen.
///
/// > | a client connects | itself | `system`: welcome, and how many are online in the room |
///
/// > Unasked, a plain client gets only `system`, `user_join`, `user_leave` and `chat`, all text. Frames of other types are
/// > answers to its own commands; binary frames come only to who sent one (section 9).
///
/// > A client that knows no more than this section can chat.
#[test]
fn a_client_that_only_listens_gets_the_frozen_frames_only() {
    let server = Server::start(&["--rate", "0"]);
    let mut listener = server.join("listener", "tea", 1);
    let mut busy = server.join("busy", "tea", 2);
    for command in [
        "hi",
        r#"{"type":"chat","message":"with an id","id":"1"}"#,
        r#"{"type":"typing"}"#,
        r#"{"type":"name","name":"bee"}"#,
        r#"{"type":"private","to":"listener","message":"psst","id":"2"}"#,
        r#"{"type":"who"}"#,
        r#"{"type":"history"}"#,
        r#"{"type":"dance"}"#,
        r#"{"type":"leave","room":"tea"}"#,
        r#"{"type":"join","room":"tea","last":5}"#,
    ] {
        busy.send(command);
        busy.send_binary(b"cursor");
    }
    busy.send("the end");
    let mut kinds = Vec::new();
    loop {
        let frame = listener.json();
        assert!(frame["timestamp"].is_string() && frame["message"].is_string(), "{frame}");
        kinds.push(frame["type"].as_str().expect("a type").to_owned());
        if frame["message"] == "the end" {
            break;
        }
    }
    let expected = ["user_join", "chat", "chat", "system", "system", "system", "user_leave", "user_join", "chat"];
    // A private message and a line may change places: they are stored first.
    kinds.sort_unstable();
    let mut sorted = expected.to_vec();
    sorted.sort_unstable();
    assert_eq!(kinds, sorted);
    listener.quiet();
}

/// > The words of the server's own notices follow `--lang en` or `--lang zh`; without the flag they follow the server's
/// > locale, and are English where that is not Chinese.
///
/// > Errors are in English always: they are for those who write clients.
#[test]
fn the_language_follows_the_locale() {
    for (locale, welcome) in [
        ("zh_CN.UTF-8", "欢迎加入聊天室！当前在线 1 人"),
        ("en_US.UTF-8", "Welcome to the chat room! 1 online"),
        ("fr_FR.UTF-8", "Welcome to the chat room! 1 online"),
        ("C", "Welcome to the chat room! 1 online"),
    ] {
        let server = Launch::new(&[]).locale(locale).start();
        let mut client = server.connect("client", "/");
        assert_eq!(client.json()["message"], welcome, "{locale}");
        client.send(r#"{"type":"dance"}"#);
        assert!(client.expect_error("unknown_type")["message"].as_str().is_some_and(str::is_ascii), "{locale}");
    }
}

/// > When there are as many rooms as there may be (`--rooms-max`), the one that was left the longest ago makes place for a
/// > new one, with its lines.
#[test]
fn the_room_that_was_left_the_longest_ago_makes_place() {
    let server = Server::start(&["--rooms-max", "3", "--rate", "0"]);
    let mut alice = server.join("alice", "home", 1);
    let mut visit = |room: &str| {
        alice.send(&format!(r#"{{"type":"join","room":"{room}"}}"#));
        let joined = alice.json();
        assert_eq!(joined["type"], "joined", "{joined}");
        alice.send(&format!(r#"{{"type":"chat","room":"{room}","message":"I was here"}}"#));
        alice.json();
        alice.send(&format!(r#"{{"type":"leave","room":"{room}"}}"#));
        assert_eq!(alice.json()["type"], "left");
        (joined["seq"].as_u64().expect("a seq"), joined["epoch"].as_str().expect("an epoch").to_owned())
    };
    let (_, one) = visit("one");
    let (_, two) = visit("two");
    // It was left later than `two` now.
    assert_eq!(visit("one"), (1, one.clone()));
    visit("three");
    assert_eq!(visit("one"), (2, one), "a room that was left a moment ago is kept");
    let (seq, again) = visit("two");
    assert_eq!(seq, 0, "its lines are gone");
    assert_ne!(again, two);
}
