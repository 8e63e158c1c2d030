//! Over a network that breaks: each line once, own lines too, wherever it breaks.
//!
//! > Reconnects by itself, says so in one line, resumes without a gap or repeat, sends what was not acknowledged again
//! > under the same `id`; heartbeats as there. `--once` does not reconnect.

use crate::common::client::Client;
use crate::common::eventually;
use crate::common::server::Server;
use crate::home::Home;
use crate::pipe::Pipe;
use crate::relay::{Break, End, How, Relay};
use crate::terminal::Terminal;

/// Who sees the room as it is.
struct Witness {
    client: Client,
    /// Each line: who said what.
    lines: Vec<String>,
}

impl Witness {
    fn join(server: &Server) -> Self {
        let mut client = server.connect("witness", "/?name=witness");
        client.until("the welcome", |frame| frame["type"] == "system");
        Self { client, lines: Vec::new() }
    }

    /// Says a line.
    fn say(&mut self, line: &str) {
        self.client.send(line);
    }

    /// Hears until there are so many lines.
    #[track_caller]
    fn hear(&mut self, lines: usize) {
        while self.lines.len() < lines {
            let frame = self.client.json();
            if frame["type"] == "chat" {
                let word = |name: &str| frame[name].as_str().unwrap_or_default();
                self.lines.push(format!("{}: {}", word("from"), word("message")));
            }
        }
    }

    /// Waits for somebody to come.
    fn meet(&mut self, name: &str) {
        self.client.until("somebody", |frame| frame["type"] == "user_join" && frame["name"] == name);
    }
}

/// The said lines of a log, without their times.
fn said(output: &str) -> Vec<String> {
    let lines = output.lines().map(|line| line.get(20..).unwrap_or(line));
    lines.filter(|line| !line.starts_with("* ")).map(str::to_owned).collect()
}

/// A client says some lines, and somebody else others, over connections that break like this, one after the other. Then
/// what it shows is what was said, in the order of the room, each line once; and its own lines are all there, once.
fn each_line_once(breaks: &[Break]) {
    let server = Server::start(&["--rate", "0"]);
    let mut witness = Witness::join(&server);
    let home = Home::new();
    let relay = Relay::start(server.address, breaks.iter().copied(), true);
    let mut pipe = Pipe::start(&home, &[&relay.url(), "--name", "bot"]);
    witness.meet("bot");
    let mut own = Vec::new();
    while relay.connections() <= breaks.len() {
        let (begun, number) = (relay.connections(), own.len());
        own.push(format!("own {number}"));
        pipe.say(&own[number]);
        witness.say(&format!("other {number}"));
        // Until it breaks, or both are there and it needs more to break.
        eventually("a line or a break", || {
            relay.connections() > begun
                || pipe.shows(&format!(": other {number}\n")) && pipe.shows(&format!(": own {number}\n"))
        });
    }
    witness.say("the last");
    witness.hear(2 * own.len() + 1);
    pipe.expect("witness: the last\n");
    let ended = pipe.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let shown = said(&ended.output);
    let missing: Vec<&String> = witness.lines.iter().filter(|line| !shown.contains(line)).collect();
    assert_eq!(shown.len(), witness.lines.len(), "missing {missing:?}\n{}", ended.errors);
    assert_eq!(shown, witness.lines);
    let arrived: Vec<&str> = witness.lines.iter().filter_map(|line| line.strip_prefix("bot: ")).collect();
    assert_eq!(arrived, own);
    for line in ended.errors.lines() {
        let known = ["chinwag: the connection is lost (", "chinwag: connected again"];
        assert!(known.iter().any(|begins| line.starts_with(begins)), "{line}");
    }
}

/// A connection each that breaks a little later than the one before. The first one lasts until the client was there; and so
/// do those that follow a break in the handshake, or the client would wait longer and longer.
fn breaks(from: End, how: How, step: usize, most: usize) -> Vec<Break> {
    let useful = Break { from: End::Server, after_bytes: 1_500, how };
    let head_bytes = if from == End::Server { 165 } else { 230 };
    let in_the_handshake = [1, 100].map(|after_bytes| [Break { from, after_bytes, how }, useful]);
    let after_it = (head_bytes..most).step_by(step).map(|after_bytes| Break { from, after_bytes, how });
    [useful].into_iter().chain(in_the_handshake.into_iter().flatten()).chain(after_it).collect()
}

#[test]
fn resets_after_what_the_server_says() {
    each_line_once(&breaks(End::Server, How::Reset, 23, 1_500));
}

#[test]
fn ends_after_what_the_server_says() {
    each_line_once(&breaks(End::Server, How::Finish, 29, 2_500));
}

#[test]
fn resets_after_what_the_client_says() {
    each_line_once(&breaks(End::Client, How::Reset, 31, 2_000));
}

#[test]
fn ends_after_what_the_client_says() {
    each_line_once(&breaks(End::Client, How::Finish, 37, 2_000));
}

/// Far into the lines, where a page of the replay or a frame of many is torn.
#[test]
fn breaks_in_the_middle_of_much() {
    let far = |number: usize| 900 + number * 1_777;
    let both = |number| [(End::Server, How::Reset), (End::Client, How::Finish)][number % 2];
    let breaks: Vec<Break> = (0..16)
        .map(|number| {
            let (from, how) = both(number);
            Break { from, after_bytes: far(number) / if from == End::Client { 3 } else { 1 }, how }
        })
        .collect();
    each_line_once(&breaks);
}

/// Nothing passes any more, and nobody says so: the heartbeat finds out. Somewhat later than the server's own.
fn silent_connection(how: How) {
    let server = Server::start(&["--rate", "0", "--ping-ms", "1000"]);
    let mut witness = Witness::join(&server);
    let home = Home::new();
    let relay = Relay::start(server.address, [Break { from: End::Client, after_bytes: 700, how }], true);
    let mut pipe = Pipe::start(&home, &[&relay.url(), "--name", "bot"]);
    witness.meet("bot");
    let own: Vec<String> = (0..20).map(|number| format!("own {number}")).collect();
    pipe.write((own.join("\n") + "\n").as_bytes());
    for number in 0..20 {
        witness.say(&format!("other {number}"));
    }
    pipe.expect_error("chinwag: the connection is lost (nothing was heard for 10 s after a ping)");
    pipe.expect_error("chinwag: connected again; ");
    witness.hear(40);
    let ended = pipe.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_eq!(said(&ended.output), witness.lines);
    let arrived: Vec<&str> = witness.lines.iter().filter_map(|line| line.strip_prefix("bot: ")).collect();
    assert_eq!(arrived, own);
    assert_eq!(ended.errors.lines().count(), 2, "{}", ended.errors);
}

#[test]
fn a_connection_that_stalls_and_one_that_is_half_open() {
    std::thread::scope(|scope| {
        scope.spawn(|| silent_connection(How::Stall));
        silent_connection(How::HalfOpen);
    });
}

/// `--once`: the first break is the end. What was not acknowledged is named.
#[test]
fn once() {
    let server = Server::start(&["--rate", "0"]);
    for how in [How::Reset, How::Finish] {
        let home = Home::new();
        let relay = Relay::start(server.address, [Break { from: End::Server, after_bytes: 1_500, how }], false);
        let lines: Vec<String> = (0..50).map(|number| format!("line {number}")).collect();
        let ended = Pipe::run(&home, &[&relay.url(), "--once"], &lines.join("\n"));
        assert_eq!(ended.code, Some(1));
        let errors: Vec<&str> = ended.errors.lines().collect();
        let (last, others) = errors.split_last().expect("a reason");
        assert!(last.contains("not acknowledged") || last.contains("did not arrive"), "{errors:#?}");
        assert!(!others.is_empty(), "{errors:#?}");
        for line in others {
            assert!(line.starts_with("chinwag: perhaps sent, perhaps not: line "), "{line}");
        }
        assert_eq!(relay.connections(), 1);
    }
    // Before the first welcome it is never tried again.
    let home = Home::new();
    let relay = Relay::start(server.address, [Break { from: End::Server, after_bytes: 1, how: How::Reset }], false);
    let ended = Pipe::run(&home, &[&relay.url()], "hi\n");
    assert_eq!((ended.code, relay.connections()), (Some(1), 1));
    assert!(
        ended.errors.starts_with("chinwag: cannot connect to ") && ended.errors.lines().count() == 1,
        "{}",
        ended.errors
    );
}

/// A person is told in one line that it broke, and in one that it is back; the line being typed stays, and what was
/// typed meanwhile is marked until it is acknowledged, and sent.
#[test]
fn at_a_terminal() {
    let mut server = Server::start(&["--rate", "0"]);
    let mut witness = Witness::join(&server);
    let home = Home::new();
    let relay = Relay::start(server.address, [Break { from: End::Client, after_bytes: 1_000, how: How::Reset }], false);
    let terminal = Terminal::open(&home, 100, &[&relay.url(), "--name", "me"]);
    witness.meet("me");
    terminal.until("the prompt", |rows| rows.last().is_some_and(|row| row == "lobby >"));
    let long = "x".repeat(1_000);
    terminal.types(&format!("{long}\rhalf a li"));
    terminal.expect("12:03 ! the connection is lost (");
    terminal.expect("12:03 * connected again");
    witness.hear(1);
    terminal.expect_last(&["lobby > half a li"]);
    terminal.types("ne\r");
    witness.hear(2);
    assert_eq!(witness.lines, [format!("me: {long}"), "me: half a line".to_owned()]);
    terminal.expect_last(&["12:03 me: half a line", "lobby >"]);
    let rows = terminal.rows();
    let with = |part: &str| rows.iter().filter(|row| row.contains(part)).count();
    assert_eq!((with("connection is lost"), with("connected again"), with("half a line")), (1, 1, 1), "{rows:#?}");
    assert!(server.runs());
}

/// The server is restarted, and has forgotten everything: that is said, and what may be missing.
#[test]
fn a_server_that_has_forgotten() {
    let mut server = Server::start(&["--rate", "0", "--drain", "100"]);
    let address = server.address.to_string();
    let mut witness = Witness::join(&server);
    let home = Home::new();
    let terminal = Terminal::open(&home, 100, &[&format!("ws://{address}"), "--name", "me"]);
    witness.meet("me");
    witness.say("before");
    terminal.expect("12:03 witness: before");
    server.signal("TERM");
    server.ended();
    terminal.expect("12:03 ! the connection is lost (");
    terminal.types("meanwhile\r");
    terminal.expect("12:03 \u{22ef} meanwhile");
    terminal.expect_last(&["lobby\u{22ef}1"]);
    let again = Server::start(&["--listen", &address, "--rate", "0"]);
    let mut witness = Witness::join(&again);
    terminal.expect("12:03 * connected again");
    witness.hear(1);
    assert_eq!(witness.lines, ["me: meanwhile"]);
    terminal.expect("12:03 me: meanwhile");
    terminal.expect_last(&["lobby >"]);
}
