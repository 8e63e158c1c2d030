//! What one person sees of one room: lines in the order in which they are shown, and what was said about missing ones.

use std::sync::Arc;

use chinwag::chat::command::From;
use chinwag::chat::message::{Joined, Recovery};
use chinwag::chat::{Line, Millis};

use crate::truth::Truth;
use crate::{Verdict, hold};

/// A room as it is seen. The position survives breaks and leaves.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    pub epoch: Option<Arc<str>>,
    next: Next,
    /// The time of the last line that was shown, if it is the one before `next`.
    time_ms: Option<Millis>,
}

/// The `seq` of the next line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Unknown,
    /// That, or a later one if those before it are not kept any more.
    From(u64),
    Is(u64),
}

/// How a `joined` went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From the position, with everything.
    Recovered,
    /// Elsewhere: the replay does not prove that a line is not there.
    Elsewhere,
}

impl Screen {
    /// Where to go on, if that is known.
    pub fn position(&self) -> Option<From<'static>> {
        let (Next::Is(next), Some(epoch)) = (self.next, &self.epoch) else { return None };
        Some(From::Position { epoch: epoch.to_string().into(), seq: next - 1, time_ms: self.time_ms })
    }

    /// The next line, when it is known.
    pub fn next(&self) -> Option<u64> {
        match self.next {
            Next::Is(next) => Some(next),
            Next::Unknown | Next::From(_) => None,
        }
    }

    /// Whether all up to `seq` was shown, or nobody can tell.
    pub fn has_reached(&self, seq: u64) -> bool {
        self.next().is_none_or(|next| next > seq)
    }

    /// The answer to a join from `from`.
    pub fn begin(&mut self, from: &From<'_>, joined: &Joined, truth: &Truth) -> Result<Start, String> {
        let Joined { epoch, seq, recovery, .. } = joined;
        let newest = *seq;
        if let From::Position { .. } = from {
            self.judge_recovery(joined, truth)?;
        }
        match (from, recovery) {
            (From::Live | From::Last(0), Recovery::Fresh)
            | (From::Position { .. }, Recovery::Epoch | Recovery::Ahead) => self.next = Next::Is(newest + 1),
            (From::Last(lines), Recovery::Fresh) => {
                let first = newest.saturating_sub(u64::from(*lines)) + 1;
                self.next = if first > newest { Next::Is(first) } else { Next::From(first) };
            }
            (From::Position { .. }, Recovery::Recovered) => {
                self.epoch = Some(epoch.clone());
                hold!(self.next <= newest + 1, "recovered from {:?}, and {newest} is the newest", self.next);
                return Ok(Start::Recovered);
            }
            (From::Position { .. }, Recovery::Trimmed { .. }) => {
                self.epoch = Some(epoch.clone());
                self.trimmed(joined)?;
                return Ok(Start::Elsewhere);
            }
            other => return Err(format!("{other:?} at {self:?}")),
        }
        self.epoch = Some(epoch.clone());
        self.time_ms = None;
        Ok(Start::Elsewhere)
    }

    /// Whoever has seen a line that is lost is told, and nobody else is.
    fn judge_recovery(&self, joined: &Joined, truth: &Truth) -> Verdict {
        let Joined { room, epoch, seq, recovery, .. } = joined;
        let (Some(own), Next::Is(next)) = (&self.epoch, self.next) else { return Err("no position".into()) };
        let former = truth.log(room).and_then(|log| log.former.as_ref()).filter(|(former, _)| former == own);
        let good = if own == epoch { Some(*seq) } else { former.map(|(_, top)| *top) };
        let expected = match good {
            None => *recovery == Recovery::Epoch,
            Some(good) if next - 1 > good => *recovery == Recovery::Ahead,
            Some(_) => matches!(recovery, Recovery::Recovered | Recovery::Trimmed { .. }),
        };
        hold!(expected, "{recovery:?} at {own} {next}, and {good:?} is good");
        let silent = matches!(recovery, Recovery::Recovered | Recovery::Trimmed { .. });
        hold!(
            !(silent && truth.has_seen_lost(room, own, next - 1)),
            "lines up to {next} were lost, and nobody said so"
        );
        Ok(())
    }

    /// A gap is told.
    pub fn trimmed(&mut self, joined: &Joined) -> Verdict {
        let Recovery::Trimmed { from, to } = joined.recovery else { return Err("a second joined".into()) };
        hold!(self.epoch.as_ref() == Some(&joined.epoch), "a gap in another life");
        let gap_is_next = match self.next {
            Next::Is(next) => next == from,
            // Of the last lines, those that went before they came are no gap.
            Next::Unknown | Next::From(_) => false,
        };
        hold!(gap_is_next, "{from} to {to} are told to be lost at {:?}", self.next);
        self.next = Next::Is(to + 1);
        self.time_ms = None;
        Ok(())
    }

    /// A line is shown.
    pub fn show(&mut self, line: &Line, truth: &Truth) -> Verdict {
        match self.next {
            Next::Is(next) => hold!(line.seq == next, "line {} is shown, and {next} is next", line.seq),
            Next::From(first) => {
                let oldest = truth.log(&line.room).filter(|log| Some(&log.epoch) == self.epoch.as_ref());
                let trimmed = oldest.is_none_or(|log| line.seq <= log.oldest);
                let good = line.seq == first || (line.seq > first && trimmed);
                hold!(good, "line {} is shown first, and {first} was asked for", line.seq);
            }
            Next::Unknown => return Err("a line of a room that it is not in".into()),
        }
        self.next = Next::Is(line.seq + 1);
        self.time_ms = Some(line.draft.time_ms);
        Ok(())
    }
}

impl PartialEq<u64> for Next {
    fn eq(&self, other: &u64) -> bool {
        matches!(self, Self::Is(next) if next == other)
    }
}

impl PartialOrd<u64> for Next {
    fn partial_cmp(&self, other: &u64) -> Option<std::cmp::Ordering> {
        match self {
            Self::Is(next) => Some(next.cmp(other)),
            Self::Unknown | Self::From(_) => None,
        }
    }
}
