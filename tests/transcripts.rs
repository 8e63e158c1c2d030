//! Replays every transcript of `docs/PROTOCOL.md` against the real server: what a reader of that page may rely on,
//! byte by byte. What the page says beyond its transcripts is proved by the other tests, which quote its sentences:
//! `tests/statements.rs`.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use common::client::{Came, Client};
use common::page::{Block, blocks, flatten, page};
use common::raw::handshake;
use common::server::Server;

/// > (A note to oneself comes once, as `private`.)
#[test]
fn every_transcript_is_what_the_server_does() {
    let blocks = blocks("transcript");
    assert!(blocks.len() >= 28, "only {} transcripts were found", blocks.len());
    for block in &blocks {
        let flags: Vec<&str> = block.info.split_whitespace().skip(1).collect();
        eprintln!("docs/PROTOCOL.md:{}: {} lines, flags {flags:?}", block.line, block.lines.len());
        replay(&Server::start(&flags), block);
    }
}

#[test]
fn every_http_transcript_is_what_the_server_does() {
    let blocks = blocks("http");
    assert!(blocks.len() >= 4, "only {} transcripts were found", blocks.len());
    let server = Server::start(&[]);
    for block in &blocks {
        eprintln!("docs/PROTOCOL.md:{}", block.line);
        let mut request = String::new();
        for line in block.lines.iter().filter_map(|line| line.strip_prefix('>')) {
            let _ = write!(request, "{}\r\n", line.trim());
        }
        let mut raw = server.raw();
        raw.send(request);
        let head = raw.head();
        let mut wanted = block.lines.iter().filter_map(|line| line.strip_prefix("< "));
        assert_eq!(Some(&*head.status), wanted.next());
        for line in wanted {
            let (name, value) = line.split_once(": ").expect("a header");
            assert_eq!(head.header(&name.to_ascii_lowercase()), Some(value), "{name}");
        }
    }
}

/// Tables of flags are believed: every flag that the page names exists, and the defaults are the ones that it says.
#[test]
fn every_flag_that_the_page_names_exists_with_its_default() {
    let (status, help, errors) = common::server::Launch::bare(&["--help"]).run();
    assert!(status.success(), "{errors}");
    let page = page();
    let mut flags: Vec<&str> = page.split('`').filter(|code| code.starts_with("--")).collect();
    flags.sort_unstable();
    flags.dedup();
    assert!(flags.len() > 15, "{flags:?}");
    for flag in flags {
        let name = flag.split_whitespace().next().expect("a flag has a name");
        let there = help.split(|char: char| char.is_whitespace() || ",=[".contains(char)).any(|word| word == name);
        assert!(there, "{name} is not in --help:\n{help}");
    }
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for (words, flag, default) in [
        ("8,192 bytes (`--head-bytes`)", "--head-bytes", "8192"),
        ("100 headers (`--headers-max`)", "--headers-max", "100"),
        ("within 10 s (`--head-ms`)", "--head-ms", "10000"),
        ("1 to 32 characters (`--name-chars`)", "--name-chars", "32"),
        ("64 at most (`--rooms-per-connection`)", "--rooms-per-connection", "64"),
        ("newest 1,000 of a room (`--recent-messages`)", "--recent-messages", "1000"),
        ("64 MiB in all (`--recent-bytes`", "--recent-bytes", "67108864"),
        ("100,000 rooms (`--rooms-max`)", "--rooms-max", "100000"),
        ("| 65,536 bytes | `--message-bytes` |", "--message-bytes", "65536"),
        ("| 50 a second, 100 at once | `--rate`, `--burst` |", "--rate", "50"),
        ("| 50 a second, 100 at once | `--rate`, `--burst` |", "--burst", "100"),
        ("| 4 MiB | `--outbox-bytes` |", "--outbox-bytes", "4194304"),
        ("| 256 MiB | `--outboxes-bytes` |", "--outboxes-bytes", "268435456"),
        ("| 30 s | `--write-stall-ms` |", "--write-stall-ms", "30000"),
        ("| 60 s | `--silence-ms` |", "--silence-ms", "60000"),
        ("| 5 s | `--close-ms` |", "--close-ms", "5000"),
        ("heard of a client (`--ping-ms`)", "--ping-ms", "30000"),
        ("It must come within 10 s (`--hello-ms`)", "--hello-ms", "10000"),
        ("| 10 s | `--hello-ms` |", "--hello-ms", "10000"),
        ("| 30 s | `--grace-ms` |", "--grace-ms", "30000"),
    ] {
        assert!(flatten(&page).contains(words), "not on the page: {words}");
        let (_, rest) = help.split_once(&format!(" {flag} <")).unwrap_or_else(|| panic!("{flag} takes no value"));
        let (_, said) = rest.split_once("[default: ").expect("a default");
        assert!(said.starts_with(&format!("{default}]")), "{flag}: {words}, but --help: {}", &said[..30]);
    }
}

fn replay(server: &Server, block: &Block) {
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    for (offset, line) in block.lines.iter().enumerate() {
        server.scene.note(&format!("# docs/PROTOCOL.md:{}", block.line + offset));
        if line == "server stops" {
            server.signal("TERM");
            continue;
        }
        let end = line.find([' ', '>', '<']).unwrap_or_else(|| panic!("what is {line:?}?"));
        let (who, rest) = line.split_at(end);
        if let Some(path) = rest.strip_prefix(" connect ") {
            let client = match path.strip_prefix("v1 ") {
                Some(path) => server.connect_v1(who, path),
                None => server.connect(who, path),
            };
            let earlier = clients.insert(who.to_owned(), client);
            assert!(earlier.is_none(), "{who} is still connected: {line:?}");
            continue;
        }
        if rest == " cut" {
            clients.remove(who).unwrap_or_else(|| panic!("{who} did not connect: {line:?}")).cut();
            continue;
        }
        let client = clients.get_mut(who).unwrap_or_else(|| panic!("{who} did not connect: {line:?}"));
        if let Some(text) = rest.strip_prefix("> ") {
            client.send(text);
        } else if let Some(pattern) = rest.strip_prefix("< ") {
            client.expect(pattern);
        } else if let Some(hex) = rest.strip_prefix(" binary>") {
            client.send_binary(&bytes(hex));
        } else if let Some(hex) = rest.strip_prefix(" binary<") {
            assert_eq!(client.next(), Came::Binary(bytes(hex)), "{line}");
        } else if let Some(code) = rest.strip_prefix(" close ") {
            client.close(code.parse().expect("a code"), "");
        } else if let Some(code) = rest.strip_prefix(" closed ") {
            assert_eq!(client.closed().0.to_string(), code, "{line}");
            clients.remove(who);
        } else {
            panic!("what is {line:?}?");
        }
    }
    // Nothing came but what the transcript says.
    clients.values_mut().for_each(Client::quiet);
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")).collect()
}

/// The harness itself: what it must not let pass.
#[test]
fn patterns_are_strict() {
    let matches = |pattern: &str, text: &str| common::pattern::compare(pattern, text, &mut BTreeMap::new()).is_ok();
    assert!(matches(
        r#"{"t":"<T>","u":"<U1>","v":"<U1>"}"#,
        r#"{"t":"2026-01-31T12:34:56.789Z","u":"uaaaaaaaaaaaaaaaa","v":"uaaaaaaaaaaaaaaaa"}"#
    ));
    assert!(matches("<S>", "SOXAfchyBVFqhgAAAaICp-FrgnilAIlJ1mmPp733hZecTznt5kgK3rGF3_x6bG6tObU"));
    assert!(!matches("<S>", "SOXAfchyBVFqhg") && !matches("<S>", &"x".repeat(129)));
    assert!(!matches("<U1> <U1>", "uaaaaaaaaaaaaaaaa uaaaaaaaaaaaaaaab"));
    assert!(!matches("<T>", "2026-01-31T12:34:56Z") && !matches("<T>", "2026-01-31T12:34:56.789+00:00"));
    assert!(
        !matches("a", "ab") && !matches("ab", "a") && !matches("<N>", "guest-abc") && matches("<N> x", "guest-7f3a x")
    );
    assert!(!matches("<W>", "") && !matches("\"<W>\"", "\"a\" \"") && matches("<b> <D>", "<b> 17"));
    assert!(handshake("/x").starts_with("GET /x HTTP/1.1\r\n"));
}
