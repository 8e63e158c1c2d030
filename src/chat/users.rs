//! Who is here: identities, names, and where each one is.

use std::collections::{HashMap, VecDeque};
use std::ops::{Index, IndexMut};

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::greeting::Greeting;
use super::ids::{ConnId, Millis, RoomKey, UserId};
use super::joining::{Begin, Join};
use super::names::{Name, NameKey, RoomName};
use super::recalling::Unsaid;
use super::slack::{self, Slots};

/// A user's slot. Good until the user departs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct UserKey(pub(super) u32);

/// Somebody.
#[derive(Debug)]
pub(super) struct User {
    pub(super) id: UserId,
    pub(super) name: Name,
    /// What it understands.
    pub(super) dialect: Dialect,
    /// `None` while it is away: until it comes back, its grace is over, or the store has answered its last request.
    pub(super) conn: Option<ConnId>,
    /// Counts its connections: what was asked on an earlier one is not answered on this one.
    pub(super) visit: u32,
    /// Until when (monotonic) its return is awaited. Only of a user who is away.
    pub(super) grace_until_ms: Option<Millis>,
    /// In the order of joining: the first room is where a line goes that names none. Its own stream is among them.
    pub(super) rooms: SmallVec<[Membership; 2]>,
    /// Requests that the store has not answered.
    pub(super) outstanding: u32,
    /// What must come about before the user's next request is heard.
    pub(super) waiting: Option<Box<Waiting>>,
    /// It comes back after a restart of the server: nobody is told that it joins the rooms that its `hello` names.
    pub(super) quiet: bool,
    /// A plain user's first room is loaded, and it was welcomed.
    pub(super) welcomed: bool,
    /// Whether binary messages may be relayed to it.
    pub(super) takes_binary: bool,
    /// Apart, since most users have none of it.
    rare: Option<Box<Rare>>,
}

/// What few users have, and few of those for long.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Rooms that it is still to come into, after a `hello`.
    arrivals: VecDeque<(RoomName, Begin)>,
    /// Rooms in which a further `typing` is not told until a time (monotonic); by name, for leaving is no way around it.
    pub(super) typing_pauses: Vec<(RoomName, Millis)>,
    /// Private messages with an `id` that it sent.
    pub(super) private_count: u64,
}

/// What a client understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// The plain contract.
    Plain,
    /// `chinwag.v1`.
    V1,
}

/// A user's place in a room.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) room: RoomKey,
    /// Where in the room's list of members.
    pub(super) place: u32,
    pub(super) reader: Reader,
}

/// How a member gets the room's lines.
#[derive(Debug)]
pub(super) enum Reader {
    /// As they come.
    Live,
    /// A page at a time.
    CatchingUp(Box<CatchingUp>),
    /// Not at all: it is away, or is about to say where it wants to begin.
    Away,
}

/// A reader who does not get lines by fan-out yet, but is fed.
#[derive(Debug)]
pub(super) struct CatchingUp {
    /// The `seq` of the next line that it needs.
    pub(super) next: u64,
    /// A page is being fetched.
    pub(super) fetching: bool,
    /// The reader has all before `next`, so that a hole there must be told.
    pub(super) hole_counts: bool,
}

/// What holds a user's further requests.
#[derive(Debug)]
pub(super) enum Waiting {
    /// It said `hello`; it comes in once the store has answered all that it asked before.
    Greeting(Greeting),
    /// The room gets ready.
    Load { room: RoomKey, join: Join },
    /// It said a line with an `id`, and the store looks up whether it did so before.
    Ids { room: RoomKey, unsaid: Unsaid },
    /// The store looks something up.
    Answer,
    /// Until the user's last line is answered.
    Leave { room: RoomKey, reference: Option<Box<str>> },
    /// Until the user's last line is answered.
    Rename { name: Name, reference: Option<Box<str>> },
}

impl User {
    pub(super) fn membership(&self, room: RoomKey) -> Option<&Membership> {
        self.rooms.iter().find(|membership| membership.room == room)
    }

    pub(super) fn membership_mut(&mut self, room: RoomKey) -> Option<&mut Membership> {
        self.rooms.iter_mut().find(|membership| membership.room == room)
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Where it will come in, in that order; what was planned before is void.
    pub(super) fn set_arrivals(&mut self, arrivals: VecDeque<(RoomName, Begin)>) {
        if !arrivals.is_empty() || self.rare.is_some() {
            self.rare().arrivals = arrivals;
        }
        if self
            .rare
            .as_ref()
            .is_some_and(|rare| rare.arrivals.is_empty() && rare.typing_pauses.is_empty() && rare.private_count == 0)
        {
            self.rare = None;
        }
    }

    pub(super) fn next_arrival(&mut self) -> Option<(RoomName, Begin)> {
        self.rare.as_mut()?.arrivals.pop_front()
    }

    /// Whether it has a stream of its own in which private messages are kept.
    pub(super) fn has_stream(&self) -> bool {
        self.dialect == Dialect::V1
    }
}

/// All users, found by connection, name and id.
#[derive(Debug, Default)]
pub(super) struct Users {
    slots: Slots<User>,
    /// By the connection's slot: its generation and who it is.
    by_conn: Vec<Option<(u32, UserKey)>>,
    by_name: HashMap<NameKey, UserKey>,
    by_id: HashTable<UserKey>,
}

impl Users {
    /// Adds a user under `name`.
    ///
    /// # Panics
    /// If the name or the id is taken, or the connection known: the caller looked.
    pub(super) fn add(&mut self, id: UserId, name: Name, dialect: Dialect, conn: ConnId) -> UserKey {
        let key = UserKey(self.slots.vacant_key() as u32);
        let taken = self.by_name.insert(name.key(), key).is_some() || self.by_id(id).is_some();
        assert!(!taken, "{name} or {id} was taken");
        self.slots.insert(User {
            id,
            name,
            dialect,
            conn: None,
            visit: 0,
            grace_until_ms: None,
            rooms: SmallVec::new(),
            outstanding: 0,
            waiting: None,
            quiet: false,
            welcomed: false,
            takes_binary: dialect == Dialect::V1,
            rare: None,
        });
        self.by_id.insert_unique(id.hash_bits(), key, |other| self.slots[other.0 as usize].id.hash_bits());
        self.connect(key, conn);
        key
    }

    /// Gives a user who has none a connection.
    ///
    /// # Panics
    /// If somebody else has it.
    pub(super) fn connect(&mut self, user: UserKey, conn: ConnId) {
        let place = conn.index as usize;
        if self.by_conn.len() <= place {
            self.by_conn.resize(place + 1, None);
        }
        assert!(self.by_conn[place].is_none(), "{conn:?} was known");
        self.by_conn[place] = Some((conn.generation, user));
        let user = &mut self[user];
        user.conn = Some(conn);
        user.visit += 1;
        user.grace_until_ms = None;
    }

    /// The connection ended: nobody is found by it any more.
    pub(super) fn disconnect(&mut self, user: UserKey) -> Option<ConnId> {
        let conn = self[user].conn.take()?;
        self.by_conn[conn.index as usize] = None;
        while let Some(None) = self.by_conn.last() {
            self.by_conn.pop();
        }
        slack::trim(&mut self.by_conn);
        Some(conn)
    }

    /// Frees the user's name and slot.
    pub(super) fn remove(&mut self, key: UserKey) -> User {
        self.disconnect(key);
        let user = self.slots.remove(key.0 as usize);
        self.by_name.remove(&user.name.key());
        let entry = self.by_id.find_entry(user.id.hash_bits(), |&other| other == key);
        entry.expect("who is here is found by id").remove();
        slack::trim_table(&mut self.by_name);
        slack::trim_index(&mut self.by_id, |other| self.slots[other.0 as usize].id.hash_bits());
        user
    }

    /// Gives a user another name; `false` if somebody else has it.
    pub(super) fn rename(&mut self, key: UserKey, name: Name) -> bool {
        if self.by_name(&name.key()).is_some_and(|holder| holder != key) {
            return false;
        }
        self.by_name.remove(&self[key].name.key());
        self.by_name.insert(name.key(), key);
        self[key].name = name;
        true
    }

    pub(super) fn by_conn(&self, conn: ConnId) -> Option<UserKey> {
        match self.by_conn.get(conn.index as usize) {
            Some(&Some((generation, user))) if generation == conn.generation => Some(user),
            _ => None,
        }
    }

    pub(super) fn by_name(&self, name: &NameKey) -> Option<UserKey> {
        self.by_name.get(name).copied()
    }

    pub(super) fn by_id(&self, id: UserId) -> Option<UserKey> {
        self.by_id.find(id.hash_bits(), |&key| self[key].id == id).copied()
    }

    /// The user of this slot, if there is one.
    pub(super) fn find(&self, key: UserKey) -> Option<&User> {
        self.slots.get(key.0 as usize)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn names_len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (UserKey, &User)> {
        self.slots.iter().map(|(key, user)| (UserKey(key as u32), user))
    }

    pub(super) fn check(&self) {
        assert_eq!(self.by_id.len(), self.slots.len());
        for (key, user) in self.iter() {
            assert_eq!(self.by_name(&user.name.key()), Some(key), "{} is found by name", user.name);
            assert_eq!(self.by_id(user.id), Some(key));
            if let Some(conn) = user.conn {
                assert_eq!(self.by_conn(conn), Some(key));
                assert!(user.grace_until_ms.is_none(), "{} is here and in its grace", user.name);
            } else {
                assert!(user.outstanding > 0 || user.grace_until_ms.is_some(), "{} is gone and stays", user.name);
            }
        }
        let connected = self.iter().filter(|(_, user)| user.conn.is_some()).count();
        assert_eq!(self.by_conn.iter().flatten().count(), connected);
    }
}

impl Index<UserKey> for Users {
    type Output = User;
    fn index(&self, key: UserKey) -> &User {
        &self.slots[key.0 as usize]
    }
}

impl IndexMut<UserKey> for Users {
    fn index_mut(&mut self, key: UserKey) -> &mut User {
        &mut self.slots[key.0 as usize]
    }
}
