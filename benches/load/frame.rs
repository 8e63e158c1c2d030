//! The little of RFC 6455 that a client of good servers and a relay need: frames that come whole in memory, found and
//! written. No handshake, no checks of text.

/// Opcodes (RFC 6455 section 5.2).
pub(crate) const TEXT: u8 = 1;
/// A Close.
pub(crate) const CLOSE: u8 = 8;
/// A Ping.
pub(crate) const PING: u8 = 9;
/// A Pong.
pub(crate) const PONG: u8 = 10;

/// A frame in front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Its opcode.
    pub(crate) opcode: u8,
    /// Its masking key; servers send none.
    pub(crate) key: Option<[u8; 4]>,
    /// Where its payload begins.
    pub(crate) start: usize,
    /// Where it ends.
    pub(crate) end: usize,
}

/// The frame in front of `bytes`; `None` while it is not whole.
#[inline]
pub(crate) fn first(bytes: &[u8]) -> Option<Frame> {
    let [head, length, ..] = *bytes else { return None };
    let (mut start, length) = match length & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        length => (2, usize::from(length)),
    };
    let key = if bytes[1] & 0x80 == 0 {
        None
    } else {
        let key = bytes.get(start..start + 4)?.try_into().ok()?;
        start += 4;
        Some(key)
    };
    let end = start.checked_add(length)?;
    (bytes.len() >= end).then_some(Frame { opcode: head & 0x0f, key, start, end })
}

/// Appends the header of a frame with a payload of so many bytes.
fn write_header(out: &mut Vec<u8>, opcode: u8, mask_bit: u8, length: usize) {
    out.push(0x80 | opcode);
    match length {
        0..=125 => out.push(mask_bit + length as u8),
        126..=0xffff => {
            out.push(mask_bit + 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(mask_bit + 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Appends a frame as a client sends it.
pub(crate) fn write_masked(out: &mut Vec<u8>, opcode: u8, payload: &[u8], key: [u8; 4]) {
    write_header(out, opcode, 0x80, payload.len());
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    mask(&mut out[start..], key);
}

/// Appends a frame as a server sends it: a masked payload, unmasked and filled up with spaces until the whole frame has
/// `frame_bytes`, if it is shorter.
pub(crate) fn write_padded(out: &mut Vec<u8>, opcode: u8, payload: &[u8], key: Option<[u8; 4]>, frame_bytes: usize) {
    let head_bytes = if frame_bytes <= 127 { 2 } else { 4 };
    let length = payload.len().max(frame_bytes.saturating_sub(head_bytes));
    write_header(out, opcode, 0, length);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = key {
        mask(&mut out[start..], key);
    }
    out.resize(start + length, b' ');
}

/// Masks or unmasks (RFC 6455 section 5.3).
fn mask(bytes: &mut [u8], key: [u8; 4]) {
    let mut words = bytes.chunks_exact_mut(4);
    for word in &mut words {
        word.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
    }
    words.into_remainder().iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
}
