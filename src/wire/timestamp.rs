//! Times as people and clients see them: RFC 3339 in UTC, to the millisecond.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::chat::ids::Millis;

/// The last millisecond of the year 9999, the last that RFC 3339 can spell.
const LAST_MS: Millis = 253_402_300_799_999;

/// Writes times as `2026-11-22T08:33:23.123Z`.
///
/// It remembers the last second: the frames of a turn, and most of a page, share it.
#[derive(Clone, Debug)]
pub struct Clockface {
    second: u64,
    text: [u8; 24],
}

impl Default for Clockface {
    fn default() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00.000Z" }
    }
}

impl Clockface {
    /// The 24 characters of a time. Past the year 9999: its last millisecond.
    pub fn show(&mut self, wall_ms: Millis) -> &[u8; 24] {
        let wall_ms = wall_ms.min(LAST_MS);
        let second = wall_ms / 1000;
        if second != self.second {
            self.turn_to(second);
        }
        write_digits(&mut self.text[20..23], wall_ms % 1000);
        &self.text
    }

    fn turn_to(&mut self, second: u64) {
        // Below 2^38 by `LAST_MS`, which is in the range of the crate too.
        let time = OffsetDateTime::from_unix_timestamp(second.cast_signed()).expect("a year of at most 9999");
        self.second = second;
        write_digits(&mut self.text[0..4], u64::from(time.year().unsigned_abs()));
        for (place, value) in
            [(5, u8::from(time.month())), (8, time.day()), (11, time.hour()), (14, time.minute()), (17, time.second())]
        {
            write_digits(&mut self.text[place..place + 2], u64::from(value));
        }
    }
}

fn write_digits(text: &mut [u8], mut value: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Appends a time as `2026-11-22T08:33:23.123Z`: 24 bytes, milliseconds since 1970 up to the end of the year 9999.
///
/// For a single time; where many are written, a [`Clockface`] is kept.
pub fn write_rfc3339(out: &mut Vec<u8>, wall_ms: Millis) {
    out.extend_from_slice(Clockface::default().show(wall_ms));
}

/// Reads a time with any offset and any fraction, which is cut to milliseconds. `None` for what is no RFC 3339, and
/// for times before 1970.
pub fn parse_rfc3339(text: &str) -> Option<Millis> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(wall_ms: Millis) -> String {
        let mut out = Vec::new();
        write_rfc3339(&mut out, wall_ms);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_spelled_to_the_millisecond() {
        for (wall_ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (999, "1970-01-01T00:00:00.999Z"),
            (951_782_400_007, "2000-02-29T00:00:00.007Z"),
            (1_795_336_403_123, "2026-11-22T08:33:23.123Z"),
            (LAST_MS, "9999-12-31T23:59:59.999Z"),
            (LAST_MS + 1, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(text(wall_ms), expected);
        }
    }

    #[test]
    fn a_clockface_shows_the_same_as_a_new_one_wherever_it_comes_from() {
        let mut clockface = Clockface::default();
        for wall_ms in [5, 1_795_336_403_123, 1_795_336_403_999, 1_795_336_404_000, 3, LAST_MS, 0] {
            assert_eq!(clockface.show(wall_ms), text(wall_ms).as_bytes());
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for wall_ms in [0, 1, 951_782_400_007, 1_795_336_403_123, LAST_MS] {
            assert_eq!(parse_rfc3339(&text(wall_ms)), Some(wall_ms));
        }
    }

    #[test]
    fn any_offset_and_fraction_of_rfc_3339_is_read() {
        for (text, expected) in [
            ("2026-11-22T09:33:23+01:00", Some(1_795_336_403_000)),
            ("2026-11-22T02:03:23.1-06:30", Some(1_795_336_403_100)),
            ("2026-11-22t08:33:23.123999999z", Some(1_795_336_403_123)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1969-12-31T23:59:59.999Z", None),
            ("2026-11-22", None),
            ("2026-11-22T08:33:23", None),
            ("2026-13-22T08:33:23Z", None),
            ("", None),
            ("yesterday", None),
        ] {
            assert_eq!(parse_rfc3339(text), expected, "{text}");
        }
    }
}
