//! The client's side of a conversation, by the rules of `docs/CLIENTS.md`: what is sent, shown and awaited.
//!
//! It has no socket, clock, dice or screen. Whoever drives it tells it what happens ([`Event`]) and when, does what it
//! says ([`Action`]) in that order, and comes back at [`Conversation::next_deadline`] at the latest. A connection that was
//! given up must not be heard any more.
//!
//! - `mod.rs`: connections come and go; heartbeats.
//! - `seat.rs`: one room, how far it was read, and what of it is shown.
//! - `outbox.rs`, `sending.rs`: own lines until they are acknowledged.
//! - `hearing.rs`: frames of `chinwag.v1`; `plain.rs`: servers that know plain messages only.
//! - `asking.rs`: what the person asks for.
//! - `departed.rs`: who has left, for private lines to them.
//! - `finishing.rs`: how it ends.
//! - `frame.rs`: JSON, without trust.

mod asking;
mod departed;
mod finishing;
mod frame;
mod hearing;
mod outbox;
mod plain;
mod seat;
mod sending;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::chat::ids::Millis;
use crate::chat::names::ME;

use super::Mode;
use super::talk::{Intent, OwnWord, Shown};

use departed::Departed;
use finishing::{Farewell, Finishing};
use frame::Object;
use outbox::Outbox;
use seat::Seat;

/// How long a server may take to answer a ping, and a `hello`.
const ANSWER_MS: Millis = 10_000;

/// After how much silence a plain server is pinged, and another one that does not say.
const HEARTBEAT_MS: Millis = 25_000;

/// The first wait before it is tried again is up to this long; it doubles with each failure.
const RETRY_FIRST_MS: Millis = 500;

/// And never longer than this.
const RETRY_MAX_MS: Millis = 20_000;

/// A connection that lasted so long after its `welcome` was of use.
const USEFUL_MS: Millis = 10_000;

/// The longest wait that a server may ask for, and the longest spread of it.
const RECONNECT_MAX_MS: Millis = 300_000;

/// The last lines of a room that are shown when a person comes into it.
const LAST_LINES: u64 = 20;

/// What does not change while it lasts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address, for words about it.
    pub url: String,
    /// The wished name.
    pub name: Option<String>,
    /// The rooms to be in at first; the first one is spoken to.
    pub rooms: Vec<String>,
    /// Whether the rooms were asked for, so that a server without rooms disappoints.
    pub rooms_matter: bool,
    /// Who reads and writes.
    pub mode: Mode,
    /// Whether the first break is the end.
    pub once: bool,
    /// Who one was the last time.
    pub session: Option<String>,
}

/// What happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// A connection stands.
    Opened {
        /// Whether it speaks `chinwag.v1`.
        lasting: bool,
    },
    /// A text message came.
    Text(&'a str),
    /// Something else came: a Ping, or binary.
    Sound,
    /// The answer to an [`Action::Ping`], with its number.
    Pong(u64),
    /// The server closed the connection.
    Closed {
        /// With this code, or none.
        code: Option<u16>,
        /// And this reason. Not clean.
        reason: &'a str,
    },
    /// The server does not want a connection.
    Refused {
        /// Why, in English. Not clean.
        why: &'a str,
        /// Whether it may be what was offered that it does not like.
        perhaps_the_offer: bool,
    },
    /// There is no connection, for nobody listens at the address.
    NobodyThere {
        /// The system's word for it.
        why: &'a str,
    },
    /// There is no connection (any more).
    Broken {
        /// Why, in English. Not clean.
        why: &'a str,
    },
    /// The person asks for something.
    Intent(Intent),
    /// What was piped in is at its end.
    EndOfInput,
    /// Only time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect, and tell of it with [`Event::Opened`], [`Event::Refused`], [`Event::NobodyThere`] or [`Event::Broken`].
    Connect {
        /// Whether `chinwag.v1` is offered.
        offer: bool,
    },
    /// Send a text message.
    Send(String),
    /// Send a Ping with a number.
    Ping(u64),
    /// Say goodbye: Close with 1000. [`Event::Closed`] or [`Event::Broken`] answers it.
    Goodbye,
    /// Drop the connection without a word, and hear nothing of it any more.
    GiveUp,
    /// Keep who one is for the next time.
    Remember {
        /// The secret.
        session: String,
        /// The name to ask for.
        name: String,
    },
    /// Show something.
    Show(Shown),
}

/// A conversation with a server, across all its connections.
#[derive(Debug)]
pub struct Conversation {
    settings: Settings,
    dice: fastrand::Rng,
    phase: Phase,
    link: Link,
    /// Which protocol was spoken, once there was a conversation.
    lasting: Option<bool>,
    /// Whether `chinwag.v1` is offered. Some servers fail when they are offered what they do not know, and some agree to
    /// whatever is offered: those are asked again without.
    offer: bool,
    /// Whether a conversation ever came about: if not, it is not tried again.
    was_there: bool,
    failures: u32,
    /// What went wrong last.
    trouble: String,
    /// Who one is; empty before the server said it.
    user: String,
    name: String,
    /// Which name is wished at the next `hello`.
    wished: Option<String>,
    session: Option<String>,
    /// The session and the name that were to be kept last.
    kept: Option<(String, String)>,
    message_bytes_max: Option<usize>,
    /// The stream of private messages first, then the rooms.
    seats: Vec<Seat>,
    current: Option<String>,
    /// The rooms and the name that the last `hello` asked for.
    greeted: (Vec<String>, Option<String>),
    outbox: Outbox,
    departed: Departed,
    /// Lines that a plain server has got, and when they were sent: they may come back still.
    echoes: Vec<(String, Millis)>,
    finishing: Option<Finishing>,
    /// Own lines that did not arrive, or perhaps not.
    failed: usize,
    told: Option<Shown>,
}

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Without a connection, until that time.
    Waiting { until: Millis },
    /// A connection is under way.
    Connecting,
    /// `hello` was said.
    Greeting { since: Millis },
    /// On `chinwag.v1`.
    Talking,
    /// With a server that knows plain messages only.
    Plain,
    /// Goodbye was said, and is awaited until that time.
    Leaving { until: Millis },
    /// All is over.
    Over,
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    /// Each has another one.
    number: u64,
    heard_at: Millis,
    /// When an unanswered ping was sent.
    pinged_at: Option<Millis>,
    heartbeat_ms: Millis,
    welcomed_at: Option<Millis>,
    /// A line came.
    was_useful: bool,
    /// What the server said about coming back.
    wait_ms: Option<Millis>,
    /// Lines that were missed, until that is said.
    missed: Option<u64>,
    /// The number of the last Ping, and of the last Pong.
    pinged: u64,
    ponged: u64,
    last_ping_at: Millis,
}

/// What an event leads to.
type Actions = Vec<Action>;

impl Conversation {
    /// A conversation that has not begun: the first [`Event::Tick`] begins it. `dice` gives the `id`s of lines and spreads
    /// the waits: it must be another one each time.
    pub fn new(settings: Settings, dice: fastrand::Rng) -> Self {
        let mut seats = vec![Seat::new(ME)];
        for room in &settings.rooms {
            if !seats.iter().any(|seat| seat.room == *room) {
                seats.push(Seat::new(room));
            }
        }
        Self {
            current: settings.rooms.first().cloned(),
            wished: settings.name.clone(),
            session: settings.session.clone(),
            seats,
            settings,
            dice,
            phase: Phase::Waiting { until: 0 },
            link: Link::default(),
            lasting: None,
            offer: true,
            was_there: false,
            failures: 0,
            trouble: String::new(),
            user: String::new(),
            name: String::new(),
            kept: None,
            message_bytes_max: None,
            greeted: Default::default(),
            outbox: Outbox::default(),
            departed: Departed::default(),
            echoes: Vec::new(),
            finishing: None,
            failed: 0,
            told: None,
        }
    }

    /// Hears what happened at `now`, on a clock that never goes back, and appends to `actions` what is to be done.
    pub fn handle(&mut self, now: Millis, event: Event<'_>, actions: &mut Actions) {
        if self.is_over() {
            return;
        }
        match event {
            Event::Opened { lasting } => self.opened(now, lasting, actions),
            Event::Text(text) => self.hear(now, text, actions),
            Event::Sound => self.heard(now),
            Event::Pong(number) => {
                self.heard(now);
                self.ponged(now, number);
            }
            Event::Refused { why, perhaps_the_offer: true } if self.may_retract() => {
                why.clone_into(&mut self.trouble);
                self.retract(actions);
            }
            Event::Closed { code, reason } => self.closed(now, code, reason, actions),
            Event::NobodyThere { why } if !self.was_there => {
                let why = OwnWord::NobodyThere { url: self.settings.url.clone(), why: why.to_owned() };
                actions.push(Action::GiveUp);
                self.end(false, Some(why), actions);
            }
            Event::Refused { why, .. } | Event::NobodyThere { why } | Event::Broken { why } => {
                self.lost(now, why, actions);
            }
            Event::Intent(intent) => self.ask(now, intent, actions),
            Event::EndOfInput => self.finish_input(now),
            Event::Tick => self.tick(now, actions),
        }
        self.send_due(now, actions);
        self.advance_finishing(now, actions);
        self.tell_state(actions);
    }

    /// Whether it has ended: nothing more will come of it.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether it ended well.
    pub fn has_succeeded(&self) -> bool {
        matches!(self.told, Some(Shown::Ended { success: true, .. }))
    }

    /// Whether a line more is welcome; if not, what is piped in has to wait.
    pub fn takes_lines(&self) -> bool {
        !self.outbox.is_full()
    }

    /// When it wants to be told the time at the latest.
    pub fn next_deadline(&self) -> Option<Millis> {
        if self.is_over() {
            return None;
        }
        let mut deadlines = vec![self.sending_deadline(), self.finishing_deadline()];
        match self.phase {
            Phase::Waiting { until } | Phase::Leaving { until } => deadlines.push(Some(until)),
            Phase::Greeting { since } => deadlines.push(Some(since + ANSWER_MS)),
            Phase::Talking | Phase::Plain => deadlines.push(Some(self.heartbeat_deadline())),
            Phase::Connecting | Phase::Over => {}
        }
        deadlines.into_iter().flatten().min()
    }

    fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Talking | Phase::Plain)
    }

    /// The lines that a room begins with.
    fn last_lines(&self) -> u64 {
        if self.settings.mode == Mode::Terminal { LAST_LINES } else { 0 }
    }

    fn seat(&mut self, room: &str) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.room == room)
    }

    /// The rooms that one is in, or will be.
    fn rooms(&self) -> Vec<String> {
        let rooms = self.seats.iter().filter(|seat| seat.room != ME && !seat.is_left());
        rooms.map(|seat| seat.room.clone()).collect()
    }

    fn opened(&mut self, now: Millis, lasting: bool, actions: &mut Actions) {
        if self.phase != Phase::Connecting {
            return;
        }
        let number = self.link.number + 1;
        self.link = Link { number, heard_at: now, heartbeat_ms: HEARTBEAT_MS, ..Link::default() };
        if !lasting && self.lasting == Some(true) {
            // Something stands before the server, and knows less than it.
            self.lost(now, "it does not speak chinwag.v1 any more", actions);
        } else if lasting {
            self.phase = Phase::Greeting { since: now };
            self.say_hello(actions);
        } else {
            self.lasting = Some(false);
            self.begin_plain(now, actions);
        }
    }

    /// Whether the server may be one that does not know `chinwag.v1`, whatever it has agreed to.
    fn may_retract(&self) -> bool {
        self.offer && self.lasting != Some(true)
    }

    /// Tries again at once, without an offer.
    fn retract(&mut self, actions: &mut Actions) {
        self.offer = false;
        self.phase = Phase::Connecting;
        actions.extend([Action::GiveUp, Action::Connect { offer: false }]);
    }

    /// Something came, whatever it was: the connection lives.
    fn heard(&mut self, now: Millis) {
        self.link.heard_at = now;
        self.link.pinged_at = None;
    }

    fn hear(&mut self, now: Millis, text: &str, actions: &mut Actions) {
        self.heard(now);
        match (self.phase, self.lasting) {
            (Phase::Waiting { .. } | Phase::Connecting | Phase::Over, _) => {}
            (Phase::Greeting { .. }, _) => self.hear_greeting(now, text, actions),
            (_, Some(true)) => self.hear_frame(now, text, actions),
            _ => self.hear_plain(now, text, actions),
        }
    }

    fn heartbeat_deadline(&self) -> Millis {
        match self.link.pinged_at {
            Some(pinged_at) => pinged_at + ANSWER_MS,
            None => self.link.heard_at + self.link.heartbeat_ms,
        }
    }

    fn tick(&mut self, now: Millis, actions: &mut Actions) {
        match self.phase {
            Phase::Waiting { until } if now >= until => {
                self.phase = Phase::Connecting;
                actions.push(Action::Connect { offer: self.offer });
            }
            Phase::Greeting { since } if now >= since + ANSWER_MS && self.may_retract() => self.retract(actions),
            Phase::Greeting { since } if now >= since + ANSWER_MS => {
                self.lost(now, "it did not answer within 10 s", actions);
            }
            Phase::Talking | Phase::Plain if now >= self.heartbeat_deadline() => self.beat(now, actions),
            Phase::Leaving { until } if now >= until => self.left(now, Farewell::Unanswered, actions),
            _ => {}
        }
    }

    fn beat(&mut self, now: Millis, actions: &mut Actions) {
        if self.link.pinged_at.is_none() {
            self.link.pinged_at = Some(now);
            if self.phase == Phase::Plain {
                self.ping(now, actions);
            } else {
                actions.push(Action::Send(Object::new("ping").finish()));
            }
        } else if self.phase == Phase::Plain && self.link.ponged == 0 {
            // Not every server answers Pings: one that never did is not judged by them.
            self.heard(now);
        } else {
            self.lost(now, "nothing was heard for 10 s after a ping", actions);
        }
    }

    /// The server closed the connection.
    fn closed(&mut self, now: Millis, code: Option<u16>, reason: &str, actions: &mut Actions) {
        if let Phase::Leaving { .. } = self.phase {
            // Its own code comes back; a server may also close without one.
            let answered = matches!(code, None | Some(1000));
            let farewell = if answered { Farewell::Answered } else { Farewell::Unanswered };
            return self.left(now, farewell, actions);
        }
        match code {
            // It does not like `hello`, though it has agreed to it.
            None | Some(1000 | 1002 | 1003 | 1007 | 1008)
                if matches!(self.phase, Phase::Greeting { .. }) && self.may_retract() =>
            {
                self.retract(actions);
            }
            Some(code @ (1000 | 1002 | 1007 | 1009 | 4500..)) => {
                let why = OwnWord::Closed { code, reason: reason.to_owned() };
                self.end(false, Some(why), actions);
            }
            Some(code) if reason.is_empty() => self.lost(now, &format!("the server closed with {code}"), actions),
            Some(code) => self.lost(now, &format!("the server closed with {code}: {reason}"), actions),
            None => self.lost(now, "the server closed", actions),
        }
    }

    /// There is no connection any more, or none came about, or it is given up.
    fn lost(&mut self, now: Millis, why: &str, actions: &mut Actions) {
        if matches!(self.phase, Phase::Waiting { .. }) {
            return;
        }
        actions.push(Action::GiveUp);
        if let Phase::Leaving { .. } = self.phase {
            return self.left(now, Farewell::Unanswered, actions);
        }
        let was_connected = self.is_connected();
        // It was not that. What is known to be plain is not asked again.
        self.offer = self.lasting != Some(false);
        why.clone_into(&mut self.trouble);
        if !self.was_there {
            let why = OwnWord::CannotConnect { url: self.settings.url.clone(), why: why.to_owned() };
            return self.end(false, Some(why), actions);
        }
        if self.settings.once {
            let why = OwnWord::Lost { why: why.to_owned(), unsent: self.outbox.len() };
            return self.end(false, Some(why), actions);
        }
        let lasted = self.link.welcomed_at.is_some_and(|at| now >= at + USEFUL_MS);
        let failures = if lasted || self.link.was_useful { 0 } else { self.failures };
        self.failures = failures.saturating_add(1);
        let wait = self.wait_ms();
        self.phase = Phase::Waiting { until: now + wait };
        self.link = Link { number: self.link.number, ..Link::default() };
        self.seats.retain(|seat| !seat.is_left());
        self.seats.iter_mut().for_each(Seat::lost);
        self.lose_plain_lines(actions);
        if was_connected {
            let word = OwnWord::Reconnecting { why: why.to_owned(), wait: Duration::from_millis(wait) };
            self.say(word, actions);
        }
    }

    /// How long to wait after a loss: what the server asked for, else full jitter.
    fn wait_ms(&mut self) -> Millis {
        if let Some(wait) = self.link.wait_ms {
            return wait;
        }
        // 0.5 s after the first failure, then 1 s, 2 s, ...
        let doubled = RETRY_FIRST_MS.saturating_mul(1 << (self.failures - 1).min(16));
        self.dice.u64(0..=doubled.min(RETRY_MAX_MS))
    }

    /// Says something to the person, who cannot hear it where frames are printed.
    fn say(&self, word: OwnWord, actions: &mut Actions) {
        self.show(Shown::Own(word), actions);
    }

    fn show(&self, shown: Shown, actions: &mut Actions) {
        if self.settings.mode != Mode::Json {
            actions.push(Action::Show(shown));
        }
    }

    /// A frame as it came, where frames are printed.
    fn print(&self, frame: impl FnOnce() -> String, actions: &mut Actions) {
        if self.settings.mode == Mode::Json {
            actions.push(Action::Show(Shown::Frame(frame())));
        }
    }

    /// Tells how it stands, if that has changed.
    fn tell_state(&mut self, actions: &mut Actions) {
        if self.is_over() || self.settings.mode == Mode::Json {
            return;
        }
        let plain = self.lasting == Some(false);
        let state = Shown::State {
            waiting: self.outbox.len(),
            room: self.current.clone().filter(|_| !plain),
            rooms: if plain { Vec::new() } else { self.rooms() },
            name: self.name.clone(),
            connected: self.is_connected(),
        };
        if self.told.as_ref() != Some(&state) {
            self.told = Some(state.clone());
            actions.push(Action::Show(state));
        }
    }
}
