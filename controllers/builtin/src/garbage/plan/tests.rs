use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::super::observed::Place;
use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn identity(kind: Kind, name: &str) -> Identity {
    let namespace = if kind.namespaced() { "shop" } else { "" };
    let place = Place { kind, namespace: namespace.into(), name: name.into() };
    Identity { place, uid: format!("uid of {name}") }
}

fn item(kind: Kind, name: &str) -> Item {
    let Identity { place, uid } = identity(kind, name);
    Item {
        place,
        uid,
        version: "1".into(),
        deleting: false,
        finalizers: Vec::new(),
        owners: Vec::new(),
        concern: Concern::None,
    }
}

fn of_app(app: &str, item: Item) -> Item {
    Item { owners: vec![Owner::Known(identity(Kind::App, app))], ..item }
}

fn bound(node: &str, item: Item) -> Item {
    let concern = Concern::Bound(identity(Kind::Node, node));
    Item { concern, finalizers: vec![NODE_FINALIZER.into()], ..item }
}

fn finished(seconds: i64, item: Item) -> Item {
    Item { concern: Concern::Finished(at(seconds)), ..item }
}

/// An Event that was last seen then, about an App.
fn told(seconds: i64, about: Option<&str>, name: &str) -> Item {
    let about = about.map(|app| identity(Kind::App, app));
    Item { concern: Concern::Seen { at: at(seconds), about }, ..item(Kind::Event, name) }
}

fn deleting(item: Item) -> Item {
    Item { deleting: true, version: "2".into(), ..item }
}

fn dying_namespace(name: &str) -> Item {
    deleting(Item { finalizers: vec![NAMESPACE_FINALIZER.into()], ..item(Kind::Namespace, name) })
}

fn seen(item: Item) -> Event {
    Event::Seen(Box::new(item))
}

/// A collector that has seen all of `items` and is in step with the store.
fn collector(items: Vec<Item>) -> (State, Vec<Action>) {
    let mut state = State::new(Limits::default());
    for item in items {
        assert_eq!(step(&mut state, seen(item), at(0)), vec![]);
    }
    let actions = step(&mut state, Event::Synced, at(0));
    (state, actions)
}

fn text(actions: &[Action]) -> String {
    let line = |action: &Action| {
        let name = &action.object.place.name;
        match &action.removal {
            Removal::DeleteWithout(gone) | Removal::DeleteStray(gone) => {
                let gone: Vec<&str> = gone.iter().map(|one| one.place.name.as_str()).collect();
                format!("delete {name} without {}", gone.join(" and "))
            }
            Removal::Delete(why) => format!("delete {name} {why:?}"),
            Removal::Release { finalizer, left } => format!("release {name} from {finalizer}, left {left:?}"),
        }
    };
    let mut lines: Vec<String> = actions.iter().map(line).collect();
    lines.sort();
    lines.join("\n")
}

fn does(actions: &[Action], expected: Expect) {
    expected.assert_eq(&text(actions));
}

#[test]
fn what_belongs_to_nobody_any_more_is_deleted() {
    let both = || {
        expect![[r#"
            delete web-1 without web
            delete web-a without web"#]]
    };
    let all = vec![
        of_app("web", item(Kind::Task, "web-1")),
        of_app("web", item(Kind::Revision, "web-a")),
        of_app("db", item(Kind::Task, "db-1")),
        item(Kind::Task, "free"),
        item(Kind::App, "web"),
        item(Kind::App, "db"),
    ];
    let (mut state, actions) = collector(all.clone());
    does(&actions, expect![""]);
    does(&step(&mut state, Event::Gone(identity(Kind::App, "web")), at(0)), both());
    does(&collector(all.into_iter().filter(|item| item.place.name != "web").collect()).1, both());
}

#[test]
fn nothing_is_kept_of_what_is_gone() {
    let (mut state, _) = collector(vec![]);
    let names: Vec<String> = (0..2000).map(|number| format!("web-{number}")).collect();
    for name in &names {
        step(&mut state, seen(of_app(name, finished(0, item(Kind::Task, name)))), at(0));
        let expired = told(0, Some(name), &format!("told of {name}"));
        step(&mut state, seen(expired), at(0));
    }
    for name in &names {
        step(&mut state, Event::Gone(identity(Kind::Task, name)), at(0));
        step(&mut state, Event::Gone(identity(Kind::Event, &format!("told of {name}"))), at(0));
    }
    assert_eq!(state.next_due(), None);
    let kept = [state.items.capacity(), state.hanging.capacity(), state.within.capacity()];
    let kept = [&kept[..], &[state.asked.capacity(), state.strays.capacity()]].concat();
    assert!(kept.iter().all(|room| *room < 500), "{kept:?}");
}

#[test]
fn one_owner_that_is_there_is_enough_and_a_foreign_one_is_taken_as_there() {
    let owners = |owners: Vec<Owner>| Item { owners, ..item(Kind::Task, "t") };
    let known = |name| Owner::Known(identity(Kind::App, name));
    let look = |owners| text(&collector(vec![item(Kind::App, "web"), owners]).1);
    expect![""].assert_eq(&look(owners(vec![known("web"), known("gone")])));
    expect!["delete t without gone and lost"].assert_eq(&look(owners(vec![known("gone"), known("lost")])));
    expect![""].assert_eq(&look(owners(vec![known("gone"), Owner::Foreign])));
}

#[test]
fn an_owner_of_the_same_name_or_in_another_namespace_is_not_the_owner() {
    let task = of_app("web", item(Kind::Task, "web-1"));
    let reborn = Item { uid: "another".into(), ..item(Kind::App, "web") };
    does(&collector(vec![task.clone(), reborn]).1, expect!["delete web-1 without web"]);
    let mut elsewhere = item(Kind::App, "web");
    elsewhere.place.namespace = "office".into();
    does(&collector(vec![task, elsewhere]).1, expect!["delete web-1 without web"]);
}

#[test]
fn an_owner_that_was_never_seen_gets_time_to_show_up() {
    let task = of_app("web", item(Kind::Task, "web-1"));
    let (mut state, _) = collector(vec![]);
    does(&step(&mut state, seen(task.clone()), at(0)), expect![""]);
    assert_eq!(state.next_due(), Some(at(2)));
    does(&step(&mut state, Event::Tick, at(2)), expect!["delete web-1 without web"]);
    let (mut state, _) = collector(vec![]);
    step(&mut state, seen(task), at(0));
    step(&mut state, seen(item(Kind::App, "web")), at(1));
    does(&step(&mut state, Event::Tick, at(2)), expect![""]);
}

#[test]
fn only_what_was_without_its_owners_from_the_start_is_a_stray() {
    let is_stray = |actions: &[Action]| match actions {
        [Action { removal: Removal::DeleteStray(_), .. }] => true,
        [Action { removal: Removal::DeleteWithout(_), .. }] => false,
        other => panic!("{other:?}"),
    };
    let task = || of_app("web", item(Kind::Task, "web-1"));
    let app = || seen(item(Kind::App, "web"));
    let gone = || Event::Gone(identity(Kind::App, "web"));
    let begun = || collector(vec![]).0;
    // It was there before the collector, or came while it looked.
    assert!(is_stray(&collector(vec![task()]).1));
    let mut state = begun();
    step(&mut state, seen(task()), at(0));
    assert!(is_stray(&step(&mut state, Event::Tick, at(2))));
    // Tried again it is the same.
    step(&mut state, Event::Failed(identity(Kind::Task, "web-1")), at(2));
    assert!(is_stray(&step(&mut state, Event::Tick, at(3))));
    // The owner was there first, showed up late, or was there at the start; then it goes.
    let mut state = begun();
    step(&mut state, app(), at(0));
    step(&mut state, seen(task()), at(0));
    assert!(!is_stray(&step(&mut state, gone(), at(9))));
    let mut state = begun();
    step(&mut state, seen(task()), at(0));
    step(&mut state, app(), at(1));
    assert!(!is_stray(&step(&mut state, gone(), at(9))));
    let (mut state, _) = collector(vec![task(), item(Kind::App, "web")]);
    assert!(!is_stray(&step(&mut state, gone(), at(9))));
    // Of two owners one was there.
    let mut state = begun();
    let both = Item {
        owners: vec![Owner::Known(identity(Kind::App, "lost")), Owner::Known(identity(Kind::App, "web"))],
        ..task()
    };
    step(&mut state, app(), at(0));
    step(&mut state, seen(both), at(0));
    assert!(!is_stray(&step(&mut state, gone(), at(9))));
}

#[test]
fn an_object_that_names_missing_owners_later_is_a_stray_and_gets_the_same_time() {
    let known = |names: &[&str]| names.iter().map(|name| Owner::Known(identity(Kind::App, name))).collect();
    let owned = |names: &[&str]| Item { owners: known(names), ..item(Kind::App, "it") };
    // What it named before, what it names then, and whether that is enough.
    for (before, then, stays) in [
        (&[][..], &["lost"][..], false),
        (&["web"], &["lost"], false),
        (&["web", "lost"], &["lost"], false),
        (&["lost", "web"], &["lost", "gone"], false),
        (&["web"], &["web", "lost"], true),
        (&["lost", "web"], &["lost", "db"], true),
        (&["web"], &[], true),
    ] {
        let (mut state, _) = collector(vec![item(Kind::App, "web"), item(Kind::App, "db"), owned(before)]);
        does(&step(&mut state, seen(owned(then)), at(7)), expect![""]);
        assert_eq!(state.next_due(), (!stays).then(|| at(9)), "{before:?} {then:?}");
        let done = step(&mut state, Event::Tick, at(9));
        let is_stray = matches!(&done[..], [Action { removal: Removal::DeleteStray(_), .. }]);
        assert_eq!((done.len(), is_stray), (usize::from(!stays), !stays), "{before:?} {then:?}");
    }
    // An owner that is only seen later than what names it.
    let (mut state, _) = collector(vec![item(Kind::App, "web"), owned(&["web"])]);
    step(&mut state, seen(owned(&["late"])), at(7));
    step(&mut state, seen(item(Kind::App, "late")), at(8));
    does(&step(&mut state, Event::Tick, at(9)), expect![""]);
    // What loses the owners that it has is none.
    let gone = step(&mut state, Event::Gone(identity(Kind::App, "late")), at(10));
    assert!(matches!(&gone[..], [Action { removal: Removal::DeleteWithout(_), .. }]), "{gone:?}");
}

#[test]
fn a_failed_action_is_tried_again_later_and_a_carried_out_one_is_not() {
    let task = || of_app("web", item(Kind::Task, "web-1"));
    let id = identity(Kind::Task, "web-1");
    let (mut state, actions) = collector(vec![task()]);
    does(&actions, expect!["delete web-1 without web"]);
    does(&step(&mut state, seen(task()), at(0)), expect![""]);
    step(&mut state, Event::Failed(id.clone()), at(0));
    assert_eq!(state.next_due(), Some(Timestamp::from_millis(100)));
    does(&step(&mut state, Event::Tick, at(1)), expect!["delete web-1 without web"]);
    does(&step(&mut state, Event::Done(id.clone()), at(1)), expect![""]);
    does(&step(&mut state, seen(task()), at(1)), expect![""]);
    does(&step(&mut state, seen(deleting(task())), at(1)), expect![""]);
    does(&step(&mut state, Event::Gone(id), at(2)), expect![""]);
}

#[test]
fn what_the_server_knows_better_is_looked_at_again_when_the_owner_goes() {
    let (mut state, _) = collector(vec![of_app("web", item(Kind::Task, "web-1"))]);
    step(&mut state, Event::NotCalledFor(identity(Kind::Task, "web-1")), at(0));
    does(&step(&mut state, seen(item(Kind::App, "web")), at(0)), expect![""]);
    let gone = Event::Gone(identity(Kind::App, "web"));
    does(&step(&mut state, gone, at(1)), expect!["delete web-1 without web"]);
}

#[test]
fn a_new_version_alone_is_judged_only_where_an_action_waits_for_it() {
    let task = |version: &str| of_app("web", Item { version: version.into(), ..item(Kind::Task, "web-1") });
    let (mut state, _) = collector(vec![]);
    does(&step(&mut state, seen(task("1")), at(0)), expect![""]);
    // Its owner still has time to show up.
    does(&step(&mut state, seen(task("2")), at(1)), expect![""]);
    does(&step(&mut state, Event::Tick, at(2)), expect!["delete web-1 without web"]);
    step(&mut state, Event::NotCalledFor(identity(Kind::Task, "web-1")), at(2));
    does(&step(&mut state, seen(task("3")), at(3)), expect!["delete web-1 without web"]);
    step(&mut state, Event::Done(identity(Kind::Task, "web-1")), at(3));
    does(&step(&mut state, seen(task("4")), at(4)), expect!["delete web-1 without web"]);
}

#[test]
fn a_task_of_a_node_that_is_gone_is_deleted_and_released() {
    let task = || bound("n1", item(Kind::Task, "web-1"));
    let (mut state, actions) = collector(vec![task(), item(Kind::Node, "n1")]);
    does(&actions, expect![""]);
    let gone = Event::Gone(identity(Kind::Node, "n1"));
    does(&step(&mut state, gone, at(0)), expect!["delete web-1 without n1"]);
    // The deletion may be seen before its outcome is known.
    does(&step(&mut state, seen(deleting(task())), at(0)), expect![""]);
    does(
        &step(&mut state, Event::Done(identity(Kind::Task, "web-1")), at(0)),
        expect!["release web-1 from berth.dev/node, left []"],
    );
    let others = |finalizers: &[&str]| Item {
        finalizers: finalizers.iter().map(|one| (*one).to_owned()).collect(),
        ..deleting(bound("n1", item(Kind::Task, "web-3")))
    };
    does(
        &collector(vec![others(&["a", NODE_FINALIZER, "b"])]).1,
        expect![[r#"release web-3 from berth.dev/node, left ["a", "b"]"#]],
    );
    does(&collector(vec![others(&["a", "b"])]).1, expect![""]);
    let stopping = deleting(bound("n1", item(Kind::Task, "web-2")));
    does(&collector(vec![stopping]).1, expect!["release web-2 from berth.dev/node, left []"]);
}

#[test]
fn the_newest_finished_tasks_of_an_owner_are_kept_for_a_day_and_the_others_for_two_minutes() {
    let tasks = (0..7).map(|n| of_app("web", finished(n, item(Kind::Task, &format!("web-{n}")))));
    let (mut state, actions) = collector(tasks.chain([item(Kind::App, "web")]).collect());
    does(&actions, expect![""]);
    does(&step(&mut state, Event::Tick, at(119)), expect![""]);
    does(&step(&mut state, Event::Tick, at(120)), expect!["delete web-0 Finished"]);
    does(&step(&mut state, Event::Tick, at(121)), expect!["delete web-1 Finished"]);
    does(&step(&mut state, Event::Tick, at(24 * 3600 + 2)), expect!["delete web-2 Finished"]);
}

#[test]
fn events_go_after_an_hour_or_when_there_are_too_many() {
    let event = |n: i64| told(n, None, &format!("e{n}"));
    let (mut state, _) = collector(vec![event(0), event(10)]);
    does(&step(&mut state, Event::Tick, at(3600)), expect!["delete e0 Expired"]);
    let mut state = State::new(Limits { events: 2, ..Limits::default() });
    step(&mut state, Event::Synced, at(0));
    step(&mut state, seen(event(1)), at(20));
    step(&mut state, seen(event(2)), at(20));
    does(&step(&mut state, seen(event(3)), at(20)), expect!["delete e1 Expired"]);
}

#[test]
fn events_about_what_is_gone_go_after_three_minutes() {
    let gone = || Event::Gone(identity(Kind::App, "web"));
    let (mut state, _) = collector(vec![
        item(Kind::App, "web"),
        item(Kind::App, "db"),
        told(0, Some("web"), "early"),
        told(100, Some("web"), "newer"),
        told(0, Some("db"), "another"),
        told(0, None, "foreign"),
    ]);
    does(&step(&mut state, gone(), at(150)), expect![""]);
    does(&step(&mut state, Event::Tick, at(179)), expect![""]);
    does(&step(&mut state, Event::Tick, at(180)), expect!["delete early Expired"]);
    does(&step(&mut state, Event::Tick, at(280)), expect!["delete newer Expired"]);
    does(&step(&mut state, Event::Tick, at(3599)), expect![""]);
    let hour = expect![[r#"
        delete another Expired
        delete foreign Expired"#]];
    does(&step(&mut state, Event::Tick, at(3600)), hour);
    // Caches of different kinds do not keep step; and what is old when its object goes, goes with it.
    let (mut state, _) = collector(vec![]);
    does(&step(&mut state, seen(told(0, Some("web"), "first")), at(0)), expect![""]);
    does(&step(&mut state, seen(item(Kind::App, "web")), at(10)), expect![""]);
    does(&step(&mut state, Event::Tick, at(1000)), expect![""]);
    does(&step(&mut state, gone(), at(1000)), expect!["delete first Expired"]);
}

#[test]
fn a_dying_namespace_is_emptied_and_then_released() {
    let gone = |kind, name| Event::Gone(identity(kind, name));
    let (mut state, _) = collector(vec![item(Kind::App, "web"), of_app("web", item(Kind::Task, "web-1"))]);
    does(
        &step(&mut state, seen(dying_namespace("shop")), at(0)),
        expect![[r#"
            delete web NamespaceGoes
            delete web-1 NamespaceGoes"#]],
    );
    does(&step(&mut state, seen(item(Kind::Lease, "late")), at(0)), expect!["delete late NamespaceGoes"]);
    does(&step(&mut state, gone(Kind::App, "web"), at(0)), expect![""]);
    does(&step(&mut state, gone(Kind::Lease, "late"), at(0)), expect![""]);
    does(
        &step(&mut state, gone(Kind::Task, "web-1"), at(0)),
        expect!["release shop from berth.dev/namespace, left []"],
    );
    does(
        &collector(vec![dying_namespace("office"), item(Kind::App, "web")]).1,
        expect!["release office from berth.dev/namespace, left []"],
    );
}

/// Apps of which some are there, Tasks of theirs and of nobody, on nodes of which some are there.
fn worlds() -> impl Strategy<Value = Vec<Item>> {
    let apps = prop::collection::vec(any::<bool>(), 3);
    let task = (prop::collection::vec(0usize..3, 0..3), 0usize..4, any::<bool>());
    (apps, prop::collection::vec(task, 0..8), any::<bool>()).prop_map(|(apps, tasks, is_dying)| {
        let app = |n: usize| identity(Kind::App, &format!("a{n}"));
        let mut world = vec![item(Kind::Node, "n0"), item(Kind::Node, "n1")];
        let present = apps.iter().enumerate().filter(|(_, is_there)| **is_there);
        world.extend(present.map(|(n, _)| item(Kind::App, &format!("a{n}"))));
        for (number, (owners, node, is_deleting)) in tasks.into_iter().enumerate() {
            let mut task = item(Kind::Task, &format!("t{number}"));
            task.owners = owners.into_iter().map(|n| Owner::Known(app(n))).collect();
            if node < 3 {
                task = bound(&format!("n{node}"), task);
            }
            world.push(if is_deleting { deleting(task) } else { task });
        }
        world.extend(is_dying.then(|| dying_namespace("shop")));
        world
    })
}

/// A server that carries actions out, and agents that acknowledge the ends of Tasks on nodes that are there.
fn settle(world: &mut BTreeMap<String, Item>, actions: Vec<Action>) -> Vec<Event> {
    let mut events: Vec<Event> = actions.iter().map(|action| Event::Done(action.object.clone())).collect();
    for Action { object, removal, .. } in actions {
        if let Removal::DeleteWithout(gone) | Removal::DeleteStray(gone) = &removal {
            assert!(!gone.iter().any(|one| world.contains_key(&one.uid)), "an owner is there");
        }
        let Some(item) = world.get_mut(&object.uid) else { continue };
        item.version.push('+');
        match removal {
            Removal::DeleteWithout(_) | Removal::DeleteStray(_) | Removal::Delete(_) => item.deleting = true,
            Removal::Release { left, .. } => item.finalizers = left,
        }
    }
    let nodes: Vec<String> = ["n0", "n1"].map(|name| format!("uid of {name}")).to_vec();
    for item in world.values_mut().filter(|item| item.deleting) {
        if matches!(&item.concern, Concern::Bound(node) if nodes.contains(&node.uid)) {
            item.finalizers.clear();
        }
        events.push(seen(item.clone()));
    }
    let leaves = |item: &&Item| item.deleting && item.finalizers.is_empty();
    for one in world.values().filter(leaves).map(Item::identity).collect::<Vec<_>>() {
        world.remove(&one.uid);
        events.push(Event::Gone(one));
    }
    events
}

proptest! {
    #![proptest_config(berth_cases::cases(500))]

    #[test]
    fn what_is_left_in_the_end_has_an_owner_a_node_and_a_namespace(items in worlds()) {
        let mut world: BTreeMap<String, Item> = items.iter().map(|i| (i.uid.clone(), i.clone())).collect();
        let (mut state, mut actions) = collector(items);
        for round in 0..20 {
            let events = settle(&mut world, actions);
            actions = events.into_iter().flat_map(|event| step(&mut state, event, at(round))).collect();
        }
        prop_assert_eq!(actions, vec![]);
        prop_assert!(world.values().all(|item| !item.deleting));
        let is_there = |owner: &Owner| match owner {
            Owner::Known(owner) => world.contains_key(&owner.uid),
            Owner::Foreign => true,
        };
        for item in world.values() {
            prop_assert!(item.owners.is_empty() || item.owners.iter().any(is_there));
            let lost = matches!(&item.concern, Concern::Bound(node) if !world.contains_key(&node.uid));
            prop_assert!(!lost);
        }
    }

    #[test]
    fn the_order_in_which_things_are_seen_changes_nothing(
        (items, shuffled) in worlds().prop_flat_map(|w| (Just(w.clone()), Just(w).prop_shuffle())),
    ) {
        prop_assert_eq!(text(&collector(items).1), text(&collector(shuffled).1));
    }
}
