//! Which old Task of an App holds the room that a new one waits for, and what to do about it.

use berth_types::Room;
use berth_types::demand::{PortAsk, ports_asked};
use berth_types::misfit::{PORT_TAKEN, Shortage};
use berth_types::task::Task;

use super::fleet::Fleet;
use super::observed::{Observed, Replica, Rollout, Trouble};

/// What of the room that `waiting` found nowhere is held by an old Task that stops only once `waiting` is available, as a
/// clause behind the scheduler's reason.
pub fn held_by_own(seen: &Observed, fleet: &Fleet, waiting: &Replica) -> Option<String> {
    let Trouble::Unplaced(why) = &waiting.trouble else { return None };
    let olds = || fleet.outdated.iter().filter(|old| !old.task.spec.node_name.is_empty());
    let port = || olds().find_map(|old| Some((port_held(&waiting.task, &old.task, why)?, old)));
    let shortages = Shortage::all_in(why);
    let room = || olds().find_map(|old| Some((room_held(&shortages, &old.task)?, old)));
    let (what, old) = port().or_else(room)?;
    let held = format!("; its own {} holds {what} on {}", old.name, old.task.spec.node_name);
    let may_stop_first = match seen.app.rollout {
        Rollout::Rolling { keep, .. } => keep < seen.app.replicas,
        Rollout::Recreate => true,
    };
    if may_stop_first {
        return Some(held);
    }
    Some(format!(
        "{held} and stops only after {} is available; set spec.strategy.rollingUpdate.maxUnavailable to 1 to stop it \
         first",
        waiting.name
    ))
}

/// A port that both ask for, if the scheduler met a taken one.
fn port_held(waiting: &Task, old: &Task, why: &str) -> Option<String> {
    if !why.contains(PORT_TAKEN) {
        return None;
    }
    let assigned = old.spec.assigned_ports.iter().map(|assigned| assigned.port);
    let held: Vec<u16> = fixed_ports(old).chain(assigned).collect();
    let both = fixed_ports(waiting).find(|port| held.contains(port))?;
    Some(format!("port {both}"))
}

fn fixed_ports(task: &Task) -> impl Iterator<Item = u16> {
    ports_asked(&task.spec).into_iter().filter_map(|ask| match ask {
        PortAsk::Fixed(port) => Some(port),
        PortAsk::Any(_) => None,
    })
}

/// What `old` requests of a resource that its node is short of by no more than that.
fn room_held(shortages: &[Shortage], old: &Task) -> Option<String> {
    let room = Room::requested(&old.spec).ok()?;
    shortages.iter().filter(|short| short.node == old.spec.node_name).find_map(|short| {
        let (held, missing) = match short.resource.as_str() {
            "cpu" => (room.cpu.0, short.amount.millicores().ok()?.0),
            "memory" => (room.memory.0, short.amount.bytes().ok()?.0),
            "disk" => (room.disk.0, short.amount.bytes().ok()?.0),
            _ => return None,
        };
        (held >= missing).then(|| format!("the {} that is missing", short.resource))
    })
}
