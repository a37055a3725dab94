//! The Tasks of an App over time, and the specs that its controller may act on.

use std::collections::BTreeMap;

use super::object::Object;
use super::spec::AppSpec;
use super::task;

/// Two clocks may be apart so far when `minReadySeconds` is judged: nanoseconds.
const SLACK: u64 = 1_500_000_000;
/// An App of more Tasks decides on a list that was current, not on named versions.
const NAMED: usize = 90;
/// How old such a list may be: nanoseconds.
const LIST_AGE: u64 = 2_000_000_000;

/// The Tasks of one App.
#[derive(Debug, Default)]
pub struct Fleet {
    members: BTreeMap<String, Member>,
    counted: i64,
}

/// One Task of an App.
#[derive(Debug)]
pub struct Member {
    /// Name of the Revision that it was made from.
    pub revision: Box<str>,
    /// Whether it counts as one of the App's Tasks: not at its end, not given up.
    pub counts: bool,
    /// Since when it may get requests, without a break.
    serving_since: Option<u64>,
    /// When it ceased to.
    lost_at: Option<u64>,
}

impl Member {
    /// Reads a Task that was seen at this time.
    pub fn read(task: &Object, at: u64) -> Self {
        Self {
            revision: task::spec(task).map(|spec| spec.revision.clone()).unwrap_or_default(),
            counts: !task::is_over(task) && !task::is_given_up(task),
            serving_since: task::serves(task).then_some(at),
            lost_at: None,
        }
    }

    /// Whether nobody could say that it is not available.
    pub fn is_available(&self, at: u64, spec: AppSpec) -> bool {
        let enough = |since| spec.min_ready == 0 || at >= since + nanos(spec.min_ready) + SLACK;
        self.serving_since.is_some_and(enough)
    }

    /// Whether somebody could say that it is available.
    fn may_be_available(&self, at: u64, spec: AppSpec) -> bool {
        self.serving_since.is_some_and(|since| at + SLACK >= since + nanos(spec.min_ready))
    }
}

fn nanos(seconds: u64) -> u64 {
    seconds.saturating_mul(1_000_000_000)
}

impl Fleet {
    /// A Task is seen as this; none is gone.
    pub fn set(&mut self, key: &str, now: Option<Member>, at: u64) {
        let Some(mut now) = now else {
            let was = self.members.remove(key);
            self.counted -= i64::from(was.is_some_and(|was| was.counts));
            return;
        };
        self.counted += i64::from(now.counts);
        let Some(was) = self.members.get_mut(key) else {
            self.members.insert(key.into(), now);
            return;
        };
        self.counted -= i64::from(was.counts);
        match (was.serving_since, now.serving_since) {
            (Some(since), Some(_)) => now.serving_since = Some(since),
            (Some(_), None) => now.lost_at = Some(at),
            (None, None) => now.lost_at = was.lost_at,
            (None, Some(_)) => {}
        }
        *was = now;
    }

    /// How many count as the App's Tasks.
    pub fn counted(&self) -> i64 {
        self.counted
    }

    /// One of them.
    pub fn get(&self, key: &str) -> Option<&Member> {
        self.members.get(key)
    }

    /// All of them, with their keys.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Member)> {
        self.members.iter().map(|(key, member)| (key.as_str(), member))
    }

    /// How many may be available beside those that are `told` to stop.
    pub fn left(&self, told: &[&str], at: u64, spec: AppSpec) -> i64 {
        let many = self.members.len() > NAMED;
        let just_lost = |member: &Member| many && member.lost_at.is_some_and(|lost| at <= lost + LIST_AGE);
        let left = self.members().filter(|(key, member)| {
            !told.contains(key) && (member.may_be_available(at, spec) || just_lost(member))
        });
        i64::try_from(left.count()).unwrap_or(i64::MAX)
    }

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// The specs of an App, from the one that its status speaks of: its controller may not have seen the newer ones.
#[derive(Debug, Default)]
pub struct Open {
    uid: Box<str>,
    specs: Vec<(i64, AppSpec)>,
}

impl Open {
    /// The App looks like this now.
    pub fn learn(&mut self, app: &Object, spec: AppSpec) {
        if self.uid != app.meta.uid {
            *self = Self { uid: app.meta.uid.clone(), specs: Vec::new() };
        }
        let newest = self.specs.last().map(|(generation, _)| *generation);
        if newest != Some(app.meta.generation) {
            self.specs.push((app.meta.generation, spec));
        }
        let keep = app.status.observed.min(app.meta.generation);
        self.specs.retain(|(generation, _)| *generation >= keep);
    }

    /// The specs, oldest first.
    pub fn specs(&self) -> impl Iterator<Item = AppSpec> {
        self.specs.iter().map(|(_, spec)| *spec)
    }
}
