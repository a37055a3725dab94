//! Doing what the plan asks: each action is a job of its own whose outcome comes back as an event.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_shim_api::cgroup::Hierarchies;
use berth_shim_api::message::{ContainerReport, ContainerState, RefusalReason, Running, Start};
use berth_shim_api::{ExitRecord, ProcessId, SealedShim};
use berth_types::task::{CREATE_ERROR, PORT_HELD, Task};
use berth_types::{Clock, SteadyClock};
use futures::FutureExt;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::alone::{self, Outcome, Step, Suspects, panicked};
use crate::assignment::{Assignment, TaskPort, TaskUid};
use crate::blocking::blocking;
use crate::death::death;
use crate::homes::Homes;
use crate::journal::{Journal, Record};
use crate::logs::begun;
use crate::places::Places;
use crate::plan::{Action, Attempt, Ending, Event, Exit, ExitCause, Finding, Trouble};
use crate::port_holder::{Found, Listeners, OwnSockets, find};
use crate::probes;
use crate::remember::ending_record;
use crate::shim::{self, Conversation, Shim, ShimError};
use berth_daemon::chain;

/// How long processes may take to die after KILL.
const DEATH: Duration = Duration::from_secs(10);
/// Between two looks at a shim that lives and does not talk.
const RECONNECT: Duration = Duration::from_millis(200);

/// Carries actions out.
#[derive(Debug)]
pub struct Executor {
    world: Arc<World>,
    jobs: JoinSet<()>,
}

/// This machine as jobs see it.
#[derive(Debug)]
pub struct World {
    /// Where things lie.
    pub places: Places,
    /// Folders and configs of Tasks.
    pub homes: Homes,
    /// What must be known after a crash.
    pub journal: Journal,
    /// Where cgroups are mounted.
    pub hierarchies: Hierarchies,
    /// Told of each end: there may be more logs of ended attempts than are kept.
    pub ends: Notify,
    shim: SealedShim,
    events: mpsc::UnboundedSender<Event>,
    shims: Mutex<Shims>,
    own_sockets: OwnSockets,
    /// Tasks that are prepared in a process of their own.
    pub suspects: Suspects,
}

#[derive(Debug, Default)]
struct Shims {
    talking: HashMap<TaskUid, Shim>,
    processes: HashMap<TaskUid, ProcessId>,
    /// Tasks with a job that stays with their shim.
    kept: HashSet<TaskUid>,
    /// Tasks whose shim ends because we asked it to.
    ending: HashSet<TaskUid>,
}

impl World {
    /// A machine with these parts; what happens is told to `events`.
    pub fn new(
        places: Places,
        homes: Homes,
        journal: Journal,
        hierarchies: Hierarchies,
        shim: SealedShim,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let (ends, shims, suspects) = (Notify::new(), Mutex::default(), Suspects::default());
        let own_sockets = OwnSockets::default();
        Self { places, homes, journal, hierarchies, ends, shim, events, shims, own_sockets, suspects }
    }

    /// Tells the plan; nobody listens any more only when the agent ends.
    fn tell(&self, event: Event) {
        if matches!(event, Event::Exited { .. } | Event::ShimLost { .. } | Event::Cleaned { .. }) {
            self.ends.notify_one();
        }
        let _ = self.events.send(event);
    }

    fn shims(&self) -> std::sync::MutexGuard<'_, Shims> {
        self.shims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shim(&self, task: &TaskUid) -> Option<Shim> {
        self.shims().talking.get(task).cloned()
    }

    /// Remembers the process of a Task's shim.
    pub fn knows_shim(&self, task: &TaskUid, process: ProcessId) {
        self.shims().processes.insert(task.clone(), process);
    }
}

impl Executor {
    /// Jobs on this machine.
    pub fn new(world: Arc<World>) -> Self {
        Self { world, jobs: JoinSet::new() }
    }

    /// Begins to carry `action` out; `task` is what the store says about its Task, if it has it.
    pub fn begin(&mut self, action: Action, assignment: Option<&Assignment>, task: Option<Arc<Task>>) {
        while self.jobs.try_join_next().is_some() {}
        let world = self.world.clone();
        match action {
            Action::Prepare(_) => {
                let (Some(assignment), Some(task)) = (assignment.cloned(), task) else { return };
                self.jobs.spawn(async move { world.prepare(assignment, task).await });
            }
            Action::Start(attempt) => {
                let Some(assignment) = assignment.cloned() else { return };
                self.jobs.spawn(async move { world.start(assignment, task, attempt).await });
            }
            Action::Terminate(attempt) => {
                self.jobs.spawn(async move { world.terminate(attempt).await });
            }
            Action::Kill(attempt) => {
                self.jobs.spawn(async move { world.kill(attempt).await });
            }
            Action::Check { attempt, probe, check, timeout } => {
                let ports = assignment.map(|assignment| assignment.ports.clone()).unwrap_or_default();
                self.jobs.spawn(async move {
                    let finding = match probes::check(&check, timeout).await {
                        Ok(asked) => world.judge_answer(&attempt.task, &ports, asked).await,
                        Err(why) => Finding::Bad(why),
                    };
                    world.tell(Event::Checked { attempt, probe, finding });
                });
            }
            Action::CleanUp { task, ending } => {
                self.jobs.spawn(async move { world.clean_up(task, ending).await });
            }
            Action::Forget(task) => {
                berth_failpoint::reach("agent.forget.before");
                // Lost with a crash it is done again: the store still knows the end.
                drop(world.journal.submit(vec![Record::Forgotten { task: task.to_string() }]));
                let mut shims = world.shims();
                shims.processes.remove(&task);
                world.suspects.remove(&task);
                world.own_sockets.forget(&task);
                if !shims.kept.contains(&task) {
                    shims.ending.remove(&task);
                }
            }
            Action::TellUnknown { .. } => {}
        }
    }

    /// Goes on with a shim that an earlier agent started, with images of these digests. `starting` are the attempts that
    /// it is still creating.
    pub fn keep(
        &mut self,
        task: TaskUid,
        conversation: Conversation,
        digests: Vec<String>,
        starting: Vec<Attempt>,
    ) {
        // Before anybody waits for it to talk.
        self.world.shims().kept.insert(task.clone());
        for attempt in starting {
            let world = self.world.clone();
            self.jobs.spawn(async move { world.settle(attempt).await });
        }
        let world = self.world.clone();
        self.jobs.spawn(async move { world.keep(task, conversation, digests).await });
    }
}

impl World {
    async fn prepare(self: Arc<Self>, assignment: Assignment, task: Arc<Task>) {
        let uid = assignment.uid.clone();
        let made = AssertUnwindSafe(self.make_home(assignment, task)).catch_unwind().await;
        match made.unwrap_or_else(|panic| Err(panicked(&*panic))) {
            Ok((digests, conversation)) => self.keep(uid, conversation, digests).await,
            Err(trouble) => self.tell(Event::Prepared { task: uid, outcome: Err(trouble) }),
        }
    }

    async fn make_home(
        self: &Arc<Self>,
        assignment: Assignment,
        task: Arc<Task>,
    ) -> Result<(Vec<String>, Conversation), Trouble> {
        let failed = |error: &dyn std::error::Error| Trouble { reason: CREATE_ERROR, message: chain(error) };
        let uid = assignment.uid.clone();
        let record = Record::Task { task: Box::new((*task).clone()) };
        self.journal.append(vec![record]).await.map_err(|e| failed(&e))?;
        let digests = match self.take_step(&assignment, Some(&task), Step::Make).await? {
            Outcome::Made(digests) => digests,
            Outcome::Furnished(_) => return Err(failed(&io::Error::other("the step made no home"))),
        };
        // The disk works while the shim starts; both have happened before a container is asked for.
        let world = self.clone();
        let on_disk = blocking(move || world.homes.sync(&assignment));
        let (on_disk, conversation) = tokio::join!(on_disk, self.reach_shim(&uid));
        on_disk?;
        berth_failpoint::reach("agent.shim.known");
        Ok((digests, conversation?))
    }

    /// A step of a preparation: here, or in a process of its own if the Task may have ended an agent.
    async fn take_step(
        self: &Arc<Self>,
        assignment: &Assignment,
        task: Option<&Task>,
        step: Step,
    ) -> Result<Outcome, Trouble> {
        if self.suspects.include(&assignment.uid) {
            return match task {
                Some(task) => self.suspects.take(&self.homes, task, step).await,
                None => Err(Trouble { reason: CREATE_ERROR, message: "the store has it no more".into() }),
            };
        }
        let (world, assignment) = (self.clone(), assignment.clone());
        blocking(move || alone::take(&world.homes, &assignment, &step)).await
    }

    /// Talks to the Task's shim, started first if there is none.
    async fn reach_shim(self: &Arc<Self>, task: &TaskUid) -> Result<Conversation, Trouble> {
        let failed = |error: &dyn std::error::Error| Trouble { reason: CREATE_ERROR, message: chain(error) };
        let socket = self.places.socket(task);
        if let Ok(conversation) = shim::connect(&socket, task.as_str()).await {
            return Ok(conversation);
        }
        let (world, bundle) = (self.clone(), self.places.bundle(task));
        blocking(move || world.shim.launch(&bundle)).await.map_err(|e| failed(&e))?;
        berth_failpoint::reach("agent.shim.launched");
        shim::connect(&socket, task.as_str()).await.map_err(|e| failed(&e))
    }

    /// Stays with a shim until it is gone; the Task is told to be prepared once ends are pushed.
    async fn keep(self: Arc<Self>, task: TaskUid, first: Conversation, digests: Vec<String>) {
        let process = first.process;
        self.knows_shim(&task, process);
        self.shims().kept.insert(task.clone());
        let mut prepared = Some(digests);
        let mut next = Some(first);
        while let Some(conversation) = next.take() {
            self.converse(&task, conversation, &mut prepared).await;
            while next.is_none() && process.runs() {
                tokio::time::sleep(RECONNECT).await;
                next = shim::connect(&self.places.socket(&task), task.as_str()).await.ok();
            }
        }
        let wanted = {
            let mut shims = self.shims();
            shims.kept.remove(&task);
            shims.ending.remove(&task)
        };
        if wanted {
            return;
        }
        tracing::warn!(task = %task, "a shim is lost");
        let (records, begun) = self.bury(&task).await;
        let ends = records.iter().map(|record| end(&task, record)).collect();
        self.tell(Event::ShimLost { task, ends, begun });
    }

    /// One conversation, from the subscription to its end. It also ends with the shim's process: a container that the
    /// shim had only created still holds the socket.
    async fn converse(&self, task: &TaskUid, conversation: Conversation, prepared: &mut Option<Vec<String>>) {
        let (shim, process) = (conversation.shim.clone(), conversation.process);
        let talk = conversation.talk(|record| {
            if !berth_failpoint::seeded_bug("exits-go-unheard") {
                self.tell(exited(task, &record));
            }
        });
        let listen = async {
            // Ends that came before the subscription are in the reports; the plan knows which are news.
            if let Ok(reports) = shim.subscribe().await {
                for report in reports {
                    if let ContainerState::Exited(record) = report.state {
                        self.tell(exited(task, &record));
                    }
                }
                self.shims().talking.insert(task.clone(), shim);
                if let Some(digests) = prepared.take() {
                    self.tell(Event::Prepared { task: task.clone(), outcome: Ok(digests) });
                }
            }
        };
        tokio::select! {
            _ = futures::future::join(talk, listen) => {}
            () = death(process) => {}
        }
        self.shims().talking.remove(task);
    }

    /// After a shim's death: its containers die too. The ends that it recorded, and the attempts that it ever began.
    async fn bury(self: &Arc<Self>, task: &TaskUid) -> (Vec<ExitRecord>, BTreeSet<Attempt>) {
        let (world, uid) = (self.clone(), task.clone());
        berth_failpoint::reach("agent.bury.before");
        let buried = blocking(move || {
            let subtree = world.hierarchies.subtree(&world.places.task_cgroup(&uid));
            let outcome = subtree.remove(DEATH);
            (outcome, world.exit_records(&uid), begun(&world.places, &uid))
        });
        let (outcome, records, begun) = buried.await;
        if let Err(error) = outcome {
            tracing::error!(task = %task, error = %chain(&error), "the containers of a lost shim could not be removed");
        }
        (records, begun)
    }

    /// Every end that the Task's shims recorded.
    pub fn exit_records(&self, task: &TaskUid) -> Vec<ExitRecord> {
        let folder = self.places.task(task).join("exits");
        let files: Vec<PathBuf> =
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        let json = files.iter().filter(|path| path.extension().is_some_and(|e| e == "json"));
        json.filter_map(|path| ExitRecord::read(path).ok().flatten()).collect()
    }

    async fn start(self: Arc<Self>, assignment: Assignment, task: Option<Arc<Task>>, attempt: Attempt) {
        // Without a shim, its loss is told by who keeps it.
        let Some(shim) = self.talking_shim(&attempt.task).await else { return };
        let starting =
            AssertUnwindSafe(self.start_with(&shim, assignment, task.as_deref(), &attempt)).catch_unwind();
        let started = match starting.await {
            Ok(started) => started,
            Err(panic) => {
                // It may have been asked for: it must not run beside the next attempt.
                let _ = shim.kill(&attempt.container).await;
                Err(StartError::Trouble(panicked(&*panic)))
            }
        };
        let outcome = match started {
            Ok(since) => Ok(since),
            Err(StartError::ShimGone) => return,
            Err(StartError::Trouble(trouble)) => Err(trouble),
        };
        self.tell(Event::Started { attempt, outcome });
    }

    async fn start_with(
        self: &Arc<Self>,
        shim: &Shim,
        assignment: Assignment,
        task: Option<&Task>,
        attempt: &Attempt,
    ) -> Result<berth_types::Timestamp, StartError> {
        let failed = |message: String| StartError::Trouble(Trouble { reason: CREATE_ERROR, message });
        // The shim is remembered together with what it is asked for first: until then it holds nothing.
        let known = self.shims().processes.get(&attempt.task).copied();
        let mut records: Vec<Record> = known
            .map(|process| Record::Shim { task: attempt.task.to_string(), process })
            .into_iter()
            .collect();
        records.push(Record::Attempt {
            task: attempt.task.to_string(),
            container: attempt.container.clone(),
            number: attempt.number,
            at: SteadyClock.now(),
        });
        let (journalled, held) = tokio::join!(self.journal.append(records), self.held_port(&assignment));
        journalled.map_err(|e| failed(chain(&e)))?;
        berth_failpoint::reach("agent.start.journalled");
        if let Some(trouble) = held {
            return Err(StartError::Trouble(trouble));
        }
        let step = Step::Furnish { container: attempt.container.clone(), number: attempt.number };
        let start = match self.take_step(&assignment, task, step).await.map_err(StartError::Trouble)? {
            Outcome::Furnished(start) => start,
            Outcome::Made(_) => return Err(failed("the step furnished no attempt".into())),
        };
        berth_failpoint::reach("agent.start.before");
        let started = self.start_once(shim, attempt, start).await;
        berth_failpoint::reach("agent.start.after");
        match started {
            Ok(running) => Ok(running.started_at),
            Err(ShimError::Gone | ShimError::Io(_)) => Err(StartError::ShimGone),
            Err(error @ ShimError::Silent) => {
                // Whatever comes of it must not run beside the next attempt.
                let _ = shim.kill(&attempt.container).await;
                Err(failed(chain(&error)))
            }
            Err(error @ (ShimError::Refused(_) | ShimError::Foreign(_))) => Err(failed(chain(&error))),
        }
    }

    /// Why the Task cannot have one of its ports.
    async fn held_port(self: &Arc<Self>, assignment: &Assignment) -> Option<Trouble> {
        if assignment.ports.is_empty() {
            return None;
        }
        let (world, uid, ports) = (self.clone(), assignment.uid.clone(), assignment.ports.clone());
        blocking(move || {
            let listeners = Listeners::read();
            ports.into_iter().find_map(|port| {
                let found = find(&listeners.in_the_way(port), || world.processes(&uid));
                let Found::Stranger(holder) = found else { return None };
                let reason = if port.assigned { PORT_HELD } else { CREATE_ERROR };
                Some(Trouble { reason, message: format!("port {} is {holder}", port.number) })
            })
        })
        .await
    }

    /// What a good answer from `asked` is worth: on a port of the Task it must come from the Task.
    async fn judge_answer(
        self: &Arc<Self>,
        task: &TaskUid,
        ports: &[TaskPort],
        asked: SocketAddr,
    ) -> Finding {
        let port = asked.port();
        if !ports.iter().any(|own| own.number == port) {
            return Finding::Good;
        }
        let (world, task) = (self.clone(), task.clone());
        blocking(move || {
            let sockets = Listeners::read().answering(asked);
            if world.own_sockets.include_one(&task, port, &sockets) {
                return Finding::Good;
            }
            match find(&sockets, || world.processes(&task)) {
                Found::Nobody => Finding::Good,
                Found::Own(socket) => {
                    world.own_sockets.remember(&task, port, socket);
                    Finding::Good
                }
                Found::Stranger(holder) => {
                    Finding::PortHeld { port, message: format!("port {port} is {holder}") }
                }
            }
        })
        .await
    }

    /// The processes of a Task; `None` when they cannot be read.
    fn processes(&self, task: &TaskUid) -> Option<BTreeSet<i32>> {
        self.hierarchies.subtree(&self.places.task_cgroup(task)).pids().ok()
    }

    /// Has the attempt started by its shim, however often the conversation with it breaks. A shim starts no attempt
    /// twice, so the call is made again where it may have been lost.
    async fn start_once(&self, shim: &Shim, attempt: &Attempt, start: Start) -> Result<Running, ShimError> {
        let (mut shim, mut again, mut refused) = (shim.clone(), false, None);
        loop {
            match shim.start(start.clone()).await {
                Err(ShimError::Gone | ShimError::Io(_)) => {}
                // By the call that seemed lost: what became of that one is asked for.
                Err(ShimError::Refused(why)) if again && why.reason == RefusalReason::WrongState => {
                    refused = Some(why);
                }
                answered => return answered,
            }
            again = true;
            let (talking, fate) = self.settled(attempt).await.ok_or(ShimError::Gone)?;
            shim = talking;
            match (fate, refused.take()) {
                (StartFate::Running(running), _) => return Ok(running),
                // The shim reported its end when the conversation began.
                (StartFate::Over, _) => return Err(ShimError::Gone),
                (StartFate::NotAsked, Some(why)) => return Err(ShimError::Refused(why)),
                (StartFate::NotAsked, None) => {}
            }
        }
    }

    /// Waits until an attempt is created or has failed, and returns its shim and that result; `None` when the shim is
    /// gone, which `keep` reports.
    async fn settled(&self, attempt: &Attempt) -> Option<(Shim, StartFate)> {
        loop {
            let shim = self.talking_shim(&attempt.task).await?;
            if let Some(fate) = shim.state().await.ok().and_then(|reports| fate(&reports, attempt)) {
                return Some((shim, fate));
            }
            tokio::time::sleep(RECONNECT).await;
        }
    }

    /// Reports the result of an attempt that an earlier agent began.
    async fn settle(self: Arc<Self>, attempt: Attempt) {
        let outcome = match self.settled(&attempt).await {
            Some((_, StartFate::Running(running))) => Ok(running.started_at),
            Some((_, StartFate::NotAsked)) => Err(Trouble {
                reason: CREATE_ERROR,
                message: "it could not be created; the reason was reported only to an earlier agent".into(),
            }),
            // `keep` reports its end, or that of the shim.
            Some((_, StartFate::Over)) | None => return,
        };
        self.tell(Event::Started { attempt, outcome });
    }

    /// The Task's shim once it talks; `None` when it is gone, which `keep` reports.
    async fn talking_shim(&self, task: &TaskUid) -> Option<Shim> {
        loop {
            {
                let shims = self.shims();
                if let Some(shim) = shims.talking.get(task).filter(|shim| shim.is_open()) {
                    return Some(shim.clone());
                }
                if !shims.kept.contains(task) {
                    return None;
                }
            }
            tokio::time::sleep(RECONNECT).await;
        }
    }

    async fn terminate(&self, attempt: Attempt) {
        let Some(shim) = self.shim(&attempt.task) else { return };
        berth_failpoint::reach("agent.stop.term");
        if let Err(error) = shim.terminate(&attempt.container).await {
            // It ended meanwhile, or KILL follows after the grace.
            tracing::debug!(task = %attempt.task, container = attempt.container, error = %error, "TERM was not sent");
        }
    }

    /// By the shim, or past it: a shim that does not talk must not keep its containers alive.
    async fn kill(self: Arc<Self>, attempt: Attempt) {
        berth_failpoint::reach("agent.stop.kill");
        if let Some(shim) = self.shim(&attempt.task)
            && shim.kill(&attempt.container).await.is_ok()
        {
            return;
        }
        let outcome = blocking(move || {
            let cgroup = self.places.container_cgroup(&attempt.task, &attempt.container);
            self.hierarchies.subtree(&cgroup).kill().map_err(|error| (attempt, error))
        });
        if let Err((attempt, error)) = outcome.await {
            tracing::error!(task = %attempt.task, container = attempt.container, error = %chain(&error), "KILL was not sent");
        }
    }

    async fn clean_up(self: Arc<Self>, task: TaskUid, ending: Ending) {
        let removal = AssertUnwindSafe(self.remove_all(&task, &ending)).catch_unwind().await;
        let outcome = removal.unwrap_or_else(|panic| Err(panicked(&*panic)));
        if let Err(trouble) = &outcome {
            tracing::warn!(task = %task, why = trouble.message, "a task could not be cleaned up yet");
        }
        self.tell(Event::Cleaned { task, outcome });
    }

    async fn remove_all(self: &Arc<Self>, task: &TaskUid, ending: &Ending) -> Result<(), Trouble> {
        let failed = |message: String| Trouble { reason: "CleanError", message };
        let record = Record::Ending { task: task.to_string(), ending: ending_record(ending) };
        match self.journal.append(vec![record]).await {
            // Cleaning is what makes room. Forgotten with a crash, the end is found again: nothing of the Task runs.
            Err(error) if error.is_full() => {}
            journalled => journalled.map_err(|e| failed(chain(&e)))?,
        }
        berth_failpoint::reach("agent.cleanup.journalled");
        self.end_shim(task).await;
        berth_failpoint::reach("agent.cleanup.shim-ended");
        self.remove_leftovers(task).await.map_err(failed)?;
        berth_failpoint::reach("agent.cleanup.after");
        Ok(())
    }

    /// Cgroups, runtime state, folder and socket of a Task.
    pub async fn remove_leftovers(self: &Arc<Self>, task: &TaskUid) -> Result<(), String> {
        let (world, uid) = (self.clone(), task.clone());
        blocking(move || {
            let subtree = world.hierarchies.subtree(&world.places.task_cgroup(&uid));
            subtree.remove(DEATH).map_err(|e| chain(&e))?;
            world.homes.remove(&uid).map_err(|e| format!("could not remove the task's folder: {e}"))
        })
        .await
    }

    /// Asks a Task's shim to end; kills it if it does not.
    pub async fn end_shim(&self, task: &TaskUid) {
        self.shims().ending.insert(task.clone());
        let known = self.shims().processes.get(task).copied();
        let (shim, process) = match self.shim(task) {
            Some(shim) => (Some(shim), known),
            None => (None, known),
        };
        let asked = match shim {
            Some(shim) => {
                tokio::time::timeout(DEATH, shim.shutdown()).await.is_ok_and(|outcome| outcome.is_ok())
            }
            None => self.shut_down_unkept(task).await,
        };
        let Some(process) = process else { return };
        if !asked
            && process.runs()
            && let Some(pid) = rustix::process::Pid::from_raw(process.pid)
        {
            // Its containers go with their cgroup.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let patience = tokio::time::Instant::now() + DEATH;
        while process.runs() && tokio::time::Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A shim that an earlier agent left, of a Task that ended.
    async fn shut_down_unkept(&self, task: &TaskUid) -> bool {
        let Ok(conversation) = shim::connect(&self.places.socket(task), task.as_str()).await else {
            return false;
        };
        let shim = conversation.shim.clone();
        let talk = conversation.talk(|_| ());
        let ask = async move { shim.shutdown().await.is_ok() };
        tokio::time::timeout(DEATH, async { tokio::join!(ask, talk).0 }).await.unwrap_or(false)
    }
}

/// What a shim says of an attempt that it was asked to start when the conversation broke, or by an earlier agent.
enum StartFate {
    Running(Running),
    /// It ended.
    Over,
    /// The call was lost, or it could not be started.
    NotAsked,
}

/// `None` while the attempt is being created.
fn fate(reports: &[ContainerReport], attempt: &Attempt) -> Option<StartFate> {
    let report = reports.iter().find(|report| report.container == attempt.container);
    Some(match report.map(|report| &report.state) {
        Some(ContainerState::Running(running)) if running.attempt == attempt.number => {
            StartFate::Running(running.clone())
        }
        Some(ContainerState::Starting { attempt: number }) if *number == attempt.number => return None,
        Some(ContainerState::Exited(record)) if record.attempt == attempt.number => StartFate::Over,
        Some(
            ContainerState::Running(_)
            | ContainerState::Starting { .. }
            | ContainerState::Exited(_)
            | ContainerState::Absent,
        )
        | None => StartFate::NotAsked,
    })
}

enum StartError {
    ShimGone,
    Trouble(Trouble),
}

#[cfg(test)]
#[path = "execute_tests.rs"]
mod tests;

/// An end as the shim saw it.
fn exited(task: &TaskUid, record: &ExitRecord) -> Event {
    berth_failpoint::reach("agent.exit.heard");
    let (attempt, exit) = end(task, record);
    Event::Exited { attempt, exit }
}

/// Which attempt ended and how, as the shim recorded it.
pub fn end(task: &TaskUid, record: &ExitRecord) -> (Attempt, Exit) {
    let attempt = Attempt { task: task.clone(), container: record.container.clone(), number: record.attempt };
    let code = record.end.code();
    let cause = if record.oom_killed() {
        ExitCause::OutOfMemory
    } else if code == 0 {
        ExitCause::Completed
    } else {
        ExitCause::Error
    };
    let message = match record.end {
        berth_shim_api::End::Code(_) => String::new(),
        berth_shim_api::End::Signal(signal) => format!("ended by signal {signal}"),
    };
    (attempt, Exit { code, cause, at: record.finished_at, message })
}
