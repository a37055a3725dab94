//! Tests of one program that take too long. libtest has no limit for a test, but names one that takes a minute, and
//! names it again when it ends.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

/// What follows the name of a test that takes long.
const LONG: &str = " has been running for over 60 seconds";
/// After how long libtest names it.
const NAMED_AFTER: Duration = Duration::from_secs(60);

/// The tests that take long.
#[derive(Debug, Default)]
pub struct Overdue {
    /// The name of each, and when it was named.
    named: BTreeMap<String, Instant>,
}

impl Overdue {
    /// Reads a line of the program.
    pub fn read(&mut self, line: &str, now: Instant) {
        let Some(test) = line.strip_prefix("test ") else { return };
        if let Some(name) = test.trim_end().strip_suffix(LONG) {
            self.named.insert(name.into(), now);
        } else if let Some((name, _)) = test.split_once(" ... ") {
            self.named.remove(name.trim_end_matches(" - should panic"));
        }
    }

    /// The tests that take longer than `limit`, which is a minute at least.
    pub fn at(&self, now: Instant, limit: Duration) -> Vec<&str> {
        let after = limit.saturating_sub(NAMED_AFTER);
        let over = self.named.iter().filter(|(_, named)| now.duration_since(**named) >= after);
        over.map(|(name, _)| name.as_str()).collect()
    }
}

/// What the threads of a process wait for in the kernel, and the processes that it started: a line each. libtest names
/// a thread after its test.
pub fn state(pid: u32) -> String {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let line = |of: &str, path: String| {
        let read = |file: &str| fs::read_to_string(format!("{path}/{file}")).unwrap_or_default();
        let words = read("cmdline").trim_end_matches('\0').replace('\0', " ");
        let name = if of == "thread" { read("comm").trim_end().to_owned() } else { words };
        format!("  {of} `{name}` is in {}\n", read("wchan"))
    };
    let threads = threads.map(|thread| line("thread", thread.path().display().to_string()));
    let started = descendants(pid).into_iter().map(|pid| line("process", format!("/proc/{pid}")));
    threads.chain(started).collect()
}

/// The processes that a process started, and those that these did.
pub fn descendants(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<u32> = children
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    children.into_iter().flat_map(|child| [vec![child], descendants(child)].concat()).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_test_is_overdue_from_its_limit_until_its_end() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut overdue = Overdue::default();
        for (seconds, line) in [
            (60, "running 3 tests"),
            (60, "test a::one has been running for over 60 seconds\n"),
            (61, "test a::two has been running for over 60 seconds\n"),
            (62, "test a::three has been running for over 60 seconds\n"),
            (70, "test a::two ... ok\n"),
            (71, "test a::three - should panic ... ok\n"),
            (72, "one has been running for over 60 seconds"),
        ] {
            overdue.read(line, at(seconds));
        }
        let limit = Duration::from_secs(100);
        assert_eq!(overdue.at(at(99), limit), Vec::<&str>::new());
        assert_eq!(overdue.at(at(100), limit), ["a::one"]);
        overdue.read("test a::one ... FAILED\n", at(101));
        assert_eq!(overdue.at(at(200), limit), Vec::<&str>::new());
    }

    #[test]
    fn a_process_is_told_with_what_it_started() {
        let mut child = Command::new("sh").args(["-c", "sleep 97001; true"]).spawn().unwrap();
        crate::wait::eventually("its child is told", Duration::from_secs(20), || {
            let told = state(child.id());
            let found = told.contains("thread `sh`") && told.contains("process `sleep 97001`");
            if found { Ok(()) } else { Err(told) }
        });
        for pid in [vec![child.id()], descendants(child.id())].concat() {
            Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
        }
        child.wait().unwrap();
    }
}
