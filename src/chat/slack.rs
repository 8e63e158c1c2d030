//! Memory given back after a rush: collections keep what they once needed, and a server that 10,000 people have left would
//! keep it for good.
//!
//! Each function here is for after something was taken out, and costs each item that was taken out its share of one walk. A
//! small collection keeps what it has, so that the steady state neither allocates nor frees. Used by the core, the store and
//! the loop, which does not call them for what each turn fills and empties, but once a second (`engine/tidy.rs`).

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::ops::{Deref, DerefMut};

use hashbrown::HashTable;
use slab::Slab;
use smallvec::{Array, SmallVec};

/// Room that a collection keeps, however few items it holds: a page.
const BYTES_KEPT: usize = 4_096;

/// So many items have room there; of large ones a few have it nevertheless.
pub const fn items_kept<T>() -> usize {
    const FEW: usize = 8;
    if size_of::<T>() > BYTES_KEPT / FEW { FEW } else { BYTES_KEPT / size_of::<T>() }
}

/// Whether a collection with room for `capacity` items should give some back when it holds `length`.
const fn is_slack<T>(length: usize, capacity: usize) -> bool {
    capacity > items_kept::<T>() && length < capacity / 4
}

/// How much room it then keeps.
const fn room_for<T>(length: usize) -> usize {
    if length < items_kept::<T>() / 2 { items_kept::<T>() } else { 2 * length }
}

/// Gives back what a list has too much.
pub fn trim<T>(list: &mut Vec<T>) {
    if is_slack::<T>(list.len(), list.capacity()) {
        list.shrink_to(room_for::<T>(list.len()));
    }
}

/// Gives back what a queue has too much.
pub fn trim_queue<T>(queue: &mut VecDeque<T>) {
    if is_slack::<T>(queue.len(), queue.capacity()) {
        queue.shrink_to(room_for::<T>(queue.len()));
    }
}

/// Gives back what a table has too much.
pub fn trim_table<K: Eq + Hash, V, S: BuildHasher>(table: &mut HashMap<K, V, S>) {
    if is_slack::<(K, V)>(table.len(), table.capacity()) {
        table.shrink_to(room_for::<(K, V)>(table.len()));
    }
}

/// Gives back what a short list has too much that was long once.
pub fn trim_small<A: Array>(list: &mut SmallVec<A>) {
    if is_slack::<A::Item>(list.len(), list.capacity()) {
        list.shrink_to_fit();
    }
}

/// Gives back what an index has too much; `hash` gives an item's.
pub fn trim_index<T>(index: &mut HashTable<T>, hash: impl Fn(&T) -> u64) {
    if is_slack::<T>(index.len(), index.capacity()) {
        index.shrink_to(room_for::<T>(index.len()), hash);
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
        if self.patience == 0 && is_slack::<T>(self.slab.len(), self.slab.capacity()) {
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
        assert!(slots.capacity() <= items_kept::<i32>(), "{}", slots.capacity());
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
            assert!(slots.capacity() <= items_kept::<i32>(), "seed {seed}: {}", slots.capacity());
        }
    }

    #[test]
    fn a_few_items_keep_their_room_and_many_do_not() {
        let kept = items_kept::<[u8; 64]>();
        let mut list: Vec<[u8; 64]> = Vec::with_capacity(kept);
        trim(&mut list);
        assert_eq!(list.capacity(), kept);
        list.resize(10_000, [0; 64]);
        trim(&mut list);
        assert!(list.capacity() >= 10_000);
        list.truncate(1_000);
        trim(&mut list);
        assert_eq!(list.capacity(), 2_000);
        list.clear();
        trim(&mut list);
        assert_eq!(list.capacity(), kept);
    }

    #[test]
    fn what_is_kept_is_a_page_or_a_few_items() {
        assert_eq!([items_kept::<u8>(), items_kept::<u64>(), items_kept::<[u8; 4_096]>()], [4_096, 512, 8]);
    }
}
