//! What clients ask for.

use std::fs;
use std::path::PathBuf;

use berth_shim_api::cgroup::CgroupError;
use berth_shim_api::message::{
    Answer, Call, Greeting, Hello, Outcome, Refusal, RefusalReason, Request, Start, VERSION,
};
use nix::unistd::Pid;

use crate::connection::Standing;
use crate::container::{Asker, Container, Phase, Removing, Starting};
use crate::forked::{Helper, Told, chain};
use crate::lifecycle::{self, Launch, Remains};
use crate::logs::ContainerLog;
use crate::mounts;
use crate::shim::Shim;

/// What is known of a call at once: the outcome, or that a helper will bring it.
enum Settled {
    Now(Outcome),
    Later,
}

fn refused(reason: RefusalReason, message: impl Into<String>) -> Settled {
    Settled::Now(Outcome::Refused(Refusal { reason, message: message.into() }))
}

fn done() -> Settled {
    Settled::Now(Outcome::Ok(Answer::Done))
}

impl Shim {
    /// Takes a client's first line.
    pub fn greet(&mut self, key: u64, line: &[u8]) {
        let spoken = serde_json::from_slice::<Hello>(line);
        let greeting = match spoken {
            Ok(hello) if (hello.oldest..=hello.newest).contains(&VERSION) => {
                self.set_standing(key, Standing::Welcome);
                Greeting::Welcome {
                    version: VERSION,
                    task_uid: self.bundle.task_uid.clone(),
                    shim: self.process,
                }
            }
            Ok(hello) => {
                self.set_standing(key, Standing::Closing);
                let (oldest, newest) = (hello.oldest, hello.newest);
                Greeting::Refused {
                    why: format!("this shim speaks version {VERSION}, not {oldest} to {newest}"),
                }
            }
            Err(_) => {
                self.set_standing(key, Standing::Closing);
                Greeting::Refused { why: "the first line must be a hello".into() }
            }
        };
        self.send(key, &greeting);
    }

    /// Takes a call.
    pub fn call(&mut self, connection: u64, line: &[u8]) {
        let Ok(call) = serde_json::from_slice::<Call>(line) else {
            let message = format!("no valid call: {}", String::from_utf8_lossy(line));
            let outcome = Outcome::Refused(Refusal { reason: RefusalReason::Invalid, message });
            return self.reply(Asker { connection, call: 0 }, outcome);
        };
        let asker = Asker { connection, call: call.id };
        match self.settle(asker, call.request) {
            Settled::Now(outcome) => self.reply(asker, outcome),
            Settled::Later => {}
        }
    }

    fn settle(&mut self, asker: Asker, request: Request) -> Settled {
        match request {
            Request::State => self.state(),
            Request::Subscribe => {
                self.set_standing(asker.connection, Standing::Subscribed);
                self.state()
            }
            Request::Shutdown => self.shut_down(asker),
            Request::Start(start) => match self.position(&start.container) {
                Ok(position) => self.start(position, start, asker),
                Err(refused) => refused,
            },
            Request::Signal { container, signal } => match self.position(&container) {
                Ok(position) => self.signal(position, signal),
                Err(refused) => refused,
            },
            Request::Kill { container } => match self.position(&container) {
                Ok(position) => self.kill(position),
                Err(refused) => refused,
            },
            Request::Delete { container } => match self.position(&container) {
                Ok(position) => self.delete(position, asker),
                Err(refused) => refused,
            },
        }
    }

    fn position(&self, name: &str) -> Result<usize, Settled> {
        let found = self.containers.iter().position(|container| container.config.name == name);
        found.ok_or_else(|| refused(RefusalReason::Invalid, format!("this task has no container {name}")))
    }

    fn state(&self) -> Settled {
        let reports = self.containers.iter().map(Container::report).collect();
        Settled::Now(Outcome::Ok(Answer::State(reports)))
    }

    fn start(&mut self, position: usize, start: Start, asker: Asker) -> Settled {
        let container = &self.containers[position];
        let name = &container.config.name;
        if let Some(why) = container.cannot_start(start.attempt) {
            return refused(RefusalReason::WrongState, format!("container {name} {why}"));
        }
        let record = self.bundle.exit_path(name, start.attempt);
        if record.exists() {
            return refused(RefusalReason::WrongState, format!("{} is there already", record.display()));
        }
        match self.begin(position, start, asker) {
            Ok(()) => Settled::Later,
            Err(error) => {
                refused(RefusalReason::CannotStart, format!("could not prepare the start: {error}"))
            }
        }
    }

    fn begin(&mut self, position: usize, start: Start, asker: Asker) -> std::io::Result<()> {
        let (log, output) = ContainerLog::open(&start.log, self.bundle.log_rotation)?;
        let earlier = self.remains(position);
        let attempt = start.attempt;
        let mounts: Vec<PathBuf> = start.mounts.iter().map(|mount| mounts::target(mount).into()).collect();
        let launch = Launch {
            container: self.containers[position].config.clone(),
            id: self.bundle.runtime_id(position, attempt),
            filter: self.filter.clone(),
            earlier,
            start,
            output,
        };
        berth_failpoint::reach("shim.start.before");
        let helper = Helper::spawn(move |telling| lifecycle::launch(launch, telling))?;
        let container = &mut self.containers[position];
        container.newest_attempt = Some(attempt);
        // Those of attempts before stay on the list until everything is known to be gone.
        container.mounts.retain(|known| !mounts.contains(known));
        container.mounts.extend(mounts);
        container.phase =
            Phase::Starting(Starting { attempt, helper, log, process: None, early_end: None, asker });
        Ok(())
    }

    fn signal(&mut self, position: usize, signal: i32) -> Settled {
        let Phase::Alive(alive) = &self.containers[position].phase else {
            return refused(RefusalReason::WrongState, "the container does not run");
        };
        let Ok(signal) = nix::sys::signal::Signal::try_from(signal) else {
            return refused(RefusalReason::Invalid, format!("there is no signal {signal}"));
        };
        // Our child, and not reaped yet: the number is still its own.
        match nix::sys::signal::kill(Pid::from_raw(alive.running.process.pid), signal) {
            Ok(()) => done(),
            Err(error) => refused(RefusalReason::WrongState, format!("could not send {signal}: {error}")),
        }
    }

    fn kill(&mut self, position: usize) -> Settled {
        match &self.containers[position].phase {
            Phase::Alive(_) | Phase::Starting(_) => match self.kill_cgroup(position) {
                Ok(()) => done(),
                Err(error) => refused(RefusalReason::Leftover, chain(&error)),
            },
            Phase::Absent | Phase::Ended(_) | Phase::Removing(_) => {
                refused(RefusalReason::WrongState, "the container does not run")
            }
        }
    }

    fn delete(&mut self, position: usize, asker: Asker) -> Settled {
        let remains = self.remains(position);
        let container = &mut self.containers[position];
        let record = match &mut container.phase {
            Phase::Starting(_) | Phase::Alive(_) => {
                return refused(RefusalReason::WrongState, "the container has not ended");
            }
            Phase::Removing(removing) => {
                removing.askers.push(asker);
                return Settled::Later;
            }
            Phase::Absent => None,
            Phase::Ended(record) => Some(record.clone()),
        };
        let removal = Helper::spawn(move |telling| {
            telling.tell(&match lifecycle::remove(&remains) {
                Ok(()) => Told::Removed,
                Err(refusal) => Told::Failed(refusal),
            });
        });
        match removal {
            Ok(helper) => {
                container.phase = Phase::Removing(Removing { record, helper, askers: vec![asker] });
                Settled::Later
            }
            Err(error) => refused(RefusalReason::Leftover, format!("could not fork: {error}")),
        }
    }

    /// Nothing else is left to do, so this alone may wait.
    fn shut_down(&mut self, asker: Asker) -> Settled {
        for container in &self.containers {
            match container.phase {
                Phase::Absent | Phase::Ended(_) => {}
                Phase::Starting(_) | Phase::Alive(_) | Phase::Removing(_) => {
                    let name = &container.config.name;
                    return refused(
                        RefusalReason::WrongState,
                        format!("container {name} is not ended and done with"),
                    );
                }
            }
        }
        berth_failpoint::reach("shim.shutdown.before");
        for position in 0..self.containers.len() {
            if let Err(refusal) = lifecycle::remove(&self.remains(position)) {
                return Settled::Now(Outcome::Refused(refusal));
            }
        }
        // Fails where it is not there, and otherwise the agent that finds it stale removes it.
        let _ = fs::remove_file(&self.bundle.socket);
        berth_failpoint::reach("shim.shutdown.after");
        self.ending = true;
        self.reply(asker, Outcome::Ok(Answer::Done));
        Settled::Later
    }

    /// What there may be of a container.
    fn remains(&self, position: usize) -> Remains {
        let container = &self.containers[position];
        Remains {
            cgroups: container.cgroups.clone(),
            state_root: self.bundle.state_root.clone(),
            ids: self.bundle.runtime_ids(position),
            mounts: container.mounts.clone(),
        }
    }

    /// Kills everything of a container, who brings it up included, and has it repeated until it has ended.
    pub fn kill_cgroup(&mut self, position: usize) -> Result<(), CgroupError> {
        berth_failpoint::reach("shim.kill.before");
        let container = &mut self.containers[position];
        if let Some(helper) = container.helper() {
            helper.kill();
        }
        container.cgroups.kill()?;
        if let Phase::Alive(alive) = &mut container.phase {
            alive.kill_again = Some(std::time::Instant::now() + super::KILL_PAUSE);
        }
        Ok(())
    }
}

impl Container {
    /// Why attempt `attempt` cannot be started now.
    fn cannot_start(&self, attempt: u32) -> Option<String> {
        match &self.phase {
            Phase::Starting(_) => return Some("is being started".into()),
            Phase::Alive(_) => return Some("runs already".into()),
            Phase::Removing(_) => return Some("is being removed".into()),
            Phase::Absent | Phase::Ended(_) => {}
        }
        let newest = self.newest_attempt.filter(|newest| *newest >= attempt)?;
        Some(format!("was at attempt {newest} already, so {attempt} is no new one"))
    }
}
