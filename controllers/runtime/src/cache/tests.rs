use std::collections::BTreeMap;

use berth_types::meta::{ManagedFields, OwnerReference};
use berth_types::{ObjectMeta, app::App};
use proptest::prelude::*;

use super::*;

const NAMES: usize = 4;
const VALUES: usize = 3;

fn app(name: &str, version: u64, owner: &str, node: &str) -> App {
    let mut metadata = ObjectMeta::named("shop", name);
    metadata.resource_version = version.to_string();
    metadata.owner_references = vec![OwnerReference { uid: owner.into(), ..Default::default() }];
    metadata.labels = BTreeMap::from([("node".into(), node.into())]);
    App { metadata, ..App::default() }
}

fn whole(objects: Vec<App>, version: u64) -> Update<App> {
    Update::Initial { objects, version: version.to_string() }
}

fn again(objects: Vec<App>, version: u64) -> Update<App> {
    Update::Restarted { objects, version: version.to_string() }
}

fn changes(changes: Vec<Change<App>>, version: u64) -> Update<App> {
    Update::Changes { changes, version: version.to_string() }
}

fn names(apps: &[Arc<App>]) -> String {
    apps.iter().map(|app| app.metadata.name.as_str()).collect::<Vec<_>>().join(" ")
}

fn told(receiver: &mut mpsc::UnboundedReceiver<Changed<App>>) -> String {
    let mut lines = String::new();
    while let Ok(changed) = receiver.try_recv() {
        let deltas = changed.deltas.iter().map(|delta| {
            let name = &delta.object().metadata.name;
            match delta {
                Delta::Added(_) => format!("+{name}"),
                Delta::Modified { old, new } => {
                    format!("{name}:{}>{}", old.metadata.resource_version, new.metadata.resource_version)
                }
                Delta::Deleted(_) => format!("-{name}"),
            }
        });
        lines += &format!("{} at {}\n", deltas.collect::<Vec<_>>().join(" "), changed.version.0);
    }
    lines
}

#[test]
fn what_vanished_while_the_watch_was_broken_is_told_as_deleted() {
    let cache = Cache::empty(Indexes::new());
    let mut receiver = cache.subscribe();
    cache.apply(whole(vec![app("a", 1, "", ""), app("b", 2, "", ""), app("c", 3, "", "")], 1023));
    cache.apply(again(vec![app("b", 2, "", ""), app("c", 2048, "", ""), app("d", 2049, "", "")], 3071));
    expect_test::expect![[r#"
        +a +b +c at 1023
        c:3>2048 +d -a at 3071
    "#]]
    .assert_eq(&told(&mut receiver));
    assert_eq!(names(&cache.all()), "b c d");
}

#[test]
fn of_the_entries_of_managers_the_size_is_kept() {
    let cache = Cache::empty(Indexes::new());
    let managed = |version: u64, manager: &str| {
        let mut managed = app("a", version, "", "");
        let entry = ManagedFields { manager: manager.into(), ..ManagedFields::default() };
        managed.metadata.managed_fields = vec![entry];
        managed
    };
    let size = |manager: &str| {
        serde_json::to_vec(&managed(1, manager).metadata.managed_fields).expect("text keys").len()
    };
    let key = Key::new("shop", "a");
    cache.apply(whole(vec![managed(1, "one"), app("b", 2, "", "")], 1023));
    assert_eq!(*cache.all()[0], app("a", 1, "", ""));
    assert_eq!((cache.managed_bytes(&key), cache.managed_bytes(&Key::new("shop", "b"))), (size("one"), 0));
    cache.apply(changes(vec![Change::Modified(managed(2048, "another"))], 2048));
    assert_eq!(cache.managed_bytes(&key), size("another"));
    cache.apply(changes(vec![Change::Modified(app("a", 3072, "", ""))], 3072));
    assert_eq!(cache.managed_bytes(&key), 0);
    cache.apply(changes(vec![Change::Modified(managed(4096, "one"))], 4096));
    cache.apply(changes(vec![Change::Deleted(app("a", 4096, "", ""))], 5120));
    assert_eq!(cache.managed_bytes(&key), 0);
}

#[test]
fn a_late_subscriber_begins_with_the_present_objects() {
    let cache = Cache::empty(Indexes::new());
    cache.apply(whole(vec![app("a", 1, "", "")], 1023));
    cache.apply(changes(vec![Change::Added(app("b", 2048, "", ""))], 2048));
    let mut receiver = cache.subscribe();
    cache.apply(changes(vec![Change::Deleted(app("a", 3072, "", ""))], 3072));
    expect_test::expect![[r#"
        +a +b at 2048
        -a at 3072
    "#]]
    .assert_eq(&told(&mut receiver));
}

fn nodes(app: &App) -> Vec<String> {
    app.metadata.labels.get("node").cloned().into_iter().collect()
}

#[test]
fn an_index_follows_every_change() {
    let mut indexes = Indexes::new();
    let (by_owner, by_node) = (indexes.add(owner_uids), indexes.add(nodes));
    let cache = Cache::empty(indexes);
    let found = || {
        let of = |index, values: [&str; 2]| values.map(|value| names(&cache.by(index, value))).join(", ");
        format!("{} | {}", of(&by_owner, ["o1", "o2"]), of(&by_node, ["n1", "n2"]))
    };
    cache.apply(whole(vec![app("a", 1, "o1", "n1"), app("b", 2, "o1", "n2")], 1023));
    assert_eq!(found(), "a b,  | a, b");
    cache.apply(changes(vec![Change::Modified(app("b", 2048, "o2", "n1"))], 2048));
    assert_eq!(found(), "a, b | a b, ");
    cache.apply(changes(vec![Change::Deleted(app("a", 3072, "o1", "n1"))], 3072));
    assert_eq!(found(), ", b | b, ");
    cache.apply(again(vec![], 4095));
    assert_eq!(found(), ",  | , ");
}

/// Owners and node of an object.
type Looks = (BTreeSet<usize>, usize);

/// An update of a cache.
#[derive(Debug, Clone)]
enum Step {
    /// Objects that changed, or are gone.
    Changes(Vec<(usize, Option<Looks>)>),
    /// All objects, after the watch broke.
    Restarted(BTreeMap<usize, Looks>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let looks = || (prop::collection::btree_set(0..VALUES, 0..VALUES), 0..VALUES);
    let changes = prop::collection::vec((0..NAMES, prop::option::weighted(0.7, looks())), 1..4);
    let whole = prop::collection::btree_map(0..NAMES, looks(), 0..NAMES);
    let step = prop_oneof![4 => changes.prop_map(Step::Changes), 1 => whole.prop_map(Step::Restarted)];
    prop::collection::vec(step, 1..12)
}

fn looking(name: usize, version: u64, (owners, node): Looks) -> App {
    let mut app = app(&name.to_string(), version, "", &node.to_string());
    let owner = |uid: usize| OwnerReference { uid: uid.to_string(), ..Default::default() };
    app.metadata.owner_references = owners.into_iter().map(owner).collect();
    app
}

fn update(step: Step, version: u64) -> Update<App> {
    let change = |(name, looks): (usize, Option<Looks>)| match looks {
        Some(looks) => Change::Modified(looking(name, version, looks)),
        None => Change::Deleted(looking(name, version, Looks::default())),
    };
    match step {
        Step::Changes(of) => changes(of.into_iter().map(change).collect(), version),
        Step::Restarted(all) => {
            again(all.into_iter().map(|(name, looks)| looking(name, version, looks)).collect(), version)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..berth_cases::cases(500) })]

    #[test]
    fn an_index_finds_what_a_look_at_all_objects_finds(steps in steps()) {
        let mut indexes = Indexes::new();
        let (by_owner, by_node) = (indexes.add(owner_uids), indexes.add(nodes));
        let cache = Cache::empty(indexes);
        for (step, version) in steps.into_iter().zip((1..).map(|rev| rev * 1024)) {
            cache.apply(update(step, version));
            for value in (0..VALUES).map(|value| value.to_string()) {
                let scan = |values: fn(&App) -> Vec<String>| -> Vec<Arc<App>> {
                    cache.all().into_iter().filter(|app| values(app).contains(&value)).collect()
                };
                prop_assert_eq!(cache.by(&by_owner, &value), scan(owner_uids));
                prop_assert_eq!(cache.by(&by_node, &value), scan(nodes));
            }
        }
    }
}

#[tokio::test]
async fn a_reached_version_means_that_its_objects_are_there() {
    let cache = Cache::empty(Indexes::new());
    assert!(!cache.synced());
    let waiting = {
        let cache = cache.clone();
        tokio::spawn(async move {
            cache.reached(ResourceVersion::of_revision(2)).await;
            names(&cache.all())
        })
    };
    cache.apply(whole(vec![app("a", 1, "", "")], 2047));
    assert!(cache.synced() && !waiting.is_finished());
    cache.apply(changes(vec![Change::Added(app("b", 2048, "", ""))], 2048));
    assert_eq!(waiting.await.unwrap(), "a b");
}
