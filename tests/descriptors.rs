//! Out of file descriptors: accepting pauses and comes back by itself; the loop does not spin; who is in notices
//! nothing. The server is a child process with few descriptors; the clients' are this process' own.
#![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

mod common;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use common::client::Client;
use common::eventually;
use common::raw::{Raw, handshake};
use common::server::{Launch, Server};

/// An eighth of them and 32 are no connections' (see `config::Limits`); the rest is enough for [`CROWD`].
const DESCRIPTORS: u32 = 80;
/// So many of those who knock must come in.
const CROWD: usize = 30;
const PEERS: usize = 120;

/// What became of a peer that asked to come in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    In,
    Refused,
    Waiting,
}

#[track_caller]
fn fate(raw: &Raw) -> Fate {
    let mut start = [0; 12];
    match raw.stream.peek(&mut start) {
        Ok(12) if start.ends_with(b"101") => Fate::In,
        Ok(12) if start.ends_with(b"503") => Fate::Refused,
        Err(error) if error.kind() == ErrorKind::WouldBlock => Fate::Waiting,
        other => panic!("neither in, nor refused, nor waiting: {other:?} {}", start.escape_ascii()),
    }
}

fn count(peers: &[Raw], wanted: Fate) -> usize {
    peers.iter().filter(|raw| fate(raw) == wanted).count()
}

/// Peers that knock: more than the server has descriptors for.
fn knock(server: &Server) -> Vec<Raw> {
    let knock = |number| {
        let mut raw = server.raw();
        raw.send(handshake(&format!("/rooms/crowd{}", number % 7)));
        raw.stream.set_nonblocking(true).expect("a socket");
        raw
    };
    (0..PEERS).map(knock).collect()
}

/// The server's processor time while two clients talk for a second.
fn busy_ms(server: &Server, alice: &mut Client, bob: &mut Client) -> (u64, u128) {
    let (start, before) = (Instant::now(), server.cpu_ms());
    let mut number = 0;
    while start.elapsed() < Duration::from_secs(1) {
        number += 1;
        alice.send(&format!("line {number}"));
        alice.expect_chat("alice", &format!("line {number}"));
        bob.expect_chat("alice", &format!("line {number}"));
        std::thread::sleep(Duration::from_millis(50));
    }
    (server.cpu_ms() - before, start.elapsed().as_millis())
}

#[test]
fn out_of_descriptors_accepting_pauses_and_comes_back() {
    let flags = ["--connections-max", "10000", "--rate", "0"];
    let server = Launch::new(&flags).descriptors(DESCRIPTORS).start();
    let mut alice = server.join("alice", "tea", 1);
    let mut bob = server.join("bob", "tea", 2);
    assert_eq!(alice.json()["name"], "bob");

    let mut peers = knock(&server);
    eventually("some peers to come in", || count(&peers, Fate::In) >= CROWD);
    eventually("accepting to pause", || server.logged("accepting pauses"));
    let (busy, took) = busy_ms(&server, &mut alice, &mut bob);
    let (inside, waiting) = (count(&peers, Fate::In), count(&peers, Fate::Waiting));
    eprintln!("{inside} in, {waiting} waiting; {busy} ms of processor time in {took} ms");
    assert!(inside < DESCRIPTORS as usize && inside + 36 <= PEERS, "{inside} are in with {DESCRIPTORS} descriptors");
    assert!(u128::from(busy) < took / 4, "the server spins: {busy} ms of {took} ms");

    // Those who are in leave: those who wait come in, without anybody else knocking.
    let leaving: Vec<usize> = (0..peers.len()).filter(|&at| fate(&peers[at]) == Fate::In).take(20).collect();
    for at in leaving.into_iter().rev() {
        drop(peers.swap_remove(at));
    }
    let wanted = inside - 20 + waiting.min(20);
    eventually("those who waited to come in", || count(&peers, Fate::In) >= wanted);
    alice.quiet();
    bob.quiet();

    // All leave: there is room for new ones.
    drop(peers);
    eventually("room for a new one", || {
        let mut raw = server.raw();
        raw.send(handshake("/rooms/tea"));
        raw.head().status.contains("101")
    });
    alice.until("the new one", |frame| frame["type"] == "user_join");
}

/// Without `--connections-max` there are as many as descriptors allow, and who comes too many waits or gets a 503.
///
/// > as many connections as there may be (`--connections-max`)
#[test]
fn by_default_descriptors_limit_the_connections() {
    let server = Launch::new(&["--rate", "0"]).descriptors(DESCRIPTORS).start();
    let mut alice = server.join("alice", "tea", 1);
    let mut bob = server.join("bob", "tea", 2);
    assert_eq!(alice.json()["name"], "bob");
    let mut peers = knock(&server);
    eventually("some peers to come in", || count(&peers, Fate::In) >= 20);
    let (busy, took) = busy_ms(&server, &mut alice, &mut bob);
    let inside = count(&peers, Fate::In);
    eprintln!("{inside} in, {} refused, {} waiting", count(&peers, Fate::Refused), count(&peers, Fate::Waiting));
    assert!(u128::from(busy) < took / 4, "the server spins: {busy} ms of {took} ms");
    peers.clear();
    eventually("room for a new one", || {
        let mut raw = server.raw();
        raw.send(handshake("/rooms/tea"));
        raw.head().status.contains("101")
    });
    bob.until("the new one", |frame| frame["type"] == "user_join");
}
