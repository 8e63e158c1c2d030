//! Who one is, across restarts of the client.
//!
//! > The session secret is kept per server in the user's state folder with mode 0600, so that one comes back as oneself;
//! > `--guest` does not.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::common::server::Server;
use crate::home::Home;
use crate::pipe::{Ended, Pipe};
use crate::terminal::Terminal;

/// The `welcome` that a client printed.
#[track_caller]
fn welcome(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let line = ended.output.lines().next().expect("a frame");
    let frame: Value = serde_json::from_str(line).expect("a frame");
    assert_eq!(frame["type"], "welcome");
    frame
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

fn files(home: &Home) -> Vec<String> {
    let entries = std::fs::read_dir(home.sessions()).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn one_comes_back_as_oneself_and_nobody_else_may_read_why() {
    let (server, other) = (Server::start(&[]), Server::start(&[]));
    let home = Home::new();
    let url = format!("ws://{}", server.address);
    let first = welcome(&Pipe::run(&home, &[&url, "--json", "--name", "ann"], ""));
    let second = welcome(&Pipe::run(&home, &[&url, "--json"], ""));
    assert_eq!((&first["user"], &first["name"]), (&second["user"], &second["name"]));
    assert_eq!(second["name"], "ann");
    assert_eq!(mode(&home.sessions()), 0o700);
    let session = format!("ws+127.0.0.1+{}", server.address.port());
    assert!(files(&home).contains(&session), "{:?}", files(&home));
    for file in files(&home) {
        assert_eq!(mode(&home.sessions().join(&file)), 0o600, "{file}");
    }
    // At another server one is somebody else, and its secret is kept in a file of its own.
    let elsewhere = welcome(&Pipe::run(&home, &[&format!("ws://{}", other.address), "--json"], ""));
    assert_ne!(elsewhere["user"], first["user"]);
    let read =
        |port: u16| std::fs::read_to_string(home.sessions().join(format!("ws+127.0.0.1+{port}"))).expect("a secret");
    assert_ne!(read(server.address.port()), read(other.address.port()));
    let third = welcome(&Pipe::run(&home, &[&url, "--json", "--name", "Ann Lee"], ""));
    let fourth = welcome(&Pipe::run(&home, &[&url, "--json"], ""));
    assert_eq!((&fourth["user"], &fourth["name"]), (&first["user"], &third["name"]));
    assert_eq!(fourth["name"], "Ann Lee");
    let other_name = welcome(&Pipe::run(&home, &[&format!("{url}/?name=lee"), "--json"], ""));
    assert_eq!(other_name["name"], "lee", "what the address says counts more");
}

/// README.md: "a private line; who has left gets it on coming back".
#[test]
fn who_has_left_finds_private_lines_on_coming_back() {
    let server = Server::start(&["--rate", "0"]);
    let url = format!("ws://{}", server.address);
    let (ann, bob) = (Home::new(), Home::new());
    let ann = Terminal::open(&ann, 100, &[&url, "--name", "ann"]);
    ann.expect_last(&["lobby >"]);
    let mut there = Terminal::open(&bob, 100, &[&url, "--name", "bob"]);
    ann.expect("12:03 * bob joined");
    there.types("quit\r");
    assert_eq!(there.ended(), Some(0));
    ann.expect("12:03 * bob left");
    ann.types("/msg Bob psst\r/msg carol psst\r");
    ann.expect("12:03 * Bob has left, and gets it on coming back as the same user");
    ann.expect("12:03 (private) ann \u{2192} bob: psst");
    ann.expect("12:03 ! not sent: (private) \u{2192} carol: psst (");
    let back = Terminal::open(&bob, 100, &[&url]);
    back.expect("12:03 (private) ann \u{2192} bob: psst");
    ann.types("/msg bob again\r");
    back.expect("12:03 (private) ann \u{2192} bob: again");
}

#[test]
fn a_guest_is_somebody_new_and_leaves_nothing() {
    let server = Server::start(&[]);
    let home = Home::new();
    let url = format!("ws://{}", server.address);
    let guest = welcome(&Pipe::run(&home, &[&url, "--json", "--guest"], ""));
    let entries: Vec<_> = std::fs::read_dir(home.folder()).expect("a home").collect();
    assert!(entries.is_empty(), "{entries:?}");
    let kept = welcome(&Pipe::run(&home, &[&url, "--json"], ""));
    let before =
        std::fs::read(home.sessions().join(format!("ws+127.0.0.1+{}", server.address.port()))).expect("a secret");
    let again = welcome(&Pipe::run(&home, &[&url, "--json", "--guest"], ""));
    let after =
        std::fs::read(home.sessions().join(format!("ws+127.0.0.1+{}", server.address.port()))).expect("a secret");
    assert!(guest["user"] != kept["user"] && again["user"] != kept["user"]);
    assert_eq!(before, after);
}

/// Two at once: the second one is a guest, and says so; the first one stays.
#[test]
fn two_at_once() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.connect("alice", "/?name=alice");
    alice.until("the welcome", |frame| frame["type"] == "system");
    let home = Home::new();
    let url = format!("ws://{}", server.address);
    let mut first = Pipe::start(&home, &[&url, "--name", "first"]);
    let came = alice.until("the first", |frame| frame["type"] == "user_join");
    let second = Pipe::run(&home, &[&url, "--name", "second"], "hi\n");
    assert_eq!(second.code, Some(0));
    assert_eq!(second.errors, "chinwag: you are connected from another terminal already; here you are a guest\n");
    let other = alice.until("the second", |frame| frame["type"] == "user_join");
    assert_eq!(other["name"], "second");
    assert_ne!(came["user"], other["user"]);
    first.say("still here");
    alice.until("the first one's line", |frame| frame["message"] == "still here" && frame["from"] == "first");
    assert_eq!(first.ended().code, Some(0));
}

/// 4500: a second connection of a user takes over. Here with a copy of the secret, as two machines may have it.
#[test]
fn taken_over() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.connect("alice", "/?name=alice");
    alice.until("the welcome", |frame| frame["type"] == "system");
    let (home, copy) = (Home::new(), Home::new());
    let url = format!("ws://{}", server.address);
    let mut first = Pipe::start(&home, &[&url, "--name", "me"]);
    alice.until("the first", |frame| frame["type"] == "user_join");
    first.say("here");
    first.expect("me: here\n");
    std::fs::create_dir_all(copy.sessions()).expect("a folder");
    for file in files(&home) {
        std::fs::copy(home.sessions().join(&file), copy.sessions().join(&file)).expect("it can be copied");
    }
    let mut second = Pipe::start(&copy, &[&url]);
    let ended = first.ends();
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    assert!(
        ended.errors.starts_with("chinwag: the server closed the connection") && ended.errors.contains("(4500)"),
        "{}",
        ended.errors
    );
    second.say("it is me");
    alice.until("the second one's line", |frame| frame["message"] == "it is me" && frame["from"] == "me");
    assert_eq!(second.ended().code, Some(0));
}

/// A state folder that cannot be written: one is somebody new each time, is told so once, and all else works.
#[test]
fn nowhere_to_keep_it() {
    let server = Server::start(&[]);
    let home = Home::new();
    std::fs::write(home.folder().join("state"), "a file where the folder would be").expect("a file");
    let ended = Pipe::run(&home, &[&format!("ws://{}", server.address)], "hi\n");
    assert_eq!(ended.code, Some(0));
    let why = format!("chinwag: next time you will be somebody else: {}: Not a directory\n", home.sessions().display());
    assert_eq!(ended.errors, why);
    assert!(ended.output.ends_with(": hi\n"), "{}", ended.output);
}

/// A secret that is none, or somebody's of another server, is replaced.
#[test]
fn a_secret_that_is_none() {
    let server = Server::start(&[]);
    let home = Home::new();
    let url = format!("ws://{}", server.address);
    std::fs::create_dir_all(home.sessions()).expect("a folder");
    let file = home.sessions().join(format!("ws+127.0.0.1+{}", server.address.port()));
    for nonsense in [&b""[..], b"nonsense", b"\xff\xfe", &[b'x'; 10_000], b"a b\nc"] {
        std::fs::write(&file, nonsense).expect("a file");
        let first = welcome(&Pipe::run(&home, &[&url, "--json"], ""));
        assert_ne!(std::fs::read(&file).expect("a secret"), nonsense, "it is kept: {}", nonsense.escape_ascii());
        assert_eq!(mode(&file), 0o600);
        let second = welcome(&Pipe::run(&home, &[&url, "--json"], ""));
        assert_eq!(first["user"], second["user"]);
    }
}
