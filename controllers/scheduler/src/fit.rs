//! May a Task run on a node, and if not, what is in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use berth_types::Room;
use berth_types::demand::{PortAsk, ports_asked};
use berth_types::misfit::{PORT_TAKEN, Shortage};
use berth_types::node::Taint;
use berth_types::quantity::{BadQuantity, Bytes, Millicores, Quantity};
use berth_types::task::{Task, Toleration};

/// What a Task asks of a node. Tasks that ask the same are placed by the same rule: they are one class.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ask {
    /// Room that is set aside.
    pub room: Room,
    /// Labels that the node must have.
    pub selector: BTreeMap<String, String>,
    /// Taints that do not keep it away.
    pub tolerances: Vec<Tolerance>,
    /// Host ports that must be free.
    pub fixed_ports: BTreeSet<u16>,
    /// How many ports of the node's range it needs beside.
    pub open_ports: usize,
}

/// A taint, or many, that a Task puts up with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tolerance {
    /// Key of the taint; none means every key.
    key: Option<String>,
    /// Value of the taint; none means every value.
    value: Option<String>,
    /// Effect of the taint; none means every effect.
    effect: Option<String>,
}

/// What of a node matters for a Task.
#[derive(Debug, Clone)]
pub struct Offer<'a> {
    /// Whether the node takes new Tasks at all.
    pub standing: Standing,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Its taints.
    pub taints: &'a [Taint],
    /// Room that is left.
    pub free: Room,
    /// Host ports that are held.
    pub held_ports: &'a BTreeMap<u16, u32>,
    /// The ports that may be assigned, both ends included.
    pub port_range: Option<(u16, u16)>,
    /// How many of them are free.
    pub free_ports: usize,
    /// Ports that strangers held, as Tasks that failed for it say: they are assigned last.
    pub shunned_ports: &'a BTreeMap<u16, u32>,
}

/// Whether a node takes new Tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Open,
    /// It is not Ready, or it goes.
    NotReady,
    /// The operator says no.
    Cordoned,
    /// Its disk is too full.
    DiskPressure,
}

/// What is in the way; the first that is found, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misfit {
    /// The node is not Ready.
    NotReady,
    /// The operator keeps new Tasks away.
    Cordoned,
    /// Its disk is too full for new Tasks.
    DiskPressure,
    /// It has a taint that the Task does not tolerate.
    Tainted,
    /// It lacks a label.
    Unselected,
    /// A fixed host port is taken.
    PortTaken,
    /// Its range has too few free ports.
    TooFewPorts,
    /// It is short of this many thousandths of a core.
    ShortOfCpu(i64),
    /// It is short of this many bytes of memory.
    ShortOfMemory(i64),
    /// It is short of this many bytes of disk.
    ShortOfDisk(i64),
}

impl Ask {
    /// What a Task asks; fails on amounts that the server would not have let in.
    pub fn of(task: &Task) -> Result<Self, BadQuantity> {
        let ports = ports_asked(&task.spec);
        let fixed = ports.iter().filter_map(|ask| match ask {
            PortAsk::Fixed(port) => Some(*port),
            PortAsk::Any(_) => None,
        });
        let fixed_ports: BTreeSet<u16> = fixed.collect();
        let open_ports = ports.iter().filter(|ask| matches!(ask, PortAsk::Any(_))).count();
        Ok(Self {
            room: Room::requested(&task.spec)?,
            selector: task.spec.node_selector.clone(),
            tolerances: task.spec.tolerations.iter().map(Tolerance::of).collect(),
            fixed_ports,
            open_ports,
        })
    }

    /// What keeps such a Task from this node; none when it may run there.
    pub fn misfit(&self, offer: &Offer) -> Option<Misfit> {
        match offer.standing {
            Standing::Open => {}
            Standing::NotReady => return Some(Misfit::NotReady),
            Standing::Cordoned => return Some(Misfit::Cordoned),
            Standing::DiskPressure => return Some(Misfit::DiskPressure),
        }
        if offer.taints.iter().any(|taint| !self.tolerances.iter().any(|one| one.covers(taint))) {
            return Some(Misfit::Tainted);
        }
        if self.selector.iter().any(|(key, value)| offer.labels.get(key) != Some(value)) {
            return Some(Misfit::Unselected);
        }
        self.port_misfit(offer).or_else(|| self.room_misfit(offer))
    }

    fn port_misfit(&self, offer: &Offer) -> Option<Misfit> {
        if self.fixed_ports.iter().any(|port| offer.held_ports.contains_key(port)) {
            return Some(Misfit::PortTaken);
        }
        let own = offer.port_range.map_or(0, |(first, last)| self.fixed_ports.range(first..=last).count());
        (offer.free_ports < self.open_ports + own && self.open_ports > 0).then_some(Misfit::TooFewPorts)
    }

    fn room_misfit(&self, offer: &Offer) -> Option<Misfit> {
        let short = |asked: i64, free: i64| Some(asked - free).filter(|short| asked > 0 && *short > 0);
        let (asked, free) = (self.room, offer.free);
        short(asked.cpu.0, free.cpu.0)
            .map(Misfit::ShortOfCpu)
            .or_else(|| short(asked.memory.0, free.memory.0).map(Misfit::ShortOfMemory))
            .or_else(|| short(asked.disk.0, free.disk.0).map(Misfit::ShortOfDisk))
    }
}

impl Tolerance {
    fn of(toleration: &Toleration) -> Self {
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let any_value = toleration.operator == "Exists";
        Self {
            key: given(&toleration.key),
            value: (!any_value).then(|| toleration.value.clone()),
            effect: given(&toleration.effect),
        }
    }

    fn covers(&self, taint: &Taint) -> bool {
        self.key.as_ref().is_none_or(|key| *key == taint.key)
            && self.value.as_ref().is_none_or(|value| *value == taint.value)
            && self.effect.as_ref().is_none_or(|effect| *effect == taint.effect)
    }
}

/// Why none of the nodes fits: how many for each reason, and the node that is nearest to fitting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    nodes: usize,
    reasons: BTreeMap<&'static str, Reason>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Reason {
    nodes: usize,
    nearest: Option<(i64, String, Misfit)>,
}

impl Survey {
    /// Counts a node that does not fit.
    pub fn count(&mut self, node: &str, misfit: Misfit) {
        self.nodes += 1;
        let reason = self.reasons.entry(misfit.words()).or_insert(Reason { nodes: 0, nearest: None });
        reason.nodes += 1;
        let Some(short) = misfit.shortage() else { return };
        let nearer = |(least, name, _): &(i64, String, Misfit)| (short, node) < (*least, name.as_str());
        if reason.nearest.as_ref().is_none_or(nearer) {
            reason.nearest = Some((short, node.into(), misfit));
        }
    }
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("there is no node");
        }
        write!(f, "0 of {} nodes fit: ", self.nodes)?;
        let mut reasons: Vec<(&&str, &Reason)> = self.reasons.iter().collect();
        reasons.sort_by_key(|(words, reason)| (std::cmp::Reverse(reason.nodes), **words));
        for (place, (words, reason)) in reasons.into_iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            match reason.nearest.as_ref().and_then(|(_, node, misfit)| misfit.shortage_on(node)) {
                Some(shortage) => write!(f, "{} {shortage}", reason.nodes)?,
                None => write!(f, "{} {words}", reason.nodes)?,
            }
        }
        Ok(())
    }
}

impl Misfit {
    fn words(self) -> &'static str {
        match self {
            Self::NotReady => "not ready",
            Self::Cordoned => "cordoned",
            Self::DiskPressure => "under disk pressure",
            Self::Tainted => "tainted",
            Self::Unselected => "without the labels of nodeSelector",
            Self::PortTaken => PORT_TAKEN,
            Self::TooFewPorts => "without enough free ports",
            Self::ShortOfCpu(_) => "not enough cpu",
            Self::ShortOfMemory(_) => "not enough memory",
            Self::ShortOfDisk(_) => "not enough disk",
        }
    }

    fn shortage(self) -> Option<i64> {
        match self {
            Self::ShortOfCpu(short) | Self::ShortOfMemory(short) | Self::ShortOfDisk(short) => Some(short),
            Self::NotReady
            | Self::Cordoned
            | Self::DiskPressure
            | Self::Tainted
            | Self::Unselected
            | Self::PortTaken
            | Self::TooFewPorts => None,
        }
    }

    /// What a node of this name is short of, if it is short of a resource.
    fn shortage_on(self, node: &str) -> Option<Shortage> {
        let (resource, amount) = match self {
            Self::ShortOfCpu(short) => ("cpu", Quantity::of_millicores(Millicores(short))),
            Self::ShortOfMemory(short) => ("memory", Quantity::of_bytes(Bytes(short))),
            Self::ShortOfDisk(short) => ("disk", Quantity::of_bytes(Bytes(short))),
            Self::NotReady
            | Self::Cordoned
            | Self::DiskPressure
            | Self::Tainted
            | Self::Unselected
            | Self::PortTaken
            | Self::TooFewPorts => return None,
        };
        Some(Shortage { resource: resource.into(), node: node.into(), amount })
    }
}

#[cfg(test)]
mod alone;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::pick_ports;
    use serde_json::json;

    fn ask(spec: serde_json::Value) -> Ask {
        Ask::of(&serde_json::from_value(json!({ "spec": spec })).unwrap()).unwrap()
    }

    struct World {
        labels: BTreeMap<String, String>,
        taints: Vec<Taint>,
        held: BTreeMap<u16, u32>,
        shunned: BTreeMap<u16, u32>,
    }

    impl World {
        fn offer(&self) -> Offer<'_> {
            Offer {
                standing: Standing::Open,
                labels: &self.labels,
                taints: &self.taints,
                free: Room { cpu: Millicores(1000), memory: Bytes(1024), disk: Bytes(0) },
                held_ports: &self.held,
                port_range: Some((31000, 31003)),
                free_ports: 3,
                shunned_ports: &self.shunned,
            }
        }
    }

    fn world() -> World {
        let taint = Taint { key: "gpu".into(), value: "a100".into(), effect: "NoSchedule".into() };
        World {
            labels: BTreeMap::from([("zone".into(), "a".into())]),
            taints: vec![taint],
            held: BTreeMap::from([(80, 1), (31000, 1)]),
            shunned: BTreeMap::from([(81, 1)]),
        }
    }

    fn tolerant(mut spec: serde_json::Value) -> serde_json::Value {
        spec["tolerations"] = json!([{ "operator": "Exists" }]);
        spec
    }

    fn with_ports(ports: serde_json::Value) -> serde_json::Value {
        tolerant(json!({ "containers": [{ "ports": ports }] }))
    }

    #[test]
    fn ports_that_strangers_held_are_picked_last_and_by_how_many_tasks_met_them() {
        for uid in ["a", "b", "c", "d"] {
            let pick = |shunned: &[(u16, u32)], open| {
                let world = World { shunned: shunned.iter().copied().collect(), ..world() };
                pick_ports(&world.offer(), &BTreeSet::new(), open, uid)
            };
            assert_eq!(pick(&[(31001, 2), (31002, 1), (31003, 3)], 4), [31002, 31001, 31003], "{uid}");
            assert_eq!(pick(&[(31001, 1), (31003, 1)], 1), [31002], "{uid}");
            assert_eq!(pick(&[(31003, 1)], 3)[2], 31003, "{uid}");
        }
    }

    #[test]
    fn a_task_fits_where_nothing_is_in_the_way() {
        let request = |request: serde_json::Value| {
            tolerant(json!({ "containers": [{ "resources": { "requests": request } }] }))
        };
        for (spec, expected) in [
            (tolerant(json!({})), None),
            (json!({}), Some(Misfit::Tainted)),
            (tolerant(json!({ "nodeSelector": { "zone": "a" } })), None),
            (tolerant(json!({ "nodeSelector": { "zone": "b" } })), Some(Misfit::Unselected)),
            (request(json!({ "cpu": 1 })), None),
            (request(json!({ "cpu": "1100m" })), Some(Misfit::ShortOfCpu(100))),
            (request(json!({ "memory": "2Ki" })), Some(Misfit::ShortOfMemory(1024))),
            (request(json!({ "disk": 1 })), Some(Misfit::ShortOfDisk(1))),
            (with_ports(json!([{ "name": "a", "hostPort": 80 }])), Some(Misfit::PortTaken)),
            (with_ports(json!([{ "name": "a", "hostPort": 81 }])), None),
            (with_ports(json!([{ "name": "a" }, { "name": "b" }, { "name": "c" }])), None),
            (
                with_ports(json!([{ "name": "a" }, { "name": "b" }, { "name": "c" }, { "name": "d" }])),
                Some(Misfit::TooFewPorts),
            ),
            (
                with_ports(json!([
                    { "name": "a" }, { "name": "b" }, { "name": "c" }, { "name": "d", "hostPort": 31001 }
                ])),
                Some(Misfit::TooFewPorts),
            ),
        ] {
            assert_eq!(ask(spec.clone()).misfit(&world().offer()), expected, "{spec}");
        }
        let world = world();
        for (standing, misfit) in [
            (Standing::NotReady, Misfit::NotReady),
            (Standing::Cordoned, Misfit::Cordoned),
            (Standing::DiskPressure, Misfit::DiskPressure),
        ] {
            let closed = Offer { standing, ..world.offer() };
            assert_eq!(ask(tolerant(json!({}))).misfit(&closed), Some(misfit));
        }
    }

    #[test]
    fn a_toleration_covers_what_it_names() {
        for (toleration, covers) in [
            (json!({ "operator": "Exists" }), true),
            (json!({ "key": "gpu", "operator": "Exists" }), true),
            (json!({ "key": "gpu", "value": "a100" }), true),
            (json!({ "key": "gpu", "value": "a100", "effect": "NoSchedule" }), true),
            (json!({ "key": "gpu", "value": "h100" }), false),
            (json!({ "key": "gpu" }), false),
            (json!({ "key": "disk", "operator": "Exists" }), false),
            (json!({ "key": "gpu", "operator": "Exists", "effect": "Other" }), false),
        ] {
            let ask = ask(json!({ "tolerations": [toleration] }));
            assert_eq!(ask.misfit(&world().offer()).is_none(), covers, "{toleration}");
        }
    }

    #[test]
    fn a_survey_counts_reasons_and_names_the_nearest_node() {
        let mut survey = Survey::default();
        assert_eq!(survey.to_string(), "there is no node");
        survey.count("n3", Misfit::Cordoned);
        survey.count("n2", Misfit::ShortOfMemory(128 << 20));
        survey.count("n1", Misfit::ShortOfMemory(64 << 20));
        assert_eq!(
            survey.to_string(),
            "0 of 3 nodes fit: 2 not enough memory (nearest n1 is short of 64Mi), 1 cordoned"
        );
        survey.count("n4", Misfit::ShortOfCpu(200));
        survey.count("n5", Misfit::ShortOfDisk(1 << 30));
        let read: Vec<String> = Shortage::all_in(&survey.to_string())
            .into_iter()
            .map(|short| {
                format!("{} of {} on {}", serde_json::json!(short.amount), short.resource, short.node)
            })
            .collect();
        assert_eq!(read, [r#""64Mi" of memory on n1"#, r#""200m" of cpu on n4"#, r#""1Gi" of disk on n5"#]);
    }
}
