//! A bare TCP connection: for HTTP, for bytes that no library would send, and for frames as they really came.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::PATIENCE;
use super::server::Scene;

/// Opcodes of RFC 6455 section 5.2.
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;
/// The first byte's bit of a message's last frame.
pub(crate) const FIN: u8 = 0x80;

/// The request of RFC 6455 section 1.3, for a path.
pub(crate) fn handshake(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A frame as a client has to send it: whole, masked.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame_with(FIN | opcode, payload)
}

/// A masked frame with any first byte.
pub(crate) fn frame_with(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x5a, 0x01, 0xff, 0x80];
    let mut bytes = header(first, true, payload.len() as u64);
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A frame without a mask, as only a server may send it.
pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, false, payload.len() as u64);
    bytes.extend(payload);
    bytes
}

/// A frame's first bytes, without mask and payload, in the shortest form.
pub(crate) fn header(first: u8, masked: bool, length: u64) -> Vec<u8> {
    let bit = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match length {
        0..126 => bytes.push(bit | length as u8),
        126..0x1_0000 => {
            bytes.push(bit + 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(bit + 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes
}

/// The payload of a Close frame.
pub(crate) fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

/// The head of an HTTP answer.
#[derive(Debug)]
pub(crate) struct Head {
    /// As `HTTP/1.1 404 Not Found`.
    pub(crate) status: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// A header's value; `None` if it is not there. Fails if it is there twice.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let first = values.next();
        assert!(values.next().is_none(), "two {name}: {self:?}");
        first
    }
}

/// A frame as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    /// FIN, reserved bits and opcode.
    pub(crate) first: u8,
    /// The payload.
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The payload as text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        assert_eq!(self.first, FIN | TEXT, "not a whole text frame: {self:?}");
        std::str::from_utf8(&self.payload).expect("text is UTF-8")
    }

    /// The code (1005: none) and reason of a Close frame.
    #[track_caller]
    pub(crate) fn close(&self) -> (u16, String) {
        assert_eq!(self.first, FIN | CLOSE, "not a Close: {self:?}");
        assert!(self.payload.len() <= 125, "a control frame of {} bytes", self.payload.len());
        match self.payload.split_first_chunk::<2>() {
            None => (1005, String::new()),
            Some((code, reason)) => {
                (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).expect("a reason is UTF-8"))
            }
        }
    }
}

/// A bare connection.
pub(crate) struct Raw {
    /// The socket.
    pub(crate) stream: TcpStream,
    scene: Scene,
    buffer: Vec<u8>,
}

impl Raw {
    /// Connects, and says nothing.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr, scene: Scene) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the server accepts");
        Self::over(stream, scene)
    }

    /// Over a socket that is connected already.
    pub(crate) fn over(stream: TcpStream, scene: Scene) -> Self {
        be_patient(&stream);
        scene.note("raw connect");
        Self { stream, scene, buffer: Vec::new() }
    }

    /// Sends a handshake for a path, takes the 101 and the welcome.
    #[track_caller]
    pub(crate) fn upgraded(mut self, path: &str) -> Self {
        self.send(handshake(path));
        self.expect_101();
        let welcome = self.frame();
        assert!(welcome.text().contains("Welcome"), "{welcome:?}");
        self
    }

    /// The 101 has to come.
    #[track_caller]
    pub(crate) fn expect_101(&mut self) {
        let head = self.head();
        assert_eq!(head.status, "HTTP/1.1 101 Switching Protocols");
        assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    /// Sends bytes.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes bytes");
    }

    /// Sends bytes to a server that may have had enough.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        let bytes = bytes.as_ref();
        self.scene.note(&format!("raw> {}", bytes[..bytes.len().min(400)].escape_ascii()));
        self.stream.write_all(bytes)
    }

    /// Ends our half of the stream.
    pub(crate) fn shut_down(&self) {
        self.scene.note("raw shuts down its half");
        self.stream.shutdown(Shutdown::Write).expect("a socket shuts down");
    }

    /// Goes without a word: a reset.
    pub(crate) fn reset(self) {
        self.scene.note("raw resets");
        let stream = socket2::Socket::from(self.stream);
        stream.set_linger(Some(std::time::Duration::ZERO)).expect("a socket lingers not");
    }

    /// The head of an HTTP answer has to come.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Head {
        let length = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill() > 0, "the stream ended in an HTTP head: {}", self.buffer.escape_ascii());
        };
        let head = String::from_utf8(self.take(length)).expect("a head is text");
        self.scene.note(&format!("raw< {}", head.escape_debug()));
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap_or_default().to_owned();
        let split = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Head { status, headers: lines.map(split).collect() }
    }

    /// The next frame has to come. The server may not mask (RFC 6455 section 5.1).
    #[track_caller]
    pub(crate) fn frame(&mut self) -> Frame {
        self.try_frame().unwrap_or_else(|rest| panic!("the stream ended where a frame was awaited: {rest:?}"))
    }

    /// The next frame, or what was there of it when the stream ended.
    ///
    /// # Errors
    /// The bytes of an unfinished frame; empty if the stream ended between two.
    #[track_caller]
    pub(crate) fn try_frame(&mut self) -> Result<Frame, Vec<u8>> {
        loop {
            if let Some((frame, length)) = parse(&self.buffer) {
                self.buffer.drain(..length);
                self.scene.note(&format!("raw< {:02x} {}", frame.first, String::from_utf8_lossy(&frame.payload)));
                return Ok(frame);
            }
            if self.fill() == 0 {
                return Err(std::mem::take(&mut self.buffer));
            }
        }
    }

    /// The next frame with this opcode; others are skipped.
    #[track_caller]
    pub(crate) fn until(&mut self, opcode: u8) -> Frame {
        loop {
            let frame = self.frame();
            if frame.first & 0xf == opcode {
                return frame;
            }
        }
    }

    /// The next text frame that contains this; others are skipped.
    #[track_caller]
    pub(crate) fn until_text(&mut self, part: &str) -> String {
        loop {
            let frame = self.until(TEXT);
            if frame.text().contains(part) {
                return frame.text().to_owned();
            }
        }
    }

    /// Skips data until the server's Close: its code and reason. It is answered, and the stream has to end.
    #[track_caller]
    pub(crate) fn closed(&mut self) -> (u16, String) {
        let close = self.until(CLOSE);
        let _ = self.try_send(frame(CLOSE, &close.payload));
        self.expect_end();
        close.close()
    }

    /// Nothing may come any more but the stream's end.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "more came: {}", rest.escape_ascii());
    }

    /// Everything until the stream's end.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        std::mem::take(&mut self.buffer)
    }

    /// So many bytes have to come.
    #[track_caller]
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.fill() > 0, "the stream ended early: {}", self.buffer.escape_ascii());
        }
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.buffer.drain(..length).collect()
    }

    #[track_caller]
    fn fill(&mut self) -> usize {
        fill("raw", &mut self.stream, &mut self.buffer, &self.scene)
    }
}

/// Makes a socket wait as long as a test does, and for nothing else.
pub(crate) fn be_patient(stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    stream.set_nodelay(true).expect("a socket takes TCP_NODELAY");
}

/// Reads once, for `who`; how many bytes came. A reset counts as the end.
#[track_caller]
pub(crate) fn fill(who: &str, stream: &mut TcpStream, buffer: &mut Vec<u8>, scene: &Scene) -> usize {
    let mut chunk = [0; 16_384];
    match stream.read(&mut chunk) {
        Ok(length) => {
            buffer.extend_from_slice(&chunk[..length]);
            length
        }
        // These tests were stopped for a while (signal(7): a read that has a timeout is not taken up again).
        Err(error) if error.kind() == ErrorKind::Interrupted => fill(who, stream, buffer, scene),
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            scene.note(&format!("{who} was reset"));
            0
        }
        Err(error) => {
            panic!("{who}: nothing came within {PATIENCE:?}: {error}; in hand: {}", buffer.escape_ascii())
        }
    }
}

/// A whole frame at the start of the bytes, and how many bytes it takes.
#[track_caller]
pub(crate) fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "the server masked a frame");
    let (start, length) = match second {
        126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).expect("a length")),
        short => (2, usize::from(short)),
    };
    let payload = bytes.get(start..start + length)?.to_vec();
    Some((Frame { first, payload }, start + length))
}
