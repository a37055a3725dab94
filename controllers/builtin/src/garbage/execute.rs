//! Carries the collector's actions out, after asking the server whether the owners are really gone.

use std::collections::BTreeMap;

use async_trait::async_trait;
use berth_client::{Error, KindName, ObjectKey, Precondition, Write};
use berth_runtime::{Deed, Execute, Note, Outcome, Weight, Writer};
use berth_types::Resource;
use berth_types::app::App;
use berth_types::core::{Event as EventObject, Namespace, ObjectReference};
use berth_types::lease::Lease;
use berth_types::node::Node;
use berth_types::revision::Revision;
use berth_types::task::Task;
use serde_json::{Value, json};

use super::Collector;
use super::observed::{Identity, Kind, Place};
use super::plan::{Action, Event, Removal};

/// Owners that an Event names.
const OWNERS_NAMED: usize = 3;

/// Carries actions out.
pub struct Hands;

/// What the server says of an owner.
#[derive(Clone)]
enum Owner {
    /// It is there.
    There,
    /// It is not, and this must hold when its dependent is deleted.
    Gone(Precondition),
    /// It could not be asked.
    Unknown,
}

#[async_trait]
impl Execute<Collector> for Hands {
    async fn execute(&self, actions: Vec<Action>, writer: &Writer) -> Vec<Event> {
        let owners = ask(&actions, writer).await;
        let (mut events, mut wave, mut objects) = (Vec::new(), Vec::new(), Vec::new());
        for action in actions {
            match deed(&action, &owners) {
                Ok(deed) => {
                    wave.push(deed);
                    objects.push(action.object);
                }
                Err(Owner::There) => events.push(Event::NotCalledFor(action.object)),
                Err(Owner::Gone(_) | Owner::Unknown) => events.push(Event::Failed(action.object)),
            }
        }
        for (object, outcome) in objects.into_iter().zip(writer.send(wave).await) {
            events.push(match outcome {
                Outcome::Done => Event::Done(object),
                Outcome::Stale | Outcome::Failed(_) => Event::Failed(object),
            });
        }
        events
    }
}

/// Asks for each owner once.
async fn ask(actions: &[Action], writer: &Writer) -> BTreeMap<Identity, Owner> {
    let mut owners = BTreeMap::new();
    for action in actions {
        let (Removal::DeleteWithout(gone) | Removal::DeleteStray(gone)) = &action.removal else { continue };
        for owner in gone {
            if !owners.contains_key(owner) {
                owners.insert(owner.clone(), ask_for(owner, writer).await);
            }
        }
    }
    owners
}

async fn ask_for(owner: &Identity, writer: &Writer) -> Owner {
    let key = key(&owner.place);
    match writer.client().get(&key).await {
        Ok(object) => match object.pointer("/metadata/uid").and_then(Value::as_str) {
            Some(uid) if uid == owner.uid => Owner::There,
            Some(another) => Owner::Gone(Precondition::exists(&key, another)),
            None => Owner::Unknown,
        },
        Err(Error::NotFound(_)) => Owner::Gone(Precondition::absent(&key)),
        Err(why) => {
            tracing::warn!(object = owner.place.name, %why, "could not look for an owner");
            Owner::Unknown
        }
    }
}

/// The write of an action, or the owner that speaks against it.
fn deed(action: &Action, owners: &BTreeMap<Identity, Owner>) -> Result<Deed, Owner> {
    let Identity { place, uid } = &action.object;
    let key = key(place);
    let delete = Write::delete(&key).expecting_uid(uid);
    let object = format!("{}/{}/{}", key.kind.kind, place.namespace, place.name);
    match &action.removal {
        Removal::DeleteWithout(gone) | Removal::DeleteStray(gone) => {
            let mut write = delete;
            for owner in gone {
                match owners.get(owner) {
                    Some(Owner::Gone(precondition)) => write = write.requiring(precondition.clone()),
                    Some(other) => return Err(other.clone()),
                    None => return Err(Owner::Unknown),
                }
            }
            let names: Vec<&str> = gone.iter().map(|owner| owner.place.name.as_str()).collect();
            let deed = Deed::one("delete", object, format!("{} gone", names.join(", ")), write);
            Ok(match &action.removal {
                Removal::DeleteStray(_) => deed.noting([told_as_stray(&action.object, gone)]),
                Removal::DeleteWithout(_) | Removal::Delete(_) | Removal::Release { .. } => deed,
            })
        }
        Removal::Delete(why) => Ok(Deed::one("delete", object, format!("{why:?}"), delete)),
        Removal::Release { finalizer, left } => {
            let patch = json!({ "metadata": { "finalizers": left } });
            let write = Write::patch_json(&key, &patch).expecting_uid(uid).expecting_version(&action.version);
            Ok(Deed::one("release", object, *finalizer, write))
        }
    }
}

/// What its user is told of an object that names owners that are not there: it would vanish without a word.
fn told_as_stray(object: &Identity, gone: &[Identity]) -> Note {
    let owner = |owner: &Identity| {
        let Place { namespace, name, .. } = &owner.place;
        let place = if namespace.is_empty() { String::new() } else { format!(" in namespace {namespace}") };
        format!("{} {name} with uid {}{place}", key(&owner.place).kind.kind, owner.uid)
    };
    let owners: Vec<String> = gone.iter().take(OWNERS_NAMED).map(owner).collect();
    let KindName { api_version, kind } = key(&object.place).kind;
    let about = ObjectReference {
        api_version,
        kind,
        namespace: object.place.namespace.clone(),
        name: object.place.name.clone(),
        uid: object.uid.clone(),
    };
    let text =
        format!("deleted: none of the owners in metadata.ownerReferences exists: {}", owners.join(", "));
    Note::on(about, Weight::Warning, "OwnerNotFound", text)
}

fn key(place: &Place) -> ObjectKey {
    fn named<K: Resource>() -> KindName {
        KindName::of::<K>()
    }
    let kind = match place.kind {
        Kind::App => named::<App>(),
        Kind::Revision => named::<Revision>(),
        Kind::Task => named::<Task>(),
        Kind::Node => named::<Node>(),
        Kind::Namespace => named::<Namespace>(),
        Kind::Event => named::<EventObject>(),
        Kind::Lease => named::<Lease>(),
    };
    ObjectKey::new(kind, &place.namespace, &place.name)
}
