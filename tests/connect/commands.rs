//! At a terminal: each command once, and the client's own words in both languages.

use crate::common::client::Client;
use crate::common::server::Server;
use crate::home::Home;
use crate::script::Script;
use crate::terminal::{TAB, Terminal};

/// A server, alice in `tea`, and a terminal there.
fn scene(home: &Home, more: &[&str]) -> (Server, Client, Terminal) {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.connect("alice", "/rooms/tea?name=alice");
    alice.until("the welcome", |frame| frame["type"] == "system");
    let url = format!("ws://{}/rooms/tea?name=me", server.address);
    let terminal = Terminal::open(home, 120, &[&[&*url], more].concat());
    alice.until("me", |frame| frame["type"] == "user_join");
    terminal.until("the prompt", |rows| rows.last().is_some_and(|row| row == "tea >"));
    (server, alice, terminal)
}

#[test]
fn each_command() {
    let home = Home::new();
    let (_server, mut alice, terminal) = scene(&home, &[]);
    let enter = |line: &str| terminal.types(&format!("{line}\r"));
    enter("/name Ann Lee");
    assert_eq!(alice.json()["message"], "me is now known as Ann Lee");
    terminal.expect("12:03 * me is now known as Ann Lee");
    enter("/msg alice psst");
    assert_eq!(alice.json()["message"], "Ann Lee (private): psst");
    terminal.expect("12:03 (private) Ann Lee \u{2192} alice: psst");
    enter("/msg nobody psst");
    terminal.expect("12:03 ! not sent: (private) \u{2192} nobody: psst (");
    enter("/who");
    terminal.expect("12:03 * 2 in tea: alice, Ann Lee");
    enter("/join den");
    terminal.expect_last(&["12:03 * you speak in den; your rooms: tea, den", "den >"]);
    enter("hello den");
    terminal.expect("12:03 [den] Ann Lee: hello den");
    enter("/room tea");
    terminal.expect_last(&["12:03 * you speak in tea; your rooms: tea, den", "tea >"]);
    enter("/room nowhere");
    terminal.expect("12:03 * you are not in nowhere; /join nowhere");
    enter("/leave den");
    terminal.expect_last(&["12:03 * you speak in tea; your rooms: tea", "tea >"]);
    enter("//quit");
    alice.expect_chat("Ann Lee", "/quit");
    enter("/nonsense");
    terminal.expect("there is no /nonsense: nothing was sent");
    enter("/msg");
    terminal.expect("/msg NAME TEXT");
    enter("/join bad room");
    terminal.expect("(room_invalid)");
    enter("/leave");
    terminal.expect_last(&["12:03 * you are in no room; /join ROOM", ">"]);
    assert_eq!(alice.json()["type"], "user_leave");
    enter("to nobody");
    terminal.expect("12:03 ! not sent: to nobody");
    enter("/help");
    terminal.expect("say /TEXT; Tab completes");
    alice.quiet();
}

/// The last 20 lines come at the start, older ones when they are asked for, each line once.
#[test]
fn history() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.connect("alice", "/rooms/tea?name=alice");
    alice.until("the welcome", |frame| frame["type"] == "system");
    for number in 0..60 {
        alice.send(&format!("line {number:02}"));
        alice.expect_chat("alice", &format!("line {number:02}"));
    }
    let home = Home::new();
    let terminal = Terminal::open(&home, 100, &[&format!("ws://{}/rooms/tea", server.address)]);
    let range = |from: usize, to: usize, mark: &str| {
        (from..to).map(|number| format!("12:03 {mark}alice: line {number:02}")).collect::<Vec<_>>()
    };
    let expect = |mut lines: Vec<String>| {
        lines.push("tea >".to_owned());
        terminal.expect_last(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    };
    expect(range(40, 60, ""));
    terminal.types("/history\r");
    expect(range(20, 40, "\u{2191} "));
    terminal.types("/history 5\r");
    expect(range(15, 20, "\u{2191} "));
    terminal.types("/history 200\r");
    expect(range(0, 15, "\u{2191} "));
    terminal.types("/history\r");
    terminal.expect("12:03 * there are no older lines in tea");
    terminal.types("/history nonsense\r");
    terminal.expect("older lines of the room");
    for number in 0..60 {
        let shown = terminal.rows().iter().filter(|row| row.ends_with(&format!("line {number:02}"))).count();
        assert_eq!(shown, 1, "line {number}");
    }
}

/// A name with spaces is completed with its quotes, and rooms are completed.
#[test]
fn completion_of_names_and_rooms() {
    let home = Home::new();
    let (server, _alice, terminal) = scene(&home, &["--room", "tea", "--room", "den"]);
    let mut bob = server.connect("bob", "/rooms/tea?name=Bob%20Lee");
    bob.until("the welcome", |frame| frame["type"] == "system");
    bob.send("hi");
    terminal.expect("[tea] Bob Lee: hi");
    terminal.types("/msg bo");
    terminal.types(TAB);
    terminal.expect_last(&["tea > /msg \"Bob Lee\""]);
    terminal.types("psst\r");
    bob.until("the private line", |frame| frame["message"] == "me (private): psst");
    terminal.expect("(private) me \u{2192} Bob Lee: psst");
    terminal.types("/room d");
    terminal.types(TAB);
    terminal.expect_last(&["tea > /room den"]);
    terminal.types("\r");
    terminal.expect_last(&["den >"]);
}

/// own unsent lines marked until acknowledged
#[test]
fn own_lines_are_marked_until_they_are_acknowledged() {
    let home = Home::new();
    let script = Script::listen();
    let terminal = Terminal::open(&home, 100, &[&script.url()]);
    let mut peer = script.welcome();
    terminal.expect_last(&["lobby >"]);
    terminal.types("one\rtwo\r");
    let (one, two) = (peer.next_line(), peer.next_line());
    terminal.expect_last(&["lobby\u{22ef}2"]);
    terminal.expect_last(&["12:03 \u{22ef} one", "12:03 \u{22ef} two", "lobby\u{22ef}2"]);
    peer.acknowledge(&one.0, &one.1);
    terminal.expect_last(&["12:03 me: one", "lobby\u{22ef}1"]);
    peer.acknowledge(&two.0, &two.1);
    terminal.expect_last(&["12:03 me: one", "12:03 me: two", "lobby >"]);
    terminal.types("/msg \"Ann Lee\" psst\r");
    assert_eq!(peer.next()["type"], "private");
    terminal.expect_last(&["12:03 \u{22ef} (private) \u{2192} Ann Lee: psst", "lobby\u{22ef}1"]);
}

/// English, or Chinese with `--lang zh` or a Chinese locale
#[test]
fn the_persons_language() {
    for (locale, flags, words) in [
        ("C.UTF-8", &[][..], ["connected to", "change your name"]),
        ("zh_CN.UTF-8", &[], ["已连接到", "改名"]),
        ("C.UTF-8", &["--lang", "zh"], ["已连接到", "改名"]),
        ("zh_CN.UTF-8", &["--lang", "en"], ["connected to", "change your name"]),
    ] {
        let home = Home::of_locale(locale);
        let (_server, _alice, mut terminal) = scene(&home, flags);
        terminal.expect(words[0]);
        terminal.types("/help\r");
        terminal.expect(words[1]);
        terminal.types("quit\r");
        assert_eq!(terminal.ended(), Some(0));
    }
}

/// Colours are the person's choice.
#[test]
fn colours() {
    let home = Home::new();
    let (_server, mut alice, terminal) = scene(&home, &[]);
    alice.send("coloured");
    terminal.expect("12:03 alice: coloured");
    let colour_of = |terminal: &Terminal, part: &str| {
        terminal.look(|screen| {
            let (row, text) =
                (0..).zip(screen.rows(0, 120)).find(|(_, text)| text.contains(part)).expect("the row is there");
            let column = u16::try_from(text.find(part).expect("it is in the row")).expect("a column");
            screen.cell(row, column).expect("a cell").fgcolor()
        })
    };
    assert_ne!(colour_of(&terminal, "alice: coloured"), vt100::Color::Default);
    assert_eq!(colour_of(&terminal, "coloured"), vt100::Color::Default);
}
