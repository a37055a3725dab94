//! L: a cluster of which nothing is asked any more, and that nothing is in the way of, becomes what was asked for: every
//! App has its Tasks, every Task that fits somewhere is placed, what was told to go is gone, what runs is told to.
//!
//! Judged is the store at the revisions at which somebody who watched the run says that this was so.

mod apps;
mod gone;
mod places;
mod running;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Invariant;
use crate::history::Object;
use crate::history::evidence::{Run, Settled, Sighting};
use crate::history::key::Key;
use crate::history::object::Truth;
use crate::history::spec::TaskSpec;
use crate::history::state::{Revision, State};
use crate::history::task;
use crate::history::violation::Breach;

/// What looks for the breaches of one promise.
type Look = fn(&Scene<'_>, &mut Vec<Breach>);

/// The promises by name, as `L1 apps`.
const PROMISES: [(&str, Look); 4] = [
    ("L1 apps", apps::look),
    ("L2 places", places::look),
    ("L3 gone", gone::look),
    ("I12 status", running::look),
];

/// One promise about a run at rest.
pub struct AtRest {
    name: &'static str,
    look: Look,
    /// The moments that are ahead.
    ahead: VecDeque<Settled>,
    processes: Arc<Vec<Sighting>>,
}

impl AtRest {
    /// All of them, for this run.
    pub fn of(run: &Run) -> impl Iterator<Item = Self> + use<> {
        let ahead: VecDeque<Settled> = run.settled.iter().cloned().collect();
        let processes = Arc::new(if ahead.is_empty() { Vec::new() } else { run.processes.clone() });
        let promise =
            move |(name, look)| Self { name, look, ahead: ahead.clone(), processes: processes.clone() };
        PROMISES.into_iter().map(promise)
    }

    /// Judges the moments before a revision, at which the store held this.
    fn judge(&mut self, before: i64, held: &State, broken: &mut Vec<Breach>) {
        while let Some(moment) = self.ahead.front().filter(|moment| moment.rev < before) {
            (self.look)(&Scene::of(held, moment, &self.processes), broken);
            self.ahead.pop_front();
        }
    }
}

impl Invariant for AtRest {
    fn name(&self) -> &'static str {
        self.name
    }

    fn on_revision(&mut self, seen: &Revision<'_>, broken: &mut Vec<Breach>) {
        self.judge(seen.rev, seen.before, broken);
    }

    fn finish(&mut self, last: &State, broken: &mut Vec<Breach>) {
        self.judge(i64::MAX, last, broken);
    }
}

/// Why a store that holds this is not settled; nothing when it is.
pub fn unsettled(last: &State, end: &Settled, processes: &[Sighting]) -> Vec<Breach> {
    let scene = Scene::of(last, end, processes);
    let mut broken = Vec::new();
    PROMISES.iter().for_each(|(_, look)| look(&scene, &mut broken));
    broken
}

/// The store as it is then, and what ran.
struct Scene<'a> {
    end: &'a Settled,
    processes: &'a [Sighting],
    /// By key.
    objects: BTreeMap<&'a str, &'a Object>,
    /// By the uid of the owner whose controller manages them.
    owned: BTreeMap<&'a str, Vec<(&'a str, &'a Object)>>,
}

impl<'a> Scene<'a> {
    fn of(last: &'a State, end: &'a Settled, processes: &'a [Sighting]) -> Self {
        let objects: BTreeMap<&str, &Object> = last.objects().collect();
        let mut owned: BTreeMap<&str, Vec<(&str, &Object)>> = BTreeMap::new();
        for (key, object) in &objects {
            if let Some(owner) = object.meta.owner() {
                owned.entry(&owner.uid).or_default().push((key, object));
            }
        }
        Self { end, processes, objects, owned }
    }

    /// The objects of a kind, as `berth.dev/apps`, by key.
    fn of_kind(&self, wanted: &str) -> impl Iterator<Item = (&'a str, &'a Object)> {
        let objects = self.objects.iter().map(|(key, object)| (*key, *object));
        objects.filter(move |(key, _)| matches!(Key::read(key), Key::Object { kind, .. } if kind == wanted))
    }

    /// The Tasks that are not at their end.
    fn tasks(&self) -> impl Iterator<Item = (&'a str, &'a Object, &'a TaskSpec)> {
        let living = self.of_kind(task::KIND).filter(|(_, task)| !task::is_over(task));
        living.filter_map(|(key, task)| Some((key, task, task::spec(task)?)))
    }

    /// Whether nobody can be asked about what is bound so: its Node is there, and not heard.
    fn is_out_of_reach(&self, bound: &TaskSpec) -> bool {
        let node = crate::history::key::node(&bound.node);
        self.objects.get(node.as_str()).is_some_and(|node| node.status.ready != Truth::True)
    }

    fn breach(&self, what: String, keys: impl IntoIterator<Item = impl Into<String>>) -> Breach {
        Breach { at: self.end.at, ..Breach::new(self.end.rev, what, keys) }
    }
}
