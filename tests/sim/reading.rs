//! Whether what is told of earlier is what was said: where a reader begins in a room, and what a history shows.

use chinwag::chat::command::{From, Span};
use chinwag::chat::message::{History, Joined, Recovery};
use chinwag::chat::{ConnId, RoomName};

use crate::hold;
use crate::model::{Asked, Due, Model, Reference, Room, Verdict, Waiting};
use crate::turn::Begin;

/// Bytes of text in one `history` at most, but for a single line.
const HISTORY_BYTES_MAX: usize = 256 * 1024;

impl Model {
    pub fn told_welcome(&mut self, conn: ConnId, online: u32) -> Result<Begin, String> {
        let Some(Waiting::Welcome { room, fault, perhaps }) = self.user(conn).waiting.take() else {
            return Err("a second welcome".into());
        };
        if !self.is_member(&room, conn) {
            self.enter(&room, conn);
        }
        self.user(conn).welcomed = true;
        let count = self.rooms[&room].members.len();
        hold!(online as usize == count, "{online} online, and {count} are there");
        if let Some(code) = fault {
            self.coverage.note(if perhaps { "a name that may be taken" } else { "a welcome with a fault" });
            if perhaps {
                self.current.either = Some(conn);
            } else {
                self.current.due.push(Due::Error { conn, code, room: None, or_room: None, reference: None, id: None });
            }
        }
        self.coverage.note("a welcome");
        Ok(Begin { next: self.newest(&room) + 1, or_later: false, live: true })
    }

    /// Judges a `joined`; gives where its reader begins, if that changes.
    pub fn told_joined(&mut self, conn: ConnId, joined: &Joined) -> Result<Option<Begin>, String> {
        let Joined { room, epoch, seq, online, recovery, reference } = joined;
        let member = self.is_member(room, conn);
        // Others may have been told of it before it is: in this step.
        let came_now = self.current.moves.iter().any(|moved| moved.came && moved.conn == conn && moved.room == *room);
        let begin = match &self.users[&conn].waiting {
            Some(Waiting::Join { room: asked, from, reference: mark, .. }) if asked == room && mark == reference => {
                let from = from.clone();
                self.user(conn).waiting = None;
                if member && !came_now {
                    hold!(*recovery == Recovery::Fresh, "joining again only answers");
                    None
                } else {
                    let begin = self.judge_start(conn, room, &from, *recovery)?;
                    if !member {
                        self.enter(room, conn);
                    }
                    Some(begin)
                }
            }
            _ => Some(self.judge_overtaken(conn, room, *recovery, reference)?),
        };
        let here = &self.rooms[room];
        hold!(here.epoch.as_ref() == Some(epoch), "the epoch is {:?}", here.epoch);
        hold!(*seq == here.lines.len() as u64, "the newest is {}", here.lines.len());
        hold!(*online as usize == here.members.len(), "{online} online, and {} are there", here.members.len());
        Ok(begin)
    }

    /// A `joined` that nobody asked for: trimming overtook a replay.
    fn judge_overtaken(
        &mut self,
        conn: ConnId,
        room: &RoomName,
        recovery: Recovery,
        reference: &Reference,
    ) -> Result<Begin, String> {
        let Recovery::Trimmed { from, to } = recovery else { return Err("an unasked joined".into()) };
        let oldest = match &self.current.fetched {
            Some((Asked::Page { conn: asked, room: read }, _, oldest)) if *asked == conn && read == room => *oldest,
            other => return Err(format!("an unasked joined after {other:?}")),
        };
        let oldest = oldest.min(self.newest(room) + 1);
        hold!(reference.is_none() && self.is_member(room, conn), "an unasked joined");
        hold!(from <= to && to + 1 == oldest, "{from} to {to} are lost, and {oldest} is kept");
        self.coverage.note("trimming overtook a replay");
        Ok(Begin { next: oldest, or_later: false, live: oldest > self.newest(room) })
    }

    /// How a join goes on from where its reader was.
    fn judge_start(
        &mut self,
        conn: ConnId,
        room: &RoomName,
        from: &From<'static>,
        recovery: Recovery,
    ) -> Result<Begin, String> {
        let newest = self.newest(room);
        let here = &self.rooms[room];
        let (expected, next, or_later) = match from {
            From::Live | From::Last(0) => (Recovery::Fresh, newest + 1, false),
            From::Last(lines) => (Recovery::Fresh, newest.saturating_sub(u64::from(*lines)) + 1, true),
            From::Position { epoch, seq, .. } if here.epoch.as_deref() != Some(&**epoch) && !here.was(epoch, *seq) => {
                let is_former = here.former.as_ref().is_some_and(|(former, _)| **former == **epoch);
                (if is_former { Recovery::Ahead } else { Recovery::Epoch }, newest + 1, false)
            }
            From::Position { seq, .. } if *seq > newest => (Recovery::Ahead, newest + 1, false),
            From::Position { seq, time_ms, .. } => {
                let oldest = match &self.current.fetched {
                    Some((Asked::Probe { conn: asked, .. }, _, oldest)) if *asked == conn => (*oldest).min(newest + 1),
                    _ => here.oldest,
                };
                let kept = (*seq > 0 && *seq >= oldest).then(|| here.lines[*seq as usize - 1].draft.time_ms);
                if kept.zip(*time_ms).is_some_and(|(kept, claimed)| kept != claimed) {
                    (Recovery::Ahead, newest + 1, false)
                } else if seq + 1 < oldest {
                    (Recovery::Trimmed { from: seq + 1, to: oldest - 1 }, oldest, false)
                } else {
                    (Recovery::Recovered, seq + 1, false)
                }
            }
        };
        let is_former = matches!(from, From::Position { epoch, .. } if here.epoch.as_deref() != Some(&**epoch));
        hold!(recovery == expected, "{recovery:?}, and it should be {expected:?} from {from:?}");
        self.coverage.note(match recovery {
            Recovery::Fresh if or_later => "joined at the last lines",
            Recovery::Fresh => "joined",
            Recovery::Recovered if is_former => "recovered under a new epoch",
            Recovery::Recovered if next <= newest => "recovered with lines",
            Recovery::Recovered => "recovered",
            Recovery::Epoch => "not recovered: epoch",
            Recovery::Ahead => "not recovered: ahead",
            Recovery::Trimmed { .. } => "not recovered: trimmed",
        });
        let live = next > newest;
        Ok(Begin { next, or_later: or_later && !live, live })
    }

    /// A history may show lines that are stored and were not told yet, or leave them out.
    pub fn told_history(&mut self, conn: ConnId, history: &History) -> Verdict {
        let (asked, span, limit, told_then) = self.history_asked(conn, &history.reference)?;
        let History { room, epoch, lines, oldest, newest, more, .. } = history;
        hold!(*room == asked && self.rooms[room].epoch.as_ref() == Some(epoch), "another room or life");
        self.are_kept(room, lines)?;
        let told = self.newest(room);
        hold!(
            *newest == lines.last().map_or(told, |line| line.seq.max(told)),
            "{newest} is not the newest, but {told}"
        );
        let oldest_read = self.history_oldest()?;
        hold!(*oldest == oldest_read.min(newest + 1), "{oldest} is not the oldest, but {oldest_read}");
        let bytes: usize = lines.iter().map(|line| line.draft.message.len()).sum();
        hold!(lines.len() <= limit as usize, "more than asked for");
        hold!(bytes <= HISTORY_BYTES_MAX || lines.len() == 1, "{bytes} bytes");
        self.coverage.note(if lines.is_empty() { "an empty history" } else { "a history" });

        // What there was to show, at least: it was told when this was asked for.
        let (first, last) = history_span(span, oldest_read, *newest);
        let last_then = last.min(told_then);
        let (Some(start), Some(end)) = (lines.first(), lines.last()) else {
            hold!(first > last_then && !*more, "{first} to {last_then} are there, and nothing came");
            let gone = is_gone(span, oldest_read, told) && is_gone(span, oldest_read, told_then);
            hold!(!gone, "nothing below is kept, and that was not said");
            return Ok(());
        };
        hold!(start.seq >= first && end.seq <= last, "lines from outside");
        let upwards = matches!(span, Span::After(_));
        let right_end = if upwards { start.seq == first } else { end.seq >= last_then };
        hold!(right_end, "not from the right end of {first} to {last_then}");
        let left_out = if upwards { end.seq < *newest } else { start.seq > *oldest };
        hold!(*more == left_out, "more is {more}");
        let goes_on = if upwards { end.seq < last_then } else { start.seq > first };
        if goes_on {
            self.coverage.note("a history that goes on");
            let next = if upwards { end.seq + 1 } else { start.seq - 1 };
            // A line that nobody was told or read yet may be as long as it likes.
            let text = self.line(room, next).map(|line| line.draft.message.len());
            let full = lines.len() == limit as usize || text.is_none_or(|text| bytes + text > HISTORY_BYTES_MAX);
            if lines.len() < limit as usize {
                self.coverage.note("a history that is full by its bytes");
            }
            hold!(full, "{} lines, and {limit} were asked for", lines.len());
        }
        Ok(())
    }

    pub fn history_asked(&mut self, conn: ConnId, reference: &Reference) -> Result<(RoomName, Span, u32, u64), String> {
        match self.user(conn).waiting.take() {
            Some(Waiting::History { room, span, limit, told_then, reference: mark }) if mark == *reference => {
                Ok((room, span, limit, told_then))
            }
            other => Err(format!("a history, and it waits for {other:?}")),
        }
    }

    /// The oldest line that was kept when the history was read.
    pub fn history_oldest(&self) -> Result<u64, String> {
        match &self.current.fetched {
            Some((Asked::History { .. }, _, oldest)) => Ok(*oldest),
            other => Err(format!("a history out of {other:?}")),
        }
    }
}

/// The first and the last line of a span.
fn history_span(span: Span, oldest: u64, newest: u64) -> (u64, u64) {
    match span {
        Span::Newest => (oldest, newest),
        Span::After(seq) => (seq.saturating_add(1).max(oldest), newest),
        Span::Before(seq) => (oldest, seq.saturating_sub(1).min(newest)),
    }
}

/// Whether something was said below a `seq` and none of it is kept.
pub fn is_gone(span: Span, oldest: u64, newest: u64) -> bool {
    match span {
        Span::Before(seq) => (1..oldest).contains(&seq.saturating_sub(1).min(newest)),
        Span::Newest | Span::After(_) => false,
    }
}

impl Room {
    /// Whether a place under its former epoch is good.
    fn was(&self, epoch: &str, seq: u64) -> bool {
        self.former.as_ref().is_some_and(|(former, top)| **former == *epoch && seq <= *top)
    }
}
