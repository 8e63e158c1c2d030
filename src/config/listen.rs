//! `--listen`: one typed address becomes one or more to bind.

use std::net::{SocketAddr, ToSocketAddrs as _};

use super::Listen;

/// What an address looks like, for all mistakes.
const HINT: &str =
    "write HOST:PORT: 127.0.0.1:8765 or [::1]:8765 for this machine, 0.0.0.0:8765 or [::]:8765 for everyone";

/// Reads `IP:PORT`, `[IPV6]:PORT` or `NAME:PORT`; a name is looked up, and all its addresses are meant. When a name has
/// addresses of both families, those of IPv6 are optional: `localhost` often has one on a machine without IPv6.
pub(super) fn parse(text: &str) -> Result<Vec<Listen>, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(vec![Listen { address, optional: false }]);
    }
    if text.contains("://") {
        return Err(format!("an address, not a URL, is wanted; {HINT}"));
    }
    let Some((host, port)) = text.rsplit_once(':').filter(|_| !text.ends_with(']')) else {
        let what = if text.parse::<u16>().is_ok() { "the host is missing" } else { "the port is missing" };
        return Err(format!("{what}; {HINT}"));
    };
    if host.is_empty() {
        return Err(format!("the host is missing; {HINT}"));
    }
    if host == "*" {
        return Err(format!("* is not an address; {HINT}"));
    }
    if host.contains(':') && !host.starts_with('[') {
        return Err(format!("an IPv6 address stands in brackets, as in [::1]:8765; {HINT}"));
    }
    let Ok(port) = port.parse::<u16>() else {
        return Err(format!("{port:?} is not a port, which is a number from 0 to 65535; {HINT}"));
    };
    if host.contains(['[', ']', '/', ' ']) {
        return Err(format!("{host:?} is not a host; {HINT}"));
    }
    let found = (host, port).to_socket_addrs().map_err(|error| format!("cannot look up {host:?}: {error}"))?;
    let mut found: Vec<SocketAddr> = found.collect();
    // IPv4 first: what is required is tried first. Stable, so otherwise as the resolver has them.
    found.sort_by_key(SocketAddr::is_ipv6);
    found.dedup();
    let both = found.first().is_some_and(SocketAddr::is_ipv4);
    if found.is_empty() {
        return Err(format!("{host:?} has no address"));
    }
    Ok(found.into_iter().map(|address| Listen { address, optional: both && address.is_ipv6() }).collect())
}

/// Joins what all `--listen` say, in order. An address that is said twice is bound once, and is required if it is
/// anywhere; port 0 may be asked for as often as one likes.
pub(super) fn join(each: Vec<Vec<Listen>>) -> Vec<Listen> {
    let mut all: Vec<Listen> = Vec::new();
    for listen in each.into_iter().flatten() {
        match all.iter_mut().find(|other| other.address == listen.address && listen.address.port() != 0) {
            Some(other) => other.optional &= listen.optional,
            None => all.push(listen),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn required(address: &str) -> Listen {
        Listen { address: address.parse().unwrap(), optional: false }
    }

    #[test]
    fn an_address_is_taken_as_it_is() {
        for address in ["127.0.0.1:8765", "0.0.0.0:0", "[::1]:0", "[::]:443", "[fe80::1%2]:8765"] {
            assert_eq!(parse(address), Ok(vec![required(address)]), "{address}");
        }
    }

    #[test]
    fn localhost_is_looked_up() {
        let found = parse("localhost:8765").unwrap();
        assert_eq!(found[0], required("127.0.0.1:8765"), "{found:?}");
        assert!(found.iter().skip(1).all(|listen| listen.optional && listen.address.is_ipv6()), "{found:?}");
    }

    #[test]
    fn a_mistake_gets_a_hint() {
        for (typed, says) in [
            ("8765", "the host is missing"),
            (":8765", "the host is missing"),
            ("127.0.0.1", "the port is missing"),
            ("localhost", "the port is missing"),
            ("", "the port is missing"),
            ("127.0.0.1:", "is not a port"),
            ("127.0.0.1:99999", "is not a port"),
            ("127.0.0.1:http", "is not a port"),
            ("*:8765", "not an address"),
            ("::1:8765", "in brackets"),
            ("[::1]", "the port is missing"),
            ("[nonsense]:1", "is not a host"),
            ("ws://127.0.0.1:8765", "not a URL"),
            ("unix:/run/chat", "is not a port"),
        ] {
            let error = parse(typed).unwrap_err();
            assert!(error.contains(says) && error.contains("HOST:PORT"), "{typed}: {error}");
        }
    }

    #[test]
    fn what_is_said_twice_is_bound_once() {
        let optional = Listen { optional: true, ..required("[::1]:1") };
        let ephemeral = required("127.0.0.1:0");
        let all = join(vec![vec![optional], vec![required("[::1]:1"), ephemeral], vec![ephemeral]]);
        assert_eq!(all, [required("[::1]:1"), ephemeral, ephemeral]);
    }
}
