//! A typed line, understood: something to ask of the conversation, or something that the keyboard answers itself.
//!
//! A line is said as it is, unless it begins with a slash or is the bare word `quit`. Two slashes at the beginning stand for
//! one that is said. A word of the names of people and rooms may stand in double quotes, so that it may have spaces.

use super::talk::Intent;

/// What a typed line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Nothing: there were only spaces.
    Nothing,
    /// To be handed on.
    Ask(Intent),
    /// `/help`.
    Help,
    /// A command that lacks something: how it is used.
    Usage(&'static Command),
    /// There is no such command; as it was typed, with its slash.
    Unknown(String),
}

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// With its slash: what is typed.
    pub(super) word: &'static str,
    /// What follows it, in English and in Chinese.
    pub(super) operands: [&'static str; 2],
    /// What it does, likewise.
    pub(super) does: [&'static str; 2],
}

/// Lines that `/history` shows if no number is given: a screenful.
const HISTORY_LINES: u32 = 20;

/// Lines that `/history` may ask for: the protocol's limit.
const HISTORY_LINES_MAX: u32 = 200;

/// All commands, in the order in which `/help` shows them.
pub(super) const COMMANDS: [Command; 9] = [
    command("/name", ["NAME", "名字"], ["change your name", "改名"]),
    command("/msg", ["NAME TEXT", "名字 内容"], ["say something to one person only", "给一个人发私信"]),
    command("/who", ["", ""], ["who is in the room", "房间里有谁"]),
    command("/join", ["ROOM", "房间"], ["join a room and speak there", "加入一个房间，并在那里发言"]),
    command("/leave", ["[ROOM]", "[房间]"], ["leave a room, or this one", "离开一个房间（默认为当前房间）"]),
    command(
        "/room",
        ["[ROOM]", "[房间]"],
        ["speak in another room; list yours", "换到另一个房间发言；列出已加入的房间"],
    ),
    command("/history", ["[N]", "[行数]"], ["older lines of the room (20)", "显示房间里更早的消息（默认 20 行）"]),
    command("/help", ["", ""], ["this list", "显示本帮助"]),
    command("/quit", ["", ""], ["say goodbye (also: quit, Ctrl-D)", "退出（也可以用 quit 或 Ctrl-D）"]),
];

const fn command(word: &'static str, operands: [&'static str; 2], does: [&'static str; 2]) -> Command {
    Command { word, operands, does }
}

/// What a line of a person at a terminal means.
pub(super) fn understand(line: &str) -> Typed {
    let trimmed = line.trim();
    if trimmed.is_empty() {
        Typed::Nothing
    } else if trimmed == "quit" {
        Typed::Ask(Intent::Quit)
    } else if trimmed.starts_with("//") {
        Typed::Ask(Intent::Say(trimmed[1..].to_owned()))
    } else if trimmed.starts_with('/') {
        understand_command(trimmed)
    } else {
        // Spaces at the beginning may be meant: a line of code.
        Typed::Ask(Intent::Say(line.trim_end().to_owned()))
    }
}

fn understand_command(line: &str) -> Typed {
    let (typed, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let Some(command) = COMMANDS.iter().find(|command| command.word.eq_ignore_ascii_case(typed)) else {
        return Typed::Unknown(typed.to_owned());
    };
    let rest = rest.trim();
    let intent = match command.word {
        "/name" => whole(rest).map(Intent::Name),
        "/msg" => first_word(rest)
            .filter(|(_, message)| !message.is_empty())
            .map(|(to, message)| Intent::Private { to, message: message.to_owned() }),
        "/who" => Some(Intent::Who),
        "/join" => whole(rest).map(Intent::Join),
        "/leave" => Some(Intent::Leave(whole(rest))),
        "/room" => Some(Intent::Room(whole(rest))),
        "/history" if rest.is_empty() => Some(Intent::History(HISTORY_LINES)),
        "/history" => rest.parse().ok().filter(|lines| (1..=HISTORY_LINES_MAX).contains(lines)).map(Intent::History),
        "/quit" => Some(Intent::Quit),
        _ => return Typed::Help,
    };
    intent.map_or(Typed::Usage(command), Typed::Ask)
}

/// All that is left, as one name, with or without quotes.
fn whole(rest: &str) -> Option<String> {
    let name = match first_word(rest)? {
        (quoted, "") if rest.starts_with('"') => quoted,
        _ => rest.to_owned(),
    };
    Some(name).filter(|name| !name.is_empty())
}

/// The first word, which may be in quotes, and what follows it.
fn first_word(rest: &str) -> Option<(String, &str)> {
    let (word, rest) = match rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        Some(quoted) => quoted,
        None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
    };
    Some((word.to_owned(), rest.trim_start())).filter(|(word, _)| !word.is_empty())
}

/// A name as it may be typed after `/msg`.
pub(super) fn quoted(name: &str) -> String {
    if name.contains(char::is_whitespace) { format!("\"{name}\"") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Intent {
        match understand(line) {
            Typed::Ask(intent) => intent,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_line_is_said_as_it_is() {
        for line in ["hello", "  indented", "quit it", "a /who b", "Quit", "{\"type\":\"who\"}", "\"x\""] {
            assert_eq!(ask(line), Intent::Say(line.into()));
        }
        assert_eq!(ask("hello  "), Intent::Say("hello".into()));
        assert_eq!(ask("two\nlines"), Intent::Say("two\nlines".into()));
        assert_eq!(understand(" \t "), Typed::Nothing);
    }

    #[test]
    fn two_slashes_say_one() {
        assert_eq!(ask("//who"), Intent::Say("/who".into()));
        assert_eq!(ask("// comment"), Intent::Say("/ comment".into()));
    }

    #[test]
    fn commands_are_understood() {
        for (line, intent) in [
            ("quit", Intent::Quit),
            (" quit ", Intent::Quit),
            ("/quit", Intent::Quit),
            ("/QUIT now", Intent::Quit),
            ("/name alice", Intent::Name("alice".into())),
            ("/name Ann Lee", Intent::Name("Ann Lee".into())),
            ("/name \"Ann Lee\"", Intent::Name("Ann Lee".into())),
            ("/name \"Ann\" Lee", Intent::Name("\"Ann\" Lee".into())),
            ("/msg bob hi there", Intent::Private { to: "bob".into(), message: "hi there".into() }),
            ("/msg \"Ann Lee\"  hi", Intent::Private { to: "Ann Lee".into(), message: "hi".into() }),
            ("/msg \"Ann hi", Intent::Private { to: "\"Ann".into(), message: "hi".into() }),
            ("/who", Intent::Who),
            ("/join tea", Intent::Join("tea".into())),
            ("/leave", Intent::Leave(None)),
            ("/leave tea", Intent::Leave(Some("tea".into()))),
            ("/room", Intent::Room(None)),
            ("/room tea", Intent::Room(Some("tea".into()))),
            ("/history", Intent::History(20)),
            ("/history 200", Intent::History(200)),
        ] {
            assert_eq!(ask(line), intent, "{line}");
        }
        assert_eq!(understand("/help"), Typed::Help);
    }

    #[test]
    fn what_lacks_something_gets_its_usage_and_is_not_sent() {
        for line in [
            "/name",
            "/name \"\"",
            "/msg",
            "/msg bob",
            "/msg \"Ann Lee\"",
            "/join ",
            "/history 0",
            "/history 201",
            "/history x",
        ] {
            let Typed::Usage(command) = understand(line) else { panic!("{line}") };
            assert!(line.starts_with(command.word), "{line}: {command:?}");
        }
    }

    #[test]
    fn an_unknown_command_is_not_sent() {
        for line in ["/wh", "/", "/usr/bin/env", "/me waves"] {
            let word = line.split(' ').next().unwrap();
            assert_eq!(understand(line), Typed::Unknown(word.into()));
        }
    }

    #[test]
    fn a_quoted_name_is_read_back() {
        for name in ["bob", "Ann Lee", "名字", "O'Neil"] {
            let intent = ask(&format!("/msg {} hi", quoted(name)));
            assert_eq!(intent, Intent::Private { to: name.into(), message: "hi".into() });
        }
    }
}
