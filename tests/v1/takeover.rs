//! A second connection of the same user takes over, and the first, which may only seem to be there, is nobody's any more.

use crate::client::{V1, while_stopped};
use crate::common::raw::{PING, Raw, TEXT, frame};
use crate::common::server::Server;
use crate::wire::{Wire, offer};

fn chat(id: &str) -> String {
    format!(r#"{{"type":"chat","message":"{id}","id":"{id}"}}"#)
}

/// > the older one (perhaps half-open) is closed with 4500 and what it still held unread is discarded; no leave or join is
/// > told.
///
/// Else a line that the client has given up, and says again, is shown twice or out of order.
#[test]
fn what_the_earlier_connection_had_sent_unread_is_discarded() {
    let server = Server::start(&[]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    let hello = format!(r#"{{"type":"hello","session":"{}","rooms":{}}}"#, alice.session, alice.positions());
    let mut later = Wire::open(&server, "alice");
    // So that the server has seen all there is of the new connections.
    bob.quiet();
    while_stopped(&server, || {
        later.send(&hello);
        alice.wire().send_all([chat("1"), chat("2"), r#"{"type":"name","name":"mallory"}"#.into(), chat("3")]);
    });
    let mut dead = alice.go_on_over(later).expect("nobody cut the earlier connection");
    assert_eq!((&alice.name[..], &alice.welcome["resumed"]), ("alice", &true.into()));
    alice.joined("@me");
    assert_eq!(alice.joined("tea")["seq"], 0, "what the earlier connection said was not heard");
    assert_eq!(dead.closed(), 4500, "and it got nothing more");
    alice.quiet();
    bob.quiet();
    // They were never said, so they can be said now.
    alice.wire().send_all([chat("1"), chat("2"), chat("3")]);
    for id in ["1", "2", "3"] {
        bob.expect_chat("alice", id);
    }
    bob.quiet();
}

/// The same for lines that were not read because the connection was over its rate.
#[test]
fn lines_that_wait_for_the_rate_are_discarded_too() {
    let server = Server::start(&["--rate", "4", "--burst", "4"]);
    let mut bob = server.join("bob", "tea", 1);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    assert_eq!(bob.json()["type"], "user_join");
    let long = |number: u64| format!(r#"{{"type":"chat","message":"{number} {}"}}"#, "x".repeat(600));
    alice.wire().send_all((0..50).map(long));
    assert_eq!(bob.json()["type"], "chat");
    let mut dead = alice.resume(&server).expect("nobody cut the earlier connection");
    let (_, code) = dead.rest();
    assert_eq!(code, Some(4500));
    // Nothing of the earlier connection can come behind its end. The lines that were heard are in the replay.
    alice.send(r#"{"type":"ping","t":1}"#);
    alice.until("the pong", |frame| frame["type"] == "pong");
    let heard = alice.view.get("tea").map_or(0, Vec::len);
    assert!((1..50).contains(&heard), "{heard} lines were heard: the test tests nothing");
    for _ in 1..heard {
        assert_eq!(bob.json()["type"], "chat");
    }
    bob.quiet();
}

/// > what it still held unread is discarded
///
/// The other way round: what waits for a connection that does not read is dropped, whole frames only, and comes on the
/// other connection from where the client says.
#[test]
fn what_waits_for_the_earlier_connection_comes_on_the_later() {
    const LINES: u64 = 200;
    let flags = ["--rate", "0", "--outbox-bytes", "100000000", "--outboxes-bytes", "100000000"];
    let server = Server::start(&flags);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::hello(&server, "alice", r#""name":"alice","rooms":[{"room":"tea"}]"#);
    alice.joined("@me");
    alice.joined("tea");
    bob.typed("user_join");
    alice.return_slowly(&server);
    // 12 MB: more than a kernel buffers for one connection, so most of it waits in the server.
    for line in 1..=LINES {
        bob.say("tea", &format!("{line} {}", "x".repeat(60_000)));
        assert_eq!(bob.typed("chat")["seq"], line);
    }
    let held = server.resident_bytes();
    let mut dead = alice.resume(&server).expect("nobody cut the earlier connection");
    while alice.places["tea"].seq < LINES {
        alice.json();
    }
    alice.quiet();
    let (frames, code) = dead.rest();
    let lines = frames.iter().filter(|frame| frame["type"] == "chat");
    let seqs: Vec<u64> = lines.filter_map(|frame| frame["seq"].as_u64()).collect();
    assert_eq!(code, Some(4500), "after {} lines", seqs.len());
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "what came is whole, in order and without holes");
    assert!((seqs.len() as u64) < LINES, "all of it came: the test tests nothing");
    assert_eq!(alice.view, bob.view);
    eprintln!("{} of {LINES} lines came on the earlier connection; {held} bytes were held", seqs.len());
}

/// > Two that show one `session`, as two tabs of a browser might, would take over from each other for ever.
///
/// > A second connection of a user takes over
///
/// Clients that try twice at once, as two tabs with one session do: one is left, and it is the last.
#[test]
fn of_many_at_once_the_last_one_stays() {
    let server = Server::start(&[]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    bob.say("tea", "one");
    bob.expect_chat("bob", "one");
    let hello = format!(r#"{{"type":"hello","session":"{}","rooms":{}}}"#, alice.session, alice.positions());
    let mut others: Vec<Wire> = (0..5).map(|_| Wire::open(&server, "alice")).collect();
    // So that the server has seen all there is of the new connections.
    bob.quiet();
    while_stopped(&server, || others.iter_mut().for_each(|wire| wire.send(&hello)));
    let last = others.pop().expect("there are five");
    let mut dead = alice.go_on_over(last).expect("nobody cut the earlier connection");
    assert_eq!(dead.rest().1, Some(4500));
    for wire in &mut others {
        assert_eq!(wire.rest().1, Some(4500));
    }
    for room in ["@me", "tea"] {
        assert_eq!(alice.joined(room)["recovered"], true);
    }
    alice.expect_chat("bob", "one");
    bob.say("tea", "two");
    bob.expect_chat("bob", "two");
    alice.expect_chat("bob", "two");
    alice.quiet();
    bob.quiet();
}

/// > 4500 is final
///
/// > no leave or join is told
///
/// The Close of the one that was replaced, whenever it comes, is no goodbye of the user's.
#[test]
fn the_goodbye_of_the_replaced_connection_is_not_the_users() {
    let server = Server::start(&[]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    // Its goodbye is behind the other's hello, in the same turn; it never saw the 4500.
    let hello = format!(r#"{{"type":"hello","session":"{}","rooms":{}}}"#, alice.session, alice.positions());
    let mut later = Wire::open(&server, "alice");
    // So that the server has seen all there is of the new connections.
    bob.quiet();
    while_stopped(&server, || {
        later.send(&hello);
        alice.wire().say_close(Some(1000));
    });
    let mut dead = alice.go_on_over(later).expect("nobody cut the earlier connection");
    // Two Closes that cross: either may be answered.
    let code = dead.closed();
    assert!(matches!(code, 1000 | 4500), "{code}");
    assert_eq!(alice.welcome["resumed"], true);
    alice.joined("@me");
    assert_eq!(alice.joined("tea")["online_count"], 2);
    bob.quiet();
    alice.say("tea", "still here");
    alice.expect_chat("alice", "still here");
    bob.expect_chat("alice", "still here");
}

/// > Older is the one that connected earlier, whichever of the two says `hello` first.
///
/// > A second connection of a user takes over: the older one (perhaps half-open) is closed with 4500
///
/// Which is the older one does not depend on when each says `hello`: one that was given up while it was under way must not
/// take the user from the one that the client made after it.
#[test]
fn a_hello_that_comes_late_does_not_take_over() {
    let server = Server::start(&[]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    bob.typed("user_join");
    let hello = format!(r#"{{"type":"hello","session":"{}","rooms":[]}}"#, alice.session);
    for _ in 0..3 {
        let mut given_up = Wire::open(&server, "alice");
        alice.resume(&server);
        given_up.send(&hello);
        assert_eq!(given_up.closed(), 4500);
        alice.quiet();
        bob.say("tea", "who is there?");
        bob.expect_chat("bob", "who is there?");
        alice.expect_chat("bob", "who is there?");
    }
    bob.quiet();
}

/// > | 4500 | replaced: another connection of the same user took over (section 15.2) | stop and show |
///
/// The answer to the handshake is no frame, and is not dropped with what the replaced connection had not been sent.
#[test]
fn one_that_is_replaced_in_the_turn_of_its_handshake_sees_both() {
    let server = Server::start(&[]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let alice = V1::come(&server, "alice", &["tea"]);
    let hello = format!(r#"{{"type":"hello","session":"{}"}}"#, alice.session);
    let at_once = [offer("chinwag.v1").into_bytes(), frame(TEXT, hello.as_bytes())].concat();
    bob.typed("user_join");
    bob.quiet();
    let mut all: Vec<Raw> = Vec::new();
    while_stopped(&server, || {
        all = (0..2).map(|_| server.raw()).collect();
        for raw in &mut all {
            raw.send(&at_once);
        }
    });
    all.iter_mut().for_each(Raw::expect_101);
    assert_eq!(all[0].closed().0, 4500);
    all[1].until_text("welcome");
}

/// > Nothing but errors comes before it.
///
/// Pings in the chunk of the handshake, more than a socket takes at once, with payloads that look like frame headers of all
/// lengths: the server once walked over them for ever.
#[test]
fn a_handshake_with_thousands_of_pings_behind_it_stops_nothing() {
    let server = Server::start(&["--rate", "0"]);
    let mut bob = V1::come(&server, "bob", &["tea"]);
    let payload: Vec<u8> = [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf6, 0x7f].repeat(12);
    let pings: Vec<u8> = (0..480).flat_map(|_| frame(PING, &payload)).collect();
    let bytes = [offer("chinwag.v1").into_bytes(), pings].concat();
    let mut deaf = None;
    while_stopped(&server, || deaf = Some(Wire::unopened_slow(&server, "deaf", &bytes)));
    for _ in 0..3 {
        bob.quiet();
    }
}
