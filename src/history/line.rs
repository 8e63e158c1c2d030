//! A message as a line of JSON: what `export` writes and `import` reads.
//!
//! ```json
//! {"room":"tea","epoch":"kqxt…","seq":7,"time":"2026-11-22T08:33:23.123Z","user":"u4k2…","name":"alice","id":"7","message":"hi"}
//! ```
//!
//! A private message has the stream that it lies in for its room (`@` and the user's id), and `to`. All else is as a `chat` frame has
//! it. Reading is strict: what export does not write is no line of an export.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::chat::{Draft, Line, Name, RoomName, UserId};
use crate::store::Given;
use crate::wire::timestamp::{Clockface, parse_rfc3339};

/// Bytes of a line of an export: the longest message that a server may be told to take, as JSON, and what stands around it.
pub(super) const LINE_BYTES_MAX: usize = 6 * MESSAGE_BYTES_MAX + 8_192;

/// The largest `--message-bytes`.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// The largest `--name-chars`.
const NAME_CHARS_MAX: usize = 256;

/// What the protocol allows of a client's own number.
const ID_BYTES_MAX: usize = 64;

/// More than any epoch has.
const EPOCH_BYTES_MAX: usize = 64;

/// Above it JSON's numbers are not exact for everybody.
const SEQ_MAX: u64 = (1 << 53) - 1;

/// The fields, in order.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(borrow)]
    room: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    epoch: Option<Cow<'a, str>>,
    seq: u64,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    user: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    to: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

/// Appends a line, with its end.
pub(super) fn write(out: &mut Vec<u8>, line: &Line, epoch: &str, clockface: &mut Clockface) {
    let draft = &line.draft;
    let fields = Fields {
        room: (&*line.room).into(),
        epoch: Some(epoch.into()),
        seq: line.seq,
        time: String::from_utf8_lossy(clockface.show(draft.time_ms)),
        user: draft.user.to_string().into(),
        name: (&*draft.from).into(),
        to: draft.to.as_deref().map(Cow::from),
        id: draft.id.as_deref().map(Cow::from),
        message: (&*draft.message).into(),
    };
    serde_json::to_writer(&mut *out, &fields).expect("a vector takes all that is written to it");
    out.push(b'\n');
}

/// Reads a line.
///
/// # Errors
/// A sentence about what is wrong.
pub(super) fn read(text: &[u8]) -> Result<Given, String> {
    let fields: Fields<'_> = serde_json::from_slice(text).map_err(|error| spelled(&error))?;
    let wrong = |field: &str, value: &str| format!("{field} {:?} is none", shortened(value));
    let name = |field: &str, text: &str| {
        let name = Name::parse(text, NAME_CHARS_MAX).filter(|name| **name == *text);
        name.ok_or_else(|| wrong(field, text))
    };
    let room = RoomName::kept(&fields.room).ok_or_else(|| wrong("room", &fields.room))?;
    if !(1..=SEQ_MAX).contains(&fields.seq) {
        return Err(format!("seq {} is none", fields.seq));
    }
    let is_epoch = |epoch: &str| {
        (1..=EPOCH_BYTES_MAX).contains(&epoch.len()) && epoch.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if let Some(epoch) = fields.epoch.as_deref().filter(|epoch| !is_epoch(epoch)) {
        return Err(wrong("epoch", epoch));
    }
    if let Some(id) = fields.id.as_deref().filter(|id| id.len() > ID_BYTES_MAX) {
        return Err(wrong("id", id));
    }
    if fields.message.len() > MESSAGE_BYTES_MAX {
        return Err(format!("the message is longer than {MESSAGE_BYTES_MAX} bytes"));
    }
    if room.is_stream() != fields.to.is_some() {
        return Err(
            if room.is_stream() { "a private message has no to" } else { "a message to a room has a to" }.to_owned()
        );
    }
    let draft = Draft {
        time_ms: parse_rfc3339(&fields.time).ok_or_else(|| wrong("time", &fields.time))?,
        user: UserId::parse(&fields.user).ok_or_else(|| wrong("user", &fields.user))?,
        from: name("name", &fields.name)?,
        id: fields.id.as_deref().map(Into::into),
        message: (&*fields.message).into(),
        to: fields.to.as_deref().map(|to| name("to", to)).transpose()?,
    };
    Ok(Given {
        line: Line { room, seq: fields.seq, draft },
        epoch: fields.epoch.map(|epoch| epoch.into_owned().into()),
    })
}

/// What `serde_json` finds wrong, without its own count of lines, which is always the first.
fn spelled(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split_once(" at line ").map_or(&*text, |(text, _)| text);
    format!("it is no message of an export ({text})")
}

/// The beginning of a text that may be long.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(60)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"room":"tea","epoch":"abcd","seq":7,"time":"2026-11-22T08:33:23.123Z","user":"uaaaaaaaaaaaaaaaa","name":"алиса 🐻","id":"7","message":"\u0000\"\\\n好"}"#;

    const PRIVATE: &str = r#"{"room":"@uaaaaaaaaaaaaaaaa","seq":1,"time":"1970-01-01T00:00:00.000Z","user":"u777777777777777a","name":"bob","to":"alice","message":""}"#;

    #[test]
    fn what_is_read_is_written_again_as_it_was() {
        for text in [LINE, PRIVATE] {
            let Given { line, epoch } = read(text.as_bytes()).unwrap_or_else(|why| panic!("{text}: {why}"));
            let mut out = Vec::new();
            write(&mut out, &line, epoch.as_deref().unwrap_or("none"), &mut Clockface::default());
            let written = String::from_utf8(out).unwrap().replace("\"epoch\":\"none\",", "");
            assert_eq!(written, format!("{text}\n"));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = "x".repeat(65);
        for (from, to, named) in [
            ("\"tea\"", "\"a b\"", "room \"a b\" is none"),
            ("\"tea\"", "\"@me\"", "room \"@me\" is none"),
            ("\"tea\"", "\"@uaaaaaaaaaaaaaaaa\"", "a private message has no to"),
            ("\"id\":\"7\"", "\"to\":\"bob\"", "a message to a room has a to"),
            ("\"abcd\"", "\"\"", "epoch \"\" is none"),
            (":7,", ":0,", "seq 0 is none"),
            (":7,", ":9007199254740992,", "seq 9007199254740992 is none"),
            (":7,", ":-1,", "no message of an export"),
            ("2026-11-22T", "yesterday ", "time \"yesterday 08:33:23.123Z\" is none"),
            ("uaaaaaaaaaaaaaaaa", "alice", "user \"alice\" is none"),
            ("алиса 🐻", "", "name \"\" is none"),
            ("алиса 🐻", "a\\u202eb", "name \"a\\u{202e}b\" is none"),
            ("\"7\"", &format!("\"{long}\""), "id \"xxx"),
            ("\"message\"", "\"massage\"", "unknown field `massage`"),
            (",\"name\":\"алиса 🐻\"", "", "missing field `name`"),
            ("}", "} {}", "trailing characters"),
        ] {
            assert!(LINE.contains(from), "{from}");
            let error = read(LINE.replacen(from, to, 1).as_bytes()).expect_err(to);
            assert!(error.contains(named), "{to}: {error}");
        }
    }
}
