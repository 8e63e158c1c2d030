//! Peers that vanish, fall silent, or go in other ways than by saying so.

use std::time::Instant;

use crate::common::raw::{CLOSE, PING, PONG, TEXT, close_payload, frame};
use crate::common::server::Server;

/// > Goodbye with a Close is polite, not needed: half a goodbye (the end of the stream), a reset and silence end a
/// > connection too, and the others get `user_leave` either way.
#[test]
fn however_a_client_goes_the_others_are_told() {
    let server = Server::start(&[]);
    let mut watcher = server.join("watcher", "tea", 1);
    for way in ["close", "shut down", "reset", "drop", "shut down after words"] {
        let mut raw = server.raw().upgraded("/rooms/tea?name=peer");
        watcher.expect(r#"{"type":"user_join","message":"peer joined","online_count":2,"timestamp":"<T>","room":"tea","user":"<U>","name":"peer"}"#);
        match way {
            "close" => {
                raw.send(frame(CLOSE, &close_payload(1000, b"")));
                raw.until(CLOSE);
            }
            "shut down" => {
                raw.shut_down();
                raw.rest();
            }
            "shut down after words" => {
                raw.send(frame(TEXT, b"last words"));
                raw.shut_down();
                raw.rest();
                watcher.expect_chat("peer", "last words");
            }
            "reset" => raw.reset(),
            _ => drop(raw),
        }
        watcher.expect(r#"{"type":"user_leave","message":"peer left","online_count":1,"timestamp":"<T>","room":"tea","user":"<U>","name":"peer"}"#);
    }
    watcher.quiet();
}

/// > If nothing is heard for 60 s (`--silence-ms`), it is closed with 4003.
///
/// > After 30 s in which nothing was heard of a client (`--ping-ms`) it gets a WebSocket Ping
#[test]
fn a_silent_peer_is_pinged_and_closed_with_4003() {
    let server = Server::start(&["--ping-ms", "100", "--silence-ms", "300"]);
    let mut watcher = server.join("watcher", "tea", 1);
    let mut raw = server.raw().upgraded("/rooms/tea?name=silent");
    assert_eq!(watcher.json()["type"], "user_join");
    // It reads all the time, and so answers its own Pings.
    let watching = std::thread::spawn(move || {
        assert_eq!(watcher.json()["type"], "user_leave");
        watcher
    });
    let start = Instant::now();
    let first = raw.frame();
    assert_eq!(first.first & 0xf, PING, "{first:?}");
    assert!(start.elapsed().as_millis() < 1000, "the Ping came after {:?}", start.elapsed());
    assert_eq!(raw.closed().0, 4003);
    let took = start.elapsed();
    assert!((200..3000).contains(&took.as_millis()), "closed after {took:?}");
    let mut watcher = watching.join().expect("the watcher saw the leave and was not closed itself");
    // The slot is used again, safely.
    let mut next = server.join("next", "tea", 2);
    next.quiet();
    watcher.until("the next", |frame| frame["name"] == "next");
}

/// > which every WebSocket library and every browser answers by itself: a client has nothing to do.
///
/// > Any bytes count.
#[test]
fn a_peer_that_only_answers_pings_lives() {
    let server = Server::start(&["--ping-ms", "50", "--silence-ms", "200"]);
    let mut raw = server.raw().upgraded("/rooms/tea?name=quiet");
    let start = Instant::now();
    while start.elapsed().as_millis() < 1000 {
        let ping = raw.frame();
        assert_eq!(ping.first & 0xf, PING, "{ping:?}");
        raw.send(frame(PONG, &ping.payload));
    }
    raw.send(frame(TEXT, b"still here"));
    raw.until_text("still here");
    // Bytes of a frame that is never finished count as well: one for each Ping.
    let slowly = frame(TEXT, &[b'x'; 100]);
    let mut sent = 0;
    while start.elapsed().as_millis() < 2000 {
        assert_eq!(raw.frame().first & 0xf, PING);
        raw.send(&slowly[sent..=sent]);
        sent += 1;
    }
    raw.send(&slowly[sent..]);
    raw.until_text("xxxx");
}

/// A peer whose machine is gone: it takes no bytes, answers nothing, and is noticed within the silence limit.
#[test]
fn a_vanished_peer_is_noticed() {
    let server = Server::start(&["--ping-ms", "100", "--silence-ms", "300", "--close-ms", "100"]);
    let mut watcher = server.join("watcher", "tea", 1);
    let vanished = server.raw().upgraded("/rooms/tea?name=vanished");
    assert_eq!(watcher.json()["type"], "user_join");
    let start = Instant::now();
    assert_eq!(watcher.json()["type"], "user_leave");
    assert!(start.elapsed().as_millis() < 3000, "noticed after {:?}", start.elapsed());
    drop(vanished);
}

/// > | an answer to Close | 5 s | `--close-ms` | the connection is cut |
#[test]
fn a_peer_that_never_answers_close_is_cut() {
    let server = Server::start(&["--close-ms", "200"]);
    let mut watcher = server.join("watcher", "tea", 1);
    let mut raw = server.raw().upgraded("/rooms/tea?name=stubborn");
    assert_eq!(watcher.json()["type"], "user_join");
    raw.send([frame(3, b"bad opcode"), frame(TEXT, b"not to be heard")].concat());
    assert_eq!(raw.until(CLOSE).close().0, 1002);
    // It goes on talking, and is not heard any more. Once it is cut, the kernel says so to whoever sends.
    let start = Instant::now();
    while raw.try_send(frame(TEXT, b"not to be heard")).is_ok() {
        assert!(start.elapsed().as_millis() < 2000, "not cut after {:?}", start.elapsed());
    }
    assert_eq!(watcher.json()["type"], "user_leave");
    watcher.quiet();
    // And one that says nothing at all.
    let mut raw = server.raw().upgraded("/rooms/tea?name=stubborn");
    assert_eq!(watcher.json()["type"], "user_join");
    raw.send(frame(3, b"bad opcode"));
    assert_eq!(raw.until(CLOSE).close().0, 1002);
    raw.expect_end();
    assert_eq!(watcher.json()["type"], "user_leave");
}

/// Slots are used again by hundreds of short visits of all kinds, and nothing of one reaches another.
#[test]
fn slots_are_used_again_safely() {
    let server = Server::start(&["--rate", "0"]);
    let mut watcher = server.join("watcher", "tea", 1);
    for round in 0..100 {
        let mut first = server.raw().upgraded(&format!("/rooms/tea?name=a{round}"));
        let second = server.raw().upgraded(&format!("/rooms/tea?name=b{round}"));
        first.send(frame(TEXT, br#"{"type":"history","limit":200}"#));
        first.reset();
        let mut third = server.raw().upgraded(&format!("/rooms/cake?name=c{round}"));
        drop(second);
        third.send(frame(TEXT, br#"{"type":"ping","t":"mine"}"#));
        assert!(third.frame().text().contains(r#""t":"mine""#), "round {round}");
    }
    let last = |frame: &serde_json::Value| {
        frame["online_count"] == 1 && frame["name"].as_str().is_some_and(|n| n.ends_with("99"))
    };
    watcher.until("all to be gone", last);
    watcher.quiet();
}
