//! A stored value: a short header, then the JSON of the object. The header says where the value stands in its
//! revision and who wrote it, and is read without touching the JSON.
//!
//! Layout, big endian: codec (1 byte), position (2), write id (16), epoch (8), length of the writer's name (1),
//! the name, the JSON.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{Rev, StoreError};

const JSON: u8 = 1;
const POSITION: usize = 1;
const WRITE_ID: usize = 3;
const EPOCH: usize = 19;
const NAME_LENGTH: usize = 27;
const NAME: usize = 28;

/// Marks all puts of one group, so that its sender recognises its own work after an unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WriteId(pub u128);

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What stands before the JSON of a stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The put's place among the writes of its revision.
    pub position: u16,
    /// The group that wrote it.
    pub write_id: WriteId,
    /// The epoch of the leader that wrote it; 0 for anybody else.
    pub epoch: Rev,
    /// Who wrote it; names over 255 bytes are cut.
    pub writer: String,
}

impl Header {
    /// The stored form of `json` with this header.
    pub fn before(&self, json: &[u8]) -> BytesMut {
        let name = cut(&self.writer, usize::from(u8::MAX));
        let mut stored = BytesMut::with_capacity(NAME + name.len() + json.len());
        stored.put_u8(JSON);
        stored.put_u16(self.position);
        stored.put_u128(self.write_id.0);
        stored.put_i64(self.epoch);
        stored.put_u8(u8::try_from(name.len()).expect("cut to 255 bytes"));
        stored.put_slice(name.as_bytes());
        stored.put_slice(json);
        stored
    }
}

/// A stored value taken apart; cheap to make and to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    stored: Bytes,
    json: usize,
}

impl Value {
    /// Reads what `Header::before` made; anything else is damage.
    pub fn parse(stored: Bytes) -> Result<Self, StoreError> {
        if stored.first().is_some_and(|codec| *codec != JSON) {
            return Err(StoreError::Damaged(format!("a value has codec {}, known is {JSON}", stored[0])));
        }
        let Some(length) = stored.get(NAME_LENGTH) else {
            return Err(StoreError::Damaged("a value is shorter than its header".into()));
        };
        let json = NAME + usize::from(*length);
        match stored.get(NAME..json).map(std::str::from_utf8) {
            Some(Ok(_)) => Ok(Self { stored, json }),
            Some(Err(_)) | None => Err(StoreError::Damaged("a value's writer is not readable".into())),
        }
    }

    /// The put's place among the writes of its revision.
    pub fn position(&self) -> u16 {
        u16::from_be_bytes(self.fixed(POSITION))
    }

    /// The group that wrote it.
    pub fn write_id(&self) -> WriteId {
        WriteId(u128::from_be_bytes(self.fixed(WRITE_ID)))
    }

    /// The epoch of the leader that wrote it; 0 for anybody else.
    pub fn epoch(&self) -> Rev {
        Rev::from_be_bytes(self.fixed(EPOCH))
    }

    /// Who wrote it.
    pub fn writer(&self) -> &str {
        std::str::from_utf8(&self.stored[NAME..self.json]).expect("checked by parse")
    }

    /// The JSON; shares the value's memory.
    pub fn json(&self) -> Bytes {
        self.stored.slice(self.json..)
    }

    fn fixed<const N: usize>(&self, at: usize) -> [u8; N] {
        self.stored[at..at + N].try_into().expect("parse checked the header's length")
    }
}

/// Sets the position of a stored value in place.
pub(crate) fn stamp(stored: &mut [u8], position: u16) {
    stored[POSITION..WRITE_ID].copy_from_slice(&position.to_be_bytes());
}

fn cut(name: &str, most: usize) -> &str {
    let mut end = name.len().min(most);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(writer: &str) -> Header {
        Header { position: 0, write_id: WriteId(7 << 64 | 9), epoch: 42, writer: writer.into() }
    }

    #[test]
    fn a_value_reads_back_as_written_and_its_position_is_stamped_in_place() {
        for (writer, json, position) in [("", "", 0), ("s-1/app", r#"{"a":1}"#, 999), ("é", "[]", u16::MAX)]
        {
            let mut stored = header(writer).before(json.as_bytes());
            stamp(&mut stored, position);
            let value = Value::parse(stored.freeze()).unwrap();
            assert_eq!(
                (value.position(), value.write_id(), value.epoch()),
                (position, WriteId(7 << 64 | 9), 42)
            );
            assert_eq!((value.writer(), &value.json()[..]), (writer, json.as_bytes()));
        }
    }

    #[test]
    fn a_long_name_is_cut_between_letters() {
        let value = Value::parse(header(&"é".repeat(200)).before(b"{}").freeze()).unwrap();
        assert_eq!((value.writer().len(), &value.json()[..]), (254, &b"{}"[..]));
    }

    #[test]
    fn what_is_no_value_is_damage() {
        let whole = header("writer").before(b"").freeze();
        let other_codec = [&[2], &whole[1..]].concat();
        for stored in [&b""[..], &whole[..20], &whole[..NAME + 3], &other_codec] {
            let read = Value::parse(Bytes::copy_from_slice(stored));
            assert!(matches!(read, Err(StoreError::Damaged(_))), "{read:?}");
        }
    }
}
