//! The rules of `commit`, the same for all forms of the store, because etcd lets some of them pass: no key is
//! written by two groups, no key that one group writes is a condition of another, and a call keeps the limits.

use std::collections::HashSet;

use bytes::Bytes;

use crate::{At, Condition, Group, LIMITS, Limits, Must, Rev, StoreError, Write};

/// What an operation weighs in a request beside its key and value.
const FRAME: usize = 24;

/// Why a group cannot be part of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not of any call.
    Never(String),
    /// Not of this one, beside the groups that it has.
    NotHere(String),
}

/// A call as it grows group by group.
#[derive(Debug, Default)]
pub(crate) struct Call {
    written: HashSet<Bytes>,
    asked: HashSet<Bytes>,
    load: Load,
}

/// Refuses a call that breaks a rule.
pub(crate) fn check(groups: &[Group]) -> Result<(), StoreError> {
    let mut call = Call::default();
    for group in groups {
        call.admit(group).map_err(|refusal| match refusal {
            Refusal::Never(why) | Refusal::NotHere(why) => StoreError::BadCall(why),
        })?;
    }
    Ok(())
}

/// Refuses a group that no call can carry.
pub(crate) fn check_alone(group: &Group) -> Result<(), StoreError> {
    check(std::slice::from_ref(group))
}

/// Refuses a range that no form of the store reads alike.
pub(crate) fn check_range(start: &[u8], end: &[u8]) -> Result<(), StoreError> {
    if start.is_empty() || start >= end {
        let why = format!("no range from {} to {}", shown(start), shown(end));
        return Err(StoreError::BadCall(why));
    }
    Ok(())
}

/// Refuses a revision that is none.
pub(crate) fn check_rev(rev: Rev) -> Result<(), StoreError> {
    if rev < 1 { Err(StoreError::BadCall(format!("{rev} is no revision"))) } else { Ok(()) }
}

/// Refuses a read that no form of the store answers alike.
pub(crate) fn check_at(at: At) -> Result<(), StoreError> {
    match at {
        At::Latest => Ok(()),
        At::Rev(rev) => check_rev(rev),
    }
}

impl Call {
    /// Takes the group in, or changes nothing and says why not.
    pub(crate) fn admit(&mut self, group: &Group) -> Result<(), Refusal> {
        let load = Load::of(group);
        check_shape(group)?;
        load.check().map_err(Refusal::Never)?;
        self.check_keys(group).map_err(Refusal::NotHere)?;
        let together = self.load.with(load);
        together.check().map_err(Refusal::NotHere)?;
        self.load = together;
        self.block(group);
        Ok(())
    }

    /// Keeps the group's keys from the groups that come after, as if it had been admitted.
    pub(crate) fn block(&mut self, group: &Group) {
        self.written.extend(group.writes.iter().map(|write| write.key().clone()));
        self.asked.extend(group.conditions.iter().map(|condition| condition.key.clone()));
    }

    /// Whether no further group can be admitted, whatever it is.
    pub(crate) fn full(&self) -> bool {
        self.load.groups + self.load.largest >= LIMITS.operations || self.load.writes >= LIMITS.writes
    }

    fn check_keys(&self, group: &Group) -> Result<(), String> {
        for key in group.writes.iter().map(Write::key) {
            if self.written.contains(key) {
                return Err(format!("two groups write {}", shown(key)));
            }
            if self.asked.contains(key) {
                return Err(format!("a group writes {}, a condition of another", shown(key)));
            }
        }
        match group.conditions.iter().find(|condition| self.written.contains(&condition.key)) {
            Some(condition) => {
                Err(format!("a condition names {}, written by another group", shown(&condition.key)))
            }
            None => Ok(()),
        }
    }
}

fn check_shape(group: &Group) -> Result<(), Refusal> {
    let mut keys = HashSet::new();
    for key in group.writes.iter().map(Write::key) {
        if !keys.insert(key) {
            return Err(Refusal::Never(format!("a group writes {} twice", shown(key))));
        }
    }
    let asked = group.conditions.iter().map(|condition| &condition.key);
    if keys.into_iter().chain(asked).any(Bytes::is_empty) {
        return Err(Refusal::Never("a key is empty".into()));
    }
    match group.conditions.iter().find(|condition| names_no_revision(condition)) {
        Some(condition) => {
            Err(Refusal::Never(format!("{} is to be unchanged since no revision", shown(&condition.key))))
        }
        None => Ok(()),
    }
}

fn names_no_revision(condition: &Condition) -> bool {
    match condition.must {
        Must::BeUnchangedSince(rev) => rev < 1,
        Must::BeAbsent | Must::ExistNotWrittenAfter(_) => false,
    }
}

fn shown(key: &[u8]) -> String {
    format!("`{}`", key.escape_ascii())
}

/// What a call weighs against the limits.
#[derive(Debug, Default, Clone, Copy)]
struct Load {
    groups: usize,
    largest: usize,
    writes: usize,
    bytes: usize,
}

impl Load {
    fn of(group: &Group) -> Self {
        let compares: usize = group.conditions.iter().map(compares).sum();
        let asked: usize = group.conditions.iter().map(|condition| 2 * (condition.key.len() + FRAME)).sum();
        let written: usize = group.writes.iter().map(written_bytes).sum();
        Self {
            groups: 1,
            largest: compares.max(group.writes.len()),
            writes: group.writes.len(),
            bytes: asked + written,
        }
    }

    fn with(self, other: Self) -> Self {
        Self {
            groups: self.groups + other.groups,
            largest: self.largest.max(other.largest),
            writes: self.writes + other.writes,
            bytes: self.bytes + other.bytes,
        }
    }

    fn check(&self) -> Result<(), String> {
        let Limits { operations, writes, bytes } = LIMITS;
        let found = [
            ("operations", self.groups + self.largest, operations),
            ("writes", self.writes, writes),
            ("bytes", self.bytes, bytes),
        ];
        match found.into_iter().find(|(_, have, most)| have > most) {
            Some((what, have, most)) => Err(format!("{have} {what}, at most {most} are allowed")),
            None => Ok(()),
        }
    }
}

fn compares(condition: &Condition) -> usize {
    match condition.must {
        Must::BeAbsent | Must::BeUnchangedSince(_) => 1,
        Must::ExistNotWrittenAfter(_) => 2,
    }
}

fn written_bytes(write: &Write) -> usize {
    match write {
        Write::Put { key, value, .. } => key.len() + value.len() + FRAME,
        Write::Delete { key } => key.len() + FRAME,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn group(asks: &[&str], writes: &[&str]) -> Group {
        let ask =
            |key: &&str| Condition { key: Bytes::copy_from_slice(key.as_bytes()), must: Must::BeAbsent };
        let put = |key: &&str| Write::put(Bytes::copy_from_slice(key.as_bytes()), Bytes::from_static(b"v"));
        Group { conditions: asks.iter().map(ask).collect(), writes: writes.iter().map(put).collect() }
    }

    fn refuses(groups: &[Group], expected: Expect) {
        expected.assert_eq(&check(groups).map_or_else(|refusal| refusal.to_string(), |()| "allowed".into()));
    }

    #[test]
    fn a_key_belongs_to_one_group_of_a_call() {
        refuses(&[group(&["a"], &["a", "b"]), group(&["c"], &["d"])], expect!["allowed"]);
        refuses(&[group(&["a"], &["b"]), group(&["a"], &["c"])], expect!["allowed"]);
        refuses(
            &[group(&[], &["a"]), group(&[], &["a"])],
            expect!["call breaks a rule of the store: two groups write `a`"],
        );
        refuses(
            &[group(&["a"], &[]), group(&[], &["a"])],
            expect!["call breaks a rule of the store: a group writes `a`, a condition of another"],
        );
        refuses(
            &[group(&[], &["a"]), group(&["a"], &[])],
            expect!["call breaks a rule of the store: a condition names `a`, written by another group"],
        );
        refuses(
            &[group(&[], &["a", "a"])],
            expect!["call breaks a rule of the store: a group writes `a` twice"],
        );
        refuses(&[group(&[""], &[])], expect!["call breaks a rule of the store: a key is empty"]);
    }

    #[test]
    fn a_key_belongs_to_one_group_wherever_it_stands() {
        for (place, other_place) in (0..9).map(|n| (n / 3, n % 3)) {
            let mut keys = ["k", "l", "m"];
            keys[place] = "a";
            let mut other_keys = ["p", "q", "r"];
            other_keys[other_place] = "a";
            for (first, last, why) in [
                (group(&[], &keys), group(&[], &other_keys), "two groups write `a`"),
                (group(&keys, &["x"]), group(&[], &other_keys), "a group writes `a`, a condition of another"),
                (
                    group(&[], &keys),
                    group(&other_keys, &["y"]),
                    "a condition names `a`, written by another group",
                ),
            ] {
                let refused = check(&[first, group(&["s"], &["t"]), last]).err().map(|why| why.to_string());
                let expected = format!("call breaks a rule of the store: {why}");
                assert_eq!(refused, Some(expected), "{place}, {other_place}");
            }
        }
    }

    #[test]
    fn a_call_keeps_the_limits() {
        let keys: Vec<String> = (0..1100).map(|n| format!("k{n}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let each = |count: usize, size: usize| -> Vec<Group> {
            keys.chunks(size).take(count).map(|part| group(&[], part)).collect()
        };
        refuses(&each(127, 1), expect!["allowed"]);
        refuses(
            &each(128, 1),
            expect!["call breaks a rule of the store: 129 operations, at most 128 are allowed"],
        );
        refuses(&each(10, 100), expect!["allowed"]);
        refuses(
            &each(11, 100),
            expect!["call breaks a rule of the store: 1100 writes, at most 1000 are allowed"],
        );
        let twice = Must::ExistNotWrittenAfter(3);
        let mut asks = group(&keys[..64], &[]);
        asks.conditions.iter_mut().for_each(|condition| condition.must = twice);
        refuses(&[asks], expect!["call breaks a rule of the store: 129 operations, at most 128 are allowed"]);
        let large = Write::put(Bytes::from_static(b"k"), Bytes::from(vec![0; 1_400_000]));
        refuses(
            &[Group { conditions: vec![], writes: vec![large] }],
            expect!["call breaks a rule of the store: 1400025 bytes, at most 1400000 are allowed"],
        );
    }
}
