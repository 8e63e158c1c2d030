//! JSON objects, read and written without trust: a field that is not what it should be is as good as absent.

use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Numbers of the protocol are below 2^53.
const WHOLE_END: u64 = 1 << 53;

/// An object that came, its fields in the order in which they came.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    fields: Vec<(String, &'a RawValue)>,
}

impl<'a> Frame<'a> {
    /// Reads an object; `None` if the text is none.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    fn value(&self, name: &str) -> Option<&'a RawValue> {
        // Of two fields by the same name the last one counts.
        self.fields.iter().rev().find(|(field, _)| field == name).map(|(_, value)| *value)
    }

    /// A string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.value(name)?.get()).ok()
    }

    /// A string, or the empty one.
    pub(super) fn words(&self, name: &str) -> String {
        self.text(name).unwrap_or_default()
    }

    /// A whole number from 0 to 2^53 - 1.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        serde_json::from_str(self.value(name)?.get()).ok().filter(|&number| number < WHOLE_END)
    }

    /// Whether it says `true`.
    pub(super) fn is(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value.get() == "true")
    }

    /// An object in it.
    pub(super) fn object(&self, name: &str) -> Option<Frame<'a>> {
        Self::parse(self.value(name)?.get())
    }

    /// The values of a list, spelled.
    pub(super) fn items(&self, name: &str) -> Vec<&'a str> {
        let list: Option<Vec<&'a RawValue>> = self.value(name).and_then(|value| serde_json::from_str(value.get()).ok());
        list.unwrap_or_default().into_iter().map(RawValue::get).collect()
    }

    /// Spells it again without one of its fields.
    pub(super) fn without(&self, name: &str) -> String {
        let mut object = Object { text: String::from("{") };
        for (field, value) in self.fields.iter().filter(|(field, _)| field != name) {
            object = object.raw(field, value.get());
        }
        object.finish()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Frame<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Frame<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry::<String, &RawValue>()? {
                    fields.push(field);
                }
                Ok(Frame { fields })
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// An object that is being written, `type` first.
#[derive(Debug)]
pub(super) struct Object {
    text: String,
}

impl Object {
    /// A command.
    pub(super) fn new(kind: &str) -> Self {
        Self::bare().with("type", kind)
    }

    /// An object in a command.
    pub(super) fn bare() -> Self {
        Self { text: String::from("{") }
    }

    /// A field.
    pub(super) fn with<V: Serialize + ?Sized>(self, name: &str, value: &V) -> Self {
        let value = serde_json::to_string(value).expect("strings and numbers can be spelled");
        self.raw(name, &value)
    }

    /// A field, if there is a value for it.
    pub(super) fn with_some<V: Serialize>(self, name: &str, value: Option<V>) -> Self {
        match value {
            Some(value) => self.with(name, &value),
            None => self,
        }
    }

    /// A field whose value is spelled already.
    pub(super) fn raw(mut self, name: &str, value: &str) -> Self {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        self.text.push_str(&serde_json::to_string(name).expect("a string can be spelled"));
        self.text.push(':');
        self.text.push_str(value);
        self
    }

    /// The text.
    pub(super) fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_the_wrong_type_is_as_good_as_absent() {
        let text = r#"{"a":1,"b":"x","c":true,"d":[1,"y",{}],"e":{"f":2},"g":null,"a":"z","h":-1,"i":9007199254740992,"j":1.5,"k":"\ud800"}"#;
        let frame = Frame::parse(text).unwrap();
        assert_eq!((frame.text("a"), frame.number("a")), (Some("z".into()), None));
        assert_eq!((frame.text("b"), frame.number("b"), frame.is("b")), (Some("x".into()), None, false));
        assert_eq!((frame.is("c"), frame.text("c")), (true, None));
        assert_eq!((frame.items("d"), frame.items("e")), (vec!["1", "\"y\"", "{}"], vec![]));
        assert_eq!(frame.object("e").and_then(|inner| inner.number("f")), Some(2));
        assert!(frame.object("d").is_none() && frame.text("g").is_none() && frame.text("k").is_none());
        assert!(["h", "i", "j", "none"].iter().all(|name| frame.number(name).is_none()));
        assert_eq!(frame.words("none"), "");
    }

    #[test]
    fn only_an_object_is_a_frame() {
        for text in ["", "hi", "42", "[]", "null", "\"{}\"", "{", "{}x", "{\"a\"}", &"[".repeat(100_000)] {
            assert!(Frame::parse(text).is_none(), "{text:.20}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Frame::parse(&deep).unwrap().items("a").len(), 1, "depth costs nothing");
    }

    #[test]
    fn objects_are_spelled_in_order() {
        let inner = Object::bare().with("n", &1).finish();
        let text = Object::new("x\"").with("a", "b\n").with_some("c", None::<&str>).with_some("d", Some(2));
        assert_eq!(text.raw("e", &inner).finish(), r#"{"type":"x\"","a":"b\n","d":2,"e":{"n":1}}"#);
        assert_eq!(Object::bare().finish(), "{}");
    }

    #[test]
    fn a_field_is_left_out_and_the_rest_stays_as_it_was() {
        let frame = Frame::parse(r#"{ "b" : 1.50 ,"session":"s", "a\n":[ 1 ], "session":"t" }"#).unwrap();
        assert_eq!(frame.without("session"), r#"{"b":1.50,"a\n":[ 1 ]}"#);
    }
}
