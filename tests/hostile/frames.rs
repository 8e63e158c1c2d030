//! Frames that no library would send.

use crate::common::raw::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, close_payload, frame, frame_with, header, unmasked,
};
use crate::common::server::Server;

/// Sends bytes after an upgrade; gives the code of the Close that has to come. Somebody else in the room has to see
/// only the leave.
#[track_caller]
fn code_after(server: &Server, what: &str, bytes: &[u8]) -> u16 {
    let mut other = server.connect("other", "/");
    other.until("the welcome", |frame| frame["type"] == "system");
    let mut raw = server.raw().upgraded("/");
    assert_eq!(other.json()["type"], "user_join", "{what}");
    raw.send(bytes);
    let (code, reason) = raw.closed();
    assert!(reason.len() <= 123, "{what}: a reason of {} bytes", reason.len());
    other.until("the leave", |frame| frame["type"] == "user_leave");
    other.quiet();
    other.close(1000, "");
    other.closed();
    code
}

/// > not WebSocket as in RFC 6455: unmasked, reserved bits or opcodes, control frames that are long or in pieces, a
/// > continuation of nothing, a bad Close
#[test]
fn bad_frames_are_closed_with_1002() {
    let server = Server::start(&[]);
    let mut cases: Vec<(String, Vec<u8>)> = vec![
        ("unmasked text".into(), unmasked(FIN | TEXT, b"hi")),
        ("unmasked empty text".into(), unmasked(FIN | TEXT, b"")),
        ("unmasked ping".into(), unmasked(FIN | PING, b"")),
        ("unmasked close".into(), unmasked(FIN | CLOSE, &close_payload(1000, b""))),
        ("a ping of 126 bytes".into(), frame(PING, &[b'x'; 126])),
        ("a close of 126 bytes".into(), frame(CLOSE, &close_payload(1000, &[b'x'; 124]))),
        ("a ping in pieces".into(), [frame_with(PING, b"a"), frame(CONTINUATION, b"b")].concat()),
        ("a ping in pieces within a message".into(), [frame_with(TEXT, b"a"), frame_with(PING, b"b")].concat()),
        ("a continuation of nothing".into(), frame(CONTINUATION, b"x")),
        ("an unfinished continuation of nothing".into(), frame_with(CONTINUATION, b"x")),
        ("text within a message".into(), [frame_with(TEXT, b"a"), frame(TEXT, b"b")].concat()),
        ("binary within a text".into(), [frame_with(TEXT, b"a"), frame(BINARY, b"b")].concat()),
        ("a continuation after the last".into(), [frame(TEXT, b"a"), frame(CONTINUATION, b"b")].concat()),
        ("a close of one byte".into(), frame(CLOSE, b"\x03")),
        ("not WebSocket at all".into(), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("a length with its highest bit set".into(), [header(FIN | BINARY, true, 1 << 63), vec![0; 12]].concat()),
    ];
    cases.extend(
        [0x40, 0x20, 0x10, 0x70].map(|rsv| (format!("reserved bits {rsv:02x}"), frame_with(FIN | rsv | TEXT, b"x"))),
    );
    cases.extend([3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(|op| (format!("opcode {op}"), frame(op, b"x"))));
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        cases.push((format!("a close with code {code}"), frame(CLOSE, &close_payload(code, b""))));
    }
    for (what, bytes) in cases {
        let code = code_after(&server, &what, &bytes);
        let announced_too_much = what.starts_with("a length") && code == 1009;
        assert!(code == 1002 || announced_too_much, "{what}: {code}");
    }
}

/// > text that is not UTF-8, in a message or in a Close
#[test]
fn text_that_is_not_utf8_is_closed_with_1007() {
    let server = Server::start(&[]);
    let good = "κόσμε 🥳".as_bytes();
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    for bad in
        [&b"\xff"[..], b"ok\x80", b"\xc0\xaf", b"\xe2\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\xa5"]
    {
        cases.push((format!("{bad:02x?}"), frame(TEXT, bad)));
        cases.push((format!("{bad:02x?} in a close"), frame(CLOSE, &close_payload(1000, bad))));
        for at in 0..=bad.len() {
            let pieces = [frame_with(TEXT, &bad[..at]), frame(CONTINUATION, &bad[at..])].concat();
            cases.push((format!("{bad:02x?} in pieces at {at}"), pieces));
        }
        let pieces = [frame_with(TEXT, good), frame_with(CONTINUATION, bad), frame(CONTINUATION, good)].concat();
        cases.push((format!("{bad:02x?} in the middle"), pieces));
    }
    for (what, bytes) in cases {
        assert_eq!(code_after(&server, &what, &bytes), 1007, "{what}");
    }
}

/// Good text may be cut within a character (RFC 6455 section 5.6 with 5.4), and control frames may come between.
#[test]
fn fragments_may_be_cut_anywhere() {
    let server = Server::start(&["--rate", "0"]);
    let mut raw = server.raw().upgraded("/");
    let text = "κόσμε 🥳 {bro";
    for at in 0..=text.len() {
        let bytes = text.as_bytes();
        raw.send(frame_with(TEXT, &bytes[..at]));
        raw.send(frame(PING, b"between"));
        assert_eq!(raw.until(PONG).payload, b"between");
        raw.send([frame_with(CONTINUATION, b""), frame(PONG, b"unasked"), frame(CONTINUATION, &bytes[at..])].concat());
        assert!(raw.frame().text().contains(text), "cut at {at}");
    }
    let pieces: Vec<u8> = text.bytes().flat_map(|byte| frame_with(CONTINUATION, &[byte])).collect();
    raw.send([frame_with(TEXT, b""), pieces, frame(CONTINUATION, b"")].concat());
    assert!(raw.frame().text().contains(text));
}

/// > | 1009 | a message over the limit | send less |
///
/// > | a message from a client | 65,536 bytes | `--message-bytes` | close 1009, as soon as a frame announces it |
#[test]
fn too_large_messages_are_closed_with_1009_when_they_are_announced() {
    // Who announced more than it sends cannot say goodbye any more: its Close would be part of the message.
    let server = Server::start(&["--message-bytes", "1000", "--close-ms", "200"]);
    let mut good = server.raw().upgraded("/");
    good.send(frame(TEXT, &[b'x'; 1000]));
    assert!(good.frame().text().contains(&"x".repeat(1000)), "a message of just --message-bytes");
    good.send([frame_with(TEXT, &[b'y'; 500]), frame(CONTINUATION, &[b'y'; 500])].concat());
    assert!(good.frame().text().contains(&"y".repeat(1000)));
    drop(good);
    let cases = [
        ("one byte too many", frame(TEXT, &[b'x'; 1001])),
        ("only a header", [header(FIN | TEXT, true, 1001), vec![1, 2, 3, 4]].concat()),
        ("only a header of 15 MiB", [header(FIN | BINARY, true, 15 << 20), vec![1, 2, 3, 4]].concat()),
        ("only a header of 2^62", [header(FIN | BINARY, true, 1 << 62), vec![1, 2, 3, 4]].concat()),
        ("in pieces", [frame_with(TEXT, &[b'x'; 900]), frame(CONTINUATION, &[b'x'; 101])].concat()),
    ];
    for (what, bytes) in cases {
        let mut raw = server.raw().upgraded("/");
        raw.send(bytes);
        assert_eq!(raw.closed().0, 1009, "{what}");
    }
}

/// Fragments without end and without content cost their sender, and nobody else.
#[test]
fn endless_empty_fragments_starve_nobody() {
    let server = Server::start(&["--rate", "0"]);
    let mut other = server.join("other", "tea", 1);
    let mut raw = server.raw().upgraded("/");
    raw.send(frame_with(TEXT, b""));
    let flood = frame_with(CONTINUATION, b"").repeat(20_000);
    let sender = std::thread::spawn(move || {
        for _ in 0..10 {
            if raw.try_send(&flood).is_err() {
                break;
            }
        }
        let _ = raw.try_send(frame(CONTINUATION, b"the end"));
        raw
    });
    for _ in 0..20 {
        other.quiet();
    }
    let mut raw = sender.join().expect("sending does not panic");
    match raw.frame() {
        came if came.first == FIN | TEXT => assert!(came.text().contains("the end")),
        came => assert!(matches!(came.close().0, 1002 | 1009), "{came:?}"),
    }
    other.quiet();
}

/// > a WebSocket Ping, which is answered with a Pong with the same payload, RFC 6455 section 5.5.3
#[test]
fn pings_are_answered_with_their_payload() {
    let server = Server::start(&[]);
    let mut raw = server.raw().upgraded("/");
    for payload in [&b""[..], b"x", b"\x00\xff\xfe", &[7; 125]] {
        raw.send(frame(PING, payload));
        let pong = raw.frame();
        assert_eq!((pong.first, &*pong.payload), (FIN | PONG, payload));
    }
    raw.send(frame(PONG, b"nobody asked"));
    raw.send(frame(TEXT, br#"{"type":"ping"}"#));
    assert!(raw.frame().text().starts_with(r#"{"type":"pong""#));
}

/// > the client said goodbye: its code comes back
#[test]
fn goodbye_is_answered_with_its_own_code() {
    let server = Server::start(&[]);
    let longest = [b'r'; 123];
    for (code, reason) in [
        (1000, &b""[..]),
        (1001, b"page reload"),
        (1011, b""),
        (3000, b"x"),
        (4999, "bye 🥳".as_bytes()),
        (1000, &longest),
    ] {
        let mut raw = server.raw().upgraded("/");
        raw.send(frame(CLOSE, &close_payload(code, reason)));
        let close = raw.frame();
        assert_eq!(close.close().0, code);
        raw.expect_end();
    }
    let mut raw = server.raw().upgraded("/");
    raw.send(frame(CLOSE, b""));
    assert!(matches!(raw.frame().close().0, 1000 | 1005));
    raw.expect_end();
}

/// What comes after a Close is not looked at (RFC 6455 section 5.5.1), what came before is.
#[test]
fn nothing_counts_after_a_close() {
    let server = Server::start(&[]);
    let mut other = server.join("other", "tea", 1);
    let mut raw = server.raw().upgraded("/rooms/tea?name=raw");
    assert_eq!(other.json()["type"], "user_join");
    raw.send(
        [frame(TEXT, b"before"), frame(CLOSE, &close_payload(1000, b"")), frame(TEXT, b"after"), vec![0xff; 100]]
            .concat(),
    );
    assert_eq!(raw.until(CLOSE).close().0, 1000);
    raw.rest();
    other.expect_chat("raw", "before");
    assert_eq!(other.json()["type"], "user_leave");
    other.quiet();
}

/// Frames in one piece, and cut wherever TCP may cut them, are the same frames.
#[test]
fn a_frame_may_come_in_any_two_pieces() {
    let server = Server::start(&["--rate", "0"]);
    let mut raw = server.raw().upgraded("/");
    let bytes = [frame(TEXT, b"one"), frame(PING, b"p"), frame(TEXT, &[b'z'; 130])].concat();
    for at in 1..bytes.len() {
        raw.send(&bytes[..at]);
        raw.send(&bytes[at..]);
        // A Pong may overtake a line: the line has to be stored first.
        let came = [raw.frame(), raw.frame(), raw.frame()];
        let (pongs, lines): (Vec<_>, Vec<_>) = came.iter().partition(|frame| frame.first == FIN | PONG);
        assert_eq!((pongs.len(), &*pongs[0].payload), (1, &b"p"[..]), "cut at {at}");
        assert!(lines[0].text().contains(r#""message":"one""#), "cut at {at}");
        assert!(lines[1].text().contains(&"z".repeat(130)), "cut at {at}");
    }
}
