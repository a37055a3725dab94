//! The deadline of a stop: it moves only to an earlier time, whatever is asked meanwhile and however often the agent
//! starts anew, and what runs is killed at it.

use std::collections::BTreeMap;

use berth_types::task::{Container, Task};
use proptest::prelude::*;

use super::*;
use crate::journal::{Memory, Record};
use crate::remember::{Alive, new_stop, recall};

#[derive(Debug, Clone, Copy)]
enum Then {
    /// A stop is asked for, with this grace in milliseconds; its edits too.
    Asked(u64),
    Tick,
    /// The agent dies, and the next one goes by the journal.
    Restart,
}

fn object() -> Task {
    let mut task = Task::default();
    task.metadata.uid = uid(1).to_string();
    task.spec.drain_delay_seconds = Some(10);
    task.spec.containers =
        vec![Container { name: "a".into(), command: vec!["x".into()], ..Container::default() }];
    task
}

/// A Task whose only container ignores TERM, and what its agents journalled.
struct Stopping {
    state: State,
    memory: Memory,
    now: i64,
    killed: bool,
}

impl Stopping {
    fn begin() -> Self {
        let web = Assignment::try_from(&object()).unwrap();
        let mut memory = Memory::default();
        memory.take(Record::Task { task: Box::new(object()) });
        Self { state: Story::up(&web).state, memory, now: 1_000, killed: false }
    }

    fn course(&self) -> Option<Course> {
        self.state.task(&uid(1)).map(|run| run.course.clone())
    }

    fn take(&mut self, event: Event) {
        let before = self.course();
        let actions = step(&mut self.state, event, at(self.now));
        self.killed |= actions.contains(&Action::Kill(attempt(1, "a", 0)));
        let stop = new_stop(&uid(1), before.as_ref(), self.course().as_ref(), at(self.now));
        stop.into_iter().for_each(|record| self.memory.take(record));
    }

    fn then(&mut self, then: Then) {
        let assignment = Assignment::try_from(&object()).unwrap();
        match then {
            Then::Asked(grace) => {
                let grace = Duration::from_millis(grace);
                self.take(Event::Seen { assignment, wish: Wish::Stop { grace } });
            }
            Then::Tick => self.take(Event::Tick),
            Then::Restart => {
                let known = &self.memory.tasks[uid(1).as_str()];
                let alive = BTreeMap::from([("a".to_owned(), Alive { number: 0, since: Some(at(20)) })]);
                let run = recall(&uid(1), known, &alive, Home::Preparing, at(self.now));
                (self.state, self.killed) = (State::default(), false);
                self.take(Event::Adopted(Box::new(run)));
                self.take(Event::Prepared { task: uid(1), outcome: Ok(vec![]) });
            }
        }
    }

    fn deadline(&self) -> Option<i64> {
        self.course().and_then(|course| course.deadline()).map(Timestamp::millis)
    }
}

fn thens() -> impl Strategy<Value = Vec<(i64, Then)>> {
    let then = prop_oneof![
        4 => (0u64..40_000).prop_map(Then::Asked),
        1 => Just(Then::Asked(30_000)),
        3 => Just(Then::Tick),
        2 => Just(Then::Restart),
    ];
    prop::collection::vec((0i64..6_000, then), 1..12)
}

proptest! {
    #[test]
    fn the_deadline_of_a_stop_moves_only_to_an_earlier_time(first in 0u64..40_000, thens in thens()) {
        let mut task = Stopping::begin();
        task.then(Then::Asked(first));
        let mut deadline = task.deadline().unwrap();
        for (pause, then) in thens {
            task.now += pause;
            task.then(then);
            let now = task.deadline().unwrap();
            // One that passed while no agent ran is due at once.
            prop_assert!(now <= deadline.max(task.now), "{then:?} moved {deadline} to {now}");
            if let Then::Asked(grace) = then {
                // A shorter grace than was given shortens the drain too.
                let grace = i64::try_from(grace).unwrap();
                prop_assert!(now <= task.now + 10_000 + grace, "{then:?} leaves {now} at {}", task.now);
            }
            deadline = deadline.min(now);
        }
        task.now = deadline.max(task.now);
        task.then(Then::Tick);
        prop_assert!(task.killed, "it runs on at {}, after {deadline}", task.now);
    }
}

#[test]
fn a_shorter_grace_shortens_the_drain_and_the_same_one_changes_nothing() {
    for (thens, expected) in [
        (&[(0, Then::Asked(30_000))][..], 41_000),
        (&[(0, Then::Asked(30_000)), (2_000, Then::Asked(30_000))], 41_000),
        (&[(0, Then::Asked(30_000)), (2_000, Then::Asked(60_000))], 41_000),
        (&[(0, Then::Asked(30_000)), (2_000, Then::Asked(5_000))], 8_000),
        (&[(0, Then::Asked(30_000)), (2_000, Then::Asked(5_000)), (1_000, Then::Asked(30_000))], 8_000),
        (&[(0, Then::Asked(30_000)), (2_000, Then::Asked(5_000)), (1_000, Then::Restart)], 8_000),
        (&[(0, Then::Asked(30_000)), (12_000, Then::Tick), (5_000, Then::Restart)], 41_000),
        (&[(0, Then::Asked(30_000)), (5_000, Then::Restart), (1_000, Then::Asked(30_000))], 41_000),
        (&[(0, Then::Asked(30_000)), (12_000, Then::Tick), (1_000, Then::Asked(1_000))], 15_000),
        (&[(0, Then::Asked(30_000)), (90_000, Then::Restart), (0, Then::Asked(30_000))], 41_000),
    ] {
        let mut task = Stopping::begin();
        for (pause, then) in thens {
            task.now += pause;
            task.then(*then);
        }
        // One that passed while no agent ran is due at once.
        let deadline = task.deadline().unwrap();
        assert!(
            deadline == expected || (expected < task.now && deadline == task.now),
            "{thens:?}: {deadline}"
        );
    }
}
