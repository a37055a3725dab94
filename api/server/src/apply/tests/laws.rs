//! Laws over generated configurations and histories.

use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::{Value, json};

use super::world::World;
use crate::apply::fields::{FieldSet, Place};
use crate::apply::{Conflicts, Part, Refusal, entries, tree};

/// What several hands may say of an App: few names, so that they meet.
#[derive(Debug, Clone)]
struct Says {
    manager: &'static str,
    fields: Value,
}

/// Scalars, maps, a set, keyed lists in keyed lists and atomics, each there or not, the names taken from `names`.
fn fields(names: &'static [&'static str], replicas: bool) -> impl Strategy<Value = Value> {
    let pairs = move || subsequence(names, 0..=names.len());
    let labels = proptest::option::of((pairs(), 0..2u8)).prop_map(|given| {
        given.map(|(names, value)| json!(map(names.iter().map(|name| (*name, json!(value.to_string()))))))
    });
    let finalizers = proptest::option::of(pairs());
    let env = (pairs(), 0..2u8).prop_map(|(names, value)| {
        names.iter().map(|name| json!({"name": name, "value": value.to_string()})).collect::<Value>()
    });
    let command = proptest::option::of(proptest::collection::vec(0..2u8, 0..3))
        .prop_map(|words| words.map(|words| words.iter().map(ToString::to_string).collect::<Value>()));
    let container = (proptest::option::of(env), command);
    let containers = proptest::option::of((pairs(), proptest::collection::vec(container, names.len())))
        .prop_map(|given| {
            given.map(|(names, bodies)| {
                let item = |(name, (env, command)): (&&str, &(Option<Value>, Option<Value>))| {
                    there([("name", Some(json!(name))), ("env", env.clone()), ("command", command.clone())])
                };
                names.iter().zip(&bodies).map(item).collect::<Value>()
            })
        });
    let replicas = if replicas { proptest::option::of(0..3u8).boxed() } else { Just(None).boxed() };
    (labels, finalizers, containers, replicas).prop_map(|(labels, finalizers, containers, replicas)| {
        let spec = containers.map(|containers| json!({"spec": {"containers": containers}}));
        there([
            (
                "metadata",
                Some(there([
                    ("labels", labels),
                    ("finalizers", finalizers.map(|names| json!(qualified(names)))),
                ])),
            ),
            ("spec", Some(there([("replicas", replicas.map(|n| json!(n))), ("template", spec)]))),
        ])
    })
}

fn qualified(names: Vec<&str>) -> Vec<String> {
    names.iter().map(|name| format!("berth.dev/{name}")).collect()
}

fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Object(entries.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}

fn there<const N: usize>(entries: [(&str, Option<Value>); N]) -> Value {
    map(entries.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

const ALL: &[&str] = &["a", "b", "c"];

fn says() -> impl Strategy<Value = Says> {
    let manager = prop_oneof![Just("one"), Just("two"), Just("three")];
    (manager, fields(ALL, true)).prop_map(|(manager, fields)| Says { manager, fields })
}

/// A world after each of these was applied, by force where needed.
fn after(history: &[Says]) -> World {
    let mut world = World::new("app").forced();
    for said in history {
        world.try_apply(said.manager, Part::Main, said.fields.clone()).expect("forced");
    }
    world.conflicts = Conflicts::Refused;
    world
}

fn history() -> impl Strategy<Value = Vec<Says>> {
    proptest::collection::vec(says(), 0..5)
}

fn object(world: &World) -> Value {
    world.object.clone().unwrap_or(Value::Null)
}

/// Every place of `fields` that holds one value, with that value.
fn values(world: &World, fields: &Value) -> Vec<(Place, Value)> {
    let shape = world.kind.shape();
    let of = |place: Place| tree::value_at(shape, fields, &place).map(|value| (place.clone(), value.clone()));
    tree::fields_of(shape, fields).places().into_iter().filter_map(of).collect()
}

fn law() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..berth_cases::cases(256) }
}

proptest! {
    #![proptest_config(law())]

    #[test]
    fn applying_again_changes_nothing(history in history(), said in says()) {
        let mut world = after(&history).forced();
        world.try_apply(said.manager, Part::Main, said.fields.clone()).expect("forced");
        let once = object(&world);
        world.conflicts = Conflicts::Refused;
        let again = world.try_apply(said.manager, Part::Main, said.fields);
        prop_assert_eq!(again, Ok(Vec::new()));
        prop_assert_eq!(object(&world), once);
    }

    #[test]
    fn what_is_applied_is_there_and_owned(history in history(), said in says()) {
        let mut world = after(&history).forced();
        world.try_apply(said.manager, Part::Main, said.fields.clone()).expect("forced");
        let object = object(&world);
        let wanted = Part::Main.of(&world.manifest(said.fields));
        for (place, value) in values(&world, &wanted) {
            let found = tree::value_at(world.kind.shape(), &object, &place);
            let whole = value.as_object().is_some_and(|fields| fields.is_empty());
            let listed = value.is_array() || value.is_object();
            prop_assert!(found.is_some(), "{place} is there");
            prop_assert!(whole || listed || found == Some(&value), "{place} is {found:?}, not {value}");
        }
        let own = entries::read(&object).into_iter().find(|entry| entry.manager == said.manager);
        prop_assert_eq!(own.map(|entry| entry.fields), Some(tree::fields_of(world.kind.shape(), &wanted)));
    }

    #[test]
    fn a_refused_apply_changes_nothing_and_a_forced_one_takes_what_was_refused(history in history(), said in says()) {
        let mut world = after(&history);
        let before = object(&world);
        let Err(Refusal::Conflicts(refused)) = world.try_apply(said.manager, Part::Main, said.fields.clone()) else {
            return Ok(());
        };
        prop_assert_eq!(object(&world), before);
        let mut world = world.forced();
        let taken = world.try_apply(said.manager, Part::Main, said.fields).expect("forced");
        prop_assert_eq!(taken, refused);
    }

    #[test]
    fn managers_of_different_things_never_conflict(
        ones in proptest::collection::vec(fields(&["a", "b"], true), 1..4),
        twos in proptest::collection::vec(fields(&["x", "y"], false), 1..4),
    ) {
        let mut world = World::new("app");
        for (one, two) in ones.iter().zip(twos.iter().cycle()) {
            prop_assert!(world.try_apply("one", Part::Main, one.clone()).is_ok());
            prop_assert!(world.try_apply("two", Part::Main, two.clone()).is_ok());
        }
    }

    #[test]
    fn managers_that_agree_come_to_rest(history in history()) {
        let mut world = after(&history);
        let last = |manager: &str| history.iter().rev().find(|said| said.manager == manager);
        let mut standing: Vec<&Says> = ["one", "two", "three"].iter().filter_map(|name| last(name)).collect();
        standing.retain(|said| world.try_apply(said.manager, Part::Main, said.fields.clone()).is_ok());
        let rest = object(&world);
        for said in standing.iter().chain(&standing) {
            prop_assert!(world.try_apply(said.manager, Part::Main, said.fields.clone()).is_ok());
            prop_assert_eq!(&object(&world), &rest);
        }
    }

    #[test]
    fn taking_everything_back_leaves_what_was_there(base in fields(&["a", "b"], true), said in fields(&["x", "y"], false)) {
        let mut world = World::new("app");
        world.try_apply("base", Part::Main, base).expect("the first");
        let before = Part::Main.of(&object(&world));
        world.try_apply("guest", Part::Main, said).expect("no conflict");
        world.try_apply("guest", Part::Main, json!({})).expect("no conflict");
        prop_assert_eq!(Part::Main.of(&object(&world)), before);
    }

    #[test]
    fn every_owned_field_is_there(history in history(), writes in proptest::collection::vec((says(), any::<bool>()), 0..4)) {
        let mut world = after(&history).forced();
        if world.object.is_none() {
            return Ok(());
        }
        for (said, applied) in writes {
            if applied {
                world.try_apply(said.manager, Part::Main, said.fields).expect("forced");
            } else {
                world = world.patches(said.manager, Part::Main, said.fields);
            }
            let object = object(&world);
            for entry in entries::read(&object) {
                for place in entry.fields.places() {
                    let found = tree::value_at(world.kind.shape(), &object, &place);
                    prop_assert!(found.is_some(), "{} owns {place}", entry.manager);
                }
            }
        }
    }

    #[test]
    fn an_update_owns_what_it_changed_and_nobody_else_does(history in history(), said in says()) {
        let world = after(&history);
        let Some(before) = world.object.clone() else { return Ok(()) };
        let (kind, changed_before) = (world.kind, before.clone());
        let world = world.patches("updater", Part::Main, said.fields);
        let after = object(&world);
        let changed = tree::changed(kind.shape(), &Part::Main.of(&changed_before), &Part::Main.of(&after));
        if changed.is_empty() && Part::Main.of(&before) == Part::Main.of(&after) {
            prop_assert_eq!(after, before);
            return Ok(());
        }
        for entry in entries::read(&after) {
            let owned = entry.fields.intersection(&changed);
            let expected = if entry.manager == "updater" { changed.clone() } else { FieldSet::default() };
            prop_assert_eq!(owned, expected, "{}", entry.manager);
        }
    }

    #[test]
    fn fields_read_back_as_written(fields in fields(ALL, true)) {
        let set = tree::fields_of(World::new("app").kind.shape(), &fields);
        prop_assert_eq!(FieldSet::of_fields_v1(&set.to_fields_v1()), set);
    }

    #[test]
    fn sets_keep_the_laws_of_sets(one in fields(ALL, true), other in fields(ALL, true)) {
        let kind = World::new("app").kind;
        let (one, other) = (tree::fields_of(kind.shape(), &one), tree::fields_of(kind.shape(), &other));
        let both = one.intersection(&other);
        prop_assert_eq!(&one.minus(&other).union(both.clone()), &one);
        prop_assert_eq!(&both, &other.intersection(&one));
        prop_assert!(one.minus(&one.clone().union(other)).is_empty());
    }
}
