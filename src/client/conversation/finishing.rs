//! How a conversation ends: with everything acknowledged, or with a word about what was not.

use crate::chat::ids::Millis;
use crate::client::Mode;
use crate::client::talk::{OwnWord, Shown};

use super::{Action, Actions, Conversation, Phase};

/// How long a person who wants to go waits for acknowledgements, and for the answer to goodbye.
const QUIT_MS: Millis = 5_000;

/// How long a pipe waits for the next acknowledgement.
const PROGRESS_MS: Millis = 60_000;

/// How long an answer to goodbye is awaited.
const GOODBYE_MS: Millis = 5_000;

/// Goodbye is to be said once all lines have arrived.
#[derive(Clone, Copy, Debug)]
pub(super) enum Finishing {
    /// The person asked for it: by then at the latest.
    Quit { until: Millis },
    /// The input is at its end; since then nothing was acknowledged.
    Input { since: Millis },
}

/// What became of a goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// The server answered it.
    Answered,
    /// The connection ended otherwise, or it took too long.
    Unanswered,
}

impl Finishing {
    fn deadline(self) -> Millis {
        match self {
            Self::Quit { until } => until,
            Self::Input { since } => since + PROGRESS_MS,
        }
    }
}

impl Conversation {
    /// Whether nothing is asked for any more.
    pub(super) fn is_finishing(&self) -> bool {
        self.finishing.is_some() || matches!(self.phase, Phase::Leaving { .. })
    }

    /// The person wants to go.
    pub(super) fn quit(&mut self, now: Millis) {
        if !matches!(self.finishing, Some(Finishing::Quit { .. })) {
            self.finishing = Some(Finishing::Quit { until: now + QUIT_MS });
        }
    }

    /// Nothing more will be asked for.
    pub(super) fn finish_input(&mut self, now: Millis) {
        self.finishing.get_or_insert(Finishing::Input { since: now });
    }

    /// It is known of a line what became of it.
    pub(super) fn progress(&mut self, now: Millis) {
        if let Some(Finishing::Input { since }) = &mut self.finishing {
            *since = now;
        }
    }

    pub(super) fn finishing_deadline(&self) -> Option<Millis> {
        self.finishing.filter(|_| !matches!(self.phase, Phase::Leaving { .. })).map(Finishing::deadline)
    }

    /// Says goodbye when it is time, or gives up waiting.
    pub(super) fn advance_finishing(&mut self, now: Millis, actions: &mut Actions) {
        let Some(finishing) = self.finishing else { return };
        if matches!(self.phase, Phase::Leaving { .. } | Phase::Over) {
            return;
        }
        let deadline = finishing.deadline();
        let is_done = self.outbox.is_empty();
        let by_quit = matches!(finishing, Finishing::Quit { .. });
        let may_go = match self.phase {
            Phase::Talking => is_done,
            Phase::Plain => self.is_done_plain(now),
            _ => false,
        };
        if may_go {
            let latest = if by_quit { deadline } else { Millis::MAX };
            self.phase = Phase::Leaving { until: latest.min(now + GOODBYE_MS) };
            actions.push(Action::Goodbye);
        } else if is_done && (by_quit || self.was_there) && !self.is_connected() {
            actions.push(Action::GiveUp);
            self.end_well(actions);
        } else if now >= deadline {
            actions.push(Action::GiveUp);
            self.end_unsent(actions);
        }
    }

    /// The end of a connection on which goodbye was said.
    pub(super) fn left(&mut self, now: Millis, farewell: Farewell, actions: &mut Actions) {
        if farewell == Farewell::Answered && self.lasting == Some(false) {
            // A plain server has read all that came before goodbye.
            self.outbox.settle_all(|line| line.sent_on.is_some());
            self.progress(now);
        }
        actions.push(Action::GiveUp);
        if self.outbox.is_empty() {
            self.end_well(actions);
        } else {
            self.end_unsent(actions);
        }
    }

    /// With nothing left over. What was lost on the way was told before; of a pipe it is a failure.
    fn end_well(&mut self, actions: &mut Actions) {
        if self.failed > 0 && self.settings.mode != Mode::Terminal {
            let why = OwnWord::NotAll { lines: self.failed };
            return self.end(false, Some(why), actions);
        }
        self.end(true, None, actions);
    }

    fn end_unsent(&mut self, actions: &mut Actions) {
        let why = match &*self.trouble {
            _ if self.is_connected() => "the server did not answer in time",
            "" => "there was no connection in time",
            trouble => trouble,
        };
        let why = OwnWord::Lost { why: why.to_owned(), unsent: self.outbox.len() };
        self.end(false, Some(why), actions);
    }

    /// The end, for whatever reason: what becomes of each own line that is left is told before. Who never came in has sent
    /// none of them, and the reason says so.
    pub(super) fn end(&mut self, success: bool, why: Option<OwnWord>, actions: &mut Actions) {
        if self.was_there {
            self.give_up_lines(|_| true, actions);
        }
        self.phase = Phase::Over;
        let ended = Shown::Ended { success, why };
        self.told = Some(ended.clone());
        actions.push(Action::Show(ended));
    }
}
