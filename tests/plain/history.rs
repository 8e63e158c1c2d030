//! `history`, in all directions and up to its limits.

use serde_json::Value;

use crate::common::client::Client;
use crate::common::server::Server;

fn seqs(frame: &Value) -> Vec<u64> {
    assert_eq!(frame["type"], "history", "{frame}");
    frame["messages"].as_array().expect("messages").iter().map(|line| line["seq"].as_u64().expect("a seq")).collect()
}

/// Says `1` to `count` in its room.
fn speak(client: &mut Client, count: u64) {
    client.send_all((1..=count).map(|number| number.to_string()));
    for number in 1..=count {
        assert_eq!(client.json()["seq"], number);
    }
}

#[track_caller]
fn ask(client: &mut Client, fields: &str) -> (Vec<u64>, [Value; 3]) {
    client.send(&format!(r#"{{"type":"history"{fields}}}"#));
    let frame = client.json();
    (seqs(&frame), [frame["oldest"].clone(), frame["newest"].clone(), frame["more"].clone()])
}

#[track_caller]
fn expect(
    client: &mut Client,
    fields: &str,
    lines: std::ops::RangeInclusive<u64>,
    (oldest, newest, more): (u64, u64, bool),
) {
    let (seqs, facts) = ask(client, fields);
    assert_eq!(seqs, lines.collect::<Vec<_>>(), "{fields}");
    assert_eq!(facts, [Value::from(oldest), Value::from(newest), Value::from(more)], "{fields}: oldest, newest, more");
}

/// > Without more they are the newest; with `before` those just below that `seq`, with `after` those just above it
///
/// > `limit` is how many at most: 1 to 200, by default 50
///
/// > and `more` says whether there is more in the asked direction
#[test]
fn every_span_gives_the_lines_next_to_it() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.join("alice", "tea", 1);
    speak(&mut alice, 300);
    expect(&mut alice, "", 251..=300, (1, 300, true));
    expect(&mut alice, r#","limit":200"#, 101..=300, (1, 300, true));
    expect(&mut alice, r#","limit":1"#, 300..=300, (1, 300, true));
    expect(&mut alice, r#","before":101,"limit":200"#, 1..=100, (1, 300, false));
    expect(&mut alice, r#","before":101,"limit":100"#, 1..=100, (1, 300, false));
    expect(&mut alice, r#","before":101,"limit":99"#, 2..=100, (1, 300, true));
    expect(&mut alice, r#","before":2"#, 1..=1, (1, 300, false));
    expect(&mut alice, r#","before":1000"#, 251..=300, (1, 300, true));
    expect(&mut alice, r#","after":250,"limit":50"#, 251..=300, (1, 300, false));
    expect(&mut alice, r#","after":250,"limit":49"#, 251..=299, (1, 300, true));
    expect(&mut alice, r#","after":0,"limit":3"#, 1..=3, (1, 300, true));
    expect(&mut alice, r#","after":299"#, 300..=300, (1, 300, false));
    let (none, _) = ask(&mut alice, r#","after":300"#);
    assert!(none.is_empty());
    let (none, _) = ask(&mut alice, r#","after":9007199254740991"#);
    assert!(none.is_empty());
    let (none, facts) = ask(&mut alice, r#","before":1"#);
    assert!(none.is_empty() && facts[2] == false, "below the first there never was a line: not an error");
}

/// > | `history_gone` | section 7 |
///
/// > (`history_gone` names the room even if the request did not.)
///
/// > the newest 1,000 of a room (`--recent-messages`)
///
/// > `after` a line that is kept no more begins at `oldest`; `before` a line of which nothing below is kept, although there
/// > was something, is the error `history_gone`.
#[test]
fn lines_that_are_not_kept_are_told_of() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.join("alice", "tea", 1);
    speak(&mut alice, 1_003);
    expect(&mut alice, r#","after":0,"limit":2"#, 4..=5, (4, 1003, true));
    expect(&mut alice, r#","before":6,"limit":9"#, 4..=5, (4, 1003, false));
    alice.send(r#"{"type":"history","before":4,"ref":"r"}"#);
    let error = alice.expect_error("history_gone");
    assert_eq!((&error["room"], &error["ref"]), (&"tea".into(), &"r".into()), "{error}");
    alice.send(r#"{"type":"history","room":"tea","before":2}"#);
    assert_eq!(alice.expect_error("history_gone")["room"], "tea");
}

/// > 64 MiB in all (`--recent-bytes`; the room that holds most loses its oldest line).
#[test]
fn the_largest_room_loses_its_oldest_line_first() {
    let server = Server::start(&["--rate", "0", "--recent-bytes", "150000", "--message-bytes", "20000"]);
    let mut small = server.join("small", "small", 1);
    speak(&mut small, 5);
    let mut large = server.join("large", "large", 1);
    for number in 1..=20 {
        large.send(&"x".repeat(20_000));
        assert_eq!(large.json()["seq"], number);
    }
    let (seqs, facts) = ask(&mut large, r#","after":0"#);
    assert!(seqs.len() < 8 && !seqs.is_empty(), "{seqs:?} of 20 kB each are kept within 150 kB");
    assert_eq!((seqs.last(), &facts[0], &facts[1]), (Some(&20), &seqs[0].into(), &20.into()));
    expect(&mut small, "", 1..=5, (1, 5, false));
}

/// > fewer come when they would be more than 256 KiB, but at least one.
#[test]
fn an_answer_ends_early_at_256_kib() {
    let server = Server::start(&["--rate", "0", "--message-bytes", "400000", "--outbox-bytes", "10000000"]);
    let mut alice = server.join("alice", "tea", 1);
    let sizes = [60_000, 60_000, 60_000, 60_000, 60_000, 60_000, 350_000, 10];
    for size in sizes {
        alice.send(&"x".repeat(size));
        alice.json();
    }
    for (fields, more) in [(r#","after":0,"limit":200"#, true), (r#","before":7,"limit":200"#, true)] {
        let (seqs, facts) = ask(&mut alice, fields);
        assert!((2..=4).contains(&seqs.len()), "{seqs:?} of 60,000 bytes each");
        assert_eq!(facts[2], more);
    }
    expect(&mut alice, r#","after":6,"limit":200"#, 7..=7, (1, 8, true));
    expect(&mut alice, r#","before":8"#, 7..=7, (1, 8, true));
}

/// > both at once is a `bad_request`
#[test]
fn spans_that_make_no_sense_are_bad_requests() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.join("alice", "tea", 1);
    for fields in [
        r#""before":3,"after":1"#,
        r#""limit":0"#,
        r#""limit":201"#,
        r#""limit":-1"#,
        r#""limit":1.5"#,
        r#""limit":"5""#,
        r#""before":"3""#,
        r#""after":-1"#,
        r#""before":0.5"#,
        r#""after":1e300"#,
        r#""room":[]"#,
    ] {
        alice.send(&format!(r#"{{"type":"history",{fields},"ref":"x"}}"#));
        assert_eq!(alice.expect_error("bad_request")["ref"], "x", "{fields}");
    }
}

/// > is answered with lines of a room that one is in, in the order of `seq`, as they were sent.
#[test]
fn history_has_the_frames_as_they_were_sent() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "tea", 1);
    alice.send(r#"{"type":"chat","message":"quote \" and 🥳 \u0000","id":"m1"}"#);
    let sent = alice.text();
    assert_eq!(alice.json()["type"], "ack");
    alice.send(r#"{"type":"name","name":"eve"}"#);
    assert_eq!(alice.json()["type"], "user_rename");
    alice.send(r#"{"type":"history"}"#);
    let answer = alice.text();
    assert!(answer.contains(&format!(r#""messages":[{sent}],"#)), "{sent}\nis not in\n{answer}");
    alice.send(r#"{"type":"history","room":"elsewhere","ref":"r"}"#);
    let error = alice.expect_error("not_joined");
    assert_eq!((&error["room"], &error["ref"]), (&"elsewhere".into(), &"r".into()));
}
