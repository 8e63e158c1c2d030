//! What the rows of loaded rooms do not count yet, counted when the file is too large.
//!
//! A room's row counts its lines some 64 KiB at a time. With many rooms loaded that is much of which no row says where it is. While
//! the file is larger than it may be, each transaction of upkeep has the rows count what matters: of so many rooms in turn, those
//! that hold more than any row says. Which lines go is not decided here.

use rusqlite::Connection;

use super::held::Rooms;

/// Slots looked at in one transaction: in memory, some µs.
const SLOTS_LOOKED_AT: usize = 1_000;

/// How far it has come.
#[derive(Debug, Default)]
pub(super) struct Count {
    /// The slot to be looked at next; 0 when a round begins.
    next: usize,
    /// In this round there was a room whose row does not count everything.
    found: bool,
}

impl Count {
    /// Has the rows of some rooms count everything, `rows_max` of them at most: those that have most to be counted, if it is more than
    /// `bytes_min`. `false` when a round is over in which there was nothing to be counted in any room.
    pub(super) fn go_on(
        &mut self,
        connection: &Connection,
        rooms: &mut Rooms,
        rows_max: usize,
        bytes_min: u64,
    ) -> rusqlite::Result<bool> {
        let end = rooms.slots().min(self.next + SLOTS_LOOKED_AT);
        let mut most = Vec::new();
        for slot in self.next..end {
            if let bytes @ 1.. = rooms.uncounted(slot) {
                self.found = true;
                if bytes as u64 > bytes_min {
                    most.push((bytes, slot));
                }
            }
        }
        most.sort_unstable_by(|one, other| other.cmp(one));
        most.truncate(rows_max);
        for (_, slot) in most {
            rooms.change(slot).count(connection)?;
        }
        let round_is_over = end == rooms.slots();
        let may_be_more = self.found || !round_is_over;
        self.next = end;
        if round_is_over {
            (self.next, self.found) = (0, false);
        }
        Ok(may_be_more)
    }
}
