//! I2: a Task is bound once and lives once. Its node never changes, its phase only goes forward, its end is final.

use super::Invariant;
use crate::history::Object;
use crate::history::key::{Key, told};
use crate::history::state::Revision;
use crate::history::task;
use crate::history::violation::Breach;

/// The node of a Task is written once, its phase only goes forward.
pub struct Binding;

impl Invariant for Binding {
    fn name(&self) -> &'static str {
        "I2 binding"
    }

    fn on_revision(&mut self, seen: &Revision<'_>, broken: &mut Vec<Breach>) {
        for change in seen.changes {
            let (Key::Object { kind: task::KIND, .. }, Some(now)) = (change.about, change.now) else {
                continue;
            };
            for why in [moved(change.was, now), back(change.was, now)].into_iter().flatten() {
                broken.push(Breach::new(seen.rev, format!("{} {why}", told(change.key)), [change.key]));
            }
        }
    }
}

fn moved(was: Option<&Object>, now: &Object) -> Option<String> {
    let (old, new) = (was.and_then(task::spec)?, task::spec(now)?);
    if old.node_uid.is_empty() || (&old.node, &old.node_uid) == (&new.node, &new.node_uid) {
        return None;
    }
    let (from, to) = ((&old.node, &old.node_uid), (&new.node, &new.node_uid));
    Some(format!("is moved from Node {} ({}) to Node {} ({})", from.0, from.1, to.0, to.1))
}

fn back(was: Option<&Object>, now: &Object) -> Option<String> {
    let place = |object: &Object| match &*object.status.phase {
        "" => Some(0),
        phase => task::PHASES.iter().position(|known| *known == phase),
    };
    let phase = &now.status.phase;
    let Some(next) = place(now) else { return Some(format!("has phase `{phase}`, which is none")) };
    let was = was?;
    let last = place(was)?;
    let goes_on = next == last || (next > last && !task::is_over(was));
    (!goes_on).then(|| format!("is {phase} after {}", was.status.phase))
}

#[cfg(test)]
mod tests {
    use crate::history::invariants::trial::Trial;
    use crate::history::story::Story;

    fn running() -> Story {
        let mut story = Story::new();
        story.node("n1", "2").node("n2", "2").task("", "a", "1").bind("a", "n1").phase("a", "Running");
        story
    }

    #[test]
    fn a_task_is_bound_once_and_ends_once() {
        Trial::of("I2 binding", running)
            .keeps(|story| story.phase("a", "Stopping").phase("a", "Succeeded").stop("a"))
            .breaks("bound again", |story| {
                let uid = story.node_uid("n2");
                story.bind_alone("a", "n2", &uid)
            })
            .breaks("bound to the next of that name", |story| {
                let uid = story.remove_node("n1").node("n1", "2").node_uid("n1");
                story.bind_alone("a", "n1", &uid)
            })
            .breaks("let go", |story| {
                story.bind_alone("a", "", "")
            })
            .breaks("it starts again", |story| {
                story.phase("a", "Starting")
            })
            .breaks("it lives again", |story| {
                story.phase("a", "Failed").phase("a", "Running")
            })
            .breaks("it ends twice", |story| {
                story.phase("a", "Succeeded").phase("a", "Failed")
            })
            .breaks("a phase that is none", |story| {
                story.phase("a", "Paused")
            })
            .shows(expect_test::expect![[r#"
                bound again
                  6: Task shop/a is moved from Node n1 (00000000000000000000000000000001) to Node n2 (00000000000000000000000000000002) (shown by 4 6)
                bound to the next of that name
                  8: Task shop/a is moved from Node n1 (00000000000000000000000000000001) to Node n1 (00000000000000000000000000000004) (shown by 4 8)
                let go
                  6: Task shop/a is moved from Node n1 (00000000000000000000000000000001) to Node  () (shown by 4 6)
                it starts again
                  6: Task shop/a is Starting after Running (shown by 5 6)
                it lives again
                  7: Task shop/a is Running after Failed (shown by 6 7)
                it ends twice
                  7: Task shop/a is Failed after Succeeded (shown by 6 7)
                a phase that is none
                  6: Task shop/a has phase `Paused`, which is none (shown by 6)
            "#]]);
    }
}
