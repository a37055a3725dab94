//! Scheduler: gives every Task a node that has room for it.
//! Reads Node and Task. Writes, by Bind, the node and ports of a Task; and into its status why it has none.
//! Promises: nothing; the server checks room again. Equal input gives equal output. Safe to kill at any point.
//! Leaves alone: Tasks that have a node (node agent), and how many there are (app).

mod bind;
mod fit;
mod image;
mod place;
mod score;

use std::collections::VecDeque;
use std::sync::Arc;

use berth_client::Client;
use berth_runtime::{Cache, Delta, StepController, Stepper};
use berth_types::Timestamp;
use berth_types::node::Node;
use berth_types::slack::Slack;
use berth_types::task::Task;

use bind::{Action, Hands};
use image::Machine;
use place::{Explanation, Placement, Scheduler};

/// The scheduler's name, in logs, as manager of fields and as its Lease.
pub const NAME: &str = "scheduler";

/// Placements in one call.
const BATCH: usize = 128;
/// Calls under way at once.
const CALLS: usize = 4;

/// The state of the scheduler, and what it is about to send.
#[derive(Default)]
pub struct Shell {
    scheduler: Scheduler,
    outbox: VecDeque<Placement>,
    unanswered: usize,
}

/// What happens to the scheduler.
#[derive(Debug)]
pub enum Event {
    /// A Node came to be or changed; if its uid did, the Node before is gone.
    Node(Arc<Node>, Option<Arc<Node>>),
    /// A Node is gone.
    NodeGone(Arc<Node>),
    /// A Task came to be or changed; if its uid did, the Task before is gone.
    Task(Arc<Task>, Option<Arc<Task>>),
    /// A Task is gone.
    TaskGone(Arc<Task>),
    /// A Bind was answered.
    Answered {
        /// uids of the Tasks that are not bound by it.
        refused: Vec<Arc<str>>,
    },
    /// The status of this Task could not be written.
    Unsaid(Arc<str>),
}

/// The scheduler over these caches.
pub fn controller(client: Client, tasks: &Cache<Task>, nodes: &Cache<Node>) -> StepController<Shell> {
    StepController::new(NAME, client, Shell::default, Hands)
        .feeds(nodes, |change| {
            Some(match change {
                Delta::Added(new) => Event::Node(new, None),
                Delta::Modified { old, new } => Event::Node(new, Some(old)),
                Delta::Deleted(old) => Event::NodeGone(old),
            })
        })
        .feeds(tasks, |change| {
            Some(match change {
                Delta::Added(new) => Event::Task(new, None),
                Delta::Modified { old, new } => Event::Task(new, Some(old)),
                Delta::Deleted(old) => Event::TaskGone(old),
            })
        })
}

impl Stepper for Shell {
    type Event = Event;
    type Action = Action;

    fn step(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        match event {
            Event::Node(new, old) => {
                if let Some(old) = old.filter(|old| old.metadata.uid != new.metadata.uid) {
                    self.scheduler.node_gone(&old.metadata.uid);
                }
                self.scheduler.node_changed(Machine::read(&new));
            }
            Event::NodeGone(old) => self.scheduler.node_gone(&old.metadata.uid),
            Event::Task(new, old) => {
                if let Some(old) = old.filter(|old| old.metadata.uid != new.metadata.uid) {
                    self.scheduler.task_gone(&old.metadata.uid);
                }
                self.scheduler.task_changed(new);
            }
            Event::TaskGone(old) => self.scheduler.task_gone(&old.metadata.uid),
            Event::Answered { refused } => {
                self.unanswered = self.unanswered.saturating_sub(1);
                for uid in refused {
                    self.scheduler.refused(&uid, now);
                }
            }
            Event::Unsaid(uid) => self.scheduler.unsaid(&uid),
        }
        Vec::new()
    }

    fn rest(&mut self, now: Timestamp) -> Vec<Action> {
        let decisions = self.scheduler.decide(now);
        self.outbox.extend(decisions.placements);
        let mut actions = Vec::new();
        while self.unanswered < CALLS && !self.outbox.is_empty() {
            let batch = self.outbox.drain(..self.outbox.len().min(BATCH)).collect();
            self.outbox.give_back();
            self.unanswered += 1;
            actions.push(Action::Bind(batch));
        }
        let explained = decisions.explanations.chunks(BATCH);
        actions.extend(explained.map(|part: &[Explanation]| Action::Explain(part.to_vec())));
        actions
    }

    fn wake_at(&self) -> Option<Timestamp> {
        self.scheduler.wake_at()
    }
}
