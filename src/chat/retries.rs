//! Which lines came before: so that a retry is harmless.
//!
//! A line with an `id` leaves a 64-bit keyed hash of (user, room, id) here: while it is in flight, and then while it is
//! among its room's newest. A store's index would cost each line a random write (measured: 14,000–32,000 lines a second
//! with one, 130,000–310,000 without). Two lines with one hash would be one line: at 4 million hashes the odds are
//! below 1 in 10^12 a line, and nobody can aim for it without the key.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hasher as _;
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use super::ids::{Ticket, UserId};
use super::names::RoomName;
use super::slack;

/// Where a line went: ids are per user and place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// A room.
    Room(RoomName),
    /// Somebody, from this user.
    Private(UserId),
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// The store has not answered.
    InFlight(Ticket),
    /// It has this place (0 where there are no places).
    Stored(u64),
}

#[derive(Debug)]
pub(super) struct Retries {
    key: [u8; 16],
    known: HashMap<u64, Known>,
    places: HashMap<Place, Newest>,
    /// All of `places`, those that were idle longest in front, as far as is known: see `evict`.
    idle: VecDeque<Place>,
    stored: usize,
    in_place_max: u64,
    stored_max: usize,
}

/// The hashes of one place, oldest first.
#[derive(Debug)]
struct Newest {
    epoch: Option<Arc<str>>,
    hashes: VecDeque<(u64, u64)>,
    used: bool,
}

impl Retries {
    pub(super) fn new(key: [u8; 16], in_place_max: usize, stored_max: usize) -> Self {
        Self {
            key,
            known: HashMap::new(),
            places: HashMap::new(),
            idle: VecDeque::new(),
            stored: 0,
            in_place_max: in_place_max as u64,
            stored_max,
        }
    }

    pub(super) fn hash(&self, user: UserId, place: &Place, id: &str) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(&user.0);
        match place {
            Place::Room(room) => hasher.write(room.as_bytes()),
            Place::Private(_) => hasher.write(b"@me"),
        }
        // No text holds 0xff, so nothing can run over from one field into the next.
        hasher.write_u8(0xff);
        hasher.write(id.as_bytes());
        hasher.finish()
    }

    pub(super) fn known(&self, hash: u64) -> Option<Known> {
        self.known.get(&hash).copied()
    }

    pub(super) fn in_flight(&mut self, hash: u64, ticket: Ticket) {
        self.known.insert(hash, Known::InFlight(ticket));
    }

    /// The line was not stored: a retry is a new line.
    pub(super) fn failed(&mut self, hash: u64) {
        self.known.remove(&hash);
    }

    /// The line has its place: `seq` in a room, whose newest it is; for a private message a count of the caller's.
    pub(super) fn stored(&mut self, hash: u64, place: Place, seq: u64) {
        self.known.insert(hash, Known::Stored(seq));
        let newest = self.places.entry(place).or_insert_with_key(|place| {
            self.idle.push_back(place.clone());
            Newest { epoch: None, hashes: VecDeque::new(), used: false }
        });
        newest.used = true;
        newest.hashes.push_back((hash, seq));
        self.stored += 1;
        while let Some(&(hash, oldest)) = newest.hashes.front()
            && oldest + self.in_place_max <= seq
        {
            newest.hashes.pop_front();
            self.known.remove(&hash);
            self.stored -= 1;
        }
        while self.stored > self.stored_max {
            self.evict();
        }
    }

    /// A room was loaded: what is known of another life of it is void.
    pub(super) fn room_loaded(&mut self, room: &RoomName, epoch: &Arc<str>) {
        let place = Place::Room(room.clone());
        match self.places.get_mut(&place) {
            Some(newest) if newest.epoch.as_ref().is_some_and(|known| known != epoch) => self.forget(&place),
            Some(newest) => newest.epoch = Some(epoch.clone()),
            None => {}
        }
    }

    /// Notes a room's epoch with its hashes, so that another life of it is told apart.
    pub(super) fn room_unloaded(&mut self, room: &RoomName, epoch: &Arc<str>) {
        if let Some(newest) = self.places.get_mut(&Place::Room(room.clone())) {
            newest.epoch = Some(epoch.clone());
        }
    }

    pub(super) fn forget(&mut self, place: &Place) {
        if let Some(newest) = self.places.remove(place) {
            self.drop_hashes(&newest);
            // Its entry in `idle` is void, and passed over. Looking for it would cost a walk each time; so they are swept
            // out together, once they are as many as the good ones.
            if self.idle.len() > 2 * self.places.len() + 64 {
                let mut seen = HashSet::new();
                self.idle.retain(|place| self.places.contains_key(place) && seen.insert(place.clone()));
            }
        }
    }

    /// Drops the hashes of a place that was idle for long: a clock with a second chance, so O(1) in the long run.
    fn evict(&mut self) {
        while let Some(place) = self.idle.pop_front() {
            let Some(newest) = self.places.get_mut(&place) else { continue };
            if newest.used && !self.idle.is_empty() {
                newest.used = false;
                self.idle.push_back(place);
            } else {
                let newest = self.places.remove(&place).expect("it was just there");
                self.drop_hashes(&newest);
                return;
            }
        }
    }

    fn drop_hashes(&mut self, newest: &Newest) {
        for (hash, _) in &newest.hashes {
            self.known.remove(hash);
        }
        self.stored -= newest.hashes.len();
        slack::trim_table(&mut self.known);
        slack::trim_table(&mut self.places);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u8) -> UserId {
        UserId([number; 10])
    }

    fn room(name: &str) -> Place {
        Place::Room(RoomName::parse(name).expect("a good name"))
    }

    #[test]
    fn a_line_is_known_while_it_is_among_the_newest() {
        let mut retries = Retries::new([7; 16], 3, 100);
        let hash = |retries: &Retries, number: u64| retries.hash(user(1), &room("a"), &number.to_string());
        for seq in 1..=5 {
            let hash = hash(&retries, seq);
            retries.in_flight(hash, Ticket(seq));
            assert_eq!(retries.known(hash), Some(Known::InFlight(Ticket(seq))));
            retries.stored(hash, room("a"), seq);
        }
        let known: Vec<_> = (1..=5).map(|seq| retries.known(hash(&retries, seq))).collect();
        assert_eq!(known, [None, None, Some(Known::Stored(3)), Some(Known::Stored(4)), Some(Known::Stored(5))]);
    }

    #[test]
    fn users_rooms_and_ids_do_not_run_into_each_other() {
        let retries = Retries::new([7; 16], 3, 100);
        let mut hashes = vec![
            retries.hash(user(1), &room("ab"), "c"),
            retries.hash(user(1), &room("a"), "bc"),
            retries.hash(user(2), &room("a"), "bc"),
            retries.hash(user(1), &Place::Private(user(1)), "c"),
            Retries::new([8; 16], 3, 100).hash(user(1), &room("ab"), "c"),
        ];
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 5);
    }

    #[test]
    fn the_idle_places_go_first_when_there_are_too_many() {
        let mut retries = Retries::new([7; 16], 100, 10);
        let say = |retries: &mut Retries, name: &str, seq: u64| {
            let hash = retries.hash(user(1), &room(name), &seq.to_string());
            retries.stored(hash, room(name), seq);
            hash
        };
        let idle = say(&mut retries, "idle", 1);
        let mut busy = 0;
        for seq in 1..=10 {
            busy = say(&mut retries, "busy", seq);
        }
        assert_eq!(retries.known(idle), None, "the idle room's went");
        assert!(retries.known(busy).is_some(), "the busy room's stayed");
        assert_eq!((retries.stored, retries.known.len(), retries.idle.len()), (10, 10, 1));
    }

    #[test]
    fn another_life_of_a_room_knows_nothing() {
        let mut retries = Retries::new([7; 16], 100, 100);
        let name = RoomName::parse("a").expect("a good name");
        let hash = retries.hash(user(1), &room("a"), "1");
        retries.room_loaded(&name, &"first".into());
        retries.stored(hash, room("a"), 1);
        retries.room_unloaded(&name, &"first".into());
        retries.room_loaded(&name, &"first".into());
        assert_eq!(retries.known(hash), Some(Known::Stored(1)));
        retries.room_loaded(&name, &"second".into());
        assert_eq!(retries.known(hash), None);
        assert_eq!((retries.stored, retries.places.len()), (0, 0));
    }

    #[test]
    fn places_that_come_and_go_leave_nothing() {
        let mut retries = Retries::new([7; 16], 100, 100);
        for round in 0..10_000_u32 {
            let name = (round % 7).to_string();
            let hash = retries.hash(user(1), &room(&name), "1");
            retries.stored(hash, room(&name), 1);
            retries.forget(&room(&name));
        }
        assert!(retries.idle.len() <= 64 && retries.known.is_empty(), "{} idle places", retries.idle.len());
    }
}
