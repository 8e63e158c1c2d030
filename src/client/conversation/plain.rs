//! Servers that know plain messages only: perhaps a tutorial's, perhaps nobody's we know.
//!
//! There are no rooms, names or acknowledgements. A line counts as arrived when it comes back, or when a Ping that was sent
//! behind it is answered: frames are read in order (RFC 6455 section 5.5.3). At the end the answer to goodbye proves the
//! same. What is not proven when the connection breaks has perhaps arrived, and is never sent again.

use crate::chat::ids::Millis;
use crate::client::talk::{OwnWord, Said, Shown};

use super::frame::Frame;
use super::outbox::{LINES_MAX, Own};
use super::{ANSWER_MS, Action, Actions, Conversation, Phase};

/// How long lines have for their echoes, before goodbye is said.
const ECHO_MS: Millis = 1_000;

/// Pings follow lines at most so often, and only when the last one was answered: there are servers that take many Pings for
/// an attack (Node's `ws` hangs up without a word).
const PING_EVERY_MS: Millis = 100;

impl Conversation {
    /// A connection stands, and it is a plain one.
    pub(super) fn begin_plain(&mut self, now: Millis, actions: &mut Actions) {
        self.phase = Phase::Plain;
        self.link.welcomed_at = Some(now);
        if self.was_there {
            self.say(OwnWord::Back { missed: 0 }, actions);
            return;
        }
        self.was_there = true;
        let name = self.wished.clone().unwrap_or_default();
        let (url, rooms) = (self.settings.url.clone(), Vec::new());
        self.say(OwnWord::Connected { url, name, rooms, lasting: false }, actions);
        if self.settings.rooms_matter {
            self.say(OwnWord::NeedsV1, actions);
        }
        // What was typed before it was known.
        self.give_up_lines(|line| line.to.is_some(), actions);
    }

    /// Hears whatever such a server says.
    pub(super) fn hear_plain(&mut self, now: Millis, text: &str, actions: &mut Actions) {
        self.print(|| text.to_owned(), actions);
        let Some(frame) = Frame::parse(text) else {
            self.link.was_useful = true;
            self.take_echo(now, text);
            return self.show(Shown::Text(text.to_owned()), actions);
        };
        self.note_reconnect(&frame);
        let message = frame.text("message");
        match (&*frame.words("type"), message) {
            ("chat", Some(message)) => {
                self.link.was_useful = true;
                let own = self.take_echo(now, &message);
                let shown = match frame.text("from") {
                    Some(from) => Shown::Said(Said {
                        room: frame.text("room"),
                        from,
                        user: frame.text("user"),
                        to: None,
                        message,
                        timestamp: frame.words("timestamp"),
                        own,
                        old: false,
                    }),
                    None => Shown::Text(message),
                };
                self.show(shown, actions);
            }
            ("error", Some(message)) => {
                let code = frame.words("code");
                self.show(Shown::Refused { code, message, about: None }, actions);
            }
            ("pong", _) => {}
            (_, Some(message)) => {
                let (room, timestamp) = (frame.text("room"), frame.words("timestamp"));
                self.show(Shown::Notice { room, message, timestamp }, actions);
            }
            (_, None) => self.show(Shown::Text(text.to_owned()), actions),
        }
    }

    /// An own line comes back: it is told by its words, there is nothing else.
    fn take_echo(&mut self, now: Millis, message: &str) -> bool {
        self.echoes.retain(|(_, at)| now < at + ANSWER_MS);
        if let Some(place) = self.echoes.iter().position(|(line, _)| line == message) {
            self.echoes.remove(place);
            return true;
        }
        let number = self.link.number;
        let echoed = self.outbox.lines().find(|line| line.message == message && line.sent_on == Some(number));
        let Some(id) = echoed.map(|line| line.id.clone()) else { return false };
        self.arrived(now, &id)
    }

    pub(super) fn send_plain_lines(&mut self, now: Millis, actions: &mut Actions) {
        let number = self.link.number;
        for line in self.outbox.lines_mut().filter(|line| line.sent_on.is_none()) {
            (line.sent_on, line.sent_at) = (Some(number), now);
            actions.push(Action::Send(line.spell_plain()));
        }
        if self.next_ping().is_some_and(|at| now >= at) {
            self.ping(now, actions);
        }
        if self.link.ponged == 0 {
            // It answers no Pings. Then what was sent so long ago without a break counts as arrived.
            let old = self.outbox.settle_all(|line| now >= line.sent_at + ANSWER_MS);
            if !old.is_empty() {
                self.progress(now);
            }
        }
    }

    pub(super) fn plain_deadline(&self) -> Option<Millis> {
        if self.phase != Phase::Plain {
            return None;
        }
        let first = self.outbox.lines().next().filter(|_| self.link.ponged == 0).map(|line| line.sent_at + ANSWER_MS);
        let sent = self.outbox.lines().map(|line| line.sent_at).chain(self.echoes.iter().map(|(_, sent_at)| *sent_at));
        let last = sent.max().filter(|_| self.finishing.is_some()).map(|sent_at| sent_at + ECHO_MS);
        [first, last, self.next_ping()].into_iter().flatten().min()
    }

    /// When a Ping is due behind lines, if any are out that none was sent behind.
    fn next_ping(&self) -> Option<Millis> {
        let is_due = self.link.ponged == self.link.pinged && self.outbox.lines().any(|line| line.ping == 0);
        is_due.then_some(self.link.last_ping_at + PING_EVERY_MS)
    }

    pub(super) fn ping(&mut self, now: Millis, actions: &mut Actions) {
        self.link.pinged += 1;
        self.link.last_ping_at = now;
        let pinged = self.link.pinged;
        for line in self.outbox.lines_mut().filter(|line| line.sent_on.is_some() && line.ping == 0) {
            line.ping = pinged;
        }
        actions.push(Action::Ping(self.link.pinged));
    }

    /// A Ping was answered: all that was sent before it has arrived.
    pub(super) fn ponged(&mut self, now: Millis, number: u64) {
        if self.phase != Phase::Plain || number > self.link.pinged {
            return;
        }
        self.link.ponged = self.link.ponged.max(number);
        let link = self.link.number;
        let arrived = self.outbox.settle_all(|line| line.sent_on == Some(link) && (1..=number).contains(&line.ping));
        if arrived.is_empty() {
            return;
        }
        self.progress(now);
        self.echoes.extend(arrived.into_iter().map(|line| (line.message, line.sent_at)));
        let surplus = self.echoes.len().saturating_sub(LINES_MAX);
        self.echoes.drain(..surplus);
    }

    /// Whether goodbye can be said to a plain server: all lines are out, and their echoes have come or should have.
    pub(super) fn is_done_plain(&self, now: Millis) -> bool {
        let is_out = |line: &Own| line.sent_on.is_some() && now >= line.sent_at + ECHO_MS;
        self.outbox.lines().all(is_out) && self.echoes.iter().all(|(_, sent_at)| now >= sent_at + ECHO_MS)
    }

    /// The connection broke: without a room to look at, nobody can tell what arrived.
    pub(super) fn lose_plain_lines(&mut self, actions: &mut Actions) {
        self.echoes.clear();
        if self.lasting == Some(false) {
            self.give_up_lines(|line| line.sent_on.is_some(), actions);
        }
    }
}
