//! What was asked of the store and is not answered yet.

use std::collections::VecDeque;

use super::command::Span;
use super::ids::{RoomKey, Ticket};
use super::joining::JoinAt;
use super::slack;
use super::speaking::LineDue;
use super::users::UserKey;

/// What an answer will mean.
#[derive(Debug)]
pub(super) enum Pending {
    /// A room gets ready; who waits for it is noted there.
    Load { room: RoomKey },
    /// The ids of a room's lines from `first` on are read; who waits for that is noted there.
    Recall { room: RoomKey, first: u64 },
    /// A line is being stored.
    Line { user: UserKey, line: Box<LineDue> },
    /// A reader's position is looked at before it joins; on that visit of the user's.
    Probe { user: UserKey, visit: u32, join: JoinAt },
    /// A reader who catches up gets its next page.
    Page { user: UserKey, visit: u32, room: RoomKey },
    /// Somebody asked for a part of the history.
    History { user: UserKey, visit: u32, room: RoomKey, span: Span, reference: Option<Box<str>> },
}

/// The open tickets. They are answered nearly in order, so this is a window over the numbers.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    first: u64,
    window: VecDeque<Option<Pending>>,
    open: usize,
}

impl Tickets {
    pub(super) fn issue(&mut self, pending: Pending) -> Ticket {
        let ticket = Ticket(self.first + self.window.len() as u64);
        self.window.push_back(Some(pending));
        self.open += 1;
        ticket
    }

    /// The open request behind a ticket.
    pub(super) fn open(&mut self, ticket: Ticket) -> Option<&mut Pending> {
        let place = ticket.0.checked_sub(self.first)?;
        self.window.get_mut(usize::try_from(place).ok()?)?.as_mut()
    }

    /// Closes a ticket; `None` if it is not open.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Pending> {
        let place = usize::try_from(ticket.0.checked_sub(self.first)?).ok()?;
        let pending = self.window.get_mut(place)?.take()?;
        self.open -= 1;
        while let Some(None) = self.window.front() {
            self.window.pop_front();
            self.first += 1;
        }
        slack::trim_queue(&mut self.window);
        Some(pending)
    }

    pub(super) fn len(&self) -> usize {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_answered_in_any_order_and_once() {
        let mut tickets = Tickets::default();
        let issued: Vec<_> = (0..4).map(|room| tickets.issue(Pending::Load { room: RoomKey(room) })).collect();
        for &place in &[2_usize, 0, 3, 1] {
            assert!(
                matches!(tickets.take(issued[place]), Some(Pending::Load { room: RoomKey(room) }) if room as usize == place)
            );
            assert!(tickets.take(issued[place]).is_none(), "taken twice");
        }
        assert_eq!((tickets.len(), tickets.window.len()), (0, 0));
        let next = tickets.issue(Pending::Load { room: RoomKey(9) });
        assert!(!issued.contains(&next), "a number is never used again");
    }
}
