//! THE LOOP: the one folder that knows mio, sockets and the clock. It moves; what is right is decided in
//! [`chat`].
//!
//! One turn, in order (`Server::turn`), each step a file of its own:
//!
//! 1. **sleep** (here): poll, note what each connection is ready for, accept within a budget (`accept`).
//! 2. **hear** (`hear`, `deadlines`): bytes to commands to the core, within a budget; timers that fell due.
//! 3. **decide** (`decide`): the store hears the core's requests, the core its answers; each message is encoded once
//!    into the turn's buffer (`turn_buffer`), and each reader gets its share of it (`outbox`).
//! 4. **flush** (`flush`): each connection that has something to write, writes.
//! 5. **reap** (`closing`): what has ended is freed; the core hears of it, and what follows waits for the next turn. Once a second
//!    lists that have grown give back what they do not use (`tidy`).
//!
//! A socket is registered once, for reading and writing, edge-triggered. What it is ready for is remembered until the
//! kernel says `WouldBlock`; nothing is armed or disarmed. Each list (`ready`, `dirty`, …) holds a connection at most
//! once, by a flag of the connection's, and ids in lists may be of connections that are gone: they are looked up.
//!
//! `main` calls [`Server::bind`] and [`Server::run`]; nobody else does.

mod accept;
mod clock;
mod closing;
mod connection;
mod deadlines;
mod decide;
mod drain;
mod flush;
mod hear;
mod outbox;
mod secrets;
mod signals;
mod stopwatch;
mod storage;
mod tidy;
mod turn_buffer;
mod wheel;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::chat::ids::{ConnId, Millis, Now};
use crate::chat::{self, Chat, Completion, Effects};
use crate::config::{self, Config};
use crate::store::Store;
use crate::wire::decoder::Decoder;
use crate::wire::encode::Encoder;

pub use accept::BindError;
use accept::{Accepted, Listeners};
use clock::Clock;
use connection::{Bucket, Connection, Connections, Flags, Phase};
use drain::Stopping;
use outbox::Outbox;
use secrets::Secrets;
use signals::Signals;
use stopwatch::Stopwatch;
use tidy::Tidiness;
use turn_buffer::TurnBuffer;
use wheel::Wheel;

const SIGNALS: Token = Token(usize::MAX);

/// The store has something to say. It is asked in each turn anyway.
const STORE: Token = Token(usize::MAX - 1);

/// Events taken from the kernel in one turn; those behind them come in the next.
const EVENTS_MAX: usize = 1024;

/// Connections accepted in one turn: some 3 ms of work, so that those who are here notice nothing of a rush.
const ACCEPTS_MAX: usize = 128;

/// Slots beyond the limit of connections, for telling those who come that the server is full.
const REFUSALS_MAX: usize = 64;

/// Bytes read from a connection in one turn at most: 25 long messages (10 kB), which 64 KiB would make four turns of.
const INPUT_BYTES: usize = 256 * 1024;

/// The server: everything that the loop has.
pub struct Server {
    config: Config,
    connections_max: usize,
    clock: Clock,
    now: Now,
    poll: Poll,
    events: Events,
    signals: Signals,
    listeners: Listeners,
    connections: Connections,
    wheel: Wheel,
    expired: Vec<(u64, ConnId)>,
    chat: Chat,
    store: Store,
    /// By which the store's threads wake the loop, if it has any.
    waker: Option<Arc<Waker>>,
    /// How long turns are busy with the store; only with `--log debug`.
    stopwatch: Option<Stopwatch>,
    effects: Effects,
    completions: Vec<Completion>,
    secrets: Secrets,
    decoder: Decoder,
    encoder: Encoder,
    /// Where every connection is read into; what is not used up in the turn is copied.
    input: Vec<u8>,
    turn: TurnBuffer,
    scratch: decide::Scratch,
    /// To be heard.
    ready: VecDeque<ConnId>,
    /// To be flushed.
    dirty: Vec<ConnId>,
    /// Held by the core.
    held: Vec<ConnId>,
    /// When those are looked at again.
    held_due_ms: Millis,
    /// Catching up, with room in the outbox.
    drained: VecDeque<ConnId>,
    /// To be sent a Close.
    closing: Vec<ConnId>,
    /// To be told to the core as closed, and whether for good.
    departed: Vec<(ConnId, bool)>,
    /// To be freed.
    doomed: Vec<ConnId>,
    tidiness: Tidiness,
    stopping: Stopping,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A signal asked for it, and everybody was told.
    Drained,
    /// A second signal, of this number, asked for it at once.
    Interrupted(i32),
    /// The store could not go on. Everybody was told; nothing that was acknowledged is lost.
    StoreFailed,
}

/// Why a run failed: the kernel would not wait for us.
#[derive(Debug)]
pub struct RunError(io::Error);

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waiting for events failed: {}", self.0)
    }
}

impl std::error::Error for RunError {}

impl Server {
    /// Opens the store, and then listens at the configured addresses. Clients that connect from here on are served once it runs.
    ///
    /// # Errors
    /// When the store or an address cannot be had, or the system gives no descriptors or random bits.
    pub fn bind(config: Config) -> Result<Self, BindError> {
        let poll = Poll::new().map_err(BindError::Setup)?;
        let mut signals = Signals::new().map_err(BindError::Setup)?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE).map_err(BindError::Setup)?;
        let clock = Clock::start();
        let storage::Opened { store, key, waker } = storage::open(&config, clock, poll.registry())?;
        let listeners = Listeners::bind(&config.listen, poll.registry())?;
        let descriptors = rlimit::Resource::NOFILE.get_soft().map_err(BindError::Setup)?;
        let now = clock.now();
        let limits = chat::Limits {
            name_chars_max: config.limits.name_chars_max,
            rooms_per_user_max: config.limits.rooms_per_connection_max,
            members_told_max: config::MEMBERS_TOLD_MAX,
            away_max: config.limits.connections_allowed(descriptors),
            away_rooms_max: config.memory.rooms_max / 4,
            hello_ms: config.deadlines.hello_ms,
            grace_ms: config.deadlines.grace_ms,
            // A client pings before the server does.
            heartbeat_ms: config.deadlines.ping_ms - config.deadlines.ping_ms / 6,
            message_bytes_max: config.limits.message_bytes_max,
            ..chat::Limits::default()
        };
        Ok(Self {
            connections_max: config.limits.connections_allowed(descriptors),
            chat: Chat::new(limits, key),
            store,
            waker,
            stopwatch: log::log_enabled!(log::Level::Debug).then(Stopwatch::new),
            secrets: Secrets::default(),
            decoder: Decoder::new(config.limits.message_bytes_max),
            encoder: Encoder::new(config.lang),
            config,
            clock,
            now,
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            signals,
            listeners,
            connections: Connections::default(),
            wheel: Wheel::new(now.mono_ms),
            expired: Vec::new(),
            effects: Effects::default(),
            completions: Vec::new(),
            input: vec![0; INPUT_BYTES],
            turn: TurnBuffer::default(),
            scratch: decide::Scratch::default(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            held: Vec::new(),
            held_due_ms: 0,
            drained: VecDeque::new(),
            closing: Vec::new(),
            departed: Vec::new(),
            doomed: Vec::new(),
            tidiness: Tidiness::default(),
            stopping: Stopping::No,
        })
    }

    /// Where it listens, in the order of the configuration; with the port that was given where 0 was asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.listeners.addresses()
    }

    /// Serves until a signal asks it to stop, or the store fails.
    ///
    /// # Errors
    /// When the kernel refuses to wait for events.
    pub fn run(mut self) -> Result<Outcome, RunError> {
        let outcome = loop {
            if let Some(outcome) = self.turn().map_err(RunError)? {
                break outcome;
            }
        };
        if let Some(stopwatch) = &self.stopwatch {
            log::debug!("{stopwatch}");
        }
        self.close_store(outcome).map_err(RunError)
    }

    fn turn(&mut self) -> io::Result<Option<Outcome>> {
        if let Some(signal) = self.sleep()? {
            return Ok(Some(Outcome::Interrupted(signal)));
        }
        self.accept();
        self.expire();
        self.hear();
        self.decide();
        self.stop_if_asked();
        self.flush();
        self.reap();
        self.tidy();
        Ok(self.is_drained().then_some(Outcome::Drained))
    }

    /// Waits for something to do, and notes what it is. Returns the signal that asks to exit at once.
    fn sleep(&mut self) -> io::Result<Option<i32>> {
        let timeout = self.timeout();
        if let Err(error) = self.poll.poll(&mut self.events, timeout) {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
            self.events.clear();
        }
        self.now = self.clock.wake(self.now, timeout);
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let mut signalled = false;
        for event in &events {
            match event.token() {
                SIGNALS => signalled = true,
                STORE => {}
                token if token.0 >= accept::FIRST_TOKEN => self.listeners.note_ready(token),
                token => {
                    let Some(connection) = self.connections.find(id_of(token)) else { continue };
                    let flags = &mut connection.flags;
                    flags.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                    flags.writable |= event.is_writable() || event.is_error();
                    flags.read_closed |= event.is_read_closed() || event.is_error();
                    if flags.writable && !connection.outbox.is_empty() {
                        self.mark_dirty(id_of(token));
                    }
                    self.enqueue(id_of(token));
                }
            }
        }
        self.events = events;
        Ok(if signalled { self.note_signals() } else { None })
    }

    /// How long the kernel may wait: not at all when something is left from the last turn.
    fn timeout(&mut self) -> Option<Duration> {
        let left_over = !self.ready.is_empty()
            || !self.drained.is_empty()
            || !self.closing.is_empty()
            || !self.effects.is_empty()
            || self.store.has_more()
            || (self.listeners.is_ready(self.now) && self.has_slot());
        if left_over {
            return Some(Duration::ZERO);
        }
        let paused_until = self.listeners.paused_until_ms().filter(|_| self.has_slot());
        let held_due = (!self.held.is_empty() && self.held_due_ms > self.now.mono_ms).then_some(self.held_due_ms);
        let due = [
            self.wheel.next_ms(),
            self.chat.next_deadline(),
            paused_until,
            held_due,
            self.tidiness.deadline(),
            self.stopping.deadline(),
        ];
        let due_ms = due.into_iter().flatten().min()?;
        Some(Duration::from_millis(due_ms.saturating_sub(self.clock.now().mono_ms)))
    }

    fn has_slot(&self) -> bool {
        self.connections.len() < self.connections_max + REFUSALS_MAX
    }

    fn accept(&mut self) {
        if !self.listeners.is_ready(self.now) {
            return;
        }
        for _ in 0..ACCEPTS_MAX {
            if !self.has_slot() {
                return;
            }
            match self.listeners.accept(self.now) {
                Accepted::Connection(socket, peer) => self.admit(socket, peer),
                Accepted::None => return,
            }
        }
    }

    fn admit(&mut self, mut socket: TcpStream, peer: SocketAddr) {
        let id = self.connections.next_id();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut socket, token_of(id), interest) {
            log::info!("{peer} was gone before it was accepted: {error}");
            return;
        }
        self.connections.insert(Connection {
            socket,
            peer,
            id,
            phase: Phase::Head { bytes: Vec::new() },
            outbox: Outbox::default(),
            rate: Bucket::full(&self.config.rate, self.now),
            heard_ms: self.now.mono_ms,
            pinged_ms: 0,
            timer_tick: u64::MAX,
            // Most requests are there already when the connection is; the kernel will tell of the others.
            flags: Flags { readable: true, writable: true, ..Flags::default() },
        });
        self.arm(id);
        self.enqueue(id);
    }

    /// Puts a connection on the list of those to be flushed.
    fn mark_dirty(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.find(id)
            && !connection.flags.in_dirty
        {
            connection.flags.in_dirty = true;
            self.dirty.push(id);
        }
    }
}

/// The token by which the kernel's events name a connection: its slot, and above it the generation.
fn token_of(id: ConnId) -> Token {
    // The highest slots would run into the listeners' tokens: 2^32 connections are out of reach.
    Token(id.index as usize | (id.generation as usize) << 32)
}

fn id_of(token: Token) -> ConnId {
    ConnId { index: token.0 as u32, generation: (token.0 >> 32) as u32 }
}

/// The earlier of two times, where there is one.
fn earlier(one: Millis, other: Option<Millis>) -> Millis {
    other.map_or(one, |other| one.min(other))
}

const _: () = assert!(usize::BITS == 64, "a token holds a slot and a generation");
