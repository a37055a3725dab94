//! A write as it comes over the wire, read into what it asks for.

use berth_proto::v1::{self as wire, write::Verb as WireVerb};
use berth_types::Reason;
use berth_types::kinds::Kind;
use serde_json::Value;

use super::request::{
    Applies, Deletes, Fence, MOST_BYTES, MOST_STORED_BYTES, Precondition, Request, Verb, Wanted, author,
};
use crate::apply::{Conflicts, Part};
use crate::refuse::{Answer, about, bad_field, bad_request, because};
use crate::table::{Row, Table};
use crate::tree;
use crate::version::Version;

/// The most levels of objects and lists in each other.
const MOST_LEVELS: usize = 64;

impl Request {
    /// Reads a write; `implied` is the verb of the call that carried it, none in a batch.
    pub fn read(table: &Table, write: wire::Write, implied: Option<WireVerb>) -> Answer<Self> {
        let verb = verb_of(implied, write.verb())?;
        if matches!(verb, Verb::Apply(_)) && write.field_manager.is_empty() {
            return Err(bad_field("field_manager", "is needed to apply: it owns the fields"));
        }
        let key = write.key.unwrap_or_default();
        let kind = table.named(key.kind.as_ref())?;
        let row = table.row(kind);
        let body = read_body(row.kind, verb, &write.json)?;
        let name = read_name(key.name, &body)?;
        let namespace = read_namespace(row, key.namespace, &body)?;
        let (uid, version) = wanted(verb, &body, write.uid, write.resource_version)?;
        let fence = write.fence.map(Fence::read);
        let conflicts = if write.force { Conflicts::Forced } else { Conflicts::Refused };
        let preconditions = write.preconditions.into_iter().map(|wanted| precondition(table, wanted));
        Ok(Self {
            preconditions: preconditions.collect::<Answer<_>>()?,
            path: row.path(&namespace, &name),
            author: author(&write.field_manager, fence.as_ref()),
            applies: Applies { conflicts, take_from: write.take_from },
            deletes: Deletes { grace_seconds: write.grace_period_seconds, orphan: write.orphan },
            dry_run: write.dry_run,
            verb,
            kind,
            namespace,
            name,
            body,
            uid,
            version,
            generation: (write.generation != 0).then_some(write.generation),
            fence,
        })
    }
}

fn read_name(key: String, body: &Value) -> Answer<String> {
    let name = one_of("metadata.name", key, tree::text(body, "metadata.name"))?;
    check_segment("metadata.name", &name)?;
    Ok(name)
}

fn read_namespace(row: &Row, key: String, body: &Value) -> Answer<String> {
    const FIELD: &str = "metadata.namespace";
    let namespace = one_of(FIELD, key, tree::text(body, FIELD))?;
    match (row.kind.namespaced, namespace.is_empty()) {
        (true, true) => Ok("default".into()),
        (true, false) => {
            check_segment(FIELD, &namespace)?;
            Ok(namespace)
        }
        (false, true) => Ok(namespace),
        (false, false) => Err(bad_field(FIELD, format!("a {} lives in no namespace", row.name()))),
    }
}

/// The uid and version that the object must have, from the request or from its body.
fn wanted(verb: Verb, body: &Value, uid: String, version: String) -> Answer<(String, Option<Version>)> {
    if verb == Verb::Create {
        return Ok((uid, read_version(&version)?));
    }
    let version = one_of("metadata.resourceVersion", version, tree::text(body, "metadata.resourceVersion"))?;
    Ok((one_of("metadata.uid", uid, tree::text(body, "metadata.uid"))?, read_version(&version)?))
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

fn read_body(kind: &Kind, verb: Verb, json: &[u8]) -> Answer<Value> {
    if verb == Verb::Delete {
        return Ok(Value::Null);
    }
    if json.len() > MOST_STORED_BYTES {
        let message = format!(
            "object is {} bytes, at most {MOST_STORED_BYTES} are read; without its status it may be {MOST_BYTES} bytes",
            json.len()
        );
        return Err(because(Reason::RequestEntityTooLarge, message));
    }
    let mut body: Value =
        serde_json::from_slice(json).map_err(|why| bad_request(format!("object is not JSON: {why}")))?;
    if !body.is_object() {
        return Err(bad_request("object must be a JSON object"));
    }
    let levels = tree::depth(&body);
    if levels > MOST_LEVELS {
        return Err(bad_request(format!("object is {levels} levels deep, at most {MOST_LEVELS} are stored")));
    }
    be_of_kind(&mut body, kind)?;
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
