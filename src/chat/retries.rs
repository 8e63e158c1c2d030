//! Which lines came before: so that a retry is harmless.
//!
//! A line with an `id` leaves a 64-bit keyed hash of (user, room, id) here: while it is in flight, and then while it is
//! among its room's newest. A store's index would cost each line a random write (measured: 14,000–32,000 lines a second
//! with one, 130,000–310,000 without). Two lines with one hash would be one line: at 4 million hashes the odds are
//! below 1 in 10^12 a line, and nobody can aim for it without the key.
//!
//! What was said before the process began, or was forgotten here, the store can tell again: `recalling`.

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

/// The hashes of one place.
#[derive(Debug)]
struct Newest {
    epoch: Option<Arc<str>>,
    /// As the store told them, oldest first: all before `hashes`.
    recalled: VecDeque<(u64, u64)>,
    /// As the lines were stored, oldest first.
    hashes: VecDeque<(u64, u64)>,
    /// Of each line from this `seq` on that has an `id` there is a hash.
    known_from: u64,
    /// What that will be when the store has told all.
    recalling_from: Option<u64>,
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
        let newest = place_of(&mut self.places, &mut self.idle, place);
        newest.used = true;
        newest.known_from = newest.known_from.min(seq);
        newest.hashes.push_back((hash, seq));
        self.stored += 1;
        while let Some((hash, oldest)) = newest.pop_if(|oldest| oldest + self.in_place_max <= seq) {
            remove_stored(&mut self.known, hash, oldest);
            self.stored -= 1;
        }
        self.keep_within_max();
    }

    /// A room was loaded: what is known of another life of it is void. Returns the lines of which it is not known which `id`
    /// they have: from the first to the last, of those among which a retry is found.
    pub(super) fn room_loaded(&mut self, room: &RoomName, epoch: &Arc<str>, newest_seq: u64) -> Option<(u64, u64)> {
        let place = Place::Room(room.clone());
        let is_other = |newest: &Newest| newest.epoch.as_ref().is_some_and(|known| known != epoch);
        if self.places.get(&place).is_some_and(is_other) {
            self.forget(&place);
        }
        let first = (newest_seq + 1).saturating_sub(self.in_place_max).max(1);
        let last = match self.places.get_mut(&place) {
            Some(newest) => {
                newest.epoch = Some(epoch.clone());
                newest_seq.min(newest.known_from - 1)
            }
            None => newest_seq,
        };
        (first <= last).then_some((first, last))
    }

    /// The store is about to tell the ids of a room's lines from `first` on.
    pub(super) fn recall_begins(&mut self, room: &RoomName, first: u64) {
        let newest = place_of(&mut self.places, &mut self.idle, Place::Room(room.clone()));
        newest.recalling_from = Some(first);
        // What an earlier attempt brought comes again.
        self.stored -= newest.recalled.len();
        for (hash, seq) in std::mem::take(&mut newest.recalled) {
            remove_stored(&mut self.known, hash, seq);
        }
    }

    /// The store told some of them, in order: hashes with their `seq`.
    pub(super) fn recalled(&mut self, room: &RoomName, hashes: Vec<(u64, u64)>) {
        let newest = place_of(&mut self.places, &mut self.idle, Place::Room(room.clone()));
        newest.used = true;
        self.stored += hashes.len();
        for &(hash, seq) in &hashes {
            // Where two have one `id` (which the store kept and this did not), it is the later one's.
            self.known.entry(hash).or_insert(Known::Stored(seq));
            if let Some(Known::Stored(known)) = self.known.get_mut(&hash) {
                *known = seq.max(*known);
            }
        }
        newest.recalled.extend(hashes);
        self.keep_within_max();
    }

    /// The store has told all of them.
    pub(super) fn recall_ends(&mut self, room: &RoomName) {
        // If it had to make place meanwhile, there is nothing that it could know all of.
        if let Some(newest) = self.places.get_mut(&Place::Room(room.clone()))
            && let Some(first) = newest.recalling_from.take()
        {
            newest.known_from = first;
        }
    }

    /// Notes a room's epoch with its hashes, so that another life of it is told apart.
    pub(super) fn room_unloaded(&mut self, room: &RoomName, epoch: &Arc<str>) {
        let place = Place::Room(room.clone());
        let Some(newest) = self.places.get_mut(&place) else { return };
        newest.epoch = Some(epoch.clone());
        if newest.len() == 0 {
            // No limit counts it.
            self.forget(&place);
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

    fn keep_within_max(&mut self) {
        while self.stored > self.stored_max {
            self.evict();
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
        for &(hash, seq) in newest.recalled.iter().chain(&newest.hashes) {
            remove_stored(&mut self.known, hash, seq);
        }
        self.stored -= newest.len();
        slack::trim_table(&mut self.known);
        slack::trim_table(&mut self.places);
    }
}

impl Newest {
    fn len(&self) -> usize {
        self.recalled.len() + self.hashes.len()
    }

    /// Takes the oldest out, if its `seq` is one of those.
    fn pop_if(&mut self, goes: impl Fn(u64) -> bool) -> Option<(u64, u64)> {
        if let Some(&(_, oldest)) = self.recalled.front() {
            let popped = goes(oldest).then(|| self.recalled.pop_front()).flatten();
            slack::trim_queue(&mut self.recalled);
            return popped;
        }
        self.hashes.front().is_some_and(|&(_, oldest)| goes(oldest)).then(|| self.hashes.pop_front()).flatten()
    }
}

/// What is known of a place, if only from now on.
fn place_of<'a>(places: &'a mut HashMap<Place, Newest>, idle: &mut VecDeque<Place>, place: Place) -> &'a mut Newest {
    places.entry(place).or_insert_with_key(|place| {
        idle.push_back(place.clone());
        Newest {
            epoch: None,
            recalled: VecDeque::new(),
            hashes: VecDeque::new(),
            known_from: u64::MAX,
            recalling_from: None,
            used: false,
        }
    })
}

/// Forgets a line, unless a later one has its hash.
fn remove_stored(known: &mut HashMap<u64, Known>, hash: u64, seq: u64) {
    if known.get(&hash) == Some(&Known::Stored(seq)) {
        known.remove(&hash);
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
        assert_eq!(retries.room_loaded(&name, &"first".into(), 0), None);
        retries.stored(hash, room("a"), 1);
        retries.room_unloaded(&name, &"first".into());
        assert_eq!(retries.room_loaded(&name, &"first".into(), 1), None, "all of it is known");
        assert_eq!(retries.known(hash), Some(Known::Stored(1)));
        assert_eq!(retries.room_loaded(&name, &"second".into(), 4), Some((1, 4)));
        assert_eq!(retries.known(hash), None);
        assert_eq!((retries.stored, retries.places.len()), (0, 0));
    }

    #[test]
    fn what_the_store_tells_again_is_known_as_what_was_seen() {
        let mut retries = Retries::new([7; 16], 10, 100);
        let (name, epoch) = (RoomName::parse("a").expect("a good name"), "epoch".into());
        assert_eq!(retries.room_loaded(&name, &epoch, 25), Some((16, 25)), "the newest ten");
        retries.recall_begins(&name, 16);
        retries.recalled(&name, vec![(16, 16)]);
        // The store could not go on, and is asked once more.
        retries.recall_begins(&name, 16);
        retries.recalled(&name, vec![(16, 16), (17, 17)]);
        retries.recalled(&name, vec![(25, 25)]);
        retries.recall_ends(&name);
        assert_eq!((retries.stored, retries.known.len()), (3, 3));
        retries.stored(26, room("a"), 26);
        let known = [16, 17, 25, 26].map(|hash| retries.known(hash));
        assert_eq!(known, [None, Some(Known::Stored(17)), Some(Known::Stored(25)), Some(Known::Stored(26))]);
        retries.room_unloaded(&name, &epoch);
        assert_eq!(retries.room_loaded(&name, &epoch, 26), None, "all is known");
        // What was forgotten to make place can be told again: all that is older than what was seen since.
        retries.forget(&room("a"));
        retries.stored(27, room("a"), 27);
        retries.room_unloaded(&name, &epoch);
        assert_eq!(retries.room_loaded(&name, &epoch, 27), Some((18, 26)));
    }

    #[test]
    fn what_the_store_tells_again_keeps_to_the_bound() {
        let mut retries = Retries::new([7; 16], 100, 10);
        let (name, epoch) = (RoomName::parse("a").expect("a good name"), "epoch".into());
        retries.stored(1_000, room("idle"), 1);
        assert_eq!(retries.room_loaded(&name, &epoch, 100), Some((1, 100)));
        retries.recall_begins(&name, 1);
        for page in 0..10 {
            retries.recalled(&name, (0..5).map(|number| (page * 5 + number, page * 10 + 1)).collect());
            assert!(retries.stored <= 10 && retries.known.len() == retries.stored, "{} hashes", retries.stored);
        }
        retries.recall_ends(&name);
        assert_eq!(retries.known(1_000), None, "the idle room's went first");
        retries.room_unloaded(&name, &epoch);
        assert_eq!(retries.room_loaded(&name, &epoch, 100), Some((1, 100)), "it is not taken for complete");
    }

    #[test]
    fn a_room_without_ids_leaves_nothing() {
        let mut retries = Retries::new([7; 16], 100, 10);
        let (name, epoch) = (RoomName::parse("a").expect("a good name"), "epoch".into());
        retries.recall_begins(&name, 1);
        retries.recall_ends(&name);
        assert_eq!(retries.room_loaded(&name, &epoch, 5), None);
        retries.room_unloaded(&name, &epoch);
        assert_eq!(retries.places.len(), 0);
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
