//! Names of users and rooms: once one exists, it is good.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::ids::UserId;
use unicode_normalization::UnicodeNormalization as _;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory as _};

/// A user's name: 1 to 32 characters, no controls, no bidi overrides; spaces are single and inside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(Arc<str>);

/// A name as it is compared: two names with one key are the same name (RFC 8266 section 2.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NameKey(Arc<str>);

impl Name {
    /// Reads a name; `None` if it is empty, longer than `chars_max`, or has characters that cannot be seen.
    ///
    /// As RFC 8266 section 2.3: all spaces are U+0020, none at the ends, single inside; NFKC. What is refused follows
    /// RFC 8264's `FreeformClass`, except that the joiners and variation selectors that emoji and some scripts are
    /// written with are allowed, and characters newer than a frozen table are too.
    pub fn parse(typed: &str, chars_max: usize) -> Option<Self> {
        // No normal form is shorter than a third of what was typed, in characters: refuse early what is endless.
        if typed.chars().nth(chars_max.saturating_mul(4)).is_some() {
            return None;
        }
        let mut name = enforce(typed)?;
        // NFKC can make new spaces (U+00A8 becomes a space and a mark): twice is stable for all of Unicode, RFC 8264
        // section 7 allows three times.
        for _ in 0..3 {
            let again = enforce(&name)?;
            if again == name {
                let short_enough = name.chars().nth(chars_max).is_none();
                return (short_enough && name.chars().any(is_visible)).then(|| Self(name.into()));
            }
            name = again;
        }
        None
    }

    /// A name as it was kept. It was good when it was given, which is all that counts: by what rule, and of how many characters
    /// a name may be, can change.
    pub fn kept(name: Arc<str>) -> Self {
        Self(name)
    }

    /// A user's id as a name, for somebody whose name is not known.
    pub fn of(user: UserId) -> Self {
        Self(user.to_string().into())
    }

    /// The key that it is compared by.
    pub fn key(&self) -> NameKey {
        let is_folded = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
        if self.0.bytes().all(is_folded) {
            return NameKey(Arc::clone(&self.0));
        }
        let folded = || self.0.chars().filter(|&char| !is_joiner(char)).flat_map(char::to_lowercase).nfkc();
        // Most names are their own keys, and both are kept: as one.
        if folded().eq(self.0.chars()) {
            NameKey(Arc::clone(&self.0))
        } else {
            NameKey(folded().collect::<String>().into())
        }
    }

    /// A guest's name: `guest-` and `letters` letters or digits, taken from the lowest bits of `seed`.
    pub fn guest(seed: u128, letters: usize) -> Self {
        const DIGITS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
        let mut name = String::with_capacity(6 + letters);
        name.push_str("guest-");
        for place in 0..letters {
            name.push(char::from(DIGITS[(seed >> (5 * place)) as usize & 31]));
        }
        Self(name.into())
    }
}

fn enforce(typed: &str) -> Option<String> {
    let mut out = String::with_capacity(typed.len());
    for char in typed.chars() {
        if char.general_category() == GeneralCategory::SpaceSeparator {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
        } else if is_allowed(char) {
            out.push(char);
        } else {
            return None;
        }
    }
    let out: String = out.trim_end_matches(' ').nfkc().collect();
    (!out.is_empty()).then_some(out)
}

/// Zero-width joiner and non-joiner, and the variation selectors for text and emoji style.
const fn is_joiner(char: char) -> bool {
    matches!(char, '\u{200c}' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}')
}

fn is_visible(char: char) -> bool {
    !is_joiner(char) && char.general_category_group() != GeneralCategoryGroup::Mark
}

fn is_allowed(char: char) -> bool {
    is_joiner(char)
        || match char.general_category_group() {
            // Controls, formats (every bidi control and tag among them), surrogates, private use, unassigned.
            // Line and paragraph separators; spaces were taken before.
            GeneralCategoryGroup::Other | GeneralCategoryGroup::Separator => false,
            // Hangul fillers and the like: letters that nobody can see.
            _ => !matches!(char, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{2800}' | '\u{34f}'),
        }
}

/// What clients call their own stream of private messages.
pub const ME: &str = "@me";

/// A room's name: 1 to 64 characters of letters, digits, `-`, `_` and `.`, all ASCII.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

/// The longest name of a room, in characters.
pub const ROOM_NAME_CHARS_MAX: usize = 64;

impl RoomName {
    /// Reads a room's name. `@` is the server's own.
    pub fn parse(typed: &str) -> Option<Self> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (1..=ROOM_NAME_CHARS_MAX).contains(&typed.len()).then_some(())?;
        typed.bytes().all(good).then(|| Self(typed.into()))
    }

    /// The name of a room or stream as it was kept; `None` if it is neither.
    pub fn kept(name: &str) -> Option<Self> {
        Self::parse(name).or_else(|| UserId::parse(name.strip_prefix('@')?).map(Self::stream))
    }

    /// The name under which a user's private messages are kept: `@` and the user's id. Nobody can type it.
    pub fn stream(user: UserId) -> Self {
        Self(format!("@{user}").into())
    }

    /// Whether it is a user's stream and no room.
    pub fn is_stream(&self) -> bool {
        self.0.starts_with('@')
    }

    /// Whose stream it is, if it is one.
    pub fn owner(&self) -> Option<UserId> {
        UserId::parse(self.0.strip_prefix('@')?)
    }

    /// As clients know it: a user's stream is `@me` to that user.
    pub fn shown(&self) -> &str {
        if self.is_stream() { ME } else { &self.0 }
    }

    /// `lobby`: where everybody comes in whose path names no room.
    pub fn lobby() -> Self {
        Self("lobby".into())
    }
}

macro_rules! text {
    ($($name:ident),*) => {$(
        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
text!(Name, RoomName, NameKey);

#[cfg(test)]
mod tests {
    use super::*;

    fn name(typed: &str) -> Option<String> {
        Name::parse(typed, 32).map(|name| name.to_string())
    }

    fn key(typed: &str) -> String {
        Name::parse(typed, 32).expect("a good name").key().to_string()
    }

    #[test]
    fn names_keep_what_people_see() {
        assert_eq!(name("alice").as_deref(), Some("alice"));
        assert_eq!(name("  Alice \u{a0} B\u{3000}C ").as_deref(), Some("Alice B C"));
        assert_eq!(name("张伟").as_deref(), Some("张伟"));
        assert_eq!(name("🥳❤️👩‍🚀").as_deref(), Some("🥳❤️👩‍🚀"));
        assert_eq!(name(&"x".repeat(32)).map(|name| name.len()), Some(32));
    }

    #[test]
    fn names_without_a_shape_are_refused() {
        for bad in
            ["", " ", "\u{3000}", "a\nb", "a\u{7}", "a\u{202e}b", "\u{2066}x", "\u{200d}", "\u{3164}", "\u{feff}a"]
        {
            assert_eq!(name(bad), None, "{bad:?}");
        }
        assert_eq!(name(&"x".repeat(33)), None);
        assert_eq!(name(&" ".repeat(100_000)), None);
        // One character of which the normal form has 18.
        assert_eq!(name(&"\u{fdfa}".repeat(2)), None);
    }

    #[test]
    fn names_are_compared_as_rfc_8266_does() {
        assert_eq!(key("Alice"), key("ALICE"));
        assert_eq!(key("Foo Bar"), key("foo   bar "));
        assert_eq!(key("ſoſ"), key("sos"));
        assert_eq!(key("\u{2163}"), key("iv"));
        assert_eq!(key("❤️"), key("❤"));
        assert_ne!(key("alice"), key("alice1"));
    }

    #[test]
    fn a_key_is_its_own_key() {
        for typed in ["İstanbul", "ΑΣ", "ǅ", "K\u{212a}", "ﬃ", "À\u{300}"] {
            let once = key(typed);
            assert_eq!(key(&once), once, "{typed}");
        }
    }

    #[test]
    fn rooms_are_plain_ascii() {
        for good in ["lobby", "a", "A-b_c.9", &"x".repeat(64)] {
            assert!(RoomName::parse(good).is_some(), "{good}");
        }
        for bad in ["", "@me", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert!(RoomName::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn guests_have_letters_that_cannot_be_confused() {
        assert_eq!(&*Name::guest(0, 4), "guest-aaaa");
        assert_ne!(Name::guest(1, 4), Name::guest(32, 4));
    }
}
