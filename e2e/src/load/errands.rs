//! What clients ask for, drawn by chance: all verbs, on few objects, so that they meet.

use serde_json::{Value, json};

use super::client::{Client, Deed, Outcome, Together};
use super::wire::{APP, Kind, REVISION};
use crate::history::answers::{List, MARKER, STATUS_MARKER, Verb};
use crate::history::content::without_version;
use crate::history::selector::{Selector, Term};

/// The label that watchers select by.
pub const TIER: &str = "tier";
/// Its values.
const TIERS: [&str; 3] = ["gold", "silver", "iron"];
/// How many objects of a kind all clients share.
const REVISIONS: usize = 40;
const APPS: usize = 4;

/// Does one thing.
pub(super) async fn one(client: &mut Client, chance: &mut fastrand::Rng) {
    let (kind, name) = some_object(chance);
    let known = client.memory.get(&client.key(kind, &name)).cloned();
    let marker = client.marker();
    match (chance.u8(..100), known) {
        (0..14, _) => client.write(create(marker, kind, &name, chance)).await,
        (14..32, Some(known)) => client.write(update(marker, kind, &name, &known, chance)).await,
        (32..36, Some(known)) => client.write(repeat(kind, &name, &known)).await,
        (36..54, known) => {
            let deed = patch(marker, kind, &name, chance);
            client.write(met(deed, known.as_ref(), chance)).await;
        }
        (54..58, known) if kind == APP => {
            let deed = patch_status(marker, &name);
            client.write(met(deed, known.as_ref(), chance)).await;
        }
        (54..66, _) => client.write(apply(marker, kind, &name, chance)).await,
        (66..74, known) => client.write(met(delete(kind, &name), known.as_ref(), chance)).await,
        (74..80, _) => {
            let places = chance.choose_multiple(0..REVISIONS, 5);
            let one = |at| patch(client.marker(), REVISION, &revision_name(at), chance);
            let deeds = places.into_iter().map(one).collect();
            client.batch(deeds, Together::Each).await;
        }
        (80..88, _) => {
            client.list(kind, list(client, kind, chance)).await;
        }
        // Who knows nothing of an object looks first.
        _ => {
            client.get(kind, &name).await;
        }
    }
}

fn some_object(chance: &mut fastrand::Rng) -> (Kind, String) {
    match chance.u8(..100) {
        0..10 => (APP, format!("a-{}", chance.usize(..APPS))),
        _ => (REVISION, revision_name(chance.usize(..REVISIONS))),
    }
}

fn revision_name(at: usize) -> String {
    format!("c-{at}")
}

/// On the version that is known, on that object, or on whatever there is.
fn met(deed: Deed, known: Option<&Value>, chance: &mut fastrand::Rng) -> Deed {
    match (known, chance.u8(..3)) {
        (Some(known), 0) => deed.on(known),
        (Some(known), 1) => deed.on_this(known),
        _ => deed,
    }
}

fn deed(kind: Kind, name: &str, verb: Verb, sent: Value, marker: String) -> Deed {
    Deed { kind, name: name.into(), verb, sent, marker, version: None, uid: String::new() }
}

fn create(marker: String, kind: Kind, name: &str, chance: &mut fastrand::Rng) -> Deed {
    deed(kind, name, Verb::Create, object(&marker, kind, name, chance), marker)
}

fn apply(marker: String, kind: Kind, name: &str, chance: &mut fastrand::Rng) -> Deed {
    deed(kind, name, Verb::Apply, object(&marker, kind, name, chance), marker)
}

fn delete(kind: Kind, name: &str) -> Deed {
    deed(kind, name, Verb::Delete, Value::Null, String::new())
}

/// The object as it is known, with another marker, other content and perhaps another tier.
fn update(marker: String, kind: Kind, name: &str, known: &Value, chance: &mut fastrand::Rng) -> Deed {
    let mut sent = without_version(known);
    if let Some(fields) = sent.as_object_mut() {
        fields.remove("status");
    }
    sent["metadata"]["annotations"][MARKER] = marker.as_str().into();
    sent["metadata"]["labels"][TIER] = some_tier(chance).into();
    if kind == REVISION {
        sent["spec"]["number"] = chance.u32(1..).into();
        sent["spec"]["template"]["metadata"] =
            json!({"annotations": {"updated": chance.u32(..).to_string()}});
    }
    deed(kind, name, Verb::Update, sent, marker).on(known)
}

/// The object as it is known: nothing changes, if it still is so.
fn repeat(kind: Kind, name: &str, known: &Value) -> Deed {
    deed(kind, name, Verb::Update, without_version(known), String::new()).on(known)
}

fn patch(marker: String, kind: Kind, name: &str, chance: &mut fastrand::Rng) -> Deed {
    let tier = if chance.u8(..4) == 0 { Value::Null } else { some_tier(chance).into() };
    let mut sent = json!({"metadata": {"annotations": {MARKER: marker}, "labels": {TIER: tier}}});
    if kind == REVISION {
        let field = ["a", "b", "c"][chance.usize(..3)];
        let value = if chance.u8(..4) == 0 { Value::Null } else { chance.u32(..).to_string().into() };
        sent["spec"] = json!({"template": {"metadata": {"annotations": {field: value}}}});
    } else {
        sent["spec"] = json!({ "minReadySeconds": chance.u8(..9) });
    }
    deed(kind, name, Verb::Patch, sent, marker)
}

fn patch_status(marker: String, name: &str) -> Deed {
    let condition = json!({
        "type": STATUS_MARKER, "status": "True", "reason": "Load", "message": marker,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    deed(APP, name, Verb::PatchStatus, json!({"status": {"conditions": [condition]}}), marker)
}

fn some_tier(chance: &mut fastrand::Rng) -> &'static str {
    TIERS[chance.usize(..TIERS.len())]
}

fn object(marker: &str, kind: Kind, name: &str, chance: &mut fastrand::Rng) -> Value {
    let metadata =
        json!({"name": name, "annotations": {MARKER: marker}, "labels": {TIER: some_tier(chance)}});
    let task = json!({"containers": [{"name": "idle", "command": ["true"]}]});
    if kind == REVISION {
        let notes = json!({"a": chance.u32(..).to_string(), "text": "x".repeat(chance.usize(..400))});
        let template = json!({"metadata": {"annotations": notes}, "spec": task});
        let spec = json!({"number": chance.u32(1..), "restartGeneration": 0, "template": template});
        return json!({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec});
    }
    // No replicas: nothing is ever started for it.
    let spec = json!({"replicas": 0, "template": {"spec": task}});
    json!({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec})
}

fn list(client: &Client, kind: Kind, chance: &mut fastrand::Rng) -> List {
    let selector = match chance.u8(..4) {
        0 => Selector::one(Term::any_of(TIER, &["gold"])),
        1 => Selector::one(Term::none_of(TIER, &["gold", "iron"])),
        _ => Selector::default(),
    };
    let namespace = if chance.bool() { client.namespace.clone() } else { String::new() };
    List { folder: kind.folder.into(), namespace, selector, limit: [0, 7, 30][chance.usize(..3)] }
}

/// Changes a hundred objects in one revision, in an order that is not that of their names: some are made, some
/// changed, some removed.
pub(super) async fn shuffle(client: &mut Client, objects: usize, chance: &mut fastrand::Rng) {
    let mut places: Vec<usize> = (0..objects).collect();
    chance.shuffle(&mut places);
    let mut deeds = Vec::new();
    for place in places {
        let name = format!("b-{place:03}");
        let known = client.memory.get(&client.key(REVISION, &name)).cloned();
        let marker = client.marker();
        deeds.push(match known {
            None => create(marker, REVISION, &name, chance),
            Some(known) if chance.u8(..4) == 0 => delete(REVISION, &name).on(&known),
            Some(known) => patch(marker, REVISION, &name, chance).on(&known),
        });
    }
    // All are told the same: after a refusal, or nothing, what there is must be looked at.
    if client.batch(deeds, Together::All).await == Outcome::Failed {
        look_at_all(client, objects).await;
    }
}

/// Looks at the objects one by one, unless nobody answers.
async fn look_at_all(client: &mut Client, objects: usize) {
    for place in 0..objects {
        if client.get(REVISION, &format!("b-{place:03}")).await == Outcome::Failed {
            return;
        }
    }
}
