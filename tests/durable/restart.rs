//! What outlives a restart, whether the server was told to stop or was killed.

use serde_json::{Value, json};

use crate::client::V1;
use crate::common::folder::Folder;
use crate::common::server::Server;

/// Says so many lines and reads them back.
#[track_caller]
pub(crate) fn say_lines(who: &mut V1, room: &str, lines: u64) {
    for _ in 0..lines {
        let text = format!("{} {}", who.who, who.places[room].seq + 1);
        who.say(room, &text);
        let name = who.name.clone();
        who.expect_chat(&name, &text);
    }
}

/// Comes back with session and positions, all of which have to be good.
#[track_caller]
pub(crate) fn come_back(who: &mut V1, server: &Server) {
    let fields = format!(r#""name":"{}","rooms":{}"#, who.who, who.positions());
    who.return_with(server, &fields);
    for _ in 0..who.places.len() {
        let joined = who.until("joined", |frame| frame["type"] == "joined");
        assert_eq!(joined["recovered"], true, "{}: {joined}", who.who);
    }
}

/// Reads until the line with this `seq` was shown.
#[track_caller]
pub(crate) fn read_to(who: &mut V1, room: &str, seq: u64) {
    while who.places[room].seq < seq {
        who.json();
    }
}

/// Stops the server with a signal, with those who are there, and starts it again.
#[track_caller]
fn end_and_restart(server: &mut Server, signal: &str, there: &mut [&mut V1]) {
    server.signal(signal);
    for who in there {
        let (_, code) = who.wire().rest();
        assert!(code.is_none_or(|code| code == 4001), "{code:?}");
    }
    let status = server.ended();
    assert_eq!(status.success(), signal == "TERM", "{status}");
    server.restart(&[]);
}

/// All lines of a room, as `history` tells them.
#[track_caller]
pub(crate) fn history(who: &mut V1, room: &str) -> Vec<Value> {
    let mut lines: Vec<Value> = Vec::new();
    loop {
        let after = lines.last().map_or(0, |line| line["seq"].as_u64().expect("a seq"));
        who.send(&json!({"type": "history", "room": room, "after": after, "limit": 200}).to_string());
        let page = who.until("history", |frame| frame["type"] == "history");
        lines.extend(page["messages"].as_array().expect("messages").iter().cloned());
        if page["more"] == false {
            return lines;
        }
    }
}

/// The rooms keep their lines, epochs and counts; the people are the same, and go on where they were. Who looks on sees nobody
/// come or go.
#[test]
fn a_restart_keeps_lines_places_people_and_sessions() {
    for signal in ["KILL", "TERM"] {
        let folder = Folder::new();
        let mut server = Server::durable(&folder, &["--rate", "0"]);
        let mut alice = V1::come(&server, "alice", &["tea"]);
        let mut bob = V1::come(&server, "bob", &["tea"]);
        alice.typed("user_join");
        say_lines(&mut alice, "tea", 20);
        read_to(&mut bob, "tea", 20);
        alice.cut();
        say_lines(&mut bob, "tea", 10);
        let before = history(&mut bob, "tea");
        end_and_restart(&mut server, signal, &mut [&mut bob]);
        // The same user, by the session; the same epoch, and every line from where each was: V1 holds all of that.
        come_back(&mut bob, &server);
        come_back(&mut alice, &server);
        read_to(&mut alice, "tea", 30);
        assert_eq!((&alice.name[..], &bob.name[..]), ("alice", "bob"));
        for who in [&mut alice, &mut bob] {
            who.quiet();
            assert_eq!(history(who, "tea"), before, "each line as it was, to the millisecond");
        }
        alice.say("tea", "on we go");
        assert_eq!(alice.expect_chat("alice", "on we go"), 31);
        bob.expect_chat("alice", "on we go");
    }
}

/// A room in which nobody has said anything has its epoch, too.
#[test]
fn an_empty_room_is_the_same_after_a_restart() {
    let folder = Folder::new();
    let mut server = Server::durable(&folder, &[]);
    let mut alice = V1::come(&server, "alice", &["tea", "coffee"]);
    end_and_restart(&mut server, "KILL", &mut []);
    come_back(&mut alice, &server);
    say_lines(&mut alice, "coffee", 1);
    assert_eq!(alice.places["coffee"].seq, 1);
}

#[test]
fn private_messages_are_there_after_a_restart() {
    let folder = Folder::new();
    let mut server = Server::durable(&folder, &[]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let tell = |bob: &mut V1, text: &str| {
        bob.send(&json!({"type": "private", "to": alice.user, "message": text}).to_string());
        assert_eq!(bob.until("his own copy", |frame| frame["type"] == "private")["message"], text);
    };
    tell(&mut bob, "while you are here");
    alice.until("it", |frame| frame["type"] == "private");
    alice.cut();
    let tell = |bob: &mut V1, text: &str| {
        bob.send(&json!({"type": "private", "to": alice.user, "message": text}).to_string());
        assert_eq!(bob.until("his own copy", |frame| frame["type"] == "private")["message"], text);
    };
    tell(&mut bob, "while you are away");
    end_and_restart(&mut server, "KILL", &mut []);
    come_back(&mut bob, &server);
    bob.quiet();
    // The server has not seen her in this life.
    tell(&mut bob, "since the restart");
    come_back(&mut alice, &server);
    read_to(&mut alice, "@me", 3);
    assert_eq!(alice.view["@me"], ["while you are here", "while you are away", "since the restart"]);
    assert_eq!(bob.view["@me"], alice.view["@me"]);
}

/// A line whose acknowledgement was lost is sent again after the restart, and is there once.
#[test]
fn a_line_is_sent_again_over_a_restart_and_is_there_once() {
    let folder = Folder::new();
    let mut server = Server::durable(&folder, &[]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    alice.typed("user_join");
    let line = r#"{"type":"chat","room":"tea","message":"once","id":"b-1"}"#;
    let psst = json!({"type": "private", "to": alice.user, "message": "psst", "id": "b-2"}).to_string();
    bob.send(line);
    bob.expect_chat("bob", "once");
    assert_eq!(bob.ack(), ("b-1".into(), 1, false));
    alice.expect_chat("bob", "once");
    bob.send(&psst);
    bob.typed("private");
    assert_eq!(bob.ack(), ("b-2".into(), 1, false));
    alice.typed("private");
    end_and_restart(&mut server, "KILL", &mut []);
    come_back(&mut alice, &server);
    come_back(&mut bob, &server);
    bob.send(line);
    assert_eq!(bob.ack(), ("b-1".into(), 1, true));
    bob.send(&psst);
    assert_eq!(bob.ack(), ("b-2".into(), 1, true));
    bob.quiet();
    alice.quiet();
}

/// Who was there before the restart comes back unannounced; who is new is announced.
#[test]
fn a_restart_is_no_storm_of_joins_and_leaves() {
    let folder = Folder::new();
    let mut server = Server::durable(&folder, &["--rate", "0", "--grace-ms", "60000"]);
    let mut crowd: Vec<V1> = Vec::new();
    for number in 0..20 {
        crowd.push(V1::come(&server, &format!("p{number}"), &["tea"]));
    }
    end_and_restart(&mut server, "KILL", &mut []);
    for who in &mut crowd {
        come_back(who, &server);
    }
    for who in &mut crowd {
        who.quiet();
    }
    let carol = V1::come(&server, "carol", &["tea"]);
    assert_eq!(carol.welcome["name"], "carol");
    for who in &mut crowd {
        assert_eq!(who.typed("user_join")["name"], "carol");
        who.quiet();
    }
}

/// What is not in memory comes from the file: pages of history, what a reader missed, and the last lines for a newcomer.
#[test]
fn what_is_older_than_memory_comes_from_the_file() {
    let folder = Folder::new();
    let flags = ["--rate", "0", "--recent-messages", "5"];
    let mut server = Server::durable(&folder, &flags);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    alice.cut();
    say_lines(&mut bob, "tea", 300);
    for life in 0..2 {
        come_back(&mut alice, &server);
        read_to(&mut alice, "tea", 300);
        assert_eq!(alice.view["tea"], bob.view["tea"], "life {life}");
        alice.view.clear();
        alice.places.get_mut("tea").expect("she is there").seq = 0;
        alice.places.get_mut("tea").expect("she is there").time = None;
        let newcomer = format!("n{life}");
        let fields = format!(r#""name":"{newcomer}","rooms":[{{"room":"tea","last":50}}]"#);
        let mut carol = V1::hello(&server, &newcomer, &fields);
        read_to_text(&mut carol, "bob 300");
        assert_eq!(carol.view["tea"], bob.view["tea"][250..]);
        carol.send(r#"{"type":"history","room":"tea","before":101,"limit":100}"#);
        let page = carol.until("history", |frame| frame["type"] == "history");
        let texts: Vec<&str> =
            page["messages"].as_array().expect("a list").iter().filter_map(|line| line["message"].as_str()).collect();
        assert_eq!(texts, bob.view["tea"][..100]);
        assert_eq!((&page["oldest"], &page["more"]), (&1.into(), &false.into()));
        alice.cut();
        carol.goodbye_at_last();
        end_and_restart(&mut server, "TERM", &mut []);
    }
}

#[track_caller]
fn read_to_text(who: &mut V1, text: &str) {
    while who.view.get("tea").and_then(|lines| lines.last()).is_none_or(|last| last != text) {
        who.json();
    }
}

/// With an interval, too, a killed server has all that it acknowledged.
#[test]
fn with_an_interval_a_kill_loses_nothing() {
    let folder = Folder::new();
    // Longer than the test: no sync is what keeps the lines.
    let mut server = Server::durable(&folder, &["--sync", "interval=600000"]);
    assert!(server.said.ends_with("chinwag.db, synced every 600000 ms)"), "{}", server.said);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    say_lines(&mut alice, "tea", 50);
    end_and_restart(&mut server, "KILL", &mut []);
    come_back(&mut alice, &server);
    alice.quiet();
    assert_eq!(history(&mut alice, "tea").len(), 50);
}

/// `--keep-messages` is kept over a restart, too: and whoever misses what is gone is told which lines.
#[test]
fn lines_over_the_limit_go_and_whoever_misses_them_is_told() {
    let folder = Folder::new();
    let mut server = Server::durable(&folder, &["--rate", "0", "--keep-messages", "64", "--recent-messages", "8"]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    alice.cut();
    say_lines(&mut bob, "tea", 200);
    end_and_restart(&mut server, "KILL", &mut []);
    let positions = alice.positions();
    alice.return_with(&server, &format!(r#""rooms":{positions}"#));
    let joined = alice.until("joined tea", |frame| frame["room"] == "tea");
    assert_eq!((&joined["recovered"], &joined["reason"]), (&false.into(), &"trimmed".into()), "{joined}");
    let gone = joined["gap"]["to"].as_u64().expect("a gap");
    assert!((130..=136).contains(&gone), "64 are kept, and some more at most: {joined}");
    read_to(&mut alice, "tea", 200);
}
