//! What is shown, as lines of text: pure, given the time. Either for a person at a terminal, or for a file.
//!
//! | | at a terminal | in a file (`--plain`) |
//! |---|---|---|
//! | a line | `12:03 alice: hi` | `2026-11-22 12:03:04 alice: hi` |
//! | in several rooms | `12:03 [tea] alice: hi` | `2026-11-22 12:03:04 [tea] alice: hi` |
//! | a private one | `12:03 (private) alice → bob: hi` | `2026-11-22 12:03:04 (private) alice → bob: hi` |
//! | an older one, asked for | `12:03 ↑ alice: hi` | `2026-11-22 12:03:04 alice: hi` |
//! | a notice | `12:03 * bob joined` | `2026-11-22 12:03:04 * bob joined` |
//! | a new day | `── 2026-11-22 ──` | |

use std::collections::HashMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::wire::encode::Lang;

use super::clean::{Message, name, word};
use super::paint::Paint;
use super::talk::Said;
use super::words;

/// Names that `/who` shows at most: more scroll away what is said.
const NAMES_SHOWN_MAX: usize = 50;

/// Names whose users are known at a time.
const BEARERS_MAX: usize = 1_000;

/// Makes lines.
#[derive(Debug)]
pub(crate) struct Lines {
    /// How they are painted.
    pub(super) paint: Paint,
    /// The person's language.
    pub(super) lang: Lang,
    /// Whether they go to a file: each with its date.
    pub(super) dated: bool,
    /// Whether there are several rooms, so that each line says its own.
    pub(super) several: bool,
    /// The person's time zone.
    zone: TimeZone,
    /// The day of the line before.
    day: Date,
    /// Which user bears a name, as far as they have spoken: where only the name is told.
    bearers: HashMap<String, String>,
}

impl Lines {
    /// Lines that follow a day.
    pub(super) fn new(paint: Paint, lang: Lang, dated: bool, now: &Zoned) -> Self {
        let (zone, day) = (now.time_zone().clone(), now.date());
        Self { paint, lang, dated, several: false, zone, day, bearers: HashMap::new() }
    }

    /// Lines of a file that tells what was said, at whatever time, in one room or in several.
    pub(crate) fn of_history(several: bool) -> Self {
        let now = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::system());
        Self { several, ..Self::new(Paint::Bare, Lang::English, true, &now) }
    }

    /// A line that was said at the time that it says.
    pub(crate) fn past(&mut self, said: &Said) -> String {
        self.said(said, &Timestamp::UNIX_EPOCH.to_zoned(self.zone.clone()))
    }

    /// A line that somebody said.
    pub(super) fn said(&mut self, said: &Said, now: &Zoned) -> String {
        self.note_bearer(said);
        let bearer = |name| self.bearers.get(name).map_or(name, String::as_str);
        let from = self.paint.name(&name(&said.from), bearer(&said.from), said.own);
        let who = said.to.as_ref().map_or_else(
            || from.clone(),
            |to| {
                let to = self.paint.name(&name(to), bearer(to), false);
                format!("{} {from} \u{2192} {to}", self.paint.strong(words::private(self.lang)))
            },
        );
        let mark = if said.old && !self.dated { self.paint.dim("\u{2191} ") } else { String::new() };
        let room = self.room(said.room.as_deref().filter(|_| said.to.is_none()));
        let message = self.message(&said.message);
        format!("{}{mark}{room}{who}: {message}\n", self.time(&said.timestamp, now))
    }

    fn note_bearer(&mut self, said: &Said) {
        if self.bearers.len() >= BEARERS_MAX {
            // Colours of names that have not spoken again may change.
            self.bearers.clear();
        }
        let bearer = said.user.as_ref().unwrap_or(&said.from);
        self.bearers.insert(said.from.clone(), bearer.clone());
    }

    /// What a server says that means nothing to us.
    pub(super) fn text(&mut self, text: &str, now: &Zoned) -> String {
        let text = self.message(text);
        format!("{}{text}\n", self.time("", now))
    }

    /// What the server says about others.
    pub(super) fn notice(&mut self, room: Option<&str>, message: &str, timestamp: &str, now: &Zoned) -> String {
        let time = self.time(timestamp, now);
        let room = if self.several {
            room.map_or_else(String::new, |room| format!("[{}] ", name(room)))
        } else {
            String::new()
        };
        format!("{time}{}\n", self.paint.dim(&format!("* {room}{}", word(message))))
    }

    /// What the client itself says: a mark, and words that are clean.
    pub(super) fn own(&mut self, mark: &str, words: &str, now: &Zoned) -> String {
        format!("{}{}\n", self.time("", now), self.paint.dim(&format!("{mark} {words}")))
    }

    /// The same, not to be overlooked.
    pub(super) fn alarm(&mut self, words: &str, now: &Zoned) -> String {
        format!("{}{}\n", self.time("", now), self.paint.strong(&format!("! {words}")))
    }

    /// Who is in a room.
    pub(super) fn present(&mut self, room: &str, names: &[String], online: u64, now: &Zoned) -> String {
        let shown = &names[..names.len().min(NAMES_SHOWN_MAX)];
        let more = online.saturating_sub(shown.len() as u64);
        let shown: Vec<String> = shown.iter().map(|who| name(who)).collect();
        let words = words::present(self.lang, room, &shown.join(words::comma(self.lang)), online, more);
        self.own("*", &words, now)
    }

    fn message<'a>(&self, text: &'a str) -> Message<'a> {
        Message { text, indent: if self.dated { 4 } else { 6 } }
    }

    fn room(&self, room: Option<&str>) -> String {
        match room {
            Some(room) if self.several => format!("{} ", self.paint.dim(&format!("[{}]", name(room)))),
            _ => String::new(),
        }
    }

    /// The time with a space behind it; before it, at a terminal, a line with the date if that has changed.
    ///
    /// What has no time of its own, or none that can be read, happens now.
    fn time(&mut self, timestamp: &str, now: &Zoned) -> String {
        let when = timestamp.parse::<Timestamp>().map_or_else(|_| now.clone(), |time| time.to_zoned(self.zone.clone()));
        if self.dated {
            return when.strftime("%Y-%m-%d %H:%M:%S ").to_string();
        }
        let new_day = self.day != when.date();
        self.day = when.date();
        let time = self.paint.dim(&when.strftime("%H:%M").to_string());
        if new_day {
            format!("{}\n{time} ", self.paint.dim(&format!("── {} ──", self.day)))
        } else {
            format!("{time} ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        "2026-11-22T12:00:00+01:00[+01:00]".parse().unwrap()
    }

    fn lines(paint: Paint, dated: bool) -> Lines {
        Lines::new(paint, Lang::English, dated, &now())
    }

    fn said(from: &str, message: &str) -> Said {
        Said {
            room: Some("tea".into()),
            from: from.into(),
            user: Some("u1".into()),
            to: None,
            message: message.into(),
            timestamp: "2026-11-22T11:03:04.5Z".into(),
            own: false,
            old: false,
        }
    }

    #[test]
    fn times_are_local() {
        let mut terminal = lines(Paint::Bare, false);
        assert_eq!(terminal.said(&said("alice", "hi"), &now()), "12:03 alice: hi\n");
        assert_eq!(terminal.notice(Some("tea"), "bob joined", "2026-11-22T11:04:00Z", &now()), "12:04 * bob joined\n");
        let mut file = lines(Paint::Bare, true);
        assert_eq!(file.said(&said("alice", "hi"), &now()), "2026-11-22 12:03:04 alice: hi\n");
        assert_eq!(file.notice(None, "bob joined", "", &now()), "2026-11-22 12:00:00 * bob joined\n");
        for nonsense in ["", "yesterday", "2026-99-22T11:03:04Z"] {
            let line = Said { timestamp: nonsense.into(), ..said("alice", "hi") };
            assert_eq!(terminal.said(&line, &now()), "12:00 alice: hi\n");
        }
    }

    #[test]
    fn a_new_day_is_told_at_a_terminal() {
        let mut terminal = lines(Paint::Bare, false);
        let yesterday = Said { timestamp: "2026-11-21T22:30:00Z".into(), ..said("alice", "late") };
        assert_eq!(terminal.said(&yesterday, &now()), "── 2026-11-21 ──\n23:30 alice: late\n");
        assert_eq!(terminal.said(&yesterday, &now()), "23:30 alice: late\n");
        assert_eq!(terminal.said(&said("alice", "hi"), &now()), "── 2026-11-22 ──\n12:03 alice: hi\n");
        assert_eq!(lines(Paint::Bare, true).said(&yesterday, &now()), "2026-11-21 23:30:00 alice: late\n");
    }

    #[test]
    fn the_room_is_told_when_there_are_several() {
        let mut terminal = Lines { several: true, ..lines(Paint::Bare, false) };
        assert_eq!(terminal.said(&said("alice", "hi"), &now()), "12:03 [tea] alice: hi\n");
        assert_eq!(terminal.notice(Some("tea"), "bob joined", "", &now()), "12:00 * [tea] bob joined\n");
        let private = Said { room: None, to: Some("bob".into()), ..said("alice", "psst") };
        assert_eq!(terminal.said(&private, &now()), "12:03 (private) alice \u{2192} bob: psst\n");
        let old = Said { old: true, ..said("alice", "hi") };
        assert_eq!(terminal.said(&old, &now()), "12:03 \u{2191} [tea] alice: hi\n");
    }

    #[test]
    fn later_lines_of_a_message_are_indented() {
        let forged = said("eve", "hi\n12:03 bob: I quit");
        assert_eq!(lines(Paint::Bare, false).said(&forged, &now()), "12:03 eve: hi\n      12:03 bob: I quit\n");
        let line = lines(Paint::Bare, true).said(&forged, &now());
        assert_eq!(line, "2026-11-22 12:03:04 eve: hi\n    12:03 bob: I quit\n");
    }

    #[test]
    fn who_is_there() {
        let names: Vec<String> = (0..60).map(|number| format!("n{number}")).collect();
        let line = lines(Paint::Bare, false).present("tea", &names[..2], 2, &now());
        assert_eq!(line, "12:00 * 2 in tea: n0, n1\n");
        assert!(lines(Paint::Bare, false).present("tea", &names, 1_000, &now()).ends_with("n49 and 950 more\n"));
    }

    /// Only the painter's own escape sequences are in what is written, whatever came.
    #[test]
    fn no_escape_sequence_comes_from_outside() {
        let evil = "\x1b[31m\u{9b}2J\x07\n\u{202e}\r";
        let everything = Said {
            room: Some(evil.into()),
            from: evil.into(),
            user: Some(evil.into()),
            to: None,
            message: evil.into(),
            timestamp: evil.into(),
            own: true,
            old: true,
        };
        for (paint, dated) in [(Paint::Bare, true), (Paint::Full, false), (Paint::Basic, false)] {
            let mut lines = Lines { several: true, ..lines(paint, dated) };
            let mut text = lines.said(&everything, &now());
            text += &lines.said(&Said { to: Some(evil.into()), ..everything.clone() }, &now());
            text += &lines.notice(Some(evil), evil, evil, &now());
            text += &lines.present(evil, &[evil.into()], 1, &now());
            // What the painter makes: ESC [ numbers and semicolons m.
            let rest: String = text
                .split("\x1b[")
                .enumerate()
                .map(|(number, part)| match (number, part.split_once('m')) {
                    (0, _) => part,
                    (_, Some((style, rest))) if style.chars().all(|char| char.is_ascii_digit() || char == ';') => rest,
                    _ => panic!("{text:?}"),
                })
                .collect();
            assert!(!rest.contains(|char: char| char.is_control() && char != '\n'), "{rest:?}");
            assert!(!rest.contains('\u{202e}'), "{rest:?}");
            for line in text.lines() {
                assert!(!line.starts_with(['b', '\u{2405}']), "{line:?}");
            }
        }
    }

    #[test]
    fn names_keep_their_colour_and_the_own_one_is_bold() {
        let mut terminal = lines(Paint::Full, false);
        let line = terminal.said(&said("alice", "hi"), &now());
        let renamed = terminal.said(&said("alicia", "hi"), &now());
        assert_eq!(line.replace("alice", "alicia"), renamed, "the colour is the user's, not the name's");
        let own = terminal.said(&Said { own: true, ..said("alice", "hi") }, &now());
        assert!(own.contains("\x1b[1;38;5;"), "{own:?}");
        let bob = Said { user: Some("u2".into()), ..said("bob", "x") };
        let to_bob = Said { to: Some("bob".into()), ..said("alice", "psst") };
        let colour = Paint::Full.name("bob", "u2", false);
        assert_ne!(colour, Paint::Full.name("bob", "bob", false), "else this proves nothing");
        assert!(terminal.said(&bob, &now()).contains(&colour) && terminal.said(&to_bob, &now()).contains(&colour));
    }
}
