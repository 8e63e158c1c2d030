//! Coming back and having missed nothing: again and again, whatever became of the earlier connection.

use crate::client::V1;
use crate::common::client::Came;
use crate::common::server::Server;
use crate::wire::Wire;

/// Reads until the line with this `seq` was shown.
#[track_caller]
fn read_to(client: &mut V1, room: &str, seq: u64) {
    while client.places[room].seq < seq {
        client.json();
    }
}

/// Bob says so many lines, which nobody but he reads for now; gives how many were said in all.
#[track_caller]
fn say_lines(bob: &mut V1, lines: u64) -> u64 {
    for _ in 0..lines {
        let next = bob.places["tea"].seq + 1;
        bob.say("tea", &format!("line {next}"));
        assert_eq!(bob.expect_chat("bob", &format!("line {next}")), next);
    }
    bob.places["tea"].seq
}

/// Two in a room; the second came after the first.
#[track_caller]
fn two(server: &Server) -> (V1, V1) {
    let mut bob = V1::come(server, "bob", &["tea"]);
    let alice = V1::come(server, "alice", &["tea"]);
    bob.typed("user_join");
    (bob, alice)
}

/// > Who joins with a position gets exactly what it missed, or is told what is lost (section 16.2).
///
/// > Then exactly the missed messages come, in order, then live ones.
///
/// Socket.IO's recovery works once: the session that it restores has not what the next restoring needs
/// (socketio/socket.io#4880).
#[test]
fn recovery_works_again_and_again() {
    let server = Server::start(&["--rate", "0"]);
    let (mut bob, mut alice) = two(&server);
    for round in 0..40 {
        alice.cut();
        let said = say_lines(&mut bob, round % 4);
        alice.resume(&server);
        read_to(&mut alice, "tea", said);
        alice.quiet();
        if round % 3 == 0 {
            alice.say("tea", "and I am back");
            alice.expect_chat("alice", "and I am back");
            bob.expect_chat("alice", "and I am back");
        }
    }
    bob.quiet();
    assert_eq!(alice.view, bob.view);
}

/// > So a client need not wait until the server has noticed that a connection is dead.
///
/// > A second connection of a user takes over: the older one (perhaps half-open) is closed with 4500
///
/// Socket.IO saves a session when the server notices that the connection is gone. A client that comes back before that is
/// somebody new (a comment on socketio/socket.io#4880); ejabberd sends to the dead connection what is lost with it
/// (processone/ejabberd#3228).
#[test]
fn recovery_works_while_the_earlier_connection_is_half_open() {
    let server = Server::start(&["--rate", "0"]);
    let (mut bob, mut alice) = two(&server);
    for round in 0..20 {
        // They go to a connection that nobody reads any more.
        let before = bob.places["tea"].seq;
        let said = say_lines(&mut bob, round % 4);
        let mut dead = alice.resume(&server).expect("nobody cut the earlier connection");
        read_to(&mut alice, "tea", said);
        say_lines(&mut bob, 1);
        read_to(&mut alice, "tea", said + 1);
        alice.quiet();
        // What reached the dead one before is there; nothing since.
        let (frames, code) = dead.rest();
        let seqs: Vec<u64> = frames.iter().filter_map(|frame| frame["seq"].as_u64()).collect();
        assert_eq!((seqs.len(), code), (frames.len(), Some(4500)), "{frames:?}");
        assert_eq!(seqs, (before + 1..=said).collect::<Vec<_>>(), "round {round}");
    }
    bob.quiet();
    assert_eq!(alice.view, bob.view);
}

/// Socket.IO again: the earlier connection's time-out, which comes when the person is back for long, takes away the
/// session (the same comment).
#[test]
fn the_end_of_the_earlier_connection_takes_nothing_away() {
    let server = Server::start(&["--rate", "0", "--ping-ms", "150", "--silence-ms", "600", "--close-ms", "100"]);
    let (mut bob, mut alice) = two(&server);
    for _ in 0..3 {
        let mut dead = alice.resume(&server).expect("nobody cut the earlier connection");
        // The dead one answers nothing, not even the Close; at last the server resets it.
        let mut ended = Vec::new();
        while let Some(came) = dead.try_next() {
            ended.push(came);
        }
        assert!(matches!(ended[..], [Came::Closed(4500, _)]), "{ended:?}");
        alice.quiet();
        let said = say_lines(&mut bob, 1);
        read_to(&mut alice, "tea", said);
        alice.cut();
        let said = say_lines(&mut bob, 2);
        alice.resume(&server);
        read_to(&mut alice, "tea", said);
    }
    bob.quiet();
    assert_eq!(alice.view, bob.view);
}

/// > Who has no line yet is where `joined` said: at its `seq`, and without a `time`; `seq` 0 is before the first
/// > line.
///
/// > recovers when epochs are equal, `seq` ≤ newest, `seq`+1 ≥ oldest kept
///
/// Socket.IO recovers nobody to whom nothing was sent yet: there is no offset (socketio/socket.io#5538).
#[test]
fn recovery_works_before_anything_was_said() {
    let server = Server::start(&[]);
    let (mut bob, mut alice) = two(&server);
    alice.cut();
    alice.resume(&server);
    alice.quiet();
    alice.cut();
    let said = say_lines(&mut bob, 2);
    alice.resume(&server);
    read_to(&mut alice, "tea", said);
    bob.quiet();
    assert_eq!(alice.view, bob.view);
}

/// Socket.IO's offset is a packet that expires: who was there for long and heard little is not recovered
/// (socketio/socket.io#5282). A place in a room is good whatever was said elsewhere, and whatever was trimmed before it.
#[test]
fn recovery_works_where_little_is_said() {
    let server = Server::start(&["--rate", "0", "--recent-messages", "5"]);
    let (mut bob, mut alice) = two(&server);
    let said = say_lines(&mut bob, 8);
    read_to(&mut alice, "tea", said);
    bob.send(r#"{"type":"join","room":"loud"}"#);
    bob.joined("loud");
    for _ in 0..50 {
        bob.say("loud", "blah");
        bob.expect_chat("bob", "blah");
    }
    alice.cut();
    alice.resume(&server);
    alice.quiet();
    alice.cut();
    let said = say_lines(&mut bob, 5);
    alice.resume(&server);
    read_to(&mut alice, "tea", said);
    alice.quiet();
    assert_eq!(alice.view["tea"], bob.view["tea"]);
}

/// > S … chat frames 1042 to 1060, then live ones: none missing, none twice
///
/// With others a line is lost that is said while the past is fetched: it is in neither (upstash/realtime#23).
#[test]
fn recovery_misses_nothing_that_is_said_meanwhile() {
    const LINES: u64 = 4_000;
    let server = Server::start(&["--rate", "0", "--recent-messages", "10000"]);
    let (mut bob, mut alice) = two(&server);
    let talking = std::thread::spawn(move || {
        for chunk in 0..LINES / 20 {
            let line = |line: u64| format!(r#"{{"type":"chat","message":"{} {}"}}"#, chunk * 20 + line, "x".repeat(60));
            bob.wire().send_all((1..=20).map(line));
        }
        for _ in 0..LINES {
            bob.typed("chat");
        }
        bob
    });
    let mut rounds = 0;
    while alice.places["tea"].seq < LINES {
        rounds += 1;
        for _ in 0..rounds * 7 % 50 {
            if alice.places["tea"].seq < LINES {
                alice.json();
            }
        }
        if rounds % 2 == 0 {
            alice.cut();
        }
        alice.resume(&server);
    }
    let mut bob = talking.join().expect("talking does not fail");
    eprintln!("{rounds} times back while {LINES} lines were said");
    assert!(rounds > 3, "the lines were said before anybody came back: the test tests nothing");
    alice.quiet();
    bob.quiet();
    assert_eq!(alice.view, bob.view);
}

/// > Joining with a position
///
/// A connection that is cut before its catching up is done is the same as any: the next one goes on from there.
#[test]
fn recovery_works_when_it_was_cut_in_the_middle() {
    let server = Server::start(&["--rate", "0"]);
    let (mut bob, mut alice) = two(&server);
    alice.cut();
    let said = say_lines(&mut bob, 900);
    for round in 0..30 {
        // In rounds with an even number nothing is read at all, not even the welcome.
        let wire = Wire::open(&server, "alice");
        if round % 2 == 0 {
            let mut wire = wire;
            let (session, rooms) = (&alice.session, alice.positions());
            wire.send(&format!(r#"{{"type":"hello","session":"{session}","rooms":{rooms}}}"#));
            wire.reset();
        } else {
            let fields = format!(r#""session":"{}","rooms":{}"#, alice.session, alice.positions());
            alice.greet(wire, &fields);
            for _ in 0..round {
                alice.json();
            }
            alice.cut();
        }
    }
    alice.resume(&server);
    read_to(&mut alice, "tea", said);
    alice.quiet();
    bob.quiet();
    assert_eq!(alice.view, bob.view);
}
