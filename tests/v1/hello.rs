//! The handshake, `hello` and `welcome`.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::V1;
use crate::common::raw::{BINARY, PING, TEXT, frame, handshake};
use crate::common::server::Server;
use crate::wire::{Wire, offer};

const WELCOME: &str = concat!(
    r#"{"type":"welcome","session":"<S1>","user":"<U1>","name":"alice","resumed":false,"heartbeat_ms":25000,"#,
    r#""limits":{"message_bytes":65536,"name_chars":32,"rooms":64},"server":"chinwag/"#,
    env!("CARGO_PKG_VERSION"),
    r#"","timestamp":"<T>"}"#
);

/// > A connection chooses by the WebSocket subprotocol in its handshake
///
/// > A handshake that offers `chinwag.v1` in `Sec-WebSocket-Protocol`, alone or among others, in one line or several,
/// > gets it: the 101 says so (RFC 6455 section 4.2.2). Capitals make a difference.
///
/// > | `Sec-WebSocket-Protocol` | absent, or only ones we do not know (none is echoed) | offers `chinwag.v1` (echoed in the
/// > 101) |
#[test]
fn the_subprotocol_is_echoed_exactly() {
    let server = Server::start(&[]);
    let mut earlier = Vec::new();
    for (offered, echoed) in [
        ("chinwag.v1", true),
        ("chat, chinwag.v1", true),
        ("chinwag.v1,chinwag.v2", true),
        ("x\r\nSec-WebSocket-Protocol: chinwag.v1", true),
        // Names of subprotocols have case, and are whole (RFC 6455 section 4.1).
        ("Chinwag.V1", false),
        ("chinwag.v10", false),
        ("chinwag", false),
        ("chinwag.v2, graphql-ws", false),
        ("chinwag.v1x, xchinwag.v1, \"chinwag.v1\"", false),
    ] {
        let mut raw = server.raw();
        raw.send(offer(offered));
        let head = raw.head();
        assert_eq!(head.status, "HTTP/1.1 101 Switching Protocols", "{offered}");
        assert_eq!(head.header("sec-websocket-protocol"), echoed.then_some("chinwag.v1"), "{offered}");
        // Who gets no echo is a plain client: it is in the lobby at once. Who gets it has to say `hello`.
        raw.send(frame(TEXT, br#"{"type":"hello"}"#));
        let first = raw.frame();
        let kind = if echoed { r#"{"type":"welcome""# } else { r#"{"type":"system","message":"Welcome"# };
        assert!(first.text().starts_with(kind), "{offered}: {first:?}");
        if !echoed {
            let answer = raw.frame();
            assert!(answer.text().starts_with(r#"{"type":"error","code":"bad_request""#), "{offered}: {answer:?}");
        }
        // They stay, so that nobody hears of a leave.
        earlier.push(raw);
    }
    let mut raw = server.raw();
    raw.send(handshake("/"));
    assert_eq!(raw.head().header("sec-websocket-protocol"), None);
}

/// > | `user` | who one is |
///
/// > | `name` | by which name |
///
/// > | `heartbeat_ms` | after how much silence a client should ping, in milliseconds (section 20.3); 25,000 |
///
/// > | `server` | which server it is: `chinwag/` and its version |
///
/// > Nothing but errors comes before it. Then come, in this order
///
/// > a `joined` for `@me`, the stream of one's private messages (section 17); and a `joined` for each of the other
/// > rooms, in the order of `rooms`.
#[test]
fn a_welcome_says_who_one_is_and_what_is_allowed() {
    let server = Server::start(&[]);
    let mut alice = Wire::open(&server, "alice");
    alice.send(r#"{"type":"hello","name":"alice","mood":["good"],"limits":7}"#);
    let mut alice = Checked { wire: alice, server: &server };
    alice.expect(WELCOME);
    alice.expect(
        r#"{"type":"joined","room":"@me","epoch":"<E1>","seq":0,"online_count":1,"recovered":false,"timestamp":"<T>"}"#,
    );
    alice.expect(r#"{"type":"joined","room":"lobby","epoch":"<E2>","seq":0,"online_count":1,"recovered":false,"timestamp":"<T>"}"#);
    alice.wire.send(r#"{"type":"ping"}"#);
    alice.expect(r#"{"type":"pong","timestamp":"<T>"}"#);
}

/// A connection whose frames are compared byte by byte, the first ones too.
struct Checked<'a> {
    wire: Wire,
    server: &'a Server,
}

impl Checked<'_> {
    #[track_caller]
    fn expect(&mut self, pattern: &str) {
        let text = self.wire.text();
        let mut bindings = self.server.scene.bindings.lock().expect("nobody panicked with it");
        let compared = crate::common::pattern::compare(pattern, &text, &mut bindings);
        drop(bindings);
        compared.unwrap_or_else(|difference| panic!("{text}\nwhere this was expected:\n{pattern}\n{difference}"));
    }
}

/// > | `ref` | a string of up to 64 bytes; it comes back in the `welcome` | |
///
/// > | `ref`? | the `hello`'s |
///
/// > `heartbeat_ms` is five sixths of `--ping-ms`
///
/// > `limits` | what the server was started with: `message_bytes` (`--message-bytes`), `name_chars` (`--name-chars`),
/// > `rooms` (`--rooms-per-connection`)
///
/// > does not count among the rooms
#[test]
fn a_welcome_tells_the_limits_as_they_are() {
    let flags = [
        "--ping-ms",
        "6000",
        "--message-bytes",
        "5000",
        "--name-chars",
        "10",
        "--rooms-per-connection",
        "3",
        "--rate",
        "0",
    ];
    let server = Server::start(&flags);
    let mut alice = V1::hello(&server, "alice", r#""name":"0123456789","ref":"h1""#);
    let welcome = alice.welcome.clone();
    let limits = &welcome["limits"];
    assert_eq!(
        (&limits["message_bytes"], &limits["name_chars"], &limits["rooms"]),
        (&5000.into(), &10.into(), &3.into())
    );
    assert_eq!((&welcome["heartbeat_ms"], &welcome["ref"]), (&5000.into(), &"h1".into()));
    assert_eq!(alice.name, "0123456789");
    alice.joined("@me");
    alice.joined("lobby");
    // `@me` does not count among the rooms.
    for room in ["a", "b"] {
        alice.send(&format!(r#"{{"type":"join","room":"{room}"}}"#));
        alice.joined(room);
    }
    alice.send(r#"{"type":"join","room":"c","ref":"r"}"#);
    let error = alice.expect_error("room_limit");
    assert_eq!((&error["room"], &error["ref"]), (&"c".into(), &"r".into()));
    alice.send(r#"{"type":"name","name":"01234567890"}"#);
    alice.expect_error("name_invalid");
    alice.send(&format!(r#"{{"type":"chat","message":"{}"}}"#, "x".repeat(5000 - 28)));
    alice.typed("chat");
    alice.send(&format!(r#"{{"type":"chat","message":"{}"}}"#, "x".repeat(5001 - 28)));
    assert_eq!(alice.wire().closed(), 1009);
}

/// > All of `hello` is optional.
///
/// > Unnamed: `guest-` and four or more letters or digits.
#[test]
fn all_of_hello_is_optional() {
    let server = Server::start(&[]);
    for fields in ["", r#""name":null,"session":null,"rooms":null,"ref":null"#] {
        let mut guest = V1::hello(&server, "guest", fields);
        let name = guest.name.strip_prefix("guest-").expect("a guest's name").to_owned();
        assert!(name.len() >= 4 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name}");
        guest.joined("@me");
        guest.joined("lobby");
        guest.quiet();
        guest.goodbye();
    }
}

/// > | the time until `hello` | 10 s | `--hello-ms` | close 4003 |
///
/// > It must come within 10 s (`--hello-ms`), else the connection is closed with 4003.
///
/// > it gains no time
#[test]
fn who_says_no_hello_is_closed() {
    let server = Server::start(&["--hello-ms", "400", "--grace-ms", "100"]);
    let mut other = server.join("other", "lobby", 1);
    let alice = V1::hello(&server, "alice", "");
    let start = Instant::now();
    let mut dumb = Wire::open(&server, "dumb");
    let mut chatty = Wire::open(&server, "chatty");
    let mut late = Wire::open(&server, "late");
    assert_eq!(other.json()["type"], "user_join", "alice, who said hello");
    // Talking is not enough, and does not give more time.
    for _ in 0..3 {
        chatty.send(r#"{"type":"ping"}"#);
        assert_eq!(chatty.json()["code"], "bad_request");
    }
    late.send(r#"{"type":"hello","rooms":[]}"#);
    assert_eq!((late.json()["type"].clone(), late.json()["room"].clone()), ("welcome".into(), "@me".into()));
    assert_eq!((dumb.closed(), chatty.closed()), (4003, 4003));
    let took = start.elapsed();
    assert!(took > Duration::from_millis(370) && took < Duration::from_secs(4), "closed after {took:?}");
    // Nobody else is, and nobody was told of the strangers.
    let mut alice = alice;
    alice.joined("@me");
    alice.joined("lobby");
    alice.quiet();
    late.send(r#"{"type":"ping"}"#);
    assert_eq!(late.json()["type"], "pong");
    other.quiet();
}

/// > The first thing that a client says is `hello`.
///
/// > | `bad_request` | also: anything before `hello`; a second `hello` |
///
/// > The `room` of an entry of `rooms` is needed.
///
/// > | joins | its path's room at once | nothing until its `hello`, which must come within 10 s (else 4003) |
///
/// > On `chinwag.v1` anything before `hello` is answered with `bad_request`
///
/// > A `hello` that is wrong in itself is answered like that, too, and may be said again.
#[test]
fn anything_before_hello_is_a_bad_request() {
    let server = Server::start(&[]);
    let mut other = server.join("other", "lobby", 1);
    let mut alice = Wire::open(&server, "alice");
    for text in [
        r#"{"type":"ping"}"#,
        r#"{"type":"chat","message":"hi"}"#,
        r#"{"type":"join","room":"lobby"}"#,
        r#"{"type":"who","room":"lobby"}"#,
        r#"{"type":"private","to":"other","message":"hi"}"#,
        r#"{"type":"name","name":"bob"}"#,
        r#"{"type":"history","room":"lobby"}"#,
        r#"{"type":"leave","room":"lobby"}"#,
        r#"{"type":"typing"}"#,
        r#"{"type":"chat","message":7}"#,
        // Whoever forgot `hello` should hear of that, whatever else it knows.
        r#"{"type":"dance"}"#,
        r#"{"message":"hi"}"#,
        "{}",
        // A `hello` that is none.
        r#"{"type":"hello","name":7}"#,
        r#"{"type":"hello","session":["x"]}"#,
        r#"{"type":"hello","rooms":"lobby"}"#,
        r#"{"type":"hello","rooms":["lobby"]}"#,
        r#"{"type":"hello","rooms":[{}]}"#,
        r#"{"type":"hello","rooms":[{"room":"lobby","seq":1}]}"#,
        r#"{"type":"hello","rooms":[{"room":"lobby","epoch":"x","seq":-1}]}"#,
        r#"{"type":"hello","rooms":[{"room":"lobby","last":"50"}]}"#,
    ] {
        alice.send(text);
        let error = alice.json();
        assert_eq!((&error["type"], &error["code"]), (&"error".into(), &"bad_request".into()), "{text}: {error}");
    }
    alice.send_binary(b"hi");
    assert_eq!(alice.json()["code"], "bad_request");
    let rooms: Vec<Value> = (0..257).map(|number| serde_json::json!({"room": format!("r{number}")})).collect();
    alice.send(&serde_json::json!({"type": "hello", "rooms": rooms}).to_string());
    assert_eq!(alice.json()["code"], "bad_request");
    // None of it did anything, and `hello` may still come.
    other.quiet();
    alice.send(r#"{"type":"hello","name":"alice"}"#);
    assert_eq!(alice.json()["name"], "alice");
    assert_eq!(other.json()["name"], "alice");
}

/// > is answered with `bad_request`, unless something else is wrong with it, too (`bad_json`, `too_large`), and with its `ref`
#[test]
fn what_is_too_large_before_hello_is_told_as_such() {
    let server = Server::start(&[]);
    let mut alice = Wire::open(&server, "alice");
    let long = "x".repeat(65);
    for text in [
        format!(r#"{{"type":"hello","ref":"{long}"}}"#),
        format!(r#"{{"type":"chat","message":"hi","id":"{long}"}}"#),
        format!(r#"{{"type":"ping","t":"{long}"}}"#),
    ] {
        alice.send(&text);
        assert_eq!(alice.json()["code"], "too_large", "{text}");
    }
    alice.send(r#"{"type":"hello","ref":"r"}"#);
    assert_eq!(alice.json()["ref"], "r");
}

/// > `room`, `ref` and `id` are the request's own, where it has them
///
/// Also before `hello`: else a client cannot tell which of its lines it was.
#[test]
fn errors_before_hello_say_what_they_are_about() {
    let server = Server::start(&[]);
    let mut alice = Wire::open(&server, "alice");
    alice.send(r#"{"type":"chat","room":"tea","message":"hi","id":"i","ref":"r"}"#);
    let error = alice.json();
    assert_eq!((&error["code"], &error["ref"]), (&"bad_request".into(), &"r".into()), "{error}");
    assert_eq!((&error["room"], &error["id"]), (&"tea".into(), &"i".into()), "{error}");
}

/// > After it, a second `hello` is a `bad_request`.
#[test]
fn a_second_hello_is_a_bad_request() {
    let server = Server::start(&[]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    for fields in [String::new(), format!(r#","session":"{}","rooms":[]"#, alice.session), r#","name":"bob""#.into()] {
        alice.send(&format!(r#"{{"type":"hello","ref":"again"{fields}}}"#));
        assert_eq!(alice.expect_error("bad_request")["ref"], "again");
    }
    alice.quiet();
    alice.say("tea", "still here");
    alice.expect_chat("alice", "still here");
}

/// > Text that is no JSON object is answered with `bad_json` at any time, and goes to nobody.
///
/// > | `bad_json` | text that is no JSON object |
///
/// > | text that is no JSON object | is a chat message | error `bad_json` (a truncated `hello` would leak a secret into the
/// > room) |
#[test]
fn text_that_is_no_json_object_is_bad_json_and_goes_to_nobody() {
    let server = Server::start(&[]);
    let mut other = server.join("other", "tea", 1);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    assert_eq!(other.json()["type"], "user_join");
    let mut stranger = Wire::open(&server, "stranger");
    for text in ["hi", "42", "\"x\"", "[1]", "{bro", "", " ", r#"{"type":"hello","session":"secr"#, "{}}", "null"] {
        alice.send(text);
        alice.expect_error("bad_json");
        stranger.send(text);
        let error = stranger.json();
        assert_eq!((&error["type"], &error["code"]), (&"error".into(), &"bad_json".into()), "{text}: {error}");
    }
    alice.quiet();
    other.quiet();
}

/// > A JSON object with an unknown or missing `type` is answered to its sender with error `unknown_type` and goes to nobody
/// > else; a known field of the wrong type with `bad_request`.
///
/// > `ref` is any string up to 64 bytes, returned in the reply or error; `id` likewise up to 64 bytes
#[test]
fn what_makes_no_sense_is_told_to_its_sender_only() {
    let server = Server::start(&["--rate", "0"]);
    let mut other = server.join("other", "tea", 1);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    assert_eq!(other.json()["type"], "user_join");
    let (good, long) = ("x".repeat(64), "x".repeat(65));
    for (command, code) in [
        (r#""type":"dance""#.to_owned(), "unknown_type"),
        (r#""message":"hi""#.to_owned(), "unknown_type"),
        (r#""type":"welcome""#.to_owned(), "unknown_type"),
        (r#""type":"chat","message":7"#.to_owned(), "bad_request"),
        (r#""type":"chat","message":"\ud800""#.to_owned(), "bad_request"),
        (r#""type":"join""#.to_owned(), "bad_request"),
        (r#""type":"private","message":"x""#.to_owned(), "bad_request"),
        (r#""type":"history","before":1,"after":1"#.to_owned(), "bad_request"),
        (r#""type":"history","limit":201"#.to_owned(), "bad_request"),
        (format!(r#""type":"chat","message":"x","id":"{long}""#), "too_large"),
        (format!(r#""type":"ping","t":"{long}""#), "too_large"),
        (r#""type":"join","room":"@me""#.to_owned(), "room_invalid"),
        (r#""type":"leave","room":"@me""#.to_owned(), "room_invalid"),
        (r#""type":"chat","room":"@me","message":"x""#.to_owned(), "room_invalid"),
        (r#""type":"who","room":"@other""#.to_owned(), "room_invalid"),
        (r#""type":"typing","room":"a b""#.to_owned(), "room_invalid"),
        (r#""type":"chat","room":"cake","message":"x""#.to_owned(), "not_joined"),
        (r#""type":"name","name":"OTHER""#.to_owned(), "name_taken"),
    ] {
        alice.send(&format!(r#"{{{command},"ref":"{good}"}}"#));
        let error = alice.expect_error(code);
        // Of what is no JSON object that can be read, nothing can be returned.
        assert!(error["ref"] == good[..] || command.contains("ud800"), "{command}: {error}");
    }
    alice.send(&format!(r#"{{"type":"ping","ref":"{long}"}}"#));
    alice.expect_error("too_large");
    alice.quiet();
    other.quiet();
    alice.send(&format!(r#"{{"type":"chat","message":"ok","id":"{good}","ref":"{good}","colour":"blue"}}"#));
    assert_eq!(alice.typed("chat")["id"], good);
    let ack = alice.typed("ack");
    assert_eq!((&ack["id"], &ack["ref"], &ack["room"]), (&good[..].into(), &good[..].into(), &"tea".into()));
    assert_eq!(other.json()["message"], "ok");
}

/// > The first frame may come along with the handshake.
///
/// And more than the first: each is heard when the one before it is done.
#[test]
fn everything_may_come_in_one_piece() {
    let server = Server::start(&[]);
    let mut raw = server.raw();
    let frames = [
        r#"{"type":"hello","name":"alice","rooms":[{"room":"tea"},{"room":"cake"}]}"#,
        r#"{"type":"chat","message":"one","id":"1"}"#,
        r#"{"type":"join","room":"pie"}"#,
        r#"{"type":"chat","room":"pie","message":"two"}"#,
        r#"{"type":"leave","room":"tea"}"#,
        r#"{"type":"chat","message":"three"}"#,
    ];
    let bytes = frames.iter().flat_map(|text| frame(TEXT, text.as_bytes()));
    raw.send([offer("chinwag.v1").into_bytes(), bytes.collect(), frame(BINARY, b"x")].concat());
    assert_eq!(raw.head().status, "HTTP/1.1 101 Switching Protocols");
    let mut came: Vec<String> = Vec::new();
    while came.last().is_none_or(|last| last != "chat cake three") {
        let frame: Value = serde_json::from_str(raw.until(TEXT).text()).expect("JSON");
        let text = |field: &str| frame[field].as_str().unwrap_or_default().to_owned();
        came.push(format!("{} {} {}", text("type"), text("room"), text("message")).trim().to_owned());
    }
    // When the ack comes among the others depends on how many turns this takes.
    came.retain(|frame| frame != "ack tea");
    let expected = [
        "welcome",
        "joined @me",
        "joined tea",
        "joined cake",
        "chat tea one",
        "joined pie",
        "chat pie two",
        "left tea",
        "chat cake three",
    ];
    assert_eq!(came, expected);
}

/// > | `name_taken`, `name_invalid`, `room_invalid`, `room_limit` | also after `welcome`, of the `hello`; without its
/// > `ref` |
///
/// > A name that is taken or invalid: `welcome` with a guest name, then the error.
#[test]
fn a_name_that_cannot_be_had_is_told_after_the_welcome() {
    let server = Server::start(&[]);
    let mut alice = V1::hello(&server, "alice", r#""name":"  Alice ""#);
    assert_eq!(alice.name, "Alice");
    let mut plain = server.join("paul", "tea", 1);
    let long = "x".repeat(33);
    for (name, code) in [
        ("alice", "name_taken"),
        ("ALICE", "name_taken"),
        ("Paul", "name_taken"),
        ("", "name_invalid"),
        (" ", "name_invalid"),
        (&long, "name_invalid"),
        ("a\\u0000b", "name_invalid"),
        ("a\\u202eb", "name_invalid"),
    ] {
        let fields = format!(r#""name":"{name}","rooms":[{{"room":"tea"}}],"ref":"h""#);
        let mut guest = V1::hello(&server, "guest", &fields);
        assert!(guest.name.starts_with("guest-"), "{name}: {}", guest.welcome);
        assert_eq!(guest.expect_error(code).get("ref"), None, "the `welcome` has it");
        guest.joined("@me");
        guest.joined("tea");
        assert_eq!(plain.json()["name"], guest.name[..], "it is in the room under the guest's name");
        guest.goodbye();
        assert_eq!(plain.json()["type"], "user_leave");
    }
    alice.joined("@me");
    alice.joined("lobby");
    alice.quiet();
}

/// > The path and `?name=` say nothing here: rooms and name are the `hello`'s. (But `/rooms/` with what is no room's name is
/// > answered with 400 all the same.)
#[test]
fn the_path_says_nothing() {
    let server = Server::start(&[]);
    let mut raw = server.raw();
    raw.send(offer("chinwag.v1").replacen("GET /", "GET /rooms/tea?name=alice", 1));
    assert_eq!(raw.head().status, "HTTP/1.1 101 Switching Protocols");
    raw.send(frame(TEXT, br#"{"type":"hello"}"#));
    assert!(raw.frame().text().contains(r#""name":"guest-"#));
    for room in ["@me", "lobby"] {
        assert!(raw.frame().text().starts_with(&format!(r#"{{"type":"joined","room":"{room}","#)));
    }
    let mut raw = server.raw();
    raw.send(offer("chinwag.v1").replacen("GET /", "GET /rooms/a%20b", 1));
    assert_eq!(raw.head().status, "HTTP/1.1 400 Bad Request");
}

/// > `heartbeat_ms` is five sixths of `--ping-ms`, 25 s by default: shortly before the server would send a Ping.
#[test]
fn the_server_pings_later_than_a_client_should() {
    let server = Server::start(&["--ping-ms", "600", "--silence-ms", "10000"]);
    let mut raw = server.raw();
    raw.send([offer("chinwag.v1").as_bytes(), &frame(TEXT, br#"{"type":"hello"}"#)].concat());
    let start = Instant::now();
    raw.head();
    assert!(raw.frame().text().contains(r#""heartbeat_ms":500"#));
    raw.until(PING);
    let after = start.elapsed();
    assert!(after > Duration::from_millis(570) && after < Duration::from_secs(4), "the Ping came after {after:?}");
    // A client that says something is not pinged, but answered.
    raw.send(frame(TEXT, br#"{"type":"ping","t":7}"#));
    assert!(raw.until(TEXT).text().contains(r#""type":"pong""#));
}
