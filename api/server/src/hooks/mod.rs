//! What one kind alone needs: a hook in its row of the table. A hook sees each change before it is written, may amend
//! it, refuse it, and add conditions and writes that happen with it or not at all.

mod app;
mod lease;
mod namespace;
mod node;
mod task;

use std::sync::Arc;

use berth_store::{Condition, Urgency, Write};
use berth_types::{Fault, Resource, Timestamp};
use bytes::Bytes;
use serde_json::Value;

use crate::cache::{Entry, State};
use crate::refuse::Answer;
use crate::room::Charge;
use crate::table::Table;

pub use app::AppHooks;
pub use lease::LeaseHooks;
pub use namespace::NamespaceHooks;
pub use node::NodeHooks;
pub use task::TaskHooks;

/// Which call changes an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It comes to be.
    Create,
    /// Everything but the status.
    Update,
    /// The status.
    UpdateStatus,
    /// Its deletion is asked for, and somebody must still agree.
    MarkDeleted,
}

/// One change before it is written.
pub struct Change<'a> {
    /// Which call makes it.
    pub act: Act,
    /// Empty for kinds without namespace.
    pub namespace: &'a str,
    /// The object's name.
    pub name: &'a str,
    /// The object as it is; none when it comes to be.
    pub old: Option<&'a Value>,
    /// The object as it is to be; the hook may amend it.
    pub new: &'a mut Value,
    /// The present time.
    pub now: Timestamp,
}

/// What is written or must hold beside the object itself, or why it may not be written.
#[derive(Debug, Default)]
pub struct Beside {
    /// What the change breaks.
    pub faults: Vec<Fault>,
    /// What must hold of other keys.
    pub conditions: Vec<Condition>,
    /// What is written with the object.
    pub writes: Vec<Write>,
    /// What the change may use of a store that is full.
    pub urgency: Urgency,
}

impl Beside {
    /// Nothing beside, but faults if there are any.
    pub fn faults(faults: Vec<Fault>) -> Self {
        Self { faults, ..Self::default() }
    }
}

/// What a hook may look at: the cache at one revision.
pub struct World<'a> {
    /// The objects.
    pub state: &'a State,
    /// The kinds.
    pub table: &'a Table,
}

impl World<'_> {
    /// An object of any kind, with its key in the store.
    pub fn object<K: Resource>(&self, path: &str) -> (Bytes, Option<&Arc<Entry>>) {
        let id = self.table.of::<K>();
        (self.table.row(id).key(path), self.state.kind(id).get(path))
    }
}

/// What one kind alone needs.
pub trait Hooks: Send + Sync {
    /// Looks at a change before it is written.
    fn admit(&self, _change: Change<'_>, _world: &World<'_>) -> Answer<Beside> {
        Ok(Beside::default())
    }

    /// Looks at the last state of an object that goes.
    fn removed(&self, _namespace: &str, _name: &str, _old: &Value, _world: &World<'_>) -> Answer<Beside> {
        Ok(Beside::default())
    }

    /// What an object takes of a node.
    fn charge(&self, _object: &Value) -> Option<Charge> {
        None
    }
}

/// Hooks of a kind that needs none.
pub struct Plain;

impl Hooks for Plain {}
