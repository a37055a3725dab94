//! Laws over generated worlds: a small fake node answers the plan's actions in any order, containers exit when they
//! like, shims die, Tasks are deleted, and what must never happen is looked for after every step.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A node on which actions wait until they are carried out.
#[derive(Default)]
struct Node {
    state: State,
    now: i64,
    pending: Vec<Action>,
    running: BTreeSet<Attempt>,
    started: BTreeMap<(TaskUid, String), u32>,
    deleted: bool,
    acknowledged: bool,
}

impl Node {
    fn tell(&mut self, event: Event) {
        let actions = step(&mut self.state, event, at(self.now));
        for action in actions {
            self.judge(&action);
            match action {
                Action::Forget(_) | Action::TellUnknown { .. } => {}
                other => self.pending.push(other),
            }
        }
    }

    fn judge(&self, action: &Action) {
        if let Action::Start(attempt) = action {
            let twin = |other: &Attempt| other.task == attempt.task && other.container == attempt.container;
            assert!(!self.running.iter().any(twin), "two attempts at once: {attempt:?}");
            let starts = |a: &&Action| matches!(a, Action::Start(other) if twin(other));
            assert_eq!(self.pending.iter().filter(starts).count(), 0, "started twice: {attempt:?}");
            let before = self.started.get(&(attempt.task.clone(), attempt.container.clone()));
            assert!(before.is_none_or(|n| attempt.number > *n), "an attempt again: {attempt:?}");
            assert!(!self.deleted, "started after its deletion: {attempt:?}");
        }
        if let Action::CleanUp { .. } = action {
            assert!(self.running.is_empty(), "cleaned while it runs");
        }
        assert!(!self.acknowledged, "acted after the acknowledgement: {action:?}");
    }

    fn carry_out(&mut self, action: Action, well: bool) {
        let trouble = || Trouble { reason: "CreateError", message: "no".into() };
        let outcome = if well { Ok(()) } else { Err(trouble()) };
        match action {
            Action::Prepare(task) => self.tell(Event::Prepared { task, outcome: outcome.map(|()| vec![]) }),
            Action::Start(attempt) => {
                self.started.insert((attempt.task.clone(), attempt.container.clone()), attempt.number);
                if well {
                    self.running.insert(attempt.clone());
                }
                let outcome = outcome.map(|()| at(self.now));
                self.tell(Event::Started { attempt, outcome });
            }
            Action::Terminate(attempt) if well => self.exit(&attempt, 143),
            Action::Terminate(_) => {}
            Action::Kill(attempt) => self.exit(&attempt, 137),
            Action::Check { attempt, probe, .. } => {
                let finding = if well { Finding::Good } else { Finding::Bad("no".into()) };
                self.tell(Event::Checked { attempt, probe, finding });
            }
            Action::CleanUp { task, .. } => self.tell(Event::Cleaned { task, outcome }),
            Action::Forget(_) | Action::TellUnknown { .. } => {}
        }
    }

    fn exit(&mut self, attempt: &Attempt, code: i32) {
        if self.running.remove(attempt) {
            let exit = exit(code, self.now);
            self.tell(Event::Exited { attempt: attempt.clone(), exit });
        }
    }

    fn begun(&self) -> BTreeSet<Attempt> {
        let began = |((task, container), number): (&(TaskUid, String), &u32)| Attempt {
            task: task.clone(),
            container: container.clone(),
            number: *number,
        };
        self.started.iter().map(began).collect()
    }

    fn is_done(&self) -> bool {
        self.state.task(&uid(1)).is_some_and(|run| matches!(run.course, Course::Done { .. }))
    }

    fn happens(&mut self, choice: &Choice, web: &Assignment) {
        match choice {
            Choice::CarryOut { which, well } => {
                if !self.pending.is_empty() {
                    let action = self.pending.remove(which % self.pending.len());
                    self.carry_out(action, *well);
                }
            }
            Choice::Exit { code } => {
                if let Some(attempt) = self.running.first().cloned() {
                    self.exit(&attempt, *code);
                }
            }
            Choice::Wait { millis } => {
                self.now += millis;
                self.tell(Event::Tick);
            }
            Choice::LoseShim => {
                self.running.clear();
                // Whoever prepares is who tells of the loss.
                let alive = |action: &Action| {
                    use Action::{Kill, Prepare, Start, Terminate};
                    !matches!(action, Prepare(_) | Terminate(_) | Kill(_) | Start(_))
                };
                self.pending.retain(alive);
                self.tell(Event::ShimLost { task: uid(1), ends: Vec::new(), begun: self.begun() });
            }
            Choice::Delete => {
                self.deleted = true;
                self.tell(stop(web));
            }
            Choice::SeeAgain if !self.deleted => {
                self.tell(Event::Seen { assignment: web.clone(), wish: Wish::Run });
            }
            Choice::SeeAgain => self.tell(stop(web)),
        }
    }

    /// Carries everything out, well, until nothing is left to do, and waits where there is something to wait for.
    fn settle(&mut self, web: &Assignment) {
        for _ in 0..500 {
            if self.is_done() {
                self.tell(Event::Seen { assignment: web.clone(), wish: Wish::Ended });
                self.acknowledged = true;
                return;
            }
            match (self.pending.pop(), self.state.next_due()) {
                (Some(action), _) => self.carry_out(action, true),
                (None, Some(due)) => {
                    self.now = self.now.max(due.millis());
                    self.tell(Event::Tick);
                }
                (None, None) => panic!("nothing to do and nothing to wait for: {:?}", self.state),
            }
        }
        panic!("it does not settle: {:?}", self.state);
    }
}

#[derive(Debug, Clone)]
enum Choice {
    CarryOut { which: usize, well: bool },
    Exit { code: i32 },
    Wait { millis: i64 },
    LoseShim,
    Delete,
    SeeAgain,
}

fn choices() -> impl Strategy<Value = Vec<Choice>> {
    let one = prop_oneof![
        12 => (0usize..8, prop::bool::weighted(0.8)).prop_map(|(which, well)| Choice::CarryOut { which, well }),
        3 => (0i32..3).prop_map(|code| Choice::Exit { code }),
        6 => (1i64..40_000).prop_map(|millis| Choice::Wait { millis }),
        1 => Just(Choice::LoseShim),
        1 => Just(Choice::Delete),
        2 => Just(Choice::SeeAgain),
    ];
    prop::collection::vec(one, 0..80)
}

fn probed() -> Assignment {
    let mut web = task(1, &["a", "b"]);
    web.containers[0].liveness = Some(probe(2));
    web.containers[1].readiness = Some(probe(2));
    web
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..berth_cases::cases(2_000) })]

    #[test]
    fn no_two_attempts_run_at_once_nothing_starts_after_the_end_and_every_deletion_settles(
        choices in choices()
    ) {
        let web = probed();
        let mut node = Node::default();
        node.tell(Event::Seen { assignment: web.clone(), wish: Wish::Run });
        for choice in &choices {
            node.happens(choice, &web);
        }
        node.happens(&Choice::Delete, &web);
        node.settle(&web);
        prop_assert!(node.running.is_empty());
        node.now += 1_000_000;
        node.tell(Event::Tick);
        prop_assert!(node.state.task(&uid(1)).is_none());
    }

    #[test]
    fn a_task_left_alone_comes_to_run_with_nothing_to_do_but_checks(choices in choices()) {
        let web = probed();
        let mut node = Node::default();
        node.tell(Event::Seen { assignment: web.clone(), wish: Wish::Run });
        for choice in choices.iter().filter(|c| !matches!(c, Choice::Delete)) {
            node.happens(choice, &web);
        }
        for _ in 0..300 {
            let run = node.state.task(&uid(1)).expect("its end is not acknowledged");
            if run.is_ready() || node.is_done() {
                break;
            }
            match (node.pending.pop(), node.state.next_due()) {
                (Some(action), _) => node.carry_out(action, true),
                (None, Some(due)) => {
                    node.now = node.now.max(due.millis());
                    node.tell(Event::Tick);
                }
                (None, None) => panic!("nothing to do and nothing to wait for: {:?}", node.state),
            }
        }
        let run = node.state.task(&uid(1)).expect("its end is not acknowledged");
        prop_assert!(run.is_ready() || node.is_done(), "it does not settle: {:?}", node.state);
    }
}
