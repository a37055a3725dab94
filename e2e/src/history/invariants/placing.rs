//! I1: a Task is bound to a Node as it stands, and every Bind shows in the Node's ledger: so who decided on another
//! Node, or did not see another Bind, has lost.

use super::Invariant;
use crate::history::key::{self, Key, told};
use crate::history::object::{Object, Truth};
use crate::history::spec::{NodeSpec, Spec, TaskSpec};
use crate::history::state::{Change, Revision};
use crate::history::task;
use crate::history::violation::Breach;

/// No Bind to a Node that is gone, another, cordoned, not ready, or keeps the Task away; no Bind that its ledger does
/// not show; a ledger as long as its Node.
pub struct Placing;

impl Invariant for Placing {
    fn name(&self) -> &'static str {
        "I1 placing"
    }

    fn on_revision(&mut self, seen: &Revision<'_>, broken: &mut Vec<Breach>) {
        for change in seen.changes {
            match change.about {
                Key::Object { kind: task::KIND, .. } => bound(seen, change, broken),
                Key::Object { kind: "berth.dev/nodes", name, .. } => paired(seen, name, broken),
                // Already told with its Node.
                Key::Ledger(node) if seen.change(&key::node(node)).is_none() => paired(seen, node, broken),
                Key::Object { .. } | Key::Ledger(_) | Key::Epoch(_) | Key::Other => {}
            }
        }
    }
}

/// A Node and its ledger come and go together.
fn paired(seen: &Revision<'_>, node: &str, broken: &mut Vec<Breach>) {
    let (node_key, ledger_key) = (key::node(node), key::ledger(node));
    let what = match (seen.now(&node_key), seen.now(&ledger_key)) {
        (Some(_), None) => format!("Node {node} is there without its ledger"),
        (None, Some(_)) => format!("the ledger of Node {node} is there without it"),
        (Some(_), Some(_)) | (None, None) => return,
    };
    broken.push(Breach::new(seen.rev, what, [node_key, ledger_key]));
}

fn bound(seen: &Revision<'_>, change: &Change<'_>, broken: &mut Vec<Breach>) {
    let bound =
        |object: Option<&Object>| object.and_then(task::spec).is_some_and(|spec| !spec.node_uid.is_empty());
    let Some(spec) = change.now.and_then(task::spec) else { return };
    if bound(change.was) || !bound(change.now) {
        return;
    }
    let (node_key, ledger_key) = (key::node(&spec.node), key::ledger(&spec.node));
    let node = seen.before.get(&node_key);
    let unseen = seen.change(&ledger_key).is_none_or(|ledger| ledger.was.is_none() || ledger.now.is_none());
    let unseen = unseen.then(|| "does not show in its ledger".to_string());
    for why in unfit(node, spec).into_iter().chain(unseen) {
        let what = format!("the Bind of {} to Node {}: {why}", told(change.key), spec.node);
        broken.push(Breach::new(seen.rev, what, [change.key, &node_key, &ledger_key]));
    }
}

/// Why a Task may not be bound to a Node that looks like this.
fn unfit(node: Option<&Object>, task: &TaskSpec) -> Option<String> {
    let Some(node) = node else { return Some("there is no such Node".into()) };
    if node.meta.uid != task.node_uid {
        return Some(format!("it has uid {}, and was decided on {}", node.meta.uid, task.node_uid));
    }
    kept_away(node, task)
}

/// What of a Node keeps a Task away, whatever room it has.
pub(super) fn kept_away(node: &Object, task: &TaskSpec) -> Option<String> {
    let nothing = NodeSpec::default();
    let spec = if let Spec::Node(spec) = &*node.spec { spec } else { &nothing };
    if spec.unschedulable {
        return Some("it is cordoned".into());
    }
    if node.status.ready != Truth::True {
        return Some("it is not ready".into());
    }
    if spec.taints.iter().any(|taint| !taint.is_tolerated(&task.tolerations)) {
        return Some("a taint keeps it away".into());
    }
    let has = |(name, value): (&String, &String)| {
        node.meta.labels.get(name.as_str()).is_some_and(|held| **held == **value)
    };
    let missing = task.selector.iter().find(|wanted| !has(*wanted));
    missing.map(|(name, value)| format!("its labels are not {name}={value}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::history::invariants::trial::Trial;
    use crate::history::key;
    use crate::history::story::{Story, raise};

    fn story() -> Story {
        let mut story = Story::new();
        story.node("n1", "2").task("", "a", "1").task("", "b", "1").bind("a", "n1");
        story
    }

    #[test]
    fn a_bind_needs_the_node_as_it_stands_and_shows_in_its_ledger() {
        let node = &key::node("n1");
        Trial::of("I1 placing", story)
            .keeps(|story| {
                story.bind("b", "n1").cordon("n1").node_ready("n1", "False").remove_node("n1")
            })
            .breaks("cordoned", |story| {
                story.cordon("n1").bind("b", "n1")
            })
            .breaks("not ready", |story| {
                story.node_ready("n1", "False").bind("b", "n1")
            })
            .breaks("tainted", |story| {
                let taint = |node: &mut serde_json::Value| {
                    node["spec"]["taints"] = json!([{"key": "x", "effect": "NoSchedule"}]);
                    raise(node);
                };
                story.edit(node, taint).bind("b", "n1")
            })
            .breaks("without the label", |story| {
                story.edit_task("b", |task| task["spec"]["nodeSelector"] = json!({"disk": "fast"}));
                story.bind("b", "n1")
            })
            .breaks("joined again", |story| {
                let uid = story.node_uid("n1");
                story.remove_node("n1").node("n1", "2").together(|story| {
                    story.put(&key::ledger("n1"), json!({})).bind_alone("b", "n1", &uid)
                })
            })
            .breaks("gone", |story| {
                let uid = story.node_uid("n1");
                story.remove_node("n1").bind_alone("b", "n1", &uid)
            })
            .breaks("a ledger that does not know", |story| {
                let uid = story.node_uid("n1");
                story.bind_alone("b", "n1", &uid)
            })
            .breaks("a Node without ledger", |story| {
                story.delete(&key::ledger("n1"))
            })
            .breaks("a ledger without Node", |story| {
                story.delete(node)
            })
            .shows(expect_test::expect![[r#"
                cordoned
                  6: the Bind of Task shop/b to Node n1: it is cordoned (shown by 5 6)
                not ready
                  6: the Bind of Task shop/b to Node n1: it is not ready (shown by 5 6)
                tainted
                  6: the Bind of Task shop/b to Node n1: a taint keeps it away (shown by 5 6)
                without the label
                  6: the Bind of Task shop/b to Node n1: its labels are not disk=fast (shown by 1 6)
                joined again
                  7: the Bind of Task shop/b to Node n1: it has uid 00000000000000000000000000000004, and was decided on 00000000000000000000000000000001 (shown by 6 7)
                gone
                  6: the Bind of Task shop/b to Node n1: there is no such Node (shown by 5 6)
                  6: the Bind of Task shop/b to Node n1: does not show in its ledger (shown by 6)
                a ledger that does not know
                  5: the Bind of Task shop/b to Node n1: does not show in its ledger (shown by 5)
                a Node without ledger
                  5: Node n1 is there without its ledger (shown by 1 5)
                a ledger without Node
                  5: the ledger of Node n1 is there without it (shown by 1 5)
            "#]]);
    }
}
