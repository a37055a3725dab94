//! One process as /proc tells it.

use std::fs;

/// A process. Its id and its start are it; the id alone is used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id in the machine's own pid namespace.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
    /// Inode of its network namespace; 0 when it is not to be had.
    pub network: u64,
    state: char,
}

impl Process {
    /// The process with this id; none when there is none.
    pub fn of(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, parent, started) = parse(&text)?;
        let network = namespace(&pid.to_string(), "net").unwrap_or(0);
        Some(Self { pid, parent, started, network, state })
    }

    /// Whether it can still do anything.
    pub fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// Whether it is the first of its pid namespace.
    pub fn is_first(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        status.lines().find_map(|line| line.strip_prefix("NSpid:")).is_some_and(|ids| ids.ends_with("\t1"))
    }
}

/// State, parent and start of `PID (NAME) STATE PARENT ...`; the name may hold blanks and brackets.
fn parse(stat: &str) -> Option<(char, i32, u64)> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some((state, parent, started))
}

/// Inode of a process' pid namespace.
pub fn pid_namespace(process: &str) -> Option<u64> {
    namespace(process, "pid")
}

/// `pid:[4026531836]`
fn namespace(process: &str, kind: &str) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{process}/ns/{kind}")).ok()?;
    link.to_str()?.split_once('[')?.1.strip_suffix(']')?.parse().ok()
}

/// Its command line.
pub fn arguments(pid: i32) -> Vec<String> {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    text.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_is_no_trap() {
        let stat = "7 (a) R 1 (b) S 42 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 2\n";
        assert_eq!(parse(stat), Some(('S', 42, 987_654)));
        assert_eq!(parse("7 (a"), None);
    }

    #[test]
    fn this_process_is_found_and_lives() {
        let own = i32::try_from(std::process::id()).unwrap();
        let seen = Process::of(own).unwrap();
        assert!(seen.lives() && seen.started > 0 && seen.network > 0, "{seen:?}");
        assert_eq!(pid_namespace("self"), pid_namespace(&own.to_string()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        crate::wait::eventually("it has ended", std::time::Duration::from_secs(20), || {
            let now = Process::of(pid).filter(Process::lives);
            now.map_or(Ok(()), |process| Err(format!("{process:?}")))
        });
        child.wait().unwrap();
        assert_eq!(Process::of(pid), None);
    }
}
