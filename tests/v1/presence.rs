//! Who is there, and what is told of coming and going in a large room.

use serde_json::Value;

use crate::client::V1;
use crate::common::server::Server;

/// > `online_count` counts users present (each plain connection is one; one within its grace counts). `presence` lists them,
/// > too.
#[test]
fn who_lists_everybody_once() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = V1::come(&server, "alice", &["tea", "cake"]);
    alice.send(r#"{"type":"who","ref":"w"}"#);
    alice.expect(r#"{"type":"presence","room":"tea","users":[{"user":"<U1>","name":"alice"}],"online_count":1,"ref":"w","timestamp":"<T>"}"#);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let _paul = server.join("paul", "tea", 3);
    for _ in 0..2 {
        alice.typed("user_join");
    }
    bob.typed("user_join");
    for half_open in [false, true] {
        // However often somebody comes back, it is one.
        if !half_open {
            bob.cut();
        }
        bob.resume(&server);
        bob.send(r#"{"type":"who"}"#);
        let presence = bob.typed("presence");
        let mut names: Vec<&str> =
            presence["users"].as_array().expect("a list").iter().filter_map(|user| user["name"].as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["alice", "bob", "paul"]);
        assert_eq!((&presence["online_count"], presence.get("more")), (&3.into(), None));
    }
    alice.send(r#"{"type":"who","room":"cake"}"#);
    assert_eq!(alice.typed("presence")["online_count"], 1);
}

/// Reads sums until so many are online: how many joined and left by them.
#[track_caller]
fn sums(watcher: &mut V1, online: u64) -> (u64, u64) {
    let (mut joined, mut left) = (0, 0);
    loop {
        let frame = watcher.json();
        let number = |field: &str| frame[field].as_u64().unwrap_or_else(|| panic!("no {field}: {frame}"));
        let (more, less) = (number("joined"), number("left"));
        assert_eq!(frame["type"], if more >= less { "user_join" } else { "user_leave" }, "{frame}");
        assert_eq!((frame.get("user"), frame.get("name")), (None, None), "{frame}");
        assert_eq!(frame["message"], format!("{more} joined, {less} left"));
        (joined, left) = (joined + more, left + less);
        if number("online_count") == online {
            return (joined, left);
        }
    }
}

/// > | in a room of more than 200, many come and go | one `user_join` or `user_leave` a second (section 3.1) | the
/// > same |
///
/// > In a room of more than 200, single joins, leaves, renames and typing are not told. Instead, at most once a second, there
/// > is one frame for all who came and went since the last: `user_join` if the count rose or stayed, `user_leave` if it fell,
/// > without `user` and `name`, but with `joined` and `left`
///
/// A cut and a return within the grace are no part of any sum; a goodbye and the end of a grace are.
#[test]
fn in_a_large_room_cuts_are_in_no_sum() {
    const CROWD: u64 = 220;
    let server = Server::start(&["--rate", "0", "--grace-ms", "2500"]);
    let mut watcher = V1::come(&server, "watcher", &["hall"]);
    let mut crowd: Vec<V1> = (0..CROWD).map(|number| V1::come(&server, &format!("c{number}"), &["hall"])).collect();
    watcher.until("all of them", |frame| frame["online_count"] == CROWD + 1);
    for client in crowd.iter_mut().take(50) {
        client.cut();
    }
    // Renames and typing are told to nobody here; lines to everybody, but those who are away.
    let last = crowd.last_mut().expect("a crowd");
    last.send(r#"{"type":"name","name":"renamed"}"#);
    last.until("the rename", |frame| frame["type"] == "user_rename");
    last.send(r#"{"type":"typing"}"#);
    last.say("hall", "hello, hall");
    last.until("its line", |frame| frame["type"] == "chat");
    watcher.expect_chat("renamed", "hello, hall");
    // Of 50 who were cut 40 come back, and miss nothing.
    for client in crowd.iter_mut().take(40) {
        client.resume(&server);
        while client.places["hall"].seq < 1 {
            client.json();
        }
    }
    // One comes, and one says goodbye. The ten who were cut and did not come back leave when their grace is over.
    let mut single = V1::come(&server, "single", &["hall"]);
    let mut first = crowd.remove(0);
    first.send(r#"{"type":"ping"}"#);
    first.until("the pong", |frame| frame["type"] == "pong");
    first.goodbye_at_last();
    assert_eq!(sums(&mut watcher, CROWD - 9), (1, 11), "of the others nothing was told");
    watcher.quiet();
    single.until("the sum", |frame| frame["online_count"] == CROWD - 9);
}

/// > | somebody comes or goes | `user_join`, `user_leave` | the same |
///
/// > In a room of more than 200
#[test]
fn in_a_room_of_200_everybody_is_told_of() {
    let server = Server::start(&["--rate", "0"]);
    let mut watcher = V1::come(&server, "watcher", &["hall"]);
    let _crowd: Vec<V1> = (2..=200)
        .map(|number: u64| {
            let client = V1::come(&server, &format!("c{number}"), &["hall"]);
            let frame: Value = watcher.typed("user_join");
            assert_eq!((&frame["name"], &frame["online_count"]), (&client.name[..].into(), &number.into()), "{frame}");
            client
        })
        .collect();
    watcher.quiet();
}
