//! The frames of one turn, each encoded once.
//!
//! There are two growing buffers: one for the readers of rooms, one for frames to one reader. A reader's share of a turn
//! is an ordered list of byte ranges ([`Span`]) of them. Neighbours merge, so 200 lines to a room are one range and one
//! `write` for each member; an acknowledgement between two lines lies in the other buffer and splits nobody's range.
//!
//! The buffers are used again each turn. What the kernel did not take is copied out ([`Piece`]), once for all readers who
//! are owed the same range; so a turn without slow readers allocates nothing.

use std::collections::HashMap;
use std::rc::Rc;

use crate::chat::slack;
use crate::wire::frame;

/// The bit of [`Span::start`] that tells the two buffers apart; each stays far below 2 GiB, see `hear::TURN_UNITS`.
const REPLIES: u32 = 1 << 31;

/// A range of whole frames in one of the turn's two buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Both as one, if `next` begins where this ends.
    pub(super) fn merged(self, next: Self) -> Option<Self> {
        (self.end == next.start).then_some(Self { start: self.start, end: next.end })
    }
}

/// Frames that the kernel did not take in their turn.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Rc<[u8]>,
    /// So many bytes in front are the rest of a frame that begins before this piece.
    lead: usize,
    end: usize,
}

impl Piece {
    /// What comes before the first frame: the answer to the request. It is never cut.
    fn head(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into(), lead: bytes.len(), end: bytes.len() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.end]
    }

    /// Leaves out what is behind `end`.
    pub(super) fn truncate(&mut self, end: usize) {
        self.end = end;
    }

    /// The end of the frame in progress when `taken` bytes are with the kernel.
    pub(super) fn frame_end(&self, taken: usize) -> usize {
        if taken < self.lead {
            self.lead
        } else {
            self.lead + frame::whole_frames_end(&self.bytes[self.lead..], taken - self.lead)
        }
    }
}

/// The turn's frames, and the account of all that was copied out of turns and is still owed.
#[derive(Debug, Default)]
pub(super) struct TurnBuffer {
    rooms: Vec<u8>,
    replies: Vec<u8>,
    /// What was copied out in this turn, for the next reader with the same range.
    kept: HashMap<Span, Rc<[u8]>>,
    kept_bytes: usize,
}

impl TurnBuffer {
    /// Appends frames for the readers of a room.
    pub(super) fn write_rooms(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.rooms.len() as u32;
        write(&mut self.rooms);
        assert!(self.rooms.len() < REPLIES as usize, "a turn's budget keeps its buffers small");
        Span { start, end: self.rooms.len() as u32 }
    }

    /// Appends frames for one reader.
    pub(super) fn write_reply<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> (Span, R) {
        let start = self.replies.len() as u32;
        let result = write(&mut self.replies);
        assert!(self.replies.len() < REPLIES as usize, "a turn's budget keeps its buffers small");
        (Span { start: start | REPLIES, end: self.replies.len() as u32 | REPLIES }, result)
    }

    pub(super) fn bytes(&self, span: Span) -> &[u8] {
        let range = (span.start & !REPLIES) as usize..(span.end & !REPLIES) as usize;
        if span.start & REPLIES == 0 { &self.rooms[range] } else { &self.replies[range] }
    }

    /// Copies out what a reader is still owed of `span` after `taken` bytes, and how far that reader is in the copy.
    ///
    /// Readers who are owed most of a range share a copy of it; one who is owed little of it has its own, so that no
    /// copy is more than twice what its reader is owed.
    pub(super) fn keep(&mut self, span: Span, taken: usize) -> (Piece, usize) {
        if taken * 2 > span.len() {
            let bytes = self.bytes(span);
            let lead = frame::whole_frames_end(bytes, taken) - taken;
            let rest: Rc<[u8]> = bytes[taken..].into();
            self.kept_bytes += rest.len();
            return (Piece { end: rest.len(), bytes: rest, lead }, 0);
        }
        let bytes = if let Some(bytes) = self.kept.get(&span) {
            bytes.clone()
        } else {
            let bytes: Rc<[u8]> = self.bytes(span).into();
            self.kept_bytes += bytes.len();
            self.kept.insert(span, bytes.clone());
            bytes
        };
        (Piece { end: bytes.len(), bytes, lead: 0 }, taken)
    }

    /// Counts what is owed to one reader, besides frames of the turn.
    pub(super) fn keep_head(&mut self, bytes: &[u8]) -> Piece {
        self.kept_bytes += bytes.len();
        Piece::head(bytes)
    }

    /// Takes back a piece that its reader needs no more.
    #[expect(clippy::needless_pass_by_value, reason = "it must not be used after")]
    pub(super) fn release(&mut self, piece: Piece) {
        if Rc::strong_count(&piece.bytes) == 1 {
            self.kept_bytes -= piece.bytes.len();
        }
    }

    /// Bytes of all pieces that somebody is owed.
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// The turn is over: its spans are void.
    pub(super) fn clear(&mut self) {
        self.rooms.clear();
        self.replies.clear();
        for (_, bytes) in self.kept.drain() {
            if Rc::strong_count(&bytes) == 1 {
                self.kept_bytes -= bytes.len();
            }
        }
    }

    /// Gives back what a rush of turns left.
    pub(super) fn tidy(&mut self) {
        slack::trim(&mut self.rooms);
        slack::trim(&mut self.replies);
        slack::trim_table(&mut self.kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{Opcode, write_frame};

    fn frames(count: usize) -> impl FnOnce(&mut Vec<u8>) {
        move |out| (0..count).for_each(|_| write_frame(out, Opcode::Text, b"12345678"))
    }

    #[test]
    fn neighbours_merge_and_the_two_buffers_do_not() {
        let mut turn = TurnBuffer::default();
        let first = turn.write_rooms(frames(1));
        let (reply, ()) = turn.write_reply(frames(1));
        let second = turn.write_rooms(frames(2));
        assert_eq!(first.merged(second).map(Span::len), Some(30));
        assert_eq!(first.merged(reply), None);
        assert_eq!(reply.merged(second), None);
        assert_eq!(turn.bytes(reply), turn.bytes(first));
    }

    #[test]
    fn readers_with_the_same_range_share_its_copy_and_it_is_counted_once() {
        let mut turn = TurnBuffer::default();
        let span = turn.write_rooms(frames(10));
        let (one, at_one) = turn.keep(span, 0);
        let (two, at_two) = turn.keep(span, 13);
        assert_eq!((turn.kept_bytes(), at_one, at_two), (100, 0, 13));
        turn.clear();
        turn.release(one);
        assert_eq!(turn.kept_bytes(), 100);
        turn.release(two);
        assert_eq!(turn.kept_bytes(), 0);
    }

    #[test]
    fn a_copy_that_nobody_keeps_past_the_turn_is_not_counted() {
        let mut turn = TurnBuffer::default();
        let span = turn.write_rooms(frames(10));
        let (piece, _) = turn.keep(span, 0);
        turn.release(piece);
        turn.clear();
        assert_eq!(turn.kept_bytes(), 0);
    }

    #[test]
    fn the_frame_in_progress_is_known_in_a_shared_copy_and_in_an_own_one() {
        let mut turn = TurnBuffer::default();
        let span = turn.write_rooms(frames(10));
        for taken in 0..100 {
            let (piece, at) = turn.keep(span, taken);
            let finished = taken + (piece.frame_end(at) - at);
            assert_eq!(finished, taken.next_multiple_of(10), "after {taken} bytes");
            assert_eq!(piece.bytes()[at..], turn.bytes(span)[taken..]);
            turn.release(piece);
        }
    }
}
