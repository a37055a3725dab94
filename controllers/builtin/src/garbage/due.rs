//! When each item is looked at again, by uid: one time for each, the last that was set.

use std::collections::{BTreeMap, BTreeSet};

use berth_types::Timestamp;

/// Times to come.
#[derive(Debug, Default)]
pub struct Due {
    in_order: BTreeSet<(Timestamp, String)>,
    by_uid: BTreeMap<String, Timestamp>,
}

impl Due {
    /// Looks at the item at `at`, and at no other time that was set before.
    pub fn set(&mut self, uid: &str, at: Timestamp) {
        self.forget(uid);
        self.by_uid.insert(uid.to_owned(), at);
        self.in_order.insert((at, uid.to_owned()));
    }

    /// Looks at the item no more.
    pub fn forget(&mut self, uid: &str) {
        if let Some((uid, at)) = self.by_uid.remove_entry(uid) {
            self.in_order.remove(&(at, uid));
        }
    }

    /// The first time.
    pub fn next(&self) -> Option<Timestamp> {
        self.in_order.first().map(|(at, _)| *at)
    }

    /// The items whose time has come.
    pub fn take_by(&mut self, now: Timestamp) -> Vec<String> {
        let mut due = Vec::new();
        while self.next().is_some_and(|at| at <= now)
            && let Some((_, uid)) = self.in_order.pop_first()
        {
            self.by_uid.remove(&uid);
            due.push(uid);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn an_item_has_one_time_and_none_once_it_is_gone() {
        let mut due = Due::default();
        due.set("a", at(5));
        due.set("b", at(3));
        due.set("a", at(9));
        assert_eq!((due.next(), due.take_by(at(2))), (Some(at(3)), vec![]));
        assert_eq!(due.take_by(at(5)), ["b"]);
        due.forget("a");
        due.forget("unknown");
        assert_eq!((due.next(), due.take_by(at(100))), (None, vec![]));
        assert!(due.by_uid.is_empty());
    }
}
