//! Patterns for frames: text that is meant literally, with places for what differs from run to run.
//!
//! `<T>` is a timestamp, `<U>` a user's id, `<N>` a guest's name, `<E>` an epoch, `<S>` a session, `<D>` a decimal number
//! and `<W>` any words (what may stand in a JSON string). With a digit behind, as in `<U1>`, the value is noted where it is first
//! met and must be the same from then on.

use std::collections::BTreeMap;

/// The values of the numbered places, by their names (`U1`).
pub(crate) type Bindings = BTreeMap<String, String>;

/// Compares a frame with a pattern, and notes the values of places that are new.
///
/// # Errors
/// Says where the first difference is.
pub(crate) fn compare(pattern: &str, text: &str, bindings: &mut Bindings) -> Result<(), String> {
    let mut rest = text;
    for piece in pieces(pattern) {
        let length = match piece {
            Piece::Literal(literal) if rest.starts_with(literal) => literal.len(),
            Piece::Literal(literal) => return Err(difference(literal, rest)),
            Piece::Place(kind, name) => {
                let length = kind.length_of(rest).ok_or_else(|| difference(&format!("a {kind:?}"), rest))?;
                let value = &rest[..length];
                let noted = name.map(|name| bindings.entry(name.to_owned()).or_insert_with(|| value.to_owned()));
                match noted {
                    Some(noted) if noted != value => return Err(difference(noted, rest)),
                    _ => length,
                }
            }
        };
        rest = &rest[length..];
    }
    if rest.is_empty() { Ok(()) } else { Err(difference("the end", rest)) }
}

/// Puts the noted values into a text that is to be sent.
pub(crate) fn fill_in(text: &str, bindings: &Bindings) -> String {
    bindings.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("<{name}>"), value))
}

fn difference(expected: &str, rest: &str) -> String {
    let rest: String = rest.chars().take(80).collect();
    format!("expected {expected:?}, got {rest:?}…")
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Timestamp,
    User,
    Guest,
    Epoch,
    Session,
    Number,
    Words,
}

impl Kind {
    fn of(letter: u8) -> Option<Self> {
        Some(match letter {
            b'T' => Self::Timestamp,
            b'U' => Self::User,
            b'N' => Self::Guest,
            b'E' => Self::Epoch,
            b'S' => Self::Session,
            b'D' => Self::Number,
            b'W' => Self::Words,
            _ => return None,
        })
    }

    /// How many bytes at the text's start are a value of this kind; `None` if none.
    fn length_of(self, text: &str) -> Option<usize> {
        let run = |good: fn(u8) -> bool, from: usize| {
            from + text.bytes().skip(from).position(|byte| !good(byte)).unwrap_or(text.len() - from)
        };
        let lower_or_digit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        match self {
            Self::Timestamp => is_timestamp(text.get(..24)?).then_some(24),
            Self::User => {
                let length = run(|byte| byte.is_ascii_lowercase() || matches!(byte, b'2'..=b'7'), 0);
                (text.starts_with('u') && length == 17).then_some(length)
            }
            Self::Guest => {
                let length = run(lower_or_digit, text.starts_with("guest-").then_some(6)?);
                (length >= 10).then_some(length)
            }
            Self::Epoch => Some(run(|byte| byte.is_ascii_alphanumeric(), 0)).filter(|&length| length >= 8),
            Self::Session => {
                let length = run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'), 0);
                (32..=128).contains(&length).then_some(length)
            }
            Self::Number => Some(run(|byte| byte.is_ascii_digit(), 0)).filter(|&length| length >= 1),
            Self::Words => Some(run(|byte| byte != b'"' && byte != b'\\', 0)).filter(|&length| length >= 1),
        }
    }
}

/// RFC 3339 in UTC with milliseconds, in this century.
fn is_timestamp(text: &str) -> bool {
    let shape = b"20dd-dd-ddTdd:dd:dd.dddZ";
    text.len() == shape.len()
        && text.bytes().zip(shape).all(|(byte, &want)| if want == b'd' { byte.is_ascii_digit() } else { byte == want })
}

enum Piece<'a> {
    Literal(&'a str),
    Place(Kind, Option<&'a str>),
}

fn pieces(mut pattern: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    while !pattern.is_empty() {
        let start = (0..pattern.len()).find(|&at| place_at(&pattern.as_bytes()[at..]).is_some());
        let literal = start.unwrap_or(pattern.len());
        if literal > 0 {
            pieces.push(Piece::Literal(&pattern[..literal]));
            pattern = &pattern[literal..];
        }
        if let Some((kind, length)) = place_at(pattern.as_bytes()) {
            pieces.push(Piece::Place(kind, (length > 3).then(|| &pattern[1..length - 1])));
            pattern = &pattern[length..];
        }
    }
    pieces
}

/// A place at the very start, and how long it is with its brackets.
fn place_at(text: &[u8]) -> Option<(Kind, usize)> {
    match *text {
        [b'<', letter, b'>', ..] => Some((Kind::of(letter)?, 3)),
        [b'<', letter, digit, b'>', ..] if digit.is_ascii_digit() => Some((Kind::of(letter)?, 4)),
        _ => None,
    }
}
