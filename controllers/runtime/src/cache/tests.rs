use std::collections::BTreeMap;

use berth_types::meta::{ManagedFields, OwnerReference};
use berth_types::{ObjectMeta, app::App};

use super::*;

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

#[test]
fn an_index_follows_every_change() {
    let mut indexes = Indexes::new();
    let by_owner = indexes.add(owner_uids);
    let by_node = indexes.add(|app: &App| app.metadata.labels.get("node").cloned().into_iter().collect());
    let cache = Cache::empty(indexes);
    cache.apply(whole(vec![app("a", 1, "o1", "n1"), app("b", 2, "o1", "n2")], 1023));
    assert_eq!(names(&cache.by(&by_owner, "o1")), "a b");
    cache.apply(changes(vec![Change::Modified(app("b", 2048, "o2", "n1"))], 2048));
    assert_eq!(names(&cache.by(&by_owner, "o1")), "a");
    assert_eq!(names(&cache.by(&by_node, "n1")), "a b");
    cache.apply(again(vec![], 4095));
    assert_eq!(names(&cache.by(&by_node, "n1")), "");
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
