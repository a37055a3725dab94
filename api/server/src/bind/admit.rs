//! What of some placements a node has room for: decided on one state of the cache, in the order given.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use berth_failpoint::seeded_bug;
use berth_store::{Condition, Group, Rev, Write};
use berth_types::node::Node;
use berth_types::task::Task;
use berth_types::{NODE_FINALIZER, Reason, Timestamp};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Item, Own, Placement};
use crate::cache::{Entry, State};
use crate::keys;
use crate::refuse::{Answer, about, bad_field, conflict, not_found};
use crate::room::{Amounts, Charge, claims, fixed_ports, is_final, open_ports};
use crate::table::Table;
use crate::tree;
use crate::write::Fence;

/// What is decided on.
pub struct Sight<'a> {
    /// The cache at one revision.
    pub state: &'a State,
    /// The kinds.
    pub table: &'a Table,
    /// The node's name.
    pub node: &'a str,
    /// Own binds to it.
    pub own: &'a [Own],
    /// Who leads.
    pub fence: Option<&'a Fence>,
    /// The present time.
    pub now: Timestamp,
}

/// What is decided.
pub struct Decision {
    /// What fits, as one group.
    pub admitted: Vec<Admitted>,
    /// What is already so, or cannot be.
    pub settled: Vec<(Item, Answer<Bytes>)>,
    /// Conditions and writes of what fits; the ledger is the first write.
    pub group: Group,
}

/// One placement that fits.
pub struct Admitted {
    /// The placement.
    pub item: Item,
    /// What it takes.
    pub charge: Charge,
    /// The bound Task, without a version.
    pub json: Bytes,
}

/// What a node has left.
struct Room {
    entry: Arc<Entry>,
    free: Amounts,
    taken: HashSet<u16>,
    range: Option<(u64, u64)>,
}

/// A Task that may be bound, or what it is already.
enum Candidate {
    Bound(Bytes),
    Free(Arc<Entry>, Value),
}

impl Sight<'_> {
    /// Decides on every item, in order.
    pub fn decide(&self, items: Vec<Item>) -> Decision {
        let mut room = self.room();
        let mut decision = Decision { admitted: Vec::new(), settled: Vec::new(), group: Group::default() };
        let mut conditions = Vec::new();
        let mut names = BTreeSet::new();
        for item in items {
            if !names.insert((item.place.namespace.clone(), item.place.task.clone())) {
                let refusal = conflict("Task", &item.place.task, "is named twice by one call");
                decision.settled.push((item, Err(refusal)));
                continue;
            }
            match self.admit(&item.place, room.as_mut()) {
                Ok(Ok((condition, charge, json))) => {
                    conditions.push(condition);
                    decision.admitted.push(Admitted { item, charge, json });
                }
                Ok(Err(bound)) => decision.settled.push((item, Ok(bound))),
                Err(refusal) => decision.settled.push((item, Err(refusal))),
            }
        }
        if let Some(room) = room.filter(|_| !decision.admitted.is_empty()) {
            decision.group = self.group(&room, conditions, &decision.admitted);
        }
        decision
    }

    /// What the node has left: its own word, less what the cache shows, less own binds that the cache does not show yet.
    fn room(&self) -> Option<Room> {
        let entry = self.state.kind(self.table.of::<Node>()).get(&format!("-/{}", self.node))?.clone();
        let node = entry.tree();
        let mut room = Room {
            free: Amounts::read(tree::at(&node, "status.allocatable")),
            range: port_range(&node),
            taken: HashSet::new(),
            entry,
        };
        let shown = self.state.kind(self.table.of::<Task>()).with_hot(self.node, None);
        let shown = shown.filter_map(|task| task.charge.as_deref());
        let unseen = self.own.iter().filter(|own| own.rev > self.state.rev()).flat_map(|own| &own.charges);
        let unseen = unseen.filter(|_| !seeded_bug("bind-forgets-its-own"));
        for charge in shown.chain(unseen) {
            if charge.node_uid == room.entry.uid {
                room.take(charge);
            }
        }
        Some(room)
    }

    /// The bound Task with its condition and charge, or what it is already; takes its room.
    fn admit(
        &self,
        place: &Placement,
        room: Option<&mut Room>,
    ) -> Answer<Result<(Condition, Charge, Bytes), Bytes>> {
        let (entry, mut task) = match self.candidate(place)? {
            Candidate::Bound(json) => return Ok(Err(json)),
            Candidate::Free(entry, task) => (entry, task),
        };
        let room = room.ok_or_else(|| not_found("Node", &place.node))?;
        room.be_as_decided_on(place)?;
        let charge = room.fit(place, &task)?;
        bind(&mut task, place, self.now);
        let json: Bytes = serde_json::to_vec(&task).expect("a tree is always JSON").into();
        room.take(&charge);
        let row = self.table.row(self.table.of::<Task>());
        Ok(Ok((Condition::unchanged(row.key(&entry.path), entry.rev), charge, json)))
    }

    fn candidate(&self, place: &Placement) -> Answer<Candidate> {
        let id = self.table.of::<Task>();
        let path = self.table.row(id).path(&place.namespace, &place.task);
        let entry = self.state.kind(id).get(&path).ok_or_else(|| not_found("Task", &place.task))?;
        let lost = |why: &str| Err(conflict("Task", &place.task, why));
        if *entry.uid != *place.task_uid {
            return lost("is another object now");
        }
        let mut task = entry.tree();
        tree::metadata(&mut task).remove("resourceVersion");
        let node_uid = tree::text(&task, "spec.nodeUid");
        if node_uid == place.node_uid {
            return Ok(Candidate::Bound(entry.served.json().clone()));
        }
        if !node_uid.is_empty() && !seeded_bug("bind-twice") {
            return lost(&format!("is bound to node `{}`", tree::text(&task, "spec.nodeName")));
        }
        if tree::is_deleting(&task) {
            return lost("is being deleted");
        }
        if is_final(tree::text(&task, "status.phase")) {
            return lost("is at its end");
        }
        Ok(Candidate::Free(entry.clone(), task))
    }

    fn group(&self, room: &Room, tasks: Vec<Condition>, admitted: &[Admitted]) -> Group {
        let nodes = self.table.row(self.table.of::<Node>());
        let tasks_row = self.table.row(self.table.of::<Task>());
        let mut conditions = vec![
            Condition::unchanged(nodes.key(&room.entry.path), room.entry.rev),
            self.ledger_condition(self.state.rev()),
        ];
        if seeded_bug("bind-skips-the-ledger") {
            conditions.remove(1);
        }
        if seeded_bug("bind-skips-the-node") {
            conditions.remove(0);
        }
        conditions.extend(self.fence.map(|fence| Condition::unchanged(fence.key(), fence.epoch)));
        conditions.extend(tasks);
        let ledger = Write::put(keys::ledger(self.node), "{}");
        let tasks = admitted.iter().map(|one| {
            let place = &one.item.place;
            Write::put(tasks_row.key(&tasks_row.path(&place.namespace, &place.task)), one.json.clone())
        });
        Group { conditions, writes: std::iter::once(ledger).chain(tasks).collect() }
    }

    /// Nobody bound to the node since what the sum was made of.
    fn ledger_condition(&self, seen: Rev) -> Condition {
        let key = keys::ledger(self.node);
        match self.own.iter().map(|own| own.rev).max() {
            Some(own) if own > seen => Condition::unchanged(key, own),
            Some(_) | None => Condition::not_written_after(key, seen),
        }
    }
}

impl Room {
    fn take(&mut self, charge: &Charge) {
        self.free = self.free.minus(charge.amounts);
        self.taken.extend(charge.ports.iter().copied());
    }

    fn be_as_decided_on(&self, place: &Placement) -> Answer<()> {
        if *self.entry.uid != *place.node_uid {
            return Err(conflict("Node", &place.node, "is another object now"));
        }
        if self.entry.rev != place.node_version.rev() && !seeded_bug("bind-on-an-old-decision") {
            return Err(conflict("Node", &place.node, "has changed since the decision"));
        }
        Ok(())
    }

    /// What the Task would take, if the node has it.
    fn fit(&self, place: &Placement, task: &Value) -> Answer<Charge> {
        let refuse = |why: String| {
            let message = format!("Task `{}` does not fit on Node `{}`: {why}", place.task, place.node);
            Err(about(Reason::Conflict, "Task", &place.task, message))
        };
        let open: BTreeSet<&str> = open_ports(task).collect();
        let given: BTreeSet<&str> = place.ports.iter().map(|(name, _)| name.as_str()).collect();
        if open != given || given.len() != place.ports.len() {
            let why = format!("must be one for each of {open:?}, got {:?}", place.ports);
            return Err(bad_field("ports", why));
        }
        let (first, last) = self.range.unwrap_or((1, 0));
        let outside = |port: &u16| !(first..=last).contains(&u64::from(*port));
        if let Some((_, port)) = place.ports.iter().find(|(_, port)| outside(port)) {
            return refuse(format!("port {port} is not among those it assigns, {first} to {last}"));
        }
        let ports: Vec<u16> = fixed_ports(task).chain(place.ports.iter().map(|(_, port)| *port)).collect();
        let mut all = self.taken.clone();
        if let Some(port) = ports.iter().find(|port| !all.insert(**port)) {
            return refuse(format!("port {port} is taken"));
        }
        let amounts = claims(task);
        if !amounts.fits_in(self.free) {
            return refuse(format!("it needs {amounts}; free is {}", self.free));
        }
        Ok(Charge { node_uid: place.node_uid.as_str().into(), amounts, ports: ports.into() })
    }
}

fn port_range(node: &Value) -> Option<(u64, u64)> {
    let range = tree::at(node, "status.portRange")?;
    Some((range["first"].as_u64()?, range["last"].as_u64()?))
}

fn bind(task: &mut Value, place: &Placement, now: Timestamp) {
    let spec = tree::fields(tree::fields(task).entry("spec").or_insert_with(|| json!({})));
    spec.insert("nodeName".into(), place.node.as_str().into());
    spec.insert("nodeUid".into(), place.node_uid.as_str().into());
    if !place.ports.is_empty() {
        let ports = place.ports.iter().map(|(name, port)| json!({"name": name, "port": port}));
        spec.insert("assignedPorts".into(), ports.collect());
    }
    tree::add_finalizer(task, NODE_FINALIZER);
    let message = format!("bound to node {}", place.node);
    tree::set_condition(task, "Scheduled", "True", "Bound", &message, now);
}
