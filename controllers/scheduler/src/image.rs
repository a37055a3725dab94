//! The cluster as the scheduler sees it: nodes with what is charged to them, and Tasks by what they wait for.
//! A placement is charged when it is decided, and confirmed or taken back later.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use berth_types::availability::{DISK_PRESSURE, READY};
use berth_types::demand::ports_held;
use berth_types::node::{Node, Taint};
use berth_types::task::Task;
use berth_types::{Condition, Room};

use crate::fit::{Offer, Standing};
use crate::score::Score;

/// The nodes, each with what is charged to it. A place is kept as long as a node or a charge needs it.
#[derive(Debug, Default)]
pub struct Nodes {
    places: Vec<Place>,
    by_uid: HashMap<Arc<str>, usize>,
    unused: Vec<usize>,
    /// Counts every change that may make a Task fit.
    improvements: u64,
}

/// One node, and what is charged to it.
#[derive(Debug, Default)]
struct Place {
    machine: Option<Machine>,
    charged: Room,
    tasks: usize,
    held_ports: BTreeMap<u16, u32>,
    free_ports: usize,
    /// By how many Tasks that failed for it.
    shunned_ports: BTreeMap<u16, u32>,
    improved: u64,
}

/// A Node as it was seen.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Name of the Node.
    pub name: Arc<str>,
    /// Its uid.
    pub uid: Arc<str>,
    /// The version seen.
    pub version: Arc<str>,
    standing: Standing,
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    allocatable: Room,
    port_range: Option<(u16, u16)>,
}

/// What a Task takes of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// uid of the Node.
    pub node_uid: Arc<str>,
    /// The room.
    pub room: Room,
    /// The host ports.
    pub ports: Vec<u16>,
}

impl Machine {
    /// Reads a Node. What cannot be read of its room does not count as room.
    pub fn read(node: &Node) -> Self {
        let ready = Condition::holds(&node.status.conditions, READY) && !node.metadata.deleting();
        let full = Condition::holds(&node.status.conditions, DISK_PRESSURE);
        let standing = match (ready, node.spec.unschedulable, full) {
            (false, _, _) => Standing::NotReady,
            (true, true, _) => Standing::Cordoned,
            (true, false, true) => Standing::DiskPressure,
            (true, false, false) => Standing::Open,
        };
        Self {
            name: node.metadata.name.as_str().into(),
            uid: node.metadata.uid.as_str().into(),
            version: node.metadata.resource_version.as_str().into(),
            standing,
            labels: node.metadata.labels.clone(),
            taints: node.spec.taints.clone(),
            allocatable: Room::of_list(&node.status.allocatable).unwrap_or_default(),
            port_range: node
                .status
                .port_range
                .as_ref()
                .map(|range| (range.first, range.last))
                .filter(|(first, last)| first <= last),
        }
    }
}

impl Charge {
    /// What a bound Task takes until its end; none of one that is not bound.
    pub fn of(task: &Task) -> Option<Self> {
        if task.spec.node_uid.is_empty() {
            return None;
        }
        let requested = Room::requested(&task.spec).unwrap_or_default();
        let allocated = Room::of_list(&task.status.allocated).unwrap_or_default();
        Some(Self {
            node_uid: task.spec.node_uid.as_str().into(),
            room: requested.max(allocated),
            ports: ports_held(&task.spec),
        })
    }
}

impl Nodes {
    /// Takes a Node in, new or changed.
    pub fn put(&mut self, machine: Machine) {
        let at = self.place_of(&machine.uid.clone());
        self.places[at].machine = Some(machine);
        self.recount_ports(at);
        self.improve(at);
    }

    /// The Node of this uid is gone.
    pub fn remove(&mut self, uid: &str) {
        let Some(at) = self.by_uid.get(uid).copied() else { return };
        self.places[at].machine = None;
        self.improvements += 1;
        self.drop_unused(uid, at);
    }

    /// Charges a Task.
    pub fn charge(&mut self, charge: &Charge) {
        let at = self.place_of(&charge.node_uid);
        let place = &mut self.places[at];
        place.charged = place.charged.plus(charge.room);
        place.tasks += 1;
        for port in &charge.ports {
            let holders = place.held_ports.entry(*port).or_default();
            *holders += 1;
            if *holders == 1 && place.in_range(*port) {
                place.free_ports = place.free_ports.saturating_sub(1);
            }
        }
    }

    /// Takes a charge back.
    pub fn discharge(&mut self, charge: &Charge) {
        let Some(at) = self.by_uid.get(&charge.node_uid).copied() else { return };
        let place = &mut self.places[at];
        place.charged = place.charged.minus(charge.room);
        place.tasks = place.tasks.saturating_sub(1);
        for port in &charge.ports {
            let Some(holders) = place.held_ports.get_mut(port) else { continue };
            *holders -= 1;
            if *holders == 0 {
                place.held_ports.remove(port);
                if place.in_range(*port) {
                    place.free_ports += 1;
                }
            }
        }
        self.improve(at);
        self.drop_unused(&charge.node_uid, at);
    }

    /// A Task has failed because a stranger held one of these ports of a node.
    pub fn shun(&mut self, node_uid: &Arc<str>, ports: &[u16]) {
        let at = self.place_of(node_uid);
        for port in ports {
            *self.places[at].shunned_ports.entry(*port).or_default() += 1;
        }
    }

    /// That Task is gone.
    pub fn unshun(&mut self, node_uid: &Arc<str>, ports: &[u16]) {
        let Some(at) = self.by_uid.get(node_uid).copied() else { return };
        let shunned = &mut self.places[at].shunned_ports;
        for port in ports {
            if let Some(tasks) = shunned.get_mut(port) {
                *tasks -= 1;
            }
        }
        shunned.retain(|_, tasks| *tasks > 0);
        self.drop_unused(node_uid, at);
    }

    /// Every node with its place.
    pub fn all(&self) -> impl Iterator<Item = (usize, &Machine)> {
        self.places.iter().enumerate().filter_map(|(at, place)| Some((at, place.machine.as_ref()?)))
    }

    /// The nodes that changed for the better after `cursor`.
    pub fn improved_since(&self, cursor: u64) -> impl Iterator<Item = usize> {
        let changed = self.places.iter().enumerate().filter(move |(_, place)| place.improved > cursor);
        changed.filter(|(_, place)| place.machine.is_some()).map(|(at, _)| at)
    }

    /// Counts every change that may make a Task fit, or a reason go away.
    pub fn improvements(&self) -> u64 {
        self.improvements
    }

    /// The node at a place.
    pub fn machine(&self, at: usize) -> &Machine {
        self.places[at].machine.as_ref().expect("only places of nodes are given out")
    }

    /// What the node at a place offers.
    pub fn offer(&self, at: usize) -> Offer<'_> {
        let (place, machine) = (&self.places[at], self.machine(at));
        Offer {
            standing: machine.standing,
            labels: &machine.labels,
            taints: &machine.taints,
            free: machine.allocatable.minus(place.charged),
            held_ports: &place.held_ports,
            port_range: machine.port_range,
            free_ports: place.free_ports,
            shunned_ports: &place.shunned_ports,
        }
    }

    /// How good the node at a place is for a Task that takes `room`.
    pub fn score(&self, at: usize, room: Room) -> Score {
        let (place, machine) = (&self.places[at], self.machine(at));
        let free = machine.allocatable.minus(place.charged).minus(room);
        Score::new(machine.allocatable, free, place.tasks, machine.name.clone())
    }

    fn place_of(&mut self, uid: &Arc<str>) -> usize {
        if let Some(at) = self.by_uid.get(uid) {
            return *at;
        }
        let at = self.unused.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() - 1
        });
        self.by_uid.insert(uid.clone(), at);
        at
    }

    fn drop_unused(&mut self, uid: &str, at: usize) {
        let place = &self.places[at];
        if place.machine.is_none() && place.tasks == 0 && place.shunned_ports.is_empty() {
            self.places[at] = Place::default();
            self.by_uid.remove(uid);
            self.unused.push(at);
        }
    }

    fn improve(&mut self, at: usize) {
        self.improvements += 1;
        self.places[at].improved = self.improvements;
    }

    fn recount_ports(&mut self, at: usize) {
        let place = &mut self.places[at];
        let range = place.machine.as_ref().and_then(|machine| machine.port_range);
        place.free_ports = range.map_or(0, |(first, last)| {
            usize::from(last - first) + 1 - place.held_ports.range(first..=last).count()
        });
    }
}

impl Place {
    fn in_range(&self, port: u16) -> bool {
        let range = self.machine.as_ref().and_then(|machine| machine.port_range);
        range.is_some_and(|(first, last)| (first..=last).contains(&port))
    }
}

/// Free ports of the range for a Task, beside its fixed ones: counted on from a port that its uid picks, so that a
/// port just given back is not the next to be given out. Ports that strangers held come last, those that most Tasks met at
/// the very end.
pub fn pick_ports(offer: &Offer, fixed: &BTreeSet<u16>, open: usize, uid: &str) -> Vec<u16> {
    let Some((first, last)) = offer.port_range.filter(|_| open > 0) else { return Vec::new() };
    let size = u32::from(last - first) + 1;
    let start = fnv(uid) % size;
    let port = |step: u32| u16::try_from(u32::from(first) + (start + step) % size).expect("within the range");
    let free = |port: &u16| !offer.held_ports.contains_key(port) && !fixed.contains(port);
    let shunned = |port: &u16| offer.shunned_ports.contains_key(port);
    let mut picked: Vec<u16> =
        (0..size).map(port).filter(|port| free(port) && !shunned(port)).take(open).collect();
    if picked.len() < open {
        let mut last: Vec<u16> = (0..size).map(port).filter(|port| free(port) && shunned(port)).collect();
        last.sort_by_key(|port| offer.shunned_ports[port]);
        picked.extend(last.into_iter().take(open - picked.len()));
    }
    picked
}

/// FNV-1a: the same number for the same text on every machine.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
