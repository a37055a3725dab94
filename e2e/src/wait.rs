//! Waiting for a state, never for a time: a wait that runs out says what it saw last. No wait is longer than its test
//! may take, and what is waited for can be asked for at any time.

use std::collections::BTreeMap;
use std::io;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often a state is looked at.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long a killed program may take to be gone with its output.
const DIES_WITHIN: Duration = Duration::from_secs(5);

/// When the test of this process must be over; none before [`limit`].
static END: Mutex<Option<Instant>> = Mutex::new(None);
/// What is waited for now, by the order in which it began.
static WAITS: Mutex<BTreeMap<u64, Waiting>> = Mutex::new(BTreeMap::new());

#[derive(Debug)]
struct Waiting {
    what: String,
    since: Instant,
    seen: String,
}

/// A wait that is listed until it is dropped.
struct Listed(u64);

/// The test of this process may take `time` from now on: every wait ends by then.
pub fn limit(time: Duration) {
    *END.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + time);
}

/// What is waited for now, a line each, with the last state seen.
pub fn waits() -> String {
    let line = |wait: &Waiting| {
        let (what, seconds, seen) = (&wait.what, wait.since.elapsed().as_secs(), &wait.seen);
        format!("waits for {seconds} s until {what}; last seen: {seen}\n")
    };
    listed().values().map(line).collect()
}

/// Looks until `look` says `Ok`, at most for `limit`.
///
/// # Panics
/// When the time is over: with `what` and the last thing that `look` saw instead.
pub fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let (begun, end) = (Instant::now(), end(limit));
    let listed = Listed::new(what.into());
    loop {
        let seen = match look() {
            Ok(reached) => return reached,
            Err(seen) => seen,
        };
        let waited = begun.elapsed();
        assert!(Instant::now() < end, "waited {waited:.0?} until {what}; last seen: {seen}");
        listed.sees(seen);
        std::thread::park_timeout(INTERVAL);
    }
}

/// Looks for `time` and lets nothing but `Ok` pass.
///
/// # Panics
/// At the first `Err`, with what was seen; and when the test's time is over first.
pub fn always(what: &str, time: Duration, mut look: impl FnMut() -> Result<(), String>) {
    let whole = Instant::now() + time;
    let end = sooner(whole, test_ends());
    let _listed = Listed::new(format!("{what} was seen for {time:?}"));
    while Instant::now() < end {
        if let Err(seen) = look() {
            panic!("expected all along that {what}; seen: {seen}");
        }
        std::thread::park_timeout(INTERVAL);
    }
    assert!(end == whole, "the test's time was over before {what} was seen for {time:?}");
}

/// Runs a program to its end: what it wrote, or why it was not waited for any longer than `limit`. It is killed then.
///
/// # Panics
/// When it cannot be started.
pub fn output(command: &mut Command, limit: Duration) -> Result<Output, String> {
    let what = format!("{command:?}");
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = piped.spawn().unwrap_or_else(|error| panic!("could not start {what}: {error}"));
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id fits"));
    let _listed = Listed::new(format!("{what} ends"));
    let (told, ended) = mpsc::channel();
    std::thread::spawn(move || told.send(child.wait_with_output()));
    let limit = end(limit).saturating_duration_since(Instant::now());
    if let Ok(output) = ended.recv_timeout(limit) {
        return output.map_err(|error| format!("{what}: {error}"));
    }
    // It may have ended just now.
    let _ = kill(pid, Signal::SIGKILL);
    Err(format!("{what} did not end in {limit:.0?}; {}", said(ended.recv_timeout(DIES_WITHIN))))
}

fn said(output: Result<io::Result<Output>, mpsc::RecvTimeoutError>) -> String {
    match output {
        Ok(Ok(output)) => format!(
            "it wrote:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "another process holds its output open".into(),
    }
}

/// When a wait of this length, from now, is over.
fn end(limit: Duration) -> Instant {
    sooner(Instant::now() + limit, test_ends())
}

fn test_ends() -> Option<Instant> {
    *END.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sooner(end: Instant, of_test: Option<Instant>) -> Instant {
    of_test.map_or(end, |of_test| of_test.min(end))
}

fn listed() -> MutexGuard<'static, BTreeMap<u64, Waiting>> {
    WAITS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listed {
    fn new(what: String) -> Self {
        let mut waits = listed();
        let number = waits.keys().next_back().map_or(0, |last| last + 1);
        waits.insert(number, Waiting { what, since: Instant::now(), seen: "nothing yet".into() });
        Self(number)
    }

    fn sees(&self, seen: String) {
        if let Some(wait) = listed().get_mut(&self.0) {
            wait.seen = seen;
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        listed().remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    fn panics(wait: impl FnOnce() + std::panic::UnwindSafe) -> String {
        *catch_unwind(wait).unwrap_err().downcast().expect("a panic with a text")
    }

    #[test]
    fn a_wait_that_runs_out_says_what_it_saw_last() {
        let why = panics(|| eventually("it rains", Duration::from_millis(1), || Err::<(), _>("sun".into())));
        assert!(why.starts_with("waited ") && why.ends_with(" until it rains; last seen: sun"), "{why}");
        let why = panics(|| always("it rains", Duration::from_secs(60), || Err("sun".into())));
        assert_eq!(why, "expected all along that it rains; seen: sun");
    }

    #[test]
    fn what_is_waited_for_is_listed_while_it_is() {
        let mut looks = 0;
        eventually("the list names this wait", Duration::from_secs(60), || {
            looks += 1;
            let waits = waits();
            let own = waits.lines().find(|line| line.contains("the list names this wait")).unwrap();
            assert!(looks > 1 || own.ends_with("last seen: nothing yet"), "{own}");
            if own.ends_with("last seen: look 2") { Ok(()) } else { Err(format!("look {looks}")) }
        });
        assert!(!waits().contains("the list names this wait"));
    }

    #[test]
    fn a_program_that_does_not_end_is_killed_and_its_words_are_told() {
        let ended = output(Command::new("sh").args(["-c", "echo one; exit 3"]), Duration::from_secs(60));
        let ended = ended.unwrap();
        assert_eq!((ended.status.code(), &*ended.stdout), (Some(3), &b"one\n"[..]));
        let mut endless = Command::new("sh");
        endless.args(["-c", "echo one; exec sleep 1000"]);
        let why = output(&mut endless, Duration::from_millis(300)).unwrap_err();
        assert!(why.contains("did not end in 300ms") && why.ends_with("it wrote:\none\n"), "{why}");
    }
}
