//! Readers who have lines to catch up with.
//!
//! Such a reader gets no lines by fan-out: it is fed a page at a time, as its outbox drains, and becomes live in the turn in
//! which it has all that was answered. So its backlog is bounded, however much it missed.

use std::sync::Arc;

use super::command::ErrorCode;
use super::effects::{CloseReason, Effects, Part, Request};
use super::ids::{ConnId, Now, RoomKey};
use super::joining::unavailable;
use super::message::{Line, Message, Recovery};
use super::tickets::Pending;
use super::users::{Reader, UserKey};
use super::{Asker, Chat, Subject};

/// Lines in one page at most, so that a page of empty lines is no larger than one of long ones.
const PAGE_LINES_MAX: u32 = 128;

impl Chat {
    /// Fetches the next page for a reader whose outbox has room: of the first room in which it catches up.
    pub(super) fn feed(&mut self, user: UserKey, effects: &mut Effects) {
        let visit = self.users[user].visit;
        let behind = self.users[user].rooms.iter_mut().find_map(|membership| match &mut membership.reader {
            Reader::CatchingUp(reader) => Some((membership.room, reader)),
            Reader::Live | Reader::Away => None,
        });
        let Some((room, reader)) = behind.filter(|(_, reader)| !reader.fetching) else { return };
        reader.fetching = true;
        let part = Part {
            seqs: (reader.next, u64::MAX),
            newest_first: false,
            lines_max: PAGE_LINES_MAX,
            bytes_max: self.limits.page_bytes_max,
        };
        self.fetch(user, room, part, Pending::Page { user, visit, room }, effects);
    }

    /// A page came.
    pub(super) fn fed(
        &mut self,
        user: UserKey,
        conn: ConnId,
        room: RoomKey,
        mut lines: Vec<Arc<Line>>,
        oldest: u64,
        effects: &mut Effects,
    ) {
        let newest = self.rooms[room].newest;
        let membership = self.users[user].membership_mut(room).expect("nobody leaves while a page is fetched");
        let place = membership.place as usize;
        let Reader::CatchingUp(reader) = &mut membership.reader else {
            panic!("only its own pages make a reader live");
        };
        reader.fetching = false;
        // What the store has not answered is handed to whoever is live when it does.
        lines.retain(|line| line.seq <= newest);
        let first = lines.first().map_or(oldest.min(newest + 1), |line| line.seq);
        let hole = (first > reader.next && reader.hole_counts).then(|| (reader.next, first - 1));
        reader.next = lines.last().map_or(first.max(reader.next), |line| line.seq + 1);
        reader.hole_counts = true;
        if reader.next > newest {
            membership.reader = Reader::Live;
            let here = &mut self.rooms[room];
            here.members[place].live = true;
            here.part_audience();
        }
        if let Some((from, to)) = hole {
            self.tell_joined(conn, room, Recovery::Trimmed { from, to }, None, effects);
        }
        if !lines.is_empty() {
            effects.reply(conn, Message::Page(lines));
        }
        if self.users[user].rooms.iter().any(|membership| matches!(membership.reader, Reader::CatchingUp(_))) {
            effects.watches.push(conn);
        }
    }

    /// The store could not read what was asked for.
    pub(super) fn not_fetched(&mut self, now: Now, pending: Pending, code: ErrorCode, effects: &mut Effects) {
        let (user, visit, room, reference, asked) = match pending {
            Pending::Probe { user, visit, join } => {
                self.rooms[join.room].stop_waiting(user);
                (user, visit, join.room, join.reference, !join.hello)
            }
            Pending::History { user, visit, room, reference, .. } => (user, visit, room, reference, true),
            Pending::Page { user, visit, room } => (user, visit, room, None, false),
            pending @ (Pending::Load { .. } | Pending::Recall { .. } | Pending::Line { .. }) => {
                panic!("{pending:?} is no reading")
            }
        };
        if let Some(conn) = self.still_there(user, visit) {
            if asked {
                self.users[user].waiting = None;
                let name = self.rooms[room].name.clone();
                let subject = Subject { room: Some(name.shown()), id: None };
                Asker { user, conn, reference }.refuse(unavailable(code), subject, effects);
            } else {
                // It would have a hole, or wait for ever: let it come back and resume.
                effects.closes.push((conn, CloseReason::Overloaded));
            }
        }
        self.unload_if_idle(now, room, effects);
    }

    pub(super) fn fetch(&mut self, user: UserKey, room: RoomKey, part: Part, why: Pending, effects: &mut Effects) {
        self.users[user].outstanding += 1;
        let ticket = self.tickets.issue(why);
        effects.requests.push(Request::Fetch { ticket, room, part });
    }
}
