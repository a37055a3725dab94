//! I9: who no longer leads writes nothing. The epoch of a Lease is the revision of its epoch key; a write that carries
//! an epoch carries the newest one of its Lease.

use std::collections::HashMap;

use super::Invariant;
use crate::history::Object;
use crate::history::key::{self, Key, told};
use crate::history::spec::Spec;
use crate::history::state::{Change, Revision};
use crate::history::violation::Breach;

/// No write of an epoch that is over; an epoch begins with every change of a Lease's holder, and only then.
#[derive(Default)]
pub struct Fences {
    /// The newest epoch of each Lease, named `<namespace>/<name>`.
    newest: HashMap<String, i64>,
    /// The Leases that an epoch was begun of. More than one when they changed hands in one revision.
    begun: HashMap<i64, Vec<String>>,
}

impl Invariant for Fences {
    fn name(&self) -> &'static str {
        "I9 fences"
    }

    fn on_revision(&mut self, seen: &Revision<'_>, broken: &mut Vec<Breach>) {
        for change in seen.changes {
            if let Some((why, lease)) = change.now.and_then(|now| self.stale(now)) {
                let keys =
                    std::iter::once(change.key.to_string()).chain(lease.map(|lease| key::epoch(&lease)));
                broken.push(Breach::new(seen.rev, format!("{} {why}", told(change.key)), keys));
            }
            match change.about {
                Key::Object { kind: "coordination.k8s.io/leases", namespace, name } => {
                    handed_over(seen, change, &format!("{namespace}/{name}"), broken);
                }
                Key::Epoch(lease) => alone(seen, change, lease, broken),
                Key::Object { .. } | Key::Ledger(_) | Key::Other => {}
            }
        }
        for change in seen.changes {
            if let Key::Epoch(lease) = change.about {
                self.newest.insert(lease.into(), seen.rev);
                self.begun.entry(seen.rev).or_default().push(lease.into());
            }
        }
    }
}

impl Fences {
    /// Why the epoch of a write is not the newest of any Lease it may mean, and that Lease.
    fn stale(&self, now: &Object) -> Option<(String, Option<String>)> {
        let header = &now.stored.header;
        if header.epoch == 0 {
            return None;
        }
        let Some(leases) = self.begun.get(&header.epoch) else {
            let why = format!("is written by {} in epoch {}, which never began", header.writer, header.epoch);
            return Some((why, None));
        };
        let own = leases.iter().find(|lease| lease.rsplit('/').next() == Some(&header.writer));
        let meant = own.map_or(leases.as_slice(), std::slice::from_ref);
        if meant.iter().any(|lease| self.newest.get(lease) == Some(&header.epoch)) {
            return None;
        }
        let lease = meant.first()?;
        let why = format!(
            "is written by {} in epoch {}; {lease} is in epoch {}",
            header.writer, header.epoch, self.newest[lease]
        );
        Some((why, Some(lease.clone())))
    }
}

/// A change of holder begins an epoch, a renewal does not.
fn handed_over(seen: &Revision<'_>, change: &Change<'_>, lease: &str, broken: &mut Vec<Breach>) {
    let holder = |object: Option<&Object>| match object.map(|object| &*object.spec) {
        Some(Spec::Lease(holder)) => Some(holder.to_string()),
        Some(Spec::Task(_) | Spec::App(_) | Spec::Node(_) | Spec::Other) | None => None,
    };
    let (was, is) = (holder(change.was), holder(change.now));
    let epoch = key::epoch(lease);
    let begins = seen.change(&epoch).is_some();
    let why = match (was == is, begins) {
        (true, false) | (false, true) => return,
        (true, true) => "keeps its holder, and a new epoch begins",
        (false, false) => "changes its holder, and no epoch begins",
    };
    let what = format!("Lease {lease} {why}");
    broken.push(Breach::new(seen.rev, what, [change.key, &epoch]));
}

/// An epoch begins with its Lease.
fn alone(seen: &Revision<'_>, change: &Change<'_>, lease: &str, broken: &mut Vec<Breach>) {
    let its_lease = key::lease(lease);
    if seen.change(&its_lease).is_none() {
        let what = format!("an epoch of {lease} begins, and its Lease is not written");
        broken.push(Breach::new(seen.rev, what, [change.key, &its_lease]));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::history::invariants::trial::Trial;
    use crate::history::key;
    use crate::history::story::Story;

    const LEASE: &str = "berth-system/scheduler";
    /// The epoch in which the story begins.
    const FIRST: i64 = 2;

    fn story() -> Story {
        let mut story = Story::new();
        story.task("", "a", "1").lead(LEASE, "one");
        assert_eq!(story.rev(), FIRST);
        story.renew(LEASE);
        story
    }

    #[test]
    fn a_write_of_an_epoch_that_is_over_is_found() {
        Trial::of("I9 fences", story)
            .keeps(|story| {
                story.by_leader("scheduler", FIRST).phase("a", "Starting");
                let second = story.by("scheduler").lead(LEASE, "two");
                story.by("agent").phase("a", "Running").by_leader("bind", second).phase("a", "Stopping")
            })
            .breaks("a write of the last leader", |story| {
                story.phase("a", "Starting").lead(LEASE, "two");
                story.by_leader("bind", FIRST).phase("a", "Running")
            })
            .breaks("a write after giving back", |story| {
                story.lead(LEASE, "");
                story.by_leader("scheduler", FIRST).phase("a", "Running")
            })
            .breaks("an epoch of nobody", |story| {
                story.by_leader("scheduler", FIRST + 1).phase("a", "Running")
            })
            .breaks("a new holder in the old epoch", |story| {
                story.edit(&key::lease(LEASE), |lease| lease["spec"]["holderIdentity"] = "two".into())
            })
            .breaks("a renewal in a new epoch", |story| {
                story.together(|story| {
                    story.renew(LEASE).put(&key::epoch(LEASE), json!({"holder": "one"}))
                })
            })
            .breaks("an epoch without its Lease", |story| {
                story.put(&key::epoch(LEASE), json!({"holder": "three"}))
            })
            .breaks("a Lease goes in its epoch", |story| {
                story.delete(&key::lease(LEASE))
            })
            .shows(expect_test::expect![[r#"
                a write of the last leader
                  6: Task shop/a is written by bind in epoch 2; berth-system/scheduler is in epoch 5 (shown by 2 5 6)
                a write after giving back
                  5: Task shop/a is written by scheduler in epoch 2; berth-system/scheduler is in epoch 4 (shown by 2 4 5)
                an epoch of nobody
                  4: Task shop/a is written by scheduler in epoch 3, which never began (shown by 4)
                a new holder in the old epoch
                  4: Lease berth-system/scheduler changes its holder, and no epoch begins (shown by 4)
                a renewal in a new epoch
                  4: Lease berth-system/scheduler keeps its holder, and a new epoch begins (shown by 2 4 4)
                an epoch without its Lease
                  4: an epoch of berth-system/scheduler begins, and its Lease is not written (shown by 4)
                a Lease goes in its epoch
                  4: Lease berth-system/scheduler changes its holder, and no epoch begins (shown by 2 4)
            "#]]);
    }

    #[test]
    fn two_leases_that_change_hands_in_one_revision_are_told_apart_by_the_writer() {
        fn both() -> Story {
            let mut story = Story::new();
            story.task("", "a", "1").together(|story| {
                for name in ["scheduler", "app"] {
                    let meta = json!({"name": name, "uid": story.uid()});
                    let lease = format!("x/{name}");
                    story.put(
                        &key::lease(&lease),
                        json!({"metadata": meta, "spec": {"holderIdentity": "one"}}),
                    );
                    story.put(&key::epoch(&lease), json!({}));
                }
                story
            });
            assert_eq!(story.rev(), FIRST);
            story.lead("x/app", "two");
            story
        }
        Trial::of("I9 fences", both)
            .keeps(|story| story.by_leader("scheduler", FIRST).phase("a", "Running"))
            .keeps(|story| story.by_leader("bind", FIRST).phase("a", "Running"))
            .breaks("the one that is over", |story| story.by_leader("app", FIRST).phase("a", "Running"))
            .shows(expect_test::expect![[r#"
                the one that is over
                  4: Task shop/a is written by app in epoch 2; x/app is in epoch 3 (shown by 2 3 4)
            "#]]);
    }
}
