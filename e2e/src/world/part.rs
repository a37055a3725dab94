//! The processes of a cluster, and how each is started in a world.

use std::collections::BTreeMap;
use std::process::Command;

use super::{StoreForm, World};
use crate::binary;
use crate::faults::Relay;

/// A process of the cluster. A world has the first three, and the others where its plan says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The API and its store.
    Apiserver,
    /// Another one over the same etcd.
    SecondApiserver,
    /// Every built-in controller.
    Controllers,
    /// Its standby.
    SecondControllers,
    /// The agent of the node `one`.
    Agent,
    /// The agent of the node `two`.
    SecondAgent,
    /// Agents of many nodes without containers, in one process; their names begin with `sim`.
    Simulated,
}

impl Part {
    /// The parts of the smallest cluster, in the order in which they start.
    pub const ALL: [Part; 3] = [Part::Apiserver, Part::Controllers, Part::Agent];

    /// Its name in logs and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Apiserver => "apiserver",
            Self::SecondApiserver => "apiserver-two",
            Self::Controllers => "controllers",
            Self::SecondControllers => "controllers-two",
            Self::Agent => "node-agent",
            Self::SecondAgent => "node-agent-two",
            Self::Simulated => "node-agent-simulated",
        }
    }

    /// The program that it runs.
    fn program(self) -> &'static str {
        match self {
            Self::Apiserver | Self::SecondApiserver => "apiserver",
            Self::Controllers | Self::SecondControllers => "controllers",
            Self::Agent | Self::SecondAgent | Self::Simulated => "node-agent",
        }
    }

    /// The node whose agent it is, and the name of that agent's folders below data and run.
    pub(super) fn node(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Agent => Some(("one", "node")),
            Self::SecondAgent => Some(("two", "two/node")),
            Self::Apiserver
            | Self::SecondApiserver
            | Self::Controllers
            | Self::SecondControllers
            | Self::Simulated => None,
        }
    }
}

/// What a part is given beside what every world gives it.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    /// Further arguments.
    pub(super) args: Vec<String>,
    /// Environment.
    pub(super) env: BTreeMap<String, String>,
    /// The text of its configuration file.
    pub(super) config: Option<String>,
    /// Where it finds the API, instead of the world's servers.
    pub(super) servers: Option<String>,
    /// The only members of etcd that it knows, by number; none for all.
    pub(super) members: Vec<usize>,
    /// A program with arguments that starts it, such as `nsenter --net=FILE`.
    pub(super) launcher: Vec<String>,
}

impl World {
    /// The command that starts a part of this world.
    pub(super) fn command(&self, part: Part) -> Command {
        let given = self.plan.given(part);
        let mut words = given.launcher.clone();
        words.push(binary(part.program()).display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).envs(&given.env);
        // As `ctl up` starts it.
        command.env("MIMALLOC_PURGE_DELAY", "0");
        command.env("BERTH_FAILPOINTS", self.orders(part)).env("BERTH_FAILPOINT_HITS", self.hits());
        match part {
            Part::Apiserver | Part::SecondApiserver => self.serve(part, &mut command),
            Part::Controllers
            | Part::SecondControllers
            | Part::Agent
            | Part::SecondAgent
            | Part::Simulated => {
                let link = self.links.get(&part).map(Relay::address);
                let servers = link.or(given.servers.clone()).unwrap_or_else(|| self.servers());
                command.args(["--server", &servers]);
            }
        }
        if let Some((node, folder)) = part.node() {
            command.args(["--allow-host-root", "--node-name", node]);
            command.arg("--data").arg(self.data().join(folder));
            command.arg("--run").arg(self.run().join(folder));
        }
        if part == Part::SecondAgent {
            // Both may share the network of the machine.
            command.args(["--ports", "32100-32600"]);
        }
        if part == Part::Simulated {
            command.args(["--node-name", "sim", "--simulate", &self.plan.simulated.to_string()]);
        }
        if given.config.is_some() {
            command.arg("--config").arg(self.config(part));
        }
        command.args(&given.args);
        command
    }

    fn serve(&self, part: Part, command: &mut Command) {
        command.args(["--listen", &self.address(part)]).envs(self.environment());
        match (self.plan.form, &self.etcd) {
            (StoreForm::Etcd(_), Some(etcd)) => {
                let (all, known) = (etcd.urls(), self.plan.given(part).members);
                let urls: Vec<_> = known.iter().map(|member| all[*member].clone()).collect();
                let urls = if urls.is_empty() { all } else { urls };
                command.args(["--allow-unsupported-etcd", "--store", &format!("etcd:{}", urls.join(","))])
            }
            _ => command.args(["--store", &format!("embedded:{}", self.data().join("store").display())]),
        };
    }
}
