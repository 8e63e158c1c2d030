//! A short cut is nobody's business: no leave and no join is told, and the name stays. After the grace it is told, once.

use std::time::{Duration, Instant};

use crate::client::V1;
use crate::common::client::Client;
use crate::common::server::Server;
use crate::wire::Wire;

/// Those who watch a room: one plain, one of `chinwag.v1`.
struct Watchers {
    plain: Client,
    v1: V1,
}

impl Watchers {
    #[track_caller]
    fn new(server: &Server, room: &str) -> Self {
        let mut plain = server.join("plain", room, 1);
        let v1 = V1::come(server, "watcher", &[room]);
        assert_eq!(plain.json()["type"], "user_join");
        Self { plain, v1 }
    }

    /// Each has to be told exactly this next, and nothing else.
    #[track_caller]
    fn told(&mut self, kind: &str, name: &str, online: u32) {
        for frame in [self.plain.json(), self.v1.json()] {
            assert_eq!((&frame["type"], &frame["name"]), (&kind.into(), &name.into()), "{frame}");
            assert_eq!(frame["online_count"], online, "{frame}");
        }
        self.told_nothing();
    }

    #[track_caller]
    fn told_nothing(&mut self) {
        self.plain.quiet();
        self.v1.quiet();
    }
}

/// > | when the connection breaks | it has gone, and who comes is somebody new | it stays for a while, and goes on in
/// > all its rooms where it was |
///
/// > | its own code | the client said goodbye with another code, or none: the user stays for the grace | reconnect
/// > and resume, if it means to |
///
/// > A Close without a code, or with any other code of the client's own, is such a way, too; the 45xx meant are those that
/// > the server sends.
///
/// > | none (the stream ends or is reset) | the network, a proxy, a crash | reconnect and resume |
///
/// > A user whose v1 connection ends in any way but close 1000 or a 45xx stays for the grace (30 s): name kept, nobody
/// > told. (1001 is a page reload.)
///
/// Elsewhere a change of the Wi-Fi shows as a leave and a join to everybody, each time (mcdonc/klangk#246,
/// supabase-community/realtime-csharp#31).
#[test]
fn a_short_cut_is_told_to_nobody() {
    let server = Server::start(&["--rate", "0"]);
    let mut watchers = Watchers::new(&server, "tea");
    let mut alice = V1::come(&server, "alice", &["tea", "cake"]);
    watchers.told("user_join", "alice", 3);
    for round in 0..16 {
        match round % 8 {
            0 => alice.cut(),
            // The stream's end, without a Close; and with these codes, one of which is none.
            1 => alice.wire().stream.shutdown(std::net::Shutdown::Write).expect("a socket shuts down"),
            2 => alice.wire().say_close(Some(1001)),
            3 => alice.wire().say_close(None),
            4 => alice.wire().say_close(Some(3000)),
            // One of the server's final codes, but said by the client.
            5 => alice.wire().say_close(Some(4599)),
            // Text that is not UTF-8 (masked with zeros): the server closes with 1007.
            6 => alice.wire().write(&[0x81, 0x81, 0, 0, 0, 0, 0xff]),
            // A frame that is none (RFC 6455 section 5.2: reserved bits): the server closes with 1002.
            _ => alice.wire().write(&[0xf1, 0x80, 0, 0, 0, 0]),
        }
        watchers.told_nothing();
        let earlier = alice.resume(&server);
        assert_eq!(alice.name, "alice");
        if let Some(mut earlier) = earlier {
            earlier.rest();
        }
        alice.quiet();
        watchers.told_nothing();
    }
    alice.say("tea", "here I am");
    alice.expect_chat("alice", "here I am");
    watchers.plain.expect_chat("alice", "here I am");
    watchers.v1.expect_chat("alice", "here I am");
}

/// > `online_count` counts users present (each plain connection is one; one within its grace counts).
#[test]
fn who_is_in_the_grace_counts() {
    let server = Server::start(&[]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    alice.cut();
    let mut carol = server.join("carol", "tea", 3);
    assert_eq!(bob.typed("user_join")["online_count"], 3);
    let mut dave = V1::hello(&server, "dave", r#""rooms":[{"room":"tea"}]"#);
    dave.joined("@me");
    assert_eq!(dave.joined("tea")["online_count"], 4);
    carol.json();
    dave.send(r#"{"type":"who"}"#);
    let presence = dave.typed("presence");
    let users = presence["users"].as_array().expect("a list");
    assert_eq!((users.len(), &presence["online_count"]), (4, &4.into()), "{presence}");
    assert!(users.iter().any(|user| user["name"] == "alice"), "{presence}");
    carol.close(1000, "");
    assert_eq!(dave.typed("user_leave")["online_count"], 3);
    alice.resume(&server);
    dave.quiet();
}

/// > `--grace-ms` sets how long.
///
/// > | the grace | 30 s | `--grace-ms` | the others get `user_leave` |
///
/// > stays for the grace (30 s)
///
/// However often somebody comes and goes, after the last grace there is exactly one leave; and then one join.
#[test]
fn after_the_grace_there_is_exactly_one_leave() {
    const GRACE: Duration = Duration::from_millis(700);
    let server = Server::start(&["--grace-ms", "700", "--rate", "0"]);
    let mut watchers = Watchers::new(&server, "tea");
    let mut alice = V1::come(&server, "alice", &["tea"]);
    watchers.told("user_join", "alice", 3);
    for _ in 0..5 {
        alice.cut();
        alice.resume(&server);
        alice.quiet();
    }
    watchers.told_nothing();
    let cut = Instant::now();
    alice.cut();
    watchers.told("user_leave", "alice", 2);
    let after = cut.elapsed();
    // Clocks of two processes: a few milliseconds for granularity.
    assert!(after + Duration::from_millis(30) >= GRACE, "the leave came after {after:?}");
    assert!(after < GRACE * 5, "the leave came after {after:?}");
    alice.return_with(&server, &format!(r#""name":"alice","rooms":{}"#, alice.positions()));
    assert_eq!((&alice.name[..], &alice.welcome["resumed"]), ("alice", &false.into()));
    for room in ["@me", "tea"] {
        assert_eq!(alice.joined(room)["recovered"], true);
    }
    watchers.told("user_join", "alice", 3);
}

/// > | 1000 | the client said goodbye with 1000: the user leaves at once | stop |
///
/// > 1000, 45xx and plain clients leave at once.
#[test]
fn a_goodbye_is_told_at_once() {
    let server = Server::start(&["--rate", "0"]);
    let mut watchers = Watchers::new(&server, "tea");
    for _ in 0..3 {
        let mut alice = V1::come(&server, "alice", &["tea"]);
        watchers.told("user_join", "alice", 3);
        let start = Instant::now();
        alice.goodbye();
        watchers.told("user_leave", "alice", 2);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?} is no 'at once'", start.elapsed());
    }
    let plain = server.join("paul", "tea", 3);
    watchers.told("user_join", "paul", 3);
    drop(plain);
    watchers.told("user_leave", "paul", 2);
}

/// > name kept
///
/// In IRC and its kin one's own ghost has the name until it times out, and one is `alice_` for the rest of the day
/// (hexchat/hexchat#1967, illuminatedwax/pesterchum#78).
#[test]
fn a_name_is_not_stuck_after_a_reconnect() {
    let server = Server::start(&["--rate", "0"]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    for round in 0..6 {
        // Once the server knows that the connection is gone, once it does not.
        if round % 2 == 0 {
            alice.cut();
        }
        let _half_open = alice.return_with(&server, &format!(r#""name":"alice","rooms":{}"#, alice.positions()));
        assert_eq!((&alice.name[..], &alice.welcome["resumed"]), ("alice", &true.into()));
        alice.joined("@me");
        alice.joined("tea");
        alice.quiet();
    }
    bob.quiet();
    // While she is away the name is hers; it is nobody's when she has said goodbye.
    alice.cut();
    bob.send(r#"{"type":"name","name":"Alice"}"#);
    bob.expect_error("name_taken");
    alice.resume(&server);
    alice.goodbye();
    bob.typed("user_leave");
    bob.send(r#"{"type":"name","name":"Alice"}"#);
    bob.expect(r#"{"type":"user_rename","user":"<U2>","from":"bob","to":"Alice","message":"bob is now known as Alice","timestamp":"<T>"}"#);
    // Somebody else has it now: she is a guest, and is told.
    let wire = Wire::open(&server, "alice");
    alice.greet(wire, &format!(r#""session":"{}","name":"alice""#, alice.session));
    assert!(alice.name.starts_with("guest-"), "{}", alice.welcome);
    alice.expect_error("name_taken");
}

/// > When the grace is over, the others get `user_leave`, and the name is free.
///
/// > stays for the grace (30 s): name kept
///
/// And after the grace it is kept no longer.
#[test]
fn a_name_is_free_after_the_grace() {
    let server = Server::start(&["--grace-ms", "200", "--rate", "0"]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    alice.cut();
    bob.send(r#"{"type":"name","name":"alice"}"#);
    bob.expect_error("name_taken");
    assert_eq!(bob.typed("user_leave")["name"], "alice");
    bob.send(r#"{"type":"name","name":"alice"}"#);
    assert_eq!(bob.typed("user_rename")["to"], "alice");
}

/// > In all cases but 1000 and 45xx the user stays for the grace (section 15.3).
///
/// > | 1002, 1007, 1009 | bad frame, bad UTF-8, too large | stop and show |
///
/// > | 4003 | no heartbeat: nothing was heard of it; or no `hello` | reconnect and resume |
///
/// > closes with 4003
///
/// > A user whose v1 connection ends in any way but close 1000 or a 45xx stays for the grace
///
/// So does one whom the server closed for its silence, its size or its slowness.
#[test]
fn who_is_closed_by_the_server_is_expected_back() {
    let server = Server::start(&["--ping-ms", "100", "--silence-ms", "400", "--message-bytes", "2000"]);
    let mut watchers = Watchers::new(&server, "tea");
    let mut alice = V1::come(&server, "alice", &["tea"]);
    watchers.told("user_join", "alice", 3);
    // The watchers are heard, for they answer Pings while they read; she does not read until she was given up.
    let start = Instant::now();
    while !server.log().contains("4003") {
        watchers.told_nothing();
        assert!(start.elapsed() < crate::common::PATIENCE, "nobody is closed for silence");
    }
    let mut silent = alice.resume(&server).expect("nobody cut the earlier connection");
    assert_eq!(silent.rest().1, Some(4003));
    watchers.told_nothing();
    let long = format!(r#"{{"type":"chat","message":"{}"}}"#, "x".repeat(2001));
    alice.send(&long);
    assert_eq!(alice.wire().closed(), 1009);
    watchers.told_nothing();
    alice.resume(&server);
    alice.quiet();
    watchers.told_nothing();
}

/// > What is not stored is lost: who came and went meanwhile, renames, typing, binary.
///
/// Nothing of it is made up for; `who` tells how it is now.
#[test]
fn what_is_not_stored_is_lost_to_who_is_away() {
    let server = Server::start(&["--rate", "0"]);
    let mut watchers = Watchers::new(&server, "tea");
    let mut alice = V1::come(&server, "alice", &["tea"]);
    watchers.told("user_join", "alice", 3);
    alice.cut();
    drop(server.join("visitor", "tea", 4));
    watchers.v1.typed("user_join");
    watchers.v1.typed("user_leave");
    watchers.v1.send(r#"{"type":"typing"}"#);
    watchers.v1.wire().send_binary(b"nobody keeps this");
    watchers.v1.send(r#"{"type":"name","name":"renamed"}"#);
    watchers.v1.typed("user_rename");
    watchers.v1.say("tea", "this is kept");
    watchers.v1.expect_chat("renamed", "this is kept");
    alice.resume(&server);
    alice.expect_chat("renamed", "this is kept");
    alice.quiet();
    alice.send(r#"{"type":"who"}"#);
    let presence = alice.typed("presence");
    let names: Vec<&str> =
        presence["users"].as_array().expect("a list").iter().filter_map(|user| user["name"].as_str()).collect();
    assert_eq!(names, ["plain", "renamed", "alice"], "{presence}");
}
