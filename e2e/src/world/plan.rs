//! What a world is made of, said before it starts.

use std::collections::{BTreeMap, BTreeSet};

use super::part::Given;
use super::{Part, StoreForm, World};
use crate::etcd::Setup;
use crate::pace::Pace;

/// A world that is not there yet.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) form: StoreForm,
    pub(super) parts: BTreeSet<Part>,
    pub(super) simulated: usize,
    pub(super) etcd: Setup,
    pub(super) relayed: BTreeSet<Part>,
    pub(super) disks: Vec<(String, u32)>,
    given: BTreeMap<Part, Given>,
}

impl Plan {
    /// An apiserver, controllers and the agent of the node `one`, on this store.
    pub fn new(form: StoreForm) -> Self {
        Self {
            form,
            parts: Part::ALL.into(),
            simulated: 0,
            etcd: Setup::default(),
            relayed: BTreeSet::new(),
            disks: Vec::new(),
            given: BTreeMap::new(),
        }
    }

    /// One more part.
    pub fn with(mut self, part: Part) -> Self {
        self.parts.insert(part);
        self
    }

    /// One part less.
    pub fn without(mut self, part: Part) -> Self {
        self.parts.remove(&part);
        self
    }

    /// Nodes without containers, in one process: `Part::Simulated`.
    pub fn simulate(mut self, nodes: usize) -> Self {
        self.simulated = nodes;
        self.with(Part::Simulated)
    }

    /// How the etcd is set up, in a world on etcd.
    pub fn etcd(mut self, setup: Setup) -> Self {
        self.etcd = setup;
        self
    }

    /// A folder below the world's is a disk of its own, of this many MiB.
    pub fn disk(mut self, folder: &str, mebibytes: u32) -> Self {
        self.disks.push((folder.into(), mebibytes));
        self
    }

    /// Further arguments of a part.
    pub fn args(mut self, part: Part, args: &[&str]) -> Self {
        self.entry(part).args.extend(args.iter().map(ToString::to_string));
        self
    }

    /// A variable of a part's environment.
    pub fn env(mut self, part: Part, name: &str, value: &str) -> Self {
        self.entry(part).env.insert(name.into(), value.into());
        self
    }

    /// The configuration file of a part: YAML, added to what was said before.
    pub fn config(mut self, part: Part, yaml: &str) -> Self {
        let config = self.entry(part).config.get_or_insert_default();
        config.push_str(yaml);
        config.push('\n');
        self
    }

    /// A part finds the API at these addresses only, such as that of a relay.
    pub fn servers(mut self, part: Part, addresses: &str) -> Self {
        self.entry(part).servers = Some(addresses.into());
        self
    }

    /// An apiserver knows only these members of the etcd.
    pub fn members(mut self, part: Part, members: &[usize]) -> Self {
        self.entry(part).members = members.to_vec();
        self
    }

    /// Between a part and the first apiserver lies a link that can be cut: [`World::link`].
    pub fn relayed(mut self, part: Part) -> Self {
        self.relayed.insert(part);
        self
    }

    /// Every part lives at this pace.
    pub fn pace(mut self, pace: Pace) -> Self {
        let servers = [Part::Apiserver, Part::SecondApiserver].map(|part| (part, pace.apiserver()));
        let controllers = [Part::Controllers, Part::SecondControllers].map(|part| (part, pace.controllers()));
        let agents = [Part::Agent, Part::SecondAgent, Part::Simulated].map(|part| (part, pace.agent()));
        for (part, yaml) in servers.into_iter().chain(controllers).chain(agents) {
            self = self.config(part, &yaml);
        }
        self
    }

    /// A part is started by another program, such as `nsenter --net=FILE`.
    pub fn launcher(mut self, part: Part, words: &[&str]) -> Self {
        self.entry(part).launcher = words.iter().map(ToString::to_string).collect();
        self
    }

    /// Starts the store and every part, and waits until all nodes are ready.
    pub fn start(self) -> World {
        let parts = self.parts.clone();
        let mut world = World::folders(self);
        parts.into_iter().for_each(|part| world.begin(part));
        world.wait_for_nodes();
        world.claim();
        world
    }

    /// Starts the store only.
    pub fn start_nothing(self) -> World {
        World::folders(self)
    }

    fn entry(&mut self, part: Part) -> &mut Given {
        self.given.entry(part).or_default()
    }

    pub(super) fn given(&self, part: Part) -> Given {
        self.given.get(&part).cloned().unwrap_or_default()
    }

    /// The controllers that act without a Lease (`--force-active`), by the names of their Leases.
    pub(super) fn forced(&self) -> Vec<String> {
        let controllers = [Part::Controllers, Part::SecondControllers].map(|part| self.given(part).args);
        controllers.iter().flat_map(|args| forced(args)).collect()
    }

    /// How many nodes the cluster has when every part of the plan runs.
    pub(super) fn nodes(&self) -> usize {
        let agents = [Part::Agent, Part::SecondAgent].iter().filter(|part| self.parts.contains(part)).count();
        agents + if self.parts.contains(&Part::Simulated) { self.simulated } else { 0 }
    }
}

/// The words of `--only`, and the names of the Leases.
const CONTROLLERS: [(&str, &str); 4] = [
    ("app", "app-controller"),
    ("node", "node-controller"),
    ("garbage", "garbage-collector"),
    ("scheduler", "scheduler"),
];

fn forced(args: &[String]) -> Vec<String> {
    if !args.iter().any(|arg| arg == "--force-active") {
        return Vec::new();
    }
    let only = args.iter().position(|arg| arg == "--only").and_then(|at| args.get(at + 1));
    let runs = |word: &str| only.is_none_or(|only| only.split(',').any(|one| one == word));
    CONTROLLERS.iter().filter(|(word, _)| runs(word)).map(|(_, lease)| lease.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_forced_to_act_is_told_by_the_arguments() {
        let all = ["app-controller", "node-controller", "garbage-collector", "scheduler"];
        for (args, expected) in [
            (&["--only", "scheduler"][..], &[][..]),
            (&["--force-active"], &all),
            (&["--only", "scheduler", "--force-active"], &["scheduler"]),
            (&["--force-active", "--only", "app,node"], &["app-controller", "node-controller"]),
        ] {
            let plan = World::plan(StoreForm::Embedded).args(Part::SecondControllers, args);
            assert_eq!(plan.forced(), expected, "{args:?}");
        }
    }
}
