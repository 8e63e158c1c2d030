//! A client at a pseudo-terminal, and what is on its screen.

use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::process::Child;
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::sys::termios::{Termios, tcgetattr};
use pty_process::Size;
use pty_process::blocking::{Command, Pts, Pty, open};
use unicode_width::UnicodeWidthChar;
use vt100::{Callbacks, Parser, Screen};

use crate::home::Home;
use crate::pipe::{code_of, resident_bytes};
use crate::watched::Watched;

/// The keys that are not what they write.
pub(crate) const ENTER: &str = "\r";
pub(crate) const TAB: &str = "\t";
pub(crate) const UP: &str = "\x1b[A";
pub(crate) const LEFT: &str = "\x1b[D";
pub(crate) const HOME_KEY: &str = "\x1b[H";
pub(crate) const END_KEY: &str = "\x1b[F";
pub(crate) const BACKSPACE: &str = "\x7f";
pub(crate) const CTRL_C: &str = "\x03";
pub(crate) const CTRL_D: &str = "\x04";
pub(crate) const CTRL_Z: &str = "\x1a";

/// Rows of the terminal: more than any test needs, so that nothing scrolls away.
const ROWS: u16 = 500;

/// A terminal with a program; that is killed when it is dropped.
pub(crate) struct Terminal {
    child: Child,
    pty: Arc<Pty>,
    /// Open as long as the terminal is, so that its modes can be looked at after the program's end.
    pts: Option<Pts>,
    reader: Option<JoinHandle<()>>,
    screen: Arc<Watched<Parser<Noises>>>,
    /// The modes before the program began.
    first_modes: Termios,
}

/// What a terminal was told to do that nobody sees on the screen, and that no chat should make it do.
#[derive(Debug, Default)]
pub(crate) struct Noises(pub(crate) Vec<String>);

impl Callbacks for Noises {
    fn audible_bell(&mut self, _: &mut Screen) {
        self.0.push("bell".to_owned());
    }
    fn visual_bell(&mut self, _: &mut Screen) {
        self.0.push("visual bell".to_owned());
    }
    fn resize(&mut self, _: &mut Screen, size: (u16, u16)) {
        self.0.push(format!("resize {size:?}"));
    }
    fn set_window_icon_name(&mut self, _: &mut Screen, name: &[u8]) {
        self.0.push(format!("icon name {}", name.escape_ascii()));
    }
    fn set_window_title(&mut self, _: &mut Screen, title: &[u8]) {
        self.0.push(format!("title {}", title.escape_ascii()));
    }
    fn copy_to_clipboard(&mut self, _: &mut Screen, _: &[u8], data: &[u8]) {
        self.0.push(format!("copy {}", data.escape_ascii()));
    }
    fn paste_from_clipboard(&mut self, _: &mut Screen, _: &[u8]) {
        self.0.push("paste".to_owned());
    }
    fn unhandled_char(&mut self, _: &mut Screen, char: char) {
        self.0.push(format!("character {char:?}"));
    }
    fn unhandled_control(&mut self, _: &mut Screen, byte: u8) {
        self.0.push(format!("control {byte:02x}"));
    }
    fn unhandled_escape(&mut self, _: &mut Screen, _: Option<u8>, _: Option<u8>, byte: u8) {
        self.0.push(format!("escape {byte:02x}"));
    }
    fn unhandled_csi(&mut self, _: &mut Screen, _: Option<u8>, _: Option<u8>, numbers: &[&[u16]], char: char) {
        // The line editor has a redraw shown at once where a terminal can do that; this one cannot.
        if numbers != [[2026]] || !matches!(char, 'h' | 'l') {
            self.0.push(format!("CSI {numbers:?} {char}"));
        }
    }
    fn unhandled_osc(&mut self, _: &mut Screen, parts: &[&[u8]]) {
        self.0.push(format!("OSC {parts:?}"));
    }
}

impl Terminal {
    /// With a client that has these arguments, after `connect`.
    pub(crate) fn open(home: &Home, columns: u16, arguments: &[&str]) -> Self {
        let all: Vec<&str> = ["connect"].iter().chain(arguments).copied().collect();
        Self::with(home, columns, env!("CARGO_BIN_EXE_chinwag"), &all)
    }

    /// With a shell, whose prompt is `$ `.
    pub(crate) fn shell(home: &Home, columns: u16) -> Self {
        let terminal = Self::with(home, columns, "sh", &["-i"]);
        terminal.until("the shell's prompt", |rows| rows.last().is_some_and(|row| row == "$"));
        terminal
    }

    fn with(home: &Home, columns: u16, program: &str, arguments: &[&str]) -> Self {
        let (pty, pts) = open().expect("the system has a pseudo-terminal left");
        pty.resize(Size::new(ROWS, columns)).expect("a terminal takes a size");
        let first_modes = tcgetattr(&pty).expect("a terminal has modes");
        let command = Command::new(program).args(arguments).env_clear().envs(home.environment());
        let child = command.current_dir(home.folder()).spawn_borrowed(&pts).expect("it can be started");
        let parser = Parser::new_with_callbacks(size(ROWS), size(columns), 0, Noises::default());
        let (pty, screen) = (Arc::new(pty), Arc::new(Watched::new(parser)));
        let (source, shared) = (Arc::clone(&pty), Arc::clone(&screen));
        let reader = std::thread::spawn(move || {
            let mut bytes = vec![0; 16 * 1024];
            while let Ok(length @ 1..) = (&*source).read(&mut bytes) {
                shared.change(|screen| screen.process(&bytes[..length]));
            }
        });
        Self { child, pty, pts: Some(pts), reader: Some(reader), screen, first_modes }
    }

    /// Types.
    pub(crate) fn types(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).expect("a terminal takes keys");
    }

    /// Changes the width.
    pub(crate) fn resize(&self, columns: u16) {
        self.screen.change(|screen| screen.screen_mut().set_size(size(ROWS), size(columns)));
        self.pty.resize(Size::new(ROWS, columns)).expect("a terminal takes a size");
    }

    /// Waits until the screen is as wished.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, wished: impl Fn(&[String]) -> bool) {
        let found = self.screen.wait(|screen| wished(&rows(screen.screen())).then_some(()));
        assert!(found.is_some(), "no {what} on the screen:\n{}", self.shown());
    }

    /// Waits until a row has this.
    #[track_caller]
    pub(crate) fn expect(&self, part: &str) {
        self.until(part, |rows| rows.iter().any(|row| row.contains(part)));
    }

    /// Waits until the last rows are these, with times as `12:03`.
    #[track_caller]
    pub(crate) fn expect_last(&self, last: &[&str]) {
        let is_so = |rows: &[String]| rows.len() >= last.len() && rows[rows.len() - last.len()..] == *last;
        self.until(&format!("{last:#?}"), is_so);
    }

    /// Waits until the last rows are the prompt and a typed line, with the cursor after `before`, and all the rows above
    /// are `above`.
    #[track_caller]
    pub(crate) fn expect_typed(&self, above: &[String], prompt: &str, before: &str, after: &str) {
        let found = self.screen.wait(|screen| {
            let screen = screen.screen();
            let columns = usize::from(screen.size().1.get());
            let (mut wished, cursor) = draw(above, &format!("{prompt}{before}"), after, columns);
            let (row, column) = screen.cursor_position();
            let mut shown = rows(screen);
            // An empty last row, where the cursor is.
            while wished.last().is_some_and(String::is_empty) {
                wished.pop();
            }
            shown.truncate(shown.len().max(wished.len()));
            (shown == wished && cursor == (usize::from(row), usize::from(column))).then_some(())
        });
        if found.is_none() {
            let columns = self.screen.look(|screen| usize::from(screen.screen().size().1.get()));
            let wished = draw(above, &format!("{prompt}{before}"), after, columns);
            panic!("expected {wished:#?}\non the screen:\n{}", self.shown());
        }
    }

    /// The rows now, with times as `12:03`, and without lines that only tell the date.
    pub(crate) fn rows(&self) -> Vec<String> {
        self.screen.look(|screen| rows(screen.screen()))
    }

    /// What it was told to do that is not on the screen.
    pub(crate) fn noises(&self) -> Vec<String> {
        self.screen.look(|screen| screen.callbacks().0.clone())
    }

    /// Looks at the screen.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Screen) -> R) -> R {
        self.screen.look(|screen| look(screen.screen()))
    }

    /// The modes now.
    pub(crate) fn modes(&self) -> Termios {
        tcgetattr(&*self.pty).expect("a terminal has modes")
    }

    /// Waits until the program has ended: its exit code. The terminal must be as it was found.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let code = code_of(&mut self.child);
        assert_eq!(self.modes(), self.first_modes, "the terminal's modes are others now");
        // What it wrote last may still be on its way here.
        let reset = self.screen.wait(|screen| {
            let screen = screen.screen();
            (!screen.bracketed_paste() && !screen.hide_cursor() && !screen.alternate_screen()).then_some(())
        });
        assert!(reset.is_some(), "the terminal is not as it was:\n{}", self.shown());
        code
    }

    /// Sends a signal to the program, by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = std::process::Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} failed");
    }

    /// Memory that the program holds, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        resident_bytes(self.child.id())
    }

    fn shown(&self) -> String {
        let cursor = self.look(Screen::cursor_position);
        let rows: Vec<String> = self.rows().iter().map(|row| format!("|{row}")).collect();
        format!("{}\ncursor at {cursor:?}, noises {:?}", rows.join("\n"), self.noises())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Without the other end the reader comes to its own.
        drop(self.pts.take());
        if let Some(reader) = self.reader.take()
            && !std::thread::panicking()
        {
            let _ = reader.join();
        }
    }
}

fn size(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("a terminal has rows and columns")
}

fn rows(screen: &Screen) -> Vec<String> {
    let columns = screen.size().1.get();
    let mut rows: Vec<String> = screen.rows(0, columns).map(|row| with_fixed_time(row.trim_end())).collect();
    while rows.last().is_some_and(String::is_empty) {
        rows.pop();
    }
    rows.retain(|row| !row.starts_with("\u{2500}\u{2500} "));
    rows
}

/// A row that begins with a time begins with `12:03`.
fn with_fixed_time(row: &str) -> String {
    let begins = row.len() >= 6
        && row
            .bytes()
            .zip(*b"00:00 ")
            .all(|(byte, like)| if like == b'0' { byte.is_ascii_digit() } else { byte == like });
    if begins { format!("12:03{}", &row[5..]) } else { row.to_owned() }
}

/// The rows of a line that is being typed below others, and the row and column of the cursor.
fn draw(above: &[String], before: &str, after: &str, columns: usize) -> (Vec<String>, (usize, usize)) {
    let (mut rows, mut column) = (above.to_vec(), 0);
    rows.push(String::new());
    let mut put = |text: &str, rows: &mut Vec<String>| {
        for char in text.chars() {
            let wide = char.width().unwrap_or(0);
            if column + wide > columns {
                rows.push(String::new());
                column = 0;
            }
            column += wide;
            rows.last_mut().expect("there is one").push(char);
        }
        column
    };
    let column = put(before, &mut rows);
    let mut cursor = (rows.len() - 1, column);
    put(after, &mut rows);
    if cursor.1 == columns {
        cursor = (cursor.0 + 1, 0);
    }
    if after.chars().next().and_then(UnicodeWidthChar::width).is_some_and(|wide| cursor.1 + wide > columns) {
        // The cursor stands on what comes next.
        cursor = (cursor.0 + 1, 0);
    }
    (rows.into_iter().map(|row| row.trim_end().to_owned()).collect(), cursor)
}
