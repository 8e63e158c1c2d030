//! The keyboard's thread: waits for lines, understands them, and hands them on. At a terminal with a line editor
//! (`editor`); else line by line from standard input.
//!
//! A line of a person may be a command. A line that was piped in is said as it is, whatever it is: a log that is piped into
//! a room must not be able to make the client leave it.

use std::io::{self, BufRead, IsTerminal as _, Read as _, Write as _};
use std::ops::ControlFlow;
use std::sync::Arc;

use nix::sys::termios::Termios;

use crate::wire::encode::Lang;

use super::desk::Desk;
use super::editor;
use super::talk::Intent;
use super::typed::{Typed, understand};
use super::words;

/// Bytes of a piped line that are read: one more than the most that a server can be told to take. What is beyond is
/// skipped; the line is refused all the same.
const LINE_BYTES_MAX: u64 = (16 << 20) + 1;

/// Reads what is typed or piped in.
#[derive(Debug)]
pub struct Keyboard {
    /// Where lines are edited, and the terminal's modes as the shell left them; `None` if there is no terminal on both
    /// sides.
    terminal: Option<(Arc<Desk>, Termios)>,
    lang: Lang,
}

impl Keyboard {
    /// A keyboard that belongs to a screen.
    pub(super) fn new(terminal: Option<(Arc<Desk>, Termios)>, lang: Lang) -> Self {
        Self { terminal, lang }
    }

    /// Reads until the input ends, the person quits, or nobody takes what is sent.
    pub fn run(self, mut send: impl FnMut(Intent) -> ControlFlow<()>) {
        if let Some((desk, modes)) = self.terminal {
            editor::run(&desk, modes, self.lang, &mut send);
            return;
        }
        let is_person = io::stdin().is_terminal();
        if let Err(error) = read_lines(io::stdin().lock(), |line| self::hear(line, is_person, self.lang, &mut send)) {
            // What was read is sent; the person must know that it is not all.
            let _ = writeln!(io::stderr(), "chinwag: cannot read standard input: {error}");
        }
    }
}

/// Sends what a line asks for. Empty ones ask for nothing.
fn hear(
    line: String,
    is_person: bool,
    lang: Lang,
    send: &mut impl FnMut(Intent) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if !is_person {
        return if line.is_empty() { ControlFlow::Continue(()) } else { send(Intent::Say(line)) };
    }
    match understand(&line) {
        Typed::Ask(Intent::Quit) => {
            let _ = send(Intent::Quit);
            ControlFlow::Break(())
        }
        Typed::Ask(intent) => send(intent),
        other => {
            for line in answer(lang, &other) {
                let _ = writeln!(io::stderr(), "{line}");
            }
            ControlFlow::Continue(())
        }
    }
}

/// What the keyboard itself answers to a line.
pub(super) fn answer(lang: Lang, typed: &Typed) -> Vec<String> {
    match typed {
        Typed::Nothing | Typed::Ask(_) => Vec::new(),
        Typed::Help => words::help(lang),
        Typed::Usage(command) => vec![words::usage(lang, command)],
        Typed::Unknown(word) => vec![words::unknown(lang, word)],
    }
}

/// Hands on each line, without its newline, until the input ends or `hear` says so. Bytes that are no UTF-8 become `�`.
fn read_lines(mut input: impl BufRead, mut hear: impl FnMut(String) -> ControlFlow<()>) -> io::Result<()> {
    loop {
        let mut line = Vec::new();
        if input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.ends_with(b"\n") {
            line.pop();
            if line.ends_with(b"\r") {
                line.pop();
            }
        } else {
            input.skip_until(b'\n')?;
        }
        let line =
            String::from_utf8(line).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        if hear(line).is_break() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        read_lines(input, |line| {
            lines.push(line);
            ControlFlow::Continue(())
        })
        .unwrap();
        lines
    }

    fn intents(input: &[u8], is_person: bool) -> Vec<Intent> {
        let mut intents = Vec::new();
        let mut send = |intent| {
            intents.push(intent);
            ControlFlow::Continue(())
        };
        read_lines(input, |line| hear(line, is_person, Lang::English, &mut send)).unwrap();
        intents
    }

    #[test]
    fn each_line_comes_once_however_it_ends() {
        assert_eq!(lines(b"a\nb\r\n\nc"), ["a", "b", "", "c"]);
        assert_eq!(lines(b"a\n"), ["a"]);
        assert!(lines(b"").is_empty());
        assert_eq!(lines(b"\xff\xfeok\n"), ["\u{fffd}\u{fffd}ok"]);
    }

    #[test]
    fn an_endless_line_is_cut_and_the_next_one_comes_whole() {
        let mut input = vec![b'x'; (17 << 20) + 5];
        input.extend(b"\nnext\n");
        let lines = lines(&input);
        assert_eq!(lines[0].len() as u64, LINE_BYTES_MAX);
        assert_eq!(lines[1..], ["next"]);
    }

    #[test]
    fn a_piped_line_is_said_whatever_it_is() {
        let say = |text: &str| Intent::Say(text.into());
        assert_eq!(intents(b"/quit\nquit\n\n  x \n", false), [say("/quit"), say("quit"), say("  x ")]);
    }

    #[test]
    fn a_person_may_give_commands() {
        assert_eq!(
            intents(b"hi\n/who\n/nonsense\n\nquit\nmore\n", true),
            [Intent::Say("hi".into()), Intent::Who, Intent::Quit]
        );
    }

    #[test]
    fn nothing_is_read_that_nobody_takes() {
        let mut input: &[u8] = b"a\nb\n";
        read_lines(&mut input, |_| ControlFlow::Break(())).unwrap();
        assert_eq!(input, b"b\n");
    }
}
