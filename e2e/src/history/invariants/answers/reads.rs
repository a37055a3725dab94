//! Answers to get and list, against the store as it stood.

use super::breach;
use super::order::Known;
use crate::history::answers::{Asked, List, Operation, Page, Told};
use crate::history::chronicle::{Chronicle, Edition};
use crate::history::content::{Seen, all_of, hash, readable, rev_of, version};
use crate::history::key::told;
use crate::history::violation::Breach;

/// The first promise that an answer to a read broke.
pub(super) fn judge(operation: &Operation, known: &Known, chronicle: &Chronicle) -> Result<(), Breach> {
    match (&operation.asked, &operation.told) {
        (Asked::Get(key), Told::Object(object)) => {
            let Some(version) = version(object) else {
                return Err(breach(operation, 0, "the object has no version", &[key]));
            };
            let seen = Seen { key: key.clone(), version, hash: hash(object) };
            shows(operation, &seen, known, chronicle)
        }
        (Asked::Get(key), Told::Refused(reason, _)) if reason == "NotFound" => {
            was_absent(operation, key, known, chronicle)
        }
        (Asked::List(list), Told::Pages(pages, _)) => judge_list(operation, list, pages, known, chronicle),
        (Asked::Write(_) | Asked::Get(_) | Asked::List(_), _) => Ok(()),
    }
}

/// An object that was shown is in the log, and was not known to be replaced when it was asked for.
pub(super) fn shows(
    operation: &Operation,
    seen: &Seen,
    known: &Known,
    chronicle: &Chronicle,
) -> Result<(), Breach> {
    let keys = [seen.key.as_str()];
    let stored = chronicle.edition(&seen.key, seen.version);
    let Some(stored) = stored.and_then(|edition| edition.now.as_ref()) else {
        let why = format!("was shown version {}, which is not in the log", readable(seen.version));
        return Err(breach(operation, seen.version, &why, &keys));
    };
    if stored.hash != seen.hash {
        let why =
            format!("was shown something else than is stored at {}: {}", readable(seen.version), stored.tree);
        return Err(breach(operation, seen.version, &why, &keys));
    }
    let floor = known.happened(operation.invoked);
    let editions = chronicle.editions(&seen.key);
    let next = editions.iter().find(|edition| edition.version > seen.version);
    if let Some(next) = next.filter(|next| rev_of(next.version) <= floor) {
        let why = format!(
            "was shown version {}, replaced at {} when revision {floor} was known already",
            readable(seen.version),
            readable(next.version)
        );
        return Err(breach(operation, next.version, &why, &keys));
    }
    Ok(())
}

/// At some revision between asking and answer there was nothing at the key.
fn was_absent(operation: &Operation, key: &str, known: &Known, chronicle: &Chronicle) -> Result<(), Breach> {
    let (floor, end) = (known.happened(operation.invoked), known.to_come(operation.returned));
    let gone = |edition: &Edition| {
        edition.now.is_none() && rev_of(edition.version) > floor && rev_of(edition.version) < end
    };
    if chronicle.object(key, floor).is_none() || chronicle.editions(key).iter().any(gone) {
        return Ok(());
    }
    let why = format!("was told that there is none, and it was there from revision {floor} to {end}");
    Err(breach(operation, all_of(floor), &why, &[key]))
}

fn judge_list(
    operation: &Operation,
    list: &List,
    pages: &[Page],
    known: &Known,
    chronicle: &Chronicle,
) -> Result<(), Breach> {
    let floor = known.happened(operation.invoked);
    let mut shown = 0;
    let mut last = "";
    for page in pages {
        let rev = rev_of(page.version);
        let broken = |why: String, keys: &[&str]| Err(breach(operation, page.version, &why, keys));
        if page.version != all_of(rev) {
            return broken(format!("a page of version {}, within a revision", readable(page.version)), &[]);
        }
        if rev < floor {
            return broken(format!("was shown revision {rev} when {floor} was known already"), &[]);
        }
        if shown > 0 && rev != shown && !page.renewed {
            return broken(format!("a page of revision {rev} after pages of {shown}"), &[]);
        }
        if rev < shown {
            return broken(format!("a page of revision {rev} after pages of {shown}"), &[]);
        }
        let expected = slice(list, rev, last, chronicle);
        let differ = (0..page.items.len()).find(|at| expected.get(*at) != page.items.get(*at));
        if let Some(at) = differ {
            let got = &page.items[at];
            let place = |seen: &Seen| format!("{} at {}", told(&seen.key), readable(seen.version));
            let was = match expected.get(at) {
                Some(same) if place(same) == place(got) => "with other content".to_string(),
                other => other.map_or("nothing".to_string(), place),
            };
            let why = format!("revision {rev} shows {} where there was {was}", place(got));
            return broken(why, &[&got.key]);
        }
        if page.more != (page.items.len() < expected.len()) {
            let why = format!(
                "a page of revision {rev} has {} of {} objects after `{last}` and says {}",
                page.items.len(),
                expected.len(),
                if page.more { "that there are more" } else { "that these are all" }
            );
            return broken(why, &[]);
        }
        if list.limit > 0 && page.items.len() > list.limit || page.more && page.items.is_empty() {
            return broken(format!("a page of {} objects, asked for {}", page.items.len(), list.limit), &[]);
        }
        shown = rev;
        last = page.items.last().map_or(last, |item| &item.key);
    }
    Ok(())
}

/// What a list shows at a revision, after a key.
fn slice(list: &List, rev: i64, after: &str, chronicle: &Chronicle) -> Vec<Seen> {
    let objects = chronicle.objects(&list.folder, &list.namespace, rev);
    objects
        .filter(|(key, object)| *key > after && list.selector.takes(&object.tree))
        .map(|(key, object)| Seen { key: key.into(), version: object.version, hash: object.hash })
        .collect()
}
