//! Thousands of clients in one thread: connect, read frames, answer Pings, write. It does not know what frames mean: each is
//! handed to the caller, in the order in which it came.
//!
//! It is to be cheap enough that the server's core is the bottleneck, so it is mio and nothing else: one buffer for all, one
//! `recv` for whatever a socket has, frames looked at where they lie.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::child;
use crate::failure::Failure;
use crate::frame;

/// So many at most have asked to come in and are not in yet: a listener's backlog is limited.
const KNOCKING_MAX: usize = 500;

/// What one `recv` brings at most. Longer frames are put together.
const BUFFER_BYTES: usize = 256 * 1024;

/// What an Ethernet's frame has room for.
const NARROW_SEGMENT_BYTES: u32 = 1_460;

/// Some segments: what the kernel keeps for one who does not read.
const NARROW_BUFFER_BYTES: usize = 8 * 1024;

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;

/// What is due sooner is waited for by the alarm.
const EXACT: Duration = Duration::from_millis(10);

/// Of the alarm; no client has this number.
const ALARM: Token = Token(usize::MAX);

/// A Close with code 1000, as a client sends it.
const GOODBYE: [u8; 2] = 1000_u16.to_be_bytes();

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The answer to its handshake has not come.
    Knocking,
    /// It is a WebSocket.
    Open,
    /// We said goodbye, and wait for the end.
    Leaving,
    /// It is over.
    Over,
}

/// One client.
#[derive(Debug)]
struct Client {
    /// `None` when it is over.
    socket: Option<TcpStream>,
    phase: Phase,
    /// The begin of a frame, or of the answer to the handshake.
    partial: Vec<u8>,
    /// What the kernel did not take.
    unsent: Vec<u8>,
    /// There may be something to read.
    readable: bool,
    /// The server sends no more: what is left to read ends with the stream's end.
    read_closed: bool,
    /// Bytes that it may still read; the rest waits. `u64::MAX`: all that there are.
    allowance: u64,
}

/// What a client met with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    /// The handshake was answered with 101.
    Opened,
    /// A text or binary frame came.
    Message(&'a [u8]),
    /// A Ping came, and was answered.
    Ping,
    /// It is over: with this code, if a Close came.
    Over(Option<u16>),
}

/// All clients of one subject.
#[derive(Debug)]
pub(crate) struct Crowd {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    buffer: Vec<u8>,
    address: SocketAddr,
    /// Takes turns through masking keys; they are there to be undone, not to be secret.
    key: u32,
    start: Instant,
    /// When the last `recv` came back, in ns since `start`.
    read_at: u64,
    open: usize,
    /// Clients from this number on have a narrow link: see [`narrow`](Crowd::narrow).
    narrow_from: usize,
    /// It asks for events without ever sleeping. Otherwise who sends to a harness that sleeps pays for waking it: the slower a
    /// subject is, the more often the harness dozes, and the dearer each `send`. A server's clients are on other machines.
    awake: bool,
    /// How long a client takes over what a read brought.
    look: Duration,
    /// Wakes one who sleeps more exactly than the kernel's milliseconds.
    alarm: OwnedFd,
}

impl Crowd {
    /// Nobody yet, for a server at `address`.
    pub(crate) fn new(address: SocketAddr) -> io::Result<Self> {
        let poll = Poll::new()?;
        let alarm = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&alarm.as_raw_fd()), ALARM, Interest::READABLE)?;
        Ok(Self {
            alarm,
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            clients: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
            address,
            key: 0x9e37_79b9,
            start: Instant::now(),
            read_at: 0,
            open: 0,
            narrow_from: usize::MAX,
            awake: child::has_own_core(),
            look: Duration::ZERO,
        })
    }

    /// From here on it sleeps while nothing comes.
    pub(crate) fn may_sleep(&mut self) {
        self.awake = false;
    }

    /// From here on each read takes at least so long, as if the client did something with what came. It computes meanwhile: the harness
    /// has one thread, so all its clients together are slower by so much.
    pub(crate) fn take_time(&mut self, look: Duration) {
        self.look = look;
    }

    /// Time since the crowd began, in ns.
    pub(crate) fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Clients from this number on connect with segments as on an Ethernet and a small receive buffer. On the loopback a
    /// segment has 64 KiB, and the kernel would keep megabytes for each who does not read, before the server notices.
    pub(crate) fn narrow(&mut self, from: usize) {
        self.narrow_from = from;
    }

    /// When what is being handed on was read, in ns since the crowd began.
    pub(crate) fn read_at(&self) -> u64 {
        self.read_at
    }

    /// How many there are, those that are over too.
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// How many are open now.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// How far one is.
    pub(crate) fn phase(&self, client: usize) -> Phase {
        self.clients[client].phase
    }

    /// Connects another one, and sends `request` as soon as it can. Returns its number, from 0.
    pub(crate) fn connect(&mut self, request: &[u8]) -> Result<usize, Failure> {
        self.clients.push(Client {
            socket: None,
            phase: Phase::Over,
            partial: Vec::new(),
            unsent: Vec::new(),
            readable: false,
            read_closed: false,
            allowance: u64::MAX,
        });
        let number = self.clients.len() - 1;
        self.reconnect(number, request)?;
        Ok(number)
    }

    /// Connects one again that is over, under its old number.
    pub(crate) fn reconnect(&mut self, number: usize, request: &[u8]) -> Result<(), Failure> {
        let words = |error| Failure::from(format!("cannot connect to {}: {error}", self.address));
        let narrow = number >= self.narrow_from;
        let connected = if narrow { connect_narrow(self.address) } else { TcpStream::connect(self.address) };
        let mut socket = connected.map_err(words)?;
        self.poll.registry().register(&mut socket, Token(number), Interest::READABLE | Interest::WRITABLE)?;
        let client = &mut self.clients[number];
        client.socket = Some(socket);
        client.phase = Phase::Knocking;
        client.read_closed = false;
        client.partial.clear();
        // On the loopback it is connected at once as a rule; else the kernel tells when.
        client.unsent = request.to_vec();
        Ok(())
    }

    /// Connects `count` with the same request, and waits until all are in. `hear` gets what they get meanwhile.
    pub(crate) fn connect_all(
        &mut self,
        count: usize,
        request: impl Fn(usize) -> Vec<u8>,
        mut hear: impl FnMut(&mut Self, usize, Event<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let before = self.open;
        let mut asked = 0;
        let patience = Patience::new("clients connect");
        while self.open < before + count {
            while asked < count && asked < self.open - before + KNOCKING_MAX {
                self.connect(&request(asked))?;
                asked += 1;
            }
            self.turn(Some(Duration::from_millis(100)), &mut hear)?;
            patience.check()?;
        }
        Ok(())
    }

    /// Sends a text frame, now or when the kernel takes it.
    pub(crate) fn send(&mut self, number: usize, text: &[u8]) -> Result<(), Failure> {
        self.queue(number, frame::TEXT, text);
        self.flush(number)
    }

    /// Puts a text frame behind what is to be sent; [`flush`](Self::flush) sends all at once.
    pub(crate) fn queue_text(&mut self, number: usize, text: &[u8]) {
        self.queue(number, frame::TEXT, text);
    }

    fn queue(&mut self, number: usize, opcode: u8, payload: &[u8]) {
        self.key = self.key.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
        let key = self.key.to_be_bytes();
        frame::write_masked(&mut self.clients[number].unsent, opcode, payload, key);
    }

    /// Writes what is to be sent, as far as the kernel takes it; the rest goes when it takes more.
    pub(crate) fn flush(&mut self, number: usize) -> Result<(), Failure> {
        let Client { socket: Some(socket), unsent, .. } = &mut self.clients[number] else { return Ok(()) };
        let mut written = 0;
        while written < unsent.len() {
            match socket.write(&unsent[written..]) {
                Ok(bytes) => written += bytes,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The reason is read from the socket, if there is one.
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => break,
                Err(error) => return Err(error.into()),
            }
        }
        unsent.drain(..written);
        Ok(())
    }

    /// Says goodbye with a Close.
    pub(crate) fn leave(&mut self, number: usize) -> Result<(), Failure> {
        if self.clients[number].phase == Phase::Open {
            self.clients[number].phase = Phase::Leaving;
            self.open -= 1;
            self.queue(number, frame::CLOSE, &GOODBYE);
            self.flush(number)?;
        }
        Ok(())
    }

    /// Breaks the connection, without a word.
    pub(crate) fn cut(&mut self, number: usize) {
        self.end(number);
    }

    /// Lets a client read so many bytes, and no more until it is told again. `u64::MAX` is no limit.
    pub(crate) fn allow(
        &mut self,
        number: usize,
        bytes: u64,
        mut hear: impl FnMut(&mut Self, usize, Event<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.clients[number].allowance = bytes;
        if self.clients[number].readable { self.read(number, &mut hear) } else { Ok(()) }
    }

    /// Waits for events, for `timeout` at most, and hands on what came.
    pub(crate) fn turn(
        &mut self,
        timeout: Option<Duration>,
        hear: &mut impl FnMut(&mut Self, usize, Event<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let timeout = match timeout {
            _ if self.awake => Some(Duration::ZERO),
            Some(timeout) if timeout < EXACT && !timeout.is_zero() => {
                self.set_alarm(timeout)?;
                Some(EXACT)
            }
            timeout => timeout,
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in events.iter().filter(|event| event.token() != ALARM) {
            let number = event.token().0;
            if event.is_writable() && !self.clients[number].unsent.is_empty() {
                self.flush(number)?;
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.clients[number].readable = true;
                self.clients[number].read_closed |= event.is_read_closed() || event.is_error();
                self.read(number, hear)?;
            }
        }
        self.events = events;
        Ok(())
    }

    fn set_alarm(&self, after: Duration) -> io::Result<()> {
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec { tv_sec: 0, tv_nsec: after.subsec_nanos().into() };
        timerfd_settime(&self.alarm, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: none, it_value })?;
        Ok(())
    }

    /// Reads what there is, as far as it is allowed.
    fn read(
        &mut self,
        number: usize,
        hear: &mut impl FnMut(&mut Self, usize, Event<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = loop {
            let client = &mut self.clients[number];
            let Some(socket) = &mut client.socket else { break Ok(()) };
            // The begin of a frame is put in front of its rest.
            let before = client.partial.len();
            if buffer.len() < 2 * before {
                buffer.resize(4 * before, 0);
            }
            buffer[..before].copy_from_slice(&client.partial);
            let space = ((buffer.len() - before) as u64).min(client.allowance) as usize;
            if space == 0 {
                break Ok(());
            }
            match socket.read(&mut buffer[before..before + space]) {
                Ok(0) => break self.over(number, None, hear),
                Ok(bytes) => {
                    let read = self.start.elapsed();
                    self.read_at = read.as_nanos() as u64;
                    while !self.look.is_zero() && self.start.elapsed() < read + self.look {
                        std::hint::spin_loop();
                    }
                    if client.allowance != u64::MAX {
                        client.allowance -= bytes as u64;
                    }
                    client.partial.clear();
                    // A read that brings less has emptied the socket, and its end would be told (epoll(7), question 9).
                    client.readable = bytes == space || client.read_closed;
                    let used = match self.take(number, &buffer[..before + bytes], hear) {
                        Ok(used) => used,
                        Err(failure) => break Err(failure),
                    };
                    let client = &mut self.clients[number];
                    client.partial.extend_from_slice(&buffer[used..before + bytes]);
                    if !client.readable {
                        break Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    client.readable = false;
                    break Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break self.over(number, None, hear),
            }
        };
        self.buffer = buffer;
        result
    }

    /// Hands on all whole frames in front of `bytes`; returns how many bytes they were.
    fn take(
        &mut self,
        number: usize,
        bytes: &[u8],
        hear: &mut impl FnMut(&mut Self, usize, Event<'_>) -> Result<(), Failure>,
    ) -> Result<usize, Failure> {
        let mut used = 0;
        if self.clients[number].phase == Phase::Knocking {
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(0) };
            if !bytes.starts_with(b"HTTP/1.1 101 ") {
                let line = bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
                return Err(Failure::from(format!("no 101 came, but {}", String::from_utf8_lossy(line))));
            }
            used = end + 4;
            self.clients[number].phase = Phase::Open;
            self.open += 1;
            hear(self, number, Event::Opened)?;
        }
        while let Some(frame) = frame::first(&bytes[used..]) {
            let payload = &bytes[used + frame.start..used + frame.end];
            used += frame.end;
            match frame.opcode {
                frame::PING => {
                    self.queue(number, frame::PONG, payload);
                    self.flush(number)?;
                    hear(self, number, Event::Ping)?;
                }
                frame::PONG => {}
                frame::CLOSE => {
                    let code = payload.first_chunk().map(|&code| u16::from_be_bytes(code));
                    // Who is told goodbye in answer to its own waits for the server to hang up (RFC 6455 section 7.1.1).
                    if self.clients[number].phase == Phase::Open {
                        self.queue(number, frame::CLOSE, payload.get(..2).unwrap_or_default());
                        self.flush(number)?;
                        self.over(number, code, hear)?;
                    }
                    return Ok(bytes.len());
                }
                _ => hear(self, number, Event::Message(payload))?,
            }
            if self.clients[number].socket.is_none() {
                return Ok(bytes.len());
            }
        }
        Ok(used)
    }

    fn over(
        &mut self,
        number: usize,
        code: Option<u16>,
        hear: &mut impl FnMut(&mut Self, usize, Event<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.end(number);
        hear(self, number, Event::Over(code))
    }

    fn end(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.phase == Phase::Open {
            self.open -= 1;
        }
        client.phase = Phase::Over;
        client.socket = None;
        client.readable = false;
        client.partial = Vec::new();
        client.unsent = Vec::new();
    }
}

/// Begins to connect; see [`Crowd::narrow`].
fn connect_narrow(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_mss(NARROW_SEGMENT_BYTES)?;
    socket.set_recv_buffer_size(NARROW_BUFFER_BYTES)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// A handshake for `path`, offering `protocol` if there is one.
pub(crate) fn handshake(path: &str, protocol: Option<&str>) -> Vec<u8> {
    let offer = protocol.map_or(String::new(), |protocol| format!("Sec-WebSocket-Protocol: {protocol}\r\n"));
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
    )
    .into_bytes()
}

/// How long something may take that takes a second as a rule: after that something hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// Ends what would wait for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    until: Instant,
    what: &'static str,
}

impl Patience {
    /// From now on. `what` is waited for, in words.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { until: Instant::now() + PATIENCE, what }
    }

    /// Begins anew after progress, else fails when it is over.
    pub(crate) fn go_on(&mut self, progress: bool) -> Result<(), Failure> {
        if progress {
            *self = Self::new(self.what);
        }
        self.check()
    }

    /// Fails when it is over.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if Instant::now() < self.until {
            return Ok(());
        }
        Err(Failure::from(format!("{} s are over, and still: {}", PATIENCE.as_secs(), self.what)))
    }
}
