//! Users who were here, and to whom nobody has written yet: what is left of a stream that holds nothing and never did.
//!
//! A stream is kept for 30 days after its owner was last seen, so that others can write to it meanwhile. Most of those
//! who come by once are never written to, and a room costs some 600 bytes: a record here costs about 30, all of them in
//! two blocks of memory, so that they do not pin pages all over the heap.

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

/// One user, or a hole.
#[derive(Clone, Copy, Debug)]
struct Record {
    user: UserId,
    /// Whether it is none any more.
    taken: bool,
    /// The number of the stream's life, of which its epoch is made.
    life: u32,
    /// Seconds since 1970; good until the year 2106.
    seen_s: u32,
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
        let seen_s = u32::try_from(wall_ms / 1_000).unwrap_or(u32::MAX);
        records.push_back(Record { user, taken: false, life, seen_s });
        let rehash = |&number: &u32| records[number.wrapping_sub(first) as usize].user.hash_bits();
        self.numbers.insert_unique(user.hash_bits(), number, rehash);
    }

    /// Takes a user out; gives the life.
    pub(super) fn take(&mut self, user: UserId) -> Option<u32> {
        let (records, first) = (&mut self.records, self.first);
        let place = |number: u32| number.wrapping_sub(first) as usize;
        let entry = self.numbers.find_entry(user.hash_bits(), |&number| records[place(number)].user == user).ok()?;
        let record = &mut records[place(entry.remove().0)];
        record.taken = true;
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

    /// Takes out those who were last seen `kept_ms` ago or longer. Bounded by how many they are.
    pub(super) fn forget_older(&mut self, wall_ms: Millis, kept_ms: Millis) {
        while let Some(record) = self.records.front()
            && u64::from(record.seen_s) * 1_000 + kept_ms <= wall_ms
        {
            self.forget_first();
        }
    }

    /// The first record is never a hole.
    fn skip_holes(&mut self) {
        while self.records.front().is_some_and(|record| record.taken) {
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
        self.records.retain(|record| !record.taken);
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
        assert_eq!(self.records.iter().filter(|record| !record.taken).count(), self.numbers.len());
        assert!(!self.records.front().is_some_and(|record| record.taken));
        for (place, record) in self.records.iter().enumerate().filter(|(_, record)| !record.taken) {
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
            seen.insert(user(number), LIFE, u64::from(number) * 1_000);
        }
        assert_eq!((seen.take(user(0)), seen.take(user(3)), seen.take(user(3))), (Some(LIFE), Some(LIFE), None));
        seen.insert(user(0), LIFE, 5_000);
        seen.check();
        seen.forget_older(10_999, 10_000);
        assert_eq!(seen.len(), 4, "nobody has gone");
        seen.forget_older(12_000, 10_000);
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
