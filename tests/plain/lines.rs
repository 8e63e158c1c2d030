//! Lines: text of any kind, order, acknowledgements and retries, typing, pings.

use crate::common::client::Client;
use crate::common::server::Server;

/// > | it sends any text that is no JSON object | everyone in the room, itself too | `chat`, with the text as
/// > `message` |
///
/// > What is not a JSON object is a chat message, as it is:
#[test]
fn text_that_is_no_json_object_is_a_chat_message() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.join("alice", "tea", 1);
    let mut bob = server.join("bob", "tea", 2);
    assert_eq!(alice.json()["type"], "user_join");
    let texts = [
        "hi",
        "42",
        "\"x\"",
        "[1]",
        "{bro",
        "",
        " ",
        "null",
        "true",
        "{'type':'ping'}",
        "{\"type\":\"ping\"} trailing",
        "{\"type\":\"ping\",}",
        "{\"type\":\"ping\"",
        "{}{}",
        "[{\"type\":\"ping\"}]",
        "line\nbreak\ttab\u{0}nul \u{7f}",
        "quote \" backslash \\ slash /",
        "</script>&amp;\u{2028}\u{2029}",
        "🥳 你好 \u{202e}",
        "{\"type\":\"chat\",\"message\":\"tab\there\"}",
    ];
    for text in texts {
        alice.send(text);
        for client in [&mut alice, &mut bob] {
            let frame = client.json();
            assert_eq!((&frame["type"], &frame["message"]), (&"chat".into(), &text.into()), "{text:?}");
        }
    }
    let long = "x".repeat(65_536);
    alice.send(&long);
    assert_eq!(alice.json()["message"], *long);
    assert_eq!(bob.json()["message"], *long, "a message of just --message-bytes");
}

/// > | `unknown_type` | a `type` that is not known, or none |
///
/// > A JSON object is a command. One with an unknown or missing `type` is answered with error `unknown_type`; one with a
/// > known field of the wrong type, or one that is an object by RFC 8259's grammar but cannot be text (`"\ud800"`),
/// > with `bad_request`. Neither goes to anybody else.
#[test]
fn a_json_object_that_is_no_command_is_shown_to_nobody() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.join("alice", "tea", 1);
    let mut bob = server.join("bob", "tea", 2);
    assert_eq!(alice.json()["type"], "user_join");
    let deep = format!(r#"{{"type":"chat","message":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
    for (text, code) in [
        ("{}", "unknown_type"),
        (" \r\n\t{ } ", "unknown_type"),
        (r#"{"type":"dance"}"#, "unknown_type"),
        (r#"{"type":""}"#, "unknown_type"),
        (r#"{"type":"Chat","message":"x"}"#, "unknown_type"),
        (r#"{"type":"welcome"}"#, "unknown_type"),
        (r#"{"type":"system","message":"x"}"#, "unknown_type"),
        (r#"{"message":"x"}"#, "unknown_type"),
        (r#"{"type":"chat","message":42}"#, "bad_request"),
        (r#"{"type":"chat","message":["x"]}"#, "bad_request"),
        (r#"{"type":"chat","message":"\ud800"}"#, "bad_request"),
        (r#"{"type":"chat","message":"\udc00\ud800"}"#, "bad_request"),
        (r#"{"type":"chat","message":"x","room":7}"#, "bad_request"),
        (r#"{"type":"chat","message":"x","id":7}"#, "bad_request"),
        (&*deep, "bad_request"),
    ] {
        alice.send(text);
        alice.expect_error(code);
    }
    bob.quiet();
}

/// > ignore fields and types that you do not know. The server does likewise: fields that it does not know are ignored.
///
/// > Of two fields by the same name the last one counts, and `null` is as good as no field.
#[test]
fn unknown_fields_are_ignored_and_the_last_of_two_counts() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "tea", 1);
    let deep = format!(r#"{{"type":"chat","message":"x","deep":{}1{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
    for text in [
        &*deep,
        r#"{"message":"x","mood":{"a":[1,null,{"b":"\ud83e\udd73"}]},"type":"chat"}"#,
        r#"{"type":"ping","message":"no","message":"x","type":"chat"}"#,
        r#"{"type":"chat","message":"x","room":null,"id":null,"ref":null}"#,
        r#"{"\u0074ype":"\u0063hat","message":"\u0078"}"#,
        "\n{\t\"type\" : \"chat\" ,\r\n \"message\":\"x\" } ",
        r#"{"type":"chat","message":"x","big":1e999,"long":123456789012345678901234567890}"#,
    ] {
        alice.send(text);
        alice.expect_chat("alice", "x");
    }
    alice.send(r#"{"type":"ping","id":"ignored","room":"ignored"}"#);
    alice.expect(r#"{"type":"pong","timestamp":"<T>"}"#);
}

/// > A room has a `seq`: each line gets the next number, from 1, without holes. It is the same for every reader, and
/// > below 2^53.
///
/// > Each reader of a room gets its lines in the order of `seq`.
#[test]
fn every_reader_gets_the_same_lines_in_the_same_order() {
    const LINES: usize = 300;
    let server = Server::start(&["--rate", "0"]);
    let mut clients: Vec<Client> = (1..=4).map(|number| server.join(&format!("c{number}"), "tea", number)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send_all((0..LINES).map(|line| format!("{number} {line}")));
    }
    let mut first: Option<Vec<String>> = None;
    for client in &mut clients {
        let mut lines = Vec::new();
        let mut next = [0; 4];
        while lines.len() < 4 * LINES {
            let frame = client.json();
            if frame["type"] == "user_join" {
                continue;
            }
            let text = frame["message"].as_str().expect("a chat");
            let (from, line) = text.split_once(' ').expect("two numbers");
            let from: usize = from.parse().expect("a number");
            assert_eq!(line, next[from].to_string(), "a sender's lines come in the order that they were sent in");
            next[from] += 1;
            lines.push(format!("{} {}", frame["seq"], text));
            assert_eq!(frame["seq"], lines.len(), "seq counts from 1 without holes");
        }
        client.quiet();
        assert_eq!(first.get_or_insert_with(|| lines.clone()), &lines, "all see the same");
    }
}

/// > Every command may have a `ref`, a string of up to 64 bytes: it comes back in the answer or the error
///
/// > Answers to one connection's commands come in the order of the commands, and so do its lines. Only what has to be
/// > stored first, a `chat` or `private` and its `ack`, may come later than the answer to a later command.
#[test]
fn answers_come_in_the_order_of_the_commands() {
    const ROUNDS: usize = 20;
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.join("alice", "tea", 1);
    let round = |n: usize| {
        [
            format!(r#"{{"type":"ping","ref":"{n}"}}"#),
            format!(r#"{{"type":"chat","message":"{n}"}}"#),
            format!(r#"{{"type":"who","ref":"{n}"}}"#),
            format!(r#"{{"type":"history","limit":1,"ref":"{n}"}}"#),
            format!(r#"{{"type":"dance","ref":"{n}"}}"#),
            format!(r#"{{"type":"join","room":"other","ref":"{n}"}}"#),
            format!(r#"{{"type":"leave","room":"other","ref":"{n}"}}"#),
            format!(r#"{{"type":"name","name":"n{n}","ref":"{n}"}}"#),
        ]
    };
    alice.send_all((0..ROUNDS).flat_map(round));
    let kinds = ["pong", "presence", "history", "error", "joined", "left", "user_rename"];
    let mut expected = (0..ROUNDS).flat_map(|n| kinds.map(|kind| (kind, n.to_string())));
    let mut lines = 0;
    for _ in 0..ROUNDS * 8 {
        let frame = alice.json();
        if frame["type"] == "chat" {
            assert_eq!(frame["message"], lines.to_string());
            lines += 1;
            continue;
        }
        let (kind, n) = expected.next().expect("an answer that is due");
        assert_eq!((&frame["type"], &frame["ref"]), (&kind.into(), &n.clone().into()), "{frame}");
        if kind == "history" {
            assert_eq!(frame["messages"][0]["message"], n, "what was said before is there");
        }
    }
}

/// > What a user does takes effect in order: a leave or a rename comes after the lines that were sent before it.
#[test]
fn what_a_user_does_takes_effect_in_order() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.join("alice", "tea", 1);
    let mut bob = server.join("bob", "tea", 2);
    for round in 0..20 {
        let line = |text: &str| text.to_owned();
        alice.send_all([
            line("as alice"),
            line(r#"{"type":"name","name":"eve"}"#),
            line("as eve"),
            line(r#"{"type":"leave","room":"tea"}"#),
            line(r#"{"type":"name","name":"alice"}"#),
            line(r#"{"type":"join","room":"tea"}"#),
        ]);
        bob.expect_chat("alice", "as alice");
        bob.expect(r#"{"type":"system","message":"alice is now known as eve","timestamp":"<T>"}"#);
        bob.expect_chat("eve", "as eve");
        assert_eq!(bob.json()["message"], "eve left", "round {round}");
        assert_eq!(bob.json()["message"], "alice joined", "round {round}");
    }
    bob.quiet();
}

/// > A `chat` or `private` with an `id` (any string up to 64 bytes) is answered with an `ack`
///
/// > To a member of the room its own `chat` comes first, then the `ack`.
///
/// > it is answered with an `ack` that says `duplicate` and the first `seq`, and is not shown again
#[test]
fn pipelined_retries_are_shown_once() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "tea", 1);
    let mut bob = server.join("bob", "tea", 2);
    assert_eq!(alice.json()["type"], "user_join");
    let chat = |id: &str, text: &str| format!(r#"{{"type":"chat","message":"{text}","id":"{id}","ref":"r-{text}"}}"#);
    alice.send_all([chat("a", "one"), chat("a", "again"), chat("b", "two"), chat("a", "and again")]);
    let mut shown = Vec::new();
    let mut acks = Vec::new();
    while acks.len() < 4 {
        let frame = alice.json();
        if frame["type"] == "chat" {
            shown.push(frame["id"].as_str().expect("its id").to_owned());
            assert_eq!(frame["seq"], shown.len());
        } else {
            let id = frame["id"].as_str().expect("its id");
            assert!(shown.iter().any(|shown| shown == id), "an ack before its chat: {frame}");
            acks.push((id.to_owned(), frame["seq"].clone(), frame["duplicate"].clone(), frame["ref"].clone()));
        }
    }
    assert_eq!(shown, ["a", "b"]);
    let expected = [
        ("a", 1, None, "one"),
        ("a", 1, Some(true), "again"),
        ("b", 2, None, "two"),
        ("a", 1, Some(true), "and again"),
    ];
    for (id, seq, duplicate, text) in expected {
        let ack = (id.to_owned(), seq.into(), duplicate.into(), format!("r-{text}").into());
        assert!(acks.contains(&ack), "{ack:?} in {acks:?}");
    }
    bob.expect_chat("alice", "one");
    bob.expect_chat("alice", "two");
    bob.quiet();
}

/// > while the line is among the newest 10,000 of its room
#[test]
fn a_retry_is_known_even_when_its_line_is_not_kept_any_more() {
    let server = Server::start(&["--rate", "0", "--recent-messages", "2"]);
    let mut alice = server.join("alice", "tea", 1);
    alice.send(r#"{"type":"chat","message":"first","id":"m"}"#);
    alice.expect_chat("alice", "first");
    assert_eq!(alice.json()["type"], "ack");
    let line = |number: u32| format!(r#"{{"type":"chat","message":"{number}","id":"{number}"}}"#);
    alice.send_all((2..=10_000).map(line));
    let (mut lines, mut acks) = (1, 1);
    while (lines, acks) != (10_000, 10_000) {
        let frame = alice.json();
        let count = if frame["type"] == "chat" { &mut lines } else { &mut acks };
        *count += 1;
        assert_eq!((&frame["seq"], &frame["id"]), (&(*count).into(), &count.to_string().into()), "{frame}");
    }
    alice.send(r#"{"type":"chat","message":"first","id":"m"}"#);
    alice.expect(r#"{"type":"ack","id":"m","room":"tea","seq":1,"duplicate":true,"timestamp":"<T>"}"#);
}

/// > Each user has its own `id`s.
///
/// > Sending the same `id` to the same room again is harmless
#[test]
fn an_id_counts_for_one_user_in_one_room() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "tea", 1);
    alice.send(r#"{"type":"chat","message":"one","id":"m"}"#);
    alice.expect_chat("alice", "one");
    alice.expect(r#"{"type":"ack","id":"m","room":"tea","seq":1,"timestamp":"<T>"}"#);
    alice.send(r#"{"type":"join","room":"cake"}"#);
    assert_eq!(alice.json()["type"], "joined");
    alice.send(r#"{"type":"chat","room":"cake","message":"other","id":"m"}"#);
    alice.expect_chat("alice", "other");
    alice.expect(r#"{"type":"ack","id":"m","room":"cake","seq":1,"timestamp":"<T>"}"#);
    alice.close(1000, "");
    alice.closed();
    // The same person, a new connection: a new user.
    let mut again = server.join("alice", "tea", 1);
    again.send(r#"{"type":"chat","message":"one","id":"m"}"#);
    again.expect_chat("alice", "one");
    again.expect(r#"{"type":"ack","id":"m","room":"tea","seq":2,"timestamp":"<T>"}"#);
}

/// > the others in the room that one is typing: they get it as `system`, at most once in 3 s of a user in a room; it is
/// > never stored, has no answer
#[test]
fn typing_is_told_once_in_a_while_and_never_stored() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "tea", 1);
    let mut bob = server.join("bob", "tea", 2);
    assert_eq!(alice.json()["type"], "user_join");
    for _ in 0..3 {
        bob.send(r#"{"type":"typing"}"#);
    }
    bob.quiet();
    alice.expect(r#"{"type":"system","message":"bob is typing…","timestamp":"<T>"}"#);
    alice.quiet();
    alice.send(r#"{"type":"typing","room":"tea"}"#);
    alice.quiet();
    bob.expect(r#"{"type":"system","message":"alice is typing…","timestamp":"<T>"}"#);
    for client in [&mut alice, &mut bob] {
        client.send(r#"{"type":"join","room":"cake"}"#);
        assert_eq!(client.json()["type"], "joined");
    }
    assert_eq!(alice.json()["type"], "user_join");
    bob.send(r#"{"type":"typing","room":"cake"}"#);
    alice.expect(r#"{"type":"system","message":"bob is typing…","timestamp":"<T>"}"#);
    alice.send(r#"{"type":"history"}"#);
    assert_eq!(alice.json()["newest"], 0);
}

/// > | it sends `{"type":"ping"}` | itself | `pong` |
///
/// > but for `t`, which may be any
///
/// > is answered with a `pong` with the same `t`: a number, or a string of up to 64 bytes.
#[test]
fn a_pong_has_the_pings_t_as_it_was() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "tea", 1);
    let longest = format!("\"{}\"", "t".repeat(64));
    for t in ["0", "-7", "1769862896789", "12.5", "9007199254740993", "\"\"", "\"now\"", "\"é\\\"\\\\\"", &longest] {
        alice.send(&format!(r#"{{"type":"ping","t":{t}}}"#));
        alice.expect(&format!(r#"{{"type":"pong","timestamp":"<T>","t":{t}}}"#));
    }
}

/// > Timestamps are RFC 3339 in UTC with milliseconds: `2026-01-31T12:34:56.789Z`.
#[test]
fn timestamps_are_the_time_of_the_server() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice", "tea", 1);
    let ours = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    let before = ours();
    alice.send(r#"{"type":"ping"}"#);
    let frame = alice.json();
    let after = ours();
    let text = frame["timestamp"].as_str().expect("a timestamp");
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().expect("digits");
    // Days since 1970 by the civil calendar, for dates after March 2000.
    let (mut year, mut month) = (number(0, 4) - 2000, number(5, 7) - 3);
    if month < 0 {
        (year, month) = (year - 1, month + 12);
    }
    let days = 11_017 + 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + number(8, 10) - 1;
    let seconds = days * 86_400 + number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19);
    let theirs = u128::try_from(seconds * 1000 + number(20, 23)).expect("after 1970");
    // A turn's time is read once: a little before or after.
    assert!(before.saturating_sub(100) <= theirs && theirs <= after + 100, "{before} {text} = {theirs} {after}");
}
