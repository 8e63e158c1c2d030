//! Bytes to values and back: heads, frames and commands in, lines out.

use std::sync::Arc;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};

use chinwag::chat::{Draft, Line, Message, Name, RoomName, UserId};
use chinwag::http;
use chinwag::wire::command;
use chinwag::wire::decoder::Decoder;
use chinwag::wire::encode::{Encoder, Lang};
use chinwag::wire::head::{self, HeadLimits, Parsed};

/// A time in the middle of the twenty-twenties, in milliseconds since 1970.
pub(crate) const WALL_MS: u64 = 1_795_336_403_123;

/// What people say, `bytes` long: words, with a quote now and then, which JSON escapes.
pub(crate) fn words(bytes: usize) -> String {
    "all work and no play makes Jack a \"dull\" boy, ".chars().cycle().take(bytes).collect()
}

/// A stored line, as the room's readers get it.
pub(crate) fn line(bytes: usize) -> Message {
    let draft = Draft {
        time_ms: WALL_MS,
        user: UserId([7; 10]),
        from: Name::parse("alice", 32).expect("a name"),
        id: None,
        message: words(bytes).into(),
        to: None,
    };
    Message::Line(Arc::new(Line { room: RoomName::lobby(), seq: 123_456, draft }))
}

#[divan::bench(sample_size = 64, args = [100, 10_000])]
fn encode_line(bencher: Bencher<'_, '_>, bytes: usize) {
    let (mut encoder, message, mut out) = (Encoder::new(Lang::English), line(bytes), Vec::new());
    bencher.counter(BytesCount::new(bytes)).bench_local(move || {
        out.clear();
        encoder.encode(&mut out, black_box(&message), WALL_MS);
        out.len()
    });
}

/// A client's frame: whole and masked.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x81];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length => {
            let length = u16::try_from(length).expect("a frame of less than 64 KiB");
            bytes.push(0x80 + 126);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    let mask = [0x12, 0x34, 0x56, 0x78];
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

#[divan::bench(sample_size = 64, args = [100, 10_000])]
fn decode_frame(bencher: Bencher<'_, '_>, bytes: usize) {
    let (mut decoder, frame) = (Decoder::new(65_536), frame(words(bytes).as_bytes()));
    bencher.counter(BytesCount::new(bytes)).bench_local(move || {
        let (mut partial, mut replies) = (None, Vec::new());
        let message = decoder.next(&mut partial, &mut black_box(&frame[..]), &mut replies);
        assert!(matches!(black_box(message), Some(Ok(_))));
    });
}

/// As Chromium sends it.
const HEAD: &[u8] = b"GET /rooms/tea?name=alice HTTP/1.1\r\nHost: localhost:8765\r\nConnection: Upgrade\r\n\
    Pragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 \
    (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: http://localhost:8000\r\n\
    Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

#[divan::bench(sample_size = 64)]
fn parse_head(bencher: Bencher<'_, '_>) {
    let limits = HeadLimits { bytes_max: 8_192, headers_max: 100 };
    bencher.counter(BytesCount::new(HEAD.len())).bench_local(|| {
        assert_eq!(head::head_end(black_box(HEAD), 0), Some(HEAD.len()));
        head::parse(black_box(HEAD), limits)
    });
}

#[divan::bench(sample_size = 64)]
fn answer_handshake(bencher: Bencher<'_, '_>) {
    let parsed = head::parse(HEAD, HeadLimits { bytes_max: 8_192, headers_max: 100 });
    let Parsed::Complete { head, .. } = parsed else { panic!("{parsed:?}") };
    bencher.bench_local(|| http::route(black_box(&head)));
}

/// What a client may say with the same words.
fn said(how: &str) -> String {
    let words = words(100).replace('"', "\\\"");
    match how {
        "text" => words,
        "JSON" => format!(r#"{{"type":"chat","message":"{words}"}}"#),
        _ => format!(r#"{{"type":"chat","room":"lobby","message":"{words}","id":"b1946ac92492d234"}}"#),
    }
}

#[divan::bench(sample_size = 64, args = ["text", "JSON"])]
fn parse_plain(bencher: Bencher<'_, '_>, how: &str) {
    let text = said(how);
    bencher.bench_local(|| command::parse_plain(black_box(&text)));
}

#[divan::bench(sample_size = 64)]
fn parse_v1(bencher: Bencher<'_, '_>) {
    let text = said("chinwag.v1");
    bencher.bench_local(|| command::parse_v1(black_box(&text)));
}
