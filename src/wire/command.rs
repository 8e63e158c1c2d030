//! Text messages to commands.
//!
//! One pass over the JSON fills a slot for each field that any command has; the command then takes what is its own.
//! So fields that a command does not have are ignored whatever they are, and of a field that comes twice the last
//! wins. Strings without escapes are borrowed from the message.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::chat::command::{Ask, Command, Echo, Entry, ErrorCode, Fault, From, Hello, Span};

use super::timestamp;

/// The longest `ref`, `id` and `t`, in bytes.
const TAG_BYTES_MAX: usize = 64;

/// Numbers of the protocol are below 2^53: what a JavaScript number holds without loss.
const WHOLE_END: u64 = 1 << 53;

/// Rooms in a `hello` at most: more than anybody may be in, and little to hold.
const ENTRIES_MAX: usize = 256;

/// How many lines of a history are sent if the request does not say.
const HISTORY_LINES: u32 = 50;

/// And at most.
const HISTORY_LINES_MAX: u32 = 200;

/// Reads a text message of a plain client: a JSON object is a command, any other text is a line for the first room.
pub fn parse_plain(text: &str) -> Command<'_> {
    let line = Ask::Chat { room: None, message: Cow::Borrowed(text), id: None };
    parse_object(text).unwrap_or(Command { ask: line, reference: None })
}

/// Reads a text message of a `chinwag.v1` client: a JSON object. Anything else is answered, never told: a `hello` that was
/// cut must not leak its secret into a room.
pub fn parse_v1(text: &str) -> Command<'_> {
    parse_object(text).unwrap_or_else(|| wrong(Fault::new(ErrorCode::BadJson, "this is not a JSON object")))
}

fn wrong(fault: Fault) -> Command<'static> {
    Command { ask: Ask::Wrong { fault, room: None, id: None }, reference: None }
}

/// Reads a JSON object; `None` if the text is none.
fn parse_object(text: &str) -> Option<Command<'_>> {
    // Chat lines that people type are told from JSON by their first character.
    if !text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{') {
        return None;
    }
    match serde_json::from_str::<Fields<'_>>(text) {
        Ok(fields) => Some(fields.into_command()),
        // JSON by the grammar, but with a value that cannot be held: its sender meant an object.
        Err(_) if serde_json::from_str::<IgnoredAny>(text).is_ok() => {
            let message = "the JSON has a lone surrogate or a number out of range";
            Some(wrong(Fault::new(ErrorCode::BadRequest, message)))
        }
        Err(_) => None,
    }
}

/// A field of some command's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Type,
    Message,
    Room,
    Id,
    Ref,
    To,
    Name,
    T,
    Epoch,
    Seq,
    Time,
    Last,
    Before,
    After,
    Limit,
    Session,
    Rooms,
}

impl Field {
    const COUNT: usize = Self::Rooms as usize + 1;

    /// As spelled on the wire, in the order of the variants.
    const NAMES: [&str; Self::COUNT] = [
        "type", "message", "room", "id", "ref", "to", "name", "t", "epoch", "seq", "time", "last", "before", "after",
        "limit", "session", "rooms",
    ];

    const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    fn should_be(self, what: &str) -> Fault {
        Fault { code: ErrorCode::BadRequest, message: format!("`{}` should be {what}", self.name()).into() }
    }
}

/// A field's value, as far as any command cares.
#[derive(Debug, Default)]
enum Value<'a> {
    /// `null` is as good as absent.
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Whole(u64),
    Number(serde_json::Number),
    /// Of `rooms`: read when a `hello` takes it.
    Raw(&'a RawValue),
    /// `true`, `false`, another list or an object.
    Other,
}

/// The fields of a message that some command has.
#[derive(Debug, Default)]
struct Fields<'a>([Value<'a>; Field::COUNT]);

impl<'a> Fields<'a> {
    fn into_command(mut self) -> Command<'a> {
        let kind = match self.take(Field::Type) {
            Value::Text(kind) => kind,
            _ => Cow::Borrowed(""),
        };
        let (room, id) = (self.peek(Field::Room), self.peek(Field::Id));
        let (reference, ask) = match self.tag(Field::Ref) {
            Ok(reference) => (reference, self.ask(&kind)),
            // What else is wrong is told first.
            Err(fault) => (None, self.ask(&kind).and(Err(fault))),
        };
        Command { ask: ask.unwrap_or_else(|fault| Ask::Wrong { fault, room, id }), reference }
    }

    /// A text that is short enough to be returned with an error.
    fn peek(&self, field: Field) -> Option<Cow<'a, str>> {
        match &self.0[field as usize] {
            Value::Text(text) if text.len() <= TAG_BYTES_MAX => Some(text.clone()),
            _ => None,
        }
    }

    fn ask(&mut self, kind: &str) -> Result<Ask<'a>, Fault> {
        Ok(match kind {
            "chat" => Ask::Chat { room: self.text(Field::Room)?, message: self.message()?, id: self.tag(Field::Id)? },
            "private" => Ask::Private {
                to: self.text(Field::To)?.ok_or_else(|| Field::To.should_be("a user's id or name"))?,
                message: self.message()?,
                id: self.tag(Field::Id)?,
            },
            "join" => Ask::Join { room: self.required_room()?, from: self.from()? },
            "leave" => Ask::Leave { room: self.required_room()? },
            "name" => Ask::Rename {
                name: self.text(Field::Name)?.ok_or_else(|| Field::Name.should_be("the name that you want"))?,
            },
            "who" => Ask::Who { room: self.text(Field::Room)? },
            "history" => Ask::History { room: self.text(Field::Room)?, span: self.span()?, limit: self.limit()? },
            "typing" => Ask::Typing { room: self.text(Field::Room)? },
            "ping" => Ask::Ping { t: self.echo()? },
            "hello" => Ask::Hello(Hello {
                name: self.text(Field::Name)?,
                session: self.text(Field::Session)?,
                rooms: self.entries()?,
            }),
            _ => {
                let message = "`type` should be one of: chat, private, join, leave, name, who, history, typing, ping";
                return Err(Fault::new(ErrorCode::UnknownType, message));
            }
        })
    }

    /// The rooms of a `hello`, each with where to begin.
    fn entries(&mut self) -> Result<Option<Vec<Entry<'a>>>, Fault> {
        let entry = |mut fields: Fields<'a>| Ok(Entry { room: fields.required_room()?, from: fields.from()? });
        match self.take(Field::Rooms) {
            Value::Absent => Ok(None),
            Value::Raw(raw) => {
                let Ok(Entries(entries)) = serde_json::from_str(raw.get()) else {
                    return Err(Field::Rooms.should_be(&format!("a list of at most {ENTRIES_MAX} objects")));
                };
                entries.into_iter().map(entry).collect::<Result<_, _>>().map(Some)
            }
            _ => Err(Field::Rooms.should_be("a list")),
        }
    }

    fn message(&mut self) -> Result<Cow<'a, str>, Fault> {
        Ok(self.text(Field::Message)?.unwrap_or_default())
    }

    fn required_room(&mut self) -> Result<Cow<'a, str>, Fault> {
        self.text(Field::Room)?.ok_or_else(|| Field::Room.should_be("the name of a room"))
    }

    /// Where a `join` begins: `seq` wins over `last`.
    fn from(&mut self) -> Result<From<'a>, Fault> {
        let epoch = self.text(Field::Epoch)?;
        let seq = self.whole(Field::Seq)?;
        let last = self.whole(Field::Last)?;
        let time_ms = match self.text(Field::Time)? {
            Some(time) => Some(
                timestamp::parse_rfc3339(&time)
                    .ok_or_else(|| Field::Time.should_be("a time such as 2026-11-22T08:33:23.123Z"))?,
            ),
            None => None,
        };
        Ok(match (seq, epoch, last) {
            (Some(seq), Some(epoch), _) => From::Position { epoch, seq, time_ms },
            (Some(_), None, _) => return Err(Field::Epoch.should_be("there with `seq`, as `joined` gave it")),
            (None, _, Some(last)) => From::Last(u32::try_from(last).unwrap_or(u32::MAX)),
            (None, _, None) => From::Live,
        })
    }

    fn span(&mut self) -> Result<Span, Fault> {
        match (self.whole(Field::Before)?, self.whole(Field::After)?) {
            (None, None) => Ok(Span::Newest),
            (Some(before), None) => Ok(Span::Before(before)),
            (None, Some(after)) => Ok(Span::After(after)),
            (Some(_), Some(_)) => Err(Field::Before.should_be("there without `after`, or `after` without it")),
        }
    }

    fn limit(&mut self) -> Result<u32, Fault> {
        match self.take(Field::Limit) {
            Value::Absent => Ok(HISTORY_LINES),
            // At most 200, so it fits.
            Value::Whole(limit) if (1..=u64::from(HISTORY_LINES_MAX)).contains(&limit) => Ok(limit as u32),
            _ => Err(Field::Limit.should_be(&format!("a whole number from 1 to {HISTORY_LINES_MAX}"))),
        }
    }

    fn echo(&mut self) -> Result<Option<Echo>, Fault> {
        match self.take(Field::T) {
            Value::Absent => Ok(None),
            Value::Whole(number) => Ok(Some(Echo::Number(number.into()))),
            Value::Number(number) => Ok(Some(Echo::Number(number))),
            Value::Text(text) => Ok(Some(Echo::Text(short(Field::T, text)?.into()))),
            Value::Raw(_) | Value::Other => Err(Field::T.should_be("a number or a string")),
        }
    }

    fn text(&mut self, field: Field) -> Result<Option<Cow<'a, str>>, Fault> {
        match self.take(field) {
            Value::Absent => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            Value::Whole(_) | Value::Number(_) | Value::Raw(_) | Value::Other => Err(field.should_be("a string")),
        }
    }

    /// A text of the client's own that it gets back.
    fn tag(&mut self, field: Field) -> Result<Option<Cow<'a, str>>, Fault> {
        self.text(field)?.map(|text| short(field, text)).transpose()
    }

    fn whole(&mut self, field: Field) -> Result<Option<u64>, Fault> {
        match self.take(field) {
            Value::Absent => Ok(None),
            Value::Whole(number) if number < WHOLE_END => Ok(Some(number)),
            _ => Err(field.should_be("a whole number from 0 to 9007199254740991")),
        }
    }

    fn take(&mut self, field: Field) -> Value<'a> {
        std::mem::take(&mut self.0[field as usize])
    }
}

fn short(field: Field, text: Cow<'_, str>) -> Result<Cow<'_, str>, Fault> {
    if text.len() <= TAG_BYTES_MAX {
        return Ok(text);
    }
    let message = format!("`{}` should have at most {TAG_BYTES_MAX} bytes", field.name());
    Err(Fault { code: ErrorCode::TooLarge, message: message.into() })
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(KnownField(place)) = map.next_key()? {
            match place {
                Some(place) if place == Field::Rooms as usize => {
                    let raw: &RawValue = map.next_value()?;
                    fields.0[place] = if raw.get() == "null" { Value::Absent } else { Value::Raw(raw) };
                }
                Some(place) => fields.0[place] = map.next_value()?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(fields)
    }
}

/// The objects of `rooms`.
struct Entries<'a>(Vec<Fields<'a>>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {ENTRIES_MAX} objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entries<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element()? {
            if entries.len() == ENTRIES_MAX {
                return Err(A::Error::invalid_length(ENTRIES_MAX + 1, &self));
            }
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

/// A key: the place of its field's slot, if any command has it.
struct KnownField(Option<usize>);

impl<'de> Deserialize<'de> for KnownField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(KnownFieldVisitor)
    }
}

struct KnownFieldVisitor;

impl Visitor<'_> for KnownFieldVisitor {
    type Value = KnownField;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<KnownField, E> {
        Ok(KnownField(Field::NAMES.iter().position(|&name| name == key)))
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value<'de>, E> {
        // JSON has no number that is not finite.
        Ok(serde_json::Number::from_f64(number).map_or(Value::Other, Value::Number))
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Absent)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}

#[cfg(test)]
mod tests;
