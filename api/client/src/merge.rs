//! Merge patches (RFC 7386) from what is to what should be.

use serde_json::{Map, Value};

/// The merge patch that makes `wanted` of `present`: lists as a whole, absent fields as null.
pub fn merge_patch(present: &Value, wanted: &Value) -> Value {
    let (Value::Object(present), Value::Object(wanted)) = (present, wanted) else { return wanted.clone() };
    let mut patch = Map::new();
    for key in present.keys().filter(|key| !wanted.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in wanted {
        match present.get(key) {
            Some(same) if same == value => {}
            Some(other) => drop(patch.insert(key.clone(), merge_patch(other, value))),
            None => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_changes_adds_and_removes_and_keeps_what_is_the_same() {
        let present = json!({"spec": {"list": [{"name": "a"}], "gone": 2, "same": {"a": 1}}, "metadata": {}});
        let wanted =
            json!({"spec": {"list": [{"name": "b"}], "new": {"a": 1}, "same": {"a": 1}}, "metadata": {}});
        assert_eq!(
            merge_patch(&present, &wanted),
            json!({"spec": {"list": [{"name": "b"}], "gone": null, "new": {"a": 1}}})
        );
        assert_eq!(merge_patch(&wanted, &wanted), json!({}));
    }
}
