//! Restarting in place: how long to wait, and when it is too often.

use std::collections::VecDeque;
use std::time::Duration;

use berth_types::Timestamp;

use crate::assignment::RestartPolicy;

/// When something failed lately, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restarts {
    times: VecDeque<Timestamp>,
}

/// What a failure leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Another try, then.
    Again(Timestamp),
    /// No more tries here.
    TooOften,
}

impl Restarts {
    /// Failures as a journal remembers them. A time after `now` is of a clock that was set back since: it was before.
    pub fn remembered(times: impl IntoIterator<Item = Timestamp>, now: Timestamp) -> Self {
        Self { times: times.into_iter().map(|at| at.min(now)).collect() }
    }

    /// Counts a failure at `now`: the wait doubles with each failure within the policy's window, those of the Tasks
    /// before this one included.
    pub fn count(&mut self, policy: &RestartPolicy, now: Timestamp) -> Verdict {
        self.times.retain(|&at| now.since(at) < policy.within);
        self.times.push_back(now);
        let borne = usize::try_from(policy.in_place).unwrap_or(usize::MAX);
        if self.times.len() > borne { Verdict::TooOften } else { Verdict::Again(self.next(policy)) }
    }

    /// When the try after the last failure is due.
    pub fn next(&self, policy: &RestartPolicy) -> Timestamp {
        let Some(&last) = self.times.back() else { return Timestamp::from_millis(0) };
        let lately = self.times.iter().filter(|&&at| last.since(at) < policy.within).count();
        let earlier = if last < policy.earlier_until { policy.earlier } else { 0 };
        let own = u32::try_from(lately.saturating_sub(1)).unwrap_or(u32::MAX);
        let doublings = earlier.saturating_add(own).min(20);
        let wait: Duration = (policy.initial * 2u32.pow(doublings)).min(policy.most);
        last.plus(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RestartPolicy {
        RestartPolicy {
            in_place: 5,
            within: Duration::from_secs(600),
            initial: Duration::from_secs(1),
            most: Duration::from_secs(10),
            earlier: 0,
            earlier_until: at(0),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn the_wait_doubles_up_to_the_most_and_the_sixth_failure_in_a_window_is_too_often() {
        let mut restarts = Restarts::default();
        let waits: Vec<Verdict> = (0..6).map(|_| restarts.count(&policy(), at(100))).collect();
        let again = |seconds| Verdict::Again(at(seconds));
        assert_eq!(waits, [again(101), again(102), again(104), again(108), again(110), Verdict::TooOften]);
    }

    #[test]
    fn the_waits_continue_those_of_the_tasks_before_until_the_window_of_these_is_over() {
        let waits = |policy: &RestartPolicy, failures: &[i64]| -> Vec<u64> {
            let mut restarts = Restarts::default();
            let mut wait = |second| match restarts.count(policy, at(second)) {
                Verdict::Again(next) => next.since(at(second)).as_secs(),
                Verdict::TooOften => panic!("{policy:?} {second}"),
            };
            failures.iter().map(|second| wait(*second)).collect()
        };
        let after = |earlier| RestartPolicy {
            earlier,
            earlier_until: at(600),
            most: Duration::from_secs(60),
            ..policy()
        };
        assert_eq!(waits(&after(0), &[0, 1, 2]), [1, 2, 4]);
        assert_eq!(waits(&after(2), &[0, 1, 2]), [4, 8, 16]);
        assert_eq!(waits(&after(5), &[0, 1, 2]), [32, 60, 60]);
        assert_eq!(waits(&after(u32::MAX), &[0]), [60]);
        assert_eq!(waits(&after(5), &[599, 600, 601]), [32, 2, 4]);
    }

    #[test]
    fn failures_before_the_window_are_forgotten() {
        let mut restarts = Restarts::remembered((0..5).map(at), at(599));
        assert_eq!(restarts.count(&policy(), at(599)), Verdict::TooOften);
        let mut restarts = Restarts::remembered((0..5).map(at), at(604));
        assert_eq!(restarts.count(&policy(), at(604)), Verdict::Again(at(605)));
    }
}
