//! A server that does what a test says, as wrong as that may be.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

use crate::common::PATIENCE;
use crate::common::raw::unmasked;

/// Who everybody is at these servers.
pub(crate) const USER: &str = "uAAAAAAAAAAAAAAAA";

/// A listening server that accepts one client after the other.
pub(crate) struct Script {
    listener: TcpListener,
    address: SocketAddr,
}

/// One client of it.
pub(crate) struct Peer {
    socket: WebSocket<TcpStream>,
    seq: u64,
}

impl Script {
    /// On a free port.
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a socket takes that");
        let address = listener.local_addr().expect("it is bound");
        Self { listener, address }
    }

    /// Its address, as typed.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// The next client, of which nothing was read.
    #[track_caller]
    pub(crate) fn accept(&self) -> TcpStream {
        let start = Instant::now();
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("cannot accept: {error}"),
            }
            // A client may give up its last connection after 10 s only.
            assert!(start.elapsed() < 2 * PATIENCE, "no client connects");
            std::thread::sleep(Duration::from_millis(2));
        };
        stream.set_nonblocking(false).expect("a socket takes that");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.set_nodelay(true).expect("a socket takes TCP_NODELAY");
        stream
    }

    /// The next client, upgraded: over `chinwag.v1`, or without a subprotocol.
    #[track_caller]
    pub(crate) fn upgrade(&self, lasting: bool) -> Peer {
        // A callback with an answer for a failure: the library's form.
        #[allow(clippy::result_large_err, clippy::unnecessary_wraps)]
        let choose = |_: &Request, mut response: Response| {
            if lasting {
                let name = HeaderValue::from_static("chinwag.v1");
                response.headers_mut().insert("Sec-WebSocket-Protocol", name);
            }
            Ok(response)
        };
        let socket = tungstenite::accept_hdr(self.accept(), choose).expect("a client of ours upgrades");
        Peer { socket, seq: 0 }
    }

    /// The next client, upgraded and welcomed by name into the room `lobby`.
    #[track_caller]
    pub(crate) fn welcome(&self) -> Peer {
        let mut peer = self.upgrade(true);
        let hello = peer.next();
        assert_eq!(hello["type"], "hello");
        peer.say(&welcome());
        peer.say(&joined("@me", 0));
        peer.say(&joined("lobby", 0));
        peer
    }
}

/// A `welcome`.
pub(crate) fn welcome() -> Value {
    json!({"type": "welcome", "user": USER, "session": "secret", "name": "me", "resumed": false, "heartbeat_ms": 25000,
        "limits": {"message_bytes": 65536, "name_chars": 32, "rooms": 64}, "server": "script", "timestamp": TIME})
}

/// A `joined` for a room without lines, or with so many.
pub(crate) fn joined(room: &str, seq: u64) -> Value {
    json!({"type": "joined", "room": room, "epoch": "abcdefgh", "seq": seq, "online_count": 2, "recovered": false,
        "timestamp": TIME})
}

/// A `chat` of somebody else.
pub(crate) fn chat(seq: u64, from: &str, message: &str) -> Value {
    json!({"type": "chat", "room": "lobby", "seq": seq, "from": from, "user": "uBBBBBBBBBBBBBBBB", "message": message,
        "timestamp": TIME})
}

/// When everything happens.
pub(crate) const TIME: &str = "2026-11-22T12:03:04.567Z";

impl Peer {
    /// Sends a frame.
    #[track_caller]
    pub(crate) fn say(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).expect("the client reads");
    }

    /// Has somebody say something in the room.
    #[track_caller]
    pub(crate) fn chat(&mut self, from: &str, message: &str) {
        self.seq += 1;
        let frame = chat(self.seq, from, message);
        self.say(&frame);
    }

    /// Sends a text that may be no frame.
    #[track_caller]
    pub(crate) fn text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("the client reads");
    }

    /// Sends bytes that may be no WebSocket frame. The client may have gone.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.get_mut().write_all(bytes)
    }

    /// Sends a whole frame with a first byte, unmasked.
    pub(crate) fn frame(&mut self, first: u8, payload: &[u8]) -> std::io::Result<()> {
        self.bytes(&unmasked(first, payload))
    }

    /// The next text message of the client, as JSON. It has to come.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Value {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return serde_json::from_str(&text).expect("a client of ours sends JSON"),
                Ok(_) => {}
                Err(error) => panic!("waited for a frame of the client: {error}"),
            }
        }
    }

    /// The next line that the client says: its text and its id.
    #[track_caller]
    pub(crate) fn next_line(&mut self) -> (String, String) {
        let frame = self.next();
        let text = |name: &str| frame[name].as_str().unwrap_or_else(|| panic!("no {name}: {frame}")).to_owned();
        assert_eq!(frame["type"], "chat");
        (text("message"), text("id"))
    }

    /// Acknowledges a line, which comes back first.
    #[track_caller]
    pub(crate) fn acknowledge(&mut self, message: &str, id: &str) {
        self.seq += 1;
        let seq = self.seq;
        self.say(&json!({"type": "chat", "room": "lobby", "seq": seq, "from": "me", "user": USER, "message": message,
            "id": id, "timestamp": TIME}));
        self.say(&json!({"type": "ack", "id": id, "room": "lobby", "seq": seq, "timestamp": TIME}));
    }

    /// Closes with a code and a reason; waits for the client's answer and for its end.
    #[track_caller]
    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        let frame = tungstenite::protocol::CloseFrame { code: code.into(), reason: reason.to_owned().into() };
        self.socket.close(Some(frame)).expect("the client reads");
        self.until_end();
    }

    /// Waits until the client has said goodbye, which is answered, and is gone.
    pub(crate) fn until_end(&mut self) {
        while self.socket.read().is_ok() {}
    }

    /// Answers the client's goodbye when it comes, on a thread of its own.
    pub(crate) fn answer_goodbye(mut self) {
        std::thread::spawn(move || self.until_end());
    }

    /// Reads and forgets whatever the client sends, on a thread of its own, so that it can go on sending.
    pub(crate) fn devour(&self) {
        let mut stream = self.socket.get_ref().try_clone().expect("a socket can be shared");
        std::thread::spawn(move || {
            let mut bytes = vec![0; 64 * 1024];
            while let Ok(1..) = stream.read(&mut bytes) {}
        });
    }
}

/// Something that goes on until it is dropped.
pub(crate) struct Flood {
    over: Arc<AtomicBool>,
    /// Bytes that the client has taken.
    sent: Arc<AtomicU64>,
    /// Whether it takes none at the moment, and has not for half a second.
    rests: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Sends the same bytes again and again, as fast as the client takes them.
    pub(crate) fn start(peer: Peer, bytes: Vec<u8>) -> Self {
        let (over, rests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let sent = Arc::new(AtomicU64::new(0));
        let (until, rest, count) = (Arc::clone(&over), Arc::clone(&rests), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let mut stream = peer.socket.get_ref();
            stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a socket takes a timeout");
            let mut at = 0;
            while !until.load(Ordering::Relaxed) {
                match stream.write(&bytes[at..]) {
                    Ok(length) => {
                        at = (at + length) % bytes.len();
                        count.fetch_add(length as u64, Ordering::Relaxed);
                        rest.store(false, Ordering::Relaxed);
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        rest.store(true, Ordering::Relaxed);
                    }
                    Err(_) => break,
                }
            }
        });
        Self { over, sent, rests, thread: Some(thread) }
    }

    /// Bytes that the client has taken, or the kernel for it.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether nothing more was taken for half a second.
    pub(crate) fn rests(&self) -> bool {
        self.rests.load(Ordering::Relaxed)
    }

    /// Whether the client has hung up.
    pub(crate) fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
