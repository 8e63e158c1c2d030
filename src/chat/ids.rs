//! Who and what is meant: identifiers and times, all small and `Copy`.

use std::fmt;

/// Milliseconds, of a monotonic clock or of the wall clock as the field's name says.
pub type Millis = u64;

/// The time of a turn. It is read once a turn and passed in; nothing in [`chat`](crate::chat) has a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the server started. Never goes back. For deadlines.
    pub mono_ms: Millis,
    /// Milliseconds since 1970-01-01 UTC. May jump. For timestamps that people and clients see.
    pub wall_ms: Millis,
}

/// A connection: its slot, and which tenant of that slot.
///
/// A slot is used again after a connection is gone; the generation tells its tenants apart, so that what was meant
/// for one never reaches its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// The slot's number in the slab.
    pub index: u32,
    /// How many connections were accepted before this one (wraps at 2^32).
    pub generation: u32,
}

/// A user's identity: 80 random bits, shown as `u` and 16 characters of base 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub [u8; 10]);

/// RFC 4648 section 6's alphabet in lower case: no `0`, `1`, `8`, `9`, which read as letters.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

impl UserId {
    /// Its first bits, which are as good as a hash: ids are the server's own random bits, and nobody can choose one.
    pub fn hash_bits(self) -> u64 {
        let [start @ .., _, _] = self.0;
        u64::from_le_bytes(start)
    }

    /// The text form: `u` and 16 characters of `a`–`z`, `2`–`7`.
    pub fn text(self) -> UserText {
        let mut bits: u128 = 0;
        for byte in self.0 {
            bits = bits << 8 | u128::from(byte);
        }
        let mut text = [b'u'; 17];
        for (place, char) in text[1..].iter_mut().enumerate() {
            *char = BASE32[(bits >> (75 - 5 * place)) as usize & 31];
        }
        UserText(text)
    }

    /// Reads the text form back; `None` for anything that [`text`](Self::text) does not give.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('u').filter(|digits| digits.len() == 16)?;
        let mut bits: u128 = 0;
        for char in digits.bytes() {
            let value = BASE32.iter().position(|&letter| letter == char)?;
            bits = bits << 5 | value as u128;
        }
        let mut id = [0; 10];
        id.copy_from_slice(&bits.to_be_bytes()[6..]);
        Some(Self(id))
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

/// A [`UserId`]'s text form, on the stack.
#[derive(Clone, Copy, Debug)]
pub struct UserText([u8; 17]);

impl UserText {
    /// The text.
    ///
    /// # Panics
    /// Never: it is ASCII by construction.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base 32 is ASCII")
    }
}

/// A room that the core has loaded. A number of the core's, meaningless after the room is unloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomKey(pub u32);

/// One request to the store; its answer carries the same number. Counts up, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_is_read_back_from_its_text() {
        for id in [[0; 10], [0xff; 10], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] {
            let text = UserId(id).to_string();
            assert_eq!(text.len(), 17);
            assert_eq!(UserId::parse(&text), Some(UserId(id)), "{text}");
        }
        for bad in ["", "u", "uaaaaaaaaaaaaaaa", "uaaaaaaaaaaaaaaa1", "xaaaaaaaaaaaaaaaa", "uAAAAAAAAAAAAAAAA"] {
            assert_eq!(UserId::parse(bad), None, "{bad}");
        }
    }
}
