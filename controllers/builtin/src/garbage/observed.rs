//! What the collector knows of an object: its place, its owners, and why it might have to go.

use berth_types::app::App;
use berth_types::core::{Event, Namespace, ObjectReference};
use berth_types::lease::Lease;
use berth_types::node::Node;
use berth_types::revision::Revision;
use berth_types::task::Task;
use berth_types::{Condition, Phase, Resource, Timestamp};

use crate::caches::EventAge;

/// The kinds whose objects are collected or own what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    App,
    Revision,
    Task,
    Node,
    Namespace,
    Event,
    Lease,
}

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its kind.
    pub kind: Kind,
    /// Its Namespace; empty for kinds without.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One object as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it is.
    pub place: Place,
    /// Its uid.
    pub uid: String,
    /// The version seen.
    pub version: String,
    /// Whether its deletion was asked for.
    pub deleting: bool,
    /// Who must agree before it goes.
    pub finalizers: Vec<String>,
    /// Whom it belongs to.
    pub owners: Vec<Owner>,
    /// What else may end it.
    pub concern: Concern,
}

/// Whom an object belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// An object that the collector can look up.
    Known(Identity),
    /// An object of a kind that it does not know: taken as present.
    Foreign,
}

/// One object for all time: its place and uid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Where it is.
    pub place: Place,
    /// Its uid.
    pub uid: String,
}

/// What may end an object beside its owners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concern {
    /// Nothing.
    None,
    /// The Node that a Task is bound to goes.
    Bound(Identity),
    /// A Task has been at its end since then.
    Finished(Timestamp),
    /// An Event was last seen then. What it is about may be of a kind that the collector does not know.
    Seen {
        /// The last time.
        at: Timestamp,
        /// What it is about.
        about: Option<Identity>,
    },
}

impl Kind {
    /// The kind of these names, if the collector knows it.
    pub fn named(api_version: &str, kind: &str) -> Option<Self> {
        fn is<K: Resource>(api_version: &str, kind: &str) -> bool {
            K::API_VERSION == api_version && K::KIND == kind
        }
        let known = [
            (is::<App>(api_version, kind), Self::App),
            (is::<Revision>(api_version, kind), Self::Revision),
            (is::<Task>(api_version, kind), Self::Task),
            (is::<Node>(api_version, kind), Self::Node),
            (is::<Namespace>(api_version, kind), Self::Namespace),
            (is::<Event>(api_version, kind), Self::Event),
            (is::<Lease>(api_version, kind), Self::Lease),
        ];
        known.into_iter().find_map(|(is, kind)| is.then_some(kind))
    }

    /// Whether its objects live in a Namespace.
    pub fn namespaced(self) -> bool {
        match self {
            Self::App | Self::Revision | Self::Task | Self::Event | Self::Lease => true,
            Self::Node | Self::Namespace => false,
        }
    }
}

impl Item {
    /// Reads any object whose kind alone asks nothing.
    pub fn plain<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        let kind = Kind::named(K::API_VERSION, K::KIND).expect("only known kinds are watched");
        let owner = |owner: &berth_types::OwnerReference| match Kind::named(&owner.api_version, &owner.kind) {
            None => Owner::Foreign,
            Some(kind) => {
                // An owner is in the same namespace, or in none: what another namespace has is not it.
                let namespace = if kind.namespaced() { meta.namespace.clone() } else { String::new() };
                let place = Place { kind, namespace, name: owner.name.clone() };
                Owner::Known(Identity { place, uid: owner.uid.clone() })
            }
        };
        Self {
            place: Place { kind, namespace: meta.namespace.clone(), name: meta.name.clone() },
            uid: meta.uid.clone(),
            version: meta.resource_version.clone(),
            deleting: meta.deleting(),
            finalizers: meta.finalizers.clone(),
            owners: meta.owner_references.iter().map(owner).collect(),
            concern: Concern::None,
        }
    }

    /// Reads a Task.
    pub fn task(task: &Task) -> Self {
        let concern = if Phase::of(task).is_ok_and(Phase::is_final) {
            Concern::Finished(ended_at(task))
        } else if task.spec.node_uid.is_empty() {
            Concern::None
        } else {
            let name = task.spec.node_name.clone();
            let place = Place { kind: Kind::Node, namespace: String::new(), name };
            Concern::Bound(Identity { place, uid: task.spec.node_uid.clone() })
        };
        Self { concern, ..Self::plain(task) }
    }

    /// Reads an Event.
    pub fn event(event: &EventAge) -> Self {
        let seen = event.last_timestamp.or(event.first_timestamp).or(event.metadata.creation_timestamp);
        let ObjectReference { api_version, kind, namespace, name, uid } = &event.involved_object;
        let about = Kind::named(api_version, kind).filter(|_| !uid.is_empty()).map(|kind| {
            let namespace = if kind.namespaced() { namespace.clone() } else { String::new() };
            Identity { place: Place { kind, namespace, name: name.clone() }, uid: uid.clone() }
        });
        let concern = Concern::Seen { at: seen.unwrap_or(Timestamp::from_millis(0)), about };
        Self { concern, ..Self::plain(event) }
    }

    /// Whether all that an object is judged by is as in `other`: all but the version.
    pub fn is_judged_like(&self, other: &Self) -> bool {
        let Self { place, uid, version: _, deleting, finalizers, owners, concern } = self;
        (place, uid, *deleting) == (&other.place, &other.uid, other.deleting)
            && (finalizers, owners, concern) == (&other.finalizers, &other.owners, &other.concern)
    }

    /// The object for all time.
    pub fn identity(&self) -> Identity {
        Identity { place: self.place.clone(), uid: self.uid.clone() }
    }
}

/// When a Task at its end came to it, as well as its status tells.
fn ended_at(task: &Task) -> Timestamp {
    let containers = task.status.container_statuses.iter();
    let ends = containers.filter_map(|container| container.state.terminated.as_ref()?.finished_at);
    let left = Condition::find(&task.status.conditions, "Ready").map(|ready| ready.last_transition_time);
    ends.max().or(left).or(task.metadata.creation_timestamp).unwrap_or(Timestamp::from_millis(0))
}
