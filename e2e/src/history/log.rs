//! The event log: every change of the store in the order of its revisions, one JSON object a line.
//!
//! `{"rev":7,"at":81,"key":"/berth/...","create":7,"version":1,"lease":0,"pos":0,"id":"<32 hex digits>","epoch":0,
//! "by":"ctl","json":{...}}`; a delete has `rev`, `at` and `key` alone. `json` stands last, as it was stored.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The revision that it belongs to.
    pub rev: i64,
    /// When the recorder saw it: nanoseconds of the monotonic clock of the machine, never before the change; 0 is unknown.
    pub at: u64,
    /// The whole key.
    pub key: String,
    /// What lies there now; none when it was deleted.
    pub now: Option<Stored>,
}

/// A value with what the store says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The revision in which the key came to be.
    pub create_rev: i64,
    /// Writes since it came to be.
    pub version: i64,
    /// The lease of the store that it goes with; 0 is none.
    pub lease: i64,
    /// Who wrote it.
    pub header: Header,
    /// The object, as it was stored.
    pub json: Box<str>,
}

/// What stands before the JSON of a stored value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// The put's place among the writes of its revision.
    pub position: u16,
    /// The group that wrote it.
    pub write_id: u128,
    /// The epoch of the leader that wrote it; 0 for anybody else.
    pub epoch: i64,
    /// Who wrote it.
    pub writer: String,
}

/// A value or a line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unreadable: {}", self.0)
    }
}

impl std::error::Error for Unreadable {}

impl Header {
    /// Takes a stored value apart: codec 1 (1 byte), position (2), write id (16), epoch (8), length of the writer's
    /// name (1), the name, all big endian; the rest is the JSON.
    pub fn split(value: &[u8]) -> Result<(Self, &str), Unreadable> {
        let short = || Unreadable(format!("a value of {} bytes is shorter than its header", value.len()));
        let (fixed, rest) = value.split_first_chunk::<28>().ok_or_else(short)?;
        if fixed[0] != 1 {
            return Err(Unreadable(format!("a value has codec {}, known is 1", fixed[0])));
        }
        let (name, json) = rest.split_at_checked(usize::from(fixed[27])).ok_or_else(short)?;
        let text = |bytes| std::str::from_utf8(bytes).map_err(|why| Unreadable(why.to_string()));
        let header = Self {
            position: u16::from_be_bytes(part(fixed, 1)),
            write_id: u128::from_be_bytes(part(fixed, 3)),
            epoch: i64::from_be_bytes(part(fixed, 19)),
            writer: text(name)?.to_string(),
        };
        Ok((header, text(json)?))
    }
}

fn part<const N: usize>(fixed: &[u8; 28], at: usize) -> [u8; N] {
    fixed[at..at + N].try_into().expect("parts of the header lie within it")
}

/// A line without its JSON; a delete has only the first three.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Line<'a> {
    rev: i64,
    #[serde(skip_serializing_if = "is_zero")]
    at: u64,
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    create: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pos: Option<u16>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<i64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    by: Option<Cow<'a, str>>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Ends a line's head. Within a text its quotes would be escaped, so its first place is its only one.
const JSON: &str = r#","json":"#;

impl Event {
    /// One line, without its end.
    pub fn to_line(&self) -> String {
        let head = Line { rev: self.rev, at: self.at, key: self.key.as_str().into(), ..Line::default() };
        let Some(stored) = &self.now else { return head.to_text() };
        let head = Line {
            create: Some(stored.create_rev),
            version: Some(stored.version),
            lease: Some(stored.lease),
            pos: Some(stored.header.position),
            id: Some(format!("{:032x}", stored.header.write_id).into()),
            epoch: Some(stored.header.epoch),
            by: Some(stored.header.writer.as_str().into()),
            ..head
        };
        // Between values a line feed means nothing, and within a text none can stand.
        let json = stored.json.replace('\n', " ");
        let head = head.to_text();
        format!("{}{JSON}{json}}}", head.strip_suffix('}').expect("an object ends so"))
    }

    /// Reads what [`Event::to_line`] made.
    pub fn from_line(line: &str) -> Result<Self, Unreadable> {
        let line = line.trim_end();
        let unreadable = |why: String| Unreadable(format!("{why}: {}", line.get(..200).unwrap_or(line)));
        let Some(end) = line.find(JSON) else {
            let head: Line = serde_json::from_str(line).map_err(|why| unreadable(why.to_string()))?;
            return Ok(Self { rev: head.rev, at: head.at, key: head.key.into_owned(), now: None });
        };
        let json = line[end + JSON.len()..].strip_suffix('}').ok_or_else(|| unreadable("cut off".into()))?;
        let text = [&line[..end], "}"].concat();
        let head: Line = serde_json::from_str(&text).map_err(|why| unreadable(why.to_string()))?;
        let stored = head.stored(json).ok_or_else(|| unreadable("a field is missing".into()))?;
        Ok(Self { rev: head.rev, at: head.at, key: head.key.into_owned(), now: Some(stored) })
    }
}

impl Line<'_> {
    fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts are always JSON")
    }

    fn stored(&self, json: &str) -> Option<Stored> {
        let header = Header {
            position: self.pos?,
            write_id: u128::from_str_radix(self.id.as_ref()?, 16).ok()?,
            epoch: self.epoch?,
            writer: self.by.as_ref()?.to_string(),
        };
        let (create_rev, version, lease) = (self.create?, self.version?, self.lease?);
        Some(Stored { create_rev, version, lease, header, json: json.into() })
    }
}

/// Writes events, a line each.
pub fn write<'a>(out: &mut impl Write, events: impl IntoIterator<Item = &'a Event>) -> io::Result<()> {
    events.into_iter().try_for_each(|event| writeln!(out, "{}", event.to_line()))
}

/// Reads events until the end, or until the first line that is none. A last line without its end was being written
/// when the recorder died: it is left out.
pub fn read(mut from: impl BufRead) -> impl Iterator<Item = io::Result<Event>> {
    let mut line = String::new();
    std::iter::from_fn(move || {
        line.clear();
        match from.read_line(&mut line) {
            Err(error) => Some(Err(error)),
            Ok(_) if !line.ends_with('\n') => None,
            Ok(_) => {
                Some(Event::from_line(&line).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why)))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(writer: &str, json: &str) -> Event {
        let header = Header { position: 3, write_id: 7 << 64 | 9, epoch: 42, writer: writer.into() };
        let stored = Stored { create_rev: 5, version: 2, lease: 8, header, json: json.into() };
        Event { rev: 7, at: 81, key: "/berth/berth.dev/tasks/shop/web-1".into(), now: Some(stored) }
    }

    fn delete() -> Event {
        Event { now: None, at: 0, ..put("", "") }
    }

    #[test]
    fn a_line_reads_back_as_written() {
        let tricky = put("a\"},\"json\":{", r#"{"a":"},\"json\":","json":1}"#);
        let events = [put("ctl", r#"{"a":1}"#), delete(), tricky, put("é", "[]")];
        let mut file = Vec::new();
        write(&mut file, &events).unwrap();
        let read: Vec<Event> = read(&file[..]).map(Result::unwrap).collect();
        assert_eq!(read, events);
        let lines = String::from_utf8(file).unwrap();
        expect_test::expect![[r#"
            {"rev":7,"at":81,"key":"/berth/berth.dev/tasks/shop/web-1","create":5,"version":2,"lease":8,"pos":3,"id":"00000000000000070000000000000009","epoch":42,"by":"ctl","json":{"a":1}}
            {"rev":7,"key":"/berth/berth.dev/tasks/shop/web-1"}
        "#]]
        .assert_eq(&lines.split_inclusive('\n').take(2).collect::<String>());
    }

    #[test]
    fn a_line_that_was_being_written_is_left_out_and_a_torn_one_inside_is_told() {
        let whole = put("ctl", "{}").to_line();
        let torn = format!("{whole}\n{}", &whole[..whole.len() - 9]);
        assert_eq!(read(torn.as_bytes()).map(Result::unwrap).count(), 1);
        let within = format!("{}\n{whole}\n", &whole[..40]);
        assert!(read(within.as_bytes()).next().unwrap().is_err());
    }

    #[test]
    fn a_stored_value_is_taken_apart_and_damage_is_told() {
        let mut value = vec![1, 0, 3];
        value.extend((7u128 << 64 | 9).to_be_bytes());
        value.extend(42i64.to_be_bytes());
        value.extend(b"\x03ctl{}");
        let event = put("ctl", "{}");
        assert_eq!(Header::split(&value).unwrap(), (event.now.unwrap().header, "{}"));
        let other_codec = [&[2], &value[1..]].concat();
        for damaged in [&value[..20], &value[..29], &other_codec] {
            assert!(Header::split(damaged).is_err());
        }
    }
}
