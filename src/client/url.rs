//! What was typed as an address, understood: where to connect, and what to ask for there.
//!
//! Lenient where a person is short (`localhost`, `localhost:8765/rooms/tea`), strict where a guess would connect to
//! somewhere else. Pure: no name is looked up here.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::chat::names::RoomName;

/// The port where none is said and no scheme either: a server's default.
const DEFAULT_PORT: u16 = 8765;

/// The port of `ws://` (RFC 6455 section 3).
const WS_PORT: u16 = 80;

/// What must not stand as it is in a request's first line. What is escaped already stays so.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'\\').add(b'{').add(b'}');

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The host: a name, or an IP address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path, with its query: what the request asks for. Begins with `/`.
    pub target: String,
    /// The room that the path names: `/rooms/tea`.
    pub room: Option<String>,
    /// The name that the query asks for: `?name=alice`. Never empty.
    pub name: Option<String>,
}

impl Address {
    /// Reads `[ws://]HOST[:PORT][/PATH][?QUERY]`.
    ///
    /// # Errors
    /// What is wrong with it, for the person who typed it.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let typed = typed.trim();
        let (scheme, rest) = match typed.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, typed),
        };
        match scheme.as_deref() {
            None | Some("ws") => {}
            Some("wss" | "https") => {
                return Err("TLS is not spoken yet: connect to the plain port, or through a proxy that adds TLS".into());
            }
            Some("http") => return Err("that is a web address; a WebSocket's begins with ws://".into()),
            Some(other) => return Err(format!("{other}:// is not known; a WebSocket's address begins with ws://")),
        }
        if rest.contains('#') {
            return Err("an address has no # (RFC 6455 section 3); in a name it is written %23".into());
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let default_port = if scheme.is_some() { WS_PORT } else { DEFAULT_PORT };
        let (host, port) = parse_authority(authority, default_port)?;
        let slash = if target.starts_with('/') { "" } else { "/" };
        let target: Cow<'_, str> = utf8_percent_encode(target, ESCAPED).into();
        let target = format!("{slash}{target}");
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let room = path.strip_prefix("/rooms/").filter(|room| RoomName::parse(room).is_some()).map(str::to_owned);
        let name = form_urlencoded::parse(query.as_bytes())
            .find(|(key, value)| key == "name" && !value.is_empty())
            .map(|(_, value)| value.into_owned());
        Ok(Self { host, port, target, room, name })
    }

    /// As it stands in `Host` (RFC 9110 section 7.2), and in a line for people: an IPv6 address has its brackets.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Asks for a name, for servers that read it here. One that is there already stays.
    pub fn ask_for_name(&mut self, name: &str) {
        if self.name.is_none() {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("name", name);
            self.target.push(if self.target.contains('?') { '&' } else { '?' });
            self.target.push_str(&query.finish());
        }
    }
}

fn parse_authority(authority: &str, default_port: u16) -> Result<(String, u16), String> {
    if authority.contains('@') {
        return Err("a user in an address is not supported; the name is said with --name".into());
    }
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("the [ has no ]")?;
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("[{host}] is no IPv6 address"));
        }
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return Err(format!("{after:?} after the host is not understood")),
        };
        (host, port)
    } else {
        match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("an IPv6 address stands in brackets: [::1]".into()),
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let is_name = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '.' | '_' | ':');
    if host.is_empty() {
        return Err("it names no host".into());
    }
    if !host.chars().all(is_name) {
        return Err(format!("{host:?} is no host's name"));
    }
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|&port| port > 0).ok_or(format!("{port:?} is no port, 1 to 65535"))?,
    };
    Ok((host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(typed: &str) -> (String, u16, String) {
        let address = Address::parse(typed).unwrap_or_else(|why| panic!("{typed}: {why}"));
        (address.host, address.port, address.target)
    }

    #[test]
    fn what_people_type_is_understood() {
        for (typed, host, port, target) in [
            ("ws://127.0.0.1:8765", "127.0.0.1", 8765, "/"),
            ("ws://example.org", "example.org", 80, "/"),
            ("WS://Example.ORG/", "example.org", 80, "/"),
            ("localhost", "localhost", 8765, "/"),
            ("localhost:9000", "localhost", 9000, "/"),
            ("localhost/rooms/tea", "localhost", 8765, "/rooms/tea"),
            ("localhost?name=x", "localhost", 8765, "/?name=x"),
            (" [::1] ", "::1", 8765, "/"),
            ("ws://[::1]:8765/rooms/tea?name=a+b&x=1", "::1", 8765, "/rooms/tea?name=a+b&x=1"),
            ("ws://h/a b/é?q=\"", "h", 80, "/a%20b/%C3%A9?q=%22"),
            ("ws://h/%20", "h", 80, "/%20"),
        ] {
            assert_eq!(parsed(typed), (host.into(), port, target.into()), "{typed}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_why() {
        for (typed, word) in [
            ("", "host"),
            ("ws://", "host"),
            ("ws://:80", "host"),
            ("wss://example.org", "TLS"),
            ("http://example.org", "ws://"),
            ("ftp://example.org", "ws://"),
            ("localhost:0", "port"),
            ("localhost:65536", "port"),
            ("localhost:eighty", "port"),
            ("::1", "brackets"),
            ("[::1", "]"),
            ("[::1]x", "understood"),
            ("[host]", "IPv6"),
            ("me@host", "user"),
            ("ws://host/#top", "#"),
            ("ho st", "name"),
            ("h\u{f6}st", "name"),
            ("host\r\nX: y", "name"),
        ] {
            let why = Address::parse(typed).expect_err(typed);
            assert!(why.contains(word), "{typed}: {why}");
        }
    }

    #[test]
    fn nothing_in_a_path_can_begin_another_header() {
        let address = Address::parse("host/a\r\nX: y\u{7f}\u{85}").unwrap();
        assert!(address.target.bytes().all(|byte| byte.is_ascii_graphic()), "{}", address.target);
    }

    #[test]
    fn a_room_and_a_name_are_read_from_the_address() {
        let of = |typed: &str| {
            let address = Address::parse(typed).unwrap();
            (address.room, address.name)
        };
        assert_eq!(of("host/rooms/tea?name=Ann+Lee"), (Some("tea".into()), Some("Ann Lee".into())));
        assert_eq!(of("host/?x=1&name=%C3%A9"), (None, Some("é".into())));
        assert_eq!(of("host/rooms/high%20tea?name="), (None, None));
        assert_eq!(of("host/rooms/"), (None, None));
        assert_eq!(of("host/elsewhere"), (None, None));
    }

    #[test]
    fn a_name_is_asked_for_in_the_query_unless_there_is_one() {
        let asked = |typed: &str| {
            let mut address = Address::parse(typed).unwrap();
            address.ask_for_name("Ann & Lee");
            address.target
        };
        assert_eq!(asked("host"), "/?name=Ann+%26+Lee");
        assert_eq!(asked("host/x?y=1"), "/x?y=1&name=Ann+%26+Lee");
        assert_eq!(asked("host/?name=bob"), "/?name=bob");
    }
}
