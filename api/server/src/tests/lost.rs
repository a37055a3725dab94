//! The answer to a call is lost, and another client removes what the call put before anything is sent again. Every
//! kind of group that a server sends is carried out once, on every form of the store, and the answer says so.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use berth_proto::v1 as wire;
use berth_proto::v1::write::Verb;
use berth_store::{
    At, Committer, CommitterOptions, EmbeddedStore, EtcdOptions, Group, Store, Unsupported, Write,
};
use berth_types::Reason;
use futures::StreamExt;
use serde_json::{Value, json};

use super::binding::item;
use super::etcd::Etcd;
use super::faulty::Faulty;
use super::{Api, app, beside, key, task, version, with, write};
use crate::table::Table;
use crate::{Options, compaction, keys};

/// A form of the store, empty, and what it lives in.
pub struct Form {
    pub name: &'static str,
    pub inner: Arc<dyn Store>,
    /// The same, where the answer to a call is lost.
    pub store: Arc<dyn Store>,
    next: Arc<Mutex<Option<String>>>,
    _lives_in: Box<dyn Any>,
}

impl Form {
    pub async fn each() -> Vec<Self> {
        let dir = tempfile::tempdir().unwrap();
        let embedded = EmbeddedStore::open(dir.path()).unwrap();
        let etcd = Etcd::start("3.5.1");
        let options = EtcdOptions { unsupported: Unsupported::Allow, ..EtcdOptions::default() };
        let over_etcd = etcd.store_with(options).await;
        vec![
            Self::of("memory", Arc::new(EmbeddedStore::memory()), Box::new(())),
            Self::of("embedded", Arc::new(embedded), Box::new(dir)),
            Self::of("etcd", Arc::new(over_etcd), Box::new(etcd)),
        ]
    }

    fn of(name: &'static str, inner: Arc<dyn Store>, lives_in: Box<dyn Any>) -> Self {
        let (store, next) = Faulty::undoing(inner.clone());
        Self { name, inner, store, next, _lives_in: lives_in }
    }

    /// The answer to the next call that writes a key which begins with this is lost.
    pub fn lose(&self, key: &str) {
        *self.next.lock().unwrap() = Some(key.to_owned());
    }

    /// Whether the answer was lost.
    pub fn has_lost(&self) -> bool {
        self.next.lock().unwrap().is_none()
    }

    /// How often each key that begins with `prefix` was put.
    pub async fn puts(&self, prefix: &str) -> BTreeMap<String, usize> {
        let newest = self.inner.current_rev().await.unwrap();
        let mut watch = self.inner.watch(keys::START, keys::END, 1).await.unwrap();
        let mut puts = BTreeMap::new();
        loop {
            let changes = watch.next().await.unwrap().unwrap();
            let put = changes.changes.into_iter().filter(|change| change.now.is_some());
            for key in put.map(|change| String::from_utf8(change.key.to_vec()).unwrap()) {
                if key.starts_with(prefix) {
                    *puts.entry(key).or_default() += 1;
                }
            }
            if changes.rev >= newest {
                return puts;
            }
        }
    }

    async fn is_there(&self, key: &str) -> bool {
        self.inner.get(key.as_bytes(), At::Latest).await.unwrap().1.is_some()
    }

    /// A write that puts `key`: it happened once, in the revision of its answer.
    async fn puts_once(&self, api: &Api, write: wire::Write, key: &str) {
        let at = format!("{}, {} of {key}", self.name, write.verb().as_str_name());
        let before = self.puts(key).await.get(key).copied().unwrap_or(0);
        self.lose(key);
        let written = api.send(write).await.unwrap_or_else(|why| panic!("{at}: {why:?}"));
        assert!(self.has_lost(), "{at}: no answer was lost");
        assert_eq!(self.puts(key).await[key], before + 1, "{at}");
        let rev = version(&written).parse::<i64>().unwrap() / 1024;
        let then = self.inner.get(key.as_bytes(), At::Rev(rev)).await.unwrap().1;
        assert_eq!(then.map(|kv| kv.mod_rev), Some(rev), "{at}: the answer names another revision");
        assert!(!self.is_there(key).await, "{at}");
    }

    /// A write that removes `key`: its answer says so.
    async fn removes_once(&self, api: &Api, write: wire::Write, key: &str) {
        let at = format!("{}, {} of {key}", self.name, write.verb().as_str_name());
        self.lose(key);
        api.send(write).await.unwrap_or_else(|why| panic!("{at}: {why:?}"));
        assert!(self.has_lost() && !self.is_there(key).await, "{at}");
    }
}

fn app_key(name: &str) -> String {
    format!("/berth/berth.dev/apps/default/{name}")
}

fn task_key(name: &str) -> String {
    format!("/berth/berth.dev/tasks/default/{name}")
}

/// An object of every kind, and each key that its creation puts.
pub fn creations() -> Vec<(&'static str, Value, &'static [&'static str])> {
    let template = || app(1)["spec"]["template"].clone();
    let about = json!({"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "u"});
    let event =
        json!({"involvedObject": about, "reason": "Because", "message": "it is so", "type": "Normal"});
    let lease = json!({"spec": {"holderIdentity": "a", "leaseDurationSeconds": 10}});
    vec![
        ("App", app(1), &["/berth/berth.dev/apps/default/"]),
        (
            "Revision",
            json!({"spec": {"number": 1, "template": template()}}),
            &["/berth/berth.dev/revisions/default/"],
        ),
        ("Task", task(), &["/berth/berth.dev/tasks/default/"]),
        ("Node", json!({"spec": {}}), &["/berth/berth.dev/nodes/-/", "/berth/-/ledger/"]),
        ("Namespace", json!({}), &["/berth/core/namespaces/-/"]),
        ("Event", event, &["/berth/core/events/default/"]),
        ("Lease", lease, &["/berth/coordination.k8s.io/leases/default/", "/berth/-/epoch/default/"]),
    ]
}

#[tokio::test]
async fn an_object_of_each_kind_that_was_created_and_removed_is_not_created_again() {
    let table = Table::builtin();
    let kinds: Vec<&str> = creations().iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, table.rows().map(|(_, row)| row.name()).collect::<Vec<_>>());
    for form in Form::each().await {
        let api = beside(form.store.clone()).await;
        for (kind, body, folders) in creations() {
            for (n, folder) in folders.iter().enumerate() {
                for (verb, name) in [(Verb::Create, format!("c{n}")), (Verb::Apply, format!("a{n}"))] {
                    form.puts_once(&api, write(verb, kind, &name, body.clone()), &format!("{folder}{name}"))
                        .await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_change_whose_object_was_removed_before_its_answer_came_happened_once() {
    let status = || json!({"status": {"tasksCreated": 1}});
    let held = json!({"metadata": {"finalizers": ["test/held"]}});
    for form in Form::each().await {
        let api = beside(form.store.clone()).await;
        let table = [
            write(Verb::Update, "App", "update", app(2)),
            write(Verb::Patch, "App", "patch", json!({"spec": {"replicas": 2}})),
            write(Verb::Apply, "App", "apply", json!({"spec": {"replicas": 1}})),
            write(Verb::UpdateStatus, "App", "update-status", status()),
            write(Verb::PatchStatus, "App", "patch-status", status()),
            write(Verb::ApplyStatus, "App", "apply-status", status()),
            write(Verb::Delete, "App", "mark", Value::Null),
            wire::Write {
                preconditions: vec![wire::Precondition {
                    key: Some(key("Task", "default/none")),
                    absent: true,
                    ..wire::Precondition::default()
                }],
                ..write(Verb::Patch, "App", "beside-absent", json!({"spec": {"replicas": 2}}))
            },
        ];
        for change in table {
            let name = change.key.as_ref().unwrap().name.clone();
            api.create("App", &name, app(1)).await.unwrap();
            api.patch("App", &name, held.clone()).await.unwrap();
            form.puts_once(&api, change, &app_key(&name)).await;
        }
        let holder = |name: &str| json!({"spec": {"holderIdentity": name, "leaseDurationSeconds": 10}});
        api.create("Lease", "l", holder("a")).await.unwrap();
        let taken = write(Verb::Patch, "Lease", "l", holder("b"));
        form.puts_once(&api, taken, "/berth/-/epoch/default/l").await;
    }
}

#[tokio::test]
async fn a_removal_whose_answer_was_lost_happened() {
    for form in Form::each().await {
        let api = beside(form.store.clone()).await;
        let delete = |kind, name| write(Verb::Delete, kind, name, Value::Null);
        api.create("App", "a", app(1)).await.unwrap();
        form.removes_once(&api, delete("App", "a"), &app_key("a")).await;
        api.node("n", 1).await;
        form.removes_once(&api, delete("Node", "n"), "/berth/berth.dev/nodes/-/n").await;
        let owner = api.create("App", "owner", app(1)).await.unwrap();
        let owner = json!({
            "apiVersion": "berth.dev/v1", "kind": "App", "name": "owner", "uid": owner["metadata"]["uid"],
        });
        let mut owned = task();
        owned["metadata"] = json!({"ownerReferences": [owner]});
        api.create("Task", "owned", owned).await.unwrap();
        let orphaning = wire::Write { orphan: true, ..delete("App", "owner") };
        form.removes_once(&api, orphaning, &app_key("owner")).await;
        assert_eq!(form.puts(&task_key("owned")).await[&task_key("owned")], 2, "{}", form.name);
    }
}

#[tokio::test]
async fn what_a_batch_created_and_another_removed_is_not_created_again() {
    for form in Form::each().await {
        let api = beside(form.store.clone()).await;
        for (name, atomic) in [("one", false), ("other", true)] {
            let owner = api.create("App", name, app(3)).await.unwrap();
            let mut count = write(Verb::PatchStatus, "App", name, json!({"status": {"tasksCreated": 3}}));
            count.resource_version = version(&owner);
            let created = (0..3).map(|n| write(Verb::Create, "Task", &format!("{name}-{n}"), task()));
            form.lose(&task_key(name));
            for ended in api.batch(atomic, std::iter::once(count).chain(created).collect()).await {
                ended.unwrap_or_else(|why| panic!("{}, atomic {atomic}: {why:?}", form.name));
            }
            assert!(form.has_lost());
            let expected = (0..3).map(|n| (task_key(&format!("{name}-{n}")), 1)).collect();
            assert_eq!(form.puts(&task_key(name)).await, expected, "{}, atomic {atomic}", form.name);
        }
    }
}

/// A Bind, and the finalizer that it puts on.
#[tokio::test]
async fn a_bind_whose_task_was_removed_before_its_answer_came_happened_once() {
    for form in Form::each().await {
        let api = beside(form.store.clone()).await;
        let node = api.node("n", 2).await;
        let made = api.create("Task", "lost", task()).await.unwrap();
        form.lose(&task_key("lost"));
        let ended = api.bind(vec![item(&made, &node, 31000)]).await.remove(0);
        assert_eq!(ended.unwrap_err().reason, Reason::NotFound, "{}", form.name);
        assert!(form.has_lost());
        for key in [task_key("lost"), "/berth/-/ledger/n".into()] {
            assert_eq!(form.puts(&key).await[&key], 2, "{}, {key}", form.name);
        }
        api.delete("Node", "n").await.unwrap();
        for (name, dies) in [("stays", false), ("dies", true)] {
            let node = api.node(name, 2).await;
            let made = api.create("Task", name, task()).await.unwrap();
            api.bind(vec![item(&made, &node, 31000)]).await.remove(0).unwrap();
            api.delete("Node", name).await.unwrap();
            let released = write(Verb::Patch, "Task", name, json!({"metadata": {"finalizers": null}}));
            if dies {
                api.delete("Task", name).await.unwrap();
                form.removes_once(&api, released, &task_key(name)).await;
            } else {
                form.puts_once(&api, released, &task_key(name)).await;
            }
        }
    }
}

#[tokio::test]
async fn a_cluster_has_one_uid_though_the_answer_to_its_creation_was_lost() {
    for form in Form::each().await {
        form.lose(keys::CLUSTER);
        let mut tasks = tokio::task::JoinSet::new();
        let clock = Arc::new(berth_types::SystemClock);
        // No client may remove the uid. Without it the server does not start, and creates no second one.
        let started = crate::Server::start(form.store.clone(), clock, Options::default(), &mut tasks).await;
        assert!(started.is_err() && form.has_lost(), "{}", form.name);
        assert_eq!(form.puts(keys::CLUSTER).await[keys::CLUSTER], 1, "{}", form.name);
    }
}

#[tokio::test]
async fn the_key_of_the_compaction_is_put_once_though_the_answer_was_lost() {
    for form in Form::each().await {
        let committer = Committer::new(form.store.clone(), CommitterOptions::of(1));
        form.lose(keys::COMPACTION);
        compaction::step(&*form.store, &committer, None).await.unwrap();
        assert!(form.has_lost());
        assert_eq!(form.puts(keys::COMPACTION).await[keys::COMPACTION], 1, "{}", form.name);
        let seen = compaction::step(&*form.store, &committer, None).await.unwrap();
        form.lose(keys::COMPACTION);
        compaction::step(&*form.store, &committer, Some(seen)).await.unwrap();
        assert!(form.has_lost());
        assert_eq!(form.puts(keys::COMPACTION).await[keys::COMPACTION], 3, "{}", form.name);
    }
}

/// The window of events tells what became of a change that no key shows any more. Where it does not go back far enough,
/// the change must not be decided anew, for it may have happened.
#[tokio::test]
async fn a_change_that_nobody_can_tell_of_is_not_carried_out_again() {
    for form in Form::each().await {
        let api = with(form.store.clone(), Options { window_bytes: 0, ..Options::default() }).await;
        api.create("App", "a", app(1)).await.unwrap();
        form.lose(&app_key("a"));
        let why = api.patch("App", "a", json!({"spec": {"replicas": 2}})).await.unwrap_err();
        assert!(form.has_lost());
        assert_eq!(why.reason, Reason::Timeout, "{}: {why:?}", form.name);
        assert!(why.message.ends_with("read the object to see whether it happened"), "{}", why.message);
    }
}

/// The sync key is written for the sake of a reader, who is answered.
#[tokio::test]
async fn a_read_is_answered_though_the_answer_to_its_sync_key_was_lost() {
    for form in Form::each().await {
        let api = beside(form.store.clone()).await;
        let made = api.create("App", "a", app(1)).await.unwrap();
        let elsewhere = Group { conditions: vec![], writes: vec![Write::put("/elsewhere", "1")] };
        form.inner.commit(vec![elsewhere]).await.unwrap();
        form.lose(keys::SYNC);
        assert_eq!(api.get("App", "default/a").await.as_ref(), Ok(&made), "{}", form.name);
        assert!(form.has_lost(), "{}", form.name);
    }
}
