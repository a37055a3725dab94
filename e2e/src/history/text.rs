//! JSON as text: its parts without building a tree, and whether two texts say the same.

use std::ops::Range;

use serde_json::Value;

/// Where the fields of an object stand: each name (as it is written) and its value. Ends early where the text is no
/// object; whoever needs to know parses the parts.
pub fn fields(object: &str) -> Fields<'_> {
    let at = object.find('{').map_or(object.len(), |open| open + 1);
    Fields { text: object, at }
}

/// Walks the fields of an object.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    text: &'a str,
    at: usize,
}

impl Iterator for Fields<'_> {
    type Item = (Range<usize>, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.text.as_bytes();
        let open = self.at + bytes.get(self.at..)?.iter().position(|byte| matches!(byte, b'"' | b'}'))?;
        if bytes[open] == b'}' {
            return None;
        }
        let close = end_of_text(bytes, open)?;
        let colon = close + bytes.get(close..)?.iter().position(|byte| *byte == b':')?;
        let end = end_of_value(bytes, colon + 1)?;
        self.at = end;
        let value = self.text.get(colon + 1..end)?;
        let begin = end - value.trim_start().len();
        Some((open + 1..close - 1, begin..begin + value.trim().len()))
    }
}

/// Behind the text that opens at `open`.
fn end_of_text(bytes: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Behind the value that begins at `at`: where a comma or a bracket is that is not its own.
fn end_of_value(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = end_of_text(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return Some(at),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
}

/// Whether two texts say the same: the order of fields and space between values mean nothing.
pub fn same(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    // But for letters that are written in another way, texts that say the same have the same letters.
    if !one.contains('\\') && !other.contains('\\') && letters(one) != letters(other) {
        return false;
    }
    match (serde_json::from_str::<Value>(one), serde_json::from_str::<Value>(other)) {
        (Ok(one), Ok(other)) => one == other,
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// Sum of all letters but space; the same in whatever order they stand.
fn letters(text: &str) -> u64 {
    text.bytes().filter(|byte| !byte.is_ascii_whitespace()).map(u64::from).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_falls_into_its_fields() {
        let text = r#"{"a":1,"b":{"c":[1,{"d":"}\"]"}]}, "e" : "x,y" ,"f":null}"#;
        let found: Vec<_> = fields(text).map(|(name, value)| (&text[name], &text[value])).collect();
        assert_eq!(found, [("a", "1"), ("b", r#"{"c":[1,{"d":"}\"]"}]}"#), ("e", r#""x,y""#), ("f", "null")]);
        for nothing in ["{}", "", "7", "{\"a", "{\"a\":", "{\"a\":[1"] {
            assert_eq!(fields(nothing).count(), 0, "{nothing}");
        }
    }

    #[test]
    fn order_and_space_mean_nothing() {
        let table = [
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, true),
            (r#"{"a":1,"b":2}"#, r#"{"a": 1, "b": 2}"#, true),
            (r#"{"a":"\u0041"}"#, r#"{"a":"A"}"#, true),
            (r#"{"a":1,"b":2}"#, r#"{"a":2,"b":1}"#, false),
            (r#"{"a":12}"#, r#"{"a":13}"#, false),
            (r#"[1,2]"#, r#"[2,1]"#, false),
        ];
        for (one, other, expected) in table {
            assert_eq!(same(one, other), expected, "{one} {other}");
            assert_eq!(same(other, one), expected, "{other} {one}");
        }
    }
}
