//! One room as this client has it: how far it was read, and where it is on this connection. The stream of private messages,
//! `@me`, is one of them.
//!
//! What is shown of a room is decided here: each line once, in order, and no hole that was not told.

use crate::chat::ids::Millis;

use super::frame::Object;

/// How many lines of a new life of a room are read at most: a page of `history`.
const NEW_LIFE_LINES: u64 = 200;

/// A room.
#[derive(Debug)]
pub(super) struct Seat {
    /// Its name.
    pub(super) room: String,
    /// Where it is on this connection.
    pub(super) state: State,
    /// How many earlier leaves are not answered yet: until then what comes is not for this seat.
    leaves: u32,
    /// How often the server had no room for it, in a row.
    pub(super) refusals: u32,
    /// The life of the room; `None` before the first `joined`.
    pub(super) epoch: Option<String>,
    /// The line that was read last, or the place where it begins.
    pub(super) seq: u64,
    /// The time of that line, if there was one.
    time: Option<String>,
    begun: Begun,
    /// What the replay goes up to: `joined.seq`.
    reaches: u64,
    /// The newest line that was heard of.
    newest: u64,
    /// After which line a `history` was asked for on this connection.
    asked: Option<u64>,
    /// The oldest line that was shown.
    pub(super) oldest_shown: Option<u64>,
    /// Lines of a new life up to this time may have been seen in the old one.
    seen_until: Option<String>,
}

/// Where a room is, on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is to be joined, and nothing came yet. Without a connection this is where all rooms are.
    Asked,
    /// It is joined.
    In,
    /// It is being left; if it was joined, lines come until that is answered.
    Leaving {
        /// Whether it was.
        was_in: bool,
    },
    /// The server has no room for it now: it is asked again at that time.
    Refused {
        /// When.
        again_at: Millis,
    },
}

/// How its reading began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    /// Every line counts.
    Exactly,
    /// With the newest lines up to this one, as far as they are kept: the first that comes is the first.
    WithLast(u64),
    /// In a new life of the room whose lines up to this one are asked for, as far as they are kept.
    Anew(u64),
}

/// What `joined` says.
#[derive(Clone, Debug, Default)]
pub(super) struct Joined {
    /// The life of the room.
    pub(super) epoch: String,
    /// The newest line.
    pub(super) seq: u64,
    /// Whether it goes on where it was.
    pub(super) recovered: bool,
    /// If not, why.
    pub(super) reason: Option<String>,
    /// Up to which line they are lost.
    pub(super) gap_to: Option<u64>,
}

/// What came of a `joined`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// It was no news.
    Known,
    /// It begins, and nothing was to be lost.
    Begins,
    /// It goes on: so many lines come that were missed.
    GoesOn {
        /// Lines.
        missed: u64,
    },
    /// Own lines in doubt stay in doubt. Lines may be missing, for this reason, unless none can be.
    Elsewhere {
        /// The protocol's word.
        reason: Option<String>,
        /// Lines that come all the same.
        missed: u64,
    },
}

/// What is to be done with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is the next: it is noted, show it.
    Show,
    /// It is the next, but was seen in another life.
    Seen,
    /// It is known.
    Known,
    /// Lines before it are missing.
    Jumps,
}

impl Seat {
    /// A room that was never joined.
    pub(super) fn new(room: &str) -> Self {
        Self {
            room: room.to_owned(),
            state: State::Asked,
            leaves: 0,
            refusals: 0,
            epoch: None,
            seq: 0,
            time: None,
            begun: Begun::Exactly,
            reaches: 0,
            newest: 0,
            asked: None,
            oldest_shown: None,
            seen_until: None,
        }
    }

    /// It is being left, and joined again all the same.
    pub(super) fn join_again(&mut self) {
        let leaves = self.leaves + 1;
        *self = Self { leaves, ..Self::new(&self.room) };
    }

    /// Whether it is left, or about to be.
    pub(super) fn is_left(&self) -> bool {
        matches!(self.state, State::Leaving { .. })
    }

    /// The server has answered a `leave`. Whether this seat is left now.
    pub(super) fn left(&mut self) -> bool {
        let earlier = self.leaves > 0;
        self.leaves = self.leaves.saturating_sub(1);
        !earlier && self.is_left()
    }

    /// Whether it awaits the answer to its `join`, and what comes is for it.
    pub(super) fn awaits_joined(&self) -> bool {
        self.state == State::Asked && self.leaves == 0
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self) {
        self.state = State::Asked;
        self.leaves = 0;
        self.asked = None;
    }

    /// Adds the room and the position to a `join`, or to an entry of `hello`. Where there is none yet it begins with
    /// the `last` lines.
    pub(super) fn spell(&self, object: Object, last: u64) -> Object {
        let object = object.with("room", &self.room);
        match &self.epoch {
            Some(epoch) => object.with("epoch", epoch).with("seq", &self.seq).with_some("time", self.time.as_deref()),
            None => object.with_some("last", (last > 0).then_some(last)),
        }
    }

    /// Hears `joined`. `last` as in [`spell`](Self::spell).
    pub(super) fn joined(&mut self, joined: Joined, last: u64) -> Start {
        if self.leaves > 0 {
            return Start::Known;
        }
        if matches!(self.state, State::In | State::Leaving { .. }) {
            // Trimming overtook a slow catch-up. Any other one answers a second `join`.
            let (Some("trimmed"), Some(gap_to)) = (joined.reason.as_deref(), joined.gap_to) else {
                return Start::Known;
            };
            let known = self.epoch.as_ref() != Some(&joined.epoch) || gap_to <= self.seq;
            return if known { Start::Known } else { self.trimmed(gap_to, joined.seq) };
        }
        self.state = State::In;
        self.refusals = 0;
        (self.reaches, self.newest) = (joined.seq, joined.seq);
        let Some(epoch) = self.epoch.replace(joined.epoch) else {
            self.seq = joined.seq.saturating_sub(last);
            self.begun = if last > 0 { Begun::WithLast(joined.seq) } else { Begun::Exactly };
            return Start::Begins;
        };
        // The epoch may be a new one all the same: after a start at which lines may have been lost, but none that we have.
        if joined.recovered {
            self.begun = Begun::Exactly;
            return Start::GoesOn { missed: joined.seq.saturating_sub(self.seq) };
        }
        match joined.gap_to {
            Some(gap_to) => self.trimmed(gap_to, joined.seq),
            None => self.begin_anew(joined.seq, self.epoch.as_ref() == Some(&epoch), joined.reason),
        }
    }

    fn trimmed(&mut self, gap_to: u64, newest: u64) -> Start {
        let (Begun::WithLast(courtesy) | Begun::Anew(courtesy)) = self.begun else {
            self.go_to(gap_to);
            return Start::Elsewhere { reason: Some("trimmed".to_owned()), missed: newest.saturating_sub(gap_to) };
        };
        // Of the lines that were said before one came, nobody was promised any.
        self.go_to(gap_to.max(self.seq));
        let reason = (gap_to > courtesy).then(|| "trimmed".to_owned());
        Start::Elsewhere { reason, missed: newest.saturating_sub(self.seq) }
    }

    fn begin_anew(&mut self, newest: u64, same_life: bool, reason: Option<String>) -> Start {
        let reason = reason.unwrap_or_else(|| "epoch".to_owned());
        let is_cut = reason == "ahead";
        let reason = Some(reason);
        let seen_until = self.time.take().or(self.seen_until.take());
        if same_life || (is_cut && seen_until.is_none()) {
            // The log was set back, or is another one by the same name: which of it was shown, nobody can tell.
            self.go_to(newest);
            return Start::Elsewhere { reason, missed: 0 };
        }
        self.seen_until = seen_until;
        self.go_to(newest.saturating_sub(NEW_LIFE_LINES));
        self.begun = Begun::Anew(newest);
        // One that lost its end has the lines before that still, and they were shown.
        self.oldest_shown = self.oldest_shown.filter(|&oldest| is_cut && oldest <= newest);
        Start::Elsewhere { reason, missed: newest - self.seq }
    }

    fn go_to(&mut self, seq: u64) {
        self.seq = seq;
        self.time = None;
        self.begun = Begun::Exactly;
        // What lies before is not asked for.
        self.reaches = self.reaches.max(seq);
        self.newest = self.newest.max(seq);
    }

    /// Whether the replay is over: what it has not shown of this client's own lines did not arrive.
    pub(super) fn is_through(&self) -> bool {
        // Where reading has just begun there is no replay that could show one.
        self.state == State::In && (self.seq >= self.reaches || self.begun != Begun::Exactly)
    }

    /// Hears a line.
    pub(super) fn take(&mut self, seq: u64, time: &str) -> Taken {
        if seq <= self.seq {
            return Taken::Known;
        }
        self.newest = self.newest.max(seq);
        let next = match self.begun {
            Begun::WithLast(newest) => seq <= newest + 1,
            Begun::Exactly | Begun::Anew(_) => seq == self.seq + 1,
        };
        if !next {
            return Taken::Jumps;
        }
        self.seq = seq;
        self.time = (!time.is_empty()).then(|| time.to_owned());
        self.begun = Begun::Exactly;
        if self.seen_until.as_deref().is_some_and(|seen| time <= seen) {
            return Taken::Seen;
        }
        self.seen_until = None;
        self.oldest_shown = Some(self.oldest_shown.map_or(seq, |oldest| oldest.min(seq)));
        Taken::Show
    }

    /// After which line a `history` is to be asked for now: lines are missing that do not come by themselves.
    pub(super) fn asks_after(&mut self, jumped: bool) -> Option<u64> {
        let misses = jumped || matches!(self.begun, Begun::Anew(_));
        if self.state != State::In || !misses || self.seq >= self.newest || self.asked == Some(self.seq) {
            return None;
        }
        self.asked = Some(self.seq);
        self.asked
    }

    /// A `history` begins with its first message: the oldest that is kept is this one. Whether what was asked for is
    /// there; if not, resuming tells what is lost.
    pub(super) fn can_read_from(&mut self, epoch: &str, oldest: u64) -> bool {
        if self.epoch.as_deref() != Some(epoch) {
            return false;
        }
        if let Begun::WithLast(courtesy) | Begun::Anew(courtesy) = self.begun {
            self.seq = self.seq.max(courtesy.min(oldest.saturating_sub(1)));
        }
        oldest <= self.seq + 1
    }

    /// The `history` was refused: the next line may ask again.
    pub(super) fn history_refused(&mut self) {
        self.asked = None;
    }
}
