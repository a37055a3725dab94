//! The one thing in which JSON is no YAML: JSON writes a character beyond the first 65,536 as two escapes.

use std::borrow::Cow;

/// A JSON text as YAML reads it.
pub struct Yaml<'a> {
    /// The text, with each such pair as the one escape that YAML has for it.
    pub text: Cow<'a, str>,
    /// Line (from 1) and column (in characters, from 0) of each of these escapes, in their order.
    escapes: Vec<(usize, usize)>,
}

impl<'a> Yaml<'a> {
    /// `text` for YAML; unchanged if it has no pairs or is not JSON.
    pub fn of(text: &'a str) -> Self {
        let begins_pair = |part: &str| surrogate(part, 0xd800).is_some();
        if !text.split("\\u").skip(1).any(begins_pair)
            || serde_json::from_str::<serde::de::IgnoredAny>(text).is_err()
        {
            return Self { text: Cow::Borrowed(text), escapes: Vec::new() };
        }
        with_long_escapes(text)
    }

    /// The column in the JSON text of a place in the YAML text.
    pub fn column_in_json(&self, line: usize, column: usize) -> usize {
        let first = self.escapes.partition_point(|escape| *escape < (line, 0));
        let before = self.escapes.partition_point(|escape| *escape < (line, column)) - first;
        column + before * (PAIR - ESCAPE)
    }
}

fn with_long_escapes(text: &str) -> Yaml<'static> {
    let mut out = String::with_capacity(text.len());
    let (mut line, mut column, mut escapes) = (1, 0, Vec::new());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let taken = match pair(rest) {
            Some(code) => {
                escapes.push((line, column));
                out.push_str(&format!("\\U{code:08x}"));
                column += ESCAPE;
                PAIR
            }
            None => {
                // A backslash and what it escapes are taken together.
                let taken = rest.chars().take(if next == '\\' { 2 } else { 1 }).map(char::len_utf8).sum();
                out.push_str(&rest[..taken]);
                column += rest[..taken].chars().count();
                taken
            }
        };
        rest = &rest[taken..];
        if next == '\n' || (next == '\r' && !rest.starts_with('\n')) {
            (line, column) = (line + 1, 0);
        }
    }
    Yaml { text: Cow::Owned(out), escapes }
}

/// Bytes of two escapes of JSON.
const PAIR: usize = 12;
/// Bytes of the one escape of YAML.
const ESCAPE: usize = 10;

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
