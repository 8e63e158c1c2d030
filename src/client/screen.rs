//! The screen: shows what the conversation has to show. At a terminal above the line that is being typed; else as bare
//! lines, or frames, on standard output.
//!
//! What is said and told in rooms is standard output's. Without a terminal, what the client itself has to say is standard
//! error's, a line each, so that a log of a room is only that.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;

use jiff::Zoned;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::wire::encode::Lang;

use super::Mode;
use super::desk::{Desk, Place};
use super::keyboard::Keyboard;
use super::lines::Lines;
use super::paint::Paint;
use super::talk::{OwnWord, Shown};
use super::words::{self, Tone};

/// Switches bracketed paste off, which the line editor switches on.
const PASTE_OFF: &str = "\x1b[?2004l";

/// Shows things.
#[derive(Debug)]
pub struct Screen {
    face: Face,
    lines: Lines,
}

#[derive(Debug)]
enum Face {
    /// With the terminal's modes as they were before.
    Terminal {
        desk: Arc<Desk>,
        modes: Termios,
    },
    /// `is_person`: whether the input is a terminal.
    Plain {
        is_person: bool,
    },
    Json,
}

impl Screen {
    /// Whether there is a terminal on both sides, and one that can move its cursor.
    pub fn is_terminal() -> bool {
        // Those that the line editor does not know how to draw on, as it has them.
        let dumb = ["dumb", "cons25", "emacs"];
        let capable = std::env::var("TERM").is_ok_and(|term| !dumb.iter().any(|dumb| dumb.eq_ignore_ascii_case(&term)));
        capable && io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// A screen. Asked for a terminal where there is none, it is a plain one.
    pub fn open(mode: Mode, lang: Lang) -> Self {
        let plain = || Face::Plain { is_person: io::stdin().is_terminal() };
        let face = match mode {
            Mode::Terminal => open_terminal().unwrap_or_else(|_| plain()),
            Mode::Plain => plain(),
            Mode::Json => Face::Json,
        };
        let paint = match &face {
            Face::Terminal { .. } => paint_of_terminal(),
            Face::Plain { .. } | Face::Json => Paint::Bare,
        };
        let dated = !matches!(face, Face::Terminal { .. });
        Self { face, lines: Lines::new(paint, lang, dated, &Zoned::now()) }
    }

    /// The keyboard that belongs to it.
    pub fn keyboard(&self) -> Keyboard {
        let terminal = match &self.face {
            Face::Terminal { desk, modes } => Some((Arc::clone(desk), modes.clone())),
            Face::Plain { .. } | Face::Json => None,
        };
        Keyboard::new(terminal, self.lines.lang)
    }

    /// Shows something.
    ///
    /// # Errors
    /// Standard output's; [`BrokenPipe`](io::ErrorKind::BrokenPipe) if nobody reads it any more.
    pub fn show(&mut self, shown: Shown) -> io::Result<()> {
        let now = Zoned::now();
        match shown {
            Shown::Said(said) => {
                if let Face::Terminal { desk, .. } = &self.face {
                    desk.note_name(&said.from);
                }
                let line = self.lines.said(&said, &now);
                self.write(&line)
            }
            Shown::Notice { room, message, timestamp } => {
                let line = self.lines.notice(room.as_deref(), &message, &timestamp, &now);
                self.write(&line)
            }
            Shown::Present { room, names, online } => {
                if let Face::Terminal { desk, .. } = &self.face {
                    // So that the first of the list is the first that is completed.
                    names.iter().rev().for_each(|name| desk.note_name(name));
                }
                let line = self.lines.present(&room, &names, online, &now);
                self.write(&line)
            }
            Shown::Text(text) => {
                let line = self.lines.text(&text, &now);
                self.write(&line)
            }
            Shown::Frame(frame) => self.write(&one_line(&frame)),
            Shown::Refused { code, message, about } => {
                let words = words::refused(self.lines.lang, &code, &message, about.as_ref());
                self.say(Tone::Alarm, &words, &now)
            }
            Shown::Own(own) => self.show_own(&own, &now),
            Shown::State { waiting, room, rooms, name, connected } => {
                self.lines.several = rooms.len() > 1;
                if let Face::Terminal { desk, .. } = &self.face {
                    desk.set_place(Place { waiting, room, rooms, name, connected });
                }
                Ok(())
            }
            Shown::Ended { success: _, why } => {
                self.close();
                if let Some(why) = why {
                    complain(&words::own(self.lines.lang, &why));
                }
                Ok(())
            }
        }
    }

    fn show_own(&mut self, own: &OwnWord, now: &Zoned) -> io::Result<()> {
        let words = words::own(self.lines.lang, own);
        match (own, &self.face) {
            (OwnWord::Waiting { .. }, Face::Terminal { .. }) => {
                let line = self.lines.own("\u{22ef}", &words, now);
                self.write(&line)
            }
            // Whoever pipes something in wants to hear of trouble only.
            (OwnWord::Waiting { .. }, _)
            | (OwnWord::Connected { .. }, Face::Json | Face::Plain { is_person: false }) => Ok(()),
            _ => self.say(words::tone(own), &words, now),
        }
    }

    /// Says something of the client's own.
    fn say(&mut self, tone: Tone, words: &str, now: &Zoned) -> io::Result<()> {
        if !matches!(self.face, Face::Terminal { .. }) {
            complain(words);
            return Ok(());
        }
        let line = match tone {
            Tone::Quiet => self.lines.own("*", words, now),
            Tone::Alarm => self.lines.alarm(words, now),
        };
        self.write(&line)
    }

    fn write(&self, text: &str) -> io::Result<()> {
        if let Face::Terminal { desk, .. } = &self.face {
            return desk.print(text);
        }
        let mut output = io::stdout().lock();
        output.write_all(text.as_bytes())?;
        output.flush()
    }

    /// Leaves the terminal as it was found. A second time it does nothing new.
    fn close(&self) {
        if let Face::Terminal { desk, modes } = &self.face {
            desk.end();
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, modes);
            let mut output = io::stdout().lock();
            // A terminal that is gone needs no farewell.
            let _ = output.write_all(PASTE_OFF.as_bytes()).and_then(|()| output.flush());
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.close();
    }
}

/// The terminal as it is between two lines: what is typed is not echoed, but kept for the editor.
fn open_terminal() -> io::Result<Face> {
    let terminal = io::stdin();
    let modes = tcgetattr(&terminal)?;
    let mut silent = modes.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(&terminal, SetArg::TCSADRAIN, &silent)?;
    Ok(Face::Terminal { desk: Arc::new(Desk::new(paint_of_terminal())), modes })
}

fn paint_of_terminal() -> Paint {
    Paint::of_terminal(|name| std::env::var(name).ok())
}

/// Says something on standard error. If nobody reads that, there is nobody to tell.
fn complain(words: &str) {
    let _ = writeln!(io::stderr(), "chinwag: {words}");
}

/// A frame on a line of its own, and so that a terminal would not obey it. In JSON a control character may only stand
/// between values, where a space does as well; in a string it is always spelled like this.
fn one_line(frame: &str) -> String {
    let mut line = String::with_capacity(frame.len() + 1);
    for char in frame.chars() {
        match char {
            '\n' | '\r' | '\t' => line.push(' '),
            char if char.is_control() => {
                let _ = write!(line, "\\u{:04x}", u32::from(char));
            }
            char => line.push(char),
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_line_and_means_the_same() {
        let frame = "{\n\t\"message\":\"a\u{7f}\u{9b}b\",\r\n\"x\":1}";
        let line = one_line(frame);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.trim_end().contains(|char: char| char.is_control()));
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&line), value(frame));
        assert_eq!(one_line("\x1b]0;x\x07"), "\\u001b]0;x\\u0007\n");
    }
}
