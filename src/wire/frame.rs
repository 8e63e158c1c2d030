//! Framing as in RFC 6455 section 5, as much of it as is ours: the frames that the server writes, and the header of
//! a frame that a client sends. What is in a client's frame is for [`decoder`](super::decoder).

use crate::chat::effects::CloseReason;

/// The longest header of a client's frame, in bytes: two, a 64-bit length, a mask.
pub const HEADER_BYTES_MAX: usize = 14;

/// The longest payload of a control frame, in bytes (section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// What a frame is (section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further part of a message.
    Continuation = 0,
    /// A text message, or its first part.
    Text = 1,
    /// A binary message, or its first part.
    Binary = 2,
    /// Goodbye.
    Close = 8,
    /// Are you there?
    Ping = 9,
    /// Yes.
    Pong = 10,
}

impl Opcode {
    const fn parse(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    /// Whether it may come between the parts of a message, and must be short and whole (section 5.5).
    pub const fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// The header of a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How long the header is, 6 to 14 bytes.
    pub header_bytes: usize,
    /// How long the payload is that follows.
    pub payload_bytes: u64,
    /// What the frame is.
    pub opcode: Opcode,
    /// Whether it is the last one of its message.
    pub fin: bool,
}

/// What the first bytes of a client's frame tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The header is not complete. At most [`HEADER_BYTES_MAX`] bytes complete it.
    Incomplete,
    /// The header.
    Header(Header),
}

impl Header {
    /// Reads the header of a client's frame from the frame's first bytes.
    ///
    /// # Errors
    /// As soon as the bytes that show it are there: `Protocol` for an unmasked frame, reserved bits, an opcode that
    /// is not in use, a control frame that is in parts or longer than 125 bytes, a length of 2^63 or more;
    /// `TooLarge` for a part of a message whose payload is over `payload_bytes_max`.
    pub fn parse(bytes: &[u8], payload_bytes_max: u64) -> Result<Parsed, CloseReason> {
        let Some(&first) = bytes.first() else {
            return Ok(Parsed::Incomplete);
        };
        if first & 0x70 != 0 {
            return Err(CloseReason::Protocol);
        }
        let fin = first & 0x80 != 0;
        let opcode = Opcode::parse(first & 0x0f).ok_or(CloseReason::Protocol)?;
        if opcode.is_control() && !fin {
            return Err(CloseReason::Protocol);
        }
        let Some(&second) = bytes.get(1) else {
            return Ok(Parsed::Incomplete);
        };
        let short_length = second & 0x7f;
        if second & 0x80 == 0 || (opcode.is_control() && usize::from(short_length) > CONTROL_BYTES_MAX) {
            return Err(CloseReason::Protocol);
        }
        let (payload_bytes, length_end) = match short_length {
            126 => match bytes.get(2..4) {
                Some(length) => (u64::from(u16::from_be_bytes([length[0], length[1]])), 4),
                None => return Ok(Parsed::Incomplete),
            },
            127 => {
                // The top bit "MUST be 0": it shows in the first of the eight.
                if bytes.get(2).is_some_and(|byte| byte & 0x80 != 0) {
                    return Err(CloseReason::Protocol);
                }
                let Some(length) = bytes.get(2..10) else {
                    return Ok(Parsed::Incomplete);
                };
                (length.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)), 10)
            }
            short => (u64::from(short), 2),
        };
        if payload_bytes > payload_bytes_max && !opcode.is_control() {
            return Err(CloseReason::TooLarge);
        }
        let header_bytes = length_end + 4;
        if bytes.len() < header_bytes {
            return Ok(Parsed::Incomplete);
        }
        Ok(Parsed::Header(Header { header_bytes, payload_bytes, opcode, fin }))
    }
}

/// Appends a server's frame: whole, unmasked, with the shortest form of its length.
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let (header, header_bytes) = server_header(opcode, payload.len());
    out.extend_from_slice(&header[..header_bytes]);
    out.extend_from_slice(payload);
}

/// Appends a Close frame. Of `reason` go at most 123 bytes, cut at a character.
///
/// A `code` that must not be sent (section 7.4.1, such as 1005 "no code was there") is the caller's to avoid.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let mut end = reason.len().min(CONTROL_BYTES_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = &reason[..end];
    out.extend_from_slice(&[0x80 | Opcode::Close as u8, reason.len() as u8 + 2]);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Appends a Close frame without a code, which echoes one that had none.
pub fn write_close_empty(out: &mut Vec<u8>) {
    write_frame(out, Opcode::Close, &[]);
}

/// Appends an empty Ping.
pub fn write_ping(out: &mut Vec<u8>) {
    write_frame(out, Opcode::Ping, &[]);
}

/// The bytes that [`begin_frame`] leaves for a header whose length is not known yet.
const GAP_BYTES: usize = 4;

/// Begins a frame whose payload is appended to `out` afterwards; returns where it begins, for [`end_frame`].
pub(super) fn begin_frame(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; GAP_BYTES]);
    start
}

/// Writes the header of the frame that begins at `start` and whose payload is the rest of `out`.
///
/// The payload is moved if the header is not as long as the gap: at most 125 bytes downwards, or, past 64 KiB, upwards.
pub(super) fn end_frame(out: &mut Vec<u8>, start: usize, opcode: Opcode) {
    let payload_start = start + GAP_BYTES;
    let (header, header_bytes) = server_header(opcode, out.len() - payload_start);
    if header_bytes > GAP_BYTES {
        let payload_end = out.len();
        out.resize(payload_end + header_bytes - GAP_BYTES, 0);
        out.copy_within(payload_start..payload_end, start + header_bytes);
    } else if header_bytes < GAP_BYTES {
        out.copy_within(payload_start.., start + header_bytes);
        out.truncate(out.len() - (GAP_BYTES - header_bytes));
    }
    out[start..start + header_bytes].copy_from_slice(&header[..header_bytes]);
}

fn server_header(opcode: Opcode, payload_bytes: usize) -> ([u8; 10], usize) {
    let mut header = [0; 10];
    header[0] = 0x80 | opcode as u8;
    let header_bytes = match payload_bytes {
        0..=125 => {
            header[1] = payload_bytes as u8;
            2
        }
        126..=0xffff => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(payload_bytes as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
            10
        }
    };
    (header, header_bytes)
}

/// In a run of whole frames of the server's: the end of the frame that `position` is inside of; `position` itself if
/// it lies between two frames.
///
/// So a slow reader's unsent frames can be dropped and the one in progress still be finished. Walks from frame to
/// frame; the run's length bounds it.
///
/// Of bytes that are no run of whole frames (we wrote them, so they are) it gives some place from `position` to their end.
pub fn whole_frames_end(bytes: &[u8], position: usize) -> usize {
    let mut end = 0_usize;
    while end < position.min(bytes.len()) {
        end = server_frame_bytes(&bytes[end..]).map_or(bytes.len(), |frame_bytes| end.saturating_add(frame_bytes));
    }
    end.min(bytes.len()).max(position)
}

/// How long the whole frame of the server's is that `bytes` begin with; `None` if its header is cut.
fn server_frame_bytes(bytes: &[u8]) -> Option<usize> {
    let big_endian = |bytes: &[u8]| bytes.iter().fold(0_usize, |value, &byte| value << 8 | usize::from(byte));
    Some(match bytes.get(1)? & 0x7f {
        126 => 4 + big_endian(bytes.get(2..4)?),
        127 => big_endian(bytes.get(2..10)?).saturating_add(10),
        short => 2 + usize::from(short),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// We only walk what we wrote. But a walk that could be led astray must not go on for ever.
    #[test]
    fn a_walk_over_what_is_no_frame_ends() {
        let astray = [0x89, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf6, 0x7f, 0x7f];
        for start in 0..astray.len() {
            for position in 0..=astray.len() - start {
                let end = whole_frames_end(&astray[start..], position);
                assert!((position..=astray.len() - start).contains(&end), "{position} from {start}: {end}");
            }
        }
        for position in [0, 1, 50] {
            let end = whole_frames_end(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", position);
            assert!((position..=60).contains(&end), "{position}: {end}");
        }
    }

    const MAX: u64 = 65_536;

    fn refused(bytes: &[u8]) -> Option<CloseReason> {
        Header::parse(bytes, MAX).err()
    }

    #[test]
    fn a_client_header_is_incomplete_until_its_last_byte() {
        let cases: [(&[u8], u64); 4] = [
            (&[0x81, 0x85, 1, 2, 3, 4], 5),
            (&[0x81, 0xfe, 0x01, 0x00, 1, 2, 3, 4], 256),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4], 65_536),
            (&[0x81, 0x80, 0, 0, 0, 0], 0),
        ];
        for (bytes, payload_bytes) in cases {
            for cut in 0..bytes.len() {
                assert_eq!(Header::parse(&bytes[..cut], MAX), Ok(Parsed::Incomplete), "{bytes:?} cut at {cut}");
            }
            let header = Header { header_bytes: bytes.len(), payload_bytes, opcode: Opcode::Text, fin: true };
            assert_eq!(Header::parse(bytes, MAX), Ok(Parsed::Header(header)));
            let longer = [bytes, b"payload"].concat();
            assert_eq!(Header::parse(&longer, MAX), Ok(Parsed::Header(header)));
        }
    }

    #[test]
    fn every_opcode_in_use_is_read_and_every_other_refused_by_its_first_byte() {
        for bits in 0..16 {
            let parsed = Header::parse(&[0x80 | bits, 0x80, 0, 0, 0, 0], MAX);
            match bits {
                0..=2 | 8..=10 => {
                    let Ok(Parsed::Header(header)) = parsed else { panic!("{bits}: {parsed:?}") };
                    assert_eq!(header.opcode as u8, bits);
                    assert_eq!(header.opcode.is_control(), bits >= 8);
                }
                _ => assert_eq!(refused(&[0x80 | bits]), Some(CloseReason::Protocol), "{bits}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_is_refused_by_the_first_byte_that_shows_it() {
        let cases: [(&[u8], CloseReason, &str); 9] = [
            (&[0xc1], CloseReason::Protocol, "RSV1"),
            (&[0xa1], CloseReason::Protocol, "RSV2"),
            (&[0x91], CloseReason::Protocol, "RSV3"),
            (&[0x09], CloseReason::Protocol, "a ping in parts"),
            (&[0x81, 0x05], CloseReason::Protocol, "unmasked"),
            (&[0x89, 0xfe], CloseReason::Protocol, "a ping of 126 bytes or more"),
            (&[0x82, 0xff, 0x80], CloseReason::Protocol, "a length of 2^63"),
            (&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1], CloseReason::TooLarge, "a payload over the limit"),
            (&[0x02, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0], CloseReason::TooLarge, "a huge part"),
        ];
        for (bytes, reason, what) in cases {
            assert_eq!(refused(bytes), Some(reason), "{what}");
            assert_eq!(refused(&bytes[..bytes.len() - 1]), None, "{what}, a byte earlier");
        }
    }

    #[test]
    fn a_control_frame_may_have_125_bytes_and_a_message_its_limit() {
        assert!(matches!(Header::parse(&[0x89, 0xfd, 0, 0, 0, 0], MAX), Ok(Parsed::Header(_))));
        assert!(matches!(Header::parse(&[0x82, 0xfe, 0, 200, 0, 0, 0, 0], 200), Ok(Parsed::Header(_))));
        assert_eq!(Header::parse(&[0x82, 0xfe, 0, 201], 200), Err(CloseReason::TooLarge));
        assert!(matches!(Header::parse(&[0x89, 0xfd, 0, 0, 0, 0], 5), Ok(Parsed::Header(_))), "not a message");
    }

    #[test]
    fn frames_are_written_with_the_shortest_length() {
        for (payload_bytes, header) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 0xff, 0xff]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let payload: Vec<u8> = (0..payload_bytes).map(|place: u32| place as u8).collect();
            let expected = [b"before", header, &payload].concat();

            let mut out = b"before".to_vec();
            write_frame(&mut out, Opcode::Binary, &payload);
            assert_eq!(out, expected, "{payload_bytes}");

            let mut out = b"before".to_vec();
            let start = begin_frame(&mut out);
            out.extend_from_slice(&payload);
            end_frame(&mut out, start, Opcode::Binary);
            assert_eq!(out, expected, "{payload_bytes}, by the gap");
        }
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character() {
        let mut out = Vec::new();
        write_close(&mut out, 1001, "gone");
        assert_eq!(out, [0x88, 6, 0x03, 0xe9, b'g', b'o', b'n', b'e']);
        out.clear();
        // 41 characters of 3 bytes are 123; one byte before them leaves room for 40.
        write_close(&mut out, 4002, &"天".repeat(50));
        assert_eq!((out.len(), out[1]), (127, 125));
        out.clear();
        write_close(&mut out, 4002, &format!("x{}", "天".repeat(50)));
        assert_eq!((out.len(), out[1]), (2 + 2 + 121, 123));
        assert_eq!(std::str::from_utf8(&out[4..]).unwrap(), format!("x{}", "天".repeat(40)));
        out.clear();
        write_close_empty(&mut out);
        write_ping(&mut out);
        assert_eq!(out, [0x88, 0, 0x89, 0]);
    }

    #[test]
    fn the_end_of_the_frame_in_progress_is_found_from_every_position() {
        let mut run = Vec::new();
        let mut ends = vec![0];
        for payload_bytes in [0, 3, 125, 126, 300, 65_536, 1] {
            write_frame(&mut run, Opcode::Text, &vec![0xfe; payload_bytes]);
            ends.push(run.len());
        }
        for position in (0..=run.len()).step_by(7).chain(ends.clone()) {
            let expected = ends.iter().copied().find(|&end| end >= position).unwrap();
            assert_eq!(whole_frames_end(&run, position), expected, "{position}");
        }
    }
}
