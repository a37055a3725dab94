//! Who is Ready, whose Tasks are out of reach, and which of them are given up.

use berth_types::availability::{GIVEN_UP, NODE_NOT_READY};
use berth_types::{ConditionStatus, Timestamp};

use super::observed::{Guest, MassVanish, Neighbour, Observed, Sight};

/// One thing to write; the actions of a wave are independent of each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The Node's condition `Ready`.
    SetReady(Verdict),
    /// The condition `Reachable` of one of its Tasks.
    SetReachable {
        /// Namespace of the Task.
        namespace: String,
        /// Name of the Task.
        task: String,
        /// What it says.
        verdict: Verdict,
    },
}

/// What a condition is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it holds.
    pub status: ConditionStatus,
    /// In one word.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
}

/// What to write now, and when to look again.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// Independent actions; none when everything is said.
    pub wave: Vec<Action>,
    /// When time alone changes the plan.
    pub wake: Option<Timestamp>,
}

/// What is to be said of a Node and its Tasks. Of a node that nobody sees, nothing new.
pub fn plan(seen: &Observed) -> Plan {
    match seen.node.sight {
        Sight::Unseen => Plan { wave: Vec::new(), wake: None },
        Sight::Present => welcome(seen),
        Sight::Away(away) => judge(seen, away),
    }
}

/// The node is there: it is Ready, and so are in reach all of its Tasks that were not given up.
fn welcome(seen: &Observed) -> Plan {
    let ready = verdict(ConditionStatus::True, "AgentPresent", "its agent has a session".into());
    let mut wave = Vec::new();
    if !seen.node.ready.as_ref().is_some_and(|condition| condition.status == ConditionStatus::True) {
        wave.push(Action::SetReady(ready));
    }
    let lost = seen.tasks.iter().filter(|task| is_out_of_reach(task) && !is_given_up(task));
    wave.extend(lost.map(|task| {
        let text = format!("node {} is back", seen.node.name);
        reachable(task, verdict(ConditionStatus::True, "NodeReady", text))
    }));
    Plan { wave, wake: None }
}

/// The node is away: it is NotReady, its Tasks are out of reach, and given up once they have waited long enough.
fn judge(seen: &Observed, away: Timestamp) -> Plan {
    let since = not_ready_since(seen, away);
    let mut plan = Plan { wave: Vec::new(), wake: None };
    if seen.node.not_ready_since().is_none() {
        let text = "its agent has no session".into();
        plan.wave.push(Action::SetReady(verdict(ConditionStatus::False, "AgentAway", text)));
    }
    let vanished = vanished_together(seen, since);
    for task in seen.tasks.iter().filter(|task| !is_given_up(task)) {
        let begins = match &vanished {
            Some(Vanished::LatelyBack(last)) => *last,
            Some(Vanished::Away(_)) | None => since,
        };
        let due = begins.plus(task.replace_after);
        let away = format!("node {} is away since {since}", seen.node.name);
        let verdict = match &vanished {
            Some(Vanished::Away(many)) => {
                // Those that come back are not told of one by one.
                plan.wake = earlier(plan.wake, seen.now.plus(task.replace_after));
                verdict(ConditionStatus::False, NODE_NOT_READY, format!("{away}, and not replaced: {many}"))
            }
            Some(Vanished::LatelyBack(_)) | None if due <= seen.now => {
                verdict(ConditionStatus::False, GIVEN_UP, format!("{away}: given up"))
            }
            Some(Vanished::LatelyBack(_)) | None => {
                plan.wake = earlier(plan.wake, due);
                verdict(ConditionStatus::False, NODE_NOT_READY, format!("{away}: given up from {due}"))
            }
        };
        if !says(task, &verdict) {
            plan.wave.push(reachable(task, verdict));
        }
    }
    plan
}

/// Since when the node is NotReady: as its condition says, unless the clock was set since. It was not NotReady before
/// it was away, and how long it is away is measured by a server that counts the time itself.
fn not_ready_since(seen: &Observed, away: Timestamp) -> Timestamp {
    match seen.node.not_ready_since() {
        Some(said) if said <= seen.now => said.max(away),
        Some(_) => away,
        None => seen.now,
    }
}

fn earlier(wake: Option<Timestamp>, at: Timestamp) -> Option<Timestamp> {
    Some(wake.map_or(at, |wake| wake.min(at)))
}

/// So many nodes vanished together with this one that rather we than they were at fault.
enum Vanished {
    /// They are away: nothing is replaced, for this reason.
    Away(String),
    /// Enough of them are back, the last one since then: the others are given as long again as any node.
    LatelyBack(Timestamp),
}

/// Whether too many nodes vanished together with this one, which is NotReady since `since`.
fn vanished_together(seen: &Observed, since: Timestamp) -> Option<Vanished> {
    let MassVanish { nodes, percent, within } = seen.mass_vanish;
    let together = |at: &Timestamp| at.since(since) <= within && since.since(*at) <= within;
    let (mut there, mut away, mut back, mut last) = (0, 0, 0, since);
    for neighbour in seen.neighbours {
        match neighbour {
            Neighbour::There(at) if *at > since => {
                back += 1;
                last = last.max(*at);
            }
            Neighbour::There(_) => there += 1,
            Neighbour::Away(at) if together(at) => away += 1,
            Neighbour::Away(_) => {}
        }
    }
    let before = there + away + back;
    let too_many = |count: usize| count > nodes && count * 100 > before * percent;
    if too_many(away) {
        return Some(Vanished::Away(format!("{away} of {before} nodes vanished at once")));
    }
    too_many(away + back).then_some(Vanished::LatelyBack(last))
}

fn is_out_of_reach(task: &Guest) -> bool {
    task.reachable.as_ref().is_some_and(|condition| condition.status == ConditionStatus::False)
}

fn is_given_up(task: &Guest) -> bool {
    task.reachable
        .as_ref()
        .is_some_and(|condition| condition.status == ConditionStatus::False && condition.reason == GIVEN_UP)
}

fn says(task: &Guest, verdict: &Verdict) -> bool {
    task.reachable.as_ref().is_some_and(|condition| {
        condition.status == verdict.status
            && condition.reason == verdict.reason
            && condition.message == verdict.message
    })
}

fn verdict(status: ConditionStatus, reason: &'static str, message: String) -> Verdict {
    Verdict { status, reason, message }
}

fn reachable(task: &Guest, verdict: Verdict) -> Action {
    Action::SetReachable { namespace: task.namespace.clone(), task: task.name.clone(), verdict }
}

#[cfg(test)]
mod tests;
