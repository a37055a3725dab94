//! L2: a Task without a node says that it fits nowhere, and fits nowhere: by the checker's own sum of what is taken.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::Scene;
use crate::history::Object;
use crate::history::amounts::NAMES;
use crate::history::invariants::placing::kept_away;
use crate::history::invariants::room::{Claim, Load};
use crate::history::key::told;
use crate::history::object::Truth;
use crate::history::spec::TaskSpec;
use crate::history::violation::Breach;

pub fn look(scene: &Scene<'_>, broken: &mut Vec<Breach>) {
    let waiting: Vec<_> =
        scene.tasks().filter(|(_, task, spec)| spec.node_uid.is_empty() && !task.is_deleting()).collect();
    if waiting.is_empty() {
        return;
    }
    let nodes: Vec<Offer<'_>> = offers(scene);
    for (key, task, spec) in waiting {
        let Some((what, others)) = wrong(task, spec, &nodes) else { continue };
        broken.push(
            scene.breach(format!("{} has no node, and {what}", told(key)), others.into_iter().chain([key])),
        );
    }
}

/// What is wrong with a Task that has no node, and the keys of what shows it.
fn wrong<'a>(task: &Object, spec: &TaskSpec, nodes: &'a [Offer<'_>]) -> Option<(String, Vec<&'a str>)> {
    if let Some(node) = nodes.iter().find(|node| node.takes(spec)) {
        let keys = node.load.tasks.iter().map(String::as_str).chain([node.key]);
        return Some((format!("fits on {}", told(node.key)), keys.collect()));
    }
    (!task.status.unplaced).then(|| ("does not say why".into(), Vec::new()))
}

/// A Node and what its Tasks take of it.
struct Offer<'a> {
    key: &'a str,
    node: &'a Object,
    load: Load,
    /// Ports that may be given to Tasks that name none.
    range: RangeInclusive<u16>,
}

fn offers<'a>(scene: &Scene<'a>) -> Vec<Offer<'a>> {
    let mut loads: HashMap<&str, Load> = HashMap::new();
    for (key, task, _) in scene.tasks() {
        if let Some(claim) = Claim::of(Some(task)) {
            loads.entry(claim.uid).or_default().add(key, &claim);
        }
    }
    let open = scene
        .of_kind("berth.dev/nodes")
        .filter(|(_, node)| node.status.ready == Truth::True && !node.is_deleting());
    let offer = |(key, node): (&'a str, &'a Object)| {
        let load = loads.remove(&*node.meta.uid).unwrap_or_default();
        Offer { key, node, load, range: range(node) }
    };
    open.map(offer).collect()
}

impl Offer<'_> {
    fn takes(&self, task: &TaskSpec) -> bool {
        kept_away(self.node, task).is_none() && self.has_room(task) && self.has_ports(task)
    }

    fn has_room(&self, task: &TaskSpec) -> bool {
        let free = self.node.status.allocatable.minus(self.load.sum);
        (0..NAMES.len()).all(|at| task.requests.0[at] <= 0 || task.requests.0[at] <= free.0[at])
    }

    fn has_ports(&self, task: &TaskSpec) -> bool {
        let taken = |port: &u16| self.load.ports.contains_key(port) || task.ports.contains(port);
        let left = self.range.clone().filter(|port| !taken(port)).count();
        !task.ports.iter().any(|port| self.load.ports.contains_key(port)) && left >= task.open_ports
    }
}

/// The ports that a Node gives; none when it names none.
fn range(node: &Object) -> RangeInclusive<u16> {
    let status = node.part("status").and_then(|text| serde_json::from_str(text).ok());
    let status: Value = status.unwrap_or_default();
    let end = |name: &str| status["portRange"][name].as_u64().and_then(|port| u16::try_from(port).ok());
    end("first").unwrap_or(1)..=end("last").unwrap_or(0)
}
