//! 10,000 clients of `chinwag.v1` in one room are cut at once, lines are said meanwhile, and all come back: nobody misses a
//! line or sees one twice, nobody is told of leaves or joins, and when all have left, the memory is there again. The server
//! is a child process; the clients' sockets are this process' own.
#![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::client::Client;
use common::raw::{CLOSE, Frame, PING, PONG, TEXT, close_payload, frame, handshake, parse};
use common::server::Server;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

/// The crowd, if the machine gives so many descriptors.
const CLIENTS: usize = 10_000;
/// Every so many-th is not cut, but left half-open: the server is not told.
const HALF_OPEN_EVERY: usize = 10;
/// So many at most have asked to come in and are not in yet: a listener's backlog is limited.
const KNOCKING_MAX: usize = 500;
/// Lines that are said while nobody is there; more are said while they come back.
const MISSED: u64 = 20;
/// Timer entries that nobody waits for fall due within the silence limit.
const TIMES: [&str; 6] = ["--grace-ms", "120000", "--ping-ms", "10000", "--silence-ms", "20000"];
/// In so long it must have done so.
const SETTLING_MAX: Duration = Duration::from_secs(100);
/// The whole test may take so long; it takes a fifth of it.
const TIME_MAX: Duration = Duration::from_secs(150);

/// A client of which there are many. It knows who and where it is, as the rules for clients have it.
#[derive(Default)]
struct Peer {
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    asked: bool,
    joined: bool,
    closed: Option<u16>,
    /// From the last `welcome`.
    session: String,
    /// Of the room; empty before the first `joined`.
    epoch: String,
    seq: u64,
    time: String,
}

impl Peer {
    /// The handshake and `hello` in one piece, with session and position if there are any.
    fn request(&self) -> Vec<u8> {
        let protocol = "\r\nSec-WebSocket-Protocol: chinwag.v1\r\n\r\n";
        let mut bytes = handshake("/").replace("\r\n\r\n", protocol).into_bytes();
        let mut hello = r#"{"type":"hello","rooms":[{"room":"tea"}]}"#.to_owned();
        if !self.epoch.is_empty() {
            let Self { session, epoch, seq, time, .. } = self;
            let time = if time.is_empty() { String::new() } else { format!(r#","time":"{time}""#) };
            hello = format!(
                r#"{{"type":"hello","session":"{session}","rooms":[{{"room":"tea","epoch":"{epoch}","seq":{seq}{time}}}]}}"#
            );
        }
        bytes.extend(frame(TEXT, hello.as_bytes()));
        bytes
    }

    /// Reads all there is and takes notice of it.
    fn read(&mut self, rules: &Rules) {
        let mut chunk = [0; 16_384];
        let mut ended = false;
        while let Some(stream) = &mut self.stream {
            match stream.read(&mut chunk) {
                Ok(0) => {
                    ended = true;
                    break;
                }
                Ok(length) => self.buffer.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("the server broke a connection: {error}"),
            }
        }
        if self.buffer.starts_with(b"HTTP/1.1 ") {
            let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else { return };
            assert!(self.buffer.starts_with(b"HTTP/1.1 101 "), "{}", self.buffer[..end].escape_ascii());
            self.buffer.drain(..end + 4);
        }
        let mut used = 0;
        while let Some((frame, length)) = parse(&self.buffer[used..]) {
            used += length;
            self.take(&frame, rules);
        }
        self.buffer.drain(..used);
        self.buffer.shrink_to_fit();
        assert!(!ended || self.closed.is_some(), "the server ended a connection");
    }

    fn take(&mut self, came: &Frame, rules: &Rules) {
        match came.first & 0xf {
            TEXT => self.hear(came.text(), rules),
            PING => self.send(&frame(PONG, &came.payload)),
            CLOSE => {
                let (code, reason) = came.close();
                assert!(rules.leaving, "closed with {code} {reason}");
                self.closed = Some(code);
            }
            other => panic!("opcode {other}"),
        }
    }

    /// Hundreds of thousands of frames come: they are looked at as text.
    fn hear(&mut self, text: &str, rules: &Rules) {
        assert_eq!(self.closed, None, "after the Close: {text}");
        let kind = string(text, "type");
        match kind {
            "welcome" => {
                assert_eq!(value(text, "resumed"), rules.resumed, "{text}");
                string(text, "session").clone_into(&mut self.session);
            }
            "joined" if string(text, "room") == "@me" => {}
            "joined" => self.note_joined(text),
            "chat" => {
                let seq = number(text, "seq");
                assert!(self.joined && seq == self.seq + 1, "a hole or a repeat: after {} came {text}", self.seq);
                self.seq = seq;
                string(text, "timestamp").clone_into(&mut self.time);
            }
            "user_join" | "user_leave" => assert!(rules.may_tell, "this was told: {text}"),
            _ => panic!("unexpected: {text}"),
        }
    }

    fn note_joined(&mut self, text: &str) {
        let recovered = !self.epoch.is_empty();
        assert_eq!(value(text, "recovered"), if recovered { "true" } else { "false" }, "{text}");
        if recovered {
            assert_eq!(string(text, "epoch"), self.epoch, "{text}");
            assert!(number(text, "seq") >= self.seq, "{text}");
        } else {
            string(text, "epoch").clone_into(&mut self.epoch);
            self.seq = number(text, "seq");
        }
        self.joined = true;
    }

    /// Sends what a socket's buffer always has room for.
    fn send(&mut self, bytes: &[u8]) {
        let stream = self.stream.as_mut().expect("it is connected");
        stream.write_all(bytes).expect("the kernel takes a small frame");
    }

    /// Goes without a word: a reset.
    fn cut(&mut self) {
        let stream = self.leave();
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket lingers not");
    }

    /// The connection is not the client's any more.
    fn leave(&mut self) -> TcpStream {
        (self.asked, self.joined, self.closed) = (false, false, None);
        self.buffer.clear();
        self.stream.take().expect("it is connected")
    }
}

/// The text behind a key, up to the next comma or brace.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let quoted = format!("\"{key}\":");
    let start = text.find(&quoted).unwrap_or_else(|| panic!("no {key}: {text}")) + quoted.len();
    let end = text[start..].find([',', '}']).expect("an object ends");
    &text[start..start + end]
}

fn string<'a>(text: &'a str, key: &str) -> &'a str {
    value(text, key).trim_matches('"')
}

fn number(text: &str, key: &str) -> u64 {
    value(text, key).parse().unwrap_or_else(|_| panic!("{key} is no number: {text}"))
}

/// What may come now.
struct Rules {
    /// What every `welcome` says.
    resumed: &'static str,
    /// Whether joins and leaves may be told.
    may_tell: bool,
    /// Whether a Close may come.
    leaving: bool,
}

struct Crowd {
    poll: Poll,
    events: Events,
    address: SocketAddr,
    peers: Vec<Peer>,
    rules: Rules,
    since: Instant,
}

impl Crowd {
    fn new(address: SocketAddr, count: usize) -> Self {
        Self {
            poll: Poll::new().expect("a poll"),
            events: Events::with_capacity(1024),
            address,
            peers: (0..count).map(|_| Peer::default()).collect(),
            rules: Rules { resumed: "false", may_tell: true, leaving: false },
            since: Instant::now(),
        }
    }

    /// Brings all in, some at a time; calls back now and then.
    fn enter(&mut self, mut meanwhile: impl FnMut()) {
        let (mut started, mut joined) = (0, 0);
        while joined < self.peers.len() {
            while started < self.peers.len() && started - joined < KNOCKING_MAX {
                let mut stream = TcpStream::connect(self.address).expect("a socket");
                let both = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut stream, Token(started), both).expect("a registration");
                self.peers[started].stream = Some(stream);
                started += 1;
            }
            self.turn();
            let now_joined = self.peers.iter().filter(|peer| peer.joined).count();
            if now_joined / 500 > joined / 500 {
                meanwhile();
            }
            joined = now_joined;
        }
    }

    /// Goes on until all are as wished.
    fn until(&mut self, wished: impl Fn(&Peer) -> bool) {
        while !self.peers.iter().all(&wished) {
            self.turn();
        }
    }

    fn turn(&mut self) {
        let joined = || self.peers.iter().filter(|peer| peer.joined).count();
        assert!(self.since.elapsed() < TIME_MAX, "{} are in", joined());
        self.poll.poll(&mut self.events, Some(common::PATIENCE)).expect("a poll");
        assert!(!self.events.is_empty(), "nothing came: {} are in", joined());
        for event in &self.events {
            let peer = &mut self.peers[event.token().0];
            // An event may be one of a connection that was left since.
            if peer.stream.is_none() {
                continue;
            }
            if event.is_writable() && !peer.asked {
                peer.asked = true;
                let request = peer.request();
                peer.send(&request);
            }
            if event.is_readable() {
                peer.read(&self.rules);
            }
        }
    }

    /// Cuts all at once; gives the connections that were left half-open instead.
    fn cut(&mut self) -> Vec<TcpStream> {
        let mut half_open = Vec::new();
        for (number, peer) in self.peers.iter_mut().enumerate() {
            if number.is_multiple_of(HALF_OPEN_EVERY) {
                let mut stream = peer.leave();
                self.poll.registry().deregister(&mut stream).expect("it was registered");
                half_open.push(stream);
            } else {
                peer.cut();
            }
        }
        half_open
    }

    /// All say goodbye and wait for the answer.
    fn goodbye(&mut self) {
        (self.rules.leaving, self.rules.may_tell) = (true, true);
        for peer in &mut self.peers {
            peer.send(&frame(CLOSE, &close_payload(1000, b"")));
        }
        self.until(|peer| peer.closed.is_some());
        for peer in &mut self.peers {
            assert_eq!(peer.closed, Some(1000));
            // No socket waits for stray packets then, and the port can be used again.
            peer.cut();
        }
        self.rules.leaving = false;
    }
}

/// Says a line and waits for it; gives its `seq`. Nothing else may come before it.
fn say(speaker: &mut Client, line: &str) -> u64 {
    speaker.send(line);
    speaker.expect_chat("speaker", line)
}

/// A connection that was taken over while it was half-open: it may have got lines; then 4500, and nothing more.
fn expect_replaced(mut stream: TcpStream) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 16_384]);
    let mut code = None;
    common::eventually("a half-open connection is closed", || {
        match stream.read(&mut chunk) {
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        while let Some((frame, length)) = parse(&bytes) {
            bytes.drain(..length);
            assert_eq!(code, None, "after the Close: {frame:?}");
            match frame.first & 0xf {
                TEXT => assert_eq!(string(frame.text(), "type"), "chat", "{frame:?}"),
                CLOSE => code = Some(frame.close().0),
                PING => {}
                other => panic!("opcode {other}"),
            }
        }
        code.is_some()
    });
    assert_eq!((code, bytes.len()), (Some(4500), 0));
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket lingers not");
}

/// All come, are told of each other, and hear a line; gives its `seq`.
fn gather(crowd: &mut Crowd, speaker: &mut Client) -> u64 {
    let count = crowd.peers.len() as u64;
    (crowd.rules.resumed, crowd.rules.may_tell) = ("false", true);
    crowd.enter(|| {});
    speaker.until("all of them", |frame| frame["online_count"] == count + 1);
    let seq = say(speaker, "all here");
    crowd.until(|peer| peer.seq == seq);
    seq
}

/// All leave with 1000.
fn part(crowd: &mut Crowd, speaker: &mut Client) {
    crowd.goodbye();
    speaker.until("to be alone", |frame| frame["online_count"] == 1);
}

/// One storm: all come, are cut, come back, and leave. Gives the memory that the server holds while all are there.
fn storm(server: &Server, crowd: &mut Crowd, speaker: &mut Client, round: u32) -> u64 {
    let count = crowd.peers.len() as u64;
    let start = Instant::now();
    let first = gather(crowd, speaker);
    let came = start.elapsed();

    // From here on nobody may be told of anybody.
    (crowd.rules.resumed, crowd.rules.may_tell) = ("true", false);
    let start = Instant::now();
    let half_open = crowd.cut();
    for line in 0..MISSED {
        say(speaker, &format!("missed {round}.{line}"));
    }
    let mut more = 0;
    crowd.enter(|| {
        more += 1;
        say(speaker, &format!("meanwhile {round}.{more}"));
    });
    let last = say(speaker, "all back");
    assert_eq!(last, first + MISSED + more + 1);
    crowd.until(|peer| peer.seq == last);
    let back = start.elapsed();
    let half_open_count = half_open.len();
    half_open.into_iter().for_each(expect_replaced);

    // A sum is told within a second of what it sums. One more comes: if the sum says that one alone, there was nothing.
    crowd.rules.may_tell = true;
    let single = server.connect("single", "/rooms/tea?name=single");
    let frame = speaker.json();
    assert_eq!(
        (&frame["type"], &frame["joined"], &frame["left"]),
        (&"user_join".into(), &1.into(), &0.into()),
        "{frame}"
    );
    assert_eq!(frame["online_count"], count + 2, "{frame}");
    drop(single);
    assert_eq!(speaker.json()["online_count"], count + 1);
    speaker.send(r#"{"type":"who"}"#);
    let presence = speaker.json();
    let named = crowd.peers.len().min(999) + 1;
    assert_eq!((&presence["online_count"], presence["more"] == true), (&(count + 1).into(), named as u64 <= count));
    assert_eq!(presence["users"].as_array().map(Vec::len), Some(named));

    let here = server.resident_bytes();
    let start = Instant::now();
    part(crowd, speaker);
    let left = start.elapsed();
    eprintln!(
        "round {round}: {count} came in {came:?}; cut ({half_open_count} of them half-open), {} lines said, all back in \
         {back:?}; all left in {left:?}",
        last - first
    );
    here
}

/// Waits until the server's memory has not shrunk for three seconds: what those who came to say hello took is back by then. Gives what it is then.
fn settled_bytes(server: &Server) -> u64 {
    let (mut least, mut same) = (u64::MAX, 0);
    while same < 30 {
        std::thread::sleep(Duration::from_millis(100));
        let now = server.resident_bytes();
        same = if now < least { 0 } else { same + 1 };
        least = least.min(now);
    }
    least
}

/// Waits until the server's memory is at most `bytes_max`; gives what it is then, and fails with it if it stays above.
fn await_memory(server: &Server, bytes_max: u64) -> u64 {
    let start = Instant::now();
    loop {
        let now = server.resident_bytes();
        if now <= bytes_max {
            return now;
        }
        assert!(start.elapsed() < SETTLING_MAX, "{now} resident bytes, and not {bytes_max}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// > Then exactly the missed messages come, in order, then live ones
///
/// > none missing, none twice
///
/// > stays for the grace (30 s): name kept, nobody told
///
/// And: memory after everybody left is back where it was (within 20 %).
#[test]
fn ten_thousand_are_cut_and_come_back() {
    let limit = rlimit::increase_nofile_limit(u64::MAX).expect("a limit of open files");
    let room = usize::try_from(limit.saturating_sub(200)).expect("a number");
    // A machine that gives fewer descriptors gets a smaller crowd, and is told. The half-open ones count twice.
    let count = (room * HALF_OPEN_EVERY / (HALF_OPEN_EVERY + 1)).min(CLIENTS);
    assert!(count >= 1_500, "a limit of {limit} open files is too low to test anything");
    let flags: Vec<&str> = ["--rate", "0", "--log", "warn"].into_iter().chain(TIMES).collect();
    let server = Server::start(&flags);
    let mut speaker = server.join("speaker", "tea", 1);
    say(&mut speaker, "hello");
    let before = settled_bytes(&server);
    let mut crowd = Crowd::new(server.address, count);
    let here = [1, 2].map(|round| storm(&server, &mut crowd, &mut speaker, round));
    let after = await_memory(&server, before * 6 / 5);
    eprintln!(
        "{count} clients; resident bytes: {before} before, {here:?} when all were there, {after} after all had left"
    );
}
