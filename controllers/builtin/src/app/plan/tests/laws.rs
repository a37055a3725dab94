//! The four laws of a plan, over generated worlds.

use proptest::prelude::*;

use super::*;

/// A life, when there is no minimum of readiness to wait for or there is one of 10 s.
fn lives() -> impl Strategy<Value = Life> {
    prop_oneof![
        2 => Just(Life::Unbound),
        2 => Just(Life::Starting),
        1 => Just(Life::Unreachable),
        6 => (-30i64..=0).prop_map(|since| Life::Ready(at(since))),
        2 => Just(Life::Stopping),
        1 => Just(Life::GivenUp),
        1 => Just(Life::WrittenOff),
        1 => Just(Life::Succeeded),
        1 => (-30i64..=0).prop_map(|since| Life::Failed(at(since))),
    ]
}

fn fleets() -> impl Strategy<Value = Vec<Replica>> {
    let revisions = prop_oneof![Just("web-new"), Just("web-old"), Just("web-older")];
    let one = (revisions, lives(), 0u32..12, 0i64..100, 0u32..4);
    prop::collection::vec(one, 0..14).prop_map(|tasks| {
        let numbered = tasks.into_iter().enumerate();
        let made = numbered.map(|(number, (revision, life, ordinal, age, failed_before))| Replica {
            ordinal,
            created: at(-age - 60),
            failed_before,
            ..task(revision, number as u64, life)
        });
        made.collect()
    })
}

fn apps() -> impl Strategy<Value = Wanted> {
    let rollout = prop_oneof![
        1 => Just(None),
        8 => (0u32..4, 0u32..4).prop_map(Some),
    ];
    let min_ready = prop_oneof![Just(0u64), Just(10)];
    let stable = prop_oneof![Just(""), Just("web-old"), Just("web-older"), Just("web-new")];
    (0u32..9, rollout, min_ready, stable).prop_map(|(replicas, rollout, min_ready, stable)| {
        let rollout = match rollout {
            None => Rollout::Recreate,
            Some((surge, missing)) => {
                let missing = if surge == 0 { missing.max(1) } else { missing };
                Rollout::Rolling { keep: replicas.saturating_sub(missing), most: replicas + surge }
            }
        };
        let mut app = Wanted { rollout, min_ready: Duration::from_secs(min_ready), ..web(replicas) };
        app.status.tasks_created = 20;
        app.status.stable_revision = stable.into();
        app
    })
}

fn history() -> [berth_types::revision::Revision; 3] {
    [revision("web-older", 1), revision("web-old", 2), revision("web-new", 3)]
}

fn available(app: &Wanted, tasks: &[Replica], now: Timestamp) -> usize {
    tasks.iter().filter(|task| task.available_from(app.min_ready).is_some_and(|from| from <= now)).count()
}

fn holding(tasks: &[Replica]) -> usize {
    let holds = |task: &&Replica| {
        matches!(
            task.life,
            Life::Unbound | Life::Unreachable | Life::Starting | Life::Ready(_) | Life::Stopping
        )
    };
    tasks.iter().filter(holds).count()
}

/// The Tasks of an App once it was looked at, its status written and its wave carried out.
fn carried_out(app: &mut Wanted, tasks: &[Replica], now: Timestamp) -> Vec<Replica> {
    let revisions = history();
    let plan = plan(&Observed { app, tasks, revisions: &revisions, held: &|_| false, now });
    app.status = plan.status;
    after(app, tasks, &plan.wave, now)
}

/// The world after `actions` were carried out.
fn after(app: &mut Wanted, tasks: &[Replica], actions: &[Action], now: Timestamp) -> Vec<Replica> {
    let mut tasks = tasks.to_vec();
    for action in actions {
        match action {
            Action::Create { counter, tasks: born } => {
                app.status.tasks_created = *counter;
                tasks.extend(born.iter().map(|born| Replica {
                    name: born.name.clone(),
                    revision: born.revision.clone(),
                    ordinal: born.ordinal,
                    created: now,
                    failed_before: born.failed_before,
                    ..new(super::super::super::observed::number_of(&born.name), Life::Unbound)
                }));
            }
            Action::Stop { task: stopped, .. } => {
                let task = tasks.iter_mut().find(|task| task.uid == stopped.uid).unwrap();
                task.life = match task.life {
                    Life::GivenUp => Life::WrittenOff,
                    Life::Unbound => Life::Succeeded,
                    _ => Life::Stopping,
                };
            }
            Action::SaveRevision { .. } | Action::RaiseRevision { .. } | Action::DropRevision { .. } => {}
        }
    }
    tasks
}

/// The world some seconds later: what starts is ready, what stops is at its end, nodes are back.
fn later(tasks: &[Replica], now: Timestamp) -> Vec<Replica> {
    let tasks = tasks.iter().map(|task| Replica {
        life: match task.life {
            Life::Unbound | Life::Starting | Life::Unreachable => Life::Ready(now),
            Life::Stopping => Life::Succeeded,
            same => same,
        },
        ..task.clone()
    });
    tasks.collect()
}

proptest! {
    #![proptest_config(berth_cases::cases(2000))]

    #[test]
    fn whatever_part_of_a_wave_happens_the_promise_holds(
        app in apps(), tasks in fleets(), part in prop::collection::vec(any::<bool>(), 40),
    ) {
        let wave = plan_of(&app, &tasks).wave;
        let done: Vec<Action> =
            wave.iter().zip(&part).filter(|(_, happens)| **happens).map(|(action, _)| action.clone()).collect();
        let world = after(&mut app.clone(), &tasks, &done, at(0));
        let (before, left) = (available(&app, &tasks, at(0)), available(&app, &world, at(0)));
        prop_assert!(left == before || left >= app.rollout.keep(), "{before} -> {left} of {app:?}");
        let most = match app.rollout {
            Rollout::Rolling { most, .. } => most as usize,
            Rollout::Recreate => app.replicas as usize,
        };
        let (before, there) = (holding(&tasks), holding(&world));
        prop_assert!(there <= before || there <= most, "{before} -> {there} of {app:?}");
    }

    #[test]
    fn a_stop_of_a_ready_task_counts_on_enough_others(app in apps(), tasks in fleets()) {
        let wave = plan_of(&app, &tasks).wave;
        let stopped: Vec<&str> = wave.iter().filter_map(|action| match action {
            Action::Stop { task, .. } => Some(task.name.as_str()),
            _ => None,
        }).collect();
        for action in &wave {
            let Action::Stop { task, counting_on, .. } = action else { continue };
            let life = tasks.iter().find(|one| one.name == task.name).unwrap().life;
            let counted = if matches!(life, Life::Ready(_)) { app.rollout.keep() } else { 0 };
            prop_assert_eq!(counting_on.len(), counted);
            prop_assert!(counting_on.iter().all(|other| !stopped.contains(&other.name.as_str())));
        }
    }

    #[test]
    fn carried_out_and_repeated_it_ends_with_what_was_asked(mut app in apps(), mut tasks in fleets()) {
        let mut now = at(0);
        for _ in 0..60 {
            tasks = carried_out(&mut app, &tasks, now);
            now = now.plus(Duration::from_secs(20));
            tasks = later(&tasks, now);
        }
        let now = now.plus(Duration::from_secs(20));
        let end = plan(&Observed {
            app: &app, tasks: &tasks, revisions: &history(), held: &|_| false, now,
        });
        prop_assert_eq!(text(&end), "wait: all replicas are on revision web-new");
        prop_assert_eq!(holding(&tasks), app.replicas as usize);
        prop_assert_eq!(available(&app, &tasks, now), app.replicas as usize);
        prop_assert_eq!(end.status.available_replicas, app.replicas);
        let held = tasks.iter().filter(|task| matches!(task.life, Life::Ready(_))).map(|task| task.ordinal);
        let places: std::collections::BTreeSet<u32> = held.collect();
        prop_assert_eq!(places.len(), app.replicas as usize);
        prop_assert_eq!(end.wake, None);
    }

    #[test]
    fn nothing_is_done_exactly_at_the_goal(mut app in apps()) {
        let tasks: Vec<Replica> = (0..u64::from(app.replicas)).map(|n| new(n, ready())).collect();
        let revisions = [revision("web-new", 1)];
        let look = |app: &Wanted| {
            plan(&Observed { app, tasks: &tasks, revisions: &revisions, held: &|_| false, now: at(0) })
        };
        let first = look(&app);
        prop_assert!(first.wave.is_empty());
        app.status = first.status.clone();
        let second = look(&app);
        prop_assert_eq!((second.wave.len(), second.status), (0, first.status));
    }

    #[test]
    fn the_order_of_what_is_seen_changes_nothing(
        app in apps(), (tasks, shuffled) in fleets().prop_flat_map(|t| (Just(t.clone()), Just(t).prop_shuffle())),
    ) {
        let (one, other) = (plan_of(&app, &tasks), plan_of(&app, &shuffled));
        prop_assert_eq!((one.wave, one.status, one.wake), (other.wave, other.status, other.wake));
    }
}

proptest! {
    #![proptest_config(berth_cases::cases(300))]

    #[test]
    fn a_revision_that_never_gets_ready_costs_no_more_than_the_bounds(
        app in apps(), losses in prop::collection::vec(any::<prop::sample::Index>(), 0..12), growth in 0u32..5,
    ) {
        let Rollout::Rolling { keep, most } = app.rollout else { return Ok(()) };
        let mut app = app;
        app.status.stable_revision = "web-old".into();
        let mut tasks: Vec<Replica> = (0..u64::from(app.replicas)).map(|n| old(n, ready())).collect();
        let mut now = at(0);
        for round in 0..40 {
            tasks = carried_out(&mut app, &tasks, now);
            now = now.plus(Duration::from_secs(20));
            let broken = |task: &Replica| task.revision == "web-new" && task.life == Life::Unbound;
            let (stuck, others): (Vec<_>, Vec<_>) = tasks.into_iter().partition(broken);
            tasks = [later(&others, now), stuck].concat();
            let lost = losses.get(round).filter(|_| !tasks.is_empty()).map(|loss| loss.index(tasks.len()));
            if let Some(lost) = lost {
                tasks[lost].life = Life::Failed(now);
            }
            if round == 8 && app.replicas > 0 {
                app.replicas += growth;
                app.rollout = Rollout::Rolling { keep: keep + growth, most: most + growth };
            }
        }
        let there = available(&app, &tasks, now.plus(Duration::from_secs(20)));
        prop_assert!(there >= app.rollout.keep(), "{there} of {app:?}: {tasks:?}");
    }
}
