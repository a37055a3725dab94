//! One write as asked for: read from the wire once, whatever happens to it later.

use berth_proto::v1::{self as wire, write::Verb as WireVerb};
use berth_store::{Author, Rev};
use berth_types::Reason;
use berth_types::kinds::Kind;
use serde_json::Value;

use crate::apply::{Conflicts, Part};
use crate::keys;
use crate::refuse::{Answer, about, bad_field, bad_request, because};
use crate::table::{KindId, Table};
use crate::tree;
use crate::version::Version;

/// The most bytes of one object.
pub const MOST_BYTES: usize = 1 << 20;
/// The most levels of objects and lists in each other.
const MOST_LEVELS: usize = 64;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Make an object that is not there.
    Create,
    /// Replace everything, or the status alone.
    Replace(Part),
    /// Merge a patch (RFC 7386) into it.
    Patch(Part),
    /// Set what one manager wants, take away what it no longer wants.
    Apply(Part),
    /// Ask for its end.
    Delete,
}

/// A condition on another object.
#[derive(Debug, Clone)]
pub struct Precondition {
    /// Its kind.
    pub kind: KindId,
    /// `<namespace or ->/<name>`.
    pub path: String,
    /// What must be so.
    pub wanted: Wanted,
}

/// What a precondition wants of an object.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// It is not there.
    Absent,
    /// It is there; an empty uid is any.
    There {
        /// Its uid.
        uid: String,
        /// Its version; none is any.
        version: Option<Version>,
    },
}

/// The epoch of the leader that writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// Namespace and name of its Lease.
    pub lease: (String, String),
    /// The revision in which it became leader.
    pub epoch: Rev,
}

/// One write as asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is to be done.
    pub verb: Verb,
    /// To which kind.
    pub kind: KindId,
    /// Empty for kinds without namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// `<namespace or ->/<name>`.
    pub path: String,
    /// The object or the patch; null for a delete.
    pub body: Value,
    /// The uid that it must have; empty is any.
    pub uid: String,
    /// The version that it must have; none is any.
    pub version: Option<Version>,
    /// What must hold of other objects.
    pub preconditions: Vec<Precondition>,
    /// The epoch that must not be over.
    pub fence: Option<Fence>,
    /// Who writes.
    pub author: Author,
    /// For applies.
    pub applies: Applies,
    /// For deletes.
    pub deletes: Deletes,
    /// Whether everything is checked and nothing written.
    pub dry_run: bool,
}

/// How an apply treats fields of others.
#[derive(Debug, Clone)]
pub struct Applies {
    /// What happens to conflicts.
    pub conflicts: Conflicts,
    /// Managers whose conflicting fields are taken over.
    pub take_from: Vec<String>,
}

/// How an object ends.
#[derive(Debug, Clone)]
pub struct Deletes {
    /// Seconds that it is left to stop; none is what its kind says.
    pub grace_seconds: Option<i64>,
    /// Whether what belongs to it goes on living.
    pub orphan: bool,
}

impl Fence {
    /// Reads a fence from the wire.
    pub fn read(fence: wire::Fence) -> Self {
        Self { lease: (fence.namespace, fence.lease), epoch: fence.epoch }
    }

    /// The key that must not have been written since.
    pub fn key(&self) -> bytes::Bytes {
        keys::epoch(&self.lease.0, &self.lease.1)
    }
}

impl Request {
    /// Reads a write; `implied` is the verb of the call that carried it, none in a batch.
    pub fn read(table: &Table, write: wire::Write, implied: Option<WireVerb>) -> Answer<Self> {
        let verb = verb_of(implied, write.verb())?;
        let wire_key = write.key.unwrap_or_default();
        let kind = table.named(wire_key.kind.as_ref())?;
        let row = table.row(kind);
        let mut body = read_body(verb, &write.json)?;
        if verb != Verb::Delete {
            be_of_kind(&mut body, row.kind)?;
        }
        let name = one_of("metadata.name", wire_key.name, tree::text(&body, "metadata.name"))?;
        let namespace =
            one_of("metadata.namespace", wire_key.namespace, tree::text(&body, "metadata.namespace"))?;
        let namespace = match (row.kind.namespaced, namespace.is_empty()) {
            (true, true) => "default".to_owned(),
            (true, false) => namespace,
            (false, true) => String::new(),
            (false, false) => {
                return Err(bad_field(
                    "metadata.namespace",
                    format!("a {} lives in no namespace", row.name()),
                ));
            }
        };
        check_segment("metadata.name", &name)?;
        if row.kind.namespaced {
            check_segment("metadata.namespace", &namespace)?;
        }
        let uid = if verb == Verb::Create { "" } else { tree::text(&body, "metadata.uid") };
        let version = if verb == Verb::Create { "" } else { tree::text(&body, "metadata.resourceVersion") };
        let fence = write.fence.map(Fence::read);
        let conflicts = if write.force { Conflicts::Forced } else { Conflicts::Refused };
        if matches!(verb, Verb::Apply(_)) && write.field_manager.is_empty() {
            return Err(bad_field("field_manager", "is needed to apply: it owns the fields"));
        }
        let author = author(&write.field_manager, fence.as_ref());
        Ok(Self {
            path: row.path(&namespace, &name),
            uid: one_of("metadata.uid", write.uid, uid)?,
            version: read_version(&one_of("metadata.resourceVersion", write.resource_version, version)?)?,
            preconditions: write
                .preconditions
                .into_iter()
                .map(|p| precondition(table, p))
                .collect::<Answer<_>>()?,
            applies: Applies { conflicts, take_from: write.take_from },
            deletes: Deletes { grace_seconds: write.grace_period_seconds, orphan: write.orphan },
            dry_run: write.dry_run,
            verb,
            kind,
            namespace,
            name,
            body,
            fence,
            author,
        })
    }
}

/// Who stands in the header of a value.
pub fn author(manager: &str, fence: Option<&Fence>) -> Author {
    Author { name: manager.into(), epoch: fence.map_or(0, |fence| fence.epoch) }
}

fn verb_of(implied: Option<WireVerb>, said: WireVerb) -> Answer<Verb> {
    let verb = match (implied, said) {
        (Some(verb), WireVerb::Unspecified) => verb,
        (Some(WireVerb::Patch), WireVerb::PatchStatus) | (Some(WireVerb::Apply), WireVerb::ApplyStatus) => {
            said
        }
        (Some(verb), said) if verb == said => verb,
        (Some(verb), said) => {
            return Err(bad_field(
                "verb",
                format!("{} does not go with {}", said.as_str_name(), verb.as_str_name()),
            ));
        }
        (None, said) => said,
    };
    Ok(match verb {
        WireVerb::Unspecified => return Err(bad_field("verb", "is needed in a batch")),
        WireVerb::Create => Verb::Create,
        WireVerb::Update => Verb::Replace(Part::Main),
        WireVerb::UpdateStatus => Verb::Replace(Part::Status),
        WireVerb::Patch => Verb::Patch(Part::Main),
        WireVerb::PatchStatus => Verb::Patch(Part::Status),
        WireVerb::Apply => Verb::Apply(Part::Main),
        WireVerb::ApplyStatus => Verb::Apply(Part::Status),
        WireVerb::Delete => Verb::Delete,
    })
}

fn read_body(verb: Verb, json: &[u8]) -> Answer<Value> {
    if verb == Verb::Delete {
        return Ok(Value::Null);
    }
    if json.len() > MOST_BYTES {
        let message = format!("object is {} bytes, at most {MOST_BYTES} are stored", json.len());
        return Err(because(Reason::RequestEntityTooLarge, message));
    }
    let body: Value =
        serde_json::from_slice(json).map_err(|why| bad_request(format!("object is not JSON: {why}")))?;
    if !body.is_object() {
        return Err(bad_request("object must be a JSON object"));
    }
    let levels = tree::depth(&body);
    if levels > MOST_LEVELS {
        return Err(bad_request(format!("object is {levels} levels deep, at most {MOST_LEVELS} are stored")));
    }
    Ok(body)
}

/// The body says which kind it is of, and no other than the key.
fn be_of_kind(body: &mut Value, kind: &Kind) -> Answer<()> {
    for (field, said) in [("apiVersion", kind.api_version), ("kind", kind.kind)] {
        one_of(field, said.to_owned(), tree::text(body, field))?;
        tree::fields(body).insert(field.into(), said.into());
    }
    Ok(())
}

/// What key and body both may say, and must not say differently.
fn one_of(field: &str, key: String, body: &str) -> Answer<String> {
    match (key.is_empty(), body.is_empty()) {
        (true, _) => Ok(body.to_owned()),
        (false, true) => Ok(key),
        (false, false) if key == body => Ok(key),
        (false, false) => {
            Err(bad_field(field, format!("is `{body}` in the object and `{key}` in the request")))
        }
    }
}

/// Whatever a kind's rules say of names, a name must be one segment of a store key.
fn check_segment(field: &str, text: &str) -> Answer<()> {
    let fine = !text.is_empty() && text != "-" && text != "." && text != ".." && text.len() <= 253;
    if fine && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/') {
        return Ok(());
    }
    Err(about_name(field, text))
}

fn about_name(field: &str, text: &str) -> Box<berth_types::Status> {
    let message = if text.is_empty() {
        "is needed".to_owned()
    } else {
        format!("must be letters, digits, `-` and `.`, at most 253, got `{text}`")
    };
    let mut status = bad_field(field, message);
    *status = berth_types::Status { reason: Reason::Invalid, code: Reason::Invalid.code(), ..*status };
    status
}

fn read_version(text: &str) -> Answer<Option<Version>> {
    if text.is_empty() {
        return Ok(None);
    }
    let version = Version::parse(text);
    version
        .map(Some)
        .ok_or_else(|| bad_field("metadata.resourceVersion", format!("is not a version: `{text}`")))
}

fn precondition(table: &Table, wanted: wire::Precondition) -> Answer<Precondition> {
    let key = wanted.key.unwrap_or_default();
    let kind = table.named(key.kind.as_ref())?;
    let row = table.row(kind);
    let path = row.path(&key.namespace, &key.name);
    if key.name.is_empty() || (row.kind.namespaced && key.namespace.is_empty()) {
        return Err(about(Reason::BadRequest, row.name(), &key.name, "a precondition names no object"));
    }
    let version = read_version(&wanted.resource_version)?;
    let wanted = if wanted.absent { Wanted::Absent } else { Wanted::There { uid: wanted.uid, version } };
    Ok(Precondition { kind, path, wanted })
}
