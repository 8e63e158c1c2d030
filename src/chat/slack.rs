//! Memory given back after a rush: collections keep what they once needed, and a server that 10,000 people have left would
//! keep it for good.
//!
//! Each function here is for after something was taken out, and costs each item that was taken out its share of one walk. A
//! small collection keeps what it has, so that the steady state neither allocates nor frees. Used by the core, the store and
//! the loop.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::ops::{Deref, DerefMut};

use hashbrown::HashTable;
use slab::Slab;
use smallvec::{Array, SmallVec};

/// Items for which a collection keeps room, however few it holds.
pub const ITEMS_KEPT: usize = 256;

/// Whether a collection with room for `capacity` items should give some back when it holds `length`.
const fn is_slack(length: usize, capacity: usize) -> bool {
    capacity > ITEMS_KEPT && length < capacity / 4
}

/// How much room it then keeps.
const fn room_for(length: usize) -> usize {
    if length < ITEMS_KEPT / 2 { ITEMS_KEPT } else { 2 * length }
}

/// Gives back what a list has too much.
pub fn trim<T>(list: &mut Vec<T>) {
    if is_slack(list.len(), list.capacity()) {
        list.shrink_to(room_for(list.len()));
    }
}

/// Gives back what a queue has too much.
pub fn trim_queue<T>(queue: &mut VecDeque<T>) {
    if is_slack(queue.len(), queue.capacity()) {
        queue.shrink_to(room_for(queue.len()));
    }
}

/// Gives back what a table has too much.
pub fn trim_table<K: Eq + Hash, V, S: BuildHasher>(table: &mut HashMap<K, V, S>) {
    if is_slack(table.len(), table.capacity()) {
        table.shrink_to(room_for(table.len()));
    }
}

/// Gives back what a short list has too much that was long once.
pub fn trim_small<A: Array>(list: &mut SmallVec<A>) {
    if is_slack(list.len(), list.capacity()) {
        list.shrink_to_fit();
    }
}

/// Gives back what an index has too much; `hash` gives an item's.
pub fn trim_index<T>(index: &mut HashTable<T>, hash: impl Fn(&T) -> u64) {
    if is_slack(index.len(), index.capacity()) {
        index.shrink_to(room_for(index.len()), hash);
    }
}

/// A slab that gives back what it has too much, as far as its last tenant lets it.
#[derive(Debug)]
pub struct Slots<T> {
    slab: Slab<T>,
    /// How many more are removed before it is looked at again.
    patience: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slab: Slab::new(), patience: 0 }
    }
}

impl<T> Slots<T> {
    /// Frees a slot.
    ///
    /// # Panics
    /// If it is free.
    pub fn remove(&mut self, key: usize) -> T {
        let item = self.slab.remove(key);
        self.patience = self.patience.saturating_sub(1);
        if self.patience == 0 && is_slack(self.slab.len(), self.slab.capacity()) {
            let capacity = self.slab.capacity();
            self.slab.shrink_to_fit();
            // To give something back walks over all slots, and must not happen at each removal. To find that the last slot has a
            // tenant costs nothing: that one will go, too.
            let shrunk = self.slab.capacity() < capacity;
            let half = self.slab.len() / 2;
            self.patience = if shrunk { half.min(self.slab.capacity() / 8) } else { half };
        }
        item
    }
}

impl<T> Deref for Slots<T> {
    type Target = Slab<T>;
    fn deref(&self) -> &Slab<T> {
        &self.slab
    }
}

impl<T> DerefMut for Slots<T> {
    fn deref_mut(&mut self) -> &mut Slab<T> {
        &mut self.slab
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_given_back_but_for_those_below_a_tenant() {
        let mut slots = Slots::default();
        for number in 0..100_000 {
            slots.insert(number);
        }
        for number in (1..100_000).filter(|&number| number != 40_000) {
            assert_eq!(slots.remove(number), number);
        }
        assert!(slots.capacity() < 60_000, "{}", slots.capacity());
        slots.remove(40_000);
        (0..100_000).for_each(|number| {
            let key = slots.insert(number);
            slots.remove(key);
        });
        assert!(slots.capacity() <= ITEMS_KEPT, "{}", slots.capacity());
        assert_eq!((slots[0], slots.len()), (0, 1));
    }

    #[test]
    fn slots_are_given_back_in_whatever_order_all_go() {
        for seed in 0..20 {
            let mut slots = Slots::default();
            let mut keys: Vec<usize> = (0..10_000).map(|number| slots.insert(number)).collect();
            fastrand::Rng::with_seed(seed).shuffle(&mut keys);
            for key in keys {
                slots.remove(key);
            }
            assert!(slots.capacity() <= ITEMS_KEPT, "seed {seed}: {}", slots.capacity());
        }
    }

    #[test]
    fn a_few_items_keep_their_room_and_many_do_not() {
        let mut list: Vec<u8> = Vec::with_capacity(ITEMS_KEPT);
        trim(&mut list);
        assert_eq!(list.capacity(), ITEMS_KEPT);
        list.resize(100_000, 0);
        trim(&mut list);
        assert!(list.capacity() >= 100_000);
        list.truncate(10_000);
        trim(&mut list);
        assert_eq!(list.capacity(), 20_000);
        list.clear();
        trim(&mut list);
        assert_eq!(list.capacity(), ITEMS_KEPT);
    }
}
