//! Which keys are due: each at most once at a time, failing ones later and later.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use berth_types::Timestamp;
use berth_types::slack::Slack;
use tokio::time::Instant;

use crate::key::Key;

/// How a failing key waits.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// After the first failure; doubled with each further one.
    pub first: Duration,
    /// The longest.
    pub cap: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { first: Duration::from_millis(20), cap: Duration::from_secs(60) }
    }
}

impl Retry {
    /// The pause after `failures` failures in a row; `jitter` in 0..1 takes up to half of it away.
    pub fn pause(self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let full = self.first.saturating_mul(1 << doublings).min(self.cap);
        full.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// Keys to be planned, in the order they became due. A key that is being worked on is not given out again; woken
/// meanwhile, it follows right after.
#[derive(Debug, Default)]
pub struct Queue {
    retry: Retry,
    ready: VecDeque<Key>,
    keys: HashMap<Key, Entry>,
    pauses: BTreeSet<(Instant, Key)>,
    alarms: BTreeSet<(Timestamp, Key)>,
}

#[derive(Debug, Default)]
struct Entry {
    place: Place,
    failures: u32,
    pause: Option<Instant>,
    alarm: Option<Timestamp>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Idle,
    Ready,
    Busy,
    BusyAndWoken,
}

impl Queue {
    /// An empty queue.
    pub fn new(retry: Retry) -> Self {
        Self { retry, ..Self::default() }
    }

    /// Something about the key changed: it is due now, whatever it was waiting for.
    pub fn wake(&mut self, key: Key) {
        let entry = self.keys.entry(key.clone()).or_default();
        if let Some(pause) = entry.pause.take() {
            self.pauses.remove(&(pause, key.clone()));
        }
        match entry.place {
            Place::Idle => {
                entry.place = Place::Ready;
                self.ready.push_back(key);
            }
            Place::Busy => entry.place = Place::BusyAndWoken,
            Place::Ready | Place::BusyAndWoken => {}
        }
    }

    /// The key that has been due longest; it is busy until [`Self::settled`] or [`Self::failed`].
    pub fn take(&mut self, now: Instant, wall: Timestamp) -> Option<Key> {
        self.wake_due(now, wall);
        let key = self.ready.pop_front()?;
        self.ready.give_back();
        let entry = self.keys.get_mut(&key).expect("a ready key has an entry");
        entry.place = Place::Busy;
        if let Some(alarm) = entry.alarm.take() {
            self.alarms.remove(&(alarm, key.clone()));
        }
        Some(key)
    }

    /// The work on a key came to its end; look again at `alarm`.
    pub fn settled(&mut self, key: &Key, alarm: Option<Timestamp>) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        entry.failures = 0;
        if let Some(alarm) = alarm {
            entry.alarm = Some(alarm);
            self.alarms.insert((alarm, key.clone()));
        }
        match (std::mem::take(&mut entry.place), alarm) {
            (Place::BusyAndWoken | Place::Ready, _) => self.wake(key.clone()),
            (Place::Busy | Place::Idle, Some(_)) => {}
            (Place::Busy | Place::Idle, None) => {
                self.keys.remove(key);
                self.keys.give_back();
            }
        }
    }

    /// The work on a key failed: it comes again after a pause, sooner only when woken after this.
    pub fn failed(&mut self, key: &Key, now: Instant, jitter: f64) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        entry.failures = entry.failures.saturating_add(1);
        entry.place = Place::Idle;
        let until = now + self.retry.pause(entry.failures, jitter);
        entry.pause = Some(until);
        self.pauses.insert((until, key.clone()));
    }

    /// How long until a waiting key is due, if no key becomes due before; none when none waits.
    pub fn next_due(&self, now: Instant, wall: Timestamp) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let pause = self.pauses.first().map(|(until, _)| until.saturating_duration_since(now));
        let alarm = self.alarms.first().map(|(at, _)| at.since(wall));
        pause.into_iter().chain(alarm).min()
    }

    fn wake_due(&mut self, now: Instant, wall: Timestamp) {
        while let Some((_, key)) = self.pauses.first().filter(|(until, _)| *until <= now) {
            self.wake(key.clone());
        }
        while let Some((_, key)) = self.alarms.first().filter(|(at, _)| *at <= wall).cloned() {
            self.alarms.pop_first();
            self.keys.entry(key.clone()).or_default().alarm = None;
            self.wake(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        queue: Queue,
        start: Instant,
    }

    impl World {
        fn new() -> Self {
            let retry = Retry { first: Duration::from_millis(10), cap: Duration::from_secs(60) };
            Self { queue: Queue::new(retry), start: Instant::now() }
        }

        fn wake(&mut self, name: &str) {
            self.queue.wake(Key::new("", name));
        }

        fn take(&mut self, at_millis: u64) -> String {
            let now = self.start + Duration::from_millis(at_millis);
            let wall = Timestamp::from_millis(i64::try_from(at_millis).unwrap());
            self.queue.take(now, wall).map_or("-".into(), |key| key.name)
        }

        fn settled(&mut self, name: &str, alarm: Option<i64>) {
            self.queue.settled(&Key::new("", name), alarm.map(Timestamp::from_millis));
        }

        fn failed(&mut self, name: &str, at_millis: u64) {
            let now = self.start + Duration::from_millis(at_millis);
            self.queue.failed(&Key::new("", name), now, 0.0);
        }
    }

    #[test]
    fn a_key_waits_once_however_often_it_is_woken() {
        let mut world = World::new();
        for name in ["a", "b", "a", "a"] {
            world.wake(name);
        }
        assert_eq!([world.take(0), world.take(0), world.take(0)], ["a", "b", "-"]);
    }

    #[test]
    fn a_busy_key_is_not_given_out_twice_and_follows_when_woken() {
        let mut world = World::new();
        world.wake("a");
        assert_eq!(world.take(0), "a");
        world.wake("a");
        assert_eq!(world.take(0), "-");
        world.settled("a", None);
        assert_eq!([world.take(0), world.take(0)], ["a", "-"]);
    }

    #[test]
    fn a_failing_key_comes_later_and_later_up_to_the_cap_and_a_success_forgets_it() {
        let mut world = World::new();
        let mut now = 0;
        let mut pauses = Vec::new();
        world.wake("a");
        assert_eq!(world.take(now), "a");
        for _ in 0..15 {
            world.failed("a", now);
            let due = world.queue.next_due(
                world.start + Duration::from_millis(now),
                Timestamp::from_millis(i64::try_from(now).unwrap()),
            );
            let pause = u64::try_from(due.unwrap().as_millis()).unwrap();
            assert_eq!(world.take(now + pause - 1), "-");
            now += pause;
            assert_eq!(world.take(now), "a");
            pauses.push(pause);
        }
        assert_eq!(pauses[..4], [10, 20, 40, 80]);
        assert_eq!(pauses[13..], [60_000, 60_000]);
        world.settled("a", None);
        world.wake("a");
        world.take(now);
        world.failed("a", now);
        assert_eq!([world.take(now + 9), world.take(now + 10)], ["-", "a"]);
    }

    #[test]
    fn a_change_ends_the_pause_of_a_failed_key() {
        let mut world = World::new();
        world.wake("a");
        world.take(0);
        world.failed("a", 0);
        world.wake("a");
        assert_eq!([world.take(1), world.take(10_000)], ["a", "-"]);
    }

    #[test]
    fn a_key_comes_again_at_the_time_its_plan_named_last() {
        let mut world = World::new();
        world.wake("a");
        world.take(0);
        world.settled("a", Some(500));
        world.wake("a");
        assert_eq!(world.take(100), "a");
        world.settled("a", Some(800));
        assert_eq!(
            [world.take(500), world.take(799), world.take(800), world.take(800)],
            ["-", "-", "a", "-"]
        );
        world.settled("a", None);
        assert!(world.queue.keys.is_empty() && world.queue.alarms.is_empty());
    }

    #[test]
    fn jitter_takes_at_most_half_of_a_pause_away() {
        let retry = Retry::default();
        assert_eq!(retry.pause(1, 0.0), Duration::from_millis(20));
        assert_eq!(retry.pause(1, 1.0), Duration::from_millis(10));
        assert_eq!(retry.pause(u32::MAX, 0.0), Duration::from_secs(60));
    }
}
