//! In a pipe: what is piped in arrives once and in order, and what comes out is bare lines, or frames.
//!
//! > `--plain`, or a non-terminal on either side, gives bare lines without colour or prompts: everything piped in is
//! > acknowledged before it exits 0; exit 1 and a reason if not.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use serde_json::Value;

use crate::common::client::Client;
use crate::common::eventually;
use crate::common::server::Server;
use crate::home::Home;
use crate::pipe::{Pipe, code_of, command};
use crate::script::Script;

/// A server, and somebody who hears everything in `lobby`.
fn scene() -> (Server, Client, String, Home) {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.connect("alice", "/?name=alice");
    alice.until("the welcome", |frame| frame["type"] == "system");
    let url = format!("ws://{}", server.address);
    (server, alice, url, Home::new())
}

/// The next lines of others in the room: the names and words.
fn heard(client: &mut Client, lines: usize) -> Vec<(String, String)> {
    let mut heard = Vec::new();
    while heard.len() < lines {
        let frame = client.json();
        if frame["type"] == "chat" {
            let word = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
            heard.push((word("from"), word("message")));
        }
    }
    heard
}

/// Nothing else was said: what comes next is what is said now.
#[track_caller]
fn nothing_more(client: &mut Client) {
    client.send("the end");
    assert_eq!(heard(client, 1), [("alice".to_owned(), "the end".to_owned())]);
}

/// The lines without their date and time.
#[track_caller]
fn undated(output: &str) -> Vec<String> {
    let undate = |line: &str| {
        let like = b"0000-00-00 00:00:00 ";
        let is_dated = line.len() > like.len()
            && line
                .bytes()
                .zip(like)
                .all(|(byte, like)| if *like == b'0' { byte.is_ascii_digit() } else { byte == *like });
        assert!(is_dated, "a line without a date: {line:?} in {output:?}");
        line[like.len()..].to_owned()
    };
    output.lines().map(undate).collect()
}

/// `echo hi | chinwag connect`
#[test]
fn one_line() {
    let (_server, mut alice, url, home) = scene();
    let ended = Pipe::run(&home, &[&url, "--name", "cron"], "hi\n");
    assert_eq!((ended.code, &*ended.errors), (Some(0), ""));
    assert_eq!(heard(&mut alice, 1), [("cron".to_owned(), "hi".to_owned())]);
    assert_eq!(alice.json()["type"], "user_leave", "it said goodbye");
    nothing_more(&mut alice);
    assert_eq!(undated(&ended.output), ["cron: hi"]);
}

/// Nothing to say is no mistake; neither is a last line without an end.
#[test]
fn no_line_and_half_a_line() {
    let (_server, mut alice, url, home) = scene();
    let ended = Pipe::run(&home, &[&url], "");
    assert_eq!((ended.code, &*ended.errors), (Some(0), ""));
    let ended = Pipe::run(&home, &[&url, "--name", "b"], "\n\nhalf");
    assert_eq!((ended.code, &*ended.errors), (Some(0), ""));
    assert_eq!(heard(&mut alice, 1), [("b".to_owned(), "half".to_owned())]);
    nothing_more(&mut alice);
}

#[test]
fn a_thousand_lines_arrive_in_order_and_once() {
    let (_server, mut alice, url, home) = scene();
    let lines: Vec<String> = (0..1000).map(|number| format!("line {number} 茶")).collect();
    let ended = Pipe::run(&home, &[&url, "--name", "bot"], &(lines.join("\n") + "\n"));
    assert_eq!((ended.code, &*ended.errors), (Some(0), ""));
    let arrived: Vec<String> = heard(&mut alice, 1000).into_iter().map(|(_, message)| message).collect();
    assert_eq!(arrived, lines);
    nothing_more(&mut alice);
    let shown: Vec<String> = lines.iter().map(|line| format!("bot: {line}")).collect();
    assert_eq!(undated(&ended.output), shown);
}

/// Over the rate the server reads no more: the client waits, and says nothing of it.
#[test]
fn faster_than_the_server_takes_it() {
    let server = Server::start(&["--rate", "200"]);
    let mut alice = server.connect("alice", "/?name=alice");
    let home = Home::new();
    let lines: Vec<String> = (0..800).map(|number| number.to_string()).collect();
    let ended = Pipe::run(&home, &[&format!("ws://{}", server.address)], &lines.join("\n"));
    assert_eq!((ended.code, &*ended.errors), (Some(0), ""));
    let arrived: Vec<String> = heard(&mut alice, 800).into_iter().map(|(_, message)| message).collect();
    assert_eq!(arrived, lines);
}

/// `tail -f log | chinwag connect`: each line arrives when it is written, though the input has not ended.
#[test]
fn lines_with_pauses() {
    let (_server, mut alice, url, home) = scene();
    let mut pipe = Pipe::start(&home, &[&url, "--name", "app"]);
    for number in 0..5 {
        // Half a line is no line yet.
        pipe.write(format!("line {number} is ").as_bytes());
        alice.send(&format!("between {number}"));
        assert_eq!(heard(&mut alice, 1)[0].1, format!("between {number}"));
        pipe.write(b"whole\n");
        assert_eq!(heard(&mut alice, 1), [("app".to_owned(), format!("line {number} is whole"))]);
        pipe.expect(&format!("app: line {number} is whole\n"));
    }
    assert_eq!(pipe.ended().code, Some(0));
}

/// What is piped in is said, whatever it is: a log cannot make the client leave.
#[test]
fn commands_are_said_as_they_are() {
    let (_server, mut alice, url, home) = scene();
    let ended = Pipe::run(&home, &[&url], "/quit\nquit\n/name mallory\n//x\n\x1b[2Jclear\n\u{202e}abc\n");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let said: Vec<String> = heard(&mut alice, 6).into_iter().map(|(_, message)| message).collect();
    assert_eq!(said, ["/quit", "quit", "/name mallory", "//x", "\x1b[2Jclear", "\u{202e}abc"]);
    assert!(!ended.output.contains(['\x1b', '\u{202e}']), "{:?}", ended.output);
}

#[test]
fn bytes_that_are_no_text() {
    let (_server, mut alice, url, home) = scene();
    let mut pipe = Pipe::start(&home, &[&url, "--name", "bot"]);
    pipe.write(b"caf\xe9\n\xff\xfe\nok\r\n");
    assert_eq!(pipe.ended().code, Some(0));
    let said: Vec<String> = heard(&mut alice, 3).into_iter().map(|(_, message)| message).collect();
    assert_eq!(said, ["caf\u{fffd}", "\u{fffd}\u{fffd}", "ok"]);
}

/// Long lines above the server's limit are refused with a clear line, and exit code 1 at the end.
#[test]
fn a_line_that_is_too_long_is_refused_and_the_others_arrive() {
    let (_server, mut alice, url, home) = scene();
    let long = "x".repeat(70_000);
    let ended = Pipe::run(&home, &[&url], &format!("before\n{long}\nafter\n"));
    assert_eq!(ended.code, Some(1));
    let lines: Vec<&str> = ended.errors.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("chinwag: not sent, too long ("), "{lines:?}");
    assert!(lines[0].contains("65536 are allowed") && lines[0].len() < 200, "{lines:?}");
    assert_eq!(lines[1], "chinwag: 1 line did not arrive, or perhaps not");
    let said: Vec<String> = heard(&mut alice, 2).into_iter().map(|(_, message)| message).collect();
    assert_eq!(said, ["before", "after"]);
}

/// A log file: what others say and do, each with its date, and nothing of the client's own.
#[test]
fn a_log_file() {
    let (server, mut alice, url, home) = scene();
    let pipe = Pipe::start(&home, &[&url, "--name", "log", "--room", "lobby", "--room", "tea"]);
    alice.until("the log", |frame| frame["type"] == "user_join");
    alice.send("one\ntwo");
    pipe.expect("two\n");
    let _bob = server.connect("bob", "/rooms/tea?name=bob");
    pipe.expect("bob joined\n");
    alice.send(r#"{"type":"private","to":"log","message":"psst"}"#);
    pipe.expect("psst\n");
    pipe.signal("INT");
    let ended = pipe.ended();
    assert_eq!((ended.code, &*ended.errors), (Some(0), ""));
    let output = ended.output.replace("\n    two", "\\n    two");
    let lines = undated(&output);
    assert_eq!(
        lines,
        ["[lobby] alice: one\\n    two", "* [tea] bob joined", "(private) alice \u{2192} log: psst"],
        "{output}"
    );
}

/// `--json` prints the frames, one a line, and keeps the secret.
#[test]
fn frames() {
    let (_server, mut alice, url, home) = scene();
    let mut pipe = Pipe::start(&home, &[&url, "--name", "bot", "--json"]);
    alice.until("the bot", |frame| frame["type"] == "user_join");
    alice.send("one\ntwo");
    pipe.say("mine");
    pipe.expect("mine");
    let ended = pipe.ended();
    assert_eq!((ended.code, &*ended.errors), (Some(0), ""));
    assert!(!ended.output.contains("\"session\""), "the secret is printed: {}", ended.output);
    let frames: Vec<Value> =
        ended.output.lines().map(|line| serde_json::from_str(line).expect("each line is a frame")).collect();
    let of = |kind: &'static str| frames.iter().filter(move |frame| frame["type"] == kind);
    assert_eq!(of("welcome").count(), 1);
    assert_eq!(of("joined").map(|frame| &frame["room"]).collect::<Vec<_>>(), ["@me", "lobby"]);
    let said: Vec<&Value> = of("chat").map(|frame| &frame["message"]).collect();
    assert_eq!(said, ["one\ntwo", "mine"]);
    assert_eq!(of("ack").count(), 1);
}

/// `chinwag connect | head -1`: it ends, quietly, when nobody reads what it writes.
#[test]
fn standard_output_is_closed() {
    let (_server, mut alice, url, _home) = scene();
    for flags in [&[][..], &["--json"]] {
        let home = Home::new();
        let mut child = command(&home, &[&url, "--name"])
            .arg(format!("reader{}", flags.len()))
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client can be started");
        alice.until("the reader", |frame| frame["type"] == "user_join");
        alice.send("first");
        alice.expect_chat("alice", "first");
        let mut output = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        drop(output);
        // A child that is being started beside this one may hold its end of the pipe for a moment, too.
        let mut code = None;
        eventually("the client ends", || {
            alice.send("second");
            alice.expect_chat("alice", "second");
            code = child.try_wait().expect("a child can be waited for");
            code.is_some()
        });
        assert_eq!(code.and_then(|status| status.code()), Some(0));
        let mut errors = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().expect("it was piped"), &mut errors).expect("text");
        assert_eq!(errors, "");
    }
}

/// With a standard output that takes nothing, as a full disk: exit 1 and the reason.
#[test]
fn standard_output_is_full() {
    if !std::path::Path::new("/dev/full").exists() {
        eprintln!("there is no /dev/full here: nothing to test");
        return;
    }
    let (_server, _alice, url, home) = scene();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("it can be opened");
    let mut child = command(&home, &[&url, "--json"])
        .stdin(Stdio::piped())
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client can be started");
    let _ = child.stdin.as_mut().expect("it was piped").write_all(b"hi\n");
    assert_eq!(code_of(&mut child), Some(1));
    let mut errors = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().expect("it was piped"), &mut errors).expect("text");
    assert!(errors.starts_with("chinwag: cannot write: ") && errors.lines().count() == 1, "{errors}");
}

/// Nothing is acknowledged before the server has said so, and the client stays until then.
#[test]
fn it_stays_until_the_last_acknowledgement() {
    let script = Script::listen();
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[&script.url()]);
    let mut peer = script.welcome();
    pipe.write(b"one\ntwo\n");
    let (one, two) = (peer.next_line(), peer.next_line());
    assert_eq!((&*one.0, &*two.0), ("one", "two"));
    let ended = std::thread::scope(|scope| {
        let ended = scope.spawn(move || pipe.ended());
        peer.acknowledge(&one.0, &one.1);
        peer.chat("alice", "still here?");
        // It lives as long as it can be asked something.
        peer.acknowledge(&two.0, &two.1);
        peer.until_end();
        ended.join().expect("it ends")
    });
    assert_eq!((ended.code, &*ended.errors), (Some(0), ""));
    assert_eq!(undated(&ended.output), ["me: one", "alice: still here?", "me: two"]);
}

/// A line that the server refuses for good did not arrive.
#[test]
fn a_refused_line_is_told_and_the_exit_code_is_1() {
    let script = Script::listen();
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[&script.url()]);
    let mut peer = script.welcome();
    pipe.say("one");
    let (_, id) = peer.next_line();
    peer.say(&serde_json::json!({"type": "error", "code": "forbidden", "message": "not here\u{7}", "retry": false,
        "room": "lobby", "id": id}));
    peer.answer_goodbye();
    let ended = pipe.ended();
    assert_eq!(ended.code, Some(1));
    let lines: Vec<&str> = ended.errors.lines().collect();
    assert_eq!(
        lines,
        ["chinwag: not sent: one (not here\u{2407}, forbidden)", "chinwag: 1 line did not arrive, or perhaps not"]
    );
}
