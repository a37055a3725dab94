//! I10: nothing goes before its time. What a finalizer holds is told to go first; what belongs to several owners stays
//! as long as one of them is there, and the collector takes nothing whose owner is there.
//!
//! The store does not say who deleted a key. The collector is known by its mark on what a finalizer holds; an object that
//! goes at once is judged only if one of its owners is gone and another is not: nobody else asks for that.

use std::collections::HashMap;

use super::Invariant;
use crate::history::Object;
use crate::history::key::{self, Key, told};
use crate::history::state::{Change, Revision};
use crate::history::task;
use crate::history::violation::Breach;

/// Who collects what belongs to nobody.
const COLLECTOR: &str = "garbage-collector";
const EVENTS: &str = "core/events";

/// Finalizers are asked, and owners that are there keep what is theirs.
#[derive(Default)]
pub struct Going {
    /// Keys by the uid of what lies there.
    there: HashMap<Box<str>, Box<str>>,
}

impl Invariant for Going {
    fn name(&self) -> &'static str {
        "I10 going"
    }

    fn on_revision(&mut self, seen: &Revision<'_>, broken: &mut Vec<Breach>) {
        for change in seen.changes {
            let Some(was) = change.was.filter(|was| !was.is_deleting()) else { continue };
            match change.now {
                None if !was.meta.finalizers.is_empty() => {
                    let held = was.meta.finalizers.join(", ");
                    let what = format!("{} is gone at once, and {held} held it", told(change.key));
                    broken.push(Breach::new(seen.rev, what, [change.key]));
                }
                None if self.has_lost_an_owner(was) => self.owned(seen, change, was, "is gone", broken),
                Some(now) if now.is_deleting() && now.stored.header.writer == COLLECTOR => {
                    self.owned(seen, change, was, "is collected", broken);
                }
                None | Some(_) => {}
            }
        }
        for change in seen.changes {
            self.learn(change);
        }
    }
}

impl Going {
    fn learn(&mut self, change: &Change<'_>) {
        let uid = |object: Option<&Object>| object.map(|object| object.meta.uid.clone()).unwrap_or_default();
        let (was, now) = (uid(change.was), uid(change.now));
        if was == now {
            return;
        }
        self.there.remove(&was);
        if !now.is_empty() {
            self.there.insert(now, change.key.into());
        }
    }

    fn has_lost_an_owner(&self, object: &Object) -> bool {
        object.meta.owners.iter().any(|owner| !self.there.contains_key(&owner.uid))
    }

    /// Somebody may go whose owner is there: what is at its end, what has its Node or Namespace going.
    fn owned(
        &self,
        seen: &Revision<'_>,
        change: &Change<'_>,
        was: &Object,
        how: &str,
        broken: &mut Vec<Breach>,
    ) {
        let Key::Object { kind, namespace, .. } = change.about else { return };
        let namespace = seen.before.get(&key::namespace(namespace));
        if kind == EVENTS || task::is_over(was) || namespace.is_some_and(Object::is_deleting) {
            return;
        }
        let node = task::spec(was).filter(|task| !task.node_uid.is_empty());
        let node = node.map(|task| (key::node(&task.node), &*task.node_uid));
        let has_node =
            |(key, uid): &(String, &str)| seen.before.get(key).is_some_and(|node| *node.meta.uid == **uid);
        if node.as_ref().is_some_and(|node| !has_node(node)) {
            return;
        }
        let mut owners = was.meta.owners.iter().filter_map(|owner| self.there.get(&owner.uid));
        let Some(owner) = owners.next() else { return };
        let what = format!("{} {how}, and its owner {} is there", told(change.key), told(owner));
        let keys = [change.key.to_owned(), owner.to_string()].into_iter();
        broken.push(Breach::new(seen.rev, what, keys.chain(node.map(|(key, _)| key))));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::history::invariants::trial::Trial;
    use crate::history::key;
    use crate::history::story::{NAMESPACE, Story};

    /// The epoch of the collector.
    const EPOCH: i64 = 1;

    /// `held` runs on a Node and belongs to two Apps, `free` waits and belongs to both, `own` waits and belongs to one.
    fn story() -> Story {
        let mut story = Story::new();
        assert_eq!(story.by("garbage-collector").lead("berth-system/garbage-collector", "one"), EPOCH);
        let meta = json!({"name": NAMESPACE, "uid": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"});
        story.by("ctl").put(&key::namespace(NAMESPACE), json!({"metadata": meta}));
        story.node("n1", "4").app("one", json!({})).app("two", json!({}));
        for task in ["held", "free", "own"] {
            let app = if task == "own" { "two" } else { "one" };
            story.task(app, task, "1");
        }
        let two = story.object(&key::app(NAMESPACE, "two")).unwrap()["metadata"]["uid"].clone();
        for task in ["held", "free"] {
            story.edit_task(task, |task| {
                let owners = task["metadata"]["ownerReferences"].as_array_mut().unwrap();
                owners.push(json!({"kind": "App", "name": "two", "uid": two}));
            });
        }
        story.bind("held", "n1").phase("held", "Running");
        story
    }

    fn gone(story: &mut Story, app: &str) {
        story.delete(&key::app(NAMESPACE, app));
    }

    fn collect<'a>(story: &'a mut Story, task: &str) -> &'a mut Story {
        story.by_leader("garbage-collector", EPOCH).stop(task).by("ctl")
    }

    #[test]
    fn what_has_an_owner_or_a_finalizer_does_not_go_at_once() {
        Trial::of("I10 going", story)
            .keeps(|story| story.stop("held").phase("held", "Failed").stop("free").stop("own"))
            .keeps(|story| {
                gone(story, "one");
                gone(story, "two");
                collect(story, "held");
                collect(story, "free");
                collect(story, "own")
            })
            .keeps(|story| {
                story.phase("held", "Failed");
                gone(story, "one");
                collect(story, "held")
            })
            .keeps(|story| collect(story.remove_node("n1"), "held"))
            .keeps(|story| {
                story.edit(&key::namespace(NAMESPACE), |namespace| {
                    namespace["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z".into();
                });
                collect(story, "held")
            })
            .breaks("gone without its finalizer", |story| story.delete(&key::task(NAMESPACE, "held")))
            .breaks("the collector takes what all owners need", |story| collect(story, "held"))
            .breaks("the collector takes what one owner needs", |story| {
                gone(story, "one");
                collect(story, "held")
            })
            .breaks("the other owner", |story| {
                gone(story, "two");
                collect(story, "held")
            })
            .breaks("it goes at once, and one owner needs it", |story| {
                gone(story, "two");
                story.delete(&key::task(NAMESPACE, "free"))
            })
            .shows(expect_test::expect![[r#"
                gone without its finalizer
                  13: Task shop/held is gone at once, and berth.dev/node held it (shown by 11 13)
                the collector takes what all owners need
                  13: Task shop/held is collected, and its owner App shop/one is there (shown by 4 6 13)
                the collector takes what one owner needs
                  14: Task shop/held is collected, and its owner App shop/two is there (shown by 5 9 14)
                the other owner
                  14: Task shop/held is collected, and its owner App shop/one is there (shown by 4 6 14)
                it goes at once, and one owner needs it
                  14: Task shop/free is gone, and its owner App shop/one is there (shown by 4 10 14)
            "#]]);
    }
}
