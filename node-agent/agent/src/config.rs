//! The configuration of a node agent: a flag over the environment over the file over the default.

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_agent::homes::Views;
use berth_agent::plan::UNKNOWN_TASKS_LIVE;
use berth_client::{Durations, Options};
use berth_types::node::PortRange;
use clap::Parser;
use serde::Deserialize;

const SERVER: &str = "unix:/run/berth/api.sock";
const DATA: &str = "/var/lib/berth/node";
const RUN: &str = "/run/berth/node";
const PORTS: &str = "31000-32000";
const ADDRESS: &str = "127.0.0.1";
/// The most of the data folder's disk that may be in use, in percent.
const DISK_PRESSURE: u8 = 90;
const RECONNECT: Duration = Duration::from_millis(500);

/// What was typed.
#[derive(Debug, Parser)]
#[command(name = "node-agent", version, about = "Runs the Tasks that are bound to this machine")]
pub struct Flags {
    /// Where the servers listen, the first preferred [default: unix:/run/berth/api.sock]
    #[arg(long, env = "BERTH_SERVER", value_delimiter = ',')]
    server: Vec<String>,
    /// Folder of the journal, images, sandboxes and logs [default: /var/lib/berth/node]
    #[arg(long, env = "BERTH_NODE_DATA")]
    data: Option<PathBuf>,
    /// Folder of sockets and container state; a boot may empty it [default: /run/berth/node]
    #[arg(long, env = "BERTH_NODE_RUN")]
    run: Option<PathBuf>,
    /// Name of the Node [default: the host name]
    #[arg(long, env = "BERTH_NODE_NAME")]
    node_name: Option<String>,
    /// The shim's program [default: beside this one]
    #[arg(long, env = "BERTH_SHIM")]
    shim: Option<PathBuf>,
    /// Host ports that Tasks may be given [default: 31000-32000]
    #[arg(long, env = "BERTH_PORTS")]
    ports: Option<String>,
    /// Run Tasks without image, on a read-only view of this machine's root
    #[arg(long, env = "BERTH_ALLOW_HOST_ROOT")]
    allow_host_root: bool,
    /// Cgroup that holds all containers [default: berth- and the start of the cluster's uid]
    #[arg(long, env = "BERTH_CGROUP_PARENT")]
    cgroup_parent: Option<String>,
    /// Address under which this machine's Tasks answer [default: 127.0.0.1]
    #[arg(long, env = "BERTH_ADDRESS")]
    address: Option<String>,
    /// Be this many Nodes that run no containers and say they do
    #[arg(long, env = "BERTH_SIMULATE")]
    simulate: Option<u32>,
    /// A YAML file with any of: server, data, run, nodeName, shim, ports, allowHostRoot, cgroupParent, address, simulate,
    /// diskPressurePercent, reconnectMillis, unknownTasksMillis, client
    #[arg(long, env = "BERTH_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct File {
    server: Vec<String>,
    data: Option<PathBuf>,
    run: Option<PathBuf>,
    node_name: Option<String>,
    shim: Option<PathBuf>,
    ports: Option<String>,
    allow_host_root: bool,
    cgroup_parent: Option<String>,
    address: Option<String>,
    simulate: Option<u32>,
    disk_pressure_percent: Option<u8>,
    reconnect_millis: Option<u64>,
    unknown_tasks_millis: Option<u64>,
    client: Durations,
}

/// How an agent is to work.
#[derive(Debug)]
pub struct Config {
    /// Where the servers listen.
    pub servers: Vec<String>,
    /// Name of the Node; the prefix of names of simulated ones.
    pub node_name: String,
    /// Host ports that Tasks may be given.
    pub ports: PortRange,
    /// Address under which Tasks answer.
    pub address: String,
    /// How long it waits for what.
    pub pace: Pace,
    /// What it is.
    pub form: Form,
}

/// How long an agent waits for what. How often it is heard, the server tells.
#[derive(Debug)]
pub struct Pace {
    /// Before a server that failed is asked again.
    pub reconnect: Duration,
    /// Tasks that run here and that the store does not know are left alone for this long.
    pub unknown_tasks: Duration,
    /// For calls.
    pub client: Options,
}

/// What an agent is.
#[derive(Debug, PartialEq, Eq)]
pub enum Form {
    /// This machine.
    Machine {
        /// Folder of durable things.
        data: PathBuf,
        /// Folder of this boot's things.
        run: PathBuf,
        /// The shim's program.
        shim: PathBuf,
        /// Whether Tasks without image run.
        views: Views,
        /// Cgroup that holds all containers; none for the one of the cluster.
        cgroup_parent: Option<String>,
        /// With more than this share of the data folder's disk in use, in percent, the node is under pressure; with 100
        /// never.
        disk_pressure: u8,
    },
    /// Nodes without machines.
    Simulated {
        /// How many.
        nodes: u32,
    },
}

impl Config {
    /// Reads and checks everything; all faults at once. `own` is this program, `hostname` this machine.
    pub fn read(flags: Flags, own: &Path, hostname: &str) -> Result<Self, Vec<String>> {
        let file = match &flags.config {
            Some(path) => read_file(path).map_err(|fault| vec![fault])?,
            None => File::default(),
        };
        let mut faults = Vec::new();
        let node_name = flags.node_name.or(file.node_name).unwrap_or_else(|| hostname.to_ascii_lowercase());
        if !is_name(&node_name) {
            faults.push(format!("nodeName: must be letters a-z, digits, `-` and `.`, got `{node_name}`"));
        }
        let ports = flags.ports.or(file.ports).unwrap_or_else(|| PORTS.into());
        let ports = port_range(&ports).unwrap_or_else(|fault| {
            faults.push(fault);
            PortRange::default()
        });
        let address = flags.address.or(file.address).unwrap_or_else(|| ADDRESS.into());
        if address.parse::<std::net::IpAddr>().is_err() {
            faults.push(format!("address: must be an IP address, got `{address}`"));
        }
        let cgroup_parent = flags.cgroup_parent.or(file.cgroup_parent);
        if let Some(name) = cgroup_parent.as_deref().filter(|name| !is_name(name)) {
            faults.push(format!("cgroupParent: must be letters a-z, digits, `-` and `.`, got `{name}`"));
        }
        let form = match flags.simulate.or(file.simulate) {
            Some(nodes) => Form::Simulated { nodes },
            None => Form::Machine {
                data: absolute("data", flags.data.or(file.data), DATA, &mut faults),
                run: absolute("run", flags.run.or(file.run), RUN, &mut faults),
                shim: flags.shim.or(file.shim).unwrap_or_else(|| own.with_file_name("shim")),
                views: if flags.allow_host_root || file.allow_host_root {
                    Views::Allowed
                } else {
                    Views::Refused
                },
                cgroup_parent,
                disk_pressure: percent(file.disk_pressure_percent, &mut faults),
            },
        };
        let mut millis = |field: &str, given: Option<u64>, default: Duration| {
            if given == Some(0) {
                faults.push(format!("{field}: must be at least 1, got 0"));
            }
            given.map_or(default, Duration::from_millis)
        };
        let pace = Pace {
            reconnect: millis("reconnectMillis", file.reconnect_millis, RECONNECT),
            unknown_tasks: millis("unknownTasksMillis", file.unknown_tasks_millis, UNKNOWN_TASKS_LIVE),
            client: file.client.options(&mut faults),
        };
        let servers =
            [flags.server, file.server, vec![SERVER.into()]].into_iter().find(|list| !list.is_empty());
        let config = Self { servers: servers.unwrap_or_default(), node_name, ports, address, pace, form };
        if faults.is_empty() { Ok(config) } else { Err(faults) }
    }
}

fn read_file(path: &Path) -> Result<File, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|why| format!("config: could not read {}: {why}", path.display()))?;
    if text.trim().is_empty() {
        return Ok(File::default());
    }
    serde_yaml::from_str(&text).map_err(|why| format!("config: {}: {why}", path.display()))
}

fn is_name(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|b| word(b) || b == b'-' || b == b'.')
        && name.bytes().next().is_some_and(word)
}

fn port_range(text: &str) -> Result<PortRange, String> {
    let ends = text.split_once('-').and_then(|(a, b)| Some((a.parse::<u16>().ok()?, b.parse::<u16>().ok()?)));
    match ends {
        Some((first, last)) if 0 < first && first <= last => Ok(PortRange { first, last }),
        Some(_) | None => Err(format!("ports: must be FIRST-LAST within 1 to 65535, got `{text}`")),
    }
}

fn percent(given: Option<u8>, faults: &mut Vec<String>) -> u8 {
    let percent = given.unwrap_or(DISK_PRESSURE);
    if !(1..=100).contains(&percent) {
        faults.push(format!("diskPressurePercent: must be 1 to 100, got {percent}"));
    }
    percent
}

/// Containers, shims and sockets name these folders from elsewhere.
fn absolute(field: &str, given: Option<PathBuf>, default: &str, faults: &mut Vec<String>) -> PathBuf {
    let path = given.unwrap_or_else(|| default.into());
    if !path.is_absolute() {
        faults.push(format!("{field}: must be an absolute path, got `{}`", path.display()));
    }
    // The longest name below the run folder is a socket's.
    if field == "run" && path.as_os_str().len() + "/s/0123456789ab.sock".len() >= 108 {
        faults.push(format!("{field}: must be shorter than 88 bytes, for sockets lie below it"));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Config, Vec<String>> {
        let flags = Flags::parse_from([&["node-agent"], arguments].concat());
        Config::read(flags, Path::new("/usr/bin/node-agent"), "Host-1")
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let faults =
            read(&["--ports", "9-1", "--node-name", "A_b", "--data", "x", "--address", "here"]).unwrap_err();
        expect_test::expect![[r#"
            nodeName: must be letters a-z, digits, `-` and `.`, got `A_b`
            ports: must be FIRST-LAST within 1 to 65535, got `9-1`
            address: must be an IP address, got `here`
            data: must be an absolute path, got `x`"#]]
        .assert_eq(&faults.join("\n"));
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.yaml");
        std::fs::write(&path, "nodeName: n1\nports: 1-2\nserver: ['unix:/a']\n").unwrap();
        let config = read(&["--config", path.to_str().unwrap(), "--ports", "3-4"]).unwrap();
        assert_eq!((config.node_name.as_str(), config.ports.first), ("n1", 3));
        assert_eq!(config.servers, ["unix:/a"]);
        let Form::Machine { shim, disk_pressure, .. } = config.form else { panic!("not a machine") };
        assert_eq!((shim.as_path(), disk_pressure), (Path::new("/usr/bin/shim"), 90));
        for (given, fault) in [("101", true), ("0", true), ("100", false), ("1", false)] {
            std::fs::write(&path, format!("diskPressurePercent: {given}\n")).unwrap();
            assert_eq!(read(&["--config", path.to_str().unwrap()]).is_err(), fault, "{given}");
        }
        std::fs::write(&path, "nodename: n1\n").unwrap();
        assert!(
            read(&["--config", path.to_str().unwrap()]).unwrap_err()[0].contains("unknown field `nodename`")
        );
        assert_eq!(read(&[]).unwrap().node_name, "host-1");
    }
}
