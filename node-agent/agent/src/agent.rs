//! The agent's loop: what the store asks, what happens on the machine and what time brings goes into the plan; what it
//! asks is carried out, and what changed is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use berth_client::{Change, Client, Query, Update, Watch};
use berth_runtime::{Note, Notes, Weight};
use berth_types::Phase;
use berth_types::clock::{Clock, SteadyClock};
use berth_types::task::Task;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::assignment::{Assignment, TaskUid};
use crate::conditions;
use crate::disk::Look;
use crate::execute::{Executor, World};
use crate::journal::Identity;
use crate::news::{Told, news};
use crate::plan::{Action, Event, State, TaskRun, Wish, step};
use crate::recover::Recovered;
use crate::remember::{last_ends, new_ends, new_stop};
use crate::statuses::{self, Statuses, Written};

/// Before a watch that the server refuses is tried again.
const WATCH_AGAIN: Duration = Duration::from_secs(2);

/// How long what was adopted may take to be reported before what is suspected is prepared: a server may refuse a status
/// for good.
const REPORTING: Duration = Duration::from_secs(10);

/// What membership tells the agent.
#[derive(Debug)]
pub enum News {
    /// This node is that Node.
    Joined(Identity),
    /// The Node is gone: stop everything, then say so.
    NodeGone(oneshot::Sender<()>),
}

/// The agent.
pub struct Agent {
    state: State,
    executor: Executor,
    world: Arc<World>,
    client: Client,
    clock: SteadyClock,
    address: String,
    node: Option<Identity>,
    statuses: Statuses,
    /// What was journalled of Tasks that the store has not shown yet.
    journalled: HashMap<TaskUid, Arc<Task>>,
    told: JoinSet<Vec<(TaskUid, Written)>>,
    /// None before the node has a name.
    notes: Option<Notes>,
    watch: Option<Watch<Task>>,
    emptied: Option<oneshot::Sender<()>>,
    /// The last look at the disk.
    disk: Option<Look>,
    /// Whether the Node says that its disk is too full; none when nobody has asked it.
    pressure: Option<bool>,
    /// Writes that say so, at most one.
    conditions: JoinSet<Option<bool>>,
    /// Since when the store has shown all its Tasks of this node.
    synced: Option<Instant>,
}

impl Agent {
    /// An agent of this machine, with what it knows at first and what an earlier one journalled.
    pub fn new(
        world: Arc<World>,
        client: Client,
        clock: SteadyClock,
        address: String,
        (state, journalled): (State, HashMap<TaskUid, Arc<Task>>),
    ) -> Self {
        Self {
            state,
            executor: Executor::new(world.clone()),
            world,
            client,
            clock,
            address,
            node: None,
            statuses: Statuses::default(),
            journalled,
            told: JoinSet::new(),
            notes: None,
            watch: None,
            emptied: None,
            disk: None,
            pressure: None,
            conditions: JoinSet::new(),
            synced: None,
        }
    }

    /// Takes on what an earlier agent left.
    pub fn adopt(&mut self, recovered: Vec<Recovered>) {
        for Recovered { run, conversation, digests, starting, events, suspect } in recovered {
            let uid = run.uid().clone();
            tracing::info!(task = %uid, shim = conversation.is_some(), suspect, "adopted");
            if suspect {
                self.world.suspects.add(uid.clone());
            }
            self.take(Event::Adopted(Box::new(run)));
            if let Some(conversation) = conversation {
                self.executor.keep(uid, conversation, digests, starting);
            }
            for event in events {
                self.take(event);
            }
        }
    }

    /// Runs until `stop`; what runs on the machine runs on.
    pub async fn run(
        mut self,
        mut events: mpsc::UnboundedReceiver<Event>,
        mut news: mpsc::UnboundedReceiver<News>,
        mut looks: mpsc::Receiver<Look>,
        stop: impl Future<Output = ()>,
    ) {
        tokio::pin!(stop);
        loop {
            self.tell();
            self.tell_pressure();
            if self.synced.is_some_and(|since| self.statuses.are_written() || since.elapsed() > REPORTING) {
                self.world.suspects.may_begin();
            }
            let due = [self.state.next_due(), self.statuses.next_due()].into_iter().flatten().min();
            let due = due.map_or(Duration::from_secs(3600), |at| at.since(self.clock.now()));
            tokio::select! {
                // The stop first: a process that ends because the agent stops must not be reported as an event.
                biased;
                () = &mut stop => return,
                Some(event) = events.recv() => self.take(event),
                Some(news) = news.recv() => self.hear(news),
                Some(look) = looks.recv() => self.look(look),
                Some(said) = self.conditions.join_next() => self.pressure = said.unwrap_or_default(),
                update = next_update(&mut self.watch) => self.see(update),
                Some(written) = self.told.join_next() => self.take_written(written.unwrap_or_default()),
                () = tokio::time::sleep(due) => self.take(Event::Tick),
            }
            if self.state.tasks().next().is_none()
                && let Some(emptied) = self.emptied.take()
            {
                let _ = emptied.send(());
            }
        }
    }

    /// One step of the plan, and all that follows from it.
    fn take(&mut self, event: Event) {
        let touched = event.task().cloned();
        let before = touched.as_ref().and_then(|uid| self.state.task(uid)).cloned();
        let now = self.clock.now();
        let actions = step(&mut self.state, event, now);
        if let Some(uid) = &touched {
            let (before, after) = (before.as_ref(), self.state.task(uid));
            let course = |run: Option<&TaskRun>| run.map(|run| run.course.clone());
            let mut records = new_ends(uid, &last_ends(before), &last_ends(after));
            records.extend(new_stop(uid, course(before).as_ref(), course(after).as_ref(), now));
            let news = after.map(|after| news(before, after)).unwrap_or_default();
            news.into_iter().for_each(|news| self.note(uid, news));
            if !records.is_empty() {
                // Lost with a crash, an end is read again from the shim's record, and a stop is asked for again.
                drop(self.world.journal.submit(records));
            }
        }
        match &touched {
            Some(uid) => self.statuses.touch(uid),
            None => {
                let all: Vec<TaskUid> = self.state.tasks().map(|(uid, _)| uid.clone()).collect();
                all.iter().for_each(|uid| self.statuses.touch(uid));
            }
        }
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        let uid = action.task().clone();
        log(&action);
        let object = self.statuses.object(&uid).or_else(|| self.journalled.get(&uid).cloned());
        match &action {
            Action::Forget(_) => {
                self.journalled.remove(&uid);
                self.statuses.remove(&uid);
            }
            Action::TellUnknown { at, .. } => {
                let message = format!("runs here and is unknown to the store; it is stopped at {at}");
                self.note(&uid, Told { reason: "UnknownTask".into(), message });
            }
            Action::Prepare(_)
            | Action::Start(_)
            | Action::Terminate(_)
            | Action::Kill(_)
            | Action::Check { .. }
            | Action::CleanUp { .. } => {}
        }
        let assignment = self.state.task(&uid).and_then(|run| run.assignment.as_ref());
        self.executor.begin(action, assignment, object);
    }

    /// Tells people what happened to a Task.
    fn note(&self, uid: &TaskUid, told: Told) {
        let object = self.statuses.object(uid).or_else(|| self.journalled.get(uid).cloned());
        if let (Some(task), Some(notes)) = (object, &self.notes) {
            notes.report(Note::new(&*task, Weight::Warning, told.reason, told.message));
        }
    }

    /// A refused status cannot be seen in the Task, so an Event reports it.
    fn take_written(&mut self, written: Vec<(TaskUid, Written)>) {
        for (uid, why) in self.statuses.written(written, self.clock.now()) {
            self.note(&uid, why.told());
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Joined(node) => {
                let query = Query::of::<Task>().fields(format!("spec.nodeName={}", node.name));
                self.watch = Some(self.client.watch_as::<Task>(&query));
                self.notes = Some(Notes::new(self.client.clone(), "node-agent", &node.name));
                self.node = Some(node);
                self.pressure = None;
                // One under way is for the Node before.
                self.conditions = JoinSet::new();
            }
            News::NodeGone(emptied) => {
                self.watch = None;
                self.node = None;
                self.emptied = Some(emptied);
                self.take(Event::NodeGone);
            }
        }
    }

    fn see(&mut self, update: Update<Task>) {
        match update {
            Update::Initial { objects, .. } | Update::Restarted { objects, .. } => {
                let known = objects.iter().filter_map(|task| TaskUid::parse(&task.metadata.uid)).collect();
                objects.into_iter().for_each(|task| self.see_task(task));
                self.take(Event::Synced { known });
                self.synced.get_or_insert_with(Instant::now);
            }
            Update::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        Change::Added(task) | Change::Modified(task) => self.see_task(task),
                        Change::Deleted(task) => {
                            if let Some(uid) = TaskUid::parse(&task.metadata.uid) {
                                self.statuses.remove(&uid);
                                self.take(Event::Vanished(uid));
                            }
                        }
                    }
                }
            }
            Update::Bookmark { .. } => {}
        }
    }

    fn see_task(&mut self, task: Task) {
        let ours = self.node.as_ref().is_some_and(|node| node.uid == task.spec.node_uid);
        let Some(uid) = TaskUid::parse(&task.metadata.uid).filter(|_| ours) else { return };
        let wish = wish(&task);
        if self.state.task(&uid).is_none() && wish == Wish::Ended {
            return;
        }
        let event = match Assignment::try_from(&task) {
            Ok(assignment) => Event::Seen { assignment, wish },
            Err(bad) => Event::Unfit { task: uid.clone(), why: bad.to_string() },
        };
        // The plan sees what the watch says alone, in its order; what a write brought back is only the newer base.
        self.statuses.observe(&uid, task);
        self.take(event);
    }

    /// On a disk that is too full the Task that uses most of it makes room.
    fn look(&mut self, look: Look) {
        let relief = self.state.to_relieve(&look.tasks, look.fullness.room, self.clock.now());
        if let Some((task, bytes)) = relief {
            let message = look.accusation(self.world.places.data(), bytes);
            tracing::warn!(task = %task, why = message, action = "stop for room on the disk");
            self.take(Event::FillsDisk { task, message });
        }
        self.disk = Some(look);
    }

    fn tell_pressure(&mut self) {
        let (Some(node), Some(look)) = (&self.node, &self.disk) else { return };
        if self.pressure == Some(look.pressed) || !self.conditions.is_empty() {
            return;
        }
        let condition = look.condition(self.world.places.data(), self.clock.now());
        let (client, node, pressed) = (self.client.clone(), node.clone(), look.pressed);
        self.conditions
            .spawn(async move { conditions::set(&client, &node, condition).await.then_some(pressed) });
    }

    fn tell(&mut self) {
        let writes = self.statuses.take_writes(&self.state, &self.address, self.clock.now());
        if !writes.is_empty() {
            let client = self.client.clone();
            self.told.spawn(async move { statuses::send(&client, writes).await });
        }
    }
}

async fn next_update(watch: &mut Option<Watch<Task>>) -> Update<Task> {
    let Some(watch) = watch else { return std::future::pending().await };
    loop {
        match watch.next().await {
            Ok(update) => return update,
            Err(error) => {
                tracing::error!(error = %error, "the tasks of this node cannot be watched");
                tokio::time::sleep(WATCH_AGAIN).await;
            }
        }
    }
}

/// What was said to stop stops, even if the journal lost why: no phase goes back.
fn wish(task: &Task) -> Wish {
    let phase = Phase::of(task).unwrap_or(Phase::Pending);
    if phase.is_final() {
        return Wish::Ended;
    }
    if !task.metadata.deleting() && phase != Phase::Stopping {
        return Wish::Run;
    }
    let seconds = task.metadata.deletion_grace_period_seconds.or(task.spec.termination_grace_period_seconds);
    Wish::Stop { grace: Duration::from_secs(u64::try_from(seconds.unwrap_or(30)).unwrap_or(0)) }
}

fn log(action: &Action) {
    let task = action.task();
    match action {
        Action::Prepare(_) => tracing::info!(task = %task, action = "prepare"),
        Action::Start(a) => {
            tracing::info!(task = %task, action = "start", container = a.container, attempt = a.number);
        }
        Action::Terminate(a) => tracing::info!(task = %task, action = "terminate", container = a.container),
        Action::Kill(a) => tracing::info!(task = %task, action = "kill", container = a.container),
        Action::CleanUp { ending, .. } => tracing::info!(task = %task, action = "clean up", why = ?ending),
        Action::TellUnknown { at, .. } => {
            tracing::warn!(task = %task, action = "stop what the store does not know", at = %at)
        }
        Action::Check { .. } | Action::Forget(_) => tracing::debug!(task = %task, action = ?action),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_runs_until_it_is_deleted_stopping_or_ended() {
        let stop = |seconds| Wish::Stop { grace: Duration::from_secs(seconds) };
        let mut task = Task::default();
        for (phase, expected) in
            [("", Wish::Run), ("Running", Wish::Run), ("Stopping", stop(30)), ("Failed", Wish::Ended)]
        {
            task.status.phase = phase.into();
            assert_eq!(wish(&task), expected, "{phase}");
        }
        task.status.phase = "Running".into();
        task.metadata.deletion_timestamp = Some(berth_types::Timestamp::from_millis(0));
        task.spec.termination_grace_period_seconds = Some(5);
        assert_eq!(wish(&task), stop(5));
        task.metadata.deletion_grace_period_seconds = Some(0);
        assert_eq!(wish(&task), stop(0));
    }
}
