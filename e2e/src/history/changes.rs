//! What changed in an object, for a person.

use std::collections::BTreeMap;

use serde_json::Value;

/// The most changes that are told of one event.
const MOST: usize = 8;

/// The most letters of a value that are told.
const LONGEST: usize = 60;

/// Fields that tell nothing about what happened.
const SILENT: [&str; 6] = [
    "apiVersion",
    "kind",
    "metadata.name",
    "metadata.namespace",
    "metadata.managedFields",
    "metadata.creationTimestamp",
];

/// What changed from one text to the other, as `phase Running -> Failed`; none is an object that is not there.
pub fn told(was: Option<&str>, now: Option<&str>) -> String {
    let Some(now) = now else { return "deleted".into() };
    let (old, new) = (leaves(was.unwrap_or("{}")), leaves(now));
    let mut paths: Vec<&String> =
        old.keys().chain(new.keys().filter(|path| !old.contains_key(*path))).collect();
    // What happened stands in spec and status, mostly.
    paths.sort_by_key(|path| (path.starts_with("metadata"), *path));
    let changes: Vec<String> = paths
        .into_iter()
        .filter_map(|path| match (old.get(path), new.get(path)) {
            (Some(old), Some(new)) if old == new => None,
            (Some(old), Some(new)) => Some(format!("{path} {old} -> {new}")),
            (None, Some(new)) => Some(format!("{path} {new}")),
            (Some(old), None) => Some(format!("{path} {old} -> none")),
            (None, None) => None,
        })
        .collect();
    let verb = if was.is_none() { "created" } else { "changed" };
    let more =
        if changes.len() > MOST { format!(", and {} more", changes.len() - MOST) } else { String::new() };
    let changes: Vec<String> = changes.into_iter().take(MOST).collect();
    if changes.is_empty() {
        format!("{verb} nothing")
    } else {
        format!("{verb} {}{more}", changes.join(", "))
    }
}

/// Every value that is no map and no list, by its path.
fn leaves(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    match serde_json::from_str(text) {
        Ok(tree) => collect(&tree, "", &mut found),
        Err(_) => {
            found.insert("text".into(), text.into());
        }
    }
    found
}

fn collect(value: &Value, path: &str, found: &mut BTreeMap<String, String>) {
    if SILENT.contains(&path) {
        return;
    }
    let below = |name: &str| if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| collect(value, &below(name), found));
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let name = ["type", "name", "key"].into_iter().find_map(|field| item.get(field)?.as_str());
                collect(item, &below(name.unwrap_or(&at.to_string())), found);
            }
        }
        Value::String(text) => {
            found.insert(path.into(), cut(text));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            found.insert(path.into(), value.to_string());
        }
    }
}

/// Its beginning, where it is long.
fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_by_its_fields() {
        let was = r#"{"kind":"Task","metadata":{"name":"a","managedFields":[1]},"spec":{"n":1},"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#;
        let now = r#"{"kind":"Task","metadata":{"name":"a","managedFields":[2]},"spec":{},"status":{"conditions":[{"type":"Ready","status":"False"}],"x":[7]}}"#;
        let told_all = [
            told(None, Some(was)),
            told(Some(was), Some(now)),
            told(Some(now), Some(now)),
            told(Some(now), None),
        ];
        expect_test::expect![[r#"
            created spec.n 1, status.conditions.Ready.status True, status.conditions.Ready.type Ready
            changed spec.n 1 -> none, status.conditions.Ready.status True -> False, status.x.0 7
            changed nothing
            deleted"#]]
        .assert_eq(&told_all.join("\n"));
    }
}
