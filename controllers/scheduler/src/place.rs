//! Which waiting Task goes to which node. Tasks that ask the same share one look at the nodes; a class that fits
//! nowhere is parked until a node changes for the better.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use berth_failpoint::seeded_bug;
use berth_types::availability::SCHEDULED;
use berth_types::demand::{PortAsk, ports_asked};
use berth_types::slack::Slack;
use berth_types::task::{PORT_HELD, Task};
use berth_types::{Condition, ConditionStatus, Phase, Timestamp};

use crate::fit::{Ask, Survey};
use crate::image::{Charge, Machine, Nodes, pick_ports};
use crate::score::Score;

/// How often the reason of a parked class is looked at again, if the nodes changed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// After the first refusal of a placement, until the Task is placed again; doubled with each further one.
const AFTER_REFUSAL: Duration = Duration::from_millis(20);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The scheduler's state: nodes, charges, and the Tasks that wait.
#[derive(Debug, Default)]
pub struct Scheduler {
    nodes: Nodes,
    tasks: HashMap<Arc<str>, Entry>,
    classes: BTreeMap<usize, Class>,
    by_ask: HashMap<Arc<Ask>, usize>,
    next_class: usize,
    /// Tasks whose placement was refused, by when they are placed again.
    retries: BTreeSet<(Timestamp, Arc<str>)>,
}

/// One Task that is not at its end, or whose end is of use.
#[derive(Debug)]
enum Entry {
    /// It has no node.
    Waiting(Waiting),
    /// A node was chosen, and the server or the watch has not confirmed it yet.
    Assumed { waiting: Waiting, charge: Charge },
    /// It is bound.
    Bound(Charge),
    /// It failed because a stranger held one of these ports.
    PortHeld { node_uid: Arc<str>, ports: Vec<u16> },
}

#[derive(Debug)]
struct Waiting {
    task: Arc<Task>,
    class: usize,
    refusals: u32,
    /// What was said last of why it has no node.
    said: Option<Arc<str>>,
}

/// Tasks that ask the same.
#[derive(Debug)]
struct Class {
    ask: Arc<Ask>,
    /// Those to be placed, in their order.
    ready: BTreeSet<Order>,
    /// All that wait, those refused lately too.
    members: usize,
    parked: Option<Parked>,
}

/// Why a class fits nowhere, and how much of the nodes' changes that takes into account.
#[derive(Debug)]
struct Parked {
    message: Arc<str>,
    cursor: u64,
    looked_at: Timestamp,
}

/// Oldest first; then by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    created: Option<Timestamp>,
    namespace: String,
    name: String,
    uid: Arc<str>,
}

/// A decision: this Task to that node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Namespace of the Task.
    pub namespace: String,
    /// Name of the Task.
    pub task: String,
    /// uid of the Task.
    pub uid: Arc<str>,
    /// Name of the Node.
    pub node: Arc<str>,
    /// uid of the Node.
    pub node_uid: Arc<str>,
    /// The version of the Node that was decided on.
    pub node_version: Arc<str>,
    /// The ports of its range that were picked, by the names of the Task's ports.
    pub ports: Vec<(String, u16)>,
}

/// Why a Task has no node, to be written into its status.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The Task as it was seen.
    pub task: Arc<Task>,
    /// For a person.
    pub message: Arc<str>,
}

/// What one look at everything that waits comes to.
#[derive(Debug, Default)]
pub struct Decisions {
    /// In the order in which they were made.
    pub placements: Vec<Placement>,
    /// One for each Task of which something new is to be said.
    pub explanations: Vec<Explanation>,
}

impl Scheduler {
    /// A Node came to be or changed.
    pub fn node_changed(&mut self, machine: Machine) {
        self.nodes.put(machine);
    }

    /// A Node is gone.
    pub fn node_gone(&mut self, uid: &str) {
        self.nodes.remove(uid);
    }

    /// A Task came to be or changed.
    pub fn task_changed(&mut self, task: Arc<Task>) {
        let uid: Arc<str> = task.metadata.uid.as_str().into();
        if Phase::of(&task).is_ok_and(Phase::is_final) {
            self.forget(&uid);
            return self.learn(uid, &task);
        }
        if let Some(charge) = Charge::of(&task) {
            return self.bound(uid, charge);
        }
        if task.metadata.deleting() {
            return self.forget(&uid);
        }
        match self.tasks.get_mut(&uid) {
            Some(Entry::Waiting(waiting) | Entry::Assumed { waiting, .. }) => waiting.task = task,
            // A bound Task stays bound: what shows it unbound is older than its Bind.
            Some(Entry::Bound(_) | Entry::PortHeld { .. }) => {}
            None => self.admit(uid, task),
        }
    }

    /// A Task is gone.
    pub fn task_gone(&mut self, uid: &str) {
        self.forget(uid);
    }

    /// A placement was refused, or nobody knows what became of it: the Task waits again.
    pub fn refused(&mut self, uid: &str, now: Timestamp) {
        let Some(Entry::Assumed { .. }) = self.tasks.get(uid) else { return };
        let Some((uid, Entry::Assumed { mut waiting, charge })) = self.tasks.remove_entry(uid) else {
            return;
        };
        self.nodes.discharge(&charge);
        let pause = AFTER_REFUSAL.saturating_mul(1 << waiting.refusals.min(10)).min(LONGEST_PAUSE);
        waiting.refusals += 1;
        self.retries.insert((now.plus(pause), uid.clone()));
        self.tasks.insert(uid, Entry::Waiting(waiting));
    }

    /// An explanation could not be written: it is said again when there is a next look.
    pub fn unsaid(&mut self, uid: &str) {
        if let Some(Entry::Waiting(waiting)) = self.tasks.get_mut(uid) {
            waiting.said = None;
        }
    }

    /// When to [`Self::decide`] again though nothing happens.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let retry = self.retries.first().map(|(at, _)| *at);
        let waiting = self.classes.values().filter(|class| !class.ready.is_empty());
        let parked = waiting.filter_map(|class| class.parked.as_ref());
        let stale = parked.filter(|parked| parked.cursor < self.nodes.improvements());
        let look = stale.map(|parked| parked.looked_at.plus(LOOK_AGAIN)).min();
        retry.into_iter().chain(look).min()
    }

    /// Places what waits, the class with the oldest Task first.
    pub fn decide(&mut self, now: Timestamp) -> Decisions {
        self.take_up_retries(now);
        let mut decisions = Decisions::default();
        let waiting = self.classes.iter().filter_map(|(id, class)| Some((class.ready.first()?.clone(), *id)));
        let mut order: Vec<(Order, usize)> = waiting.collect();
        order.sort();
        for (_, id) in order {
            self.decide_class(id, now, &mut decisions);
        }
        decisions
    }

    fn decide_class(&mut self, id: usize, now: Timestamp, decisions: &mut Decisions) {
        if !self.stays_parked(id) {
            self.place_class(id, decisions);
        }
        self.explain(id, now, decisions);
    }

    /// Whether the class fits nowhere still: none of the nodes that changed since takes it.
    fn stays_parked(&mut self, id: usize) -> bool {
        let Some(class) = self.classes.get_mut(&id) else { return true };
        let Some(parked) = &mut class.parked else { return false };
        let mut changed = self.nodes.improved_since(parked.cursor);
        let fits = changed.any(|at| class.ask.misfit(&self.nodes.offer(at)).is_none());
        if fits {
            class.parked = None;
        }
        !fits
    }

    /// Places Tasks of one class until there are none, or no node fits.
    fn place_class(&mut self, id: usize, decisions: &mut Decisions) {
        let Some(class) = self.classes.get_mut(&id) else { return };
        let ask = class.ask.clone();
        let mut ready = std::mem::take(&mut class.ready);
        let mut fitting = self.fitting(&ask);
        while let Some(Reverse((_, at))) = fitting.pop() {
            if seeded_bug("scheduler-leaves-the-last") && ready.len() == 1 {
                break;
            }
            let Some(next) = ready.pop_first() else { break };
            decisions.placements.extend(self.assume(&next.uid, &ask, at));
            if ask.misfit(&self.nodes.offer(at)).is_none() {
                fitting.push(Reverse((self.nodes.score(at, ask.room), at)));
            }
        }
        if let Some(class) = self.classes.get_mut(&id) {
            class.ready = ready;
        }
    }

    /// The nodes that a class fits on, best first.
    fn fitting(&self, ask: &Ask) -> BinaryHeap<Reverse<(Score, usize)>> {
        let fits = self.nodes.all().filter(|(at, _)| ask.misfit(&self.nodes.offer(*at)).is_none());
        fits.map(|(at, _)| Reverse((self.nodes.score(at, ask.room), at))).collect()
    }

    /// Charges a waiting Task to the node at a place.
    fn assume(&mut self, uid: &Arc<str>, ask: &Ask, at: usize) -> Option<Placement> {
        let entry = self.tasks.remove(uid)?;
        let Entry::Waiting(waiting) = entry else {
            self.tasks.insert(uid.clone(), entry);
            return None;
        };
        let machine = self.nodes.machine(at).clone();
        let picked = pick_ports(&self.nodes.offer(at), &ask.fixed_ports, ask.open_ports, uid);
        let ports = ask.fixed_ports.iter().copied().chain(picked.iter().copied()).collect();
        let charge = Charge { node_uid: machine.uid.clone(), room: ask.room, ports };
        self.nodes.charge(&charge);
        let placement = placement(&waiting.task, uid, &machine, picked);
        self.tasks.insert(uid.clone(), Entry::Assumed { waiting, charge });
        Some(placement)
    }

    /// Parks a class of which Tasks are left, and says why to those of them that have not heard it.
    fn explain(&mut self, id: usize, now: Timestamp, decisions: &mut Decisions) {
        let Some(class) = self.classes.get(&id).filter(|class| !class.ready.is_empty()) else { return };
        let improvements = self.nodes.improvements();
        let fresh = class
            .parked
            .as_ref()
            .is_some_and(|parked| parked.cursor == improvements || parked.looked_at.plus(LOOK_AGAIN) > now);
        if !fresh {
            let message = self.survey(&class.ask).to_string().into();
            let parked = Parked { message, cursor: improvements, looked_at: now };
            self.classes.entry(id).and_modify(|class| class.parked = Some(parked));
        }
        let Some(class) = self.classes.get(&id) else { return };
        let Some(parked) = &class.parked else { return };
        for order in &class.ready {
            let Some(Entry::Waiting(waiting)) = self.tasks.get_mut(&order.uid) else { continue };
            if waiting.said.as_ref() != Some(&parked.message) {
                waiting.said = Some(parked.message.clone());
                let (task, message) = (waiting.task.clone(), parked.message.clone());
                decisions.explanations.push(Explanation { task, message });
            }
        }
    }

    fn survey(&self, ask: &Ask) -> Survey {
        let mut survey = Survey::default();
        for (at, machine) in self.nodes.all() {
            if let Some(misfit) = ask.misfit(&self.nodes.offer(at)) {
                survey.count(&machine.name, misfit);
            }
        }
        survey
    }

    fn admit(&mut self, uid: Arc<str>, task: Arc<Task>) {
        let ask = match Ask::of(&task) {
            Ok(ask) => Arc::new(ask),
            Err(why) => {
                tracing::error!(object = task.metadata.name, %why, "unreadable Task left alone");
                return;
            }
        };
        let class = *self.by_ask.entry(ask.clone()).or_insert_with(|| {
            self.next_class += 1;
            self.next_class
        });
        let new = || Class { ask, ready: BTreeSet::new(), members: 0, parked: None };
        let members = self.classes.entry(class).or_insert_with(new);
        members.members += 1;
        members.ready.insert(Order::of(&task, &uid));
        let said = said(&task);
        self.tasks.insert(uid, Entry::Waiting(Waiting { task, class, refusals: 0, said }));
    }

    fn bound(&mut self, uid: Arc<str>, charge: Charge) {
        if matches!(self.tasks.get(&uid), Some(Entry::Bound(before)) if *before == charge) {
            return;
        }
        self.forget(&uid);
        self.nodes.charge(&charge);
        self.tasks.insert(uid, Entry::Bound(charge));
    }

    /// As long as a Task is there that failed because of a stranger on its port, other ports are assigned first.
    fn learn(&mut self, uid: Arc<str>, task: &Task) {
        if task.status.reason != PORT_HELD {
            return;
        }
        let node_uid: Arc<str> = task.spec.node_uid.as_str().into();
        let ports: Vec<u16> = task.spec.assigned_ports.iter().map(|assigned| assigned.port).collect();
        self.nodes.shun(&node_uid, &ports);
        self.tasks.insert(uid, Entry::PortHeld { node_uid, ports });
    }

    fn forget(&mut self, uid: &str) {
        let Some((uid, entry)) = self.tasks.remove_entry(uid) else { return };
        self.tasks.give_back();
        match entry {
            Entry::Waiting(waiting) => self.leave_class(&waiting, &uid),
            Entry::Assumed { waiting, charge } => {
                self.nodes.discharge(&charge);
                self.leave_class(&waiting, &uid);
            }
            Entry::Bound(charge) => self.nodes.discharge(&charge),
            Entry::PortHeld { node_uid, ports } => self.nodes.unshun(&node_uid, &ports),
        }
    }

    fn leave_class(&mut self, waiting: &Waiting, uid: &Arc<str>) {
        let Some(class) = self.classes.get_mut(&waiting.class) else { return };
        class.ready.remove(&Order::of(&waiting.task, uid));
        class.members -= 1;
        if class.members == 0 {
            self.by_ask.remove(&class.ask);
            self.by_ask.give_back();
            self.classes.remove(&waiting.class);
        }
    }

    fn take_up_retries(&mut self, now: Timestamp) {
        while self.retries.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, uid)) = self.retries.pop_first() else { return };
            let Some(Entry::Waiting(waiting)) = self.tasks.get(&uid) else { continue };
            if let Some(class) = self.classes.get_mut(&waiting.class) {
                class.ready.insert(Order::of(&waiting.task, &uid));
            }
        }
    }
}

impl Order {
    fn of(task: &Task, uid: &Arc<str>) -> Self {
        Self {
            created: task.metadata.creation_timestamp,
            namespace: task.metadata.namespace.clone(),
            name: task.metadata.name.clone(),
            uid: uid.clone(),
        }
    }
}

fn placement(task: &Task, uid: &Arc<str>, machine: &Machine, picked: Vec<u16>) -> Placement {
    let asked = ports_asked(&task.spec);
    let open = asked.iter().filter_map(|ask| match ask {
        PortAsk::Any(name) => Some((*name).to_owned()),
        PortAsk::Fixed(_) => None,
    });
    Placement {
        namespace: task.metadata.namespace.clone(),
        task: task.metadata.name.clone(),
        uid: uid.clone(),
        node: machine.name.clone(),
        node_uid: machine.uid.clone(),
        node_version: machine.version.clone(),
        ports: open.zip(picked).collect(),
    }
}

/// What the Task's status says already of why it has no node.
fn said(task: &Task) -> Option<Arc<str>> {
    let scheduled = Condition::find(&task.status.conditions, SCHEDULED)?;
    (scheduled.status == ConditionStatus::False).then(|| scheduled.message.as_str().into())
}

#[cfg(test)]
mod tests;
