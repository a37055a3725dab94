//! I9: who no longer leads writes nothing. The epoch of a Lease is the revision of its epoch key; a write that carries
//! an epoch carries the newest one of its Lease, and every write of who leads carries one. Who leads is known by name: the
//! cluster's controllers, and whoever writes under the name of a Lease that has begun an epoch.

use std::collections::{HashMap, HashSet};

use super::Invariant;
use crate::history::Object;
use crate::history::evidence::Run;
use crate::history::key::{self, Key, told};
use crate::history::spec::Spec;
use crate::history::state::{Change, Revision};
use crate::history::violation::Breach;

/// Who writes what is bound.
const BINDER: &str = "bind";
/// The Lease of who places Tasks.
const SCHEDULER: &str = "berth-system/scheduler";

/// The cluster's controllers, which write under the names of their Leases.
const CONTROLLERS: [&str; 4] = ["app-controller", "node-controller", "garbage-collector", "scheduler"];
/// What anybody may write: Events tell of what happened, whoever leads meanwhile.
const EVENTS: &str = "core/events";
const LEASES: &str = "coordination.k8s.io/leases";

/// No write of an epoch that is over, nor in one of another's Lease, nor without one by who leads; an epoch begins with
/// every change of a Lease's holder, and only then.
#[derive(Default)]
pub struct Fences {
    /// Controllers that act without a Lease, as their test says.
    forced: HashSet<String>,
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
            if let Some((why, leases)) = change.now.and_then(|now| self.stale(now)) {
                let epochs = leases.iter().map(|lease| key::epoch(lease));
                let keys = std::iter::once(change.key.to_string()).chain(epochs);
                broken.push(Breach::new(seen.rev, format!("{} {why}", told(change.key)), keys));
            }
            if let Some(lease) = self.left_out(change) {
                let writer = change.now.map_or("", |now| &*now.stored.header.writer);
                let what = format!("{} is written by {writer} without an epoch", told(change.key));
                broken.push(Breach::new(seen.rev, what, [change.key.into(), key::epoch(&lease)]));
            }
            match change.about {
                Key::Object { kind: LEASES, namespace, name } => {
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
    /// As the test of a run says.
    pub fn of(run: &Run) -> Self {
        Self { forced: run.forced.iter().cloned().collect(), ..Self::default() }
    }

    /// The Lease of which a leader's write leaves the epoch out. A candidate writes its Lease before it leads.
    fn left_out(&self, change: &Change<'_>) -> Option<String> {
        let header = &change.now.filter(|now| now.stored.header.epoch == 0)?.stored.header;
        let about_leading = matches!(change.about, Key::Object { kind: LEASES | EVENTS, .. } | Key::Epoch(_));
        let writer = header.writer.as_str();
        let acts_as = if writer == BINDER { "scheduler" } else { writer };
        if about_leading || self.forced.contains(acts_as) {
            return None;
        }
        let begun = self.newest.keys().find(|lease| leads_under(writer, lease));
        let known = CONTROLLERS.contains(&writer).then(|| format!("berth-system/{writer}"));
        begun.cloned().or(known)
    }

    /// Why the epoch of a write is not the newest of any Lease it may mean, and the Leases that show it.
    fn stale(&self, now: &Object) -> Option<(String, Vec<String>)> {
        let header = &now.stored.header;
        if header.epoch == 0 {
            return None;
        }
        let (writer, epoch) = (&header.writer, header.epoch);
        let Some(leases) = self.begun.get(&epoch) else {
            return Some((format!("is written by {writer} in epoch {epoch}, which never began"), Vec::new()));
        };
        let is_newest = |lease: &String| self.newest.get(lease) == Some(&epoch);
        if leases.iter().any(|lease| leads_under(writer, lease) && is_newest(lease)) {
            return None;
        }
        let own = self.led_by(writer);
        let meant: Vec<&String> =
            leases.iter().filter(|lease| own.is_empty() || own.contains(lease)).collect();
        let Some(lease) = meant.first() else {
            let (of, alone) = (leases.join(", "), own.join(", "));
            let why =
                format!("is written by {writer} in epoch {epoch} of {of}; {writer} leads under {alone}");
            return Some((why, leases.iter().cloned().chain(own).collect()));
        };
        if meant.iter().any(|lease| is_newest(lease)) {
            return None;
        }
        let why =
            format!("is written by {writer} in epoch {epoch}; {lease} is in epoch {}", self.newest[*lease]);
        Some((why, vec![lease.to_string()]))
    }

    /// The Leases under which a writer leads. None that is known means any.
    fn led_by(&self, writer: &str) -> Vec<String> {
        if writer == BINDER {
            return vec![SCHEDULER.into()];
        }
        let mut known: Vec<String> =
            self.newest.keys().filter(|lease| leads_under(writer, lease)).cloned().collect();
        known.sort();
        known
    }
}

/// Whether a writer leads under this Lease: who binds under the scheduler's, others under one of their name.
fn leads_under(writer: &str, lease: &str) -> bool {
    if writer == BINDER { lease == SCHEDULER } else { lease.rsplit('/').next() == Some(writer) }
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

    use crate::history::evidence::Run;
    use crate::history::invariants::trial::Trial;
    use crate::history::judge::judge;
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
            .breaks("an epoch of somebody else", |story| {
                let other = story.lead("berth-system/other", "one");
                story.by_leader("bind", other).phase("a", "Starting");
                story.by_leader("scheduler", other).phase("a", "Running")
            })
            .breaks("an epoch of nobody", |story| {
                story.by_leader("scheduler", FIRST + 1).phase("a", "Running")
            })
            .breaks("a leader without an epoch", |story| {
                story.by("scheduler").phase("a", "Starting").by("bind").phase("a", "Running")
            })
            .breaks("a controller that has no Lease", |story| story.by("app-controller").phase("a", "Running"))
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
                an epoch of somebody else
                  5: Task shop/a is written by bind in epoch 4 of berth-system/other; bind leads under berth-system/scheduler (shown by 4 5)
                  6: Task shop/a is written by scheduler in epoch 4 of berth-system/other; scheduler leads under berth-system/scheduler (shown by 2 4 6)
                an epoch of nobody
                  4: Task shop/a is written by scheduler in epoch 3, which never began (shown by 4)
                a leader without an epoch
                  4: Task shop/a is written by scheduler without an epoch (shown by 4)
                  5: Task shop/a is written by bind without an epoch (shown by 2 5)
                a controller that has no Lease
                  4: Task shop/a is written by app-controller without an epoch (shown by 4)
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
    fn a_run_says_who_is_forced_to_act() {
        let mut story = story();
        story
            .by("scheduler")
            .phase("a", "Starting")
            .by("bind")
            .phase("a", "Running")
            .by("node-controller")
            .phase("a", "Failed");
        let events = story.events();
        let judged = |forced: &[&str]| {
            let forced = forced.iter().map(ToString::to_string).collect();
            let run = Run { events: events.clone(), forced, ..Run::default() };
            judge(&run).iter().map(|found| found.rev).collect::<Vec<_>>()
        };
        assert_eq!(judged(&[]), [4, 5, 6]);
        assert_eq!(judged(&["scheduler"]), [6]);
        assert_eq!(judged(&["node-controller"]), [4, 5]);
        assert_eq!(judged(&["scheduler", "node-controller"]), Vec::<i64>::new());
    }

    #[test]
    fn two_leases_that_change_hands_in_one_revision_are_told_apart_by_the_writer() {
        fn both() -> Story {
            let mut story = Story::new();
            story.task("", "a", "1").together(|story| {
                for name in ["scheduler", "app"] {
                    let meta = json!({"name": name, "uid": story.uid()});
                    let lease = format!("berth-system/{name}");
                    story.put(
                        &key::lease(&lease),
                        json!({"metadata": meta, "spec": {"holderIdentity": "one"}}),
                    );
                    story.put(&key::epoch(&lease), json!({}));
                }
                story
            });
            assert_eq!(story.rev(), FIRST);
            story.lead("berth-system/app", "two");
            story
        }
        Trial::of("I9 fences", both)
            .keeps(|story| story.by_leader("scheduler", FIRST).phase("a", "Running"))
            .keeps(|story| story.by_leader("bind", FIRST).phase("a", "Running"))
            .breaks("the one that is over", |story| story.by_leader("app", FIRST).phase("a", "Running"))
            .shows(expect_test::expect![[r#"
                the one that is over
                  4: Task shop/a is written by app in epoch 2; berth-system/app is in epoch 3 (shown by 2 3 4)
            "#]]);
    }
}
