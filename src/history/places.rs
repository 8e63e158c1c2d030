//! The places that are damaged: each is told once, so many of them, and the rest counted.

use std::fmt::Display;

use crate::store::ReadError;

/// Places that are told: more than a person reads.
const TOLD_MAX: u64 = 100;

/// A line that is not the one that was stored.
pub(super) const ALTERED: &str = "not what was written (its CRC differs)";

/// What is found where nothing can be read.
pub(super) fn unreadable(error: &ReadError) -> String {
    format!("cannot be read ({})", error.why())
}

/// How many there were.
#[derive(Debug, Default)]
pub(super) struct Places {
    count: u64,
}

impl Places {
    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Counts one, and gives the sentence if it is to be told.
    pub(super) fn found(&mut self, whose: impl Display, what: impl Display) -> Option<String> {
        self.count += 1;
        (self.count <= TOLD_MAX).then(|| format!("{whose}: {what}"))
    }

    /// A sentence about those that were not told.
    pub(super) fn untold(&self) -> Option<String> {
        let untold = self.count.checked_sub(TOLD_MAX).filter(|&untold| untold > 0)?;
        Some(format!("and {untold} more"))
    }
}

/// `seq 5`, or `seq 5 to 9`.
pub(super) fn seqs(first: u64, last: u64) -> String {
    if first == last { format!("seq {first}") } else { format!("seq {first} to {last}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_told_and_the_rest_is_counted() {
        let mut places = Places::default();
        let told = (0..103).filter_map(|seq| places.found("room tea", format_args!("seq {seq}")));
        assert_eq!(told.last().as_deref(), Some("room tea: seq 99"));
        assert_eq!((places.count(), places.untold().as_deref()), (103, Some("and 3 more")));
        assert_eq!(Places::default().untold(), None);
    }
}
