//! A long history keeps every promise; broken anywhere, it is found.

use serde_json::Value;

use super::{Chance, generate};
use crate::history::evidence::Run;
use crate::history::invariants;
use crate::history::judge::Judge;
use crate::history::{Event, Fault, judge};

fn found(events: &[Event]) -> Vec<String> {
    let mut judge = Judge::new(invariants::all(&Run::default()));
    events.iter().for_each(|event| judge.on_event(event.clone()));
    judge
        .finish()
        .into_iter()
        .map(|(name, breach)| format!("{name} at {}: {}", breach.rev, breach.what))
        .collect()
}

#[test]
fn a_long_history_keeps_every_promise() {
    for seed in 0..2 {
        let events = generate(seed, 3_000);
        assert_eq!(found(&events), Vec::<String>::new(), "seed {seed}");
        assert_eq!(events, generate(seed, 3_000), "equal seeds give equal histories");
    }
}

/// A way to spoil one event among its history. None where it cannot be spoilt so.
type Spoil = fn(&mut Vec<Event>, usize) -> Option<()>;

fn edit(event: &mut Event, change: impl FnOnce(&mut Value) -> Option<()>) -> Option<()> {
    let stored = event.now.as_mut()?;
    let mut tree = serde_json::from_str(&stored.json).ok()?;
    change(&mut tree)?;
    stored.json = tree.to_string().into();
    Some(())
}

fn is_task(event: &Event) -> Option<()> {
    event.key.starts_with("/berth/berth.dev/tasks/").then_some(())
}

/// The event of the same key before.
fn before(events: &[Event], at: usize) -> Option<Event> {
    let now = events[at].now.as_ref()?;
    let earlier = events[..at].iter().rev().find(|event| event.key == events[at].key)?;
    earlier.now.as_ref().filter(|was| was.create_rev == now.create_rev)?;
    Some(earlier.clone())
}

const WAYS: [(&str, Spoil); 18] = [
    ("an event is missing", |events, at| {
        // The last of a key leaves no hole.
        events[at + 1..].iter().find(|event| event.key == events[at].key)?;
        events.remove(at);
        Some(())
    }),
    ("an event comes twice", |events, at| {
        events.insert(at, events[at].clone());
        Some(())
    }),
    ("two revisions are swapped", |events, at| {
        (events[at].rev != events.get(at + 1)?.rev).then(|| events.swap(at, at + 1))
    }),
    ("a write changes nothing", |events, at| {
        is_task(&events[at])?;
        let json = before(events, at)?.now?.json;
        events[at].now.as_mut()?.json = json;
        Some(())
    }),
    ("a uid changes", |events, at| {
        before(events, at)?;
        edit(&mut events[at], |tree| {
            *tree.get_mut("metadata")?.get_mut("uid")? = "f".into();
            Some(())
        })
    }),
    ("a generation rises", |events, at| {
        edit(&mut events[at], |tree| {
            let generation = tree.get_mut("metadata")?.get_mut("generation")?;
            *generation = (generation.as_i64()? + 1).into();
            Some(())
        })
    }),
    ("a status is ahead", |events, at| {
        edit(&mut events[at], |tree| {
            *tree.get_mut("status")?.get_mut("observedGeneration")? = 99.into();
            Some(())
        })
    }),
    ("a phase goes back", |events, at| {
        is_task(&events[at])?;
        edit(&mut events[at], |tree| {
            let phase = tree["status"].get_mut("phase")?;
            matches!(phase.as_str()?, "Running" | "Stopping").then(|| *phase = "Pending".into())
        })
    }),
    ("a Task moves", |events, at| {
        is_task(&events[at])?;
        let bound = before(events, at)?.now?.json.contains("nodeUid");
        edit(&mut events[at], |tree| bound.then(|| tree["spec"]["nodeUid"] = "f".into()))
    }),
    ("a Task is bound to another Node", |events, at| {
        let bound = before(events, at)?.now?.json.contains("nodeUid");
        edit(&mut events[at], |tree| {
            let node = tree.get_mut("spec")?.get_mut("nodeUid")?;
            (!bound).then(|| *node = "f".into())
        })
    }),
    ("a Task takes more than there is", |events, at| {
        edit(&mut events[at], |tree| {
            tree.get("spec")?.get("nodeUid")?;
            tree["status"]["allocated"] = serde_json::json!({"cpu": "17"});
            (tree["status"]["phase"] != "Failed").then_some(())
        })
    }),
    ("a finalizer goes early", |events, at| {
        edit(&mut events[at], |tree| {
            let finalizers = tree.get_mut("metadata")?.get_mut("finalizers")?.as_array_mut()?;
            (!finalizers.is_empty()).then(|| finalizers.clear())
        })
    }),
    ("a ledger is not written", |events, at| {
        let bind = events.get(at + 1)?.rev == events[at].rev && events[at].key.contains("/ledger/");
        bind.then(|| drop(events.remove(at)))
    }),
    ("an epoch is over", |events, at| {
        let header = &events[at].now.as_ref()?.header;
        let key = format!("/berth/-/epoch/berth-system/{}", header.writer);
        let over = events.iter().find(|event| event.key == key && event.rev < header.epoch)?.rev;
        events[at].now.as_mut()?.header.epoch = over;
        Some(())
    }),
    ("an epoch is missing", |events, at| {
        let epoch = &mut events[at].now.as_mut()?.header.epoch;
        (*epoch != 0).then(|| *epoch = 0)
    }),
    ("an epoch never began", |events, at| {
        let epoch = &mut events[at].now.as_mut()?.header.epoch;
        (*epoch != 0).then(|| *epoch = 1)
    }),
    ("an epoch begins alone", |events, at| {
        let lease = events[at].key.contains("/leases/") && events.get(at + 1)?.rev == events[at].rev;
        lease.then(|| drop(events.remove(at)))
    }),
    ("two writes stand in one place", |events, at| {
        (events.get(at + 1)?.rev == events[at].rev).then_some(())?;
        let position = events[at].now.as_ref()?.header.position;
        events[at + 1].now.as_mut()?.header.position = position;
        Some(())
    }),
];

#[test]
fn a_history_that_is_broken_anywhere_is_found() {
    let whole = generate(7, 700);
    let mut chance = Chance::new(11);
    for (name, spoil) in WAYS {
        let mut spoilt = 0;
        // Enough tries to come by every kind of event.
        for _ in 0..3_000 {
            let (mut events, at) = (whole.clone(), chance.below(whole.len()));
            if spoil(&mut events, at).is_some() {
                assert!(
                    !found(&events).is_empty(),
                    "{name}, event {at} of {}: nothing is found",
                    whole[at].to_line()
                );
                spoilt += 1;
            }
            if spoilt == 4 {
                break;
            }
        }
        assert_eq!(spoilt, 4, "{name}: no event can be spoilt so");
    }
}

#[test]
fn a_violation_in_a_long_history_is_shown_by_a_few_events() {
    let mut events = generate(7, 1_500);
    let at = events
        .iter()
        .position(|event| event.rev > 900 && event.key.contains("/tasks/") && event.now.is_some());
    let at = at.unwrap();
    events[at].now.as_mut().unwrap().header.epoch = 50;
    let kill =
        Fault { what: "kill -9 of apiserver 1".into(), from: 1, until: Some(events[at].at - 5_000_000) };
    let violations = judge(&Run { events, faults: vec![kill], seed: 7, ..Run::default() });
    let told: Vec<String> = violations.iter().map(ToString::to_string).collect();
    expect_test::expect![[r#"
        I9 fences at revision 901: Task shop/app-0-34 is written by node-agent in epoch 50, which never began
            901  Task shop/app-0-34  by node-agent in epoch 50: changed status.phase Starting -> Running
          faults: none; last kill -9 of apiserver 1, over for 5 ms, seed 7"#]]
    .assert_eq(&told.join("\n"));
}
