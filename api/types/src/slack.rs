//! Gives back memory that a collection keeps for what it no longer holds. A map, set or queue of the standard library
//! keeps the room of its largest day; a `BTreeMap` does not, and needs none of this.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hash};

/// A collection with room for this many is left as it is.
const SMALL: usize = 256;
/// A collection that uses less than this part of its room is shrunk.
const USED: usize = 4;

/// A collection that keeps its room.
pub trait Slack {
    /// Shrinks to twice what is held, once less than a quarter of the room is used. Called after each removal, it costs
    /// the same on average however many there are.
    fn give_back(&mut self);
}

/// The room that is enough for `len`, where `capacity` is far more.
fn enough(len: usize, capacity: usize) -> Option<usize> {
    (capacity > SMALL && len < capacity / USED).then_some((2 * len).max(SMALL / 2))
}

impl<K: Eq + Hash, V, S: BuildHasher> Slack for HashMap<K, V, S> {
    fn give_back(&mut self) {
        if let Some(room) = enough(self.len(), self.capacity()) {
            self.shrink_to(room);
        }
    }
}

impl<T: Eq + Hash, S: BuildHasher> Slack for HashSet<T, S> {
    fn give_back(&mut self) {
        if let Some(room) = enough(self.len(), self.capacity()) {
            self.shrink_to(room);
        }
    }
}

impl<T> Slack for VecDeque<T> {
    fn give_back(&mut self) {
        if let Some(room) = enough(self.len(), self.capacity()) {
            self.shrink_to(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills a collection, empties it one by one, and returns how often it was shrunk.
    fn shrinks<C: Slack + Default>(
        fill: impl Fn(&mut C, usize),
        remove: impl Fn(&mut C, usize),
        capacity: impl Fn(&C) -> usize,
    ) -> usize {
        let (mut all, mut shrinks) = (C::default(), 0);
        (0..10_000).for_each(|item| fill(&mut all, item));
        for item in 0..10_000 {
            remove(&mut all, item);
            let before = capacity(&all);
            all.give_back();
            shrinks += usize::from(capacity(&all) < before);
        }
        assert!(capacity(&all) <= SMALL, "{} of 10,000 are left", capacity(&all));
        shrinks
    }

    #[test]
    fn a_collection_that_was_emptied_keeps_no_room_and_is_seldom_moved() {
        let shrunk = [
            shrinks::<HashMap<usize, ()>>(
                |map, item| assert!(map.insert(item, ()).is_none()),
                |map, item| assert!(map.remove(&item).is_some()),
                HashMap::capacity,
            ),
            shrinks::<HashSet<usize>>(
                |set, item| assert!(set.insert(item)),
                |set, item| assert!(set.remove(&item)),
                HashSet::capacity,
            ),
            shrinks::<VecDeque<usize>>(
                |queue, item| queue.push_back(item),
                |queue, item| assert_eq!(queue.pop_front(), Some(item)),
                VecDeque::capacity,
            ),
        ];
        assert!(shrunk.iter().all(|times| (1..=8).contains(times)), "{shrunk:?}");
    }

    #[test]
    fn a_collection_that_is_used_keeps_its_room() {
        let mut map: HashMap<usize, ()> = (0..10_000).map(|item| (item, ())).collect();
        map.retain(|item, ()| *item >= 6_000);
        let before = map.capacity();
        map.give_back();
        assert_eq!(map.capacity(), before);
    }
}
