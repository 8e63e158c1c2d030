//! The process: its flags, its words, its signals and its end.

#![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

mod common;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};

use common::server::{Launch, Server};
use serde_json::Value;

#[test]
fn it_says_where_it_listens() {
    let server = Server::start(&["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"]);
    let second = server.next_address();
    assert_ne!(server.address, second);
    let mut alice = server.join("alice", "tea", 1);
    let mut bob = common::client::Client::connect(second, server.scene.clone(), "bob", "/rooms/tea?name=bob");
    assert_eq!(bob.json()["message"], "Welcome to the chat room! 2 online");
    assert_eq!(alice.json()["name"], "bob");
    bob.send("from the other address");
    alice.expect_chat("bob", "from the other address");
}

#[test]
fn it_speaks_ipv6_where_there_is_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("no IPv6 here: nothing to test");
        return;
    }
    let server = Server::start(&["--listen", "[::1]:0"]);
    assert!(server.address.is_ipv6());
    server.join("alice", "tea", 1).quiet();
}

#[test]
fn it_says_its_version_and_its_flags() {
    let (status, out, _) = Launch::bare(&["--version"]).run();
    assert!(status.success());
    assert_eq!(out.trim(), format!("chinwag {}", env!("CARGO_PKG_VERSION")));
    let (status, out, _) = Launch::bare(&["--help"]).run();
    assert!(status.success() && out.contains("--listen"), "{out}");
    let server = Launch::bare(&["serve", "--listen", "127.0.0.1:0", "--lang", "en", "--store", "memory"]).start();
    server.join("alice", "tea", 1).quiet();
}

#[test]
fn a_bad_flag_is_named_and_the_status_is_2() {
    for (flags, named) in [
        (&["--rate", "banana"][..], "--rate"),
        (&["--rate", "-1"], "--rate"),
        (&["--recent-messages", "1.5"], "--recent-messages"),
        (&["--message-bytes", "99999999999999999999999"], "--message-bytes"),
        (&["--listen", "nonsense"], "--listen"),
        (&["--listen", "127.0.0.1:99999"], "--listen"),
        (&["--lang", "fr"], "--lang"),
        (&["--log", "loud"], "--log"),
        (&["--nonsense"], "--nonsense"),
        (&["--ping-ms"], "--ping-ms"),
        (&["--silence-ms", "soon"], "--silence-ms"),
    ] {
        let (status, out, errors) = Launch::bare(flags).run();
        assert_eq!(status.code(), Some(2), "{flags:?}: {errors}");
        assert!(errors.contains(named) && out.is_empty(), "{flags:?}: {errors}");
    }
}

#[test]
fn an_address_in_use_is_named_and_the_status_is_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let (status, out, errors) = Launch::new(&["--listen", "127.0.0.1:0", "--listen", &address]).run();
    assert_eq!(status.code(), Some(1), "{errors}");
    assert!(errors.contains(&address), "{errors}");
    assert!(!out.contains(&address), "it does not listen there: {out}");
}

/// A server that was killed leaves its port to the next one at once, also when it closed connections itself.
#[test]
fn a_port_can_be_used_again_at_once() {
    let mut first = Server::start(&[]);
    let _clients: Vec<_> = (1..=5).map(|number| first.join(&format!("c{number}"), "tea", number)).collect();
    first.signal("KILL");
    assert!(!first.ended().success());
    let second = Server::start(&["--listen", &first.address.to_string()]);
    assert_eq!(second.address, first.address);
    second.join("alice", "tea", 1).quiet();
}

/// > Before the server goes away, everybody gets a `system` with `code` `shutdown`, which says when to come back: after
/// > `reconnect_in_ms` milliseconds, plus a random part of `reconnect_spread_ms`, so that not all come at once.
///
/// > | 1001 | the server goes away | come back later |
#[test]
fn at_sigterm_all_are_told_and_the_status_is_0() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&["--reconnect-in-ms", "700"]);
        let mut alice = server.join("alice", "tea", 1);
        let mut bob = server.join("bob", "tea", 2);
        assert_eq!(alice.json()["name"], "bob");
        bob.send(r#"{"type":"chat","message":"last words","id":"m"}"#);
        bob.expect_chat("bob", "last words");
        assert_eq!(bob.json()["type"], "ack");
        alice.expect_chat("bob", "last words");
        server.signal(signal);
        for client in [&mut alice, &mut bob] {
            // No leaves are told: the notice is all, and the same for everybody.
            let notice = client.json();
            assert_eq!((&notice["type"], &notice["code"]), (&"system".into(), &"shutdown".into()), "{notice}");
            assert_eq!(notice["reconnect_in_ms"], 700);
            assert!(notice["reconnect_spread_ms"].is_u64() && notice["message"].is_string(), "{notice}");
            assert_eq!(client.closed(), (1001, "server going away".into()));
        }
        assert_eq!(server.ended().code(), Some(0), "SIG{signal}");
    }
}

#[test]
fn while_it_drains_nobody_comes_in_and_a_second_signal_ends_it() {
    let mut server = Server::start(&["--drain", "60000", "--close-ms", "60000"]);
    // One that answers nothing.
    let mut raw = server.raw().upgraded("/");
    server.signal("TERM");
    assert!(raw.until_text("shutdown").contains("reconnect_in_ms"));
    assert_eq!(raw.until(common::raw::CLOSE).close().0, 1001);
    assert!(TcpStream::connect(server.address).is_err(), "it still accepts");
    assert!(server.runs(), "it waits for the answer to its Close");
    server.signal("TERM");
    server.ended();
}

#[test]
fn the_drain_ends_even_when_nobody_answers() {
    let mut server = Server::start(&["--drain", "300", "--close-ms", "60000"]);
    let _silent = server.raw().upgraded("/");
    let _half = server.raw();
    let start = std::time::Instant::now();
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(0));
    assert!(start.elapsed().as_millis() < 3000, "{:?}", start.elapsed());
}

/// What was sent before the signal was seen is answered, or it is not acknowledged: an `ack` means stored, and everybody
/// who stays to the end has seen the line.
#[test]
fn no_acknowledged_line_is_lost_at_shutdown() {
    let mut server = Server::start(&["--rate", "0"]);
    let mut reader = server.join("reader", "tea", 1);
    let mut writer = server.join("writer", "tea", 2);
    assert_eq!(reader.json()["type"], "user_join");
    writer.send_all((0..2000).map(|number| format!(r#"{{"type":"chat","message":"{number}","id":"{number}"}}"#)));
    server.signal("TERM");
    let all = |client: &mut common::client::Client| {
        let mut frames: Vec<Value> = Vec::new();
        while frames.last().is_none_or(|frame| frame["code"] != "shutdown") {
            frames.push(client.json());
        }
        assert_eq!(client.closed().0, 1001);
        frames
    };
    let (written, read) = (all(&mut writer), all(&mut reader));
    let seen = |frames: &[Value], kind: &str, field: &str| {
        frames.iter().filter(|frame| frame["type"] == kind).map(|frame| frame[field].clone()).collect::<Vec<_>>()
    };
    let acknowledged = seen(&written, "ack", "id");
    let shown = seen(&read, "chat", "id");
    assert!(acknowledged.iter().all(|id| shown.contains(id)), "{} acks, {} lines", acknowledged.len(), shown.len());
    assert_eq!(server.ended().code(), Some(0));
}

/// > silence is counted only while the server reads that connection.
///
/// So nobody is closed who was silent, or said something, while the server was stopped for longer than silence may last.
#[test]
fn while_it_is_stopped_nobody_is_silent() {
    let server = Server::start(&["--ping-ms", "500", "--silence-ms", "2500"]);
    let mut alice = server.join("alice", "tea", 1);
    let mut bob = server.join("bob", "tea", 2);
    assert_eq!(alice.json()["name"], "bob");
    // By this one it is known how long the other was stopped.
    let clock = Server::start(&["--ping-ms", "1000", "--silence-ms", "4000"]);
    let mut silent = clock.raw().upgraded("/");
    server.signal("STOP");
    bob.send("hello?");
    assert_eq!(silent.until(common::raw::CLOSE).close().0, 4003);
    server.signal("CONT");
    bob.expect_chat("bob", "hello?");
    alice.expect_chat("bob", "hello?");
    alice.quiet();
}

/// The log tells each connection's coming, going and reason, and never what people say.
#[test]
fn the_log_has_reasons_and_no_words_of_people() {
    let mut server = Server::start(&["--log", "debug", "--drain", "200"]);
    let mut alice = server.join("alice", "tea", 1);
    alice.send("a secret between us");
    alice.expect_chat("alice", "a secret between us");
    alice.send(r#"{"type":"private","to":"alice","message":"another secret"}"#);
    assert_eq!(alice.json()["type"], "private");
    let mut raw = server.raw().upgraded("/");
    raw.send(common::raw::frame(3, b"x"));
    assert_eq!(raw.closed().0, 1002);
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(0));
    common::eventually("the log to be read", || server.log().contains("protocol error"));
    let log = server.log();
    assert!(!log.contains("secret"), "{log}");
    let port = |stream: &TcpStream| stream.local_addr().map(|address: SocketAddr| address.port().to_string());
    assert!(log.contains(&port(alice.stream()).expect("an address")), "connections are told apart by address:\n{log}");
}

/// Without flags the address is the documented one. Somebody may have it already: then that is what is said.
///
/// > The default address is `ws://localhost:8765`.
#[test]
fn the_default_address() {
    let taken = |address| TcpListener::bind(address).is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
    if taken("127.0.0.1:8765") || taken("[::1]:8765") {
        eprintln!("port 8765 is in use here: nothing to test");
        return;
    }
    let folder = common::folder::Folder::new();
    let server = Launch::bare(&["--lang", "en"]).within(&folder).start();
    assert_eq!(server.address, SocketAddr::from(([127, 0, 0, 1], 8765)));
    if TcpListener::bind("[::1]:0").is_ok() {
        let words = "listening on ws://[::1]:8765 (history in chinwag.db, synced)";
        assert_eq!(server.next_line(), format!("chinwag {} {words}", env!("CARGO_PKG_VERSION")));
    }
    assert!(folder.store().exists(), "it is in the working directory");
    server.join("alice", "tea", 1).quiet();
}
