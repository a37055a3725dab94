//! What becomes of children: helpers that report and end, containers that end.

use std::time::Instant;

use berth_shim_api::message::{Answer, FromShim, Outcome, Refusal, RefusalReason, Running};
use berth_shim_api::{End, ExitRecord};
use berth_types::{Clock, SystemClock};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::container::{Alive, Asker, Container, Phase, Removing, Starting};
use crate::forked::{Told, chain};
use crate::shim::Shim;

impl Shim {
    /// Takes the ends of all children that have ended; those nobody knows are a container's orphans.
    pub fn reap_children(&mut self) {
        loop {
            let (pid, end) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), End::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), End::Signal(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            // A helper tells of a first process before that can end, so after this its number is known.
            for position in 0..self.containers.len() {
                self.hear_helper(position);
            }
            self.child_ended(pid, end);
        }
    }

    /// Takes what a container's helper has told.
    pub fn hear_helper(&mut self, position: usize) {
        let told = match &mut self.containers[position].phase {
            Phase::Starting(starting) => starting.helper.told(),
            Phase::Removing(removing) => removing.helper.told(),
            Phase::Absent | Phase::Alive(_) | Phase::Ended(_) => return,
        };
        for message in told {
            self.helper_told(position, message);
        }
    }

    /// Does what has come due: gives up helpers, repeats kills.
    pub fn do_what_is_due(&mut self, now: Instant) {
        for position in 0..self.containers.len() {
            if let Some(log) = self.containers[position].log() {
                log.write_half_lines(now);
            }
            if self.containers[position].due().is_none_or(|due| due > now) {
                continue;
            }
            match self.containers[position].helper() {
                Some(helper) => helper.kill(),
                None => self.repeat_kill(position),
            }
        }
    }

    fn repeat_kill(&mut self, position: usize) {
        if let Err(error) = self.kill_cgroup(position) {
            self.note(&chain(&error));
        }
    }

    fn helper_told(&mut self, position: usize, told: Told) {
        let phase = std::mem::replace(&mut self.containers[position].phase, Phase::Absent);
        match (told, phase) {
            (Told::Created(process), Phase::Starting(mut starting)) => {
                berth_failpoint::reach("shim.start.created");
                starting.process = Some(process);
                self.containers[position].phase = Phase::Starting(starting);
            }
            (Told::Started, Phase::Starting(starting)) => self.started(position, starting),
            (Told::Removed, Phase::Removing(removing)) => self.removed(position, removing),
            (Told::Failed(refusal), Phase::Starting(starting)) => {
                self.not_started(position, starting, refusal)
            }
            (Told::Failed(refusal), Phase::Removing(removing)) => {
                self.not_removed(position, removing, &refusal)
            }
            // What no helper says in this phase changes nothing.
            (Told::Created(_) | Told::Started | Told::Removed | Told::Failed(_), phase) => {
                self.containers[position].phase = phase;
            }
        }
    }

    fn started(&mut self, position: usize, starting: Starting) {
        let Some(process) = starting.process else {
            let message = "the helper named no process".into();
            let refusal = Refusal { reason: RefusalReason::CannotStart, message };
            return self.not_started(position, starting, refusal);
        };
        let running = Running { attempt: starting.attempt, process, started_at: SystemClock.now() };
        let alive = Alive { running: running.clone(), log: starting.log, kill_again: None };
        self.containers[position].phase = Phase::Alive(alive);
        berth_failpoint::reach("shim.start.answer");
        self.reply(starting.asker, Outcome::Ok(Answer::Started(running)));
        if let Some(end) = starting.early_end {
            self.container_ended(position, end);
        }
    }

    fn not_started(&mut self, position: usize, starting: Starting, mut refusal: Refusal) {
        let said = starting.helper.said();
        if !said.is_empty() {
            self.note(&said);
        }
        if let (RefusalReason::CannotStart, Some(cause)) = (refusal.reason, first_cause(&said)) {
            self.note(&refusal.message);
            let step = refusal.message.split(": ").next().unwrap_or_default();
            refusal.message = format!("{step}: {cause}");
        }
        starting.log.finish();
        self.containers[position].phase = Phase::Absent;
        self.reply(starting.asker, Outcome::Refused(refusal));
    }

    fn removed(&mut self, position: usize, removing: Removing) {
        let container = &mut self.containers[position];
        container.phase = Phase::Absent;
        container.mounts.clear();
        self.reply_all(&removing.askers, &Outcome::Ok(Answer::Done));
    }

    fn not_removed(&mut self, position: usize, removing: Removing, refusal: &Refusal) {
        self.containers[position].phase = removing.record.map_or(Phase::Absent, Phase::Ended);
        self.reply_all(&removing.askers, &Outcome::Refused(refusal.clone()));
    }

    fn reply_all(&mut self, askers: &[Asker], outcome: &Outcome) {
        for asker in askers {
            self.reply(*asker, outcome.clone());
        }
    }

    fn child_ended(&mut self, pid: i32, end: End) {
        for position in 0..self.containers.len() {
            match &mut self.containers[position].phase {
                Phase::Starting(starting) if starting.helper.pid() == pid => {
                    return self.helper_ended(position, end);
                }
                Phase::Removing(removing) if removing.helper.pid() == pid => {
                    return self.helper_ended(position, end);
                }
                Phase::Starting(starting) if starting.process.is_some_and(|process| process.pid == pid) => {
                    starting.early_end = Some(end);
                    return;
                }
                Phase::Alive(alive) if alive.running.process.pid == pid => {
                    return self.container_ended(position, end);
                }
                Phase::Absent
                | Phase::Starting(_)
                | Phase::Alive(_)
                | Phase::Ended(_)
                | Phase::Removing(_) => {}
            }
        }
    }

    /// A helper that ends in its phase has not told how its work came out: it was killed.
    fn helper_ended(&mut self, position: usize, end: End) {
        let given_up = self.containers[position].due().is_some_and(|due| due <= Instant::now());
        let (reason, message) = match given_up {
            true => (RefusalReason::TimedOut, "the operation took too long and was given up".to_owned()),
            false => {
                (RefusalReason::CannotStart, format!("the operation's process ended with {}", end.code()))
            }
        };
        if let Err(error) = self.containers[position].cgroups.kill() {
            self.note(&chain(&error));
        }
        self.helper_told(position, Told::Failed(Refusal { reason, message }));
    }

    /// The record is on disk and the log complete before anybody is told.
    fn container_ended(&mut self, position: usize, end: End) {
        let container = &mut self.containers[position];
        let Phase::Alive(alive) = std::mem::replace(&mut container.phase, Phase::Absent) else { return };
        berth_failpoint::reach("shim.exit.seen");
        let oom_kills = container.cgroups.oom_kills();
        // Without its first process the container is over: what it left running goes too.
        let killed = container.cgroups.kill();
        let lost = alive.log.finish();
        let record = record_of(container, alive.running, end, oom_kills);
        let path = self.bundle.exit_path(&record.container, record.attempt);
        self.containers[position].phase = Phase::Ended(record.clone());
        if let Err(error) = record.write(&path) {
            self.note(&format!("could not write {}: {error}", path.display()));
        }
        berth_failpoint::reach("shim.exit.written");
        if let Err(error) = killed {
            self.note(&chain(&error));
        }
        if lost > 0 {
            self.note(&format!(
                "{lost} bytes of the log of container {} could not be written",
                record.container
            ));
        }
        self.announce(&FromShim::Exited(record));
    }
}

fn record_of(container: &Container, running: Running, end: End, oom_kills: u64) -> ExitRecord {
    ExitRecord {
        container: container.config.name.clone(),
        attempt: running.attempt,
        process: running.process,
        end,
        oom_kills,
        started_at: running.started_at,
        finished_at: SystemClock.now(),
    }
}

/// libcontainer's own errors do not name their cause; the first thing it logs does.
fn first_cause(said: &str) -> Option<&str> {
    let (_, logged) = said.lines().find_map(|line| line.split_once(" ERROR "))?;
    logged.split_once(": ").map(|(_, cause)| cause)
}
