//! What was perhaps sent is sent again, and nobody sees it twice.

use std::collections::BTreeMap;

use crate::client::{V1, while_stopped};
use crate::common::server::Server;
use crate::wire::Wire;

fn chat(room: &str, id: &str) -> String {
    format!(r#"{{"type":"chat","room":"{room}","message":"line {id}","id":"{id}"}}"#)
}

/// > As a user is the same after a break, so are its `id`s.
///
/// > A retry, the same (`user`, `room`, `id`) again, is answered with `ack`, `duplicate:true` and the first `seq`, and is
/// > not shown again: while the line is in flight or among the newest 10,000 of its room
///
/// Socket.IO's client retries, and its server shows each retry (socketio/socket.io#5334); Ricochet showed lines twice
/// whose acknowledgement was lost (ricochet-im/ricochet#515).
#[test]
fn a_retry_is_shown_once_on_whatever_connection_it_comes() {
    let server = Server::start(&["--rate", "0"]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    // In flight: both come in one piece.
    alice.wire().send_all([chat("tea", "a"), chat("tea", "a"), chat("tea", "b"), chat("tea", "a")]);
    assert_eq!(alice.expect_chat("alice", "line a"), 1);
    assert_eq!(alice.expect_chat("alice", "line b"), 2);
    let acks: Vec<_> = (0..4).map(|_| alice.ack()).collect();
    let own = |id: &str, duplicates: &[bool]| {
        let of_id = acks.iter().filter(|ack| ack.0 == id);
        assert_eq!(of_id.map(|ack| ack.2).collect::<Vec<_>>(), duplicates, "{id}: {acks:?}");
    };
    own("a", &[false, true, true]);
    own("b", &[false]);
    assert!(acks.iter().all(|ack| ack.1 == if ack.0 == "a" { 1 } else { 2 }), "{acks:?}");
    bob.expect_chat("alice", "line a");
    bob.expect_chat("alice", "line b");
    // Later, on the same connection; then on others, however the earlier one ended.
    alice.send(&chat("tea", "a"));
    assert_eq!(alice.ack(), ("a".into(), 1, true));
    for round in 0..3 {
        match round {
            0 => alice.cut(),
            1 => {}
            _ => {
                alice.goodbye();
                assert_eq!(bob.typed("user_leave")["name"], "alice");
                alice.return_with(&server, &format!(r#""name":"alice","rooms":{}"#, alice.positions()));
                alice.joined("@me");
                alice.joined("tea");
                bob.typed("user_join");
                alice.cut();
            }
        }
        alice.resume(&server);
        alice.wire().send_all([chat("tea", "b"), chat("tea", "a")]);
        assert_eq!((alice.ack(), alice.ack()), (("b".into(), 2, true), ("a".into(), 1, true)), "round {round}");
        alice.quiet();
        bob.quiet();
    }
}

/// > the same (`user`, `room`, `id`)
#[test]
fn another_user_room_or_id_is_no_retry() {
    let server = Server::start(&["--rate", "0"]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea", "cake"]);
    bob.typed("user_join");
    for (number, line) in [chat("tea", "a"), chat("cake", "a"), chat("tea", "A"), chat("tea", "")].iter().enumerate() {
        alice.send(line);
        assert_eq!(alice.typed("chat")["room"], if number == 1 { "cake" } else { "tea" });
        assert!(!alice.ack().2, "{line}");
    }
    bob.send(&chat("tea", "a"));
    for _ in 0..3 {
        bob.typed("chat");
    }
    assert_eq!(bob.expect_chat("bob", "line a"), 4);
    assert_eq!(bob.ack(), ("a".into(), 4, false));
    // Without an `id` nothing is a retry, and nothing is acknowledged.
    for _ in 0..2 {
        bob.say("tea", "line a");
        bob.expect_chat("bob", "line a");
    }
    bob.quiet();
}

/// > among the newest 10,000 of its room
///
/// Whether the line itself is still kept does not matter.
#[test]
fn a_retry_is_known_among_the_newest_10000() {
    let server = Server::start(&["--rate", "0", "--recent-messages", "10"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    alice.send(&chat("tea", "first"));
    assert_eq!(alice.expect_chat("alice", "line first"), 1);
    alice.ack();
    for chunk in 0..100 {
        // 9,999 lines more: the first is the oldest of the newest 10,000.
        let lines = if chunk == 0 { 99 } else { 100 };
        alice.wire().send_all((0..lines).map(|line| chat("tea", &(chunk * 100 + line).to_string())));
        for _ in 0..2 * lines {
            alice.json();
        }
    }
    assert_eq!(alice.places["tea"].seq, 10_000);
    alice.send(&chat("tea", "first"));
    assert_eq!(alice.ack(), ("first".into(), 1, true));
    alice.quiet();
}

/// > Of what was asked on the older connection, only lines are still answered: their acknowledgements and errors, as far as
/// > they were not sent yet, come on the newer connection after its `welcome`.
///
/// The line is heard on the connection that is lost, its `ack` comes on the next.
#[test]
fn the_ack_of_a_line_from_the_lost_connection_comes_on_the_next() {
    let server = Server::start(&[]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    let hello = format!(r#"{{"type":"hello","session":"{}","rooms":{}}}"#, alice.session, alice.positions());
    let mut later = Wire::open(&server, "alice");
    // So that the server has seen all there is of the new connections.
    bob.quiet();
    while_stopped(&server, || {
        alice.send(&chat("tea", "a"));
        later.send_all([hello, chat("tea", "a")]);
    });
    let mut dead = alice.go_on_over(later).expect("nobody cut the earlier connection");
    let mut acks = Vec::new();
    let mut others = Vec::new();
    while others.len() + acks.len() < 5 {
        let frame = alice.json();
        if frame["type"] == "ack" {
            assert_eq!((&frame["id"], &frame["seq"]), (&"a".into(), &1.into()), "{frame}");
            acks.push(frame["duplicate"] == true);
        } else {
            others.push((frame["type"].clone(), frame["room"].clone()));
        }
    }
    // The order of acks among the others is not promised; the replay shows the line.
    assert_eq!(others, [("joined", "@me"), ("joined", "tea"), ("chat", "tea")].map(|(a, b)| (a.into(), b.into())));
    assert_eq!(acks, [false, true], "the line, and its retry");
    assert_eq!(dead.closed(), 4500, "the lost connection got nothing of it");
    alice.quiet();
    bob.expect_chat("alice", "line a");
    bob.quiet();
}

/// A person whose lines wait until they are acknowledged or shown, as the rules for clients have it.
struct Person {
    client: V1,
    /// Sent and neither acknowledged nor shown; by number.
    doubtful: BTreeMap<u32, String>,
    said: u32,
}

impl Person {
    fn new(server: &Server, name: &str) -> Self {
        Self { client: V1::come(server, name, &["tea"]), doubtful: BTreeMap::new(), said: 0 }
    }

    /// Writes so many lines down, to be sent.
    fn think(&mut self, lines: u32) -> Vec<String> {
        for _ in 0..lines {
            self.said += 1;
            let line = chat("tea", &format!("{}-{}", self.client.who, self.said));
            self.doubtful.insert(self.said, line);
        }
        self.doubtful.values().cloned().collect()
    }

    /// Takes the next frame as the rules have it; gives its type.
    fn take(&mut self) -> String {
        let frame = self.client.json();
        let kind = frame["type"].as_str().expect("a type").to_owned();
        let own = frame["user"] == self.client.user[..] && kind == "chat";
        if kind == "ack" || own {
            let id = frame["id"].as_str().expect("it was given").rsplit_once('-').expect("as it was made").1;
            self.doubtful.remove(&id.parse().expect("a number"));
        }
        kind
    }

    /// > A client resumes first, then sends again: its own lines in the replay are acknowledged by it; what the replay up to
    /// > `joined.seq` did not show is sent again with the same `id`.
    fn come_back(&mut self, server: &Server) {
        let fields = format!(r#""rooms":{}"#, self.client.positions());
        self.client.return_with(server, &fields);
        while self.take() != "joined" {}
        let newest = loop {
            let frame = self.client.json();
            if frame["type"] == "joined" {
                break frame["seq"].as_u64().expect("a seq");
            }
            assert_eq!(frame["type"], "ack", "lines come after `joined`");
        };
        while self.client.places["tea"].seq < newest {
            self.take();
        }
        let again: Vec<String> = self.doubtful.values().cloned().collect();
        self.client.wire().send_all(again);
    }
}

/// > none missing, none twice
///
/// Three people talk, and each is cut again and again: in the middle of a frame, before and after an `ack`, with the server
/// knowing it or not. In the end everybody has seen every line once, in one order, their own too.
#[test]
fn lines_are_seen_exactly_once_through_many_cuts() {
    let server = Server::start(&["--rate", "0", "--grace-ms", "60000"]);
    let mut watcher = V1::come(&server, "watcher", &["tea"]);
    let mut people: Vec<Person> = ["ann", "ben", "cid"].map(|name| Person::new(&server, name)).into();
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..150 {
        eprintln!("round {round}");
        let who = random.usize(0..people.len());
        let person = &mut people[who];
        let lines = person.think(random.u32(0..4));
        let bytes = person.client.wire().frames(&lines);
        // All of it is sent, or a part that ends anywhere.
        let sent = if random.bool() { bytes.len() } else { random.usize(0..=bytes.len()) };
        person.client.wire().write(&bytes[..sent]);
        if sent == bytes.len() {
            for _ in 0..random.usize(0..=lines.len()) {
                person.take();
            }
        }
        if random.bool() {
            person.client.cut();
        }
        person.come_back(&server);
    }
    for person in &mut people {
        while !person.doubtful.is_empty() {
            person.take();
        }
    }
    let said: u32 = people.iter().map(|person| person.said).sum();
    for client in people.iter_mut().map(|person| &mut person.client).chain([&mut watcher]) {
        while client.places["tea"].seq < u64::from(said) {
            client.json();
        }
        // What is left are acknowledgements.
        client.send(r#"{"type":"ping"}"#);
        client.until("the pong", |frame| frame["type"] == "pong");
        assert_eq!(client.view["tea"].len(), said as usize, "{}: more lines than were said", client.who);
    }
    for person in &people {
        assert_eq!(person.client.view, watcher.view, "{} saw something else", person.client.who);
        let own = format!("line {}-", person.client.who);
        let numbers: Vec<&str> = watcher.view["tea"].iter().filter_map(|line| line.strip_prefix(&own)).collect();
        let expected: Vec<String> = (1..=person.said).map(|number| number.to_string()).collect();
        assert_eq!(numbers, expected, "each line once, in the order in which it was said");
    }
    eprintln!("{said} lines through 150 cuts");
}
