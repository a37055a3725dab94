//! Objects as bytes. The store keeps an object's JSON without `resourceVersion`, which only its revision tells; it is
//! served with it. The version is spliced into the bytes: no tree is built to answer a read or a watch.

use bytes::Bytes;

use crate::version::Version;

/// An object as it is served: JSON with its `resourceVersion`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Served {
    json: Bytes,
    /// Where the digits of the version stand.
    digits: std::ops::Range<usize>,
}

impl Served {
    /// The stored JSON with `version`; none when it is no object with metadata.
    pub fn new(stored: &[u8], version: Version) -> Option<Self> {
        let after_brace = metadata_opens_at(stored)? + 1;
        let digits = version.to_string();
        let (head, tail) = stored.split_at(after_brace);
        let comma: &[u8] = if tail.first() == Some(&b'}') { b"" } else { b"," };
        let field = b"\"resourceVersion\":\"";
        let start = head.len() + field.len();
        let json = [head, field, digits.as_bytes(), b"\"", comma, tail].concat();
        Some(Self { json: json.into(), digits: start..start + digits.len() })
    }

    /// The JSON.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The same object under another version: how a removed object is shown, or one that left a selection.
    pub fn at(&self, version: Version) -> Bytes {
        let (head, tail) = (&self.json[..self.digits.start], &self.json[self.digits.end..]);
        [head, version.to_string().as_bytes(), tail].concat().into()
    }
}

/// The place of the `{` that opens the top-level `metadata`.
fn metadata_opens_at(json: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = 0;
    while at < json.len() {
        match json[at] {
            b'"' => {
                let end = string_end(json, at)?;
                let value = skip_blanks(json, end + 1);
                if depth == 1 && &json[at + 1..end] == b"metadata" && json.get(value) == Some(&b':') {
                    let opens = skip_blanks(json, value + 1);
                    return (json.get(opens) == Some(&b'{')).then_some(opens);
                }
                at = end;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
    }
    None
}

fn string_end(json: &[u8], opens: usize) -> Option<usize> {
    let mut at = opens + 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn skip_blanks(json: &[u8], from: usize) -> usize {
    let blanks = json[from.min(json.len())..].iter().take_while(|b| b.is_ascii_whitespace()).count();
    from + blanks
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_version_is_put_into_the_metadata_of_the_object_and_nowhere_else() {
        for object in [
            json!({"metadata": {"name": "a"}}),
            json!({"metadata": {}}),
            json!({"a": "metadata", "b": {"metadata": {}}, "c": ["{\"metadata\":{"], "metadata": {"name": "\\\""}}),
        ] {
            let served = Served::new(&serde_json::to_vec(&object).unwrap(), Version::of_write(1, 2)).unwrap();
            let mut expected = object.clone();
            expected["metadata"]["resourceVersion"] = "1026".into();
            assert_eq!(serde_json::from_slice::<Value>(served.json()).unwrap(), expected);
            expected["metadata"]["resourceVersion"] = "999423".into();
            let moved = served.at(Version::all_of(975));
            assert_eq!(serde_json::from_slice::<Value>(&moved).unwrap(), expected);
        }
    }

    #[test]
    fn what_has_no_metadata_is_not_served() {
        for text in ["", "[]", "{}", "{\"metadata\":1}", "{\"x\":{\"metadata\":{}}}", "{\"metadata"] {
            assert_eq!(Served::new(text.as_bytes(), Version::of_write(1, 2)), None, "{text}");
        }
    }
}
