//! Lines typed at a terminal, with the line editor: history in memory, completion, and keys.
//!
//! | key | |
//! |---|---|
//! | Enter | says the line. It vanishes where it was typed, and comes back through the room, as everybody sees it |
//! | Tab | completes commands, names and rooms |
//! | Up, Down, Ctrl-R | earlier lines; Ctrl-R those that begin like this one |
//! | Ctrl-C | clears the line; an empty one: quits |
//! | Ctrl-D | on an empty line: quits |
//! | Ctrl-Z | suspends the client; `fg` brings it back |
//!
//! Keys that would make the editor wait for another one while nothing may be drawn are taken out, or do something else.

use std::borrow::Cow;
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::Pid;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{
    Cmd, ColorMode, CompletionType, ConditionalEventHandler, Config, Context, Editor, Event, EventContext,
    EventHandler, GraphemeClusterMode, KeyEvent, Movement, RepeatCount,
};
use signal_hook::consts::SIGCONT;

use crate::wire::encode::Lang;

use super::clean::is_format;
use super::complete::{Completion, Known, OFFERED_MAX, complete};
use super::desk::{self, Desk};
use super::keyboard::answer;
use super::talk::Intent;
use super::typed::{Typed, understand};

/// Milliseconds after Esc in which the rest of a key's sequence comes. Without a limit the editor would wait, and draw
/// nothing.
const KEY_SEQUENCE_MS: u16 = 100;

/// Lines of history.
const HISTORY_MAX: usize = 1_000;

/// Columns of a tab in the typed line.
const TAB_COLUMNS: u8 = 8;

type Lines = Editor<Helper, MemHistory>;

/// Reads lines until the person quits, the terminal is gone, or nobody takes what is sent. `modes` are the terminal's as
/// the shell left them.
pub(super) fn run(desk: &Arc<Desk>, modes: Termios, lang: Lang, send: &mut impl FnMut(Intent) -> ControlFlow<()>) {
    let Ok(mut lines) = open(desk, modes) else {
        // The terminal is gone. That is the end of the input.
        return;
    };
    while let Some(prompt) = desk.begin_line() {
        let typed = lines.readline(&prompt);
        let line = match typed {
            Ok(line) => line,
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => {
                let _ = desk.finish_line(1);
                let _ = send(Intent::Quit);
                return;
            }
            Err(_) => {
                let _ = desk.finish_line(0);
                return;
            }
        };
        let understood = understand(&line);
        let vanishes =
            matches!(understood, Typed::Nothing | Typed::Ask(Intent::Say(_) | Intent::Private { .. } | Intent::Quit));
        let rows = if vanishes { rows(&format!("{prompt}{line}"), terminal_columns()) } else { 0 };
        if desk.finish_line(rows).is_err() || obey(desk, lang, understood, send).is_break() {
            return;
        }
    }
}

/// Sends what was understood, or answers it.
fn obey(
    desk: &Desk,
    lang: Lang,
    understood: Typed,
    send: &mut impl FnMut(Intent) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Typed::Ask(intent) = understood else {
        let mut text = String::new();
        for line in answer(lang, &understood) {
            text.extend(["  ", &line, "\n"]);
        }
        return if desk.print(&text).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
    };
    let (quits, changes_room) =
        (intent == Intent::Quit, matches!(intent, Intent::Join(_) | Intent::Leave(_) | Intent::Room(Some(_))));
    let places = desk.places();
    send(intent)?;
    if changes_room {
        // So that the next prompt names the new room.
        desk.wait_for_change(places);
    }
    if quits { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// An editor that draws what comes in.
fn open(desk: &Arc<Desk>, modes: Termios) -> rustyline::Result<Lines> {
    let config = Config::builder()
        .max_history_size(HISTORY_MAX)?
        .history_ignore_dups(true)?
        .auto_add_history(true)
        .completion_type(CompletionType::List)
        .completion_show_all_if_ambiguous(true)
        .completion_prompt_limit(usize::MAX)
        .bell_style(rustyline::config::BellStyle::None)
        .keyseq_timeout(Some(KEY_SEQUENCE_MS))
        .tab_stop(TAB_COLUMNS)
        // The painter obeys NO_COLOR; the editor must ask it for the prompt in any case.
        .color_mode(ColorMode::Forced)
        .build();
    let mut lines = Lines::with_history(config.clone(), MemHistory::with_config(&config))?;
    lines.set_helper(Some(Helper { desk: Arc::clone(desk) }));
    let printer = lines.create_external_printer()?;
    desk.set_printer(Box::new(printer));
    for (key, command) in [
        ('R', Cmd::HistorySearchBackward),
        ('S', Cmd::HistorySearchForward),
        // Quoted insert, and what begins with Ctrl-X.
        ('V', Cmd::Noop),
        ('Q', Cmd::Noop),
        ('X', Cmd::Noop),
    ] {
        lines.bind_sequence(KeyEvent::ctrl(key), command);
    }
    lines.bind_sequence(KeyEvent::ctrl('C'), EventHandler::Conditional(Box::new(Clear)));
    let suspend = Suspend { desk: Arc::clone(desk), modes: Mutex::new(modes) };
    lines.bind_sequence(KeyEvent::ctrl('Z'), EventHandler::Conditional(Box::new(suspend)));
    Ok(lines)
}

/// Ctrl-C: clears a line that is not empty.
struct Clear;

impl ConditionalEventHandler for Clear {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        (!context.line().is_empty()).then_some(Cmd::Kill(Movement::WholeBuffer))
    }
}

/// Ctrl-Z: leaves the terminal as the shell wants it, and stops until the shell goes on with us.
///
/// The editor could do that itself, but it does not wait until it is stopped: sometimes it takes the terminal back before.
struct Suspend {
    desk: Arc<Desk>,
    /// The terminal's modes as the shell left them.
    modes: Mutex<Termios>,
}

impl ConditionalEventHandler for Suspend {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        let terminal = io::stdin();
        let editing = tcgetattr(&terminal).ok()?;
        let (columns, prompt) = (terminal_columns(), " ".repeat(self.desk.prompt_columns()));
        let above_cursor = rows(&format!("{prompt}{}", &context.line()[..context.pos()]), columns) - 1;
        let below_cursor = rows(&format!("{prompt}{}", context.line()), columns) - 1 - above_cursor;
        // What the shell says comes after the typed line.
        let _ = desk::write(&"\n".repeat(below_cursor));
        let shell = self.modes.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = tcsetattr(&terminal, SetArg::TCSADRAIN, &shell);
        stop();
        let _ = tcsetattr(&terminal, SetArg::TCSADRAIN, &editing);
        // The editor is going to clear the rows above the cursor, which are the shell's now.
        let _ = desk::write(&"\n".repeat(above_cursor));
        Some(Cmd::Repaint)
    }
}

/// Stops the whole job, which is this process and whoever started it in the foreground, until it is continued.
fn stop() {
    let continued = Arc::new(AtomicBool::new(false));
    let Ok(registered) = signal_hook::flag::register(SIGCONT, Arc::clone(&continued)) else { return };
    let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
    // Another thread may get the signal, and this one run on for a while before all are stopped. A process that nobody
    // could continue is not stopped at all (its group is orphaned); it goes on after a second.
    for _ in 0..100 {
        if continued.load(Ordering::Relaxed) {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    signal_hook::low_level::unregister(registered);
}

/// What the editor asks while it draws.
struct Helper {
    desk: Arc<Desk>,
}

impl rustyline::Helper for Helper {}

impl Validator for Helper {}

impl Hinter for Helper {
    type Hint = String;
}

impl Highlighter for Helper {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if line.contains(is_obeyed) { Cow::Owned(without_obeyed(line)) } else { Cow::Borrowed(line) }
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, default: bool) -> Cow<'b, str> {
        Cow::Owned(self.desk.paint_prompt(prompt, default))
    }
}

impl Completer for Helper {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let Completion { start, candidates } = complete(&line[..position], &*self.desk);
        let pairs = candidates.into_iter().map(|(display, replacement)| Pair { display, replacement });
        Ok((start, pairs.collect()))
    }
}

impl Known for Desk {
    fn names(&self, choose: &dyn Fn(&str) -> bool) -> Vec<String> {
        self.names(OFFERED_MAX, choose)
    }

    fn rooms(&self) -> Vec<String> {
        let mut rooms = self.place().rooms;
        rooms.retain(|room| super::clean::is_clean(room));
        rooms
    }
}

/// Whether a terminal obeys a character of a typed line, which may have been pasted from anywhere.
fn is_obeyed(char: char) -> bool {
    match char {
        '\n' | '\t' | '\u{200c}' | '\u{200d}' => false,
        _ => is_format(char),
    }
}

/// The line as it is drawn. It must be as wide as the editor believes, which counts control characters and what
/// looks like an escape sequence as nothing; so they are not drawn.
fn without_obeyed(line: &str) -> String {
    let mut escape = 0;
    let drawn = |char: &char| {
        let (next, is_drawn) = match (escape, *char) {
            (0, '\x1b') => (1, false),
            (0, char) => (0, !is_obeyed(char)),
            (1, '[') | (2, ';' | '0'..='9') => (2, false),
            _ => (0, false),
        };
        escape = next;
        is_drawn
    };
    line.chars().filter(drawn).collect()
}

/// Columns of the terminal: 80 if it does not tell.
fn terminal_columns() -> usize {
    let columns = terminal_size::terminal_size().map_or(0, |(columns, _)| columns.0);
    if columns == 0 { 80 } else { usize::from(columns) }
}

/// How many rows a text takes that begins at the left edge, with the row that the cursor is in after it: as the
/// editor reckons.
fn rows(text: &str, columns: usize) -> usize {
    let widths = GraphemeClusterMode::from_env();
    let (mut row, mut column) = (1, 0);
    for char in without_obeyed(text).chars() {
        let wide = match char {
            '\n' => {
                (row, column) = (row + 1, 0);
                continue;
            }
            '\t' => usize::from(TAB_COLUMNS) - column % usize::from(TAB_COLUMNS),
            char => usize::from(widths.width(char.encode_utf8(&mut [0; 4]))),
        };
        column += wide;
        if column > columns {
            (row, column) = (row + 1, wide);
        }
    }
    if column == columns { row + 1 } else { row }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_as_the_editor_draws_them() {
        assert_eq!(rows("", 10), 1);
        assert_eq!(rows("123456789", 10), 1);
        assert_eq!(rows("1234567890", 10), 2, "the cursor is in the next row");
        assert_eq!(rows("12345678901", 10), 2);
        assert_eq!(rows("中文中文a", 10), 1);
        assert_eq!(rows("中文中文中", 10), 2);
        assert_eq!(rows("a中文中文中", 10), 2, "a wide character is not split");
        assert_eq!(rows("a\nb\n", 10), 3);
        assert_eq!(rows("e\u{301}23456789", 10), 1);
        assert_eq!(rows("a\tb", 10), 1);
    }

    #[test]
    fn a_pasted_escape_sequence_is_not_obeyed() {
        for (line, drawn) in [
            ("a\x1b[31mb", "ab"),
            ("a\x1bcb", "ab"),
            ("a\x07\u{9b}\u{202e}b", "ab"),
            ("a\nb\tc", "a\nb\tc"),
            ("\x1b", ""),
        ] {
            assert_eq!(without_obeyed(line), drawn);
        }
    }
}
