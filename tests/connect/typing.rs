//! At a terminal: lines that come in while another is being typed.
//!
//! > Incoming lines never break the line being typed.

use crate::common::client::Client;
use crate::common::server::Server;
use crate::home::Home;
use crate::terminal::{BACKSPACE, CTRL_C, END_KEY, ENTER, HOME_KEY, LEFT, TAB, Terminal, UP};

/// A server, somebody who says something, and a terminal in the same room.
struct Scene {
    _server: Server,
    alice: Client,
    terminal: Terminal,
    /// What is on the screen above the prompt.
    above: Vec<String>,
    _home: Home,
}

impl Scene {
    fn new(columns: u16) -> Self {
        let server = Server::start(&["--rate", "0"]);
        let mut alice = server.connect("alice", "/rooms/tea?name=alice");
        alice.until("the welcome", |frame| frame["type"] == "system");
        let home = Home::new();
        let url = format!("ws://{}", server.address);
        let terminal = Terminal::open(&home, columns, &[&url, "--name", "me", "--room", "tea"]);
        alice.until("me", |frame| frame["type"] == "user_join");
        terminal.until("the prompt", |rows| rows.last().is_some_and(|row| row == "tea >"));
        let mut above = terminal.rows();
        above.pop();
        assert!(above[0].starts_with("12:03 * connected to ws://127.0.0.1:"), "{above:?}");
        Self { _server: server, alice, terminal, above, _home: home }
    }

    /// Alice says something, which appears above the line that is being typed.
    #[track_caller]
    fn comes(&mut self, message: &str, before: &str, after: &str) {
        self.alice.send(message);
        self.alice.expect_chat("alice", message);
        self.appears(&format!("12:03 alice: {message}"));
        self.terminal.expect_typed(&self.above, "tea > ", before, after);
    }

    /// A line is above the prompt now.
    fn appears(&mut self, line: &str) {
        let columns = self.terminal.look(|screen| usize::from(screen.size().1.get()));
        let mut rest: Vec<char> = line.chars().collect();
        while rest.len() > columns {
            self.above.push(rest.drain(..columns).collect::<String>().trim_end().to_owned());
        }
        self.above.push(rest.into_iter().collect());
    }

    /// Types something, and sees it.
    #[track_caller]
    fn types(&mut self, keys: &str, before: &str, after: &str) {
        self.terminal.types(keys);
        self.terminal.expect_typed(&self.above, "tea > ", before, after);
    }

    /// Enter: the line vanishes where it was typed, and comes back as everybody sees it.
    #[track_caller]
    fn says(&mut self, message: &str) {
        self.terminal.types(ENTER);
        self.alice.expect_chat("me", message);
    }
}

/// At both widths, with a text that takes several rows: a line comes in after each key.
fn types_while_lines_come(columns: u16, text: &str) {
    let mut scene = Scene::new(columns);
    let mut typed = String::new();
    for (number, key) in text.chars().enumerate() {
        typed.push(key);
        scene.types(&key.to_string(), &typed, "");
        if number % 7 == 0 || typed.len() > text.len() - 8 {
            scene.comes(&format!("line {number}"), &typed, "");
        }
    }
    scene.says(text);
    let last = scene.terminal.rows();
    scene.terminal.until("the own line", |rows| {
        rows.concat().contains("12:03 me:") && rows.last().is_some_and(|row| row == "tea >")
    });
    let shown = scene.terminal.rows().concat();
    let bare = |text: &str| text.replace(' ', "");
    assert!(bare(&shown).ends_with(&bare(&format!("12:03 me: {text}tea >"))), "{last:#?}");
    assert_eq!(bare(&shown).matches(&bare(text)).count(), 1, "it stands there once:\n{shown}");
    assert!(scene.terminal.noises().is_empty(), "{:?}", scene.terminal.noises());
    scene.terminal.types("quit\r");
    assert_eq!(scene.terminal.ended(), Some(0));
}

#[test]
fn ascii_at_80_columns() {
    types_while_lines_come(
        80,
        "the quick brown fox jumps over the lazy dog and then over the next one, which is awake and wonders",
    );
}

#[test]
fn ascii_at_40_columns() {
    types_while_lines_come(
        40,
        "the quick brown fox jumps over the lazy dog and then over the next one, which is awake",
    );
}

#[test]
fn wide_characters_at_80_columns() {
    types_while_lines_come(80, "一二三四五六七八九十a一二三四五六七八九十一二三四五六七八九十一二三四五六七茶x");
}

#[test]
fn wide_characters_at_40_columns() {
    types_while_lines_come(40, "一二三四五六七八九十a一二三四五六七八九十一二三四五六茶x");
    types_while_lines_come(40, "茶茶茶茶茶茶茶茶茶茶茶茶茶茶茶茶茶");
}

#[test]
fn combining_characters_and_emoji() {
    types_while_lines_come(
        40,
        "e\u{301}e\u{301}e\u{301} caf\u{e9} 🦀🦀 e\u{301}🦀e\u{301}🦀e\u{301}🦀e\u{301}🦀e\u{301}🦀e\u{301}e\u{301}e\u{301}e\u{301} end",
    );
    types_while_lines_come(80, "👩\u{200d}🚀 and e\u{301} and 🦀");
}

/// In the middle of a line that takes three rows.
#[test]
fn editing_in_the_middle_while_lines_come() {
    for columns in [80, 40] {
        let mut scene = Scene::new(columns);
        let width = usize::from(columns);
        let text: String = "abcdefghij".repeat(width / 4);
        scene.types(&text, &text, "");
        scene.comes("one", &text, "");
        scene.types(HOME_KEY, "", &text);
        scene.comes("two", "", &text);
        scene.types("茶", "茶", &text);
        scene.comes("three", "茶", &text);
        scene.types(END_KEY, &format!("茶{text}"), "");
        let (before, after) = text.split_at(text.len() - width);
        scene.types(&LEFT.repeat(width), &format!("茶{before}"), after);
        scene.comes("four", &format!("茶{before}"), after);
        scene.types(BACKSPACE, &format!("茶{}", &before[..before.len() - 1]), after);
        scene.comes("five", &format!("茶{}", &before[..before.len() - 1]), after);
        scene.says(&format!("茶{}{after}", &before[..before.len() - 1]));
    }
}

/// Typed without waiting for the screen, while lines come without waiting for the keys: at the end everything stands there
/// once, in order.
#[test]
fn a_burst_of_lines_and_of_keys_at_once() {
    for columns in [80, 40] {
        let mut scene = Scene::new(columns);
        let text = "茶1 二 ".repeat(20);
        let lines = 300;
        scene.alice.send_all((0..lines).map(|number| format!(r#"{{"type":"chat","message":"burst {number}"}}"#)));
        for key in text.chars() {
            scene.terminal.types(&key.to_string());
        }
        for number in 0..lines {
            scene.alice.expect_chat("alice", &format!("burst {number}"));
            scene.appears(&format!("12:03 alice: burst {number}"));
        }
        scene.terminal.expect_typed(&scene.above, "tea > ", &text, "");
        scene.says(text.trim_end());
        scene.terminal.expect("12:03 me: 茶1 二 茶1 二");
    }
}

/// Lines typed and sent while others come: each stands there once, in the order of the room.
#[test]
fn many_lines_are_said_while_many_come() {
    let mut scene = Scene::new(80);
    for number in 0..60 {
        scene.terminal.types(&format!("mine {number}\r"));
        scene.alice.send(&format!("hers {number}"));
    }
    let mut order = Vec::new();
    while order.len() < 120 {
        let frame = scene.alice.json();
        let word = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
        order.push(format!("12:03 {}: {}", word("from"), word("message")));
    }
    for line in &order {
        scene.appears(line);
    }
    scene.terminal.expect_typed(&scene.above, "tea > ", "", "");
}

/// After a change of width the typed line is drawn anew at once, and lines that come then stand above it. (The line editor hears of the
/// width by a signal. A line that is drawn in between would be wiped out with what is drawn anew, so each is waited for.)
#[test]
fn the_width_changes_while_typing() {
    let mut scene = Scene::new(80);
    let text = "0123456789".repeat(9);
    scene.types(&text, &text, "");
    for (columns, line) in [(40, "after the change"), (80, "and back")] {
        let whole: Vec<char> = format!("tea > {text}").chars().collect();
        let rows: Vec<String> = whole.chunks(columns.into()).map(|row| row.iter().collect()).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        scene.terminal.resize(columns);
        scene.terminal.expect_last(&rows);
        scene.alice.send(line);
        scene.terminal.expect(&format!("12:03 alice: {line}"));
        scene.terminal.expect_last(&rows);
        scene.alice.expect_chat("alice", line);
    }
    scene.says(&text);
}

/// Ctrl-C: clears the line; Up: earlier lines; Tab completes commands, names and rooms.
#[test]
fn keys() {
    let mut scene = Scene::new(80);
    scene.types("nonsense", "nonsense", "");
    scene.types(CTRL_C, "", "");
    scene.types("first", "first", "");
    scene.says("first");
    scene.appears("12:03 me: first");
    scene.types("second", "second", "");
    scene.says("second");
    scene.appears("12:03 me: second");
    scene.types(UP, "second", "");
    scene.types(UP, "first", "");
    scene.comes("meanwhile", "first", "");
    scene.says("first");
    scene.appears("12:03 me: first");
    scene.types("/w", "/w", "");
    scene.types(TAB, "/who", "");
    scene.types(CTRL_C, "", "");
    scene.types("al", "al", "");
    scene.types(TAB, "alice: ", "");
    scene.comes("yes?", "alice: ", "");
    scene.types("hi", "alice: hi", "");
    scene.says("alice: hi");
    scene.appears("12:03 me: alice: hi");
    scene.types("/msg A", "/msg A", "");
    scene.types(TAB, "/msg alice ", "");
    scene.types(CTRL_C, "", "");
    // Several: they are listed, and the line stands below them.
    scene.terminal.types("/h");
    scene.terminal.types(TAB);
    scene.terminal.until("the list", |rows| {
        rows.last().is_some_and(|row| row == "tea > /h")
            && rows[rows.len() - 2].split_whitespace().eq(["/history", "/help"])
    });
    assert!(scene.terminal.noises().is_empty(), "{:?}", scene.terminal.noises());
}
