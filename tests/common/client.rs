//! A client by ordinary means: tungstenite over a blocking socket.

use std::net::{SocketAddr, TcpStream};
use std::sync::PoisonError;

use serde_json::Value;
use socket2::SockRef;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::{HeaderValue, header};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

use super::PATIENCE;
use super::pattern::{Bindings, compare, fill_in};
use super::raw::be_patient;
use super::server::Scene;

/// A connected client. It answers Pings by itself while it reads, as every WebSocket library does.
pub(crate) struct Client {
    /// Its name in the failure's transcript.
    pub(crate) who: String,
    socket: WebSocket<TcpStream>,
    scene: Scene,
    pings: u32,
}

/// What came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Came {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Vec<u8>),
    /// The server's Close: its code (1005: none) and reason.
    Closed(u16, String),
}

impl Came {
    /// As a failure's transcript has it.
    pub(crate) fn told(&self, who: &str) -> String {
        match self {
            Self::Text(text) => format!("{who}< {text}"),
            Self::Binary(bytes) => format!("{who} binary< {bytes:02x?}"),
            Self::Closed(code, reason) => format!("{who} closed {code} {reason}"),
        }
    }

    /// It has to be text.
    #[track_caller]
    pub(crate) fn into_text(self, who: &str) -> String {
        match self {
            Self::Text(text) => text,
            other => panic!("{who} waited for a text frame, got {other:?}"),
        }
    }

    /// It has to be a JSON object.
    #[track_caller]
    pub(crate) fn into_json(self, who: &str) -> Value {
        let text = self.into_text(who);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{who} got no JSON: {error}: {text}"))
    }
}

impl Client {
    /// Connects and upgrades; fails if that fails.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr, scene: Scene, who: &str, path: &str) -> Self {
        Self::connect_with(address, scene, who, path, None)
    }

    /// The same, with a subprotocol that is offered and has to be chosen.
    #[track_caller]
    pub(crate) fn connect_with(
        address: SocketAddr,
        scene: Scene,
        who: &str,
        path: &str,
        subprotocol: Option<&'static str>,
    ) -> Self {
        scene.note(&format!("{who} connect {path} {}", subprotocol.unwrap_or_default()));
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the server accepts");
        be_patient(&stream);
        let mut request = format!("ws://{address}{}", escape(path)).into_client_request().expect("a good address");
        if let Some(subprotocol) = subprotocol {
            request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
        }
        let upgraded = tungstenite::client(request, stream);
        let (socket, response) = upgraded.unwrap_or_else(|error| panic!("{who} connect {path}: {error}"));
        let chosen = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL).map(HeaderValue::as_bytes);
        assert_eq!(chosen, subprotocol.map(str::as_bytes), "which subprotocol was chosen");
        Self { who: who.to_owned(), socket, scene, pings: 0 }
    }

    /// Breaks the connection without a goodbye: a reset.
    pub(crate) fn cut(self) {
        self.scene.note(&format!("{} cut", self.who));
        SockRef::from(self.stream()).set_linger(Some(std::time::Duration::ZERO)).expect("a socket lingers not");
    }

    /// Sends a text frame, with the noted values put in.
    #[track_caller]
    pub(crate) fn send(&mut self, text: &str) {
        let text = fill_in(text, &self.bindings());
        self.scene.note(&format!("{}> {text}", self.who));
        self.write(Message::text(text));
    }

    /// Sends many text frames in one go: they are written with as few system calls as the buffer allows.
    #[track_caller]
    pub(crate) fn send_all(&mut self, texts: impl IntoIterator<Item = String>) {
        for text in texts {
            self.scene.note(&format!("{}> {text}", self.who));
            self.socket.write(Message::text(text)).unwrap_or_else(|error| panic!("{} cannot write: {error}", self.who));
        }
        self.socket.flush().unwrap_or_else(|error| panic!("{} cannot flush: {error}", self.who));
    }

    /// Sends a binary frame.
    #[track_caller]
    pub(crate) fn send_binary(&mut self, bytes: &[u8]) {
        self.scene.note(&format!("{} binary> {bytes:02x?}", self.who));
        self.write(Message::binary(bytes.to_vec()));
    }

    /// Says goodbye.
    #[track_caller]
    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        self.scene.note(&format!("{} close {code} {reason}", self.who));
        let frame = CloseFrame { code: code.into(), reason: reason.to_owned().into() };
        self.socket.close(Some(frame)).unwrap_or_else(|error| panic!("{} cannot close: {error}", self.who));
    }

    #[track_caller]
    fn write(&mut self, message: Message) {
        self.socket.send(message).unwrap_or_else(|error| panic!("{} cannot send: {error}", self.who));
    }

    /// The next frame that is not a Ping or Pong; it has to come.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Came {
        let since = std::time::Instant::now();
        loop {
            // Pings come while nothing else does: they must not make the wait endless.
            assert!(since.elapsed() < PATIENCE, "{} waited for a frame and got Pings only", self.who);
            let came = match self.socket.read() {
                Ok(Message::Text(text)) => Came::Text(text.as_str().to_owned()),
                Ok(Message::Binary(bytes)) => Came::Binary(bytes.to_vec()),
                Ok(Message::Close(frame)) => frame
                    .map_or(Came::Closed(1005, String::new()), |f| Came::Closed(f.code.into(), f.reason.to_string())),
                Ok(_) => continue,
                // These tests were stopped for a while (signal(7): a read that has a timeout is not taken up again).
                Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => panic!("{} waited for a frame: {error}", self.who),
            };
            self.scene.note(&came.told(&self.who));
            return came;
        }
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

    /// The next frame, which has to be as the pattern says, byte by byte.
    #[track_caller]
    pub(crate) fn expect(&mut self, pattern: &str) {
        let text = self.text();
        if let Err(difference) = compare(pattern, &text, &mut self.bindings()) {
            panic!("{} got\n  {text}\nwhere this was expected:\n  {pattern}\n{difference}", self.who);
        }
    }

    /// The next frame, which has to be a `chat` from `from` with this text; gives its `seq`.
    #[track_caller]
    pub(crate) fn expect_chat(&mut self, from: &str, message: &str) -> u64 {
        let frame = self.json();
        assert_eq!(
            (&frame["type"], &frame["from"], &frame["message"]),
            (&"chat".into(), &from.into(), &message.into())
        );
        frame["seq"].as_u64().expect("every chat has a seq")
    }

    /// The next frame, which has to be an `error` with this code; gives all of it.
    #[track_caller]
    pub(crate) fn expect_error(&mut self, code: &str) -> Value {
        let frame = self.json();
        assert_eq!((&frame["type"], &frame["code"]), (&"error".into(), &code.into()), "{frame}");
        assert!(frame["message"].as_str().is_some_and(|words| !words.is_empty()), "no words for people: {frame}");
        assert_eq!(frame["retry"], code == "overloaded", "{frame}");
        frame
    }

    /// Skips frames until one is as wished, and gives that.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, wished: impl Fn(&Value) -> bool) -> Value {
        let start = std::time::Instant::now();
        while start.elapsed() < PATIENCE {
            let frame = self.json();
            if wished(&frame) {
                return frame;
            }
        }
        panic!("{} waited for {what}", self.who);
    }

    /// Makes sure that nothing else is there for this client: the next frame is the answer to a ping that is sent now.
    #[track_caller]
    pub(crate) fn quiet(&mut self) {
        self.pings += 1;
        let number = self.pings;
        self.send(&format!(r#"{{"type":"ping","t":"quiet {number}"}}"#));
        self.expect(&format!(r#"{{"type":"pong","timestamp":"<T>","t":"quiet {number}"}}"#));
    }

    /// The server's Close has to be next: its code and reason. The stream's end has to follow.
    #[track_caller]
    pub(crate) fn closed(&mut self) -> (u16, String) {
        let closed = match self.next() {
            Came::Closed(code, reason) => (code, reason),
            other => panic!("{} waited for a Close, got {other:?}", self.who),
        };
        match self.socket.read() {
            Err(tungstenite::Error::ConnectionClosed) => closed,
            other => panic!("{}: after Close the stream did not end: {other:?}", self.who),
        }
    }

    /// The socket itself, for what is not ordinary.
    pub(crate) fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    fn bindings(&self) -> std::sync::MutexGuard<'_, Bindings> {
        self.scene.bindings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A path may be written as people do: what a URI cannot have is escaped (RFC 3986 section 2.1).
fn escape(path: &str) -> String {
    use std::fmt::Write as _;
    path.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_graphic() {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}
