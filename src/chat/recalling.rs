//! Whether a line was said before the core knew of it.
//!
//! A store that outlives the process holds lines that the core has not seen, so their ids are read before the first line with
//! an `id` is stored in such a room. Not sooner: after a start most rooms are only read, and those in which somebody speaks should
//! not wait for them. Whoever says that line waits as one does who joins: nothing more is heard on that connection, so its
//! lines keep their order, and of each connection one line waits at most. What has no `id` waits for nothing.

use std::mem;
use std::sync::Arc;

use super::command::{ErrorCode, Fault};
use super::effects::{Effects, Request};
use super::ids::{ConnId, Now, RoomKey, UserId};
use super::joining::unavailable;
use super::retries::Place;
use super::tickets::Pending;
use super::users::{UserKey, Waiting};
use super::{Asker, Chat, Subject};

/// Bytes of the lines that wait at most, all together; past it they are refused: 8 MiB, as much as may wait for the disk.
const UNSAID_BYTES_MAX: usize = 8 << 20;

/// What is known of the ids in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    /// As much as will be.
    Known,
    /// Not those of the lines from `first` to `last`.
    Unknown { first: u64, last: u64 },
    /// The store was asked for them.
    Asked { first: u64, last: u64 },
}

/// A line that was heard and is not said yet.
#[derive(Debug)]
pub(super) struct Unsaid {
    /// Of a private message.
    to: Option<Box<str>>,
    message: Arc<str>,
    id: Box<str>,
    reference: Option<Box<str>>,
}

impl Unsaid {
    pub(super) fn bytes(&self) -> usize {
        self.message.len()
    }
}

impl Chat {
    /// Whether a retry would be found in a room.
    pub(super) fn knows_ids(&mut self, room: RoomKey) -> bool {
        let here = &mut self.rooms[room];
        if let Ids::Unknown { first, last } = here.ids {
            // Since it was loaded, more was said; among older lines no retry is looked for.
            let first = first.max((here.newest + 1).saturating_sub(self.limits.dedup_room_max as u64));
            here.ids = if first <= last { Ids::Unknown { first, last } } else { Ids::Known };
        }
        here.ids == Ids::Known
    }

    /// Keeps a line until the ids of a room are known: the one that it goes to, or, if it is private (`to`), its writer's stream.
    pub(super) fn await_ids(
        &mut self,
        asker: Asker,
        room: RoomKey,
        to: Option<&str>,
        message: &str,
        id: &str,
        effects: &mut Effects,
    ) {
        let Asker { user, conn, reference } = asker;
        let unsaid = Unsaid { to: to.map(Box::from), message: message.into(), id: id.into(), reference };
        if self.unsaid_bytes > 0 && self.unsaid_bytes + unsaid.bytes() > UNSAID_BYTES_MAX {
            return self.refuse_unsaid(user, conn, room, unsaid, unavailable(ErrorCode::Overloaded), effects);
        }
        self.unsaid_bytes += unsaid.bytes();
        let here = &mut self.rooms[room];
        here.waiters.push(user);
        self.users[user].waiting = Some(Box::new(Waiting::Ids { room, unsaid }));
        if let Ids::Unknown { first, last } = here.ids {
            here.ids = Ids::Asked { first, last };
            self.retries.recall_begins(&here.name, first);
            self.recall(room, first, last, effects);
        }
    }

    fn recall(&mut self, room: RoomKey, first: u64, last: u64, effects: &mut Effects) {
        let ticket = self.tickets.issue(Pending::Recall { room, first });
        effects.requests.push(Request::Recall { ticket, room, seqs: (first, last) });
    }

    /// The store told the ids of a room's lines, those from `first` on `through` another.
    pub(super) fn recalled(
        &mut self,
        now: Now,
        room: RoomKey,
        first: u64,
        ids: &[(UserId, Box<str>, u64)],
        through: u64,
        effects: &mut Effects,
    ) {
        let here = &mut self.rooms[room];
        let Ids::Asked { last, .. } = here.ids else { panic!("{} was not asked for", here.name) };
        let (place, owner) = (Place::Room(here.name.clone()), here.name.owner());
        // In a stream nobody but its owner looks for an `id`.
        let own = ids.iter().filter(|(user, ..)| owner.is_none_or(|owner| owner == *user));
        let hashes = own.map(|(user, id, seq)| (self.retries.hash(*user, &place, id), *seq)).collect();
        self.retries.recalled(&here.name, hashes);
        if through < last {
            assert!(through >= first, "the store gets on");
            return self.recall(room, through + 1, last, effects);
        }
        self.retries.recall_ends(&here.name);
        here.ids = Ids::Known;
        for (user, conn, Unsaid { to, message, id, reference }) in self.take_unsaid(room) {
            let asker = Asker { user, conn, reference };
            match to {
                Some(to) => self.write_to(now, asker, &to, &message, Some(&id), effects),
                None => self.say_in(now, asker, room, &message, Some(&id), effects),
            }
        }
        self.unload_if_idle(now, room, effects);
    }

    /// The store cannot tell. What waits is refused, for it might be stored twice; whoever says it again asks again.
    pub(super) fn not_recalled(&mut self, now: Now, room: RoomKey, code: ErrorCode, effects: &mut Effects) {
        let here = &mut self.rooms[room];
        let Ids::Asked { first, last } = here.ids else { panic!("{} was not asked for", here.name) };
        here.ids = Ids::Unknown { first, last };
        for (user, conn, unsaid) in self.take_unsaid(room) {
            self.refuse_unsaid(user, conn, room, unsaid, unavailable(code), effects);
        }
        self.unload_if_idle(now, room, effects);
    }

    fn refuse_unsaid(
        &self,
        user: UserKey,
        conn: ConnId,
        room: RoomKey,
        unsaid: Unsaid,
        fault: Fault,
        effects: &mut Effects,
    ) {
        let name = &self.rooms[room].name;
        let subject = Subject { room: unsaid.to.is_none().then(|| name.shown()), id: Some(&unsaid.id) };
        Asker { user, conn, reference: unsaid.reference }.refuse(fault, subject, effects);
    }

    /// The lines that wait for a room's ids, in the order in which they were heard; their writers do not wait any more.
    fn take_unsaid(&mut self, room: RoomKey) -> Vec<(UserKey, ConnId, Unsaid)> {
        let mut taken = Vec::new();
        for user in mem::take(&mut self.rooms[room].waiters) {
            match self.users[user].waiting.take().map(|waiting| *waiting) {
                Some(Waiting::Ids { room: asked, unsaid }) if asked == room => {
                    self.unsaid_bytes -= unsaid.bytes();
                    let conn = self.users[user].conn.expect("whoever lost the connection does not wait");
                    taken.push((user, conn, unsaid));
                }
                other => {
                    self.users[user].waiting = other.map(Box::new);
                    self.rooms[room].waiters.push(user);
                }
            }
        }
        taken
    }
}
