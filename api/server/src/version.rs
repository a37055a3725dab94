//! resourceVersion: the store's revision x 1024 + the position of the write within that revision, as an opaque
//! decimal string. Lists and bookmarks end in 1023: they speak of a whole revision.

use std::fmt;

use berth_store::Rev;

const POSITIONS: u64 = 1024;

/// A point in the history of all objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// The write at `position` of revision `rev`.
    pub fn of_write(rev: Rev, position: u16) -> Self {
        Self(u64::try_from(rev).unwrap_or(0) * POSITIONS + u64::from(position).min(POSITIONS - 1))
    }

    /// All of revision `rev`.
    pub fn all_of(rev: Rev) -> Self {
        Self::of_write(rev, 1023)
    }

    /// Reads the decimal form.
    pub fn parse(text: &str) -> Option<Self> {
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok().map(Self)).flatten()
    }

    /// The revision that it falls into.
    pub fn rev(self) -> Rev {
        Rev::try_from(self.0 / POSITIONS).expect("2^64 / 1024 fits")
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_reads_back_and_orders_by_revision_then_position() {
        let write = Version::of_write(7, 3);
        assert_eq!(Version::parse(&write.to_string()), Some(write));
        assert_eq!(write.rev(), 7);
        assert!(Version::of_write(7, 2) < write && write < Version::all_of(7));
        assert!(Version::all_of(7) < Version::of_write(8, 0));
        for text in ["", "-1", "+1", "x", "99999999999999999999999"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
