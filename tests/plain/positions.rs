//! Joining with a position: nothing missed, nothing twice, and no hole that is not told of.

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::common::client::Client;
use crate::common::raw::{Raw, TEXT, frame};
use crate::common::server::Server;

/// Joins by the fields; gives the `joined` and so many lines after it.
#[track_caller]
fn join(client: &mut Client, fields: &str, lines: usize) -> (Value, Vec<u64>) {
    client.send(&format!(r#"{{"type":"join","room":"tea",{fields}}}"#));
    let joined = client.json();
    assert_eq!(joined["type"], "joined", "{joined}");
    let seqs = (0..lines).map(|_| client.json()["seq"].as_u64().expect("a line")).collect();
    client.quiet();
    client.send(r#"{"type":"leave","room":"tea"}"#);
    assert_eq!(client.json()["type"], "left");
    (joined, seqs)
}

struct Scene {
    server: Server,
    reader: Client,
    epoch: String,
    times: Vec<String>,
    _speaker: Client,
}

/// A room with `lines` lines, and a reader who knows its epoch and every line's time.
fn scene(flags: &[&str], lines: usize) -> Scene {
    let server = Server::start(&[flags, &["--rate", "0"]].concat());
    let mut speaker = server.join("speaker", "tea", 1);
    speaker.send_all((1..=lines).map(|line| line.to_string()));
    let times = (0..lines).map(|_| speaker.json()["timestamp"].as_str().expect("a time").to_owned()).collect();
    let mut reader = server.join("reader", "lobby", 1);
    let (joined, _) = join(&mut reader, r#""ref":"r""#, 0);
    let epoch = joined["epoch"].as_str().expect("an epoch").to_owned();
    assert_eq!((&joined["recovered"], joined.get("reason"), joined.get("gap")), (&false.into(), None, None));
    Scene { server, reader, epoch, times, _speaker: speaker }
}

/// > with `"last":50` at the last 50 lines, with a position (section 5.2) after that
///
/// > Without a position there is no `reason`.
#[test]
fn last_gives_the_last_lines() {
    let mut s = scene(&["--recent-messages", "10"], 15);
    for (last, expected) in [(3, 13..=15), (10, 6..=15), (200, 6..=15)] {
        let (joined, seqs) = join(&mut s.reader, &format!(r#""last":{last}"#), expected.clone().count());
        assert_eq!(seqs, expected.collect::<Vec<u64>>(), "last {last}");
        assert_eq!((&joined["recovered"], joined.get("reason"), joined.get("gap")), (&false.into(), None, None));
    }
    join(&mut s.reader, r#""last":0"#, 0);
}

/// > The `epoch` of `joined` and the `seq` and `timestamp` of the last line that one has are a position.
///
/// > if that says `"recovered":true`, exactly the missed lines follow, in order, and then the new ones: none missing,
/// > none twice.
///
/// > `seq` wins over `last`; `time` may be left out
#[test]
fn a_good_position_is_recovered() {
    let mut s = scene(&[], 15);
    let (epoch, times) = (s.epoch.clone(), s.times.clone());
    for seq in [0_usize, 1, 7, 14, 15] {
        let time = if seq == 0 { String::new() } else { format!(r#","time":"{}""#, times[seq - 1]) };
        for extra in ["", r#","last":2"#, &time] {
            let fields = format!(r#""epoch":"{epoch}","seq":{seq}{extra}"#);
            let (joined, seqs) = join(&mut s.reader, &fields, 15 - seq);
            assert_eq!(joined["recovered"], true, "{fields}");
            assert_eq!(joined["seq"], 15);
            assert_eq!(seqs, (seq as u64 + 1..=15).collect::<Vec<_>>(), "{fields}");
        }
    }
}

/// > If it says `"recovered":false`, `reason` is why: `epoch` (the room's numbering is another one), `ahead` (the room has
/// > no such line, or another at that `seq`), or `trimmed` (some of the missed lines are not kept any more: `gap` says
/// > which, and what is left of them follows).
#[test]
fn a_bad_position_is_told_why() {
    let mut s = scene(&["--recent-messages", "10"], 15);
    let (epoch, times) = (s.epoch.clone(), s.times.clone());
    for (fields, reason, gap, lines) in [
        (r#""epoch":"xxxxxxxx","seq":3"#.to_owned(), "epoch", None, 0..0),
        (r#""epoch":"","seq":15"#.to_owned(), "epoch", None, 0..0),
        (format!(r#""epoch":"{epoch}","seq":16"#), "ahead", None, 0..0),
        (format!(r#""epoch":"{epoch}","seq":9007199254740991"#), "ahead", None, 0..0),
        (format!(r#""epoch":"{epoch}","seq":10,"time":"2001-01-01T00:00:00.000Z""#), "ahead", None, 0..0),
        (format!(r#""epoch":"{epoch}","seq":4"#), "trimmed", Some((5, 5)), 6..16),
        (format!(r#""epoch":"{epoch}","seq":0"#), "trimmed", Some((1, 5)), 6..16),
        (format!(r#""epoch":"{epoch}","seq":2,"time":"{}""#, times[1]), "trimmed", Some((3, 5)), 6..16),
    ] {
        let (joined, seqs) = join(&mut s.reader, &fields, lines.clone().count());
        assert_eq!((&joined["recovered"], &joined["reason"]), (&false.into(), &reason.into()), "{fields}");
        let gap = gap.map_or(Value::Null, |(from, to)| serde_json::json!({"from": from, "to": to}));
        assert_eq!(joined["gap"], gap, "{fields}");
        assert_eq!(seqs, lines.collect::<Vec<u64>>(), "{fields}");
    }
    // The edge: line 5 is gone, but it is known already.
    let fields = format!(r#""epoch":"{epoch}","seq":5,"time":"{}""#, times[4]);
    let (joined, seqs) = join(&mut s.reader, &fields, 10);
    assert_eq!((&joined["recovered"], seqs), (&true.into(), (6..=15).collect()));
}

/// > A reader that wants to be sure drops a line with a `seq` up to the last it has, takes the next, and on a jump asks for
/// > `history`.
#[test]
fn catching_up_while_others_talk_misses_nothing() {
    const OLD: usize = 3_000;
    const NEW: usize = 3_000;
    let mut s = scene(&["--recent-messages", "100000"], OLD);
    let mut talker = s.server.join("talker", "tea", 2);
    let epoch = s.epoch.clone();
    let talking = std::thread::spawn(move || {
        for chunk in 0..NEW / 50 {
            talker.send_all((0..50).map(|line| format!("{} {}", chunk * 50 + line, "x".repeat(100))));
        }
        talker
    });
    for round in 0..3 {
        s.reader.send(&format!(r#"{{"type":"join","room":"tea","epoch":"{epoch}","seq":{round}}}"#));
        let joined = s.reader.until("joined", |frame| frame["type"] == "joined");
        assert_eq!(joined["recovered"], true);
        let newest = if round == 2 { (OLD + NEW) as u64 } else { joined["seq"].as_u64().expect("a seq") };
        for seq in round + 1..=newest {
            let frame = s.reader.json();
            assert_eq!((&frame["type"], &frame["seq"]), (&"chat".into(), &seq.into()), "round {round}");
        }
        if round < 2 {
            s.reader.send(r#"{"type":"leave","room":"tea"}"#);
            s.reader.until("left", |frame| frame["type"] == "left");
        }
    }
    s.reader.quiet();
    talking.join().expect("talking does not fail");
}

/// > If trimming overtakes a reader that catches up slowly, a second `joined` says which lines it lost.
#[test]
fn a_slow_reader_is_told_of_every_hole() {
    const KEPT: u64 = 200;
    const MORE: u64 = 300;
    let server = Server::start(&["--rate", "0", "--recent-messages", "200"]);
    let mut talker = server.join("talker", "tea", 1);
    talker.send(r#"{"type":"join","room":"tea"}"#);
    let epoch = talker.json()["epoch"].as_str().expect("an epoch").to_owned();
    // What is kept is more than a kernel buffers for one connection: 12 MB.
    let line = |number: u64| format!("{number} {}", "x".repeat(60_000));
    for number in 1..=KEPT {
        talker.send(&line(number));
        assert_eq!(talker.json()["seq"], number);
    }
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(&server.address.into()).expect("the server accepts");
    let mut slow = Raw::over(socket.into(), server.scene.clone()).upgraded("/");
    slow.send(frame(TEXT, format!(r#"{{"type":"join","room":"tea","epoch":"{epoch}","seq":0}}"#).as_bytes()));
    assert_eq!(talker.json()["type"], "user_join");
    for number in KEPT + 1..=KEPT + MORE {
        talker.send(&line(number));
        assert_eq!(talker.json()["seq"], number);
    }
    let mut last = 0;
    let mut holes = 0;
    while last < KEPT + MORE {
        let came: Value = serde_json::from_str(slow.until(TEXT).text()).expect("JSON");
        if came["type"] == "chat" {
            assert_eq!(came["seq"], last + 1, "a hole that nobody told of");
            last += 1;
        } else if came["type"] == "joined" && came["reason"] == "trimmed" {
            assert_eq!(came["gap"]["from"], last + 1, "{came}");
            last = came["gap"]["to"].as_u64().expect("a seq");
            holes += 1;
        }
    }
    assert!(holes > 0, "nothing was lost: the test tests nothing");
}

/// > A position is `epoch` and `seq`; `seq` without `epoch` is a `bad_request`.
///
/// > Numbers are whole, from 0 to 2^53 - 1
///
/// > a needed one missing, a number out of range
#[test]
fn positions_that_make_no_sense_are_bad_requests() {
    let mut s = scene(&[], 1);
    for fields in [
        r#""epoch":7,"seq":1"#,
        r#""epoch":"x","seq":-1"#,
        r#""epoch":"x","seq":1.5"#,
        r#""epoch":"x","seq":"1""#,
        r#""epoch":"x","seq":9007199254740992"#,
        r#""seq":1"#,
        r#""seq":1,"last":5"#,
        r#""last":-1"#,
        r#""last":9007199254740992"#,
        r#""last":"3""#,
        r#""epoch":"x","seq":1,"time":12"#,
        r#""epoch":"x","seq":1,"time":"noon""#,
    ] {
        s.reader.send(&format!(r#"{{"type":"join","room":"tea",{fields},"ref":"r"}}"#));
        assert_eq!(s.reader.expect_error("bad_request")["ref"], "r", "{fields}");
    }
    // The largest are numbers all the same.
    s.reader.send(r#"{"type":"join","room":"cake","epoch":"x","seq":9007199254740991,"last":9007199254740991}"#);
    assert_eq!(s.reader.json()["reason"], "epoch");
    s.reader.send(r#"{"type":"join"}"#);
    s.reader.expect_error("bad_request");
    s.reader.quiet();
}
