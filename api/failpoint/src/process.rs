//! This process: what its environment asks for, and what it has reached so far.

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use crate::armed::{Action, Orders};
use crate::hits::Hits;
use crate::names::{PLACES, SEEDED_BUGS};

struct Failpoints {
    hits: Hits,
    orders: Orders,
}

/// Counts a hit of `place` and does what is armed there; true when its step must fail.
pub(crate) fn reached(place: &'static str) -> bool {
    let index = PLACES.iter().position(|known| *known == place);
    let index = index.unwrap_or_else(|| panic!("the failpoint `{place}` is not listed"));
    let Some(failpoints) = asked_for() else { return false };
    let action = {
        let mut failpoints = failpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failpoints.hits.count(index);
        failpoints.orders.at(place, count)
    };
    action.is_some_and(carry_out)
}

/// Whether the environment asks for the defect `name`.
pub(crate) fn has_bug(name: &'static str) -> bool {
    static BUGS: OnceLock<Vec<String>> = OnceLock::new();
    assert!(SEEDED_BUGS.contains(&name), "the defect `{name}` is not listed");
    let asked = BUGS.get_or_init(|| {
        let asked = std::env::var("BERTH_SEEDED_BUG").unwrap_or_default();
        let asked: Vec<String> = asked.split(',').filter(|bug| !bug.is_empty()).map(str::to_owned).collect();
        for bug in &asked {
            assert!(SEEDED_BUGS.contains(&bug.as_str()), "BERTH_SEEDED_BUG: there is no defect `{bug}`");
        }
        asked
    });
    asked.iter().any(|bug| bug == name)
}

/// The failpoints of this process, when its environment speaks of any.
fn asked_for() -> Option<&'static Mutex<Failpoints>> {
    static FAILPOINTS: OnceLock<Option<Mutex<Failpoints>>> = OnceLock::new();
    let read = || {
        let orders = std::env::var_os("BERTH_FAILPOINTS").map(PathBuf::from);
        let hits = std::env::var_os("BERTH_FAILPOINT_HITS").map(PathBuf::from);
        if orders.is_none() && hits.is_none() {
            return None;
        }
        Some(Mutex::new(Failpoints { hits: Hits::kept_in(hits), orders: Orders::read_from(orders) }))
    };
    FAILPOINTS.get_or_init(read).as_ref()
}

fn carry_out(action: Action) -> bool {
    match action {
        Action::Kill => end(Signal::KILL),
        // Sent to this thread: it must not take one more step, as it might when any other thread may take the signal.
        Action::Stop => {
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP).expect("a thread may stop")
        }
        Action::Sleep(pause) => std::thread::sleep(pause.min(Duration::from_secs(600))),
        Action::Fail => return true,
    }
    false
}

fn end(signal: Signal) {
    kill_process(getpid(), signal).expect("a process may signal itself");
}
