//! 15,000 connections in one room. The server is a child process; the clients' sockets are this process' own.
#![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::raw::{CLOSE, TEXT, frame, handshake, parse};
use common::server::Server;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// So many at most have asked to come in and are not in yet: a listener's backlog is limited.
const KNOCKING_MAX: usize = 500;
/// The whole test may take so long.
const TIME_MAX: Duration = Duration::from_mins(2);

/// A client of which there are many: it counts the lines that it saw.
struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
    asked: bool,
    welcomed: bool,
    lines: Vec<String>,
}

struct Crowd {
    poll: Poll,
    events: Events,
    address: SocketAddr,
    peers: Vec<Peer>,
    welcomed: usize,
    lines: usize,
    since: Instant,
}

impl Crowd {
    fn new(address: SocketAddr) -> Self {
        let poll = Poll::new().expect("a poll");
        let events = Events::with_capacity(1024);
        Self { poll, events, address, peers: Vec::new(), welcomed: 0, lines: 0, since: Instant::now() }
    }

    /// Brings so many in, a few at a time.
    fn enter(&mut self, count: usize) {
        while self.welcomed < count {
            while self.peers.len() < count && self.peers.len() - self.welcomed < KNOCKING_MAX {
                let mut stream = TcpStream::connect(self.address).expect("a socket");
                let both = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut stream, Token(self.peers.len()), both).expect("a registration");
                let (buffer, lines) = (Vec::new(), Vec::new());
                self.peers.push(Peer { stream, buffer, asked: false, welcomed: false, lines });
            }
            self.turn();
        }
    }

    /// Waits until so many lines were seen by all together.
    fn until_lines(&mut self, count: usize) {
        while self.lines < count {
            self.turn();
        }
    }

    fn turn(&mut self) {
        assert!(self.since.elapsed() < TIME_MAX, "{} welcomed, {} lines", self.welcomed, self.lines);
        self.poll.poll(&mut self.events, Some(common::PATIENCE)).expect("a poll");
        assert!(!self.events.is_empty(), "nothing came: {} welcomed, {} lines", self.welcomed, self.lines);
        for event in &self.events {
            let peer = &mut self.peers[event.token().0];
            if event.is_writable() && !peer.asked {
                peer.stream.write_all(handshake("/").as_bytes()).expect("a handshake fits");
                peer.asked = true;
            }
            if event.is_readable() {
                let (welcomed, lines) = (peer.welcomed, peer.lines.len());
                peer.read();
                self.welcomed += usize::from(peer.welcomed && !welcomed);
                self.lines += peer.lines.len() - lines;
            }
        }
    }
}

impl Peer {
    fn read(&mut self) {
        let mut chunk = [0; 16_384];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => panic!("the server ended a connection"),
                Ok(length) => self.buffer.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("the server broke a connection: {error}"),
            }
        }
        if !self.welcomed && self.buffer.starts_with(b"HTTP/1.1 ") {
            let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else { return };
            assert!(self.buffer.starts_with(b"HTTP/1.1 101 "), "{}", self.buffer[..end].escape_ascii());
            self.buffer.drain(..end + 4);
        }
        while let Some((frame, length)) = parse(&self.buffer) {
            self.buffer.drain(..length);
            assert_ne!(frame.first & 0xf, CLOSE, "{:?}", frame.close());
            let text = String::from_utf8_lossy(&frame.payload);
            if text.starts_with(r#"{"type":"chat""#) {
                assert_eq!(frame.first & 0xf, TEXT);
                self.lines.push(text.into_owned());
            } else if text.starts_with(r#"{"type":"system","message":"Welcome"#) {
                self.welcomed = true;
            }
        }
        self.buffer.shrink_to_fit();
    }
}

/// > `presence` lists 1,000 users at most; if there are more, it says `"more":true`.
///
/// > | it sends `{"type":"chat","message":"hi"}` | everyone in the room, itself too | `chat` |
#[test]
fn fifteen_thousand_in_the_lobby() {
    let limit = rlimit::increase_nofile_limit(u64::MAX).expect("a limit of open files");
    // A machine that gives fewer descriptors gets a smaller crowd, and is told.
    let count = usize::try_from(limit.saturating_sub(200)).expect("a number").min(15_000);
    assert!(count >= 1_000, "a limit of {limit} open files is too low to test anything");
    let server = Server::start(&["--rate", "0", "--log", "warn"]);
    let mut watcher = server.connect("watcher", "/?name=watcher");
    assert_eq!(watcher.json()["message"], "Welcome to the chat room! 1 online");

    let mut crowd = Crowd::new(server.address);
    let (before, start) = (server.cpu_ms(), Instant::now());
    crowd.enter(count);
    let (joining_ms, took) = (server.cpu_ms() - before, start.elapsed());
    let bytes = server.resident_bytes() / count as u64;
    eprintln!("{count} joined in {took:?}: {joining_ms} ms of the server's processor time, {bytes} B of memory each");
    // The promise is 5 s for 15,000; a test machine may be ten times slower.
    assert!(joining_ms < 50_000, "joining took {joining_ms} ms of processor time");

    let before = server.cpu_ms();
    let start = Instant::now();
    for (number, text) in (1..).zip(["one for all", "all for one"]) {
        crowd.peers[0].stream.write_all(&frame(TEXT, text.as_bytes())).expect("a line fits");
        crowd.until_lines(count * number);
        watcher.until("the line", |frame| frame["message"] == text);
    }
    eprintln!("2 lines to {count} took {:?}, {} ms of processor time", start.elapsed(), server.cpu_ms() - before);
    for (number, peer) in crowd.peers.iter().enumerate() {
        let lines: Vec<bool> = peer.lines.iter().map(|line| line.contains(r#""message":"one for all""#)).collect();
        assert_eq!(lines, [true, false], "peer {number} got {:?}", peer.lines);
    }

    watcher.send(r#"{"type":"who"}"#);
    let presence = watcher.until("presence", |frame| frame["type"] == "presence");
    assert_eq!(presence["online_count"], count + 1);
    assert_eq!((presence["users"].as_array().map(Vec::len), &presence["more"]), (Some(1000), &true.into()));

    drop(crowd);
    watcher.until("to be alone", |frame| frame["online_count"] == 1);
    watcher.close(1000, "");
    watcher.closed();
    let mut next = server.connect("next", "/");
    next.expect(r#"{"type":"system","message":"Welcome to the chat room! 1 online","timestamp":"<T>"}"#);
    next.quiet();
}
