//! One connection: from a host's name to messages. It never blocks, but for looking up the name.
//!
//! tungstenite reads and writes the frames. What it writes goes into a queue here, so that a server that reads slowly
//! slows nobody down but itself. Nothing is decided here; a connection that is dropped ends without a word.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs as _};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Bytes, Utf8Bytes};

use crate::chat::ids::Millis;
use crate::wire::system::without_numbers;

use super::handshake::{Handshake, Refusal};
use super::url::Address;

/// How long a host may take to accept, where it has further addresses, and where it has not.
const ACCEPT_MS: [Millis; 2] = [4_000, 10_000];

/// How long the answer to the handshake may take.
const HANDSHAKE_MS: Millis = 10_000;

/// The longest message, in bytes: a `history` is some 256 KiB, and a server that is not ours may know no limit.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// How much is read at once, in bytes.
const READ_BUFFER_BYTES: usize = 32 * 1024;

/// How much is read in a turn, in bytes. The keyboard and the deadlines come next.
const TURN_BYTES: usize = 1 << 20;

/// Above this, in bytes, nothing is read until something was written: so a server that asks for Pongs without end and reads
/// none of them costs no more. It is more than a hundred lines of the length that our servers take.
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// What a connection has to tell.
#[derive(Debug)]
pub(super) enum News {
    /// It stands.
    Opened {
        /// Whether it speaks `chinwag.v1`.
        lasting: bool,
    },
    /// The server does not want to. It is over.
    Refused(Refusal),
    /// A text message.
    Text(Utf8Bytes),
    /// Something else came.
    Sound,
    /// The answer to a Ping with this number.
    Pong(u64),
    /// The server closed it. It is over.
    Closed {
        /// The code, if there was one.
        code: Option<u16>,
        /// The reason; may be empty.
        reason: Utf8Bytes,
    },
    /// It broke, or never stood. It is over.
    Broken(Failure),
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct Failure {
    /// In English.
    pub(super) why: String,
    /// Nobody listens at the address: whoever gave it may have forgotten to start the server.
    pub(super) nobody_there: bool,
}

impl From<&io::Error> for Failure {
    fn from(error: &io::Error) -> Self {
        Self { why: words(error), nobody_there: error.kind() == io::ErrorKind::ConnectionRefused }
    }
}

impl From<&str> for Failure {
    fn from(why: &str) -> Self {
        Self { why: why.to_owned(), nobody_there: false }
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self { why, nobody_there: false }
    }
}

/// A connection.
pub(super) struct Connection {
    stage: Stage,
    /// What the kernel has not taken yet, from `written` on.
    queue: Vec<u8>,
    written: usize,
    readable: bool,
    writable: bool,
    /// When this stage has lasted too long.
    deadline: Option<Millis>,
    /// What may still be read in this turn.
    budget: usize,
    /// Writing failed; what came before may still be read.
    failed: Option<String>,
}

enum Stage {
    Connecting { stream: TcpStream, address: Box<Address>, offer: bool, others: Vec<SocketAddr> },
    Shaking { stream: TcpStream, handshake: Box<Handshake> },
    Open { stream: TcpStream, context: Box<WebSocketContext> },
    Over,
}

impl Connection {
    /// Looks up the host, which may take a while, and begins to connect to the first of its addresses.
    ///
    /// # Errors
    /// Why none could be tried.
    pub(super) fn begin(
        registry: &Registry,
        token: Token,
        address: &Address,
        offer: bool,
        now: Millis,
    ) -> Result<Self, Failure> {
        let found = (&*address.host, address.port).to_socket_addrs();
        let mut others: Vec<SocketAddr> =
            found.map_err(|error| format!("{}: {}", address.host, words(&error)))?.collect();
        others.reverse();
        let mut connection = Self {
            stage: Stage::Over,
            queue: Vec::new(),
            written: 0,
            readable: false,
            writable: false,
            deadline: None,
            budget: TURN_BYTES,
            failed: None,
        };
        let address = Box::new(address.clone());
        match connection.try_next(registry, token, now, address, offer, others, "the host has no address".into()) {
            Some(failure) => Err(failure),
            None => Ok(connection),
        }
    }

    /// Begins to connect to the next address; the reason, if none is left.
    #[allow(clippy::too_many_arguments, reason = "the parts of one stage")]
    fn try_next(
        &mut self,
        registry: &Registry,
        token: Token,
        now: Millis,
        address: Box<Address>,
        offer: bool,
        mut others: Vec<SocketAddr>,
        mut failure: Failure,
    ) -> Option<Failure> {
        while let Some(next) = others.pop() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            let begun = TcpStream::connect(next)
                .and_then(|mut stream| registry.register(&mut stream, token, interest).map(|()| stream));
            match begun {
                Ok(stream) => {
                    self.deadline = Some(now + ACCEPT_MS[usize::from(others.is_empty())]);
                    (self.readable, self.writable) = (false, false);
                    self.stage = Stage::Connecting { stream, address, offer, others };
                    return None;
                }
                Err(error) => failure = Failure::from(&error),
            }
        }
        self.stage = Stage::Over;
        Some(failure)
    }

    /// The kernel says what it is ready for.
    pub(super) fn note(&mut self, readable: bool, writable: bool) {
        self.readable |= readable;
        self.writable |= writable;
    }

    /// A turn begins: it may read some more.
    pub(super) fn begin_turn(&mut self) {
        self.budget = TURN_BYTES;
    }

    /// This turn has no time for more.
    pub(super) fn pause(&mut self) {
        self.budget = 0;
    }

    /// Whether there is something to do at once, which this turn had no time for.
    pub(super) fn is_behind(&self) -> bool {
        self.readable && self.budget == 0 && !matches!(self.stage, Stage::Over)
    }

    /// When it wants to be asked again at the latest.
    pub(super) fn deadline(&self) -> Option<Millis> {
        self.deadline
    }

    /// The next news, if there is some. To be asked until there is none, after each event and at its deadline.
    pub(super) fn next(&mut self, registry: &Registry, token: Token, now: Millis) -> Option<News> {
        loop {
            match &self.stage {
                Stage::Connecting { .. } => match self.go_on_connecting(registry, token, now)? {
                    Ok(()) => {}
                    Err(failure) => return Some(News::Broken(failure)),
                },
                Stage::Shaking { .. } => return self.shake(now),
                Stage::Open { .. } => return self.read(),
                Stage::Over => return None,
            }
        }
    }

    fn go_on_connecting(&mut self, registry: &Registry, token: Token, now: Millis) -> Option<Result<(), Failure>> {
        let Stage::Connecting { stream, .. } = &mut self.stage else { return None };
        // Writable, and it has a peer: it is connected (see mio's `TcpStream::connect`).
        let outcome = match stream.take_error() {
            Ok(Some(error)) | Err(error) => Some(Err(Failure::from(&error))),
            Ok(None) if self.writable => match stream.peer_addr() {
                Ok(_) => Some(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
                Err(error) => Some(Err(Failure::from(&error))),
            },
            Ok(None) => None,
        };
        let late = || self.deadline.is_some_and(|at| now >= at).then(|| Err("it does not answer".into()));
        let outcome = outcome.or_else(late)?;
        let Stage::Connecting { stream, address, offer, others } = std::mem::replace(&mut self.stage, Stage::Over)
        else {
            return None;
        };
        match outcome {
            Ok(()) => Some(self.begin_handshake(stream, &address, offer, now).map_err(Failure::from)),
            Err(failure) => {
                drop(stream);
                self.try_next(registry, token, now, address, offer, others, failure).map(Err)
            }
        }
    }

    fn begin_handshake(
        &mut self,
        stream: TcpStream,
        address: &Address,
        offer: bool,
        now: Millis,
    ) -> Result<(), String> {
        // Lines are short, and somebody waits for them.
        stream.set_nodelay(true).map_err(|error| words(&error))?;
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(|error| error.to_string())?;
        let (request, handshake) = Handshake::begin(address, offer, key);
        self.queue = request;
        self.deadline = Some(now + HANDSHAKE_MS);
        self.readable = true;
        self.stage = Stage::Shaking { stream, handshake: Box::new(handshake) };
        Ok(())
    }

    fn shake(&mut self, now: Millis) -> Option<News> {
        self.flush();
        let Stage::Shaking { stream, handshake } = &mut self.stage else { return None };
        let mut chunk = [0; 4096];
        while self.readable {
            let heard = match stream.read(&mut chunk) {
                Ok(0) if handshake.has_begun() => Err("it hung up in the middle of its answer".to_owned()),
                Ok(0) => Err("it hung up without an answer".to_owned()),
                Ok(bytes) => Ok(handshake.hear(&chunk[..bytes])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(words(&error)),
            };
            match heard {
                Ok(None) => {}
                Ok(Some(Ok(upgraded))) => return Some(self.open(upgraded.lasting, upgraded.tail)),
                Ok(Some(Err(refusal))) => return Some(self.over(News::Refused(refusal))),
                Err(why) => return Some(self.over(News::Broken(why.into()))),
            }
        }
        let late = self.deadline.is_some_and(|at| now >= at);
        late.then(|| self.over(News::Broken("it does not answer as a WebSocket server would".into())))
    }

    fn open(&mut self, lasting: bool, tail: Vec<u8>) -> News {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        if let Stage::Shaking { stream, .. } = std::mem::replace(&mut self.stage, Stage::Over) {
            let context = WebSocketContext::from_partially_read(tail, Role::Client, Some(config));
            self.stage = Stage::Open { stream, context: Box::new(context) };
        }
        self.deadline = None;
        News::Opened { lasting }
    }

    fn over(&mut self, news: News) -> News {
        self.stage = Stage::Over;
        self.deadline = None;
        news
    }

    fn read(&mut self) -> Option<News> {
        self.flush();
        let full = self.queue.len() - self.written > QUEUE_BYTES_MAX;
        let Stage::Open { stream, context } = &mut self.stage else { return None };
        if !self.readable || self.budget == 0 || full {
            return None;
        }
        let mut shim = Shim { stream, queue: &mut self.queue, budget: &mut self.budget, dry: false };
        let outcome = context.read(&mut shim);
        let dry = shim.dry;
        let news = match outcome {
            Ok(Message::Text(text)) => News::Text(text),
            Ok(Message::Pong(payload)) => match <[u8; 8]>::try_from(&*payload) {
                Ok(number) => News::Pong(u64::from_be_bytes(number)),
                Err(_) => News::Sound,
            },
            Ok(Message::Ping(_) | Message::Binary(_) | Message::Frame(_)) => News::Sound,
            Ok(Message::Close(close)) => {
                let _ = context.flush(&mut shim);
                self.flush();
                let (code, reason) =
                    close.map_or((None, Utf8Bytes::default()), |close| (Some(u16::from(close.code)), close.reason));
                return Some(self.over(News::Closed { code, reason }));
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable &= !dry;
                let why = self.failed.take_if(|_| dry)?;
                return Some(self.over(News::Broken(why.into())));
            }
            Err(error) => {
                let (code, why) = judge(&error);
                if let Some(code) = code {
                    let _ = context.close(&mut shim, Some(CloseFrame { code, reason: Utf8Bytes::default() }));
                    self.flush();
                }
                return Some(self.over(News::Broken(why.into())));
            }
        };
        Some(news)
    }

    /// Sends a text message, now or later.
    pub(super) fn send(&mut self, text: String) {
        self.write(|context, shim| context.write(shim, Message::text(text)));
    }

    /// Sends a Ping with a number.
    pub(super) fn ping(&mut self, number: u64) {
        let payload = Bytes::copy_from_slice(&number.to_be_bytes());
        self.write(|context, shim| context.write(shim, Message::Ping(payload)));
    }

    /// Says goodbye: Close with 1000.
    pub(super) fn goodbye(&mut self) {
        let close = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        self.write(|context, shim| context.close(shim, Some(close)));
    }

    fn write(&mut self, write: impl FnOnce(&mut WebSocketContext, &mut Shim<'_>) -> Result<(), Error>) {
        let Stage::Open { stream, context } = &mut self.stage else { return };
        let mut shim = Shim { stream, queue: &mut self.queue, budget: &mut self.budget, dry: false };
        // The shim takes all that is written; what else can go wrong is that the server has closed, which is read next.
        let _ = write(context, &mut shim);
    }

    /// Writes what the kernel takes.
    pub(super) fn flush(&mut self) {
        let (Stage::Shaking { stream, .. } | Stage::Open { stream, .. }) = &mut self.stage else { return };
        while self.writable && self.failed.is_none() && self.written < self.queue.len() {
            match stream.write(&self.queue[self.written..]) {
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // The server's last word may still be there to be read.
                    self.failed = Some(words(&error));
                    self.readable = true;
                }
            }
        }
        if self.written == self.queue.len() {
            self.queue.clear();
            self.queue.shrink_to(64 * 1024);
            self.written = 0;
        } else if self.written > 1 << 20 {
            self.queue.drain(..self.written);
            self.written = 0;
        }
    }
}

/// The socket that tungstenite sees: it reads within the turn's budget, and writes into the queue.
struct Shim<'a> {
    stream: &'a mut TcpStream,
    queue: &'a mut Vec<u8>,
    budget: &'a mut usize,
    /// The kernel has nothing more to read now.
    dry: bool,
}

impl Read for Shim<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if *self.budget == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes_max = buffer.len().min(*self.budget);
        match self.stream.read(&mut buffer[..bytes_max]) {
            Ok(bytes) => {
                *self.budget -= bytes;
                Ok(bytes)
            }
            Err(error) => {
                self.dry = error.kind() == io::ErrorKind::WouldBlock;
                Err(error)
            }
        }
    }
}

impl Write for Shim<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.queue.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a connection ends, and with which code this side should close it.
fn judge(error: &Error) -> (Option<CloseCode>, String) {
    match error {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => (None, "the connection ended".to_owned()),
        Error::Io(error) => (None, words(error)),
        Error::Capacity(_) => (Some(CloseCode::Size), "it sent a message of more than 16 MiB".to_owned()),
        Error::Utf8(_) => (Some(CloseCode::Invalid), "it sent text that is not UTF-8".to_owned()),
        Error::Protocol(error) => (Some(CloseCode::Protocol), format!("it broke the WebSocket protocol: {error}")),
        error => (Some(CloseCode::Protocol), error.to_string()),
    }
}

/// An error of the system in its own words, without its number.
pub(super) fn words(error: &io::Error) -> String {
    without_numbers(&error.to_string())
}
