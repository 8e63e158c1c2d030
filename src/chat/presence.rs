//! Who came and went, told at once in a small room and once a second in a large one.

use std::collections::VecDeque;

use super::effects::{Class, Effects};
use super::ids::{Millis, Now, RoomKey};
use super::message::Message;
use super::rooms::{Room, Untold};
use super::users::UserKey;
use super::{Chat, Name, UserId};

/// How long joins and leaves of a large room are gathered.
const GATHER_MS: Millis = 1_000;

/// Rooms with joins and leaves to tell, in the order in which they are due: all wait equally long.
#[derive(Debug, Default)]
pub(super) struct Telling {
    due: VecDeque<(Millis, RoomKey)>,
}

impl Telling {
    pub(super) fn next_deadline(&self) -> Option<Millis> {
        self.due.front().map(|&(due_ms, _)| due_ms)
    }

    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    /// A room goes; nobody is left to be told.
    pub(super) fn forget(&mut self, room: RoomKey) {
        self.due.retain(|&(_, other)| other != room);
    }
}

/// Which way somebody went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
}

impl Chat {
    /// Tells the others that somebody came or went; `members_with` counts that one too, in either case.
    pub(super) fn tell_move(&mut self, now: Now, room: RoomKey, who: UserKey, way: Way, effects: &mut Effects) {
        let (user, name) = (self.users[who].id, self.users[who].name.clone());
        let here = &mut self.rooms[room];
        let members_with = here.members.len() + usize::from(way == Way::Out);
        if members_with <= self.limits.members_told_max {
            let to = here.others(who, effects);
            effects.deliver(to, single(here, way, user, name), Class::Room);
            return;
        }
        if here.untold == Untold::default() {
            self.telling.due.push_back((now.mono_ms + GATHER_MS, room));
        }
        match way {
            Way::In => here.untold.joined += 1,
            Way::Out => here.untold.left += 1,
        }
    }

    /// Tells each room whose second is over what it gathered.
    pub(super) fn tell_crowds(&mut self, now: Now, effects: &mut Effects) {
        while let Some(&(due_ms, key)) = self.telling.due.front()
            && due_ms <= now.mono_ms
        {
            self.telling.due.pop_front();
            let room = &mut self.rooms[key];
            let untold = std::mem::take(&mut room.untold);
            let message = Message::Coming {
                room: room.name.clone(),
                joined: untold.joined,
                left: untold.left,
                online: room.online(),
            };
            room.part_audience();
            let to = effects.note_readers(room.members.iter().filter_map(|member| member.conn));
            effects.deliver(to, message, Class::Room);
        }
    }
}

fn single(here: &Room, way: Way, user: UserId, name: Name) -> Message {
    let (room, online) = (here.name.clone(), here.online());
    match way {
        Way::In => Message::UserJoin { room, user, name, online },
        Way::Out => Message::UserLeave { room, user, name, online },
    }
}
