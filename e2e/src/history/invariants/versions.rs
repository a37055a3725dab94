//! I13: what versions, generations and uids promise to whoever compares them.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::Invariant;
use crate::history::Object;
use crate::history::key::{Key, told};
use crate::history::state::{Change, Revision};
use crate::history::text;
use crate::history::violation::Breach;

/// A write changes something; a generation counts the changes of a spec; identity never changes and never comes again;
/// the writes of a revision stand in an order.
#[derive(Default)]
pub struct Versions {
    /// Every uid there ever was, with the key and the revision in which it came to be.
    uids: HashMap<Box<str>, (Box<str>, i64)>,
}

impl Invariant for Versions {
    fn name(&self) -> &'static str {
        "I13 versions"
    }

    fn on_revision(&mut self, seen: &Revision<'_>, broken: &mut Vec<Breach>) {
        positions(seen, broken);
        for change in seen.changes {
            let (Key::Object { kind, .. }, Some(now)) = (change.about, change.now) else { continue };
            let mut tell = |why: String, other: Option<&str>| {
                let keys = std::iter::once(change.key).chain(other);
                broken.push(Breach::new(seen.rev, format!("{} {why}", told(change.key)), keys));
            };
            match change.was {
                Some(was) => self.changed(kind, was, now, &mut |why| tell(why, None)),
                None => self.created(change, now, &mut tell),
            }
            if now.meta.generation > 0 && now.status.observed > now.meta.generation {
                let (observed, generation) = (now.status.observed, now.meta.generation);
                tell(format!("speaks of generation {observed}, and is at {generation}"), None);
            }
        }
    }
}

impl Versions {
    fn created(&mut self, change: &Change<'_>, now: &Object, tell: &mut impl FnMut(String, Option<&str>)) {
        if now.meta.generation > 1 {
            tell(format!("begins with generation {}", now.meta.generation), None);
        }
        if now.meta.uid.is_empty() {
            return tell("has no uid".into(), None);
        }
        let here = (change.key.into(), now.rev);
        if let Some((key, rev)) = self.uids.insert(now.meta.uid.clone(), here) {
            let first = format!("{} in revision {rev}", told(&key));
            tell(format!("has uid {}, which was given to {first}", now.meta.uid), Some(&key));
        }
    }

    fn changed(&self, kind: &str, was: &Object, now: &Object, tell: &mut impl FnMut(String)) {
        if unchanged(was, now) {
            return tell("is written without a change".into());
        }
        let (old, new) = (&was.meta, &now.meta);
        if old.uid != new.uid {
            tell(format!("has uid {} after {}", new.uid, old.uid));
        }
        if old.created != new.created {
            tell(format!("was created at {} and then at {}", old.created, new.created));
        }
        if old.deleted.is_some() && old.deleted != new.deleted {
            let next = new.deleted.as_deref().unwrap_or("never");
            tell(format!(
                "was to go since {}, and then since {next}",
                old.deleted.as_deref().unwrap_or_default()
            ));
        }
        let risen = new.generation - old.generation;
        match (spec_changed(kind, was, now), risen) {
            (true, 1) | (false, 0) => {}
            // Kinds without status have no generation.
            (true, 0) if new.generation == 0 => {}
            (true, _) => {
                tell(format!("has another spec, and generation {} after {}", new.generation, old.generation));
            }
            (false, _) => {
                tell(format!(
                    "has the same spec, and generation {} after {}",
                    new.generation, old.generation
                ));
            }
        }
    }
}

/// Whether two states say the same; part by part, for most parts are the same text.
fn unchanged(was: &Object, now: &Object) -> bool {
    let names = |object: &Object| object.parts().map(|(name, _)| name.len()).sum::<usize>();
    let mut pairs = was.parts().zip(now.parts());
    if names(was) == names(now) && pairs.clone().all(|(old, new)| old.0 == new.0) {
        return pairs.all(|(old, new)| was.shares(now, old.0) || text::same(old.1, new.1));
    }
    text::same(&was.stored.json, &now.stored.json)
}

fn positions(seen: &Revision<'_>, broken: &mut Vec<Breach>) {
    if seen.changes.len() < 2 {
        return;
    }
    let mut taken = HashMap::new();
    for change in seen.changes {
        let Some(now) = change.now else { continue };
        let position = now.stored.header.position;
        if let Some(first) = taken.insert(position, change.key) {
            let what = format!("{} and {} both stand at position {position}", told(first), told(change.key));
            broken.push(Breach::new(seen.rev, what, [first, change.key]));
        }
    }
}

/// Where a Task is bound is no part of what was asked for.
const PLACEMENT: [&str; 3] = ["nodeName", "nodeUid", "assignedPorts"];

/// Whether anything but metadata and status differs.
fn spec_changed(kind: &str, was: &Object, now: &Object) -> bool {
    let same = |(old, new): ((&str, &str), (&str, &str))| {
        old.0 == new.0 && (was.shares(now, old.0) || old.1 == new.1)
    };
    if rest(was).count() == rest(now).count() && rest(was).zip(rest(now)).all(same) {
        return false;
    }
    let names: HashSet<&str> = rest(was).chain(rest(now)).map(|(name, _)| name).collect();
    names.into_iter().any(|name| match (was.part(name), now.part(name)) {
        (Some(old), Some(new)) if kind == "berth.dev/tasks" && name == "spec" => {
            !unplaced(old).eq(unplaced(new)) && unplaced_tree(old) != unplaced_tree(new)
        }
        (Some(old), Some(new)) => !text::same(old, new),
        (old, new) => old != new,
    })
}

fn rest(object: &Object) -> impl Iterator<Item = (&str, &str)> {
    object.parts().filter(|(name, _)| !matches!(*name, "metadata" | "status"))
}

fn unplaced(spec: &str) -> impl Iterator<Item = (&str, &str)> {
    let fields = text::fields(spec).map(|(name, value)| (&spec[name], &spec[value]));
    fields.filter(|(name, _)| !PLACEMENT.contains(name))
}

/// For fields in another order.
fn unplaced_tree(spec: &str) -> Option<Value> {
    let mut tree: Value = serde_json::from_str(spec).ok()?;
    let fields = tree.as_object_mut()?;
    PLACEMENT.iter().for_each(|field| drop(fields.remove(*field)));
    Some(tree)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::history::invariants::trial::Trial;
    use crate::history::key;
    use crate::history::story::{Story, raise};

    fn story() -> Story {
        let mut story = Story::new();
        story.node("n1", "4").app("web", json!({"replicas": 1}));
        story.task("web", "web-0", "1").bind("web-0", "n1").phase("web-0", "Running");
        story
    }

    #[test]
    fn every_broken_version_is_found() {
        let (web, app) = (&key::task("shop", "web-0"), &key::app("shop", "web"));
        Trial::of("I13 versions", story)
            .keeps(|story| {
                story.scale("web", 2).observed("web").stop("web-0").phase("web-0", "Failed");
                story.task("web", "web-0", "1")
            })
            .breaks("nothing changes", |story| {
                story.edit(web, |_| {})
            })
            .breaks("a spec changes silently", |story| {
                story.edit(app, |app| app["spec"]["replicas"] = 2.into())
            })
            .breaks("a generation rises for nothing", |story| {
                story.edit(app, raise)
            })
            .breaks("a generation rises twice", |story| {
                story.scale("web", 2).edit(app, |app| {
                    app["spec"]["replicas"] = 3.into();
                    raise(app);
                    raise(app);
                })
            })
            .breaks("a status is ahead", |story| {
                story.edit(app, |app| app["status"]["observedGeneration"] = 2.into())
            })
            .breaks("a uid changes", |story| {
                story.edit(web, |task| task["metadata"]["uid"] = "f".into())
            })
            .breaks("a creation moves", |story| {
                story.edit(web, |task| task["metadata"]["creationTimestamp"] = "2027".into())
            })
            .breaks("the dying lives on", |story| {
                let revive =
                    |task: &mut serde_json::Value| task["metadata"]["deletionTimestamp"] = json!(null);
                story.stop("web-0").edit(web, revive)
            })
            .breaks("a uid comes again", |story| {
                let twin = story.object(web).unwrap().clone();
                story.put(&key::task("shop", "web-1"), twin)
            })
            .breaks("a uid outlives its object", |story| {
                let last = story.object(web).unwrap().clone();
                story.delete(web).put(web, last)
            })
            .breaks_log("two stand in one place", story().events(), |events| {
                events[1].now.as_mut().unwrap().header.position = 0
            })
            .shows(expect_test::expect![[r#"
                nothing changes
                  6: Task shop/web-0 is written without a change (shown by 5 6)
                a spec changes silently
                  6: App shop/web has another spec, and generation 1 after 1 (shown by 2 6)
                a generation rises for nothing
                  6: App shop/web has the same spec, and generation 2 after 1 (shown by 2 6)
                a generation rises twice
                  7: App shop/web has another spec, and generation 4 after 2 (shown by 6 7)
                a status is ahead
                  6: App shop/web speaks of generation 2, and is at 1 (shown by 6)
                a uid changes
                  6: Task shop/web-0 has uid f after 00000000000000000000000000000003 (shown by 3 6)
                a creation moves
                  6: Task shop/web-0 was created at 2026-01-01T00:00:00Z and then at 2027 (shown by 3 6)
                the dying lives on
                  7: Task shop/web-0 was to go since 2026-01-01T00:01:00Z, and then since never (shown by 6 7)
                a uid comes again
                  6: Task shop/web-1 has uid 00000000000000000000000000000003, which was given to Task shop/web-0 in revision 3 (shown by 3 6)
                a uid outlives its object
                  7: Task shop/web-0 has uid 00000000000000000000000000000003, which was given to Task shop/web-0 in revision 3 (shown by 3 6 7)
                two stand in one place
                  1: ledger of n1 and Node n1 both stand at position 0 (shown by 1 1)
            "#]]);
    }
}
