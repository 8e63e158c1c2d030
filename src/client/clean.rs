//! Words that came from others, made harmless: they cannot move the cursor, change colours, ring, set the title, reorder
//! a line, or begin one of their own at the left edge. What they would do is shown instead.
//!
//! | what comes | what is shown |
//! |---|---|
//! | ESC, BEL and the other control characters of ASCII | their pictures: `␛`, `␇` |
//! | the control characters above ASCII, what changes the direction, line and paragraph separators, invisible ones | `\u{202e}` |
//! | a tab | four spaces |
//! | a newline | in a message the next line, indented; elsewhere `␊` |
//! | zero-width joiners | themselves within an emoji or a word of a script that needs them; else `\u{200d}` |
//! | marks that are set above and below a letter | four on each; one without a letter is set on `◌` |
//!
//! Every text on the screen goes through here, by [`word`], [`name`] or [`Message`], but for what this program itself
//! says. Characters of scripts that run from right to left are left to the terminal.

use std::fmt::{self, Write as _};

use unicode_properties::{GeneralCategory, GeneralCategoryGroup as Group, UnicodeGeneralCategory as _};
use unicode_width::UnicodeWidthChar as _;

/// Marks on one letter. Thai and Vietnamese need two, Hebrew with all its points four; a pile of twenty runs over
/// the lines above and below.
const MARKS_MAX: usize = 4;

/// Columns of a name. The protocol allows 32 characters, which may be two columns wide each; but nobody's name may push
/// what is said out of sight.
const NAME_COLUMNS_MAX: usize = 40;

/// Bytes of a message that are shown: the longest that a server takes by default. What is beyond is counted.
const MESSAGE_BYTES_MAX: usize = 65_536;

/// A text on one line.
pub(super) fn word(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut cleaner = Cleaner::default();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        cleaner.push(&mut out, char, chars.peek().copied());
    }
    out
}

/// A name of a person or a room, on one line, cut to 40 columns.
pub(super) fn name(text: &str) -> String {
    // No name is longer than this that fits in 40 columns: each letter with all its marks, of four bytes each.
    let bytes_max = NAME_COLUMNS_MAX * (MARKS_MAX + 1) * 4;
    let clean = word(&text[..text.floor_char_boundary(bytes_max)]);
    let mut columns = 0;
    for (at, char) in clean.char_indices() {
        columns += char.width().unwrap_or(0);
        // The last column is for the mark of the cut.
        if columns > NAME_COLUMNS_MAX {
            let kept = keep_columns(&clean[..at], NAME_COLUMNS_MAX - 1);
            return format!("{kept}\u{2026}");
        }
    }
    if text.len() > bytes_max { format!("{}\u{2026}", keep_columns(&clean, NAME_COLUMNS_MAX - 1)) } else { clean }
}

/// As much of the beginning of a clean text as fits in so many columns.
pub(super) fn keep_columns(text: &str, columns_max: usize) -> &str {
    let mut columns = 0;
    for (at, char) in text.char_indices() {
        columns += char.width().unwrap_or(0);
        if columns > columns_max {
            return &text[..at];
        }
    }
    text
}

/// Whether a text is shown as it is, so that somebody may be asked to type it.
pub(super) fn is_clean(text: &str) -> bool {
    word(text) == text
}

/// What somebody said, with its newlines. Shows every line but the first at an indent; of several empty lines in a row one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// The words, as they came.
    pub(super) text: &'a str,
    /// Columns before each line but the first.
    pub(super) indent: usize,
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, left_out) = self.text.split_at(self.text.floor_char_boundary(MESSAGE_BYTES_MAX));
        let mut empty = false;
        for (number, line) in text.lines().enumerate() {
            if number > 0 && !(empty && line.is_empty()) {
                write!(f, "\n{:1$}", "", self.indent)?;
            }
            empty = line.is_empty();
            f.write_str(&word(line))?;
        }
        if left_out.is_empty() { Ok(()) } else { write!(f, "\u{2026} (+{} bytes)", left_out.len()) }
    }
}

/// What was shown so far, as far as it matters for the next character.
#[derive(Debug, Default)]
struct Cleaner {
    /// The character that a mark or a joiner would be set on; `None` where there is none.
    base: Option<char>,
    /// Marks on it.
    marks: usize,
}

impl Cleaner {
    fn push(&mut self, out: &mut String, char: char, next: Option<char>) {
        match char {
            '\t' => out.push_str("    "),
            '\0'..='\x1f' => out.push(picture(u32::from(char))),
            '\x7f' => out.push('\u{2421}'),
            '\u{200c}' | '\u{200d}' if self.may_join(next) => return out.push(char),
            _ if is_hidden(char) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(char));
            }
            _ if char.general_category_group() == Group::Mark => return self.push_mark(out, char),
            _ => {
                out.push(char);
                *self = Self { base: Some(char), marks: 0 };
                return;
            }
        }
        *self = Self::default();
    }

    fn push_mark(&mut self, out: &mut String, mark: char) {
        if self.base.is_none() {
            self.base = Some('\u{25cc}');
            out.push('\u{25cc}');
        }
        self.marks += 1;
        if self.marks <= MARKS_MAX {
            out.push(mark);
        }
    }

    /// Whether a zero-width joiner joins something here: parts of an emoji, or letters of a script that has joined ones.
    /// (RFC 5892, appendix A, asks for less of an emoji, and for more of letters.)
    fn may_join(&self, next: Option<char>) -> bool {
        let joins = |char: char| {
            let is_part = matches!(char.general_category_group(), Group::Letter | Group::Mark);
            let is_emoji =
                matches!(char.general_category(), GeneralCategory::OtherSymbol | GeneralCategory::ModifierSymbol);
            !char.is_ascii() && (is_part || is_emoji)
        };
        self.base.is_some_and(joins) && next.is_some_and(|next| joins(next) || is_sign(next))
    }
}

/// Signs that emoji are joined with although they are no symbols of their own: ♀ and ♂ are, the arrows are not.
fn is_sign(char: char) -> bool {
    matches!(char, '\u{2194}'..='\u{2195}' | '\u{27a1}')
}

/// The picture of a control character of ASCII.
fn picture(code: u32) -> char {
    char::from_u32(0x2400 + code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Whether a character has no look of its own: it would be obeyed, or overlooked.
fn is_hidden(char: char) -> bool {
    match char {
        // Signs of Arabic, Syriac and Kaithi that are set before numbers: of the category, but visible.
        '\u{600}'..='\u{605}'
        | '\u{6dd}'
        | '\u{70f}'
        | '\u{890}'..='\u{891}'
        | '\u{8e2}'
        | '\u{110bd}'
        | '\u{110cd}' => false,
        _ => is_ignorable(char) || is_format(char),
    }
}

/// Fillers, which are empty letters; marks that nobody sees; what is not assigned, but set apart for what is ignored when it
/// is shown; and what is never a character.
fn is_ignorable(char: char) -> bool {
    matches!(char, '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{ffa0}')
        || matches!(char, '\u{fff0}'..='\u{fff8}' | '\u{fffe}'..='\u{ffff}')
        || matches!(char, '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}')
}

/// Whether a character only tells how others are to be set: its categories.
pub(super) fn is_format(char: char) -> bool {
    matches!(
        char.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Message { text, indent: 2 }.to_string()
    }

    #[test]
    fn what_people_write_is_left_alone() {
        for text in [
            "",
            "hello, world",
            "Zürich \u{2014} \u{201c}quoted\u{201d}",
            "中文，全角。",
            "日本語テスト",
            "한국어",
            "עברית",
            "العربية",
            "ไทย กี้",
            "हिन्दी क्\u{200d}ष",
            "می\u{200c}خواهم",
            "e\u{301}a\u{308}\u{323}",
            "👩\u{200d}🚀 👨\u{200d}👩\u{200d}👧 🏳\u{fe0f}\u{200d}🌈 ❤\u{fe0f} 👋🏽 🇨🇭 👩🏽\u{200d}💻 🤷\u{200d}♀\u{fe0f}",
            "\u{a0}a\u{3000}b",
        ] {
            assert_eq!(word(text), text);
            assert!(is_clean(text));
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        for (text, shown) in [
            ("\x1b[2J\x1b]0;owned\x07", "␛[2J␛]0;owned␇"),
            ("a\rb\x08c\x7f\0", "a␍b␈c␡␀"),
            ("\u{9b}31m\u{85}", "\\u{9b}31m\\u{85}"),
            ("\u{202e}gnp.exe\u{2066}x\u{200f}\u{61c}", "\\u{202e}gnp.exe\\u{2066}x\\u{200f}\\u{61c}"),
            ("a\u{2028}b\u{2029}c", "a\\u{2028}b\\u{2029}c"),
            ("al\u{200b}ice\u{feff} \u{2060}\u{ad}", "al\\u{200b}ice\\u{feff} \\u{2060}\\u{ad}"),
            ("al\u{200d}ice \u{200c}", "al\\u{200d}ice \\u{200c}"),
            ("👩\u{200d}\u{200d}🚀", "👩\\u{200d}\\u{200d}🚀"),
            ("\u{3164}\u{e0041}\u{ffff}", "\\u{3164}\\u{e0041}\\u{ffff}"),
            ("a\tb\nc", "a    b␊c"),
        ] {
            assert_eq!(word(text), shown);
            assert!(!is_clean(text));
        }
    }

    #[test]
    fn marks_stay_on_their_own_letter_and_do_not_pile_up() {
        assert_eq!(word(&format!("a{}b", "\u{301}".repeat(50))), format!("a{}b", "\u{301}".repeat(MARKS_MAX)));
        assert_eq!(word("\u{301}a"), "\u{25cc}\u{301}a");
        assert_eq!(word("\x1b\u{301}"), "␛\u{25cc}\u{301}");
        assert_eq!(message("a\n\u{301}b"), "a\n  \u{25cc}\u{301}b");
    }

    #[test]
    fn a_name_fits_in_its_columns() {
        assert_eq!(name("Ann Lee"), "Ann Lee");
        assert_eq!(name(&"x".repeat(40)), "x".repeat(40));
        assert_eq!(name(&"x".repeat(41)), format!("{}\u{2026}", "x".repeat(39)));
        assert_eq!(name(&"名".repeat(20)), "名".repeat(20));
        assert_eq!(name(&"名".repeat(21)), format!("{}\u{2026}", "名".repeat(19)));
        assert_eq!(name("a\nb"), "a␊b");
        let pile = format!("a{}", "\u{301}".repeat(1_000_000));
        assert_eq!(name(&pile), format!("a{}\u{2026}", "\u{301}".repeat(MARKS_MAX)));
        assert!(name(&"\x1b".repeat(1_000_000)).len() < 200);
    }

    #[test]
    fn no_line_of_a_message_begins_at_the_left_edge_but_the_first() {
        assert_eq!(message("a\nb\r\nc"), "a\n  b\n  c");
        assert_eq!(message("a\r12:00 bob: no"), "a␍12:00 bob: no");
        assert_eq!(message("a\n\n\n\nb\n"), "a\n  \n  b");
        assert_eq!(message("\n12:00 bob: no"), "\n  12:00 bob: no");
    }

    #[test]
    fn a_message_loses_no_word_up_to_64_kib() {
        let text = "word ".repeat(MESSAGE_BYTES_MAX / 5);
        assert_eq!(message(&text), text);
        let text = format!("{}{}", "x".repeat(MESSAGE_BYTES_MAX - 1), "é".repeat(10));
        assert_eq!(message(&text), format!("{}\u{2026} (+20 bytes)", "x".repeat(MESSAGE_BYTES_MAX - 1)));
    }

    /// Every character there is, alone and after a letter: nothing comes out that a terminal obeys.
    #[test]
    fn no_character_is_obeyed() {
        for char in '\0'..=char::MAX {
            for text in [format!("{char}"), format!("a{char}b"), format!("中{char}文")] {
                let shown = word(&text);
                let obeyed = |shown: char| {
                    let joiner = matches!(shown, '\u{200c}' | '\u{200d}');
                    shown.is_control()
                        || matches!(shown, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
                        || matches!(shown, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{feff}')
                        || matches!(shown, '\u{2028}' | '\u{2029}')
                        || joiner && !text.starts_with('中')
                };
                assert!(!shown.chars().any(obeyed), "{text:?}: {shown:?}");
                assert_eq!(word(&shown), shown, "what is clean stays as it is");
                let lines = Message { text: &text, indent: 2 }.to_string();
                assert!(!lines.replace("\n  ", "").chars().any(obeyed), "{text:?}: {lines:?}");
            }
        }
    }
}
