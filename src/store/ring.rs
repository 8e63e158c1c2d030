//! The newest lines of a room in memory, and what all rooms' lines cost together.
//!
//! Every store has these: to the memory store they are all that there is, to one on a disk what need not be read from it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::chat::{Line, Part};

/// The newest lines of a room, in order, without holes.
#[derive(Debug)]
pub(super) struct Ring {
    /// The `seq` of the newest line that ever was, held or not.
    newest: u64,
    lines: VecDeque<Arc<Line>>,
    /// What `lines` costs, by [`line_bytes`].
    bytes: usize,
}

impl Ring {
    /// Holds nothing; the next line's `seq` is the one after `newest`.
    pub(super) fn after(newest: u64) -> Self {
        Self { newest, lines: VecDeque::new(), bytes: 0 }
    }

    /// The `seq` of the newest line that ever was, held or not.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// The oldest that is held; one more than the newest when none is.
    pub(super) fn oldest(&self) -> u64 {
        self.newest + 1 - self.lines.len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// What its lines cost in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the newest line.
    pub(super) fn push(&mut self, line: Arc<Line>) {
        debug_assert_eq!(line.seq, self.newest + 1, "a count has no holes");
        self.newest = line.seq;
        self.bytes += line_bytes(&line);
        self.lines.push_back(line);
    }

    /// Adds lines before the oldest, so far as `lines` (in order, without holes) reach up to it, until there are `lines_max`
    /// in all.
    pub(super) fn extend_back(&mut self, lines: &[Arc<Line>], lines_max: usize) {
        let Some(last) = lines.last() else { return };
        let Some(above) = (last.seq + 1).checked_sub(self.oldest()) else { return };
        // Bounded by the slice's length, or it would not be one without holes.
        let below = lines.len().saturating_sub(above as usize);
        for line in lines[..below].iter().rev() {
            if self.lines.len() >= lines_max {
                return;
            }
            self.bytes += line_bytes(line);
            self.lines.push_front(Arc::clone(line));
        }
    }

    pub(super) fn drop_oldest(&mut self) {
        if let Some(line) = self.lines.pop_front() {
            self.bytes -= line_bytes(&line);
        }
        // A ring that was long once must not keep its slots: 100,000 of those would be 800 MB that no limit counts.
        if self.lines.len() < self.lines.capacity() / 4 {
            self.lines.shrink_to(self.lines.capacity() / 2);
        }
    }

    /// The lines of a part of a room of which those from `oldest` on are kept; `None` if that needs lines that are kept, but
    /// not held here.
    pub(super) fn read(&self, part: Part, oldest: u64) -> Option<Vec<Arc<Line>>> {
        let held = self.oldest();
        let (first, last) = (part.seqs.0.max(oldest), part.seqs.1.min(self.newest));
        if first > last {
            return Some(Vec::new());
        }
        if last < held || (first < held && !part.newest_first) {
            return None;
        }
        // Bounded by the ring's length.
        let (start, end) = (first.saturating_sub(held) as usize, (last - held) as usize + 1);
        let range = self.lines.range(start..end);
        if part.newest_first {
            let count = count_that_fits(range.rev(), part);
            let needs_more = first < held && count == end - start && count < part.lines_max as usize;
            (!needs_more).then(|| self.lines.range(end - count..end).cloned().collect())
        } else {
            let count = count_that_fits(range, part);
            Some(self.lines.range(start..start + count).cloned().collect())
        }
    }

    /// How many lines it has room for.
    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.lines.capacity()
    }

    /// Holds that it agrees with itself.
    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.bytes, self.lines.iter().map(|line| line_bytes(line)).sum::<usize>());
        assert!(self.lines.iter().map(|line| line.seq).eq(self.oldest()..=self.newest));
    }
}

/// How many of `lines` an answer may have: within the limits, but at least one.
fn count_that_fits<'a>(lines: impl Iterator<Item = &'a Arc<Line>>, part: Part) -> usize {
    let mut bytes = 0;
    let fitting = lines.take(part.lines_max as usize).take_while(|line| {
        bytes += line.draft.spelled_bytes();
        bytes <= part.bytes_max
    });
    fitting.count().max(1)
}

/// What a line costs: its texts and their bookkeeping, its own, and its place in the ring.
///
/// The name is counted in full, though a user's lines share it: whoever renames before each line owns as many names.
pub(super) fn line_bytes(line: &Line) -> usize {
    /// What an allocator adds to an allocation: a word of its own, and half of a 16-byte step on average.
    const ALLOCATION: usize = 16;
    /// The two counters of an `Arc`.
    const SHARED: usize = 2 * size_of::<usize>() + ALLOCATION;
    /// A ring doubles, so half of its slots are empty at worst (while it grows).
    const SLOTS: usize = 2 * size_of::<Arc<Line>>();

    let id = line.draft.id.as_ref().map_or(0, |id| SHARED + id.len());
    let texts = id + SHARED + line.draft.message.len() + SHARED + line.draft.from.len();
    texts + SHARED + size_of::<Line>() + SLOTS
}

/// What the lines of all rooms cost together, and the room that holds most.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// The rooms that hold lines, by [`size_class`]; the last one holds most.
    by_class: BTreeSet<(u32, usize)>,
    bytes: usize,
}

impl Sizes {
    /// Of all rooms.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Notes that the room in `slot` has another size. Costs next to nothing while its class is the same.
    pub(super) fn resized(&mut self, slot: usize, before: usize, after: usize) {
        self.bytes = self.bytes - before + after;
        let (class_before, class_after) = (size_class(before), size_class(after));
        if class_before != class_after {
            self.by_class.remove(&(class_before, slot));
            if after > 0 {
                self.by_class.insert((class_after, slot));
            }
        }
    }

    /// The slot of the room that holds most, to within an eighth.
    pub(super) fn largest(&self) -> Option<usize> {
        self.by_class.last().map(|&(_, slot)| slot)
    }

    /// Holds that it agrees with the rooms: slots and bytes.
    #[cfg(test)]
    pub(super) fn check(&self, rooms: impl Iterator<Item = (usize, usize)>) {
        let rooms: Vec<_> = rooms.filter(|&(_, bytes)| bytes > 0).collect();
        assert_eq!(self.bytes, rooms.iter().map(|&(_, bytes)| bytes).sum::<usize>());
        assert_eq!(self.by_class.len(), rooms.len());
        assert!(rooms.iter().all(|&(slot, bytes)| self.by_class.contains(&(size_class(bytes), slot))));
    }
}

/// A size to within an eighth: eight classes for each doubling. Ascending; 0 only for 0.
///
/// "The room that holds most" need not be exact, and an index that is right to the byte would be written at each line.
pub(super) fn size_class(bytes: usize) -> u32 {
    let bits = usize::BITS - bytes.leading_zeros();
    match bits.checked_sub(4) {
        None => bytes as u32,
        Some(shift) => ((shift + 1) << 3) + ((bytes >> shift) as u32 & 7),
    }
}
