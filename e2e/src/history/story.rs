//! A history told in words of the domain: what tests break, and what long histories are generated from. Each sentence
//! is a revision, written as the cluster would.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::key;
use super::log::{Event, Header, Stored};

/// Namespace of everything that has one.
pub const NAMESPACE: &str = "shop";

const MILLISECOND: u64 = 1_000_000;

/// A history as it is told.
#[derive(Debug, Default)]
pub struct Story {
    events: Vec<Event>,
    now: BTreeMap<String, (i64, i64, Value)>,
    rev: i64,
    at: u64,
    together: u16,
    uids: u64,
    writer: String,
    epoch: i64,
    dress: Option<fn(&mut Value)>,
}

impl Story {
    /// Nothing has happened.
    pub fn new() -> Self {
        Self { at: MILLISECOND, writer: "ctl".into(), ..Self::default() }
    }

    /// What has happened.
    pub fn events(self) -> Vec<Event> {
        self.events
    }

    /// Takes what has happened so far out; the story goes on.
    pub fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The last revision.
    pub fn rev(&self) -> i64 {
        self.rev
    }

    /// Nothing happens for so long.
    pub fn wait(&mut self, millis: u64) -> &mut Self {
        self.at += millis * MILLISECOND;
        self
    }

    /// Every Task from now on is made up like this.
    pub fn dress(&mut self, dress: fn(&mut Value)) -> &mut Self {
        self.dress = Some(dress);
        self
    }

    /// What is told next is written by `writer`, who does not lead.
    pub fn by(&mut self, writer: &str) -> &mut Self {
        self.by_leader(writer, 0)
    }

    /// What is told next is written by `writer` in this epoch.
    pub fn by_leader(&mut self, writer: &str, epoch: i64) -> &mut Self {
        (self.writer, self.epoch) = (writer.into(), epoch);
        self
    }

    /// What is told within happens in one revision.
    pub fn together(&mut self, tell: impl FnOnce(&mut Self) -> &mut Self) -> &mut Self {
        self.turn();
        self.together = 1;
        tell(self);
        self.together = 0;
        self
    }

    /// What lies at `key`.
    pub fn object(&self, key: &str) -> Option<&Value> {
        self.now.get(key).map(|(_, _, json)| json)
    }

    /// Puts `json` at `key`.
    pub fn put(&mut self, key: &str, json: Value) -> &mut Self {
        self.turn();
        let (create_rev, version) =
            self.now.get(key).map_or((self.rev, 0), |(create, version, _)| (*create, *version));
        let version = version + 1;
        let header = Header {
            position: self.together.saturating_sub(2),
            write_id: u128::from(self.uids) << 64 | u128::from(self.rev.unsigned_abs()),
            epoch: self.epoch,
            writer: self.writer.clone(),
        };
        let stored = Stored { create_rev, version, lease: 0, header, json: json.to_string().into() };
        self.events.push(Event { rev: self.rev, at: self.at, key: key.into(), now: Some(stored) });
        self.now.insert(key.into(), (create_rev, version, json));
        self
    }

    /// Deletes `key`.
    pub fn delete(&mut self, key: &str) -> &mut Self {
        self.turn();
        self.now.remove(key);
        self.events.push(Event { rev: self.rev, at: self.at, key: key.into(), now: None });
        self
    }

    /// Changes what lies at `key`.
    ///
    /// # Panics
    /// When nothing lies there.
    pub fn edit(&mut self, key: &str, change: impl FnOnce(&mut Value)) -> &mut Self {
        let mut json = self.object(key).unwrap_or_else(|| panic!("nothing lies at {key}")).clone();
        change(&mut json);
        self.put(key, json)
    }

    fn turn(&mut self) {
        if self.together == 0 {
            self.rev += 1;
            self.at += MILLISECOND;
        } else {
            self.together += 1;
        }
    }

    /// A new uid.
    pub fn uid(&mut self) -> String {
        self.uids += 1;
        format!("{:032x}", self.uids)
    }

    fn create(&mut self, key: &str, kind: &str, spec: Value, status: Value) -> &mut Self {
        let (_, name) = key.rsplit_once('/').expect("a key has slashes");
        let uid = self.uid();
        let meta = json!({
            "name": name, "uid": uid, "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z",
        });
        let object = json!({"kind": kind, "metadata": meta, "spec": spec, "status": status});
        self.put(key, object)
    }
}

/// Nodes.
impl Story {
    /// A Node that is ready and has this much.
    pub fn node(&mut self, name: &str, cpu: &str) -> &mut Self {
        let ready = json!({"type": "Ready", "status": "True", "reason": "Present"});
        let status =
            json!({"allocatable": {"cpu": cpu, "memory": "64Gi", "disk": "64Gi"}, "conditions": [ready]});
        self.together(|story| {
            story.create(&key::node(name), "Node", json!({}), status);
            story.put(&key::ledger(name), json!({}))
        })
    }

    /// A Node is gone, and with it its ledger.
    pub fn remove_node(&mut self, name: &str) -> &mut Self {
        self.together(|story| story.delete(&key::node(name)).delete(&key::ledger(name)))
    }

    /// A Node has this much from now on.
    pub fn resize(&mut self, name: &str, cpu: &str) -> &mut Self {
        self.edit(&key::node(name), |node| node["status"]["allocatable"]["cpu"] = cpu.into())
    }

    /// A Node is cordoned.
    pub fn cordon(&mut self, name: &str) -> &mut Self {
        self.edit(&key::node(name), |node| {
            node["spec"]["unschedulable"] = true.into();
            raise(node);
        })
    }

    /// A Node is no longer cordoned.
    pub fn uncordon(&mut self, name: &str) -> &mut Self {
        self.edit(&key::node(name), |node| {
            node["spec"] = json!({});
            raise(node);
        })
    }

    /// A Node is ready, `True` or `False`.
    pub fn node_ready(&mut self, name: &str, status: &str) -> &mut Self {
        self.edit(&key::node(name), |node| condition(node, "Ready", status, "Presence"))
    }

    /// uid of a Node.
    pub fn node_uid(&self, name: &str) -> String {
        text(self.object(&key::node(name)), "uid")
    }
}

/// Apps and Tasks.
impl Story {
    /// An App.
    pub fn app(&mut self, name: &str, mut spec: Value) -> &mut Self {
        let absent = spec.get("minReadySeconds").is_none();
        if absent {
            spec["minReadySeconds"] = 0.into();
        }
        self.create(&key::app(NAMESPACE, name), "App", spec, json!({"observedGeneration": 1}))
    }

    /// An App asks for so many Tasks from now on.
    pub fn scale(&mut self, name: &str, replicas: u64) -> &mut Self {
        self.edit(&key::app(NAMESPACE, name), |app| {
            app["spec"]["replicas"] = replicas.into();
            raise(app);
        })
    }

    /// The controller of an App has seen its newest spec.
    pub fn observed(&mut self, name: &str) -> &mut Self {
        self.edit(&key::app(NAMESPACE, name), |app| {
            app["status"]["observedGeneration"] = app["metadata"]["generation"].clone();
        })
    }

    /// A Task of this App (none when empty) that takes this much.
    pub fn task(&mut self, app: &str, name: &str, cpu: &str) -> &mut Self {
        let container = json!({"name": "main", "resources": {"requests": {"cpu": cpu}}});
        let spec = json!({"containers": [container], "revision": "r1"});
        let owner = self.object(&key::app(NAMESPACE, app)).map(
            |found| json!({"kind": "App", "name": app, "uid": found["metadata"]["uid"], "controller": true}),
        );
        let key = key::task(NAMESPACE, name);
        let mut object = json!({"kind": "Task", "spec": spec, "status": {"phase": "Pending"}});
        object["metadata"] = json!({"name": name, "uid": self.uid(), "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"});
        if let Some(owner) = owner {
            object["metadata"]["ownerReferences"] = json!([owner]);
        }
        if let Some(dress) = self.dress {
            dress(&mut object);
        }
        self.put(&key, object)
    }

    /// A Task is bound to a Node.
    pub fn bind(&mut self, task: &str, node: &str) -> &mut Self {
        let uid = self.node_uid(node);
        self.together(|story| {
            story.put(&key::ledger(node), json!({}));
            story.bind_alone(task, node, &uid)
        })
    }

    /// A Task is bound, and nothing else happens.
    pub fn bind_alone(&mut self, task: &str, node: &str, uid: &str) -> &mut Self {
        self.edit_task(task, |task| {
            task["spec"]["nodeName"] = node.into();
            task["spec"]["nodeUid"] = uid.into();
            task["metadata"]["finalizers"] = json!(["berth.dev/node"]);
        })
    }

    /// A Task comes into a phase. With a final one its agent acknowledges its end, and it goes if it was told to.
    pub fn phase(&mut self, task: &str, phase: &str) -> &mut Self {
        let end = matches!(phase, "Succeeded" | "Failed");
        let key = key::task(NAMESPACE, task);
        if end && self.object(&key).is_some_and(|task| !task["metadata"]["deletionTimestamp"].is_null()) {
            return self.delete(&key);
        }
        self.edit(&key, |task| {
            task["status"]["phase"] = phase.into();
            if end {
                task["metadata"]["finalizers"] = json!([]);
            }
        })
    }

    /// A condition of a Task.
    pub fn task_condition(&mut self, task: &str, name: &str, status: &str, reason: &str) -> &mut Self {
        self.edit_task(task, |task| condition(task, name, status, reason))
    }

    /// A Task runs on a Node and is Ready.
    pub fn ready(&mut self, app: &str, task: &str, node: &str) -> &mut Self {
        self.task(app, task, "1").bind(task, node).phase(task, "Starting").phase(task, "Running");
        self.task_condition(task, "Ready", "True", "Started")
    }

    /// A Task is told to stop. One without a node goes at once.
    pub fn stop(&mut self, task: &str) -> &mut Self {
        let key = key::task(NAMESPACE, task);
        if self.object(&key).is_some_and(|task| task["spec"]["nodeName"].is_null()) {
            return self.delete(&key);
        }
        self.edit(&key, |task| task["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z".into())
    }

    /// Changes a Task.
    pub fn edit_task(&mut self, task: &str, change: impl FnOnce(&mut Value)) -> &mut Self {
        self.edit(&key::task(NAMESPACE, task), change)
    }
}

/// Leases.
impl Story {
    /// A Lease, named `<namespace>/<name>`, gets this holder. The epoch.
    pub fn lead(&mut self, lease: &str, holder: &str) -> i64 {
        let key = key::lease(lease);
        self.together(|story| {
            if story.object(&key).is_none() {
                let spec = json!({"holderIdentity": holder});
                let (uid, name) = (story.uid(), lease.rsplit('/').next());
                let meta = json!({"name": name, "uid": uid, "creationTimestamp": "2026-01-01T00:00:00Z"});
                story.put(&key, json!({"kind": "Lease", "metadata": meta, "spec": spec}));
            } else {
                story.edit(&key, |lease| lease["spec"]["holderIdentity"] = holder.into());
            }
            story.put(&key::epoch(lease), json!({"holder": holder}))
        });
        self.rev
    }

    /// The holder of a Lease renews it.
    pub fn renew(&mut self, lease: &str) -> &mut Self {
        let time = format!("{}", self.rev);
        self.edit(&key::lease(lease), |lease| lease["spec"]["renewTime"] = time.into())
    }
}

/// A new generation of an object.
pub fn raise(object: &mut Value) {
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
    object["metadata"]["generation"] = (generation + 1).into();
}

/// Sets a condition of an object.
pub fn condition(object: &mut Value, name: &str, status: &str, reason: &str) {
    let set = json!({"type": name, "status": status, "reason": reason});
    let fields: &mut Map<String, Value> = object["status"].as_object_mut().expect("an object has a status");
    let conditions = fields.entry("conditions").or_insert_with(|| json!([]));
    let conditions = conditions.as_array_mut().expect("conditions are a list");
    match conditions.iter_mut().find(|condition| condition["type"] == name) {
        Some(old) => *old = set,
        None => conditions.push(set),
    }
}

fn text(object: Option<&Value>, field: &str) -> String {
    object.and_then(|object| object["metadata"][field].as_str()).unwrap_or_default().to_string()
}
