//! Own lines on their way: when each is sent, sent again, or given up.

use crate::chat::ids::Millis;
use crate::client::talk::OwnWord;

use super::outbox::Own;
use super::seat::State;
use super::{Action, Actions, Conversation, Object, Phase, RETRY_MAX_MS};

/// After so long the person is told that a line waits.
const WAITING_MS: Millis = 1_000;

/// How long to wait after the server had no room for something, at first.
const REFUSED_MS: Millis = 1_000;

impl Conversation {
    /// Sends what may be sent now, and says what waits for long.
    pub(super) fn send_due(&mut self, now: Millis, actions: &mut Actions) {
        match self.phase {
            Phase::Talking => {
                self.join_again(now, actions);
                self.send_lines(now, actions);
            }
            Phase::Plain => self.send_plain_lines(now, actions),
            _ => {}
        }
        let mut late = Vec::new();
        for line in self.outbox.lines_mut().filter(|line| !line.told && now >= line.since + WAITING_MS) {
            line.told = true;
            late.push(line.told());
        }
        for line in late {
            self.say(OwnWord::Waiting { line }, actions);
        }
    }

    /// When there is something to send or to say, if nothing comes before.
    pub(super) fn sending_deadline(&self) -> Option<Millis> {
        let told = self.outbox.lines().filter(|line| !line.told).map(|line| line.since + WAITING_MS);
        let again = self.outbox.lines().filter(|line| line.sent_on.is_none() && line.not_before > 0);
        let again = again.filter(|_| self.phase == Phase::Talking).map(|line| line.not_before);
        let joins = self.seats.iter().filter_map(|seat| match seat.state {
            State::Refused { again_at, .. } if self.phase == Phase::Talking => Some(again_at),
            _ => None,
        });
        told.chain(again).chain(joins).chain(self.plain_deadline()).min()
    }

    fn join_again(&mut self, now: Millis, actions: &mut Actions) {
        let last = self.last_lines();
        for seat in &mut self.seats {
            if matches!(seat.state, State::Refused { again_at, .. } if now >= again_at) {
                seat.state = State::Asked;
                let join = seat.spell(Object::new("join"), last).with("ref", "join");
                actions.push(Action::Send(join.finish()));
            }
        }
    }

    /// Sends the lines whose room is through with its replay, each once on a connection.
    fn send_lines(&mut self, now: Millis, actions: &mut Actions) {
        let (number, bytes_max) = (self.link.number, self.message_bytes_max);
        let seats = &self.seats;
        let mut long = Vec::new();
        for line in self.outbox.lines_mut() {
            let may = line.sent_on != Some(number) && now >= line.not_before;
            if may {
                line.not_before = 0;
            }
            if !may || !seats.iter().any(|seat| seat.room == line.room && seat.is_through()) {
                continue;
            }
            let text = line.spell();
            match bytes_max {
                Some(bytes_max) if text.len() > bytes_max => long.push((line.id.clone(), text.len(), bytes_max)),
                _ => {
                    (line.sent_on, line.sent_at) = (Some(number), now);
                    actions.push(Action::Send(text));
                }
            }
        }
        for (id, bytes, bytes_max) in long {
            if let Some(line) = self.outbox.settle(&id) {
                self.failed += 1;
                self.progress(now);
                self.say(OwnWord::TooLong { line: line.told(), bytes, bytes_max }, actions);
            }
        }
    }

    /// The server knows a line: it is stored.
    pub(super) fn arrived(&mut self, now: Millis, id: &str) -> bool {
        let arrived = self.outbox.settle(id).is_some();
        if arrived {
            self.progress(now);
        }
        arrived
    }

    /// The server has no room for a line now.
    pub(super) fn send_again_later(&mut self, now: Millis, id: &str) {
        if let Some(line) = self.outbox.find(id) {
            line.sent_on = None;
            line.not_before = now + later(line.refusals);
            line.refusals += 1;
        }
    }

    /// Nobody has the name that a private line is to. If one user has left by it, it goes to that one.
    pub(super) fn send_to_departed(&mut self, id: &str, actions: &mut Actions) -> bool {
        let Some(line) = self.outbox.find(id).filter(|line| line.user.is_none()) else { return false };
        let Some(name) = line.to.clone() else { return false };
        let Some(user) = self.departed.user(&name) else { return false };
        (line.user, line.sent_on) = (Some(user.to_owned()), None);
        self.say(OwnWord::Departed { name }, actions);
        true
    }

    /// Nobody can tell any more what became of lines that were sent on earlier connections. The person decides.
    pub(super) fn doubt(&mut self, which: impl Fn(&Own) -> bool, actions: &mut Actions) {
        let number = self.link.number;
        let doubtful = |line: &mut Own| line.sent_on.is_some_and(|sent_on| sent_on != number) && which(line);
        for line in self.outbox.settle_all(doubtful) {
            self.give_up_line(&line, actions);
        }
    }

    /// Lines have no room to go to any more.
    pub(super) fn give_up_lines(&mut self, which: impl Fn(&Own) -> bool, actions: &mut Actions) {
        for line in self.outbox.settle_all(|line| which(line)) {
            self.give_up_line(&line, actions);
        }
    }

    fn give_up_line(&mut self, line: &Own, actions: &mut Actions) {
        self.failed += 1;
        let was_sent = line.sent_on.is_some() || line.refusals > 0;
        let line = line.told();
        self.say(if was_sent { OwnWord::PerhapsSent { line } } else { OwnWord::NotSent { line } }, actions);
    }
}

/// How long to wait after so many refusals.
pub(super) fn later(refusals: u32) -> Millis {
    (REFUSED_MS << refusals.min(8)).min(RETRY_MAX_MS)
}
