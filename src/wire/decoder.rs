//! Bytes of an upgraded connection to WebSocket messages.
//!
//! tungstenite does the reading, without ever seeing a socket: it is handed the bytes of one frame at a time, after
//! this module looked at the frame's header. So nothing behind a message is consumed with it, a frame that must be
//! refused is refused before it is buffered, and a million empty fragments come one by one, for the caller to charge.
//!
//! Most chunks end where a message ends. So the codec is not the connection's: one serves all of them in turn, and a
//! connection owns one only while a message has come in part ([`Partial`]).

use std::io::{self, Read, Write};

use tungstenite::error::Error;
use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Bytes, Utf8Bytes};

use crate::chat::effects::CloseReason;

pub use super::close_watch::CloseWatch;
use super::frame::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Header, Opcode, Parsed};

/// How much tungstenite reads at once, and the size of its buffer between long messages.
const READ_BUFFER_BYTES: usize = 4096;

/// A message, or a piece of one that ends here.
///
/// Payloads are slices of the codec's buffer, which cannot be used again while they live: copy what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// A Ping; its Pong is among the replies.
    Ping,
    /// A Pong.
    Pong,
    /// A Close, with the code to be echoed (RFC 6455 section 5.5.1): the one that came, 1002 if that must not be
    /// sent, none if none came. Nothing is among the replies: the caller sends its Close when its turn has come.
    Close(Option<u16>),
    /// A part of a message that goes on.
    Fragment,
}

/// What a connection keeps while a message has come in part.
#[derive(Debug, Default)]
pub struct Partial {
    /// Holds what was read of the message; absent while that is no more than a header's beginning.
    context: Option<Box<WebSocketContext>>,
    /// The beginning of a header that was cut by a chunk's end. The codec has not seen it.
    pub(super) cut: CutHeader,
    /// The frame in progress, whose header the codec has seen.
    pub(super) frame: Option<Frame>,
    /// Whether the next data frame continues a message.
    continues: bool,
}

/// A frame in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) opcode: Opcode,
    /// How many of its bytes have not come.
    pub(super) bytes_left: usize,
}

/// Makes messages of bytes, for all connections.
#[derive(Debug)]
pub struct Decoder {
    message_bytes_max: usize,
    config: WebSocketConfig,
    /// The codec that is nobody's.
    spare: Option<Box<WebSocketContext>>,
}

impl Decoder {
    /// A decoder for messages of up to `message_bytes_max` bytes, fragments together.
    pub fn new(message_bytes_max: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(message_bytes_max))
            // Which counts for control frames too.
            .max_frame_size(Some(message_bytes_max.max(CONTROL_BYTES_MAX)));
        Self { message_bytes_max, config, spare: None }
    }

    /// Takes bytes from the front of `rest` until a message, a fragment or a control frame is complete, and no more.
    /// `None` when `rest` is used up; what was incomplete is in `partial`, which belongs to the connection.
    ///
    /// The Pong for a Ping is appended to `replies` before the Ping is returned. A call does the work of at most one
    /// frame and is bounded by `rest`.
    ///
    /// # Errors
    /// Why the connection must be closed: `Protocol`, `NotUtf8` or `TooLarge`. Nothing of it may be decoded after
    /// that, nor after a Close. A [`CloseWatch`] can go on from an error: it is made of `partial` as it is left (`None`,
    /// but for the beginning of a header that was refused) and shown what is left in `rest`.
    pub fn next(
        &mut self,
        partial: &mut Option<Box<Partial>>,
        rest: &mut &[u8],
        replies: &mut Vec<u8>,
    ) -> Option<Result<Incoming, CloseReason>> {
        if rest.is_empty() {
            return None;
        }
        let mut held = partial.take();
        let mut fresh = Partial::default();
        let state = held.as_deref_mut().unwrap_or(&mut fresh);
        let outcome = self.advance(state, rest, replies).transpose();
        if matches!(outcome, Some(Err(_) | Ok(Incoming::Close(_)))) {
            // What is in the codec has lost its meaning. Only the header that was refused may matter to a watch.
            *state = Partial { cut: state.cut, ..Partial::default() };
        }
        if state.is_between_messages() {
            self.spare = state.context.take().or(self.spare.take());
        } else {
            *partial = Some(held.unwrap_or_else(|| Box::new(fresh)));
        }
        outcome
    }

    fn advance(
        &mut self,
        state: &mut Partial,
        rest: &mut &[u8],
        replies: &mut Vec<u8>,
    ) -> Result<Option<Incoming>, CloseReason> {
        let (mut frame, header_start) = match state.frame {
            Some(frame) => (frame, CutHeader::default()),
            None => match state.begin_frame(rest, self.message_bytes_max)? {
                Some(begun) => begun,
                None => return Ok(None),
            },
        };
        let (now, later) = rest.split_at(frame.bytes_left.min(rest.len()));
        *rest = later;
        frame.bytes_left -= now.len();
        state.frame = (frame.bytes_left > 0).then_some(frame);

        let context = state.context.get_or_insert_with(|| {
            self.spare.take().unwrap_or_else(|| Box::new(WebSocketContext::new(Role::Server, Some(self.config))))
        });
        let mut stream = Shim { first: header_start.bytes(), second: now, replies };
        let message = match context.read(&mut stream) {
            Ok(message) => message,
            Err(Error::Io(_)) if state.frame.is_some() => return Ok(None),
            Err(Error::Io(_)) => {
                // The shim's end, and no message: the frame was a fragment.
                state.continues = true;
                return Ok(Some(Incoming::Fragment));
            }
            Err(error) => return Err(reason(&error)),
        };
        debug_assert!(stream.second.is_empty() && state.frame.is_none(), "a message before its frame's end");
        Ok(Some(match message {
            Message::Text(text) => {
                state.continues = false;
                Incoming::Text(text)
            }
            Message::Binary(bytes) => {
                state.continues = false;
                Incoming::Binary(bytes)
            }
            Message::Ping(_) => {
                context.flush(&mut stream).map_err(|error| reason(&error))?;
                Incoming::Ping
            }
            Message::Pong(_) => Incoming::Pong,
            Message::Close(close) => Incoming::Close(close.map(|close| close.code.into())),
            Message::Frame(_) => unreachable!("tungstenite's `read` never returns a raw frame"),
        }))
    }
}

impl Partial {
    /// Begins the next frame: its header is read, and what came of it in earlier chunks is handed out.
    fn begin_frame(
        &mut self,
        rest: &mut &[u8],
        message_bytes_max: usize,
    ) -> Result<Option<(Frame, CutHeader)>, CloseReason> {
        let Some(header) = self.cut.complete(rest, message_bytes_max as u64)? else {
            return Ok(None);
        };
        if !header.opcode.is_control() && self.continues != (header.opcode == Opcode::Continuation) {
            return Err(CloseReason::Protocol);
        }
        let start = std::mem::take(&mut self.cut);
        // Bounded by the limit or by 125 bytes, so it fits.
        let bytes_left = header.header_bytes - start.bytes().len() + header.payload_bytes as usize;
        Ok(Some((Frame { opcode: header.opcode, bytes_left }, start)))
    }

    fn is_between_messages(&self) -> bool {
        self.cut.bytes().is_empty() && self.frame.is_none() && !self.continues
    }
}

/// The beginning of a header whose rest comes in a later chunk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CutHeader {
    bytes: [u8; HEADER_BYTES_MAX],
    bytes_kept: u8,
}

impl CutHeader {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.bytes_kept)]
    }

    /// Reads the header that begins here and goes on in `rest`. `None`: `rest` does not complete it and was taken.
    ///
    /// A header that is all in `rest` stays there. Of one that began earlier the end is moved here. What is refused is
    /// left where it is.
    pub(super) fn complete(&mut self, rest: &mut &[u8], payload_bytes_max: u64) -> Result<Option<Header>, CloseReason> {
        let kept = usize::from(self.bytes_kept);
        if kept == 0
            && let Parsed::Header(header) = Header::parse(rest, payload_bytes_max)?
        {
            return Ok(Some(header));
        }
        let added = rest.len().min(HEADER_BYTES_MAX - kept);
        self.bytes[kept..kept + added].copy_from_slice(&rest[..added]);
        let (header, used) = match Header::parse(&self.bytes[..kept + added], payload_bytes_max)? {
            Parsed::Header(header) => (Some(header), header.header_bytes.saturating_sub(kept)),
            Parsed::Incomplete => (None, added),
        };
        *rest = &rest[used..];
        self.bytes_kept = (kept + used) as u8;
        Ok(header)
    }
}

/// The socket that tungstenite sees: it has the bytes in hand and then nothing yet, and takes all that is written.
struct Shim<'a> {
    first: &'a [u8],
    second: &'a [u8],
    replies: &'a mut Vec<u8>,
}

impl Read for Shim<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let source = if self.first.is_empty() { &mut self.second } else { &mut self.first };
        // Zero bytes would mean that the peer has hung up.
        if source.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { source.read(buffer) }
    }
}

impl Write for Shim<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.replies.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn reason(error: &Error) -> CloseReason {
    match error {
        Error::Utf8(_) => CloseReason::NotUtf8,
        Error::Capacity(_) => CloseReason::TooLarge,
        _ => CloseReason::Protocol,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::wire) const LIMIT: usize = 70_000;
    pub(in crate::wire) const FIN: u8 = 0x80;

    /// A client's frame, masked.
    pub(in crate::wire) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            short @ 0..=125 => out.push(0x80 | short as u8),
            medium @ 126..=0xffff => {
                out.push(0xfe);
                out.extend_from_slice(&(medium as u16).to_be_bytes());
            }
            long => {
                out.push(0xff);
                out.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        let mask = [0x81, 0x08, 0xff, 0x5a];
        out.extend_from_slice(&mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    /// One peer, its decoder, and what came of all its chunks.
    pub(in crate::wire) struct Peer {
        decoder: Decoder,
        pub(in crate::wire) partial: Option<Box<Partial>>,
        replies: Vec<u8>,
        heard: Vec<Incoming>,
        pub(in crate::wire) ended: Option<CloseReason>,
    }

    impl Peer {
        pub(in crate::wire) fn new(limit: usize) -> Self {
            let decoder = Decoder::new(limit);
            Self { decoder, partial: None, replies: Vec::new(), heard: Vec::new(), ended: None }
        }

        /// Hears a chunk; returns what was left of it when the connection's end was heard.
        pub(in crate::wire) fn hear<'a>(&mut self, mut rest: &'a [u8]) -> &'a [u8] {
            assert_eq!(self.ended, None, "read from after an error");
            while let Some(outcome) = self.decoder.next(&mut self.partial, &mut rest, &mut self.replies) {
                match outcome {
                    Ok(Incoming::Close(code)) => {
                        self.heard.push(Incoming::Close(code));
                        return rest;
                    }
                    Ok(incoming) => self.heard.push(incoming),
                    Err(reason) => {
                        self.ended = Some(reason);
                        return rest;
                    }
                }
            }
            assert!(rest.is_empty(), "{} bytes were not read", rest.len());
            rest
        }
    }

    fn hear(bytes: &[u8]) -> Peer {
        let mut peer = Peer::new(LIMIT);
        peer.hear(bytes);
        peer
    }

    fn text(text: &str) -> Incoming {
        Incoming::Text(text.to_owned().into())
    }

    /// Everything that a well-behaved client sends, and what is heard of it.
    pub(in crate::wire) fn conversation() -> (Vec<u8>, Vec<Incoming>, Vec<u8>) {
        let bytes = [
            frame(FIN | 1, b"hello"),
            frame(FIN | 1, b""),
            frame(1, "天".as_bytes().split_at(1).0),
            frame(FIN | 9, b"one"),
            frame(0, "天".as_bytes().split_at(1).1),
            frame(FIN | 9, b"two"),
            frame(FIN | 0xa, b"pong"),
            frame(FIN, b"!"),
            frame(FIN | 2, &[7; 200]),
            frame(2, b""),
            frame(FIN, b""),
            frame(FIN | 9, b""),
            frame(FIN | 1, b"bye"),
            frame(FIN | 8, &[0x03, 0xe8, b'o', b'k']),
        ];
        let heard = vec![
            text("hello"),
            text(""),
            Incoming::Fragment,
            Incoming::Ping,
            Incoming::Fragment,
            Incoming::Ping,
            Incoming::Pong,
            text("天!"),
            Incoming::Binary(vec![7; 200].into()),
            Incoming::Fragment,
            Incoming::Binary(Bytes::new()),
            Incoming::Ping,
            text("bye"),
            Incoming::Close(Some(1000)),
        ];
        let replies = [&[0x8a, 3][..], b"one", &[0x8a, 3], b"two", &[0x8a, 0]].concat();
        (bytes.concat(), heard, replies)
    }

    #[test]
    fn it_does_not_matter_where_the_chunks_end() {
        let (bytes, heard, replies) = conversation();
        let check = |chunks: &[&[u8]]| {
            let mut peer = Peer::new(LIMIT);
            for chunk in chunks {
                peer.hear(chunk);
            }
            let lengths: Vec<usize> = chunks.iter().map(|chunk| chunk.len()).collect();
            assert_eq!(peer.heard, heard, "chunks of {lengths:?}");
            assert_eq!(peer.replies, replies, "chunks of {lengths:?}");
            assert!(peer.partial.is_none(), "chunks of {lengths:?}");
        };
        for cut in 0..=bytes.len() {
            check(&[&bytes[..cut], &bytes[cut..]]);
        }
        for size in [1, 2, 3, 7, 13] {
            check(&bytes.chunks(size).collect::<Vec<_>>());
        }
    }

    #[test]
    fn it_does_not_matter_for_garbage_either() {
        let (bytes, _, _) = conversation();
        let mut refused = 0;
        for seed in 0..3000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut bytes = bytes.clone();
            for _ in 0..random.usize(1..4) {
                let place = random.usize(..bytes.len());
                bytes[place] = random.u8(..);
            }
            let mut whole = Peer::new(300);
            whole.hear(&bytes);
            let mut cut = Peer::new(300);
            let mut rest = &bytes[..];
            while !rest.is_empty() && cut.ended.is_none() && !matches!(cut.heard.last(), Some(Incoming::Close(_))) {
                let (chunk, later) = rest.split_at(random.usize(1..=rest.len().min(40)));
                cut.hear(chunk);
                rest = later;
            }
            assert_eq!((&cut.heard, &cut.ended, &cut.replies), (&whole.heard, &whole.ended, &whole.replies), "{seed}");
            refused += usize::from(whole.ended.is_some());
        }
        assert!(refused > 500, "only {refused} of the seeds are refused");
    }

    #[test]
    fn nothing_behind_a_message_is_taken_with_it() {
        let (first, second) = (frame(FIN | 1, b"first"), frame(FIN | 1, b"second"));
        let bytes = [first.clone(), second.clone()].concat();
        let mut peer = Peer::new(LIMIT);
        let mut rest = &bytes[..];
        assert_eq!(peer.decoder.next(&mut peer.partial, &mut rest, &mut peer.replies), Some(Ok(text("first"))));
        assert_eq!(rest, second);
        assert!(peer.partial.is_none());
        assert_eq!(peer.decoder.next(&mut peer.partial, &mut rest, &mut peer.replies), Some(Ok(text("second"))));
        assert_eq!(peer.decoder.next(&mut peer.partial, &mut rest, &mut peer.replies), None);
    }

    #[test]
    fn a_connection_has_a_codec_only_within_a_message_and_one_is_spare_for_all() {
        let mut decoder = Decoder::new(LIMIT);
        let mut replies = Vec::new();
        let address = |context: &Option<Box<WebSocketContext>>| -> *const WebSocketContext {
            &raw const **context.as_ref().expect("a codec")
        };
        let mut next = |decoder: &mut Decoder, partial: &mut Option<Box<Partial>>, mut rest: &[u8]| {
            decoder.next(partial, &mut rest, &mut replies)
        };
        let whole = frame(FIN | 1, b"whole");

        let mut alice = None;
        assert_eq!(next(&mut decoder, &mut alice, &whole), Some(Ok(text("whole"))));
        assert!(alice.is_none());
        let spare = address(&decoder.spare);

        // A cut header needs no codec yet, a cut payload takes the spare one.
        assert_eq!(next(&mut decoder, &mut alice, &whole[..3]), None);
        assert!(alice.as_ref().is_some_and(|partial| partial.context.is_none()));
        assert_eq!(next(&mut decoder, &mut alice, &whole[3..8]), None);
        assert_eq!(address(&alice.as_ref().unwrap().context), spare);
        assert!(decoder.spare.is_none());

        // Somebody else gets another one meanwhile; when both are free, one stays.
        let mut bob = None;
        assert_eq!(next(&mut decoder, &mut bob, &whole), Some(Ok(text("whole"))));
        assert!(bob.is_none() && decoder.spare.is_some());
        assert_eq!(next(&mut decoder, &mut alice, &whole[8..]), Some(Ok(text("whole"))));
        assert!(alice.is_none());
        assert_eq!(address(&decoder.spare), spare);
    }

    #[test]
    fn every_ping_of_a_chunk_is_answered() {
        let asked: Vec<u8> = (0..200).flat_map(|number: u8| frame(FIN | 9, &[number])).collect();
        let answered: Vec<u8> = (0..200).flat_map(|number: u8| [0x8a, 1, number]).collect();
        assert_eq!(hear(&asked).replies, answered);
        let long = [9; 125];
        assert_eq!(hear(&frame(FIN | 9, &long)).replies, [&[0x8a, 125][..], &long].concat());
    }

    #[test]
    fn a_message_may_have_its_limit_and_no_byte_more() {
        let peer = hear(&frame(FIN | 1, &b"x".repeat(LIMIT)));
        assert_eq!((peer.heard, peer.ended), (vec![text(&"x".repeat(LIMIT))], None));

        let frames = [frame(1, &b"x".repeat(LIMIT - 1)), frame(0, b"x"), frame(FIN, b"")].concat();
        let peer = hear(&frames);
        assert_eq!(peer.heard[2..], [text(&"x".repeat(LIMIT))]);

        // Control frames are no messages, however small the limit is.
        let mut peer = Peer::new(1);
        peer.hear(&[frame(FIN | 9, &[9; 125]), frame(FIN | 8, &[3, 232, b'x', b'y'])].concat());
        assert_eq!((peer.heard, peer.replies.len()), (vec![Incoming::Ping, Incoming::Close(Some(1000))], 127));

        // One frame over it is refused by its header.
        let mut peer = Peer::new(LIMIT);
        peer.hear(&frame(FIN | 1, &b"x".repeat(LIMIT + 1))[..10]);
        assert_eq!(peer.ended, Some(CloseReason::TooLarge));

        for kind in [1, 2] {
            let peer = hear(&[frame(kind, &b"x".repeat(LIMIT - 1)), frame(0, b"xx")].concat());
            assert_eq!((peer.heard, peer.ended), (vec![Incoming::Fragment], Some(CloseReason::TooLarge)));
        }
    }

    #[test]
    fn what_is_no_websocket_ends_the_connection() {
        for (what, bytes) in [
            ("unmasked", vec![0x81, 0x01, b'x']),
            ("reserved bits", frame(FIN | 0x40 | 1, b"x")),
            ("an opcode that is not in use", frame(FIN | 3, b"x")),
            ("a fragmented ping", frame(9, b"x")),
            ("a ping of 126 bytes", frame(FIN | 9, &[0; 126])),
            ("the rest of no message", frame(FIN, b"x")),
            ("a fragment of no message", frame(0, b"x")),
            ("a close of one byte", frame(FIN | 8, &[3])),
            ("an HTTP request", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ] {
            let peer = hear(&[frame(FIN | 1, b"before"), bytes, frame(FIN | 1, b"after")].concat());
            assert_eq!((peer.heard, peer.ended), (vec![text("before")], Some(CloseReason::Protocol)), "{what}");
            assert!(peer.replies.is_empty(), "{what}");
        }
        let peer = hear(&[frame(1, b"a"), frame(FIN | 1, b"b")].concat());
        assert_eq!((peer.heard, peer.ended), (vec![Incoming::Fragment], Some(CloseReason::Protocol)));
    }

    #[test]
    fn text_that_is_not_utf_8_ends_the_connection() {
        for (what, bytes) in [
            ("a byte", frame(FIN | 1, b"a\xff")),
            ("a surrogate", frame(FIN | 1, b"\xed\xa0\x80")),
            ("a character without its end", frame(FIN | 1, b"\xe5\xa4")),
            ("one in fragments", [frame(1, b"\xe5"), frame(FIN, b"\xa4")].concat()),
            ("a close reason", frame(FIN | 8, b"\x03\xe8\xff")),
        ] {
            let peer = hear(&bytes);
            assert_eq!(peer.ended, Some(CloseReason::NotUtf8), "{what}");
            assert!(peer.partial.is_none(), "{what}");
        }
        // In its first fragment already.
        assert_eq!(hear(&frame(1, b"\xff")).ended, Some(CloseReason::NotUtf8));
    }

    #[test]
    fn a_close_is_told_with_the_code_to_echo_and_not_answered() {
        for (payload, code) in [
            (&[][..], None),
            (&[0x03, 0xe8], Some(1000)),
            (&[0x03, 0xe9, b'x'], Some(1001)),
            (&[0x0f, 0xa0], Some(4000)),
            (&[0x13, 0x87], Some(4999)),
            (&[0x03, 0xed], Some(1002)),
            (&[0x03, 0xee], Some(1002)),
            (&[0x00, 0x00], Some(1002)),
            (&[0x07, 0xd0], Some(1002)),
            (&[0x13, 0x88], Some(1002)),
        ] {
            // Also in the middle of a message.
            let mut peer = Peer::new(LIMIT);
            let bytes = [frame(1, b"a"), frame(FIN | 8, payload), frame(FIN | 9, b"late")].concat();
            let rest = peer.hear(&bytes);
            assert_eq!(peer.heard, [Incoming::Fragment, Incoming::Close(code)], "{payload:?}");
            assert_eq!(rest, frame(FIN | 9, b"late"));
            assert!(peer.replies.is_empty() && peer.partial.is_none());
        }
    }

    #[test]
    fn one_connections_bad_end_leaves_nothing_for_the_next_one() {
        let mut peer = Peer::new(LIMIT);
        for bad in [frame(1, b"\xff"), frame(FIN | 8, &[3]), [frame(1, b"secret"), frame(FIN | 1, b"")].concat()] {
            peer.hear(&bad);
            assert!(peer.ended.take().is_some());
            (peer.partial, peer.heard) = (None, Vec::new());
            peer.hear(&frame(FIN | 1, b"clean"));
            assert_eq!(peer.heard, [text("clean")]);
        }
    }
}
