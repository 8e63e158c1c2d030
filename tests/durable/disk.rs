//! Slow, faulty and full disks. `.ci/run` runs these: they need strace and ptrace, or a mount.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::V1;
use crate::common::eventually;
use crate::common::folder::Folder;
use crate::common::server::{Launch, Server};
use crate::restart::{come_back, history, read_to, say_lines};
use crate::trouble::{Small, Trouble};

/// What SQLite calls to sync, whichever way it was built.
pub(crate) const SYNCS: &str = "fdatasync,fsync";

/// So much later the calls return.
const DELAY: Duration = Duration::from_secs(2);

/// Whether nothing has come to somebody so far.
#[track_caller]
fn has_nothing(who: &mut V1) -> bool {
    let stream = &who.wire().stream;
    stream.set_nonblocking(true).expect("a socket");
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).expect("a socket");
    peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn say(who: &mut V1, text: &str, id: &str) {
    who.send(&json!({"type": "chat", "room": "tea", "message": text, "id": id}).to_string());
}

/// What became of a line: its `seq`, or an error's code. What else comes is passed over.
#[track_caller]
fn outcome(who: &mut V1, id: &str) -> Result<u64, String> {
    let answer =
        who.until("an answer", |frame| frame["id"] == id && (frame["type"] == "ack" || frame["type"] == "error"));
    match answer["type"].as_str() {
        Some("ack") => Ok(answer["seq"].as_u64().expect("a seq")),
        _ => Err(answer["code"].as_str().expect("a code").to_owned()),
    }
}

/// docs/OPERATIONS.md: "A sync that takes long delays acknowledgements, and the lines themselves; nothing else waits for it".
#[test]
#[ignore = "needs strace; .ci/run does it"]
fn a_slow_disk_delays_acknowledgements_and_nothing_else() {
    for calls in [SYNCS, "pwrite64"] {
        let folder = Folder::new();
        let server = Server::durable(&folder, &["--rate", "0", "--recent-messages", "5"]);
        let mut alice = V1::come(&server, "alice", &["tea", "cold"]);
        say_lines(&mut alice, "tea", 300);
        say_lines(&mut alice, "cold", 300);
        alice.send(r#"{"type":"leave","room":"cold"}"#);
        alice.until("left", |frame| frame["type"] == "left");
        let mut bob = V1::come(&server, "bob", &["tea"]);
        alice.typed("user_join");
        // What is still due from the last lines is done at once.
        eventually("the disk rests", || folder.contents().keys().any(|name| name.ends_with("-wal")));
        let delay = format!("delay_enter={}", DELAY.as_micros());
        let Some(trouble) = Trouble::with(&server, calls, &delay) else { return };
        let since = Instant::now();
        say(&mut alice, "slowly", "slow");
        // Others ask, and come, and read what is not in memory.
        bob.quiet();
        bob.send(r#"{"type":"history","room":"tea","before":101,"limit":100}"#);
        let page = bob.typed("history");
        assert_eq!(page["messages"].as_array().map(Vec::len), Some(100), "{page}");
        let mut carol = V1::hello(&server, "carol", r#""name":"carol","rooms":[{"room":"cold","last":50}]"#);
        carol.until("the last line", |frame| frame["type"] == "chat" && frame["seq"] == 300);
        carol.quiet();
        assert!(since.elapsed() < DELAY, "{calls}: that took {:?}, which says nothing", since.elapsed());
        assert!(has_nothing(&mut alice), "{calls}: the line is told, and not stored");
        assert_eq!(outcome(&mut alice, "slow"), Ok(301));
        assert!(since.elapsed() >= DELAY, "{calls}: {:?}", since.elapsed());
        read_to(&mut bob, "tea", 301);
        drop(trouble);
    }
}

/// docs/OPERATIONS.md: "it logs the error, tells everyone (`system` with `shutdown`, then close code 1011), and ends with exit code 74".
#[test]
#[ignore = "needs strace; .ci/run does it"]
fn an_error_of_the_disk_ends_the_server() {
    for (calls, sync) in [(SYNCS, "full"), (SYNCS, "interval=50"), ("pwrite64", "full")] {
        let folder = Folder::new();
        let mut server = Server::durable(&folder, &["--sync", sync]);
        let mut alice = V1::come(&server, "alice", &["tea"]);
        let mut bob = V1::come(&server, "bob", &["tea"]);
        alice.typed("user_join");
        let mut plain = server.connect("plain", "/rooms/coffee");
        plain.json();
        say_lines(&mut alice, "tea", 10);
        read_to(&mut bob, "tea", 10);
        let Some(trouble) = Trouble::with(&server, calls, "error=EIO") else { return };
        say(&mut alice, "nobody knows", "x");
        let rest = |who: &mut V1| -> (Vec<Value>, Option<u16>) { who.wire().rest() };
        let (told, code) = rest(&mut alice);
        assert_eq!(code, Some(1011), "{told:?}");
        assert_eq!(told.last().map(|frame| &frame["code"]), Some(&"shutdown".into()), "{told:?}");
        let acknowledged = told.iter().any(|frame| frame["type"] == "ack");
        assert!(sync != "full" || !acknowledged, "{calls}: {told:?}");
        // It is no error either: it may be there after all.
        assert!(told.iter().all(|frame| frame["type"] != "error"), "{told:?}");
        assert_eq!(rest(&mut bob).1, Some(1011));
        plain.until("the notice", |frame| frame["code"] == "shutdown");
        assert_eq!(plain.closed().0, 1011);
        assert_eq!(server.ended().code(), Some(74), "{}", server.log());
        assert!(server.logged("the history cannot be kept any more"), "{}", server.log());
        drop(trouble);
        server.restart(&[]);
        come_back(&mut bob, &server);
        come_back(&mut alice, &server);
        say(&mut alice, "nobody knows", "x");
        assert_eq!(outcome(&mut alice, "x"), Ok(11), "once");
        let texts: Vec<Value> = history(&mut bob, "tea").into_iter().map(|line| line["message"].clone()).collect();
        assert_eq!(texts.len(), 11, "{texts:?}");
    }
}

/// A signal ends it at once, also while the last lines are being written.
#[test]
#[ignore = "needs strace; .ci/run does it"]
fn a_second_signal_does_not_wait_for_a_slow_disk() {
    let folder = Folder::new();
    let mut server = Server::durable(&folder, &["--drain", "200"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    say_lines(&mut alice, "tea", 3);
    let Some(trouble) = Trouble::with(&server, SYNCS, "delay_enter=4000000") else { return };
    say(&mut alice, "slowly", "slow");
    alice.quiet();
    server.signal("TERM");
    eventually("the store is being closed", || server.logged("closing the store"));
    assert!(server.runs(), "it waits for what it has to write");
    server.signal("TERM");
    // It would be 0 if it had waited. (strace keeps the ended process until the delay is over.)
    assert_eq!(server.ended().code(), Some(143));
    drop(trouble);
    server.restart(&[]);
    come_back(&mut alice, &server);
    say(&mut alice, "slowly", "slow");
    assert!(outcome(&mut alice, "slow").is_ok());
    assert_eq!(history(&mut alice, "tea").len(), 4);
}

/// docs/OPERATIONS.md: "or when it is committed, and synced within so many milliseconds".
///
/// Somebody talks on meanwhile, so nothing else has the log synced.
#[test]
#[ignore = "needs strace; .ci/run does it"]
fn with_an_interval_a_commit_is_synced_within_it() {
    const INTERVAL: Duration = Duration::from_millis(50);
    let folder = Folder::new();
    let server = Server::durable(&folder, &["--rate", "0", "--sync", "interval=50"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    let calls = folder.path().join("calls");
    let Some(trouble) = Trouble::watching(&server, &format!("pwrite64,{SYNCS}"), &calls) else { return };
    let since = Instant::now();
    while since.elapsed() < 40 * INTERVAL {
        say_lines(&mut alice, "tea", 1);
    }
    drop(trouble);
    let calls = std::fs::read_to_string(calls).expect("what strace has written");
    let (mut unsynced, mut longest, mut syncs) = (None, 0.0_f64, 0);
    for call in calls.lines().filter(|call| call.contains("chinwag.db-wal>")) {
        let (time, call) =
            call.split_once(' ').and_then(|(_, call)| call.trim_start().split_once(' ')).expect("a time");
        let time: f64 = time.parse().expect("seconds");
        // One that is not synced in the end may not be late, either.
        longest = longest.max(unsynced.map_or(0.0, |first| time - first));
        if call.starts_with("pwrite64") {
            unsynced = unsynced.or(Some(time));
        } else {
            (unsynced, syncs) = (None, syncs + 1);
        }
    }
    assert!(longest <= 10.0 * INTERVAL.as_secs_f64(), "a commit was {longest} s without a sync");
    // Nor is each commit synced by itself.
    let lines = alice.places["tea"].seq;
    assert!((4..=50).contains(&syncs) && lines > 2 * syncs, "{syncs} syncs, {lines} lines");
}

/// README.md: "When the disk is full, sending fails with `storage_full`, and nothing acknowledged is lost."
///
/// Reading goes on, and so does sending, once there is room, by itself.
#[test]
#[ignore = "needs a mount; .ci/run does it"]
fn on_a_full_disk_sending_fails_and_reading_goes_on_until_there_is_room() {
    let Some(small) = Small::mount(24) else {
        println!("NOT TESTED: a full disk, since no file system may be mounted here");
        return;
    };
    let flags = ["--rate", "0", "--recent-messages", "5"];
    let mut server = Launch::durable(small.folder(), &flags).by_shell(small.entering()).start();
    let mut alice = V1::come(&server, "alice", &["tea"]);
    let mut acknowledged = Vec::new();
    let text = "x".repeat(1_000);
    let send = |alice: &mut V1, acknowledged: &mut Vec<String>| {
        let id = format!("a{}", alice.places["tea"].seq + 1_000_000 * acknowledged.len() as u64);
        say(alice, &format!("{id} {text}"), &id);
        let outcome = outcome(alice, &id);
        if outcome.is_ok() {
            acknowledged.push(id);
        }
        outcome
    };
    for _ in 0..50 {
        send(&mut alice, &mut acknowledged).expect("there is room");
    }
    small.fill();
    let code = loop {
        if let Err(code) = send(&mut alice, &mut acknowledged) {
            break code;
        }
    };
    assert_eq!(code, "storage_full");
    let kept = history(&mut alice, "tea");
    assert_eq!(kept.len(), acknowledged.len(), "reading goes on, and what was refused is not there");
    let mut bob = V1::come(&server, "bob", &["tea"]);
    alice.typed("user_join");
    alice.quiet();
    assert_eq!(history(&mut bob, "tea").len(), acknowledged.len());
    // A killed server starts on the full disk, and has everything.
    server.kill_and_restart(&[]);
    come_back(&mut alice, &server);
    assert_eq!(history(&mut alice, "tea"), kept);
    assert_eq!(send(&mut alice, &mut acknowledged), Err("storage_full".into()));
    small.empty();
    eventually("there is room again", || send(&mut alice, &mut acknowledged).is_ok());
    server.kill_and_restart(&[]);
    come_back(&mut alice, &server);
    let ids: Vec<String> =
        history(&mut alice, "tea").iter().map(|line| line["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(ids, acknowledged);
}

/// Processor time that the thread which writes took so far, in milliseconds (a tick of `/proc` is 10 ms).
fn writer_ms(server: &Server) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.id())).expect("the server runs");
    let stats = threads.map(|thread| std::fs::read_to_string(thread.expect("a thread").path().join("stat")));
    let stats = stats.map(|stat| stat.expect("it runs"));
    let (_, fields) = stats
        .filter_map(|stat| stat.rsplit_once(')').map(|(name, fields)| (name.to_owned(), fields.to_owned())))
        .find(|(name, _)| name.ends_with("(store writer"))
        .expect("it is there");
    let ticks = |field: usize| fields.split_whitespace().nth(field - 3).and_then(|text| text.parse::<u64>().ok());
    10 * (ticks(14).expect("utime") + ticks(15).expect("stime"))
}

/// docs/OPERATIONS.md: "When there is room again, … lines are accepted again by themselves": that is looked at once a second.
#[test]
#[ignore = "needs a mount; .ci/run does it"]
fn a_full_disk_is_no_work() {
    let Some(small) = Small::mount(24) else {
        println!("NOT TESTED: a full disk, since no file system may be mounted here");
        return;
    };
    let server = Launch::durable(small.folder(), &["--rate", "0"]).by_shell(small.entering()).start();
    let mut alice = V1::come(&server, "alice", &["tea"]);
    // Together, so that the log holds more than what is given up on a full disk makes room for.
    let text = "x".repeat(1_000);
    let was_full = (0..1_000).any(|hundred| {
        let ids: Vec<String> = (0..100).map(|number| format!("{hundred}-{number}")).collect();
        for id in &ids {
            say(&mut alice, &text, id);
        }
        ids.iter().filter(|id| outcome(&mut alice, id).is_err()).count() > 0
    });
    assert!(was_full, "there was room for 100 MB");
    small.fill();
    let (since, before) = (Instant::now(), writer_ms(&server));
    while since.elapsed() < Duration::from_secs(4) {
        alice.quiet();
    }
    let took = writer_ms(&server) - before;
    assert!(took < 400, "{took} ms in {:?}", since.elapsed());
}

/// The same where only writing to the store's own files finds no room.
#[test]
#[ignore = "needs strace; .ci/run does it"]
fn when_the_store_finds_no_room_sending_fails_until_there_is_some() {
    let folder = Folder::new();
    let server = Server::durable(&folder, &["--rate", "0"]);
    let mut alice = V1::come(&server, "alice", &["tea"]);
    say_lines(&mut alice, "tea", 10);
    let Some(trouble) = Trouble::with(&server, "pwrite64", "error=ENOSPC") else { return };
    say(&mut alice, "no room", "a");
    assert_eq!(outcome(&mut alice, "a"), Err("storage_full".into()));
    alice.quiet();
    assert_eq!(history(&mut alice, "tea").len(), 10);
    drop(trouble);
    let mut number = 0;
    eventually("there is room again", || {
        number += 1;
        say(&mut alice, "room", &format!("b{number}"));
        outcome(&mut alice, &format!("b{number}")).is_ok()
    });
    assert_eq!(history(&mut alice, "tea").len(), 11);
}
