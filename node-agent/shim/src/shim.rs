//! The shim's loop: one thread that waits for children, clients, helpers and output, and never for any one of them.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_shim_api::cgroup::Hierarchies;
use berth_shim_api::message::{FromShim, Outcome};
use berth_shim_api::{LogRotation, ProcessId, TaskBundle};
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use seccompiler::BpfProgram;

use crate::connection::{Connection, Standing};
use crate::container::{Asker, Container, Phase};
use crate::forked::Helper;
use crate::logs::RotatedFile;

/// The shim's own log: small, for it holds only what went wrong.
const OWN_LOG: LogRotation = LogRotation { bytes: 1 << 20, files: 2 };
/// More clients than agents could ever be.
const MOST_CONNECTIONS: usize = 32;

/// The shim of one Task.
pub struct Shim {
    /// What it was told at start.
    pub bundle: TaskBundle,
    /// The Task's containers, in the bundle's order.
    pub containers: Vec<Container>,
    /// What containers may call.
    pub filter: Arc<BpfProgram>,
    /// This process.
    pub process: ProcessId,
    /// Set when the shim is to end.
    pub ending: bool,
    listener: UnixListener,
    children: SignalFd,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    log: RotatedFile,
}

/// Something that `poll` found ready.
#[derive(Debug, Clone, Copy)]
enum Ready {
    Child,
    Client,
    Connection(u64),
    Container(usize),
}

impl Shim {
    /// A shim that listens, with nothing started.
    pub fn new(
        bundle: TaskBundle,
        listener: UnixListener,
        children: SignalFd,
        filter: BpfProgram,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let hierarchies = Hierarchies::discover()?;
        let containers = bundle.containers.iter().map(|config| Container {
            config: config.clone(),
            cgroups: hierarchies.subtree(&config.cgroup),
            newest_attempt: None,
            mounts: Vec::new(),
            phase: Phase::Absent,
        });
        Ok(Self {
            containers: containers.collect(),
            filter: Arc::new(filter),
            process: ProcessId::own()?,
            ending: false,
            listener,
            children,
            connections: BTreeMap::new(),
            next_connection: 0,
            log: RotatedFile::open(&bundle.shim_log(), OWN_LOG)?,
            bundle,
        })
    }

    /// Serves until a client ends it.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.ending {
            for ready in self.wait()? {
                self.handle(ready);
            }
            self.do_what_is_due(Instant::now());
        }
        Ok(())
    }

    /// Appends a line to the shim's own log.
    pub fn note(&mut self, text: &str) {
        use berth_types::Clock;
        let now = berth_types::SystemClock.now();
        // There is nobody to tell that a log cannot be written.
        let _ = self.log.append(format!("{now} {}\n", text.trim_end()).as_bytes());
    }

    /// Answers a call; a client that is gone needs no answer.
    pub fn reply(&mut self, asker: Asker, outcome: Outcome) {
        let line = FromShim::Reply { id: asker.call, outcome };
        self.send(asker.connection, &line);
    }

    /// Tells every subscriber.
    pub fn announce(&mut self, line: &FromShim) {
        let subscribed = self.connections.iter().filter(|(_, c)| c.standing == Standing::Subscribed);
        for key in subscribed.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.send(key, line);
        }
    }

    /// Changes what was agreed on with a client.
    pub fn set_standing(&mut self, connection: u64, standing: Standing) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.standing = standing;
        }
    }

    /// Sends a line to a client, or drops a client that is gone or too slow.
    pub fn send<T: serde::Serialize>(&mut self, key: u64, line: &T) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        if connection.send(line).is_err() {
            self.connections.remove(&key);
        }
    }

    fn wait(&self) -> io::Result<Vec<Ready>> {
        let mut watched = vec![
            (Ready::Child, PollFd::new(&self.children, PollFlags::IN)),
            (Ready::Client, PollFd::new(&self.listener, PollFlags::IN)),
        ];
        for (key, connection) in &self.connections {
            let behind = if connection.is_behind() { PollFlags::OUT } else { PollFlags::empty() };
            let socket = PollFd::from_borrowed_fd(connection.socket(), PollFlags::IN | behind);
            watched.push((Ready::Connection(*key), socket));
        }
        for (position, container) in self.containers.iter().enumerate() {
            let pipes = container.pipes().into_iter();
            watched.extend(
                pipes.map(|pipe| (Ready::Container(position), PollFd::from_borrowed_fd(pipe, PollFlags::IN))),
            );
        }
        let (keys, mut fds): (Vec<Ready>, Vec<PollFd>) = watched.into_iter().unzip();
        match poll(&mut fds, self.patience(Instant::now()).as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(keys
            .into_iter()
            .zip(&fds)
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|(key, _)| key)
            .collect())
    }

    fn patience(&self, now: Instant) -> Option<Timespec> {
        let of = |container: &Container| container.due().into_iter().chain(container.log_due()).min();
        let due = self.containers.iter().filter_map(of).min()?;
        let left = due.saturating_duration_since(now).max(Duration::from_millis(1));
        Some(Timespec::try_from(left).expect("deadlines are minutes away at most"))
    }

    fn handle(&mut self, ready: Ready) {
        match ready {
            Ready::Child => self.reap(),
            Ready::Client => self.welcome_client(),
            Ready::Connection(key) => self.serve(key),
            Ready::Container(position) => {
                self.hear_helper(position);
                if let Some(log) = self.containers[position].log() {
                    log.read_some();
                }
            }
        }
    }

    /// What the signal says is not used: one signal may stand for many children.
    fn reap(&mut self) {
        while let Ok(Some(_)) = self.children.read_signal() {}
        self.reap_children();
    }

    fn welcome_client(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        if self.connections.len() >= MOST_CONNECTIONS {
            return;
        }
        if let Ok(connection) = Connection::new(stream) {
            self.connections.insert(self.next_connection, connection);
            self.next_connection += 1;
        }
    }

    fn serve(&mut self, key: u64) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let lines = connection.flush().and_then(|()| connection.lines());
        let Ok(lines) = lines else {
            self.connections.remove(&key);
            return;
        };
        for line in lines {
            match self.connections.get(&key).map(|connection| connection.standing) {
                Some(Standing::Unknown) => self.greet(key, &line),
                Some(Standing::Welcome | Standing::Subscribed) => self.call(key, &line),
                Some(Standing::Closing) | None => break,
            }
        }
        if self.connections.get(&key).is_some_and(|c| c.standing == Standing::Closing && !c.is_behind()) {
            self.connections.remove(&key);
        }
    }
}

impl Container {
    /// Everything to be read for it: its output, and its helper's messages.
    fn pipes(&self) -> Vec<BorrowedFd<'_>> {
        let mut pipes = Vec::new();
        match &self.phase {
            Phase::Starting(starting) => pipes.extend(starting.log.pipes()),
            Phase::Alive(alive) => pipes.extend(alive.log.pipes()),
            Phase::Absent | Phase::Ended(_) | Phase::Removing(_) => {}
        }
        pipes.extend(self.helper().map(Helper::messages));
        pipes
    }
}
