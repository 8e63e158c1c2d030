//! The loop of the client: sleep until something happens, tell the conversation, do what it says.

use std::io;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::signal::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use crate::chat::ids::Millis;

use super::Mode;
use super::clock::Clock;
use super::connection::{Connection, Failure, News};
use super::conversation::{Action, Conversation, Event};
use super::identity::Identity;
use super::keys::{Asked, Intents, Next, channel};
use super::talk::{Intent, OwnWord, Shown};
use super::url::Address;

const SOCKET: Token = Token(0);
const SIGNALS: Token = Token(1);
const KEYS: Token = Token(2);

/// Messages that are heard in a turn at most; the keyboard and the deadlines come next.
const TURN_MESSAGES: usize = 256;

/// All that the loop has.
pub(super) struct Turns<S> {
    poll: Poll,
    signals: Signals,
    clock: Clock,
    address: Address,
    mode: Mode,
    conversation: Conversation,
    identity: Option<Identity>,
    connection: Option<Connection>,
    asked: Asked,
    input_ended: bool,
    show: S,
}

impl<S: FnMut(Shown)> Turns<S> {
    /// What is needed to begin, and the end of the channel that the keyboard's thread gets.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub(super) fn new(
        address: Address,
        mode: Mode,
        conversation: Conversation,
        identity: Option<Identity>,
        show: S,
    ) -> io::Result<(Self, Intents)> {
        let poll = Poll::new()?;
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        let (intents, asked) = channel(Arc::new(Waker::new(poll.registry(), KEYS)?));
        let turns = Self {
            poll,
            signals,
            clock: Clock::start(),
            address,
            mode,
            conversation,
            identity,
            connection: None,
            asked,
            input_ended: false,
            show,
        };
        Ok((turns, intents))
    }

    /// Turns until the end. 0 if all is well, else 1; 128 and its number after a second signal.
    ///
    /// # Errors
    /// The system's, when it cannot wait any more.
    pub(super) fn run(mut self) -> io::Result<ExitCode> {
        let mut events = Events::with_capacity(8);
        let mut interrupted = false;
        loop {
            let now = self.clock.now();
            for signal in self.signals.pending().collect::<Vec<_>>() {
                if interrupted {
                    return Ok(ExitCode::from(u8::try_from(128 + signal).unwrap_or(1)));
                }
                interrupted = true;
                self.tell(now, Event::Intent(Intent::Quit));
            }
            self.listen(now);
            self.read_input(now);
            self.tell(now, Event::Tick);
            if let Some(connection) = &mut self.connection {
                connection.flush();
            }
            if self.conversation.is_over() {
                let well = self.conversation.has_succeeded();
                return Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            self.sleep(&mut events)?;
        }
    }

    fn sleep(&mut self, events: &mut Events) -> io::Result<()> {
        let behind = self.connection.as_ref().is_some_and(Connection::is_behind);
        let deadlines = [self.conversation.next_deadline(), self.connection.as_ref().and_then(Connection::deadline)];
        let now = self.clock.now();
        let wait = deadlines.into_iter().flatten().min().map(|at| Duration::from_millis(at.saturating_sub(now)));
        match self.poll.poll(events, if behind { Some(Duration::ZERO) } else { wait }) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in events.iter().filter(|event| event.token() == SOCKET) {
            if let Some(connection) = &mut self.connection {
                let ended = event.is_error() || event.is_read_closed();
                connection.note(event.is_readable() || ended, event.is_writable() || event.is_error());
            }
        }
        Ok(())
    }

    /// Hears what the server says.
    fn listen(&mut self, now: Millis) {
        if let Some(connection) = &mut self.connection {
            connection.begin_turn();
        }
        for _ in 0..TURN_MESSAGES {
            let Some(connection) = &mut self.connection else { return };
            let Some(news) = connection.next(self.poll.registry(), SOCKET, now) else { return };
            match news {
                News::Opened { lasting } => self.tell(now, Event::Opened { lasting }),
                News::Text(text) => self.tell(now, Event::Text(&text)),
                News::Sound => self.tell(now, Event::Sound),
                News::Pong(number) => self.tell(now, Event::Pong(number)),
                News::Closed { code, reason } => self.tell(now, Event::Closed { code, reason: &reason }),
                News::Broken(failure) => self.tell_failure(now, &failure),
                News::Refused(refusal) => {
                    let perhaps_the_offer = refusal.may_be_the_offer();
                    self.tell(now, Event::Refused { why: &refusal.to_string(), perhaps_the_offer });
                }
            }
        }
        if let Some(connection) = &mut self.connection {
            connection.pause();
        }
    }

    /// Hears what the person asks for. What is piped in waits while there is no room for it.
    fn read_input(&mut self, now: Millis) {
        while !self.input_ended && (self.mode == Mode::Terminal || self.conversation.takes_lines()) {
            match self.asked.next() {
                Next::Intent(intent) => self.tell(now, Event::Intent(intent)),
                Next::Nothing => return,
                Next::End => {
                    self.input_ended = true;
                    self.tell(now, Event::EndOfInput);
                }
            }
        }
    }

    /// Tells the conversation of something, and does what it says. What that leads to at once is told, too.
    fn tell(&mut self, now: Millis, event: Event<'_>) {
        let mut actions = Vec::new();
        self.conversation.handle(now, event, &mut actions);
        for action in actions {
            if let ControlFlow::Break(failure) = self.act(now, action) {
                self.tell_failure(now, &failure);
            }
        }
    }

    fn tell_failure(&mut self, now: Millis, failure: &Failure) {
        let why = &failure.why;
        self.tell(now, if failure.nobody_there { Event::NobodyThere { why } } else { Event::Broken { why } });
    }

    /// Does one thing; the reason, if there can be no connection.
    fn act(&mut self, now: Millis, action: Action) -> ControlFlow<Failure> {
        match action {
            Action::Connect { offer } => return self.connect(now, offer),
            Action::Send(text) => {
                if let Some(connection) = &mut self.connection {
                    connection.send(text);
                }
            }
            Action::Ping(number) => {
                if let Some(connection) = &mut self.connection {
                    connection.ping(number);
                }
            }
            Action::Goodbye => {
                if let Some(connection) = &mut self.connection {
                    connection.goodbye();
                }
            }
            Action::GiveUp => self.connection = None,
            Action::Remember { session, name } => {
                if let Some(Err(why)) = self.identity.as_mut().map(|identity| identity.keep(session, name)) {
                    (self.show)(Shown::Own(OwnWord::NotKept { why }));
                }
            }
            Action::Show(shown) => (self.show)(shown),
        }
        ControlFlow::Continue(())
    }

    fn connect(&mut self, now: Millis, offer: bool) -> ControlFlow<Failure> {
        // The old one goes first: a new one may get its descriptor.
        self.connection = None;
        match Connection::begin(self.poll.registry(), SOCKET, &self.address, offer, now) {
            Ok(connection) => self.connection = Some(connection),
            Err(failure) => return ControlFlow::Break(failure),
        }
        ControlFlow::Continue(())
    }
}
