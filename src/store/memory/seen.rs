//! Users who were here, and to whom nobody has written yet: what is left of a stream that holds nothing and never did.
//!
//! A stream is kept for 30 days after the day on which its owner was last seen, so that others can write to it meanwhile. Most
//! of those who come by once are never written to, and a room costs some 600 bytes: a record here costs about 24, all of
//! them in two blocks of memory, so that they do not pin pages all over the heap.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::chat::slack;
use crate::chat::{Millis, UserId};

/// The users, in the order in which they were seen last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// In the order of coming. Those who were taken out leave a hole, which goes when it is the first, or by
    /// [`compact`](Self::compact).
    records: VecDeque<Record>,
    /// Each user's record, by the number of records that came before it.
    numbers: HashTable<u32>,
    /// The number of the first record. Numbers wrap: there are never 2^32 of them at a time.
    first: u32,
}

/// One user, or a hole: 16 bytes.
#[derive(Clone, Copy, Debug)]
struct Record {
    user: UserId,
    /// Days since 1970, so good until the year 2149; [`TAKEN`] for a hole.
    seen_day: u16,
    /// The number of the stream's life, of which its epoch is made.
    life: u32,
}

/// The day of what is none any more.
const TAKEN: u16 = u16::MAX;

const DAY_MS: Millis = 24 * 3_600_000;

impl Record {
    fn is_taken(&self) -> bool {
        self.seen_day == TAKEN
    }
}

impl Seen {
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Notes a user who is not noted yet.
    pub(super) fn insert(&mut self, user: UserId, life: u32, wall_ms: Millis) {
        self.compact();
        let (records, first) = (&mut self.records, self.first);
        let number = first.wrapping_add(records.len() as u32);
        let seen_day = u16::try_from(wall_ms / DAY_MS).unwrap_or(u16::MAX).min(TAKEN - 1);
        records.push_back(Record { user, seen_day, life });
        let rehash = |&number: &u32| records[number.wrapping_sub(first) as usize].user.hash_bits();
        self.numbers.insert_unique(user.hash_bits(), number, rehash);
    }

    /// Takes a user out; gives the life.
    pub(super) fn take(&mut self, user: UserId) -> Option<u32> {
        let (records, first) = (&mut self.records, self.first);
        let place = |number: u32| number.wrapping_sub(first) as usize;
        let entry = self.numbers.find_entry(user.hash_bits(), |&number| records[place(number)].user == user).ok()?;
        let record = &mut records[place(entry.remove().0)];
        record.seen_day = TAKEN;
        let life = record.life;
        self.skip_holes();
        let (records, first) = (&self.records, self.first);
        slack::trim_index(&mut self.numbers, |&number| records[number.wrapping_sub(first) as usize].user.hash_bits());
        Some(life)
    }

    /// Takes out the user who was seen the longest ago. `false` if there is none.
    pub(super) fn forget_first(&mut self) -> bool {
        let Some(&record) = self.records.front() else { return false };
        self.take(record.user).is_some()
    }

    /// Takes out those who were last seen on a day that ended `kept_ms` ago or longer. Bounded by how many they are.
    pub(super) fn forget_older(&mut self, wall_ms: Millis, kept_ms: Millis) {
        while let Some(record) = self.records.front()
            && (u64::from(record.seen_day) + 1) * DAY_MS + kept_ms <= wall_ms
        {
            self.forget_first();
        }
    }

    /// The first record is never a hole.
    fn skip_holes(&mut self) {
        while self.records.front().is_some_and(Record::is_taken) {
            self.records.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        slack::trim_queue(&mut self.records);
        if self.records.is_empty() {
            self.numbers = HashTable::new();
        }
    }

    /// Closes the holes when they are more than the records: so each costs its share of one walk.
    fn compact(&mut self) {
        if self.records.len() <= 2 * self.len() + slack::items_kept::<Record>() {
            return;
        }
        self.records.retain(|record| !record.is_taken());
        slack::trim_queue(&mut self.records);
        self.first = 0;
        self.numbers = HashTable::with_capacity(self.records.len());
        for (record, number) in self.records.iter().zip(0..) {
            self.numbers.insert_unique(record.user.hash_bits(), number, |_| unreachable!("there is room for all"));
        }
    }

    /// Holds that the two agree.
    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.records.iter().filter(|record| !record.is_taken()).count(), self.numbers.len());
        assert!(!self.records.front().is_some_and(Record::is_taken));
        for (place, record) in self.records.iter().enumerate().filter(|(_, record)| !record.is_taken()) {
            let number = self.first.wrapping_add(place as u32);
            assert!(self.numbers.find(record.user.hash_bits(), |&other| other == number).is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: u32 = 7;

    fn user(number: u32) -> UserId {
        let mut id = [0; 10];
        id[..4].copy_from_slice(&number.to_be_bytes());
        id[4] = number as u8;
        UserId(id)
    }

    #[test]
    fn they_go_in_the_order_in_which_they_were_seen() {
        let mut seen = Seen::default();
        for number in 0..5 {
            seen.insert(user(number), LIFE, u64::from(number) * DAY_MS);
        }
        assert_eq!((seen.take(user(0)), seen.take(user(3)), seen.take(user(3))), (Some(LIFE), Some(LIFE), None));
        seen.insert(user(0), LIFE, 5 * DAY_MS);
        seen.check();
        // Who was seen on the second day, at whatever time, was not before the third.
        seen.forget_older(12 * DAY_MS - 1, 10 * DAY_MS);
        assert_eq!(seen.len(), 4, "nobody has gone");
        seen.forget_older(13 * DAY_MS, 10 * DAY_MS);
        seen.check();
        assert_eq!(
            [1, 2, 4, 0].map(|number| seen.records.iter().any(|record| record.user == user(number))),
            [false, false, true, true]
        );
        assert!(seen.forget_first());
        assert_eq!(seen.take(user(4)), None);
        assert!(seen.forget_first());
        assert!(!seen.forget_first());
    }

    #[test]
    fn who_comes_and_goes_costs_no_memory() {
        let mut seen = Seen { first: u32::MAX - 1_000, ..Seen::default() };
        for number in 0..100 {
            seen.insert(user(number), LIFE, 0);
        }
        for round in 0..10_000 {
            let number = 1 + round % 99;
            assert_eq!(seen.take(user(number)), Some(LIFE));
            seen.insert(user(number), LIFE, 0);
        }
        seen.check();
        assert!(seen.records.len() <= 600 && seen.records.capacity() <= 1_200, "{}", seen.records.len());
    }
}
