//! The lines that a client has not seen acknowledged: 100 at most, kept over breaks, sent again with the same `id`.

use std::collections::VecDeque;

use chinwag::chat::names::ME;
use chinwag::chat::{Ask, Command};

use crate::client::command;
use crate::truth::{Fate, Truth};

/// Lines at most.
const LINES_MAX: usize = 100;

#[derive(Debug, Default)]
pub struct Outbox {
    letters: VecDeque<Letter>,
    /// Lines that were sent a second time.
    pub retries: u64,
}

/// A line with an `id`, which is its number.
#[derive(Debug)]
struct Letter {
    number: usize,
    whither: Whither,
    state: State,
}

/// Where it goes.
#[derive(Clone, Debug)]
pub enum Whither {
    Room(String),
    /// A user's id or name.
    To(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unsent,
    /// On the present connection.
    Sent,
    /// On an earlier one.
    Doubtful,
    /// It was refused for now, and may be tried again.
    Refused,
}

impl Whither {
    /// The room whose replay shows it.
    pub fn place(&self) -> &str {
        match self {
            Self::Room(room) => room,
            Self::To(_) => ME,
        }
    }
}

impl Letter {
    fn is_repeatable(&self) -> bool {
        self.state == State::Sent && matches!(self.whither, Whither::Room(_))
    }
}

impl Outbox {
    pub fn is_full(&self) -> bool {
        self.letters.len() >= LINES_MAX
    }

    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Whether there are lines for a place.
    pub fn is_waiting_for(&self, place: &str) -> bool {
        self.letters.iter().any(|letter| letter.whither.place() == place)
    }

    pub fn write(&mut self, number: usize, whither: Whither) {
        self.letters.push_back(Letter { number, whither, state: State::Unsent });
    }

    /// The connection is gone.
    pub fn doubt(&mut self) {
        for letter in &mut self.letters {
            if matches!(letter.state, State::Sent | State::Refused) {
                letter.state = State::Doubtful;
            }
        }
    }

    /// Sends what waits for a place that is ready, in the order in which it was written.
    pub fn send(&mut self, is_ready: impl Fn(&str) -> bool, sends: &mut Vec<Command<'static>>) {
        for letter in &mut self.letters {
            if letter.state == State::Sent || !is_ready(letter.whither.place()) {
                continue;
            }
            self.retries += u64::from(letter.state != State::Unsent);
            letter.state = State::Sent;
            let text = letter.number.to_string();
            let (message, id) = (text.clone().into(), Some(text.into()));
            sends.push(command(match &letter.whither {
                Whither::Room(room) => Ask::Chat { room: Some(room.clone().into()), message, id },
                Whither::To(to) => Ask::Private { to: to.clone().into(), message, id },
            }));
        }
    }

    /// Sends a line a second time on the same connection, as an impatient client would. (Not a private one: the one that
    /// it goes to may come between the two, so that the first is refused and the second is not.)
    pub fn repeat(&mut self, sends: &mut Vec<Command<'static>>, is_ready: impl Fn(&str) -> bool) {
        if let Some(letter) = self.letters.iter_mut().find(|letter| letter.is_repeatable()) {
            letter.state = State::Doubtful;
        }
        self.send(is_ready, sends);
    }

    /// A line was refused for now.
    pub fn again(&mut self, id: &str) {
        for letter in &mut self.letters {
            if letter.number.to_string() == *id {
                letter.state = State::Refused;
            }
        }
    }

    /// It is known what became of a line. (Of one that is not here it was known before.)
    pub fn resolve(&mut self, id: &str, fate: Fate, truth: &mut Truth) {
        let Ok(number) = id.parse::<usize>() else { return };
        self.letters.retain(|letter| letter.number != number);
        let known = &mut truth.written[number].fate;
        if matches!(*known, Fate::Open | Fate::Perhaps) {
            *known = fate;
        }
    }

    /// Lines in doubt for these places are left to the person. Whether there were any.
    pub fn settle(&mut self, which: impl Fn(&Whither) -> bool, fate: Fate, truth: &mut Truth) -> bool {
        let before = self.letters.len();
        self.letters.retain(|letter| {
            let doubtful = letter.state == State::Doubtful && which(&letter.whither);
            if doubtful {
                truth.written[letter.number].fate = fate;
            }
            !doubtful
        });
        self.letters.len() < before
    }

    /// Lines for these places are not sent any more.
    pub fn give_up(&mut self, which: impl Fn(&Whither) -> bool, truth: &mut Truth) {
        self.letters.retain(|letter| {
            let gone = which(&letter.whither);
            if gone {
                let sent = letter.state != State::Unsent;
                truth.written[letter.number].fate = if sent { Fate::Perhaps } else { Fate::Failed };
            }
            !gone
        });
    }
}
