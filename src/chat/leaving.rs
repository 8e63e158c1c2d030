//! Going: out of one room, or for good.

use super::effects::{Effects, Request};
use super::ids::{ConnId, Now, RoomKey};
use super::message::Message;
use super::presence::Way;
use super::retries::Place;
use super::slack;
use super::users::{Dialect, UserKey, Waiting};
use super::{Asker, Chat, Subject};

impl Chat {
    pub(super) fn leave(&mut self, now: Now, asker: Asker, room: &str, effects: &mut Effects) {
        let key = match self.room_of(asker.user, Some(room)) {
            Ok(key) => key,
            Err(fault) => return asker.refuse(fault, Subject { room: Some(room), id: None }, effects),
        };
        let user = &mut self.users[asker.user];
        if user.outstanding > 0 {
            user.waiting = Some(Box::new(Waiting::Leave { room: key, reference: asker.reference }));
            return;
        }
        self.leave_now(now, asker.user, asker.conn, key, asker.reference, effects);
    }

    pub(super) fn leave_now(
        &mut self,
        now: Now,
        user: UserKey,
        conn: ConnId,
        room: RoomKey,
        reference: Option<Box<str>>,
        effects: &mut Effects,
    ) {
        let name = self.rooms[room].name.clone();
        self.exit(now, user, room, effects);
        effects.reply(conn, Message::Left { room: name, reference });
    }

    /// The connection ended. The user is awaited for a grace, or departs, at the latest when the store has answered all
    /// that it was asked.
    pub(super) fn lose(&mut self, now: Now, user: UserKey, for_good: bool, effects: &mut Effects) {
        self.users.disconnect(user);
        self.stop_reading(user);
        if self.users[user].dialect == Dialect::V1 && !for_good {
            self.await_return(now, user, effects);
        } else if self.users[user].outstanding == 0 {
            self.depart(now, user, effects);
        }
    }

    /// Takes a user out of all rooms and frees the name.
    pub(super) fn depart(&mut self, now: Now, user: UserKey, effects: &mut Effects) {
        while let Some(membership) = self.users[user].rooms.last() {
            self.exit(now, user, membership.room, effects);
        }
        let user = self.users.remove(user);
        self.retries.forget(&Place::Private(user.id));
    }

    pub(super) fn exit(&mut self, now: Now, user: UserKey, room: RoomKey, effects: &mut Effects) {
        let rooms = &mut self.users[user].rooms;
        let which = rooms.iter().position(|membership| membership.room == room).expect("only members leave");
        let place = rooms.remove(which).place;
        let here = &mut self.rooms[room];
        here.members.swap_remove(place as usize);
        slack::trim_small(&mut here.members);
        here.part_audience();
        if let Some(moved) = here.members.get(place as usize) {
            let membership = self.users[moved.user].membership_mut(room).expect("a member knows the room");
            membership.place = place;
        }
        self.tell_move(now, room, user, Way::Out, effects);
        self.unload_if_idle(now, room, effects);
    }

    pub(super) fn unload_if_idle(&mut self, now: Now, room: RoomKey, effects: &mut Effects) {
        let here = &self.rooms[room];
        let Some(epoch) = &here.epoch else { return };
        if here.is_idle() {
            self.retries.room_unloaded(&here.name, epoch);
            self.telling.forget(room);
            self.rooms.remove(room);
            effects.requests.push(Request::Unload { room, wall_ms: now.wall_ms });
        }
    }
}
