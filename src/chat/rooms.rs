//! Rooms and who is in them.

use std::collections::HashMap;
use std::ops::{Index, IndexMut, Range};
use std::sync::Arc;

use smallvec::SmallVec;

use super::effects::Effects;
use super::ids::{ConnId, RoomKey};
use super::message::Recovery;
use super::names::RoomName;
use super::recalling::Ids;
use super::slack::{self, Slots};
use super::users::{Dialect, Reader, UserKey, Users};

/// A room that somebody is in, or waits for.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: RoomName,
    /// `None` while the store gets it ready.
    pub(super) epoch: Option<Arc<str>>,
    /// An earlier epoch, under which places up to a `seq` mean the same lines as under this one.
    pub(super) former: Option<(Arc<str>, u64)>,
    /// The newest `seq` that was answered.
    pub(super) newest: u64,
    /// Which lines have which `id`.
    pub(super) ids: Ids,
    /// A stream has one.
    pub(super) members: SmallVec<[Member; 1]>,
    /// Who joins, or writes, when it is ready or its position was looked at; in order.
    pub(super) waiters: Vec<UserKey>,
    /// Lines on their way here from users who are not members: private ones, into this stream.
    pub(super) incoming: u32,
    /// Joins and leaves that were not told yet.
    pub(super) untold: Untold,
    audience: Option<Audience>,
}

/// Somebody in a room.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) user: UserKey,
    /// `None` while it is away, or has not said where it goes on.
    pub(super) conn: Option<ConnId>,
    /// Gets lines as they come (or else is fed).
    pub(super) live: bool,
    /// Gets binary messages.
    pub(super) takes_binary: bool,
    pub(super) dialect: Dialect,
}

/// Joins and leaves of a large room, to be told together. A deadline is set while there are any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Untold {
    pub(super) joined: u32,
    pub(super) left: u32,
}

/// The live readers as they were noted in a turn: good until somebody comes or goes, or the turn ends.
#[derive(Debug)]
struct Audience {
    turn: u64,
    readers: Range<u32>,
}

impl Room {
    /// The readers who get a line now. Lines between which nobody comes or goes share one range.
    pub(super) fn audience(&mut self, effects: &mut Effects) -> Range<u32> {
        let turn = effects.turn();
        if let Some(audience) = &self.audience
            && audience.turn == turn
        {
            return audience.readers.clone();
        }
        let readers =
            effects.note_readers(self.members.iter().filter(|member| member.live).filter_map(|member| member.conn));
        self.audience = Some(Audience { turn, readers: readers.clone() });
        readers
    }

    /// Everybody with a connection but `except`, those who catch up too: for what is not stored.
    pub(super) fn others(&self, except: UserKey, effects: &mut Effects) -> Range<u32> {
        effects
            .note_readers(self.members.iter().filter(|member| member.user != except).filter_map(|member| member.conn))
    }

    /// The same, each with its dialect: for what the two are told by different frames.
    pub(super) fn others_by_dialect(&self, except: UserKey) -> impl Iterator<Item = (Dialect, ConnId)> + Clone {
        let others = self.members.iter().filter(move |member| member.user != except);
        others.filter_map(|member| Some((member.dialect, member.conn?)))
    }

    /// Whether a place that somebody names is one of this room's, as far as that can be told without the line; else why not.
    pub(super) fn has(&self, epoch: &str, seq: u64) -> Result<(), Recovery> {
        let good = match (&self.epoch, &self.former) {
            (Some(current), _) if **current == *epoch => self.newest,
            (_, Some((former, top))) if **former == *epoch => *top,
            _ => return Err(Recovery::Epoch),
        };
        if seq <= good { Ok(()) } else { Err(Recovery::Ahead) }
    }

    /// The user does not wait for it any more.
    pub(super) fn stop_waiting(&mut self, user: UserKey) {
        self.waiters.retain(|&waiter| waiter != user);
    }

    /// Whether nobody is in it, waits for it, or writes to it, and nothing is read of it.
    pub(super) fn is_idle(&self) -> bool {
        let is_recalled = matches!(self.ids, Ids::Asked { .. });
        self.members.is_empty() && self.waiters.is_empty() && self.incoming == 0 && !is_recalled
    }

    /// Lines from here on must not move before what is handed over now: something was told, or is about to be, that
    /// depends on the room's state.
    pub(super) fn part_audience(&mut self) {
        self.audience = None;
    }

    pub(super) fn online(&self) -> u32 {
        self.members.len() as u32
    }
}

/// All rooms that are loaded or loading.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    slots: Slots<Room>,
    by_name: HashMap<RoomName, RoomKey>,
}

impl Rooms {
    pub(super) fn by_name(&self, name: &RoomName) -> Option<RoomKey> {
        self.by_name.get(name).copied()
    }

    /// Adds a room that is not ready yet.
    pub(super) fn add(&mut self, name: RoomName) -> RoomKey {
        let key = RoomKey(self.slots.vacant_key() as u32);
        self.by_name.insert(name.clone(), key);
        self.slots.insert(Room {
            name,
            epoch: None,
            former: None,
            newest: 0,
            ids: Ids::Known,
            members: SmallVec::new(),
            waiters: Vec::new(),
            incoming: 0,
            untold: Untold::default(),
            audience: None,
        });
        key
    }

    pub(super) fn remove(&mut self, key: RoomKey) -> Room {
        let room = self.slots.remove(key.0 as usize);
        self.by_name.remove(&room.name);
        slack::trim_table(&mut self.by_name);
        room
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn members_len(&self) -> usize {
        self.slots.iter().map(|(_, room)| room.members.len()).sum()
    }

    pub(super) fn check(&self, users: &Users) {
        assert_eq!(self.by_name.len(), self.slots.len());
        for (key, room) in self.slots.iter() {
            let key = RoomKey(key as u32);
            assert_eq!(self.by_name(&room.name), Some(key));
            assert!(!room.is_idle() || room.epoch.is_none(), "{} is idle and stays", room.name);
            for (place, member) in room.members.iter().enumerate() {
                let user = &users[member.user];
                let membership = user.membership(key).expect("a member knows the room");
                assert_eq!(membership.place as usize, place);
                let reads = !matches!(membership.reader, Reader::Away);
                assert_eq!(member.conn, user.conn.filter(|_| reads), "{} in {}", user.name, room.name);
                assert_eq!(member.live, matches!(membership.reader, Reader::Live));
                assert_eq!((member.dialect, member.takes_binary), (user.dialect, user.takes_binary));
            }
        }
        let memberships: usize = users.iter().map(|(_, user)| user.rooms.len()).sum();
        assert_eq!(memberships, self.members_len(), "a member for each membership");
    }
}

impl Index<RoomKey> for Rooms {
    type Output = Room;
    fn index(&self, key: RoomKey) -> &Room {
        &self.slots[key.0 as usize]
    }
}

impl IndexMut<RoomKey> for Rooms {
    fn index_mut(&mut self, key: RoomKey) -> &mut Room {
        &mut self.slots[key.0 as usize]
    }
}
