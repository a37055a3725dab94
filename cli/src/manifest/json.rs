//! The one thing in which JSON is no YAML: JSON writes a character beyond the first 65,536 as two escapes.

use std::borrow::Cow;

/// `text` with such pairs as the one escape that YAML has for them, if it is JSON.
pub fn as_yaml(text: &str) -> Cow<'_, str> {
    let begins_pair = |part: &str| surrogate(part, 0xd800).is_some();
    if !text.split("\\u").skip(1).any(begins_pair)
        || serde_json::from_str::<serde::de::IgnoredAny>(text).is_err()
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = match pair(rest) {
            Some(code) => {
                out.push_str(&format!("\\U{code:08x}"));
                PAIR
            }
            None => {
                let escape = rest.chars().take(2).map(char::len_utf8).sum();
                out.push_str(&rest[..escape]);
                escape
            }
        };
        rest = &rest[taken..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Bytes of two escapes.
const PAIR: usize = 12;

/// The character that the two escapes at the beginning stand for.
fn pair(text: &str) -> Option<u32> {
    let high = surrogate(text.strip_prefix("\\u")?, 0xd800)?;
    let low = surrogate(text.get(PAIR / 2..)?.strip_prefix("\\u")?, 0xdc00)?;
    Some(0x10000 + (high << 10) + low)
}

/// The ten bits of a half of a pair, in the four digits at the beginning; halves of one kind begin at `from`.
fn surrogate(text: &str, from: u32) -> Option<u32> {
    let number = u32::from_str_radix(text.get(..4)?, 16).ok()?;
    number.checked_sub(from).filter(|bits| *bits < 0x400)
}
