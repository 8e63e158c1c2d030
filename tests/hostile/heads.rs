//! HTTP requests that are no good handshake: exact answers.

use crate::common::raw::{Head, Raw, handshake};
use crate::common::server::Server;

/// Takes an error answer and checks what all of them have.
#[track_caller]
fn answer(raw: &mut Raw) -> Head {
    let head = raw.head();
    let upgrades = head.header("upgrade").is_some();
    // RFC 9110 section 7.8: who sends Upgrade names it in Connection.
    assert_eq!(head.header("connection"), Some(if upgrades { "close, Upgrade" } else { "close" }), "{head:?}");
    assert!(head.header("content-type").is_some_and(|value| value.starts_with("text/plain")), "{head:?}");
    let length: usize = head.header("content-length").and_then(|value| value.parse().ok()).expect("a length");
    let body = raw.bytes(length);
    assert!(std::str::from_utf8(&body).is_ok_and(|text| !text.trim().is_empty()), "no words for people: {body:?}");
    raw.expect_end();
    head
}

#[track_caller]
fn status(server: &Server, request: impl AsRef<[u8]>) -> Head {
    let mut raw = server.raw();
    raw.send(request);
    answer(&mut raw)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// > gets an HTTP answer: `text/plain`, with `Content-Length` and `Connection: close` (and `Upgrade`, where the
/// > answer names something to upgrade to), and then the connection ends.
///
/// > | `404 Not Found` | no handshake, and a path other than `/` and `/rooms/NAME` |
///
/// > no handshake, but a path that takes one: says `Upgrade: websocket`
#[test]
fn a_request_that_is_no_handshake() {
    let server = Server::start(&[]);
    for path in ["/x", "/favicon.ico", "/rooms", "/../etc/passwd", "/%2e%2e"] {
        assert_eq!(status(&server, get(path)).status, "HTTP/1.1 404 Not Found", "{path}");
    }
    for path in ["/", "/?name=x", "/rooms/tea", "/rooms/tea?name=x"] {
        let head = status(&server, get(path));
        assert_eq!(head.status, "HTTP/1.1 426 Upgrade Required", "{path}");
        assert_eq!(head.header("upgrade"), Some("websocket"), "{path}");
    }
    // One of the two words for it alone is not a handshake, or a bad one.
    for request in
        [handshake("/").replace("Upgrade: websocket\r\n", ""), handshake("/").replace("Connection: Upgrade\r\n", "")]
    {
        let head = status(&server, &request);
        assert!(
            head.status == "HTTP/1.1 426 Upgrade Required" || head.status == "HTTP/1.1 400 Bad Request",
            "{head:?}"
        );
    }
}

/// > `HEAD` gets the same without the body.
#[test]
fn head_gets_no_body() {
    let server = Server::start(&[]);
    for (path, line) in [("/x", "HTTP/1.1 404 Not Found"), ("/", "HTTP/1.1 426 Upgrade Required")] {
        let mut raw = server.raw();
        raw.send(get(path).replace("GET", "HEAD"));
        let head = raw.head();
        assert_eq!(head.status, line);
        assert_eq!(head.header("content-length"), status(&server, get(path)).header("content-length"));
        raw.expect_end();
    }
}

/// > | `405 Method Not Allowed` | a method other than `GET` and `HEAD`; says `Allow: GET, HEAD` |
#[test]
fn other_methods() {
    let server = Server::start(&[]);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let head = status(&server, get("/").replace("GET", method));
        assert_eq!(head.status, "HTTP/1.1 405 Method Not Allowed", "{method}");
        assert_eq!(head.header("allow"), Some("GET, HEAD"), "{method}");
    }
    let head = status(&server, handshake("/").replace("GET", "POST"));
    assert_eq!(head.status, "HTTP/1.1 405 Method Not Allowed");
    // With a body that nobody reads: the answer has to arrive all the same.
    let body = "x".repeat(100_000);
    let mut raw = server.raw();
    let request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let _ = raw.try_send(request);
    assert_eq!(raw.head().status, "HTTP/1.1 405 Method Not Allowed");
}

/// > The server speaks no TLS
///
/// > no HTTP; HTTP/1.1 without `Host`, or two; a handshake by HTTP/1.0, with a body, without `Connection: Upgrade`, or with
/// > a `Sec-WebSocket-Key` that is missing or not 16 bytes; a bad room in its path
///
/// > A path `/rooms/NAME` with anything else for `NAME` is answered with 400.
#[test]
fn bad_requests() {
    let server = Server::start(&[]);
    let good = handshake("/");
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut requests = vec![
        "hello\r\n\r\n".to_owned(),
        // TLS: refused at once, not when the time for the head is over.
        "\x16\x03\x01\x02\x00\x01\x00\x01".to_owned(),
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        good.replace("Host: localhost\r\n", ""),
        good.replace("Host: localhost\r\n", "Host: localhost\r\nHost: other\r\n"),
        good.replace("Connection: Upgrade", "Connection: keep-alive"),
        good.replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\nhello"),
        good.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        good.replace("HTTP/1.1", "HTTP/1.0"),
        good.replace(key, ""),
        good.replace(key, "Sec-WebSocket-Key: short\r\n"),
        good.replace(key, "Sec-WebSocket-Key:\r\n"),
        good.replace(key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=!\r\n"),
    ];
    let long = format!("/rooms/{}", "x".repeat(65));
    for path in ["/rooms/a%20b", "/rooms/a/b", "/rooms/@me", "/rooms/%C3%A4", "/rooms/a+b", &long] {
        requests.push(handshake(path));
    }
    for request in requests {
        assert_eq!(status(&server, &request).status, "HTTP/1.1 400 Bad Request", "{request}");
    }
    let mut raw = server.raw();
    raw.send(handshake("/rooms/a%20b"));
    raw.head();
    let body = String::from_utf8(raw.rest()).expect("text");
    assert!(body.contains("64"), "it should say what a room's name is: {body}");
}

/// > a handshake of another version: says `Sec-WebSocket-Version: 13`
#[test]
fn other_versions() {
    let server = Server::start(&[]);
    let line = "Sec-WebSocket-Version: 13\r\n";
    for other in ["Sec-WebSocket-Version: 8\r\n", "Sec-WebSocket-Version: 14\r\n", ""] {
        let head = status(&server, handshake("/").replace(line, other));
        assert_eq!(head.status, "HTTP/1.1 426 Upgrade Required", "{other:?}");
        assert_eq!(head.header("sec-websocket-version"), Some("13"), "{other:?}");
    }
}

/// > a head of more than 8,192 bytes (`--head-bytes`) or 100 headers (`--headers-max`)
#[test]
fn heads_that_are_too_large() {
    let server = Server::start(&[]);
    let too_large = "HTTP/1.1 431 Request Header Fields Too Large";
    let with = |extra: &str| handshake("/").replace("\r\n\r\n", &format!("\r\n{extra}\r\n\r\n"));
    let room_left = 8192 - with("X: ").len();
    for (length, fits) in [(room_left, true), (room_left + 1, false), (100_000, false)] {
        let mut raw = server.raw();
        let _ = raw.try_send(with(&format!("X: {}", "x".repeat(length))));
        if fits {
            raw.expect_101();
        } else {
            assert_eq!(raw.head().status, too_large, "{length}");
        }
    }
    let many = |count: usize| (0..count).map(|number| format!("X-{number}: y")).collect::<Vec<_>>().join("\r\n");
    let mut raw = server.raw();
    raw.send(with(&many(95)));
    raw.expect_101();
    assert_eq!(status(&server, with(&many(96))).status, too_large, "101 headers");
    // Without an end.
    let mut raw = server.raw();
    raw.send(format!("GET /{} HTTP/1.1\r\n", "x".repeat(8200)));
    assert_eq!(answer(&mut raw).status, too_large);
    let server = Server::start(&["--headers-max", "6", "--head-bytes", "300"]);
    assert_eq!(status(&server, with(&many(2))).status, too_large);
    assert_eq!(status(&server, with(&format!("X: {}", "x".repeat(200)))).status, too_large);
}

/// > | `408 Request Timeout` | the head did not come within 10 s (`--head-ms`) |
#[test]
fn heads_that_are_too_slow() {
    let server = Server::start(&["--head-ms", "200"]);
    let start = std::time::Instant::now();
    for part in ["", "G", "GET / HTTP/1.1\r\nHost: localhost\r\n"] {
        let mut raw = server.raw();
        raw.send(part);
        assert_eq!(answer(&mut raw).status, "HTTP/1.1 408 Request Timeout", "{part:?}");
    }
    // One that dribbles gets no more time than others: each byte is sent when the last has had time to arrive.
    let mut raw = server.raw();
    let mut dribbled = 0;
    for byte in handshake(&format!("/{}", "x".repeat(4000))).bytes() {
        if raw.try_send([byte]).is_err() || dribble_ended(&raw) {
            break;
        }
        dribbled += 1;
    }
    assert!(dribbled < 4000, "the whole head came in");
    assert_eq!(raw.head().status, "HTTP/1.1 408 Request Timeout");
    let took = start.elapsed();
    assert!(took.as_millis() >= 800, "four times 200 ms, but it took {took:?}");
    assert!(took.as_millis() < 8000, "four times 200 ms, but it took {took:?}");
}

/// Whether something came within 5 ms.
fn dribble_ended(raw: &Raw) -> bool {
    raw.stream.set_read_timeout(Some(std::time::Duration::from_millis(5))).expect("a timeout");
    let ended = raw.stream.peek(&mut [0]).is_ok();
    raw.stream.set_read_timeout(Some(crate::common::PATIENCE)).expect("a timeout");
    ended
}

/// > | `503 Service Unavailable` | as many connections as there may be (`--connections-max`); says when to come back in
/// > `Retry-After` |
#[test]
fn too_many_connections() {
    let server = Server::start(&["--connections-max", "2"]);
    let mut alice = server.join("alice", "tea", 1);
    let bob = server.join("bob", "tea", 2);
    assert_eq!(alice.json()["type"], "user_join");
    let head = status(&server, handshake("/rooms/tea"));
    assert_eq!(head.status, "HTTP/1.1 503 Service Unavailable");
    assert!(head.header("retry-after").and_then(|value| value.parse::<u32>().ok()).is_some(), "{head:?}");
    alice.quiet();
    drop(bob);
    assert_eq!(alice.json()["type"], "user_leave");
    // Its place may be free a moment after the leave is told.
    let mut status = String::new();
    crate::common::eventually("a place", || {
        let mut raw = server.raw();
        raw.send(handshake("/rooms/tea"));
        status = raw.head().status;
        status == "HTTP/1.1 101 Switching Protocols"
    });
}

/// A request may come in pieces, with its half of the stream ended, and with nonsense behind: the answer is the same.
#[test]
fn requests_come_as_they_like() {
    let server = Server::start(&[]);
    let mut raw = server.raw();
    raw.send(get("/x"));
    raw.shut_down();
    assert_eq!(answer(&mut raw).status, "HTTP/1.1 404 Not Found");
    assert_eq!(status(&server, format!("{}{}", get("/x"), get("/y"))).status, "HTTP/1.1 404 Not Found");
    assert_eq!(status(&server, format!("{}\u{0}\u{1}nonsense", get("/x"))).status, "HTTP/1.1 404 Not Found");
    assert_eq!(status(&server, format!("\r\n{}", get("/x"))).status, "HTTP/1.1 404 Not Found", "RFC 9112 section 2.2");
    let request = get("/x");
    for at in 0..request.len() {
        let mut raw = server.raw();
        raw.send(&request[..at]);
        raw.send(&request[at..]);
        assert_eq!(answer(&mut raw).status, "HTTP/1.1 404 Not Found", "split at {at}");
    }
    // Gone before the head was whole: no answer is owed, and nothing breaks.
    for at in [0, 1, 20] {
        let mut raw = server.raw();
        raw.send(&request[..at]);
        raw.shut_down();
        raw.rest();
        let mut raw = server.raw();
        raw.send(&request[..at]);
        raw.reset();
    }
    server.join("still-there", "tea", 1).quiet();
}
