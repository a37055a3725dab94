//! A process told apart from a later one with the same number.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

/// A process of this boot: its number alone may be used again, number and start time together are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessId {
    /// Process number.
    pub pid: i32,
    /// Start time in clock ticks since boot, field 22 of `/proc/<pid>/stat`.
    pub start_time: u64,
}

impl ProcessId {
    /// The process that has the number `pid` now; `NotFound` when there is none.
    pub fn of(pid: i32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let start_time = start_time(&stat).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat has no start time"))
        })?;
        Ok(Self { pid, start_time })
    }

    /// This very process.
    pub fn own() -> io::Result<Self> {
        Self::of(i32::try_from(std::process::id()).expect("Linux process numbers fit 22 bits"))
    }

    /// Whether it still runs: a zombie that nobody waits for does not.
    pub fn runs(self) -> bool {
        let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", self.pid)) else { return false };
        let state = stat.rsplit_once(')').map_or("", |(_, after)| after.trim_start());
        start_time(&stat) == Some(self.start_time) && !state.starts_with(['Z', 'X'])
    }

    /// Whether it still exists; a zombie does.
    pub fn exists(self) -> bool {
        Self::of(self.pid).is_ok_and(|now| now == self)
    }
}

/// The name in field 2 may hold spaces and parentheses, so fields are counted from its last parenthesis.
fn start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_start_time() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(start_time(&format!("42 (a) b) {fields}")), Some(4711));
        assert_eq!(start_time("42 (a) S 1"), None);
    }

    #[test]
    fn a_process_exists_under_its_own_start_time_only() {
        let own = ProcessId::own().unwrap();
        assert!(own.exists());
        assert!(!ProcessId { start_time: own.start_time + 1, ..own }.exists());
    }
}
