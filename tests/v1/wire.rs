//! A `chinwag.v1` connection as it really is: frames made by hand over a socket that the test may leave, cut, or never
//! read.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::Value;
use socket2::{Domain, SockRef, Socket, Type};

use crate::common::client::Came;
use crate::common::pattern::fill_in;
use crate::common::raw::{
    BINARY, CLOSE, Frame, PING, PONG, TEXT, be_patient, close_payload, fill, frame, handshake, parse,
};
use crate::common::server::{Scene, Server};

/// A handshake that offers these subprotocols.
pub(crate) fn offer(subprotocols: &str) -> String {
    handshake("/").replace("\r\n\r\n", &format!("\r\nSec-WebSocket-Protocol: {subprotocols}\r\n\r\n"))
}

/// An upgraded connection. It answers Pings while it is read.
pub(crate) struct Wire {
    /// Whose it is, for the failure's transcript.
    pub(crate) who: String,
    /// The socket.
    pub(crate) stream: TcpStream,
    scene: Scene,
    buffer: Vec<u8>,
}

impl Wire {
    /// Connects and upgrades to `chinwag.v1`. Says no `hello`.
    #[track_caller]
    pub(crate) fn open(server: &Server, who: &str) -> Self {
        Self::with_buffer(server, who, None)
    }

    /// The same over a socket that takes little before it is read.
    #[track_caller]
    pub(crate) fn open_slow(server: &Server, who: &str) -> Self {
        Self::with_buffer(server, who, Some(4096))
    }

    /// A socket that takes little before it is read, on which bytes were sent and nothing was awaited.
    #[track_caller]
    pub(crate) fn unopened_slow(server: &Server, who: &str, bytes: &[u8]) -> Self {
        let mut wire = Self::connect(server, who, Some(4096));
        wire.write(bytes);
        wire
    }

    #[track_caller]
    fn with_buffer(server: &Server, who: &str, receive_bytes: Option<usize>) -> Self {
        let mut wire = Self::connect(server, who, receive_bytes);
        wire.write(offer("chinwag.v1").as_bytes());
        let end = loop {
            match wire.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => assert!(wire.fill() > 0, "{who}: the stream ended in the handshake"),
            }
        };
        let head = String::from_utf8(wire.buffer.drain(..end).collect()).expect("a head is text");
        assert!(head.starts_with("HTTP/1.1 101 "), "{who}: {head}");
        assert!(head.to_ascii_lowercase().contains("\r\nsec-websocket-protocol: chinwag.v1\r\n"), "{who}: {head}");
        wire
    }

    #[track_caller]
    fn connect(server: &Server, who: &str, receive_bytes: Option<usize>) -> Self {
        let scene = server.scene.clone();
        scene.note(&format!("{who} connects"));
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes).expect("a small buffer");
        }
        socket.connect(&server.address.into()).expect("the server accepts");
        let stream = TcpStream::from(socket);
        be_patient(&stream);
        Self { who: who.to_owned(), stream, scene, buffer: Vec::new() }
    }

    /// Sends a text frame, with the noted values put in.
    #[track_caller]
    pub(crate) fn send(&mut self, text: &str) {
        self.send_all([text]);
    }

    /// Sends text frames in one write: they come in one piece.
    #[track_caller]
    pub(crate) fn send_all<T: AsRef<str>>(&mut self, texts: impl IntoIterator<Item = T>) {
        let bytes = self.frames(texts);
        self.write(&bytes);
    }

    /// Text frames as they would be sent, with the noted values put in.
    pub(crate) fn frames<T: AsRef<str>>(&self, texts: impl IntoIterator<Item = T>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in texts {
            let text = {
                let bindings = self.scene.bindings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                fill_in(text.as_ref(), &bindings)
            };
            self.scene.note(&format!("{}> {text}", self.who));
            bytes.extend(frame(TEXT, text.as_bytes()));
        }
        bytes
    }

    /// Sends a binary frame.
    #[track_caller]
    pub(crate) fn send_binary(&mut self, bytes: &[u8]) {
        self.scene.note(&format!("{} binary> {bytes:02x?}", self.who));
        self.write(&frame(BINARY, bytes));
    }

    /// Says goodbye, with a code or without.
    #[track_caller]
    pub(crate) fn say_close(&mut self, code: Option<u16>) {
        self.scene.note(&format!("{} close {code:?}", self.who));
        self.write(&frame(CLOSE, &code.map_or(Vec::new(), |code| close_payload(code, b""))));
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap_or_else(|error| panic!("{} cannot send: {error}", self.who));
    }

    /// Goes without a word: a reset.
    pub(crate) fn reset(self) {
        self.scene.note(&format!("{} is cut", self.who));
        SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).expect("a socket lingers not");
    }

    /// What comes next, Pings and Pongs aside; `None` at the stream's end.
    #[track_caller]
    pub(crate) fn try_next(&mut self) -> Option<Came> {
        loop {
            let Some((frame, length)) = parse(&self.buffer) else {
                if self.fill() == 0 {
                    assert!(self.buffer.is_empty(), "{}: a frame was cut: {:?}", self.who, self.buffer);
                    return None;
                }
                continue;
            };
            self.buffer.drain(..length);
            let came = match frame.first & 0xf {
                TEXT => Came::Text(frame.text().to_owned()),
                BINARY => Came::Binary(frame.payload),
                CLOSE => {
                    let (code, reason) = frame.close();
                    Came::Closed(code, reason)
                }
                PING => {
                    self.answer_ping(&frame);
                    continue;
                }
                PONG => continue,
                other => panic!("{} got opcode {other}", self.who),
            };
            self.scene.note(&came.told(&self.who));
            return Some(came);
        }
    }

    fn answer_ping(&mut self, ping: &Frame) {
        // Whoever is about to be closed may not be able to send any more.
        let _ = self.stream.write_all(&frame(PONG, &ping.payload));
    }

    /// What comes next; it has to come.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Came {
        self.try_next().unwrap_or_else(|| panic!("{}: the stream ended where a frame was awaited", self.who))
    }

    /// The next frame, which has to be text.
    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        self.next().into_text(&self.who)
    }

    /// The next frame, which has to be a JSON object.
    #[track_caller]
    pub(crate) fn json(&mut self) -> Value {
        self.next().into_json(&self.who)
    }

    /// The server's Close has to be next: its code. The stream's end has to follow.
    #[track_caller]
    pub(crate) fn closed(&mut self) -> u16 {
        let (frames, code) = self.rest();
        assert!(frames.is_empty(), "{} waited for a Close, got {frames:?}", self.who);
        code.unwrap_or_else(|| panic!("{}: the stream ended without a Close", self.who))
    }

    /// Everything until the stream's end: the text frames, and the Close's code if one came. The Close is answered.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> (Vec<Value>, Option<u16>) {
        let mut frames = Vec::new();
        let mut code = None;
        while let Some(came) = self.try_next() {
            assert_eq!(code, None, "{}: something came after the Close: {came:?}", self.who);
            match came {
                Came::Text(text) => frames.push(serde_json::from_str(&text).expect("JSON")),
                Came::Binary(_) => {}
                Came::Closed(came, reason) => {
                    // The others are the peer's own, returned.
                    let ours = matches!(came, 1002..=1004 | 1006..=1999 | 4000..=4500);
                    assert!(!ours || !reason.is_empty(), "{}: {came} without words", self.who);
                    code = Some(came);
                    // The server may not listen any more.
                    let _ = self.stream.write_all(&frame(CLOSE, &close_payload(came, b"")));
                }
            }
        }
        (frames, code)
    }

    #[track_caller]
    fn fill(&mut self) -> usize {
        fill(&self.who, &mut self.stream, &mut self.buffer, &self.scene)
    }
}
