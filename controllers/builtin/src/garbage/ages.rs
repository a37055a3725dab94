//! The newest of many by age, and those beyond: each change costs the logarithm of how many there are.

use std::collections::BTreeSet;

use berth_types::Timestamp;

/// When something was seen last, and its uid.
type Age = (Timestamp, String);

/// Up to a number of the newest, and the surplus: all of it is older.
#[derive(Debug, Default)]
pub struct Ages {
    newest: BTreeSet<Age>,
    surplus: BTreeSet<Age>,
    /// uids of what became surplus since they were last taken.
    demoted: Vec<String>,
}

impl Ages {
    /// Takes one in; `most` are among the newest.
    pub fn insert(&mut self, age: Age, most: usize) {
        if self.surplus.last().is_some_and(|last| age < *last) {
            self.demote(age);
            return;
        }
        self.newest.insert(age);
        if self.newest.len() > most
            && let Some(oldest) = self.newest.pop_first()
        {
            self.demote(oldest);
        }
    }

    fn demote(&mut self, age: Age) {
        self.demoted.push(age.1.clone());
        self.surplus.insert(age);
    }

    /// One is gone: the newest of the surplus takes its place.
    pub fn remove(&mut self, age: &Age, most: usize) {
        if self.newest.remove(age) {
            if self.newest.len() < most {
                self.newest.extend(self.surplus.pop_last());
            }
        } else {
            self.surplus.remove(age);
        }
    }

    /// Whether there are enough newer ones.
    pub fn is_surplus(&self, age: &Age) -> bool {
        self.surplus.contains(age)
    }

    /// uids of what became surplus since the last time.
    pub fn take_demoted(&mut self) -> Vec<String> {
        std::mem::take(&mut self.demoted)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn age(at: i64) -> Age {
        (Timestamp::from_millis(at), format!("e{at}"))
    }

    #[test]
    fn each_becomes_surplus_once_however_many_there_are() {
        let mut ages = Ages::default();
        for at in 0..1000 {
            ages.insert(age(at), 3);
            let expected = if at < 3 { vec![] } else { vec![format!("e{}", at - 3)] };
            assert_eq!(ages.take_demoted(), expected);
        }
        ages.insert(age(-1), 3);
        assert_eq!(ages.take_demoted(), ["e-1"]);
    }

    proptest! {
        #[test]
        fn the_surplus_is_all_but_the_newest(
            steps in prop::collection::vec((0i64..30, prop::bool::weighted(0.7)), 0..80), most in 0usize..6,
        ) {
            let (mut ages, mut model) = (Ages::default(), BTreeSet::new());
            let mut told: BTreeSet<String> = BTreeSet::new();
            for (at, comes) in steps {
                // What is there does not come again before it went.
                if comes && model.insert(age(at)) {
                    ages.insert(age(at), most);
                } else if !comes && model.remove(&age(at)) {
                    ages.remove(&age(at), most);
                    told.remove(&age(at).1);
                }
                told.extend(ages.take_demoted());
                let beyond = model.len().saturating_sub(most);
                for (rank, one) in model.iter().enumerate() {
                    prop_assert_eq!(ages.is_surplus(one), rank < beyond, "{:?}", one);
                    prop_assert!(rank >= beyond || told.contains(&one.1), "{:?} was not told", one);
                }
            }
        }
    }
}
