//! Rules over managers hold for every one of several, wherever it stands among them.

use std::collections::{BTreeMap, BTreeSet};

use expect_test::expect;
use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::{Value, json};

use super::world::World;
use crate::apply::{Part, entries};

const MANAGERS: [&str; 5] = ["m1", "m2", "m3", "m4", "m5"];
const NAMES: &[&str] = &["a", "b", "c"];

/// What one manager sends: labels, finalizers, containers with variables; the same value for the same name always, so
/// that nobody is ever refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sent {
    labels: BTreeSet<&'static str>,
    finalizers: BTreeSet<&'static str>,
    containers: BTreeMap<&'static str, BTreeSet<&'static str>>,
}

impl Sent {
    fn fields(&self) -> Value {
        let mut fields = json!({});
        if !self.labels.is_empty() {
            let labels: serde_json::Map<_, _> =
                self.labels.iter().map(|name| ((*name).to_owned(), json!("x"))).collect();
            fields["metadata"]["labels"] = labels.into();
        }
        if !self.finalizers.is_empty() {
            fields["metadata"]["finalizers"] =
                self.finalizers.iter().map(|name| json!(format!("{name}/x"))).collect();
        }
        if !self.containers.is_empty() {
            let container = |(name, env): (&&str, &BTreeSet<&str>)| {
                let mut container = json!({"name": name});
                if !env.is_empty() {
                    container["env"] = env.iter().map(|name| json!({"name": name, "value": "x"})).collect();
                }
                container
            };
            fields["spec"]["template"]["spec"]["containers"] =
                self.containers.iter().map(container).collect();
        }
        fields
    }

    /// What is there when each of these managers sent this last.
    fn of_all<'a>(sent: impl Iterator<Item = &'a Sent>) -> Self {
        let mut all = Self::default();
        for one in sent {
            all.labels.extend(&one.labels);
            all.finalizers.extend(&one.finalizers);
            for (name, env) in &one.containers {
                all.containers.entry(name).or_default().extend(env);
            }
        }
        all
    }

    /// What an object shows.
    fn shown(object: &Value) -> Self {
        let known = |text: &str| *NAMES.iter().find(|name| **name == text).expect("a name of ours");
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let named = |item: &Value| known(item["name"].as_str().expect("a name"));
        let meta = &object["metadata"];
        let labels = meta["labels"].as_object().into_iter().flatten().map(|(name, _)| known(name)).collect();
        let finalizers = list(&meta["finalizers"])
            .iter()
            .map(|text| known(text.as_str().expect("text").trim_end_matches("/x")))
            .collect();
        let containers = list(&object["spec"]["template"]["spec"]["containers"])
            .iter()
            .map(|item| (named(item), list(&item["env"]).iter().map(named).collect()))
            .collect();
        Self { labels, finalizers, containers }
    }
}

fn sent() -> impl Strategy<Value = Sent> {
    let some = || {
        let names = subsequence(NAMES, 0..=NAMES.len());
        names.prop_map(|names| names.into_iter().collect::<BTreeSet<&'static str>>())
    };
    let containers =
        proptest::collection::btree_map(prop_oneof![Just("a"), Just("b"), Just("c")], some(), 0..3);
    (some(), some(), containers).prop_map(|(labels, finalizers, containers)| Sent {
        labels,
        finalizers,
        containers,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..berth_cases::cases(256) })]

    #[test]
    fn a_field_is_there_as_long_as_any_manager_sends_it(
        history in proptest::collection::vec((0..MANAGERS.len(), sent()), 1..12),
    ) {
        let mut world = World::new("app");
        let mut last: BTreeMap<&str, Sent> = BTreeMap::new();
        for (manager, sent) in history {
            let manager = MANAGERS[manager];
            world.try_apply(manager, Part::Main, sent.fields()).expect("nobody is refused");
            last.insert(manager, sent);
            let object = world.object.as_ref().expect("an object");
            prop_assert_eq!(Sent::shown(object), Sent::of_all(last.values()));
            prop_assert_eq!(entries::read(object).len(), last.len());
        }
    }
}

/// Three managers own each of these fields; the field stays until the last of them lets it go, in whatever order.
#[test]
fn what_three_own_goes_with_the_last_of_them() {
    let shared = json!({
        "metadata": {"labels": {"a": "1"}, "finalizers": ["a/x"]},
        "spec": {
            "replicas": 2,
            "template": {"spec": {"containers": [{"name": "web", "command": ["x"], "env": [{"name": "A", "value": "1"}]}]}},
        },
    });
    let shown = |world: &World| Part::Main.of(world.object.as_ref().expect("an object"));
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut world = World::new("app");
        for manager in &MANAGERS[..3] {
            world = world.applies(manager, shared.clone());
        }
        for (number, at) in order.into_iter().enumerate() {
            assert_eq!(shown(&world), shared, "{order:?}, {number}");
            world = world.applies(MANAGERS[at], json!({}));
        }
        assert_eq!(shown(&world), json!({}), "{order:?}");
    }
}

fn agreed() -> World {
    MANAGERS[..3].iter().fold(World::new("app"), |world, manager| {
        world.applies(manager, json!({"metadata": {"labels": {"a": "1"}}, "spec": {"replicas": 2}}))
    })
}

#[test]
fn a_conflict_names_every_owner_and_force_takes_from_each() {
    let other = json!({"metadata": {"labels": {"a": "2"}}, "spec": {"replicas": 3}});
    agreed().refuses(
        "m4",
        other.clone(),
        expect![[r#"
            metadata.labels.a: conflict with `m1`, which has it as `"1"`, this apply wants `"2"`
            spec.replicas: conflict with `m1`, which has it as `2`, this apply wants `3`
            metadata.labels.a: conflict with `m2`, which has it as `"1"`, this apply wants `"2"`
            spec.replicas: conflict with `m2`, which has it as `2`, this apply wants `3`
            metadata.labels.a: conflict with `m3`, which has it as `"1"`, this apply wants `"2"`
            spec.replicas: conflict with `m3`, which has it as `2`, this apply wants `3`
        "#]],
    );
    let mut world = agreed().forced();
    let taken = world.try_apply("m4", Part::Main, other).expect("forced");
    assert_eq!(taken.len(), 6, "{taken:?}");
    world.shows(expect![[r#"
        metadata {"labels":{"a":"2"}}
        spec {"replicas":3}
        m1 Apply at 01: 
        m2 Apply at 02: 
        m3 Apply at 03: 
        m4 Apply at 04: metadata.labels.a spec.replicas
    "#]]);
}

#[test]
fn a_write_that_is_no_apply_takes_what_it_changes_from_every_owner() {
    agreed()
        .patches("ops", Part::Main, json!({"metadata": {"labels": {"a": null}}, "spec": {"replicas": 9}}))
        .shows(expect![[r#"
            metadata {"labels":{}}
            spec {"replicas":9}
            m1 Apply at 01: 
            m2 Apply at 02: 
            m3 Apply at 03: 
            ops Update at 04: spec.replicas
        "#]]);
}

/// Both of the verbs that `ctl` takes fields back from wrote something, in either order.
#[test]
fn an_apply_takes_back_from_each_manager_that_it_names() {
    let writes = [
        ("ctl-scale", json!({"spec": {"replicas": 5}})),
        ("ctl-rollout", json!({"spec": {"minReadySeconds": 7}})),
    ];
    for order in [[0, 1], [1, 0]] {
        let mut world =
            World::of_ctl().applies("ctl", json!({"spec": {"replicas": 1, "minReadySeconds": 1}}));
        for at in order {
            world = world.patches(writes[at].0, Part::Main, writes[at].1.clone());
        }
        let back = json!({"spec": {"replicas": 2, "minReadySeconds": 2}});
        let taken = world.try_apply("ctl", Part::Main, back.clone()).expect("no conflict");
        let from: BTreeSet<&str> = taken.iter().map(|taken| taken.manager.as_str()).collect();
        assert_eq!(from, BTreeSet::from(["ctl-scale", "ctl-rollout"]));
        let object = world.object.as_ref().expect("an object");
        assert_eq!(object["spec"], back["spec"]);
        assert_eq!(entries::read(object).len(), 1, "nothing is left to the verbs");
    }
}

/// What the verbs have under an applied field goes when the apply does not mention it, whichever of them wrote it.
#[test]
fn an_apply_ends_what_each_manager_that_it_names_added_under_what_it_applies() {
    let env = |names: &[&str]| {
        let env: Value = names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
        json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "env": env}]}}}})
    };
    World::of_ctl()
        .applies("ctl", env(&["A"]))
        .patches("ctl-scale", Part::Main, env(&["A", "B"]))
        .patches("ctl-rollout", Part::Main, env(&["A", "B", "C"]))
        .patches("ops", Part::Main, env(&["A", "B", "C", "D"]))
        .applies("ctl", env(&["A"]))
        .shows(expect![[r#"
            spec {"template":{"spec":{"containers":[{"env":[{"name":"A","value":"1"},{"name":"D","value":"1"}],"name":"web"}]}}}
            ctl Apply at 05: spec.template.spec.containers[name="web"] spec.template.spec.containers[name="web"].env[name="A"] spec.template.spec.containers[name="web"].env[name="A"].name spec.template.spec.containers[name="web"].env[name="A"].value spec.template.spec.containers[name="web"].name
            ops Update at 04: spec.template.spec.containers[name="web"].env[name="D"] spec.template.spec.containers[name="web"].env[name="D"].name spec.template.spec.containers[name="web"].env[name="D"].value
        "#]]);
}

/// The items of three managers in one list keep the order that each of them applied.
#[test]
fn the_items_of_three_managers_stay_where_they_are() {
    let named = |names: &str| {
        let items: Value = names.split_whitespace().map(|name| json!({"name": name})).collect();
        json!({"spec": {"template": {"spec": {"containers": items}}}})
    };
    let mut world = World::new("app");
    for (manager, applied, expected) in [
        ("m1", "a b", "a b"),
        ("m2", "x", "a b x"),
        ("m3", "p q", "a b x p q"),
        ("m1", "a b", "a b x p q"),
        ("m3", "q p", "a b x q p"),
        ("m2", "x y", "a b x q p y"),
        ("m1", "b", "b x q p y"),
        ("m3", "", "b x y"),
    ] {
        world = world.applies(manager, named(applied));
        let object = world.object.as_ref().expect("an object");
        let items = object["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
        let order: Vec<&str> = items.iter().filter_map(|item| item["name"].as_str()).collect();
        assert_eq!(order.join(" "), expected, "{manager} applies {applied}");
    }
}
