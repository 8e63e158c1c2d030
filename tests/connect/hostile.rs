//! Servers that mean harm, or are broken: no line on the screen that nobody said, no more memory than there should be, and
//! one clear line at the end.
//!
//! > Words that came from others cannot move the cursor, change colours, ring or set the title: control and bidi
//! > characters are shown, not obeyed.

use serde_json::{Value, json};

use crate::common::eventually;
use crate::common::raw::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, close_payload, frame, header, unmasked};
use crate::home::Home;
use crate::pipe::Pipe;
use crate::script::{Flood, Peer, Script, TIME, USER, chat, joined, welcome};
use crate::terminal::Terminal;

/// More than a client may hold, with a message of 16 MiB that it reads: the message twice while it is put together, its
/// words, and what of it is shown.
const BYTES_MAX: u64 = 128 << 20;

/// What a terminal would obey, each at the beginning, in the middle and at the end.
const EVIL: [&str; 22] = [
    "\x1b[2J",
    "\x1b[H",
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x1b]2;title\x1b\\",
    "\x1b]52;c;aGk=\x07",
    "\x1bc",
    "\x1b[?1049h",
    "\x1b[6n",
    "\x1bP1$r0m\x1b\\",
    "\x07",
    "\x08\x08\x08",
    "\r",
    "\r12:03 bob: forged",
    "\n12:03 bob: forged",
    "\u{85}12:03 bob: forged",
    "\u{2028}12:03 bob: forged",
    "\u{b}12:03 bob: forged",
    "\u{9b}2J",
    "\u{9d}0;title\u{9c}",
    "\u{202e}abc\u{2066}\u{200f}",
    "\x0e\x0f\x7f\u{feff}\u{200b}",
];

fn at_a_terminal(home: &Home, columns: u16) -> (Terminal, Peer) {
    let script = Script::listen();
    let terminal = Terminal::open(home, columns, &[&script.url()]);
    let peer = script.welcome();
    terminal.until("the prompt", |rows| rows.last().is_some_and(|row| row == "lobby >"));
    (terminal, peer)
}

/// Every row of the screen begins as one of ours, or is a continuation: nothing that came from others begins at the left
/// edge. And the terminal was told nothing but what this client tells it.
#[track_caller]
fn assert_clean(terminal: &Terminal, peer: &mut Peer) {
    peer.chat("zoe", "still well");
    terminal.expect("zoe: still well");
    terminal.expect_last(&["12:03 zoe: still well", "lobby > typed"]);
    let noises = terminal.noises();
    assert!(noises.is_empty(), "{noises:?}");
    for row in terminal.rows() {
        assert!(!row.starts_with("12:03 bob"), "a forged line: {row}\n{:#?}", terminal.rows());
        assert!(!row.contains(|char: char| char.is_control() || matches!(char, '\u{202e}' | '\u{2066}')), "{row:?}");
    }
    // The title and the colours are as they were, and nothing above was cleared.
    assert!(terminal.rows()[0].starts_with("12:03 * connected to"), "{:#?}", terminal.rows());
    assert!(!terminal.look(vt100::Screen::alternate_screen));
}

/// In every place where words of others are shown.
#[test]
fn what_a_terminal_would_obey_is_shown() {
    let home = Home::new();
    let (terminal, mut peer) = at_a_terminal(&home, 200);
    terminal.types("typed");
    terminal.expect_last(&["lobby > typed"]);
    for evil in EVIL {
        let text = format!("{evil}a{evil}b{evil}");
        peer.chat(&text, &text);
        for frame in [
            json!({"type": "private", "room": "@me", "seq": 1, "from": text, "user": USER, "to": text, "message": text}),
            json!({"type": "user_join", "room": text, "user": USER, "name": text, "message": text, "online_count": 2}),
            json!({"type": "user_rename", "user": USER, "from": text, "to": "me", "message": text}),
            json!({"type": "presence", "room": text, "users": [{"user": text, "name": text}], "online_count": 2}),
            json!({"type": "error", "code": text, "message": text, "retry": false, "room": text, "ref": text}),
            json!({"type": "system", "code": "notice", "message": text}),
            json!({"type": text, "room": text, "message": text}),
            json!({"type": "chat", "room": text, "seq": 1, "from": text, "message": text}),
        ] {
            peer.say(&frame);
        }
    }
    assert_clean(&terminal, &mut peer);
}

/// Names without end neither push the words away nor fill the screen, and a pile of marks stays in its line.
#[test]
fn huge_names_and_piles_of_marks() {
    let home = Home::new();
    let (terminal, mut peer) = at_a_terminal(&home, 80);
    terminal.types("typed");
    for name in ["x".repeat(1 << 20), "茶".repeat(100_000), format!("z{}", "\u{301}".repeat(100_000)), String::new()] {
        let begun = terminal.rows().len();
        peer.chat(&name, "my words");
        terminal.expect("my words");
        peer.chat("zoe", "next");
        terminal.expect("zoe: next");
        assert!(terminal.rows().len() <= begun + 3, "{:#?}", terminal.rows());
        let rows = terminal.rows();
        let longest = rows.iter().map(|row| row.chars().count()).max().unwrap_or_default();
        assert!(longest <= 100, "{longest} characters in a row");
        peer.say(&json!({"type": "presence", "room": name, "users": [{"user": "u", "name": name}], "online_count": 1}));
    }
    assert_clean(&terminal, &mut peer);
}

/// One of each frame that a server sends.
fn one_of_each() -> Vec<Value> {
    vec![
        welcome(),
        joined("lobby", 0),
        joined("@me", 0),
        json!({"type": "joined", "room": "lobby", "epoch": "other", "seq": 3, "online_count": 1, "recovered": false,
            "gap": {"from": 1, "to": 2}, "reason": "trimmed"}),
        json!({"type": "chat", "room": "nowhere", "seq": 1, "from": "bob", "user": "u", "message": "m", "id": "i"}),
        json!({"type": "private", "room": "@me", "seq": 5, "from": "bob", "user": "u", "to": "me", "message": "m"}),
        json!({"type": "ack", "id": "i", "room": "lobby", "seq": 1, "duplicate": true}),
        json!({"type": "left", "room": "nowhere"}),
        json!({"type": "user_join", "room": "lobby", "user": "u", "name": "bob", "joined": 1, "left": 0, "message": "m",
            "online_count": 2}),
        json!({"type": "user_rename", "user": USER, "from": "me", "to": "me", "message": "m", "ref": "name"}),
        json!({"type": "presence", "room": "lobby", "users": [{"user": "u", "name": "n"}], "online_count": 1, "more": 1}),
        json!({"type": "history", "room": "lobby", "epoch": "abcdefgh", "messages": [chat(1, "bob", "m")], "oldest": 1,
            "newest": 1, "more": false, "ref": "older"}),
        json!({"type": "error", "code": "forbidden", "message": "m", "retry": false, "ref": "x", "id": "i"}),
        json!({"type": "system", "code": "notice", "message": "m", "reconnect_in_ms": 5, "reconnect_spread_ms": 5}),
        json!({"type": "typing", "room": "lobby", "user": "u", "name": "n"}),
        json!({"type": "pong", "t": 1}),
        json!({"type": "welcome", "limits": {"message_bytes": 65536}}),
    ]
}

/// Each field of each frame has the wrong type, is missing, or is out of range: the client goes on.
#[test]
fn wrong_types_in_every_field() {
    let wrong = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("x"),
        json!([]),
        json!([[[]], null, 1, "x", {}]),
        json!({}),
        json!({"from": {}, "to": []}),
    ];
    let home = Home::new();
    for flags in [&[][..], &["--json"]] {
        let script = Script::listen();
        let url = script.url();
        let mut pipe = Pipe::start(&home, &[&[&*url], flags].concat());
        let mut peer = script.welcome();
        let mut seq = 0;
        for frame in one_of_each() {
            for name in frame.as_object().expect("a frame is an object").keys() {
                // What has no type is not even a frame; the room is left in peace, or it would be another one.
                for value in wrong.iter().cloned().map(Some).chain([None]) {
                    let mut frame = frame.clone();
                    match value {
                        Some(value) => frame[name] = value,
                        None => drop(frame.as_object_mut().expect("a frame is an object").remove(name)),
                    }
                    peer.say(&frame);
                }
            }
            seq += 1;
            peer.say(&json!({"type": "system", "code": "notice", "message": format!("well {seq}")}));
            pipe.expect(&format!("well {seq}"));
        }
        for text in
            ["", "null", "[]", "1", "\"x\"", "{", "{\"type\":\"chat\"", "not JSON", "{\"type\":\"chat\",\"type\":1}"]
                .into_iter()
                .map(str::to_owned)
                .chain(["[".repeat(100_000), format!("{{\"type\":{}", "{\"a\":".repeat(100_000))])
        {
            peer.text(&text);
        }
        peer.say(&json!({"type": "system", "code": "notice", "message": "well to the end"}));
        pipe.expect("well to the end");
        pipe.signal("TERM");
        peer.answer_goodbye();
        let ended = pipe.ends();
        assert!(!ended.errors.contains("panicked"), "{}", ended.errors);
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
    }
}

/// Frames that no WebSocket server sends: the connection ends, `--once` makes it the end of all, and the reason is said in
/// one line.
#[test]
fn broken_frames() {
    let mib = vec![b'x'; 1 << 20];
    let many = |first: u8, rest: u8| {
        let mut bytes = unmasked(first, &mib);
        (0..16).for_each(|_| bytes.extend(unmasked(rest, &mib)));
        bytes
    };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("masked", frame(TEXT, b"hi"), "masked"),
        ("reserved bits", unmasked(FIN | 0x40 | TEXT, b"hi"), "WebSocket protocol"),
        ("a reserved opcode", unmasked(FIN | 3, b"hi"), "WebSocket protocol"),
        ("bad UTF-8", unmasked(FIN | TEXT, b"\xff\xfe"), "not UTF-8"),
        ("bad UTF-8 in a reason", unmasked(FIN | CLOSE, &close_payload(4501, b"\xff")), ""),
        ("a Close of one byte", unmasked(FIN | CLOSE, b"\x03"), "WebSocket protocol"),
        ("a Close with a forbidden code", unmasked(FIN | CLOSE, &close_payload(1005, b"")), ""),
        ("a Close with a code only", unmasked(FIN | CLOSE, &close_payload(4503, b"")), "(4503)"),
        ("a Close without a code", unmasked(FIN | CLOSE, b""), "the server closed"),
        ("a fragmented Ping", unmasked(PING, b"hi"), "WebSocket protocol"),
        ("a long Ping", unmasked(FIN | PING, &[0; 126]), "WebSocket protocol"),
        ("a continuation of nothing", unmasked(FIN | CONTINUATION, b"hi"), "WebSocket protocol"),
        ("a message in a message", [unmasked(TEXT, b"a"), unmasked(FIN | TEXT, b"b")].concat(), "WebSocket protocol"),
        ("more than 16 MiB announced", header(FIN | TEXT, false, (16 << 20) + 1), "16 MiB"),
        ("2^63 bytes announced", header(FIN | TEXT, false, 1 << 63), ""),
        ("all bits set", vec![0xff; 14], "WebSocket protocol"),
        ("more than 16 MiB in fragments", many(TEXT, CONTINUATION), "16 MiB"),
        (
            "HTTP after the upgrade",
            [&b"HTTP/1.1 400 Bad Request\r\nX: "[..], &[b'x'; 100]].concat(),
            "WebSocket protocol",
        ),
    ];
    for (what, bytes, why) in cases {
        let script = Script::listen();
        let home = Home::new();
        let mut pipe = Pipe::start(&home, &[&script.url(), "--once"]);
        let mut peer = script.welcome();
        peer.devour();
        // It may have had enough before the end.
        let _ = peer.bytes(&bytes);
        let ended = pipe.ends();
        assert_eq!((ended.code, &*ended.output), (Some(1), ""), "{what}: {ended:?}");
        assert_eq!(ended.errors.lines().count(), 1, "{what}: {}", ended.errors);
        assert!(ended.errors.starts_with("chinwag: ") && ended.errors.contains(why), "{what}: {}", ended.errors);
    }
}

/// Binary messages, unknown types, Pings and Pongs of any length: nothing of that is shown, and nothing ends.
#[test]
fn what_means_nothing_is_nothing() {
    let script = Script::listen();
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[&script.url()]);
    let mut peer = script.welcome();
    for (first, payload) in [
        (FIN | BINARY, &b"\0\x01\xff"[..]),
        (FIN | BINARY, b""),
        (FIN | PING, &[7; 125]),
        (FIN | PING, b""),
        (FIN | PONG, b"unasked"),
        (FIN | PONG, &[0; 8]),
        (FIN | TEXT, b"{\"type\":\"future\",\"message\":\"m\"}"),
        (FIN | TEXT, b"{}"),
        (FIN | TEXT, b""),
    ] {
        peer.frame(first, payload).expect("the client reads");
    }
    peer.chat("alice", "seen");
    pipe.expect("alice: seen\n");
    pipe.signal("INT");
    peer.answer_goodbye();
    let ended = pipe.ends();
    assert_eq!(ended.errors, "");
    assert_eq!(ended.output.lines().count(), 1, "{}", ended.output);
}

/// The longest message that is taken is cut where it is shown, and the rest is counted.
#[test]
fn a_message_of_16_mib() {
    let home = Home::new();
    let script = Script::listen();
    let pipe = Pipe::start(&home, &[&script.url()]);
    let mut peer = script.welcome();
    peer.chat("alice", &"\x1b".repeat((16 << 20) / 6 - 1_000));
    peer.chat("alice", "after");
    pipe.expect("alice: after\n");
    assert!(pipe.resident_bytes() < BYTES_MAX, "{} MiB", pipe.resident_bytes() >> 20);
    pipe.signal("INT");
    peer.answer_goodbye();
    let ended = pipe.ended();
    assert!(ended.output.len() < 400_000 && ended.output.contains("(+"), "{} bytes", ended.output.len());
}

/// Floods, without pause or end: the client can be left, by the person at the keyboard and by a signal, and holds no more
/// memory than it should.
#[test]
fn endless_floods() {
    let chats: Vec<u8> = (1..=2000)
        .flat_map(|seq| unmasked(FIN | TEXT, chat(seq, "eve", "spam and more spam").to_string().as_bytes()))
        .collect();
    let unknown = unmasked(FIN | TEXT, b"{\"type\":\"nothing\"}").repeat(1000);
    let notices = unmasked(FIN | TEXT, b"{\"type\":\"system\",\"message\":\"a word\"}").repeat(1000);
    let cases = [
        ("chats", vec![], chats),
        ("unknown types", vec![], unknown),
        ("notices", vec![], notices),
        ("Pings", vec![], unmasked(FIN | PING, &[7; 125]).repeat(1000)),
        ("binary", vec![], unmasked(FIN | BINARY, &[0; 1000]).repeat(100)),
        ("empty fragments", unmasked(TEXT, b""), unmasked(CONTINUATION, b"").repeat(10_000)),
    ];
    // Each waits for an answer to its goodbye that does not come.
    std::thread::scope(|scope| {
        for (what, begin, bytes) in cases {
            scope.spawn(move || leave_a_flood(what, &begin, bytes));
        }
    });
}

/// A client at a terminal is flooded with these bytes again and again, and left.
fn leave_a_flood(what: &str, begin: &[u8], bytes: Vec<u8>) {
    let home = Home::new();
    let (mut terminal, mut peer) = at_a_terminal(&home, 80);
    if what != "Pings" {
        // Nobody reads its Pongs.
        peer.devour();
    }
    peer.bytes(begin).expect("the client reads");
    let flood = Flood::start(peer, bytes);
    terminal.types("quit");
    terminal.until("the typed line", |rows| rows.last().is_some_and(|row| row == "lobby > quit"));
    // Pongs that nobody reads are kept up to a limit; then the client reads no more. All else is over when it was read.
    // A client holds some 7 MiB.
    let bytes_max = if what == "Pings" { 64 << 20 } else { 20 << 20 };
    eventually(&format!("{what} fill what there is to fill"), || {
        let bytes = terminal.resident_bytes();
        assert!(bytes < bytes_max, "{what}: {} MiB", bytes >> 20);
        assert!(!flood.is_over(), "{what}: the client hung up");
        if what == "Pings" { flood.rests() } else { flood.sent() > 20 << 20 }
    });
    terminal.types(if what == "chats" { "\r" } else { "\x03\x04" });
    assert_eq!(terminal.ended(), Some(0), "{what}");
}

/// The same in a pipe that somebody reads slowly, or not at all: the server is not read either.
#[test]
fn nobody_reads_the_output() {
    let home = Home::new();
    let script = Script::listen();
    let mut child = crate::pipe::command(&home, &[&script.url()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the client can be started");
    let peer = script.welcome();
    peer.devour();
    let bytes = unmasked(FIN | TEXT, b"{\"type\":\"system\",\"message\":\"a word\"}").repeat(1000);
    let flood = Flood::start(peer, bytes);
    eventually("the client reads no more", || flood.rests());
    assert!(flood.sent() < 64 << 20, "{} MiB", flood.sent() >> 20);
    let bytes = crate::pipe::resident_bytes(child.id());
    assert!(bytes < BYTES_MAX, "{} MiB", bytes >> 20);
    drop(child.stdout.take());
    assert_eq!(crate::pipe::code_of(&mut child), Some(0));
    drop(flood);
}

/// A server whose `heartbeat_ms`, waits and limits are absurd.
#[test]
fn absurd_numbers() {
    for (name, value) in [
        ("heartbeat_ms", json!(0)),
        ("heartbeat_ms", json!(u64::MAX)),
        ("limits", json!({"message_bytes": 0})),
        ("limits", json!({"message_bytes": u64::MAX})),
        ("name", json!("x".repeat(100_000))),
        ("user", Value::Null),
        ("session", json!("../../etc/passwd")),
        ("session", json!("x".repeat(1 << 20))),
    ] {
        let script = Script::listen();
        let home = Home::new();
        let mut pipe = Pipe::start(&home, &[&script.url()]);
        let mut peer = script.upgrade(true);
        peer.next();
        let mut greeting = welcome();
        greeting[name] = value.clone();
        peer.say(&greeting);
        peer.say(&joined("@me", u64::MAX >> 11));
        peer.say(&joined("lobby", (u64::MAX >> 11) - 1));
        peer.say(&json!({"type": "chat", "room": "lobby", "seq": u64::MAX >> 11, "from": "alice", "message": "hi",
            "timestamp": TIME}));
        peer.say(&json!({"type": "system", "message": "here", "reconnect_in_ms": u64::MAX}));
        pipe.expect("* here\n");
        pipe.expect("alice: hi\n");
        pipe.signal("TERM");
        peer.answer_goodbye();
        let ended = pipe.ends();
        assert_eq!((ended.code, &*ended.errors), (Some(0), ""), "{name}: {value}");
    }
}
