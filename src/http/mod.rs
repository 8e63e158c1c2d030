//! The side door: what is answered to an HTTP request. Pure: a head goes in, bytes come out, no sockets.
//!
//! An upgrade to WebSocket goes through tungstenite's own checks; everything else gets a short answer in plain text
//! that says what to do, and the connection ends with it. Called by the engine with what
//! [`wire::head`](crate::wire::head) has read.
//!
//! The subprotocol `chinwag.v1` is echoed, no other. A browser whose page offered only others ends the connection itself, as
//! RFC 6455 section 4.1 has it.

use std::borrow::Cow;

use tungstenite::error::{Error, ProtocolError};
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::{HeaderName, HeaderValue, StatusCode, header};

use crate::chat::names::{ROOM_NAME_CHARS_MAX, RoomName};
use crate::wire::head::{Head, HeadFault};

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// From the end of the response on, the connection speaks WebSocket.
    Upgrade {
        /// The room that the path names.
        room: RoomName,
        /// The name that the query asks for, as it was typed.
        name: Option<String>,
        /// The subprotocol `chinwag.v1` was offered and chosen.
        v1: bool,
        /// The whole response.
        response: Vec<u8>,
    },
    /// The connection ends with the response.
    Respond {
        /// Its status, for the log.
        status: u16,
        /// The whole response.
        response: Vec<u8>,
    },
}

/// Says how a request is to be answered.
pub fn route(request: &Head<'_>) -> Answer {
    let head_only = request.method == "HEAD";
    if request.method != "GET" && !head_only {
        return refuse(405, &[("Allow", "GET, HEAD")], "Use GET or HEAD.");
    }
    // RFC 9112 section 3.2.
    if request.values("Host").count() > 1 || (request.version_minor > 0 && request.value("Host").is_none()) {
        return answer(400, &[], "The request needs one Host header.", head_only);
    }
    // A HEAD cannot be upgraded; a server may ignore that it asks to be (RFC 9110 section 7.8).
    if !head_only && request.lists("Upgrade", "websocket") {
        return upgrade(request);
    }
    match room(request) {
        Some(_) if request.path == "/" || request.path.starts_with(ROOMS) => {
            answer(426, UPGRADE_REQUIRED, "This is a chat server. Connect to it with WebSocket.", head_only)
        }
        _ => answer(404, &[], "Nothing is here. Connect with WebSocket to / or to /rooms/NAME.", head_only),
    }
}

/// The subprotocol of clients that know more than the plain contract.
const V1: &str = "chinwag.v1";

/// Where rooms are.
const ROOMS: &str = "/rooms/";

/// RFC 9110 section 15.5.22; that `Upgrade` must be named in `Connection` too, section 7.8.
const UPGRADE_REQUIRED: &[(&str, &str)] = &[("Upgrade", "websocket")];

/// The room that a path names; `None` if the path should name one and does not.
fn room(request: &Head<'_>) -> Option<RoomName> {
    match request.path.strip_prefix(ROOMS) {
        Some(encoded) => {
            let typed: Cow<'_, str> = percent_encoding::percent_decode_str(encoded).decode_utf8().ok()?;
            RoomName::parse(&typed)
        }
        None => Some(RoomName::lobby()),
    }
}

/// The name that a query asks for.
fn name(request: &Head<'_>) -> Option<String> {
    let pairs = form_urlencoded::parse(request.query.unwrap_or_default().as_bytes());
    pairs.into_iter().find(|(key, _)| key == "name").map(|(_, name)| name.into_owned())
}

fn upgrade(request: &Head<'_>) -> Answer {
    let Some(room) = room(request) else {
        let body = format!(
            "A room's name has 1 to {ROOM_NAME_CHARS_MAX} characters: letters, digits, '-', '_' and '.', all ASCII."
        );
        return refuse(400, &[], &body);
    };
    // A body would be read as frames.
    if request.values("Content-Length").any(|length| length != b"0") || request.values("Transfer-Encoding").count() > 0
    {
        return refuse(400, &[], "A request to upgrade cannot have a body.");
    }
    let mut response = Vec::new();
    match shake_hands(request, &mut response) {
        Ok(v1) => Answer::Upgrade { room, name: name(request), v1, response },
        Err(Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader)) => {
            let headers = [UPGRADE_REQUIRED, &[("Sec-WebSocket-Version", "13")]].concat();
            refuse(426, &headers, "This server speaks WebSocket version 13 only.")
        }
        Err(Error::Protocol(ProtocolError::WrongHttpVersion)) => refuse(400, &[], "An upgrade needs HTTP/1.1."),
        Err(Error::Protocol(ProtocolError::MissingConnectionUpgradeHeader)) => {
            refuse(400, &[], "An upgrade needs the header Connection: Upgrade. Does a proxy on the way remove it?")
        }
        Err(Error::Protocol(ProtocolError::MissingSecWebSocketKey | ProtocolError::InvalidSecWebSocketKey)) => {
            refuse(400, &[], "An upgrade needs one Sec-WebSocket-Key of 16 bytes in base 64.")
        }
        Err(_) => refuse(400, &[], "This is not how WebSocket begins (RFC 6455 section 4.1)."),
    }
}

/// Lets tungstenite check the request and write its answer. It sees what its checks are about, with lists as it
/// expects them: it looks at the first line of a field only.
fn shake_hands(request: &Head<'_>, response: &mut Vec<u8>) -> Result<bool, Error> {
    let mut seen = Request::new(());
    if request.version_minor == 0 {
        *seen.version_mut() = tungstenite::http::Version::HTTP_10;
    }
    for (field, item) in [(header::CONNECTION, "Upgrade"), (header::UPGRADE, "websocket")] {
        if request.lists(field.as_str(), item) {
            seen.headers_mut().insert(field, HeaderValue::from_static(item));
        }
    }
    for field in [header::SEC_WEBSOCKET_VERSION, header::SEC_WEBSOCKET_KEY] {
        if let Some(value) = single_value(request, &field) {
            seen.headers_mut().insert(field, value);
        }
    }
    let mut answer = create_response(&seen)?;
    // RFC 6455 section 4.2.2: at most one of those that were offered. One that we do not know is none.
    let v1 = request.lists_exactly("Sec-WebSocket-Protocol", V1);
    if v1 {
        answer.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(V1));
    }
    write_response(response, &answer)?;
    Ok(v1)
}

fn single_value(request: &Head<'_>, field: &HeaderName) -> Option<HeaderValue> {
    HeaderValue::from_bytes(request.value(field.as_str())?).ok()
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str, head_only: bool) -> Answer {
    Answer::Respond { status, response: respond(status, headers, body, head_only) }
}

fn refuse(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    answer(status, headers, body, false)
}

/// A whole response that ends the connection: `body` is one sentence in plain text. `head_only` leaves the body out,
/// though not its length (HEAD).
pub fn respond(status: u16, extra: &[(&str, &str)], body: &str, head_only: bool) -> Vec<u8> {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    let upgrades = extra.iter().any(|(name, _)| name.eq_ignore_ascii_case("Upgrade"));
    let connection = if upgrades { "close, Upgrade" } else { "close" };
    let mut response = format!("HTTP/1.1 {status} {reason}\r\nConnection: {connection}\r\n");
    for (name, value) in extra {
        response.extend([name, ": ", value, "\r\n"]);
    }
    let body_bytes = (body.len() + 1).to_string();
    response.extend(["Content-Type: text/plain; charset=utf-8\r\nContent-Length: ", &body_bytes, "\r\n\r\n"]);
    if !head_only {
        response.extend([body, "\n"]);
    }
    response.into_bytes()
}

/// The response to a head that cannot be read.
pub fn fault_response(fault: HeadFault) -> Vec<u8> {
    match fault {
        HeadFault::BadRequest => respond(400, &[], "This is not HTTP/1.1.", false),
        HeadFault::TooLarge => respond(431, &[], "The request has too many or too long headers.", false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::head::{HeadLimits, Parsed, parse};

    /// RFC 6455 section 1.3's example.
    const UPGRADE: &str = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

    fn routed(line: &str, headers: &str) -> Answer {
        let text = format!("{line}\r\n{headers}\r\n");
        match parse(text.as_bytes(), HeadLimits { bytes_max: 8192, headers_max: 100 }) {
            Parsed::Complete { head, .. } => route(&head),
            other => panic!("{text:?} is {other:?}"),
        }
    }

    /// The room and the name of an upgrade.
    fn upgraded(target: &str) -> (String, Option<String>) {
        match routed(&format!("GET {target} HTTP/1.1"), UPGRADE) {
            Answer::Upgrade { room, name, .. } => (room.to_string(), name),
            Answer::Respond { status, .. } => panic!("{target}: {status}"),
        }
    }

    /// The text of a response that ends the connection, checked for what all of them have.
    fn refused(line: &str, headers: &str) -> (u16, String) {
        let Answer::Respond { status, response } = routed(line, headers) else { panic!("{line} is upgraded") };
        check(status, response, line.starts_with("HEAD"))
    }

    fn check(status: u16, response: Vec<u8>, head_only: bool) -> (u16, String) {
        let text = String::from_utf8(response).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(!head.contains(&format!("{status} \r\n")), "a reason: {head}");
        assert!(head.contains("\r\nConnection: close"), "{head}");
        assert!(head.contains("\r\nContent-Type: text/plain; charset=utf-8"), "{head}");
        let (_, length) = head.split_once("Content-Length: ").unwrap();
        if head_only {
            assert!(body.is_empty() && length != "0", "{text}");
        } else {
            assert_eq!(length, body.len().to_string());
            assert!(body.ends_with('\n') && body.len() > 10, "{body}");
        }
        (status, text)
    }

    #[test]
    fn an_upgrade_is_answered_as_in_the_rfc() {
        let Answer::Upgrade { response, .. } = routed("GET / HTTP/1.1", UPGRADE) else { panic!("refused") };
        let text = String::from_utf8(response).unwrap().to_ascii_lowercase();
        assert!(text.starts_with("http/1.1 101 switching protocols\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n"), "{text}");
        for line in ["connection: upgrade", "upgrade: websocket", "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="]
        {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert_eq!(text.lines().count(), 5, "nothing else: {text}");
    }

    #[test]
    fn a_path_names_a_room_and_every_other_path_is_the_lobby() {
        for (target, room) in [
            ("/", "lobby"),
            ("/chat", "lobby"),
            ("/rooms", "lobby"),
            ("/Rooms/a", "lobby"),
            ("/rooms/a", "a"),
            ("/rooms/A-b_c.9", "A-b_c.9"),
            ("/rooms/%61b", "ab"),
            ("ws://chat.example/rooms/a", "a"),
        ] {
            assert_eq!(upgraded(target), (room.to_owned(), None), "{target}");
        }
    }

    #[test]
    fn a_query_may_ask_for_a_name() {
        for (query, name) in [
            ("name=alice", Some("alice")),
            ("x=1&name=al%20ice+b&name=bob", Some("al ice b")),
            ("name=%E5%BC%A0%E4%BC%9F", Some("张伟")),
            ("name=", Some("")),
            ("name", Some("")),
            ("n%61me=x", Some("x")),
            ("Name=alice", None),
            ("", None),
        ] {
            assert_eq!(upgraded(&format!("/rooms/a?{query}")).1.as_deref(), name, "{query}");
        }
    }

    #[test]
    fn lists_and_case_of_an_upgrade_are_as_http_allows() {
        for (from, to) in [
            ("Connection: Upgrade", "Connection: keep-alive, upgrade"),
            ("Connection: Upgrade", "Connection: keep-alive\r\nConnection:\tUPGRADE"),
            ("Upgrade: websocket", "Upgrade: h2c, WebSocket"),
            ("Host: x", "Host: x\r\nSec-WebSocket-Protocol: unknown\r\nContent-Length: 0"),
        ] {
            let headers = UPGRADE.replace(from, to);
            assert_ne!(headers, UPGRADE);
            assert!(matches!(routed("GET / HTTP/1.1", &headers), Answer::Upgrade { .. }), "{to}");
        }
    }

    #[test]
    fn an_upgrade_that_is_none_is_told_why() {
        for (from, to, status, why) in [
            ("Connection: Upgrade\r\n", "", 400, "Connection"),
            ("Connection: Upgrade", "Connection: close", 400, "Connection"),
            ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400, "Sec-WebSocket-Key"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 400, "Sec-WebSocket-Key"),
            ("Host: x", "Host: x\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", 400, "Sec-WebSocket-Key"),
            ("Version: 13", "Version: 8", 426, "Sec-WebSocket-Version: 13\r\n"),
            ("Sec-WebSocket-Version: 13\r\n", "", 426, "Upgrade: websocket\r\n"),
            ("Host: x\r\n", "", 400, "Host"),
            ("Host: x", "Host: x\r\nHost: x", 400, "Host"),
            ("Host: x", "Host: x\r\nContent-Length: 5", 400, "body"),
            ("Host: x", "Host: x\r\nTransfer-Encoding: chunked", 400, "body"),
        ] {
            let headers = UPGRADE.replacen(from, to, 1);
            assert_ne!(headers, UPGRADE);
            let (found, text) = refused("GET / HTTP/1.1", &headers);
            assert_eq!(found, status, "{to}");
            assert!(text.contains(why), "{why} in {text}");
        }
        let (status, text) = refused("GET / HTTP/1.0", UPGRADE);
        assert_eq!((status, text.contains("HTTP/1.1.")), (400, true));
    }

    #[test]
    fn a_room_that_is_none_is_told_what_one_is() {
        for path in
            ["/rooms/", "/rooms/a/b", "/rooms/@me", "/rooms/%ff", "/rooms/a%20b", &format!("/rooms/{:a<65}", "")]
        {
            let (status, text) = refused(&format!("GET {path} HTTP/1.1"), UPGRADE);
            assert_eq!(status, 400, "{path}");
            assert!(text.contains("1 to 64 characters"), "{text}");
        }
    }

    #[test]
    fn without_an_upgrade_known_paths_ask_for_one_and_others_are_not_found() {
        for method in ["GET", "HEAD"] {
            for (path, status) in [("/", 426), ("/rooms/a", 426), ("/?x", 426), ("/chat", 404), ("/rooms/@me", 404)] {
                let (found, text) = refused(&format!("{method} {path} HTTP/1.1"), "Host: x\r\n");
                assert_eq!(found, status, "{method} {path}");
                assert_eq!(text.contains("\r\nUpgrade: websocket\r\n"), status == 426, "{text}");
                assert_eq!(text.contains("\r\nConnection: close, Upgrade\r\n"), status == 426, "{text}");
            }
        }
        assert_eq!(refused("HEAD / HTTP/1.1", UPGRADE).0, 426);
        assert_eq!(refused("GET / HTTP/1.0", "").0, 426);
    }

    #[test]
    fn other_methods_are_not_allowed_and_a_host_is_needed() {
        for method in ["POST", "PUT", "OPTIONS", "get", "X"] {
            let (status, text) = refused(&format!("{method} / HTTP/1.1"), UPGRADE);
            assert_eq!(status, 405, "{method}");
            assert!(text.contains("\r\nAllow: GET, HEAD\r\n"), "{text}");
        }
        for headers in ["", "Host: x\r\nHost: y\r\n"] {
            assert_eq!(refused("GET / HTTP/1.1", headers).0, 400);
        }
    }

    #[test]
    fn what_the_engine_answers_itself_has_a_status_of_its_own() {
        check(400, fault_response(HeadFault::BadRequest), false);
        check(431, fault_response(HeadFault::TooLarge), false);
        check(408, respond(408, &[], "The request did not come in time.", false), false);
        let (_, text) = check(503, respond(503, &[("Retry-After", "5")], "The server is full.", false), false);
        assert!(text.contains("\r\nRetry-After: 5\r\n"), "{text}");
    }
}
