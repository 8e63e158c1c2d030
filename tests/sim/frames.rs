//! What a server's bytes say.

/// The texts of whole text frames, one after the other (RFC 6455 section 5.2).
pub fn texts(mut bytes: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let [0x81, length, rest @ ..] = bytes {
        let (length, rest) = match length {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().expect("eight bytes")) as usize, &rest[8..]),
            short => (usize::from(*short), rest),
        };
        texts.push(String::from_utf8(rest[..length].to_vec()).expect("UTF-8"));
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "not a text frame");
    texts
}
