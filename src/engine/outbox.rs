//! What one connection is owed, and how it reaches the kernel.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use smallvec::SmallVec;

use crate::chat::ids::Millis;

use super::turn_buffer::{Piece, Span, TurnBuffer};

/// Slices handed to the kernel in one call: `IOV_MAX` is 1,024, and most of the gain is in the first few.
const SLICES_MAX: usize = 64;

/// A connection's share of this turn, and what is left over from earlier ones.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    share: SmallVec<[Span; 2]>,
    backlog: Option<Box<Backlog>>,
}

#[derive(Debug, Default)]
struct Backlog {
    pieces: VecDeque<Piece>,
    /// How much of the first piece is with the kernel.
    taken: usize,
    owed: usize,
    /// When the kernel last took something.
    progress_ms: Millis,
}

/// What came of a flush.
#[derive(Debug)]
pub(super) enum Flushed {
    /// The kernel has everything.
    All,
    /// The kernel takes no more for now.
    Some,
    /// The connection is broken.
    Broken(io::Error),
}

impl Outbox {
    /// Adds frames of this turn.
    pub(super) fn give(&mut self, span: Span) {
        if span.is_empty() {
            return;
        }
        match self.share.last_mut() {
            Some(last) if last.merged(span).is_some() => *last = last.merged(span).unwrap_or(*last),
            _ => self.share.push(span),
        }
    }

    /// Bytes left over from earlier turns.
    pub(super) fn owed(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.owed)
    }

    /// When the kernel last took something of what is left over; `None` when nothing is.
    pub(super) fn stalled_since(&self) -> Option<Millis> {
        self.backlog.as_ref().map(|backlog| backlog.progress_ms)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.share.is_empty() && self.backlog.is_none()
    }

    /// Puts the answer to the request in front of all frames, so that both are one write.
    pub(super) fn give_head(&mut self, bytes: &[u8], turn: &mut TurnBuffer, now_ms: Millis) {
        debug_assert!(self.is_empty(), "the answer comes first");
        let pieces = VecDeque::from([turn.keep_head(bytes)]);
        self.backlog = Some(Box::new(Backlog { pieces, taken: 0, owed: bytes.len(), progress_ms: now_ms }));
    }

    /// Writes until the kernel takes no more (then `writable` is cleared), and keeps the rest. Bounded by what is owed.
    pub(super) fn flush(
        &mut self,
        socket: &mut impl Write,
        writable: &mut bool,
        turn: &mut TurnBuffer,
        now_ms: Millis,
    ) -> Flushed {
        let mut taken = 0;
        if *writable {
            let backlog = self.backlog.iter().flat_map(|backlog| backlog.slices());
            let slices = backlog.chain(self.share.iter().map(|&span| turn.bytes(span)));
            taken = match write_all(socket, writable, slices) {
                Ok(taken) => taken,
                Err(error) => return Flushed::Broken(error),
            };
        }
        if let Some(backlog) = &mut self.backlog {
            let of_backlog = taken.min(backlog.owed);
            taken -= of_backlog;
            if of_backlog > 0 {
                backlog.progress_ms = now_ms;
            }
            backlog.advance(of_backlog, turn);
            if backlog.pieces.is_empty() {
                self.backlog = None;
            }
        }
        self.keep_rest(taken, turn, now_ms);
        if self.backlog.is_some() { Flushed::Some } else { Flushed::All }
    }

    /// Copies out what the kernel did not take of the share.
    fn keep_rest(&mut self, mut taken: usize, turn: &mut TurnBuffer, now_ms: Millis) {
        for span in self.share.drain(..) {
            if taken >= span.len() {
                taken -= span.len();
                continue;
            }
            let backlog =
                self.backlog.get_or_insert_with(|| Box::new(Backlog { progress_ms: now_ms, ..Backlog::default() }));
            let (piece, at) = turn.keep(span, taken);
            backlog.owed += piece.bytes().len() - at;
            if backlog.pieces.is_empty() {
                backlog.taken = at;
            }
            backlog.pieces.push_back(piece);
            taken = 0;
        }
        self.share.shrink_to_fit();
    }

    /// Drops whole frames that are not with the kernel, all but the one in progress.
    pub(super) fn cut(&mut self, turn: &mut TurnBuffer) {
        self.share.clear();
        let Some(backlog) = &mut self.backlog else { return };
        for piece in backlog.pieces.drain(1..) {
            turn.release(piece);
        }
        let end = backlog.pieces[0].frame_end(backlog.taken);
        if end == backlog.taken {
            self.release(turn);
            return;
        }
        backlog.owed = end - backlog.taken;
        backlog.pieces[0].truncate(end);
    }

    /// Gives back what is kept for a connection that goes.
    pub(super) fn release(&mut self, turn: &mut TurnBuffer) {
        self.share.clear();
        for piece in self.backlog.take().into_iter().flat_map(|backlog| backlog.pieces) {
            turn.release(piece);
        }
    }
}

impl Backlog {
    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let skip = |place| if place == 0 { self.taken } else { 0 };
        self.pieces.iter().enumerate().map(move |(place, piece)| &piece.bytes()[skip(place)..])
    }

    fn advance(&mut self, mut taken: usize, turn: &mut TurnBuffer) {
        self.owed -= taken;
        while let Some(piece) = self.pieces.front() {
            let left = piece.bytes().len() - self.taken;
            if taken < left {
                self.taken += taken;
                return;
            }
            taken -= left;
            self.taken = 0;
            turn.release(self.pieces.pop_front().expect("it was just there"));
        }
    }
}

/// Writes slices in order until they are out or the kernel takes no more; returns how many bytes it took.
fn write_all<'a>(
    socket: &mut impl Write,
    writable: &mut bool,
    slices: impl Iterator<Item = &'a [u8]>,
) -> io::Result<usize> {
    let mut slices = slices.filter(|slice| !slice.is_empty()).peekable();
    let mut taken = 0;
    let mut batch: SmallVec<[IoSlice<'a>; SLICES_MAX]> = SmallVec::new();
    while slices.peek().is_some() {
        batch.clear();
        batch.extend(slices.by_ref().take(SLICES_MAX).map(IoSlice::new));
        let mut left = &mut batch[..];
        while !left.is_empty() {
            // One slice is the rule, and `send` is cheaper than `sendmsg`.
            let result = if left.len() == 1 { socket.write(&left[0]) } else { socket.write_vectored(left) };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    taken += bytes;
                    IoSlice::advance_slices(&mut left, bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    *writable = false;
                    return Ok(taken);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{Opcode, write_frame};

    /// A socket that takes `room` bytes, at most `step` at a time.
    struct Socket {
        taken: Vec<u8>,
        room: usize,
        step: usize,
    }

    impl Write for Socket {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let bytes = &bytes[..bytes.len().min(self.step).min(self.room)];
            if bytes.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room -= bytes.len();
            self.taken.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(number: usize) -> Vec<u8> {
        let mut out = Vec::new();
        write_frame(&mut out, Opcode::Text, format!("{number:->width$}", width = 1 + number % 300).as_bytes());
        out
    }

    /// Many turns of lines and replies through sockets with little room: each byte comes out once, in order.
    #[test]
    fn nothing_is_lost_repeated_or_moved_whatever_the_kernel_takes() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut turn = TurnBuffer::default();
            let mut outbox = Outbox::default();
            let mut socket = Socket { taken: Vec::new(), room: 0, step: random.usize(1..400) };
            let mut expected = Vec::new();
            if random.bool() {
                expected = b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec();
                outbox.give_head(&expected, &mut turn, 0);
            }
            for number in 0..200 {
                for _ in 0..random.usize(0..4) {
                    let bytes = line(number);
                    expected.extend_from_slice(&bytes);
                    let write = |out: &mut Vec<u8>| out.extend_from_slice(&bytes);
                    let span = if random.bool() { turn.write_rooms(write) } else { turn.write_reply(write).0 };
                    outbox.give(span);
                }
                let mut writable = random.bool();
                if writable {
                    socket.room = random.usize(0..2_000);
                }
                outbox.flush(&mut socket, &mut writable, &mut turn, 1);
                turn.clear();
                assert_eq!(socket.taken.len() + outbox.owed(), expected.len(), "seed {seed}, turn {number}");
            }
            socket.room = usize::MAX;
            assert!(matches!(outbox.flush(&mut socket, &mut true, &mut turn, 1), Flushed::All));
            assert!(socket.taken == expected, "seed {seed}");
            assert_eq!((turn.kept_bytes(), outbox.is_empty()), (0, true), "seed {seed}");
        }
    }

    /// What comes before the first frame is no frame: it is not walked as one, and not cut.
    #[test]
    fn a_cut_leaves_the_answer_to_the_request() {
        for taken in 0..=40 {
            let mut turn = TurnBuffer::default();
            let mut outbox = Outbox::default();
            outbox.give_head(&[0x89; 15], &mut turn, 0);
            outbox.give(turn.write_rooms(|out| (0..2).for_each(|_| write_frame(out, Opcode::Text, b"12345678"))));
            let mut socket = Socket { taken: Vec::new(), room: taken, step: usize::MAX };
            outbox.flush(&mut socket, &mut true, &mut turn, 1);
            turn.clear();
            outbox.cut(&mut turn);
            socket.room = usize::MAX;
            outbox.flush(&mut socket, &mut true, &mut turn, 1);
            let whole = [15, 25, 35].into_iter().find(|&whole| whole >= taken).unwrap_or(35);
            assert_eq!((socket.taken.len(), turn.kept_bytes()), (whole, 0), "cut after {taken}");
        }
    }

    #[test]
    fn a_cut_leaves_the_rest_of_the_frame_in_progress() {
        for taken in 0..=60 {
            let mut turn = TurnBuffer::default();
            let mut outbox = Outbox::default();
            let write = |out: &mut Vec<u8>| (0..3).for_each(|_| write_frame(out, Opcode::Text, b"12345678"));
            outbox.give(turn.write_rooms(write));
            outbox.give(turn.write_reply(write).0);
            let mut socket = Socket { taken: Vec::new(), room: taken, step: usize::MAX };
            outbox.flush(&mut socket, &mut true, &mut turn, 1);
            turn.clear();
            outbox.cut(&mut turn);
            socket.room = usize::MAX;
            outbox.flush(&mut socket, &mut true, &mut turn, 1);
            assert_eq!(socket.taken.len(), taken.next_multiple_of(10), "cut after {taken}");
            assert_eq!(turn.kept_bytes(), 0, "cut after {taken}");
        }
    }
}
