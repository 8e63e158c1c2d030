//! Peers that vanish, fall silent, or go in other ways than by saying so.

use std::time::Instant;

use socket2::{Domain, Socket, Type};

use crate::common::raw::{CLOSE, PING, PONG, Raw, TEXT, close_payload, frame};
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

/// > | a silent client | 60 s | `--silence-ms` | close 4003 |
///
/// > | 4003 | nothing was heard of it | come back later |
///
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
        // The third of the round before may only now be seen to have gone, and nothing else may be heard in that room.
        loop {
            let frame = third.frame();
            if frame.text().contains(r#""t":"mine""#) {
                break;
            }
            let earlier = round > 0 && frame.text().contains(&format!(r#""name":"c{}""#, round - 1));
            assert!(earlier && frame.text().contains("user_leave"), "round {round}: {}", frame.text());
        }
    }
    let last = |frame: &serde_json::Value| {
        frame["online_count"] == 1 && frame["name"].as_str().is_some_and(|n| n.ends_with("99"))
    };
    watcher.until("all to be gone", last);
    watcher.quiet();
}

/// > (It comes up to a sixth of that time later, so that the Pings of many do not fall together.)
#[test]
fn pings_of_many_do_not_fall_together() {
    const PING_MS: u128 = 1_200;
    let server = Server::start(&["--ping-ms", "1200"]);
    let start = Instant::now();
    let peers: Vec<_> = (0..24).map(|_| server.raw().upgraded("/")).collect();
    let waiting: Vec<_> = peers
        .into_iter()
        .map(|mut peer| {
            std::thread::spawn(move || {
                assert_eq!(peer.until(PING).first & 0xf, PING);
                start.elapsed().as_millis()
            })
        })
        .collect();
    let mut pinged: Vec<u128> = waiting.into_iter().map(|thread| thread.join().expect("a Ping came")).collect();
    pinged.sort_unstable();
    let (first, last) = (pinged[0], pinged[23]);
    // Clocks of two processes: a few milliseconds for granularity.
    assert!(first + 30 >= PING_MS, "{pinged:?}");
    assert!(last < 3 * PING_MS, "{pinged:?}");
    // Each was last heard when the last of them was told to it. They are spread over 200 ms.
    assert!(last - first >= 80, "{pinged:?}");
}

/// > Any bytes count, and so does progress in writing what had to wait; silence is counted only while the server reads
/// > that connection.
///
/// One reads slowly what others have said, and never sends anything, not even a Pong. When it has all, it is silent.
#[test]
fn who_takes_what_it_is_owed_is_not_silent() {
    const LINES: usize = 300;
    let flags = ["--ping-ms", "100", "--silence-ms", "400", "--rate", "0", "--outbox-bytes", "50000000"];
    let server = Server::start(&flags);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(&server.address.into()).expect("the server accepts");
    let mut mute = Raw::over(socket.into(), server.scene.clone()).upgraded("/rooms/tea?name=mute");
    let mut clock = server.raw().upgraded("/rooms/cake");
    let mut talker = server.join("talker", "tea", 2);
    for number in 0..LINES {
        talker.send(&format!("{number} {}", "x".repeat(60_000)));
        assert_eq!(talker.json()["seq"], number + 1);
    }
    let start = Instant::now();
    for number in 0..LINES {
        // Every tenth line waits for a Ping to another connection: a tenth of a second.
        if number % 10 == 0 && number < LINES / 2 {
            let ping = clock.until(PING);
            clock.send(frame(PONG, &ping.payload));
            talker.quiet();
        }
        mute.until_text(&format!(r#""message":"{number} "#));
        // Here it is still owed more than the kernel holds for it, and nobody was told of a leave.
        let took = start.elapsed();
        assert!(number != LINES / 2 || took.as_millis() > 1_000, "half of it was read within {took:?}");
    }
    assert_eq!(mute.until(CLOSE).close().0, 4003);
}

/// > silence is counted only while the server reads that connection.
///
/// One that is over its rate for longer than anybody may be silent: it is heard late, and not closed.
#[test]
fn who_is_not_read_is_not_silent() {
    let flags = ["--rate", "4", "--burst", "1", "--ping-ms", "100", "--silence-ms", "300"];
    let server = Server::start(&flags);
    let mut raw = server.raw().upgraded("/rooms/tea?name=hasty");
    let start = Instant::now();
    // A renaming costs ten tokens: two and a half seconds, in which nothing is read, no Pong either.
    raw.send([frame(TEXT, br#"{"type":"name","name":"speedy"}"#), frame(TEXT, b"late")].concat());
    raw.until_text("late");
    assert!(start.elapsed().as_millis() > 1_000, "it was read after {:?} already", start.elapsed());
}
