//! The beginning of a connection, spelled: the request, and what the answer means (RFC 6455 section 4.1). Pure.

use tungstenite::handshake::derive_accept_key;

use super::url::Address;

/// The subprotocol that is offered.
const SUBPROTOCOL: &str = "chinwag.v1";

/// The longest answer that is read, in bytes: what is common among browsers and proxies.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Header lines of an answer at most.
const HEADERS_MAX: usize = 100;

/// A request under way, and the answer as far as it has come.
#[derive(Debug)]
pub(super) struct Handshake {
    accept: String,
    offered: bool,
    answer: Vec<u8>,
}

/// What a good answer brings.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Upgraded {
    /// Whether it is `chinwag.v1`; else the server said nothing, and knows plain messages.
    pub(super) lasting: bool,
    /// What came behind the head: the first frames.
    pub(super) tail: Vec<u8>,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is a web server, and answered so.
    Status {
        /// The status.
        code: u16,
        /// Its words, not clean.
        reason: String,
    },
    /// What came is no answer to the request; why.
    NotWebSocket(String),
}

impl Refusal {
    /// Whether it may be the offered subprotocol that the server stumbled over. Those that have too much to do are not
    /// asked twice.
    pub(super) fn may_be_the_offer(&self) -> bool {
        matches!(self, Self::Status { code: 400..=599, .. })
            && !matches!(self, Self::Status { code: 408 | 429 | 503, .. })
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status { code, reason } if reason.is_empty() => {
                write!(f, "it answered with HTTP status {code}, not with a WebSocket")
            }
            Self::Status { code, reason } => {
                write!(f, "it answered with HTTP status {code} ({reason}), not with a WebSocket")
            }
            Self::NotWebSocket(why) => write!(f, "it is no WebSocket server: {why}"),
        }
    }
}

impl Handshake {
    /// A request for `address`, and the state that awaits its answer. `key` is random (RFC 6455 section 4.1, 7).
    pub(super) fn begin(address: &Address, offer: bool, key: [u8; 16]) -> (Vec<u8>, Self) {
        let key = data_encoding::BASE64.encode(&key);
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {key}\r\nUser-Agent: chinwag/{}\r\n",
            address.target,
            address.authority(),
            env!("CARGO_PKG_VERSION"),
        );
        if offer {
            request.push_str("Sec-WebSocket-Protocol: ");
            request.push_str(SUBPROTOCOL);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        let state = Self { accept: derive_accept_key(key.as_bytes()), offered: offer, answer: Vec::new() };
        (request.into_bytes(), state)
    }

    /// Hears some of the answer. `None`: more has to come.
    ///
    /// # Errors
    /// What came is not the beginning of a WebSocket connection.
    pub(super) fn hear(&mut self, chunk: &[u8]) -> Option<Result<Upgraded, Refusal>> {
        self.answer.extend_from_slice(chunk);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let result = match response.parse(&self.answer) {
            Ok(httparse::Status::Complete(head_bytes)) => {
                self.judge(&response).map(|lasting| Upgraded { lasting, tail: self.answer[head_bytes..].to_vec() })
            }
            Ok(httparse::Status::Partial) if self.answer.len() < HEAD_BYTES_MAX => return None,
            Ok(httparse::Status::Partial) => Err(not("its answer is endless")),
            Err(_) => Err(not("its answer is no HTTP")),
        };
        Some(result)
    }

    /// Whether anything came, for the word about a server that hung up.
    pub(super) fn has_begun(&self) -> bool {
        !self.answer.is_empty()
    }

    fn judge(&self, response: &httparse::Response<'_, '_>) -> Result<bool, Refusal> {
        let code = response.code.unwrap_or(0);
        if code != 101 {
            return Err(Refusal::Status { code, reason: response.reason.unwrap_or("").to_owned() });
        }
        let values = |name: &'static str| {
            let lines = response.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
            lines.filter_map(|header| std::str::from_utf8(header.value).ok()).flat_map(|line| line.split(','))
        };
        let has = |name, word: &str| values(name).any(|value| value.trim().eq_ignore_ascii_case(word));
        if !has("Upgrade", "websocket") || !has("Connection", "Upgrade") {
            return Err(not("it upgrades to something else"));
        }
        if !values("Sec-WebSocket-Accept").map(str::trim).eq([&*self.accept]) {
            return Err(not("its Sec-WebSocket-Accept is wrong"));
        }
        if values("Sec-WebSocket-Extensions").any(|value| !value.trim().is_empty()) {
            return Err(not("it uses an extension that was not offered"));
        }
        let mut chosen = values("Sec-WebSocket-Protocol").map(str::trim).filter(|value| !value.is_empty());
        match (chosen.next(), chosen.next()) {
            (None, _) => Ok(false),
            (Some(SUBPROTOCOL), None) if self.offered => Ok(true),
            _ => Err(not("it chose a subprotocol that was not offered")),
        }
    }
}

fn not(why: &str) -> Refusal {
    Refusal::NotWebSocket(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 section 1.3.
    const KEY: &[u8; 16] = b"the sample nonce";
    const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

    fn begun(offer: bool) -> (String, Handshake) {
        let address = Address::parse("[::1]:8765/rooms/tea?name=a").unwrap();
        let (request, state) = Handshake::begin(&address, offer, *KEY);
        (String::from_utf8(request).unwrap(), state)
    }

    fn answer(offer: bool, text: &str) -> Option<Result<Upgraded, Refusal>> {
        begun(offer).1.hear(text.as_bytes())
    }

    #[test]
    fn the_request_is_as_rfc_6455_section_4_1_has_it() {
        let (request, _) = begun(true);
        let expected = "GET /rooms/tea?name=a HTTP/1.1\r\nHost: [::1]:8765\r\nConnection: Upgrade\r\n\
                        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nUser-Agent: chinwag/";
        assert!(request.starts_with(expected), "{request}");
        assert!(request.ends_with("\r\nSec-WebSocket-Protocol: chinwag.v1\r\n\r\n"), "{request}");
        assert!(!begun(false).0.contains("Protocol"));
    }

    #[test]
    fn a_good_answer_says_what_is_spoken_and_hands_on_what_follows() {
        let upgraded = |lasting| Some(Ok(Upgraded { lasting, tail: b"\x81\x02hi".to_vec() }));
        assert_eq!(answer(true, &format!("{GOOD}\r\n")).unwrap().unwrap().tail, b"");
        let mut state = begun(true).1;
        let mut bytes = format!("{GOOD}Sec-WebSocket-Protocol: chinwag.v1\r\n\r\n").into_bytes();
        bytes.extend_from_slice(b"\x81\x02hi");
        let (last, before) = (bytes.split_off(bytes.len() - 5), bytes);
        for byte in before {
            assert_eq!(state.hear(&[byte]), None);
        }
        assert_eq!(state.hear(&last), upgraded(true));
        let plain = [GOOD.as_bytes(), b"\r\n\x81\x02hi"].concat();
        assert_eq!(begun(true).1.hear(&plain), upgraded(false));
        assert_eq!(begun(false).1.hear(&plain), upgraded(false));
    }

    #[test]
    fn what_is_no_websocket_is_told_so() {
        let refused = |offer, text: &str| answer(offer, text).expect("an answer").expect_err(text).to_string();
        assert_eq!(
            refused(true, "HTTP/1.1 404 Not Found\r\n\r\n"),
            "it answered with HTTP status 404 (Not Found), not with a WebSocket"
        );
        for (text, word) in [
            ("220 mail.example.org ESMTP\r\n".to_owned(), "HTTP"),
            (format!("HTTP/1.1 200 {}", "x".repeat(HEAD_BYTES_MAX)), "endless"),
            (format!("{GOOD}\r\n").replace("s3p", "S3p"), "Accept"),
            (format!("{GOOD}\r\n").replace("WebSocket\r\nC", "h2c\r\nC"), "something else"),
            (format!("{GOOD}Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"), "extension"),
            (format!("{GOOD}Sec-WebSocket-Protocol: soap\r\n\r\n"), "subprotocol"),
            (format!("{GOOD}Sec-WebSocket-Protocol: chinwag.v1, soap\r\n\r\n"), "subprotocol"),
        ] {
            let why = refused(true, &text);
            assert!(why.contains(word), "{text}: {why}");
        }
        let unasked = refused(false, &format!("{GOOD}Sec-WebSocket-Protocol: chinwag.v1\r\n\r\n"));
        assert!(unasked.contains("subprotocol"), "{unasked}");
    }

    #[test]
    fn only_a_refusal_that_may_be_about_the_offer_is_asked_again() {
        let again = |code| Refusal::Status { code, reason: String::new() }.may_be_the_offer();
        assert!([400, 401, 403, 404, 406, 426, 500, 501].into_iter().all(again));
        assert!(![200, 301, 408, 429, 503].into_iter().any(again));
        assert!(!not("").may_be_the_offer());
    }
}
