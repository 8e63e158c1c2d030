//! The head of an HTTP/1.x request: request line and fields, as RFC 9112 has them. [`http`](crate::http) answers it.
//!
//! The bytes may come one by one, so their end is looked for first ([`head_end`], which never looks at a byte twice),
//! and the head is parsed once.

use httparse::{EMPTY_HEADER, Header, Status};

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// The longest head, in bytes, the blank line at its end too.
    pub bytes_max: usize,
    /// The most fields.
    pub headers_max: usize,
}

/// A request's head. It borrows from the bytes that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// As it was sent; methods are told apart by case.
    pub method: &'a str,
    /// The request target without its query, and without scheme and host if it has them. Percent-encoded.
    pub path: &'a str,
    /// What follows the first `?` of the target. Percent-encoded.
    pub query: Option<&'a str>,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub version_minor: u8,
    headers: Vec<Header<'a>>,
}

/// What bytes at the beginning of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// The beginning of a head.
    Incomplete,
    /// A head.
    Complete {
        /// The head.
        head: Head<'a>,
        /// How long it is. What follows belongs to the protocol that it asks for.
        bytes_used: usize,
    },
    /// Something else.
    Refused(HeadFault),
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// It is no HTTP/1.x.
    BadRequest,
    /// It is longer, or has more fields, than the limits allow.
    TooLarge,
}

impl HeadFault {
    /// The HTTP status that says so.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::TooLarge => 431,
        }
    }
}

/// Whether a head may begin with this byte: with a method's name, or a blank line before it. TLS, for one, does not.
pub const fn may_begin(first: u8) -> bool {
    first.is_ascii_alphabetic() || matches!(first, b'\r' | b'\n')
}

/// The end of the head that `bytes` begin with: the place behind the blank line. `None` if it has not come.
///
/// `searched` is how many of the bytes an earlier call has looked at in vain, 0 at first. A line may end with LF alone
/// and blank lines may come before the first (RFC 9112 section 2.2).
pub fn head_end(bytes: &[u8], searched: usize) -> Option<usize> {
    let first_line = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let start = searched.saturating_sub(3).max(first_line);
    (start..bytes.len()).filter(|&place| bytes[place] == b'\n').find_map(|line_end| {
        let next_line = &bytes[line_end + 1..];
        let blank_bytes = [&b"\n"[..], b"\r\n"].iter().find(|&&blank| next_line.starts_with(blank))?.len();
        Some(line_end + 1 + blank_bytes)
    })
}

/// Reads the head that `bytes` begin with.
pub fn parse(bytes: &[u8], limits: HeadLimits) -> Parsed<'_> {
    // A field takes three bytes at least ("a:\n"): so many slots are enough for whatever it is.
    let mut headers = vec![EMPTY_HEADER; limits.headers_max.min(bytes.len() / 3)];
    let mut request = httparse::Request::new(&mut headers);
    let bytes_used = match request.parse(bytes) {
        Ok(Status::Complete(bytes_used)) if bytes_used <= limits.bytes_max => bytes_used,
        Ok(Status::Partial) if bytes.len() < limits.bytes_max => {
            // Should the two ever differ about the end, the client is told rather than kept waiting.
            return match head_end(bytes, 0) {
                Some(_) => Parsed::Refused(HeadFault::BadRequest),
                None => Parsed::Incomplete,
            };
        }
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Parsed::Refused(HeadFault::TooLarge),
        Err(_) => return Parsed::Refused(HeadFault::BadRequest),
    };
    let (Some(method), Some(target), Some(version_minor)) = (request.method, request.path, request.version) else {
        return Parsed::Refused(HeadFault::BadRequest);
    };
    let headers_count = request.headers.len();
    headers.truncate(headers_count);
    let target = origin_form(target);
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let path = if path.is_empty() { "/" } else { path };
    Parsed::Complete { head: Head { method, path, query, version_minor, headers }, bytes_used }
}

/// A target without its scheme and host, empty if it has nothing else: a server must take both forms (RFC 9112 section 3.2.2).
fn origin_form(target: &str) -> &str {
    let Some((scheme, rest)) = target.split_once("://") else {
        return target;
    };
    if !["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return target;
    }
    match rest.find(['/', '?']) {
        Some(host_end) => &rest[host_end..],
        None => "",
    }
}

impl<'a> Head<'a> {
    /// The values of all fields of that name, in order. Names have no case.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// The value of the one field of that name; `None` if there is none or more than one.
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Whether the comma-separated list that all fields of that name are together has `item`, in whatever case
    /// (RFC 9110 section 5.6.1).
    pub fn lists(&self, name: &str, item: &str) -> bool {
        self.items(name).any(|listed| listed.eq_ignore_ascii_case(item.as_bytes()))
    }

    /// As [`lists`](Self::lists), but the case counts, as it does in names of subprotocols (RFC 6455 section 4.1).
    pub fn lists_exactly(&self, name: &str, item: &str) -> bool {
        self.items(name).any(|listed| listed == item.as_bytes())
    }

    fn items(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.values(name).flat_map(|value| value.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes_max: 8192, headers_max: 100 };

    fn head(bytes: &str) -> Head<'_> {
        match parse(bytes.as_bytes(), LIMITS) {
            Parsed::Complete { head, bytes_used } => {
                assert_eq!(bytes_used, bytes.len());
                head
            }
            other => panic!("{bytes:?} is {other:?}"),
        }
    }

    fn refused(bytes: &[u8]) -> HeadFault {
        match parse(bytes, LIMITS) {
            Parsed::Refused(fault) => fault,
            other => panic!("{:?} is {other:?}", bytes.escape_ascii().to_string()),
        }
    }

    #[test]
    fn a_head_is_read() {
        let head = head("GET /rooms/a?name=b?c HTTP/1.1\r\nHost: x\r\nUPGRADE: WebSocket\r\n\r\n");
        assert_eq!((head.method, head.path, head.query), ("GET", "/rooms/a", Some("name=b?c")));
        assert_eq!(head.version_minor, 1);
        assert_eq!(head.value("host"), Some(&b"x"[..]));
        assert_eq!(head.value("Upgrade"), Some(&b"WebSocket"[..]));
        assert_eq!(head.value("Origin"), None);
    }

    #[test]
    fn a_target_may_have_a_scheme_and_a_host() {
        for (target, path, query) in [
            ("/", "/", None),
            ("/?", "/", Some("")),
            ("http://chat.example:8765/rooms/a?x", "/rooms/a", Some("x")),
            ("WS://chat.example", "/", None),
            ("http://chat.example?x=/", "/", Some("x=/")),
            ("*", "*", None),
            ("/http://x/", "/http://x/", None),
        ] {
            let text = format!("GET {target} HTTP/1.0\r\n\r\n");
            let head = head(&text);
            assert_eq!((head.path, head.query, head.version_minor), (path, query, 0), "{target}");
        }
    }

    #[test]
    fn lists_go_over_several_lines_and_have_no_case() {
        let head = head("GET / HTTP/1.1\r\nConnection: keep-alive,\t UPGRADE\r\nconnection: x\r\nA: 1\r\na: 2\r\n\r\n");
        for item in ["upgrade", "Keep-Alive", "X"] {
            assert!(head.lists("Connection", item), "{item}");
        }
        assert!(!head.lists("Connection", "keep"));
        assert_eq!(head.values("a").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(head.value("a"), None);
    }

    #[test]
    fn a_head_is_incomplete_until_its_blank_line_and_what_follows_is_left() {
        for text in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\nHost: x\n\n",
            "GET / HTTP/1.1\nHost: x\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.0\n\n",
            "\r\n\r\nGET / HTTP/1.1\r\nA:\r\nB: \r\n\r\n",
        ] {
            let followed = format!("{text}more\r\n\r\n");
            let bytes = followed.as_bytes();
            for cut in 0..text.len() {
                assert_eq!(parse(&bytes[..cut], LIMITS), Parsed::Incomplete, "{text:?} cut at {cut}");
                assert_eq!(head_end(&bytes[..cut], 0), None, "{text:?} cut at {cut}");
            }
            for searched in 0..text.len() {
                assert_eq!(head_end(bytes, searched), Some(text.len()), "{text:?} searched to {searched}");
            }
            let Parsed::Complete { bytes_used, .. } = parse(bytes, LIMITS) else { panic!("{text:?}") };
            assert_eq!(bytes_used, text.len());
        }
    }

    #[test]
    fn what_is_no_http_is_refused() {
        for bytes in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            b"hello\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/2.0\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\nA : b\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: \x01\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            assert_eq!(refused(bytes), HeadFault::BadRequest);
        }
    }

    #[test]
    fn a_head_may_have_its_limits_and_no_more() {
        let long = |bytes: usize| format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(bytes - 23));
        assert_eq!(head(&long(8192)).value("A").map(<[u8]>::len), Some(8192 - 23));
        assert_eq!(refused(long(8193).as_bytes()), HeadFault::TooLarge);
        assert_eq!(refused(&long(9000).as_bytes()[..8192]), HeadFault::TooLarge);

        let many = |headers: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a:\r\n".repeat(headers));
        assert_eq!(head(&many(100)).values("a").count(), 100);
        assert_eq!(refused(many(101).as_bytes()), HeadFault::TooLarge);
    }

    #[test]
    fn both_ways_of_finding_the_end_agree() {
        // All short tails of a head over an alphabet of what ends lines and what does not.
        let mut complete = 0;
        for number in 0..5_u32.pow(6) {
            let tail = (0..6).map(|place| b"\r\na: "[number as usize / 5_usize.pow(place) % 5]);
            let bytes: Vec<u8> = b"GET / HTTP/1.1".iter().copied().chain(tail).collect();
            if let Parsed::Complete { bytes_used, .. } = parse(&bytes, LIMITS) {
                complete += 1;
                assert_eq!(head_end(&bytes, 0), Some(bytes_used), "{:?}", bytes.escape_ascii().to_string());
            }
        }
        assert!(complete > 100, "{complete}");
    }
}
