//! A process told apart from a later one with the same number.

use std::fs;

/// Number and start time of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

impl Identity {
    /// The process that has this number now; none when there is none, or only a zombie.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold spaces and parentheses.
        let (_, fields) = stat.rsplit_once(") ")?;
        let is_zombie = fields.starts_with(['Z', 'X']);
        let started = fields.split(' ').nth(19)?.parse().ok()?;
        (!is_zombie).then_some(Self { pid, started })
    }

    /// Whether it still runs.
    pub fn runs(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// The processes whose command line holds all these words.
    pub fn with_words(words: &[&str]) -> Vec<Self> {
        let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let named = pids.filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            words.iter().all(|word| line.contains(word))
        });
        named.filter_map(Self::of).collect()
    }

    /// Its environment, as it was when it began.
    pub fn environment(self) -> String {
        String::from_utf8_lossy(&fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default())
            .into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_under_its_own_start_time_only() {
        let own = Identity::of(std::process::id()).unwrap();
        assert!(own.runs());
        assert!(!Identity { started: own.started + 1, ..own }.runs());
        assert_eq!(Identity::of(0), None);
        let words: Vec<String> = std::env::args().take(1).collect();
        assert!(Identity::with_words(&[&words[0]]).contains(&own));
    }
}
