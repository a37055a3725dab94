//! The caches that the controllers of one process share, each started when the first of them asks for it.

use std::sync::OnceLock;

use berth_client::{Client, Query};
use berth_runtime::{Cache, Index, Indexes, owner_uids};
use berth_types::app::App;
use berth_types::core::{Event, Namespace, ObjectReference};
use berth_types::lease::Lease;
use berth_types::node::Node;
use berth_types::revision::Revision;
use berth_types::task::Task;
use berth_types::{ObjectMeta, Resource, Timestamp};
use serde::{Deserialize, Serialize};

/// The caches of one process.
pub struct Caches {
    client: Client,
    apps: OnceLock<Cache<App>>,
    revisions: OnceLock<Owned<Revision>>,
    tasks: OnceLock<Tasks>,
    nodes: OnceLock<Cache<Node>>,
    namespaces: OnceLock<Cache<Namespace>>,
    events: OnceLock<Cache<EventAge>>,
    leases: OnceLock<Cache<Lease>>,
}

/// A cache of objects that are found by their owners.
#[derive(Clone)]
pub struct Owned<K> {
    /// The objects.
    pub all: Cache<K>,
    /// By the uid of each owner.
    pub by_owner: Index<K>,
}

/// How old an Event is, and what it is about. What it tells is for people, and thousands of them may be there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EventAge {
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// What it happened to.
    pub involved_object: ObjectReference,
    /// The first time that it was seen.
    pub first_timestamp: Option<Timestamp>,
    /// The last time.
    pub last_timestamp: Option<Timestamp>,
}

impl Resource for EventAge {
    const API_VERSION: &'static str = Event::API_VERSION;
    const KIND: &'static str = Event::KIND;
    const PLURAL: &'static str = Event::PLURAL;
    const NAMESPACED: bool = Event::NAMESPACED;

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The cache of Tasks.
#[derive(Clone)]
pub struct Tasks {
    /// The Tasks.
    pub all: Cache<Task>,
    /// By the uid of each owner.
    pub by_owner: Index<Task>,
    /// By the uid of the Node that they are bound to.
    pub by_node: Index<Task>,
}

impl Caches {
    /// None started yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            apps: OnceLock::new(),
            revisions: OnceLock::new(),
            tasks: OnceLock::new(),
            nodes: OnceLock::new(),
            namespaces: OnceLock::new(),
            events: OnceLock::new(),
            leases: OnceLock::new(),
        }
    }

    /// All Apps.
    pub fn apps(&self) -> Cache<App> {
        self.plain(&self.apps)
    }

    /// All Revisions.
    pub fn revisions(&self) -> Owned<Revision> {
        let start = || {
            let mut indexes = Indexes::new();
            let by_owner = indexes.add(owner_uids);
            Owned { all: self.start(indexes), by_owner }
        };
        self.revisions.get_or_init(start).clone()
    }

    /// All Tasks.
    pub fn tasks(&self) -> Tasks {
        let start = || {
            let mut indexes = Indexes::new();
            let by_owner = indexes.add(owner_uids);
            let bound = |task: &&Task| !task.spec.node_uid.is_empty();
            let by_node = indexes.add(move |task: &Task| {
                Some(task).filter(bound).map(|task| task.spec.node_uid.clone()).into_iter().collect()
            });
            Tasks { all: self.start(indexes), by_owner, by_node }
        };
        self.tasks.get_or_init(start).clone()
    }

    /// All Nodes.
    pub fn nodes(&self) -> Cache<Node> {
        self.plain(&self.nodes)
    }

    /// All Namespaces.
    pub fn namespaces(&self) -> Cache<Namespace> {
        self.plain(&self.namespaces)
    }

    /// All Events, as far as the controllers look at them.
    pub fn events(&self) -> Cache<EventAge> {
        self.plain(&self.events)
    }

    /// All Leases.
    pub fn leases(&self) -> Cache<Lease> {
        self.plain(&self.leases)
    }

    fn plain<K: Resource>(&self, cache: &OnceLock<Cache<K>>) -> Cache<K> {
        cache.get_or_init(|| self.start(Indexes::new())).clone()
    }

    fn start<K: Resource>(&self, indexes: Indexes<K>) -> Cache<K> {
        Cache::start(&self.client, &Query::of::<K>(), indexes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_event_its_age_and_what_it_is_about_are_read() {
        let at = |millis| Some(Timestamp::from_millis(millis));
        let event = Event {
            metadata: ObjectMeta::named("shop", "web.1"),
            involved_object: ObjectReference { uid: "u".into(), ..ObjectReference::default() },
            message: "why".into(),
            count: 3,
            first_timestamp: at(1000),
            last_timestamp: at(2000),
            ..Event::default()
        };
        let age: EventAge = serde_json::from_value(serde_json::to_value(&event).unwrap()).unwrap();
        assert_eq!((age.metadata, age.involved_object), (event.metadata, event.involved_object));
        assert_eq!((age.first_timestamp, age.last_timestamp), (at(1000), at(2000)));
    }
}
