//! Holds what the tape's replay ends with against what a store lists.

use super::etcd::Listing;
use super::tape::{RawChange, replayed};
use crate::history::Event;

/// Differences that are told; after so many the rest says nothing new.
const TOLD: usize = 10;

/// Where the events up to the listing's revision end with another store than was listed.
pub fn differences(events: &[Event], listing: Listing) -> Vec<String> {
    let rev = listing.rev;
    let until = events.partition_point(|event| event.rev <= rev);
    let mut told = replayed(&events[..until]);
    let mut wrong = Vec::new();
    for (key, (written, raw)) in listing.keys {
        let listed = match (RawChange { key, now: Some(raw) }).event(written, 0) {
            Ok(listed) => listed,
            Err(why) => {
                wrong.push(why);
                continue;
            }
        };
        match told.remove(listed.key.as_str()) {
            None => wrong
                .push(format!("{} is listed, and its write in revision {written} was not told", listed.key)),
            Some(told) if told.rev != listed.rev || told.now != listed.now => {
                let (key, told) = (&listed.key, told.rev);
                wrong.push(format!(
                    "{key} is listed as written in revision {written}, other than it was told in {told}"
                ));
            }
            Some(_) => {}
        }
    }
    let left = told.into_values();
    wrong
        .extend(left.map(|told| format!("{} was told in revision {} and is not listed", told.key, told.rev)));
    wrong.truncate(TOLD);
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tape::RawValue;

    fn raw(value: &str) -> RawValue {
        let mut bytes = vec![1; 27];
        bytes.push(0);
        bytes.extend(value.as_bytes());
        RawValue { create_rev: 2, version: 1, lease: 0, bytes }
    }

    fn told(rev: i64, key: &str, value: Option<&str>) -> Event {
        RawChange { key: key.into(), now: value.map(raw) }.event(rev, 9).unwrap()
    }

    fn listed(keys: &[(i64, &str, &str)]) -> Listing {
        let keys = keys.iter().map(|(rev, key, value)| (key.as_bytes().to_vec(), (*rev, raw(value))));
        Listing { rev: 4, keys: keys.collect() }
    }

    #[test]
    fn a_replay_ends_with_what_is_listed_or_every_difference_is_told() {
        let events = [
            told(2, "a", Some("1")),
            told(3, "b", Some("1")),
            told(4, "a", None),
            told(4, "c", Some("1")),
            told(5, "a", Some("late")),
        ];
        assert_eq!(differences(&events, listed(&[(3, "b", "1"), (4, "c", "1")])), [""; 0]);
        let wrong = differences(&events, listed(&[(2, "a", "1"), (3, "b", "other"), (4, "d", "1")]));
        expect_test::expect![[r#"
            a is listed, and its write in revision 2 was not told
            b is listed as written in revision 3, other than it was told in 3
            d is listed, and its write in revision 4 was not told
            c was told in revision 4 and is not listed"#]]
        .assert_eq(&wrong.join("\n"));
    }
}
