//! What a Namespace that is being deleted still holds.

use berth_client::{Error, KindName, ObjectKey, Query};
use berth_types::Resource;
use berth_types::core::Namespace;
use berth_types::kinds::KINDS;

use super::wait::lingers;
use crate::api::Api;
use crate::failure::{Exit, Failure};

/// Objects of a kind that are asked for.
const ASKED: u32 = 100;
/// Objects that are listed.
const SHOWN: usize = 10;

/// The objects in `namespace`, a line each with what the object waits for; at most ten, then how many more there are.
/// Objects that wait for somebody else come first.
pub async fn left_in(api: &Api, namespace: &str) -> Result<Vec<String>, Error> {
    let (mut held, mut others, mut end) = (Vec::new(), Vec::new(), "");
    for kind in KINDS.iter().filter(|kind| kind.namespaced) {
        let query = Query::new(KindName::new(kind.api_version, kind.kind)).in_namespace(namespace);
        let page = api.client.page(&query, ASKED, None).await?;
        for object in page.items {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let line = format!("{}/{name}: {}", kind.traits.singular, lingers(&object));
            let waits = object["metadata"]["finalizers"].as_array().is_some_and(|held| !held.is_empty());
            if waits { held.push(line) } else { others.push(line) }
        }
        if page.continue_token.is_some() {
            end = " or more";
        }
    }
    let mut lines: Vec<String> = held.into_iter().chain(others).collect();
    let more = lines.len().saturating_sub(SHOWN);
    if more > 0 {
        lines.truncate(SHOWN);
        lines.push(format!("and {more}{end} more"));
    }
    Ok(lines)
}

/// `done`; a wait for deletions that timed out also states what the Namespaces among `keys` still hold.
pub async fn explained(
    api: &Api,
    keys: impl Iterator<Item = &ObjectKey>,
    done: Result<(), Failure>,
) -> Result<(), Failure> {
    let Err(mut failure) = done else { return done };
    if failure.exit != Exit::TimedOut {
        return Err(failure);
    }
    for key in keys.filter(|key| key.kind.kind == Namespace::KIND) {
        // A failure here would hide the one that counts.
        let left = left_in(api, &key.name).await.unwrap_or_default();
        failure = left.into_iter().fold(failure, |failure, line| failure.detail(format!("  {line}")));
    }
    Err(failure)
}
