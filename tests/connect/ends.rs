//! How a client ends: one clear line and exit code 1, or none and 0; and the terminal is given back in any case.
//!
//! > Invalid URL, refused connection, a server that is no WebSocket, a final close: one clear line, exit 1.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::json;

use crate::common::server::Server;
use crate::home::Home;
use crate::pipe::{Ended, Pipe};
use crate::script::{Peer, Script, joined, welcome};
use crate::terminal::{CTRL_C, CTRL_D, CTRL_Z, ENTER, Terminal};

/// It ended with exit code 1 and this line as the only one.
#[track_caller]
fn assert_reason(ended: &Ended, begins: &str, has: &str) {
    assert_eq!((ended.code, &*ended.output), (Some(1), ""), "{ended:?}");
    assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    assert!(ended.errors.starts_with(&format!("chinwag: {begins}")), "{begins:?}: {}", ended.errors);
    assert!(ended.errors.contains(has) && !ended.errors.contains("os error"), "{has:?}: {}", ended.errors);
}

#[test]
fn an_address_that_is_none() {
    let home = Home::new();
    for (url, why) in [
        ("", "it names no host"),
        ("ws://", "it names no host"),
        ("http://127.0.0.1/", "begins with ws://"),
        ("ftp://127.0.0.1/", "begins with ws://"),
        ("wss://127.0.0.1/", "TLS is not spoken yet"),
        ("ws://127.0.0.1:99999", "port"),
        ("ws://127.0.0.1:nonsense", "port"),
        ("ws://[::1", "no ]"),
        ("ws://::1/", "brackets"),
        ("ws://a b/", "host"),
        ("ws://user@127.0.0.1/", "--name"),
        ("ws://127.0.0.1/#x", "#"),
        ("\x1b]0;title\x07", "host"),
    ] {
        let ended = Pipe::run(&home, &[url], "");
        assert_reason(&ended, "not an address: ", why);
        assert!(!ended.errors.trim_end().contains(|char: char| char.is_control()), "{:?}", ended.errors);
    }
}

#[test]
fn nobody_listens() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("ws://{}", taken.local_addr().expect("it is bound"));
    drop(taken);
    let begins = format!("cannot connect to {url}: ");
    let hint = "Connection refused; start a server with `chinwag serve`, or give the URL of one\n";
    assert_reason(&Pipe::run(&home, &[&url], &"hi\n".repeat(500)), &begins, hint);
    assert_reason(&Pipe::run(&home, &[&url, "--json"], ""), &begins, hint);
    assert_reason(&Pipe::run(&home, &[&url, "--lang", "zh"], ""), "无法连接到 ", "请用 `chinwag serve` 启动服务器");
    assert_reason(&Pipe::run(&home, &["ws://no-such-host.invalid/"], ""), "cannot connect to ws://no-such", "no-such");
}

/// A server that answers, but not as a WebSocket.
#[test]
fn servers_that_are_none() {
    let answers: [(&[u8], &str); 13] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200 (OK)"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "404 (Not Found)"),
        (b"HTTP/1.1 404 Not\x1b[2J Found\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 301 Moved\r\nLocation: /x\r\n\r\n", "301 (Moved)"),
        (b"HTTP/1.1 503 Later\r\n\r\n", "503 (Later)"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "upgrades to something else"),
        (
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
            "Accept is wrong",
        ),
        (b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "upgrades to something else"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "no HTTP"),
        (b"\0\0\0\0", "no HTTP"),
        (b"HTTP/1.1 2", "in the middle of its answer"),
        (b"", "without an answer"),
    ];
    for (answer, why) in answers {
        let script = Script::listen();
        let home = Home::new();
        let pipe = Pipe::start(&home, &[&script.url()]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Whatever the answer, it may be asked again without the subprotocol.
                let times = if answer.starts_with(b"HTTP/1.1 404 Not Found") { 2 } else { 1 };
                for _ in 0..times {
                    let mut stream = script.accept();
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        let mut byte = [0];
                        stream.read_exact(&mut byte).expect("the request comes");
                        request.push(byte[0]);
                    }
                    stream.write_all(answer).expect("the client reads");
                }
            });
            let ended = pipe.ended();
            assert_reason(&ended, &format!("cannot connect to {}: it ", script.url()), why);
            assert!(!ended.errors.trim_end().contains(|char: char| char.is_control()), "{:?}", ended.errors);
        });
    }
}

/// An answer without end is cut.
#[test]
fn an_endless_answer() {
    let script = Script::listen();
    let home = Home::new();
    let pipe = Pipe::start(&home, &[&script.url()]);
    let mut stream = script.accept();
    let sender = std::thread::spawn(move || {
        let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n");
        for number in 0..100_000 {
            if stream.write_all(format!("X-{number}: {number}\r\n").as_bytes()).is_err() {
                return;
            }
        }
        panic!("it took all of it");
    });
    assert_reason(&pipe.ended(), "cannot connect to ", "no WebSocket server");
    sender.join().expect("it hung up in time");
}

/// a server that accepts and says nothing: 10 s
///
/// And one that has chosen the subprotocol, and then says nothing: it is asked again, without.
#[test]
fn servers_that_say_nothing() {
    let home = Home::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let script = Script::listen();
            let start = std::time::Instant::now();
            let pipe = Pipe::start(&home, &[&script.url()]);
            let _silent = script.accept();
            assert_reason(&pipe.ended(), "cannot connect to ", "does not answer");
            assert!(start.elapsed().as_secs() >= 9, "it waits a while: {:?}", start.elapsed());
        });
        let script = Script::listen();
        let pipe = Pipe::start(&home, &[&script.url()]);
        scope.spawn(move || {
            let mut peer = script.upgrade(true);
            assert_eq!(peer.next()["type"], "hello");
            script.upgrade(false).until_end();
        });
        let ended = pipe.ended();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    });
}

/// 1000, 1002, 1007, 1009, 4500 and above are final: stop and show.
#[test]
fn a_close_that_is_final() {
    for (code, reason, shown) in [
        (1000, "goodbye", "the server closed the connection: goodbye (1000)"),
        (1009, "too \x1b[2Jlarge\n", "the server closed the connection: too ␛[2Jlarge␊ (1009)"),
        (4500, "replaced", "the server closed the connection: replaced (4500)"),
        (4501, "kicked", "the server closed the connection: kicked (4501)"),
        (4502, "", "the server closed the connection (4502)"),
    ] {
        let script = Script::listen();
        let home = Home::new();
        let mut pipe = Pipe::start(&home, &[&script.url()]);
        script.welcome().close(code, reason);
        assert_reason(&pipe.ends(), shown, "");
    }
}

/// What was not acknowledged at a final close is named.
#[test]
fn a_final_close_with_lines_on_their_way() {
    let script = Script::listen();
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[&script.url()]);
    let mut peer = script.welcome();
    pipe.say("on its way");
    peer.next_line();
    peer.close(4501, "kicked");
    let ended = pipe.ends();
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.errors,
        "chinwag: perhaps sent, perhaps not: on its way\nchinwag: the server closed the connection: kicked (4501)\n"
    );
}

/// Refused before `welcome`: the reason is the server's.
#[test]
fn a_greeting_that_is_refused() {
    let script = Script::listen();
    let home = Home::new();
    let pipe = Pipe::start(&home, &[&script.url()]);
    let mut peer = script.upgrade(true);
    peer.next();
    peer.say(&json!({"type": "error", "code": "unauthorized", "message": "not you", "retry": false}));
    assert_reason(&pipe.ended(), "cannot connect to ", "not you (unauthorized)");
}

/// A client at a terminal that was welcomed by a script.
fn at_a_terminal(home: &Home) -> (Terminal, Peer) {
    let script = Script::listen();
    let terminal = Terminal::open(home, 120, &[&script.url()]);
    let peer = script.welcome();
    terminal.until("the prompt", |rows| rows.last().is_some_and(|row| row == "lobby >"));
    (terminal, peer)
}

/// However the person goes, the terminal is as it was (`Terminal::ended` looks), and the exit code is 0.
#[test]
fn the_terminal_is_given_back() {
    let home = Home::new();
    for (what, keys) in
        [("quit", "quit\r"), ("/quit", "/quit\r"), ("Ctrl-D", CTRL_D), ("Ctrl-C", CTRL_C), ("a half line", "x\x03\x04")]
    {
        let (mut terminal, mut peer) = at_a_terminal(&home);
        terminal.types(keys);
        peer.until_end();
        assert_eq!(terminal.ended(), Some(0), "{what}");
        let rows = terminal.rows();
        assert_eq!(rows.len(), 1, "{what}: only what was shown is left: {rows:#?}");
    }
    for signal in ["TERM", "INT"] {
        let (mut terminal, mut peer) = at_a_terminal(&home);
        terminal.signal(signal);
        peer.until_end();
        assert_eq!(terminal.ended(), Some(0), "SIG{signal}");
    }
}

/// Also at an end that the person did not want, in the middle of a line: the reason is below what was shown.
#[test]
fn the_terminal_is_given_back_at_a_final_close() {
    let home = Home::new();
    let (mut terminal, mut peer) = at_a_terminal(&home);
    terminal.types("half a line");
    terminal.expect_last(&["lobby > half a line"]);
    peer.chat("alice", "last");
    peer.close(4501, "kicked");
    assert_eq!(terminal.ended(), Some(1));
    terminal.expect_last(&["12:03 alice: last", "chinwag: the server closed the connection: kicked (4501)"]);
    let mut nobody = Terminal::open(&home, 140, &["ws://127.0.0.1:1"]);
    assert_eq!(nobody.ended(), Some(1));
    nobody.expect("chinwag: cannot connect to ws://127.0.0.1:1: ");
    assert_eq!(nobody.rows().len(), 1, "{:?}", nobody.rows());
}

/// A client that stays half connected is left with Ctrl-C, too: nothing was answered yet.
#[test]
fn the_terminal_is_given_back_before_the_greeting() {
    let script = Script::listen();
    let home = Home::new();
    let mut terminal = Terminal::open(&home, 80, &[&script.url()]);
    let _silent = script.accept();
    terminal.signal("INT");
    assert!(terminal.ended().is_some());
}

/// Quitting with a line on its way: 5 s are enough to wait, and what becomes of the line is told.
#[test]
fn quitting_without_an_acknowledgement() {
    let home = Home::new();
    let (mut terminal, mut peer) = at_a_terminal(&home);
    terminal.types("lost?\r");
    peer.next_line();
    terminal.types("quit\r");
    assert_eq!(terminal.ended(), Some(1));
    terminal.expect("! perhaps sent, perhaps not: lost?");
    terminal.expect_last(&["chinwag: the server did not answer in time; 1 line was not acknowledged"]);
}

/// Ctrl-Z / `fg`
#[test]
fn suspended_and_back() {
    let server = Server::start(&["--rate", "0"]);
    let mut alice = server.join("alice", "tea", 1);
    let home = Home::new();
    let mut shell = Terminal::shell(&home, 80);
    let before = shell.modes();
    shell.types(&format!("{} connect ws://{}/rooms/tea --name me\r", env!("CARGO_BIN_EXE_chinwag"), server.address));
    assert_eq!(alice.json()["type"], "user_join");
    shell.until("the prompt", |rows| rows.last().is_some_and(|row| row == "tea >"));
    shell.types("half ");
    shell.expect_last(&["tea > half"]);
    shell.types(CTRL_Z);
    shell.until("the shell", |rows| rows.last().is_some_and(|row| row == "$"));
    assert_eq!(shell.modes(), before, "the shell's modes");
    alice.send("meanwhile");
    alice.expect_chat("alice", "meanwhile");
    shell.types("fg\r");
    shell.expect("12:03 alice: meanwhile");
    shell.expect_last(&["tea > half"]);
    shell.types("a line");
    shell.types(ENTER);
    alice.expect_chat("me", "half a line");
    shell.expect_last(&["12:03 me: half a line", "tea >"]);
    shell.types(CTRL_D);
    shell.until("the shell", |rows| rows.last().is_some_and(|row| row == "$"));
    assert_eq!(shell.modes(), before, "the shell's modes");
    assert_eq!(alice.json()["type"], "user_leave");
    shell.types("exit\r");
    shell.ended();
}

/// Joined twice, welcomed twice, before anything: nothing of that disturbs it.
#[test]
fn greetings_in_disorder() {
    let script = Script::listen();
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[&script.url()]);
    let mut peer = script.upgrade(true);
    peer.next();
    for frame in [welcome(), welcome(), joined("lobby", 0), joined("@me", 0), joined("lobby", 0), joined("nowhere", 7)]
    {
        peer.say(&frame);
    }
    pipe.say("hi");
    let (message, id) = peer.next_line();
    peer.acknowledge(&message, &id);
    peer.answer_goodbye();
    assert_eq!(pipe.ended().code, Some(0));
}
