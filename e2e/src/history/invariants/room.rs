//! I1: a Node is never given more than it has. A Task takes its room from Bind until its agent acknowledged its end,
//! whoever gave it up meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Invariant;
use crate::history::Object;
use crate::history::amounts::{Amounts, NAMES};
use crate::history::key::{self, Key, told};
use crate::history::state::{Change, Revision};
use crate::history::task;
use crate::history::violation::Breach;

/// What is taken of each Node stays within what it has, as far as it rises; a host port is taken once; a Task leaves
/// its Node only by its agent's word, or with the Node.
#[derive(Default)]
pub struct Room {
    /// By uid of the Node.
    loads: HashMap<Box<str>, Load>,
}

/// What the Tasks of a Node take together.
#[derive(Default)]
pub(super) struct Load {
    pub(super) sum: Amounts,
    pub(super) ports: BTreeMap<u16, u32>,
    pub(super) tasks: BTreeSet<String>,
}

/// What one Task takes of which Node.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Claim<'a> {
    node: &'a str,
    pub(super) uid: &'a str,
    amounts: Amounts,
    ports: &'a [u16],
}

impl<'a> Claim<'a> {
    /// Of a Task that is bound and has not ended.
    pub(super) fn of(object: Option<&'a Object>) -> Option<Self> {
        let (object, spec) = object.and_then(|object| Some((object, task::spec(object)?)))?;
        if spec.node_uid.is_empty() || task::is_over(object) {
            return None;
        }
        let amounts = spec.requests.max(object.status.allocated);
        Some(Self { node: &spec.node, uid: &spec.node_uid, amounts, ports: &spec.ports })
    }
}

impl Invariant for Room {
    fn name(&self) -> &'static str {
        "I1 room"
    }

    fn on_revision(&mut self, seen: &Revision<'_>, broken: &mut Vec<Breach>) {
        let mut rises = Vec::new();
        for change in seen.changes {
            if !matches!(change.about, Key::Object { kind: task::KIND, .. }) {
                continue;
            }
            let (was, now) = (Claim::of(change.was), Claim::of(change.now));
            left_without_a_word(seen, change, broken);
            if was == now {
                continue;
            }
            if let Some(old) = was {
                self.loads.entry(old.uid.into()).or_default().remove(change.key, &old);
            }
            let Some(new) = now else { continue };
            self.loads.entry(new.uid.into()).or_default().add(change.key, &new);
            rises.push((change.key, was.filter(|old| old.uid == new.uid), new));
        }
        for (key, before, new) in rises {
            self.judge(seen, key, before, new, broken);
        }
    }
}

impl Load {
    pub(super) fn add(&mut self, key: &str, claim: &Claim<'_>) {
        self.sum = self.sum.plus(claim.amounts);
        claim.ports.iter().for_each(|port| *self.ports.entry(*port).or_default() += 1);
        self.tasks.insert(key.into());
    }

    fn remove(&mut self, key: &str, claim: &Claim<'_>) {
        self.sum = self.sum.minus(claim.amounts);
        for port in claim.ports {
            let left = self.ports.remove(port).unwrap_or(0).saturating_sub(1);
            if left > 0 {
                self.ports.insert(*port, left);
            }
        }
        self.tasks.remove(key);
    }
}

impl Room {
    /// Whether what a Task takes more than before is there. What its Node lost meanwhile is nobody's fault.
    fn judge(
        &self,
        seen: &Revision<'_>,
        key: &str,
        before: Option<Claim<'_>>,
        new: Claim<'_>,
        broken: &mut Vec<Breach>,
    ) {
        let node_key = key::node(new.node);
        let node = seen.now(&node_key).filter(|node| *node.meta.uid == *new.uid);
        let (Some(node), load) = (node, &self.loads[new.uid]) else { return };
        let old = before.map_or(Amounts::default(), |old| old.amounts);
        let mut tell = |why: String| {
            let what = format!("{} takes room on Node {} that is not there: {why}", told(key), new.node);
            let keys = load.tasks.iter().cloned().chain([node_key.clone()]);
            broken.push(Breach::new(seen.rev, what, keys));
        };
        let free = node.status.allocatable.minus(load.sum);
        for at in 0..NAMES.len() {
            if new.amounts.0[at] > old.0[at] && free.0[at] < 0 {
                let (has, taken) = (node.status.allocatable.one(at), load.sum.one(at));
                tell(format!("of {has} its {} Tasks take {taken}", load.tasks.len()));
            }
        }
        let had = before.map_or(&[][..], |old| old.ports);
        for port in new.ports.iter().filter(|port| !had.contains(port) && load.ports[*port] > 1) {
            let others = load.tasks.iter().filter(|other| *other != key && holds(seen, other, *port));
            let others: Vec<String> = others.map(|other| told(other)).collect();
            tell(format!("host port {port} is taken by {}", others.join(", ")));
        }
    }
}

fn holds(seen: &Revision<'_>, task: &str, port: u16) -> bool {
    Claim::of(seen.now(task)).is_some_and(|claim| claim.ports.contains(&port))
}

/// A Task that takes room carries its Node's finalizer. Told to stop, it may go with its agent's last word; else only
/// with its Node.
fn left_without_a_word(seen: &Revision<'_>, change: &Change<'_>, broken: &mut Vec<Breach>) {
    let held = |object: &Object| object.meta.finalizers.iter().any(|name| **name == *"berth.dev/node");
    let Some(claim) = Claim::of(change.now).or(Claim::of(change.was)) else { return };
    let why = match (change.was, change.now) {
        (Some(was), None) if !was.is_deleting() => "is gone, and nobody told it to stop",
        (_, Some(now)) if !task::is_over(now) && !held(now) => "is bound without the finalizer of its agent",
        (Some(_) | None, _) => return,
    };
    let node_key = key::node(claim.node);
    if seen.before.get(&node_key).is_some_and(|node| *node.meta.uid == *claim.uid) {
        let what = format!("{} {why}; Node {} is there", told(change.key), claim.node);
        broken.push(Breach::new(seen.rev, what, [change.key, &node_key]));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::history::invariants::trial::Trial;
    use crate::history::key;
    use crate::history::story::Story;

    /// A Node of 2 cores, full: `a` on it is told to stop.
    fn full() -> Story {
        let mut story = Story::new();
        story.node("n1", "2").node("n2", "2").task("", "a", "1").task("", "b", "1").task("", "c", "1500m");
        story.bind("a", "n1").phase("a", "Running").bind("b", "n1").stop("a");
        story
    }

    #[test]
    fn room_is_given_once_and_until_the_agent_acknowledged_the_end() {
        let a = &key::task("shop", "a");
        Trial::of("I1 room", full)
            .keeps(|story| story.phase("a", "Failed").phase("b", "Succeeded").bind("c", "n1"))
            .keeps(|story| story.bind("c", "n2").resize("n2", "1"))
            .keeps(|story| story.remove_node("n1").node("n1", "2").bind("c", "n1"))
            .keeps(|story| {
                story.remove_node("n1").edit(a, |task| task["metadata"]["finalizers"] = json!([])).delete(a)
            })
            .breaks("told to stop, it still takes room", |story| {
                story.bind("c", "n1")
            })
            .breaks("given up, it still takes room", |story| {
                story.task_condition("b", "Reachable", "False", "GivenUp").stop("b").bind("c", "n1")
            })
            .breaks("a Node that shrank", |story| {
                story.resize("n2", "1").bind("c", "n2")
            })
            .breaks("what was allocated counts", |story| {
                story
                    .phase("a", "Failed")
                    .edit_task("b", |task| task["status"]["allocated"] = json!({"cpu": "1200m"}));
                story.task("", "d", "1").bind("d", "n1")
            })
            .breaks("what is allocated rises", |story| {
                story.edit_task("b", |task| task["status"]["allocated"] = json!({"cpu": "1500m"}))
            })
            .breaks("two in one revision", |story| {
                story.task("", "d", "1").together(|story| {
                    let uid = story.node_uid("n2");
                    story
                        .put(&key::ledger("n2"), json!({}))
                        .bind_alone("c", "n2", &uid)
                        .bind_alone("d", "n2", &uid)
                })
            })
            .breaks("it goes without being told to", |story| {
                story.delete(&key::task("shop", "b"))
            })
            .breaks("its finalizer goes early", |story| {
                story.edit(a, |task| task["metadata"]["finalizers"] = json!([]))
            })
            .shows(expect_test::expect![[r#"
                told to stop, it still takes room
                  10: Task shop/c takes room on Node n1 that is not there: of cpu 2000m its 3 Tasks take cpu 3500m (shown by 1 6 8 10)
                given up, it still takes room
                  12: Task shop/c takes room on Node n1 that is not there: of cpu 2000m its 3 Tasks take cpu 3500m (shown by 1 6 8 12)
                a Node that shrank
                  11: Task shop/c takes room on Node n2 that is not there: of cpu 1000m its 1 Tasks take cpu 1500m (shown by 10 11)
                what was allocated counts
                  13: Task shop/d takes room on Node n1 that is not there: of cpu 2000m its 2 Tasks take cpu 2200m (shown by 1 11 13)
                what is allocated rises
                  10: Task shop/b takes room on Node n1 that is not there: of cpu 2000m its 2 Tasks take cpu 2500m (shown by 1 6 10)
                two in one revision
                  11: Task shop/c takes room on Node n2 that is not there: of cpu 2000m its 2 Tasks take cpu 2500m (shown by 2 11 11)
                  11: Task shop/d takes room on Node n2 that is not there: of cpu 2000m its 2 Tasks take cpu 2500m (shown by 2 11 11)
                it goes without being told to
                  10: Task shop/b is gone, and nobody told it to stop; Node n1 is there (shown by 1 8 10)
                its finalizer goes early
                  10: Task shop/a is bound without the finalizer of its agent; Node n1 is there (shown by 1 10)
            "#]]);
    }

    #[test]
    fn a_host_port_is_given_once() {
        fn two() -> Story {
            let mut story = Story::new();
            story.node("n1", "4").node("n2", "4");
            for (name, port) in [("a", 80), ("b", 80), ("c", 81)] {
                let container = json!({"name": "main", "ports": [{"name": "http", "hostPort": port}]});
                story
                    .task("", name, "1")
                    .edit_task(name, |task| task["spec"]["containers"] = json!([container]));
            }
            story.bind("a", "n1");
            story
        }
        Trial::of("I1 room", two)
            .breaks("fixed twice", |story| {
                story.bind("b", "n1")
            })
            .breaks("fixed and assigned", |story| {
                let uid = story.node_uid("n1");
                story.together(|story| {
                    story.put(&key::ledger("n1"), json!({})).edit_task("c", |task| {
                        task["spec"]["nodeName"] = "n1".into();
                        task["spec"]["nodeUid"] = uid.into();
                        task["spec"]["assignedPorts"] = json!([{"name": "x", "port": 80}]);
                        task["metadata"]["finalizers"] = json!(["berth.dev/node"]);
                    })
                })
            })
            .shows(expect_test::expect![[r#"
                fixed twice
                  10: Task shop/b takes room on Node n1 that is not there: host port 80 is taken by Task shop/a (shown by 1 9 10)
                fixed and assigned
                  10: Task shop/c takes room on Node n1 that is not there: host port 80 is taken by Task shop/a (shown by 1 9 10)
            "#]]);
    }
}
