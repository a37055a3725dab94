//! The history itself: no revision twice or out of order, no write missing. A log with a hole proves nothing.

use std::collections::HashSet;

use super::Invariant;
use crate::history::key::told;
use crate::history::state::{Change, Revision};
use crate::history::violation::Breach;

/// Versions count up by one, deletes are of what is there, revisions ascend, and all of it can be read.
#[derive(Default)]
pub struct Whole {
    last: i64,
}

impl Invariant for Whole {
    fn name(&self) -> &'static str {
        "whole history"
    }

    fn on_revision(&mut self, seen: &Revision<'_>, broken: &mut Vec<Breach>) {
        if seen.rev <= self.last {
            let keys = seen.changes.iter().map(|change| change.key);
            broken.push(Breach::new(seen.rev, format!("it comes after revision {}", self.last), keys));
        }
        self.last = seen.rev;
        let mut keys = HashSet::new();
        for change in seen.changes {
            let twice =
                (seen.changes.len() > 1 && !keys.insert(change.key)).then(|| "is written twice".into());
            if let Some(why) = twice.or_else(|| fault(seen.rev, change)) {
                broken.push(Breach::new(seen.rev, format!("{} {why}", told(change.key)), [change.key]));
            }
        }
    }
}

fn fault(rev: i64, change: &Change<'_>) -> Option<String> {
    let counts = |object: &crate::history::Object| (object.stored.create_rev, object.stored.version);
    match (change.was.map(counts), change.now.map(counts)) {
        (None, None) => return Some("is deleted and was not there".into()),
        (Some(_), None) => return None,
        (None, Some(now)) if now != (rev, 1) => {
            return Some(format!("was not there, and has version {} since revision {}", now.1, now.0));
        }
        (Some(was), Some(now)) if now != (was.0, was.1 + 1) => {
            return Some(format!(
                "has version {} since revision {} after version {} since revision {}",
                now.1, now.0, was.1, was.0
            ));
        }
        (None | Some(_), Some(_)) => {}
    }
    let why = change.now.and_then(|object| object.unreadable.as_ref())?;
    Some(format!("cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use crate::history::Event;
    use crate::history::invariants::trial::Trial;
    use crate::history::story::Story;

    fn story() -> Story {
        let mut story = Story::new();
        story.node("n1", "4").task("", "web-0", "1").bind("web-0", "n1").phase("web-0", "Running");
        story.stop("web-0").phase("web-0", "Failed").task("", "web-0", "1");
        story
    }

    /// Where the Task's event of a revision stands.
    fn place(events: &[Event], rev: i64) -> usize {
        events.iter().position(|event| event.rev == rev && event.key.ends_with("web-0")).unwrap()
    }

    #[test]
    fn every_hole_is_found() {
        let without = |rev| move |events: &mut Vec<Event>| drop(events.remove(place(events, rev)));
        Trial::of("whole history", story)
            .keeps(|story| story)
            .breaks_log("a put is missing", story().events(), without(4))
            .breaks_log("the first put is missing", story().events(), without(2))
            .breaks_log("a delete is missing", story().events(), without(6))
            .breaks("what is not there is deleted", |story| {
                story.delete("/berth/berth.dev/tasks/shop/web-9")
            })
            .breaks_log("two revisions are swapped", story().events(), |events| {
                let at = place(events, 4);
                events.swap(at, at + 1)
            })
            .breaks_log("a put comes twice", story().events(), |events| {
                let at = place(events, 4);
                events.insert(at, events[at].clone())
            })
            .breaks_log("text is damaged", story().events(), |events| {
                let at = place(events, 4);
                events[at].now.as_mut().unwrap().json = r#"{"metadata":{"uid":7}}"#.into()
            })
            .shows(expect_test::expect![[r#"
                a put is missing
                  5: Task shop/web-0 has version 4 since revision 2 after version 2 since revision 2 (shown by 3 5)
                the first put is missing
                  3: Task shop/web-0 was not there, and has version 2 since revision 2 (shown by 3)
                a delete is missing
                  7: Task shop/web-0 has version 1 since revision 7 after version 4 since revision 2 (shown by 5 7)
                what is not there is deleted
                  8: Task shop/web-9 is deleted and was not there (shown by 8)
                two revisions are swapped
                  4: it comes after revision 5 (shown by 2 3 4)
                  4: Task shop/web-0 has version 3 since revision 2 after version 4 since revision 2 (shown by 2 3 4)
                  5: Task shop/web-0 has version 4 since revision 2 after version 2 since revision 2 (shown by 3 5)
                a put comes twice
                  4: Task shop/web-0 is written twice (shown by 4 4)
                text is damaged
                  4: Task shop/web-0 cannot be read: invalid type: integer `7`, expected a string at line 1 column 8 (shown by 3 4)
            "#]]);
    }
}
