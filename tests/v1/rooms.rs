//! Which rooms somebody is in: what `hello` says about it, `join`, `leave`, and who hears of it.

use crate::client::V1;
use crate::common::server::Server;

/// Bob is in `tea` and `cake` and `pie`, and hears of everything there.
fn bob_everywhere(server: &Server) -> V1 {
    V1::come(server, "bob", &["tea", "cake", "pie"])
}

/// What bob was told of alice since, as `user_join tea`.
#[track_caller]
fn told(bob: &mut V1, frames: usize) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for _ in 0..frames {
        let frame = bob.json();
        assert_eq!(frame["name"], "alice", "{frame}");
        told.push(format!("{} {}", frame["type"].as_str().expect("a type"), frame["room"].as_str().expect("a room")));
    }
    bob.quiet();
    told.sort();
    told
}

/// > `[]` is no room at all. The members of a room that is left are told so, the user itself is not.
///
/// > `rooms`, when there, replaces the user's rooms (others are left)
#[test]
fn rooms_in_hello_replace_the_users_rooms() {
    let server = Server::start(&["--rate", "0"]);
    let mut bob = bob_everywhere(&server);
    let mut alice = V1::come(&server, "alice", &["tea", "cake"]);
    assert_eq!(told(&mut bob, 2), ["user_join cake", "user_join tea"]);
    for cut in [true, false] {
        if cut {
            alice.cut();
        }
        alice.return_with(&server, r#""rooms":[{"room":"cake"},{"room":"pie"}]"#);
        alice.joined("@me");
        alice.joined("cake");
        alice.joined("pie");
        assert_eq!(told(&mut bob, 2), ["user_join pie", "user_leave tea"]);
        bob.say("tea", "she is not here");
        bob.expect_chat("bob", "she is not here");
        alice.quiet();
        alice.return_with(&server, r#""rooms":[{"room":"tea"},{"room":"cake"}]"#);
        for room in ["@me", "tea", "cake"] {
            alice.joined(room);
        }
        assert_eq!(told(&mut bob, 2), ["user_join tea", "user_leave pie"]);
    }
    alice.return_with(&server, r#""rooms":[]"#);
    alice.joined("@me");
    assert_eq!(told(&mut bob, 2), ["user_leave cake", "user_leave tea"]);
    for command in [r#"{"type":"chat","message":"hi"}"#, r#"{"type":"who"}"#, r#"{"type":"history"}"#] {
        alice.send(command);
        alice.expect_error("not_joined");
    }
    alice.wire().send_binary(b"hi");
    alice.expect_error("not_joined");
}

/// > absent keeps them, or joins `lobby` for somebody new.
#[test]
fn without_rooms_hello_keeps_them() {
    let server = Server::start(&["--rate", "0"]);
    let mut bob = bob_everywhere(&server);
    let mut alice = V1::come(&server, "alice", &["cake", "tea"]);
    assert_eq!(told(&mut bob, 2), ["user_join cake", "user_join tea"]);
    for cut in [true, false] {
        if cut {
            alice.cut();
        }
        alice.return_with(&server, "");
        for room in ["@me", "cake", "tea"] {
            let joined = alice.joined(room);
            assert_eq!((&joined["recovered"], joined.get("reason")), (&false.into(), None), "{joined}");
        }
        bob.say("tea", "hi");
        bob.expect_chat("bob", "hi");
        alice.expect_chat("bob", "hi");
        alice.send(r#"{"type":"chat","message":"where?"}"#);
        assert_eq!(alice.typed("chat")["room"], "cake", "the first room is still the first");
        bob.expect_chat("alice", "where?");
    }
    bob.quiet();
    // Somebody new is in the lobby, whatever the path says.
    let mut carol = V1::hello(&server, "carol", r#""name":"carol""#);
    carol.joined("@me");
    carol.joined("lobby");
}

/// > `@me` may be among them, for its position only: it does not count, and one is always in it.
///
/// > | `room` | a room's name, or `@me`; needed |
///
/// > an error for each of the `rooms` that is none (`room_invalid`) or one too many (`room_limit`), with its `room`
///
/// > A room that is named twice is come into once, as the first entry says.
///
/// The rest of the list is good all the same.
#[test]
fn bad_rooms_in_hello_are_told_after_the_welcome() {
    let server = Server::start(&["--rooms-per-connection", "3"]);
    let long = "x".repeat(65);
    let fields = format!(
        r#""rooms":[{{"room":"a b"}},{{"room":"one"}},{{"room":"@you"}},{{"room":"one","last":5}},{{"room":"{long}"}},
            {{"room":"two"}},{{"room":""}},{{"room":"@me"}},{{"room":"three"}},{{"room":"four"}}]"#
    );
    let mut alice = V1::hello(&server, "alice", &fields);
    for (room, code) in
        [("a b", "room_invalid"), ("@you", "room_invalid"), (&long, "room_invalid"), ("", "room_invalid")]
    {
        assert_eq!(alice.expect_error(code)["room"], room);
    }
    assert_eq!(alice.expect_error("room_limit")["room"], "four");
    for room in ["@me", "one", "two", "three"] {
        alice.joined(room);
    }
    alice.quiet();
    // Others in place of those: none is one too many.
    alice.return_with(&server, r#""rooms":[{"room":"x"},{"room":"y"},{"room":"z"}]"#);
    for room in ["@me", "x", "y", "z"] {
        alice.joined(room);
    }
    alice.quiet();
}

/// > Where a command says no `room`, it means the one that the user has been in the longest; rooms that it comes into
/// > together count in the order of `rooms`.
///
/// > Who is present, but in no room, comes into `lobby`, too, when `rooms` is absent.
#[test]
fn the_first_room_is_the_one_that_the_user_has_been_in_the_longest() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = V1::come(&server, "alice", &["b", "a"]);
    for (rooms, first) in
        [(r#"["c","a","b"]"#, "b"), (r#"["c","a"]"#, "a"), (r#"["d","c"]"#, "c"), (r#"["f","e"]"#, "f")]
    {
        let rooms: Vec<String> = serde_json::from_str(rooms).expect("JSON");
        let entries: Vec<_> = rooms.iter().map(|room| serde_json::json!({"room": room})).collect();
        alice.cut();
        alice.return_with(&server, &format!(r#""rooms":{}"#, serde_json::json!(entries)));
        alice.joined("@me");
        for room in &rooms {
            alice.joined(room);
        }
        alice.send(r#"{"type":"chat","message":"where?"}"#);
        assert_eq!(alice.typed("chat")["room"], first, "{rooms:?}");
    }
    alice.return_with(&server, r#""rooms":[]"#);
    alice.joined("@me");
    alice.return_with(&server, "");
    alice.joined("@me");
    alice.joined("lobby");
    alice.quiet();
}

/// > | `epoch`, `seq`, `time`? | a position: go on after that line (section 16.2) |
///
/// > | `last`? | begin with so many of the newest lines, as far as they are kept |
///
/// > Live means: with the next line that is said; what was missed is not shown, nor is it said to be missing.
///
/// > | `false` | | no position was given | the `last` lines, if asked for, then the new ones |
///
/// > A room's lines come after its `joined`.
///
/// > Without a position a room starts live; with `"last":50` at its last 50; `seq` wins over `last`.
#[test]
fn hello_says_where_each_room_begins() {
    let server = Server::start(&["--rate", "0", "--recent-messages", "20"]);
    let mut bob = bob_everywhere(&server);
    for number in 1..=30 {
        bob.say("tea", &number.to_string());
        bob.expect_chat("bob", &number.to_string());
    }
    let (epoch, time) = (bob.places["tea"].epoch.clone(), bob.places["tea"].time.clone().expect("a time"));
    let position = format!(r#""epoch":"{epoch}","seq":28"#);
    for (begin, first, recovered) in [
        (String::new(), 31, false),
        (r#","last":0"#.into(), 31, false),
        (r#","last":1"#.into(), 30, false),
        (r#","last":5"#.into(), 26, false),
        (r#","last":20"#.into(), 11, false),
        // No more than is kept, and no word of what is not: nobody said that it was known.
        (r#","last":50"#.into(), 11, false),
        (r#","last":9007199254740991"#.into(), 11, false),
        (format!(",{position}"), 29, true),
        (format!(r#",{position},"last":20"#), 29, true),
        (format!(r#","last":20,"epoch":"{epoch}","seq":30,"time":"{time}""#), 31, true),
    ] {
        let mut alice = V1::hello(&server, "alice", "\"rooms\":[]");
        alice.joined("@me");
        if recovered {
            // She has read it, by what she says.
            alice.places.insert("tea".into(), bob.places["tea"].clone());
            alice.places.get_mut("tea").expect("it was just there").seq = first - 1;
        }
        alice.return_with(&server, &format!(r#""rooms":[{{"room":"tea"{begin}}}]"#));
        alice.joined("@me");
        let joined = alice.joined("tea");
        assert_eq!((&joined["recovered"], &joined["seq"]), (&recovered.into(), &30.into()), "{begin}");
        assert_eq!((joined.get("reason"), joined.get("gap")), (None, None), "{begin}");
        for number in first..=30 {
            assert_eq!(alice.expect_chat("bob", &number.to_string()), number, "{begin}");
        }
        alice.quiet();
        alice.goodbye();
    }
}

/// > | `{"type":"leave","room":"tea"}` | `left`, or error `not_joined` | `user_leave` |
///
/// > `join` has the same fields; of a room that one is in already it looks at none of them (section 4)
///
/// > Joining a room that one is in is answered with `joined` and tells nobody; where to begin is not looked at then.
///
/// > (if absent: the first it is in)
#[test]
fn join_and_leave_are_answered_and_told() {
    let server = Server::start(&["--rate", "0"]);
    let mut bob = bob_everywhere(&server);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    told(&mut bob, 1);
    alice.send(r#"{"type":"join","room":"cake","ref":"j"}"#);
    alice.expect(r#"{"type":"joined","room":"cake","epoch":"<E1>","seq":0,"online_count":2,"recovered":false,"ref":"j","timestamp":"<T>"}"#);
    bob.expect(r#"{"type":"user_join","message":"alice joined","online_count":2,"timestamp":"<T>","room":"cake","user":"<U1>","name":"alice"}"#);
    // Again: an answer, and no replay, whatever it says.
    for fields in ["", r#","last":50"#, r#","epoch":"xxxxxxxx","seq":0"#] {
        alice.say("cake", "once");
        alice.expect_chat("alice", "once");
        bob.expect_chat("alice", "once");
        alice.send(&format!(r#"{{"type":"join","room":"cake"{fields}}}"#));
        let joined = alice.joined("cake");
        assert_eq!((&joined["recovered"], joined.get("reason")), (&false.into(), None), "{joined}");
        alice.quiet();
    }
    for room in ["tea", "cake"] {
        alice.send(r#"{"type":"chat","message":"where am I?"}"#);
        assert_eq!(alice.typed("chat")["room"], room);
        bob.typed("chat");
        alice.send(&format!(r#"{{"type":"leave","room":"{room}","ref":"l"}}"#));
        alice.expect(&format!(r#"{{"type":"left","room":"{room}","ref":"l","timestamp":"<T>"}}"#));
        assert_eq!(told(&mut bob, 1), [format!("user_leave {room}")]);
        alice.send(&format!(r#"{{"type":"leave","room":"{room}"}}"#));
        alice.expect_error("not_joined");
    }
}

/// > A room that nobody is in and that holds no line may be forgotten; its next life has a new epoch.
///
/// > A room has an `epoch`: 8 or more random letters
///
/// > What a client claims never changes it.
#[test]
fn an_epoch_is_the_rooms_and_not_the_clients() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = V1::come(&server, "alice", &["tea", "cake"]);
    let epochs: Vec<String> = alice.places.values().map(|place| place.epoch.clone()).collect();
    for epoch in &epochs {
        assert!(epoch.len() >= 8 && epoch.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{epoch}");
    }
    assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2] && epochs[2] != epochs[0], "{epochs:?}");
    let mut bob = V1::hello(&server, "bob", r#""rooms":[{"room":"tea","epoch":"ABCDEFGHIJKL","seq":0}]"#);
    bob.joined("@me");
    let joined = bob.joined("tea");
    assert_eq!((&joined["reason"], &joined["epoch"]), (&"epoch".into(), &alice.places["tea"].epoch[..].into()));
    bob.goodbye();
    alice.typed("user_join");
    alice.typed("user_leave");
    // A room with a line keeps its epoch while nobody is there; one without does not need to.
    alice.say("tea", "remember me");
    alice.expect_chat("alice", "remember me");
    alice.send(r#"{"type":"leave","room":"tea"}"#);
    let epoch = epochs[2].clone();
    alice.typed("left");
    alice.send(r#"{"type":"join","room":"tea"}"#);
    assert_eq!(alice.joined("tea")["epoch"], epoch[..]);
    alice.say("tea", "again");
    assert_eq!(alice.expect_chat("alice", "again"), 2);
}

/// > A room has a `seq`: a dense count from 1, only for stored messages. It is the same for every reader.
/// > Below 2^53.
///
/// That it is dense is seen to by the client itself.
#[test]
fn a_seq_is_the_same_for_every_reader() {
    let server = Server::start(&["--rate", "0"]);
    let mut people: Vec<V1> = Vec::new();
    for (number, name) in ["ann", "ben", "cid"].iter().enumerate() {
        people.push(V1::come(&server, name, &["tea", "cake"]));
        for earlier in &mut people[..number] {
            earlier.typed("user_join");
            earlier.typed("user_join");
        }
    }
    for round in 0..30 {
        let speaker = &mut people[round % 3];
        let room = if round % 4 == 0 { "cake" } else { "tea" };
        speaker.say(room, &round.to_string());
        // What is not stored has none.
        speaker.send(&format!(r#"{{"type":"typing","room":"{room}"}}"#));
    }
    for person in &mut people {
        while person.places["tea"].seq < 22 || person.places["cake"].seq < 8 {
            let frame = person.json();
            assert!(frame["type"] == "chat" || frame.get("seq").is_none(), "{frame}");
        }
    }
    assert_eq!(people[0].view, people[1].view);
    assert_eq!(people[0].view, people[2].view);
}

/// > | `rooms` | a list of at most 256 objects: the rooms to be in, each with where to go on (section 16) | the rooms that
/// > one is in; if there are none, `lobby` |
///
/// > | entries of `rooms` in a `hello` | 256 | | `bad_request` |
#[test]
fn a_hello_may_name_256_rooms() {
    let server = Server::start(&["--rate", "0", "--rooms-per-connection", "300"]);
    let hello = |rooms: usize| {
        let entries: Vec<_> = (0..rooms).map(|number| serde_json::json!({"room": format!("r{number}")})).collect();
        serde_json::json!({"type": "hello", "rooms": entries}).to_string()
    };
    let mut wire = crate::wire::Wire::open(&server, "alice");
    wire.send(&hello(257));
    assert_eq!(wire.json()["code"], "bad_request");
    wire.send(&hello(256));
    assert_eq!(wire.json()["type"], "welcome");
    assert_eq!(wire.json()["room"], "@me");
    for number in 0..256 {
        let joined = wire.json();
        assert_eq!((&joined["type"], &joined["room"]), (&"joined".into(), &format!("r{number}").into()), "{joined}");
    }
}
