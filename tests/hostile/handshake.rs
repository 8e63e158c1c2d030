//! The handshake: what is needed, what is allowed, and every way in which its bytes may come.

use crate::common::raw::{CLOSE, FIN, TEXT, close_payload, frame, handshake};
use crate::common::server::Server;

/// > The first frame may come along with the handshake.
///
/// Every split point: the server may not care where TCP cuts.
#[test]
fn handshake_and_first_frame_may_come_in_any_two_pieces() {
    let server = Server::start(&["--rate", "0"]);
    let bytes = [handshake("/rooms/tea?name=splitter").into_bytes(), frame(TEXT, b"first words")].concat();
    for at in 0..=bytes.len() {
        let mut raw = server.raw();
        raw.send(&bytes[..at]);
        raw.send(&bytes[at..]);
        raw.expect_101();
        assert!(raw.frame().text().contains("Welcome"), "split at {at}");
        let line = raw.until_text("first words");
        assert!(line.contains(r#""type":"chat""#), "split at {at}: {line}");
        raw.send(frame(CLOSE, &close_payload(1000, b"")));
        assert_eq!(raw.until(CLOSE).close().0, 1000);
        raw.expect_end();
    }
}

#[test]
fn a_client_may_send_byte_by_byte() {
    let server = Server::start(&[]);
    let mut raw = server.raw();
    for byte in [handshake("/rooms/tea").into_bytes(), frame(TEXT, b"slowly")].concat() {
        raw.send([byte]);
    }
    raw.expect_101();
    assert!(raw.frame().text().contains("Welcome"));
    assert!(raw.frame().text().contains("slowly"));
}

/// Many frames and a goodbye along with the handshake: all count.
#[test]
fn a_whole_visit_may_come_in_one_packet() {
    let server = Server::start(&[]);
    let mut other = server.join("other", "tea", 1);
    let mut raw = server.raw();
    let lines: Vec<u8> = (0..20).flat_map(|number| frame(TEXT, format!("line {number}").as_bytes())).collect();
    raw.send(
        [handshake("/rooms/tea?name=quick").into_bytes(), lines, frame(CLOSE, &close_payload(1000, b""))].concat(),
    );
    raw.expect_101();
    assert_eq!(raw.until(CLOSE).close().0, 1000);
    raw.expect_end();
    assert_eq!(other.json()["name"], "quick");
    for number in 0..20 {
        other.expect_chat("quick", &format!("line {number}"));
    }
    assert_eq!(other.json()["type"], "user_leave");
}

/// > A handshake as in RFC 6455 section 4.1 is answered with 101.
///
/// > `Host`, `Upgrade: websocket`, `Connection: Upgrade` (perhaps among others, in one line or several)
///
/// > Any `Origin` is served; no cookie is read.
#[test]
fn handshakes_that_are_written_otherwise() {
    let server = Server::start(&[]);
    let rest = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for head in [
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n{rest}"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nupgrade: websocket\r\nCONNECTION: upgrade\r\n{rest}"),
        format!("GET / HTTP/1.1\r\nHost:\r\nUpgrade:websocket\r\nConnection:  Upgrade  \r\n{rest}"),
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{rest}"
        ),
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: https://evil.example\r\nCookie: a=b\r\n{rest}"
        ),
    ] {
        let mut raw = server.raw();
        raw.send(format!("{head}\r\n"));
        raw.expect_101();
        assert!(raw.frame().text().contains("Welcome"), "{head}");
    }
}

/// > without it the 101 has no `Sec-WebSocket-Protocol`
///
/// > Offered extensions are not accepted: the 101 has no `Sec-WebSocket-Extensions`, and there is no compression. Of
/// > offered subprotocols only `chinwag.v1` is
#[test]
fn nothing_else_that_is_offered_is_chosen() {
    let server = Server::start(&[]);
    for offer in [
        "Sec-WebSocket-Protocol: chat, soap",
        "Sec-WebSocket-Protocol: Chinwag.V1, chinwag.v2",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    ] {
        let mut raw = server.raw();
        raw.send(handshake("/").replace("\r\n\r\n", &format!("\r\n{offer}\r\n\r\n")));
        let head = raw.head();
        assert_eq!(head.status, "HTTP/1.1 101 Switching Protocols", "{offer}");
        assert_eq!(head.header("sec-websocket-protocol"), None, "{offer}");
        assert_eq!(head.header("sec-websocket-extensions"), None, "{offer}");
        assert_eq!(head.header("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
        assert_eq!(head.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
        let welcome = raw.frame();
        assert_eq!(welcome.first, FIN | TEXT);
        assert!(welcome.text().contains("Welcome"), "{offer}");
    }
}
