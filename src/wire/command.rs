//! Text messages to commands.
//!
//! One pass over the JSON fills a slot for each field that any command has; the command then takes what is its own.
//! So fields that a command does not have are ignored whatever they are, and of a field that comes twice the last
//! wins. Strings without escapes are borrowed from the message.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::chat::command::{Ask, Command, Echo, ErrorCode, Fault, From, Span};

use super::timestamp;

/// The longest `ref`, `id` and `t`, in bytes.
const TAG_BYTES_MAX: usize = 64;

/// Numbers of the protocol are below 2^53: what a JavaScript number holds without loss.
const WHOLE_END: u64 = 1 << 53;

/// How many lines of a history are sent if the request does not say.
const HISTORY_LINES: u32 = 50;

/// And at most.
const HISTORY_LINES_MAX: u32 = 200;

/// Reads a text message of a plain client: a JSON object is a command, any other text is a line for the first room.
pub fn parse_plain(text: &str) -> Command<'_> {
    let line = Ask::Chat { room: None, message: Cow::Borrowed(text), id: None };
    parse_object(text).unwrap_or(Command { ask: line, reference: None })
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
            Some(Command { ask: Ask::Wrong(Fault::new(ErrorCode::BadRequest, message)), reference: None })
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
}

impl Field {
    const COUNT: usize = Self::Limit as usize + 1;

    /// As spelled on the wire, in the order of the variants.
    const NAMES: [&str; Self::COUNT] = [
        "type", "message", "room", "id", "ref", "to", "name", "t", "epoch", "seq", "time", "last", "before", "after",
        "limit",
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
    /// `true`, `false`, a list or an object.
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
        let (reference, ask) = match self.tag(Field::Ref) {
            Ok(reference) => (reference, self.ask(&kind)),
            // What else is wrong is told first.
            Err(fault) => (None, self.ask(&kind).and(Err(fault))),
        };
        Command { ask: ask.unwrap_or_else(Ask::Wrong), reference }
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
            "hello" => {
                let message = "`hello` is not for this connection: it is in its room already";
                return Err(Fault::new(ErrorCode::BadRequest, message));
            }
            _ => {
                let message = "`type` should be one of: chat, private, join, leave, name, who, history, typing, ping";
                return Err(Fault::new(ErrorCode::UnknownType, message));
            }
        })
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
            Value::Other => Err(Field::T.should_be("a number or a string")),
        }
    }

    fn text(&mut self, field: Field) -> Result<Option<Cow<'a, str>>, Fault> {
        match self.take(field) {
            Value::Absent => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            Value::Whole(_) | Value::Number(_) | Value::Other => Err(field.should_be("a string")),
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
                Some(place) => fields.0[place] = map.next_value()?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(fields)
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
mod tests {
    use super::*;

    fn ask(text: &str) -> Ask<'_> {
        let command = parse_plain(text);
        assert_eq!(command.reference, None, "{text}");
        command.ask
    }

    /// The code and the words of the fault that a text is.
    fn fault(text: &str) -> (ErrorCode, String) {
        match parse_plain(text).ask {
            Ask::Wrong(fault) => (fault.code, fault.message.into_owned()),
            other => panic!("{text} is {other:?}"),
        }
    }

    #[test]
    fn text_that_is_no_json_object_is_a_line() {
        for text in [
            "hi",
            "",
            " ",
            "42",
            "\"x\"",
            "[1]",
            "null",
            "true",
            "{bro",
            "{}x",
            "{\"type\":\"ping\"} x",
            "{'a':1}",
            "{\"type\":\"chat\",}",
            "\u{feff}{}",
            "\u{a0}{}",
            "{\"a\":\"\n\"}",
            "{\"type\":\"chat\"",
            "{\"a\":\"\\x\"}",
        ] {
            assert_eq!(ask(text), Ask::Chat { room: None, message: text.into(), id: None }, "{text}");
        }
    }

    #[test]
    fn every_command_is_read() {
        let position = From::Position { epoch: "e".into(), seq: 7, time_ms: Some(1_795_336_403_123) };
        for (text, expected) in [
            (
                r#"{"type":"chat","room":"r","message":"hi","id":"1"}"#,
                Ask::Chat { room: Some("r".into()), message: "hi".into(), id: Some("1".into()) },
            ),
            (r#" {"type":"chat"} "#, Ask::Chat { room: None, message: "".into(), id: None }),
            (
                r#"{"type":"private","to":"bob","message":"hi","id":"1"}"#,
                Ask::Private { to: "bob".into(), message: "hi".into(), id: Some("1".into()) },
            ),
            (r#"{"type":"private","to":"bob"}"#, Ask::Private { to: "bob".into(), message: "".into(), id: None }),
            (r#"{"type":"join","room":"r"}"#, Ask::Join { room: "r".into(), from: From::Live }),
            (r#"{"type":"join","room":"r","epoch":"e"}"#, Ask::Join { room: "r".into(), from: From::Live }),
            (r#"{"type":"join","room":"r","last":0}"#, Ask::Join { room: "r".into(), from: From::Last(0) }),
            (
                r#"{"type":"join","room":"r","last":9007199254740991}"#,
                Ask::Join { room: "r".into(), from: From::Last(u32::MAX) },
            ),
            (
                r#"{"type":"join","room":"r","last":5,"epoch":"e","seq":7,"time":"2026-11-22T08:33:23.123Z"}"#,
                Ask::Join { room: "r".into(), from: position },
            ),
            (r#"{"type":"leave","room":"r"}"#, Ask::Leave { room: "r".into() }),
            (r#"{"type":"name","name":"alice"}"#, Ask::Rename { name: "alice".into() }),
            (r#"{"type":"who"}"#, Ask::Who { room: None }),
            (r#"{"type":"history"}"#, Ask::History { room: None, span: Span::Newest, limit: 50 }),
            (
                r#"{"type":"history","room":"r","before":9,"limit":200}"#,
                Ask::History { room: Some("r".into()), span: Span::Before(9), limit: 200 },
            ),
            (r#"{"type":"history","after":0,"limit":1}"#, Ask::History { room: None, span: Span::After(0), limit: 1 }),
            (r#"{"type":"typing","room":"r"}"#, Ask::Typing { room: Some("r".into()) }),
            (r#"{"type":"ping"}"#, Ask::Ping { t: None }),
            (r#"{"type":"ping","t":"x"}"#, Ask::Ping { t: Some(Echo::Text("x".into())) }),
        ] {
            assert_eq!(ask(text), expected, "{text}");
        }
    }

    #[test]
    fn the_t_of_a_ping_is_any_number() {
        for (number, expected) in
            [("0", "0"), ("-3", "-3"), ("1.5", "1.5"), ("18446744073709551615", "18446744073709551615")]
        {
            match ask(&format!(r#"{{"type":"ping","t":{number}}}"#)) {
                Ask::Ping { t: Some(Echo::Number(number)) } => assert_eq!(number.to_string(), expected),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn strings_are_borrowed_unless_they_have_escapes() {
        let Ask::Chat { message: Cow::Borrowed("hi"), .. } = ask(r#"{"type":"chat","message":"hi"}"#) else {
            panic!("copied");
        };
        let Ask::Chat { message, .. } = ask(r#"{"\u0074ype":"chat","message":"a\n\ud83d\ude00"}"#) else { panic!() };
        assert_eq!(message, "a\n😀");
    }

    #[test]
    fn null_is_absent_and_the_last_of_a_field_wins() {
        assert_eq!(
            ask(r#"{"type":"chat","room":null,"message":null,"id":null,"ref":null}"#),
            Ask::Chat { room: None, message: "".into(), id: None }
        );
        assert_eq!(ask(r#"{"type":3,"type":"ping","t":[],"t":null}"#), Ask::Ping { t: None });
    }

    #[test]
    fn fields_that_a_command_does_not_have_are_ignored_whatever_they_are() {
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        for text in [
            r#"{"type":"ping","id":5,"room":[],"message":{"a":1},"to":true,"seq":-1,"x":"\ud800"}"#.to_owned(),
            format!(r#"{{"type":"ping","x":{deep},"room":[{deep}]}}"#),
        ] {
            assert_eq!(ask(&text), Ask::Ping { t: None });
        }
    }

    #[test]
    fn the_reference_comes_back_with_whatever_is_asked() {
        for text in [r#"{"type":"ping","ref":"r1"}"#, r#"{"ref":"r1"}"#, r#"{"type":"join","ref":"r1"}"#] {
            assert_eq!(parse_plain(text).reference.as_deref(), Some("r1"), "{text}");
        }
        // One that is none does not hide that the type is unknown.
        assert_eq!(fault(r#"{"type":"x","ref":5}"#).0, ErrorCode::UnknownType);
        assert_eq!(fault(r#"{"type":"hello"}"#).0, ErrorCode::BadRequest);
    }

    #[test]
    fn an_unknown_or_missing_type_is_told() {
        for text in ["{}", r#"{"type":""}"#, r#"{"type":null}"#, r#"{"type":1}"#, r#"{"type":"Chat"}"#] {
            assert_eq!(fault(text).0, ErrorCode::UnknownType, "{text}");
        }
    }

    #[test]
    fn a_known_field_of_a_wrong_type_is_told_by_its_name() {
        for (rest, field) in [
            (r#""type":"chat","message":1"#, "message"),
            (r#""type":"chat","room":1"#, "room"),
            (r#""type":"chat","id":1"#, "id"),
            (r#""type":"chat","ref":{}"#, "ref"),
            (r#""type":"private","message":"x""#, "to"),
            (r#""type":"private","to":5"#, "to"),
            (r#""type":"join""#, "room"),
            (r#""type":"leave","room":null"#, "room"),
            (r#""type":"name","name":["x"]"#, "name"),
            (r#""type":"name""#, "name"),
            (r#""type":"join","room":"r","seq":1"#, "epoch"),
            (r#""type":"join","room":"r","epoch":"e","seq":-1"#, "seq"),
            (r#""type":"join","room":"r","epoch":"e","seq":1.0"#, "seq"),
            (r#""type":"join","room":"r","epoch":"e","seq":9007199254740992"#, "seq"),
            (r#""type":"join","room":"r","epoch":"e","seq":"1""#, "seq"),
            (r#""type":"join","room":"r","epoch":1"#, "epoch"),
            (r#""type":"join","room":"r","last":true"#, "last"),
            (r#""type":"join","room":"r","time":"noon""#, "time"),
            (r#""type":"join","room":"r","time":5"#, "time"),
            (r#""type":"history","before":1,"after":2"#, "before"),
            (r#""type":"history","after":"2""#, "after"),
            (r#""type":"history","limit":0"#, "limit"),
            (r#""type":"history","limit":201"#, "limit"),
            (r#""type":"history","limit":"5""#, "limit"),
            (r#""type":"typing","room":false"#, "room"),
            (r#""type":"ping","t":[1]"#, "t"),
        ] {
            let (code, message) = fault(&format!("{{{rest}}}"));
            assert_eq!(code, ErrorCode::BadRequest, "{rest}");
            assert!(message.starts_with(&format!("`{field}` should be ")), "{rest}: {message}");
        }
    }

    #[test]
    fn tags_have_at_most_64_bytes() {
        for (kind, field) in [("chat", "id"), ("private\",\"to\":\"x", "id"), ("ping", "t"), ("who", "ref")] {
            let request = |bytes: usize| format!(r#"{{"type":"{kind}","{field}":"{}"}}"#, "x".repeat(bytes));
            let (code, message) = fault(&request(65));
            assert_eq!(code, ErrorCode::TooLarge, "{kind}");
            assert!(message.contains(&format!("`{field}`")), "{message}");
            assert!(!matches!(parse_plain(&request(64)).ask, Ask::Wrong(_)), "{kind}");
        }
    }

    #[test]
    fn an_object_that_cannot_be_held_is_a_bad_request_and_no_line() {
        for text in [
            r#"{"type":"chat","message":"\ud800"}"#,
            r#"{"type":"chat","message":"\udc00\ud800"}"#,
            r#"{"type":"ping","t":1e999}"#,
            r#"{"\ud800":1}"#,
        ] {
            assert_eq!(fault(text).0, ErrorCode::BadRequest, "{text}");
        }
    }

    #[test]
    fn the_names_of_the_fields_are_in_order() {
        for (field, name) in [
            (Field::Type, "type"),
            (Field::Ref, "ref"),
            (Field::T, "t"),
            (Field::Last, "last"),
            (Field::Limit, "limit"),
        ] {
            assert_eq!(field.name(), name);
        }
    }
}
