//! What a Task asks of this node, in domain types: made from a valid Task, and all that a plan sees of it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use berth_types::Timestamp;
use berth_types::image::ImageRef;
use berth_types::name;
use berth_types::quantity::{Bytes, Millicores, Quantity, ResourceList};
use berth_types::task::{Container, IntOrString, Probe, RESTARTS_BEFORE, Task};

/// uid of a Task: 32 lower-case hex digits. Every id, path and cgroup on the node is made of it, never of a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskUid(String);

impl TaskUid {
    /// Reads a uid; none when it is anything but 32 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 32 && text.bytes().all(hex)).then(|| Self(text.into()))
    }

    /// The uid as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for names that must stay short.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for TaskUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a Task asks of this node.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Whose it is.
    pub uid: TaskUid,
    /// Namespace of the Task.
    pub namespace: String,
    /// Name of the Task.
    pub name: String,
    /// What runs; at least one.
    pub containers: Vec<Program>,
    /// Its host ports, of all containers.
    pub ports: Vec<TaskPort>,
    /// How often containers restart in place.
    pub restart: RestartPolicy,
    /// How long a stopping Task that was ready goes on answering.
    pub drain: Duration,
    /// Time between TERM and KILL.
    pub grace: Duration,
    /// What the node sets aside for it: the sum over its containers.
    pub requests: ResourceList,
}

/// A host port of a Task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskPort {
    /// The port.
    pub number: u16,
    /// Whether it was picked from the node's range: a Task that replaces this one gets another.
    pub assigned: bool,
}

/// One container of a Task.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// Unique in the Task; a DNS label.
    pub name: String,
    /// What its root filesystem is made of.
    pub root: Root,
    /// Replaces the image's entrypoint.
    pub command: Vec<String>,
    /// Replaces the image's arguments.
    pub args: Vec<String>,
    /// Where the command starts; empty leaves it to the image.
    pub working_dir: String,
    /// Environment of the manifest, then the ports; in order.
    pub env: Vec<(String, String)>,
    /// User id, over the image's.
    pub user: Option<u32>,
    /// Group id, over the image's.
    pub group: Option<u32>,
    /// CPU set aside, which weighs it against others.
    pub cpu_request: Option<Millicores>,
    /// The most CPU.
    pub cpu_limit: Option<Millicores>,
    /// The most memory, swap included.
    pub memory_limit: Option<Bytes>,
    /// The most processes and threads.
    pub pids_limit: Option<i64>,
    /// Whether it may get requests.
    pub readiness: Option<ProbePlan>,
    /// Whether it must be restarted.
    pub liveness: Option<ProbePlan>,
}

/// What a container's root filesystem is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// A read-only view of the node's own root.
    Host,
    /// An OCI image layout folder; without tag it must hold one image.
    Layout {
        /// Absolute path of the folder.
        dir: PathBuf,
        /// `org.opencontainers.image.ref.name` of the image.
        tag: Option<String>,
    },
}

/// Restarting in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Restarts within `within` that are borne.
    pub in_place: u32,
    /// The window they are counted in.
    pub within: Duration,
    /// Wait before the first restart of a window; doubled with each.
    pub initial: Duration,
    /// The longest wait.
    pub most: Duration,
    /// Restarts in place of the failed Tasks that this one replaces: the waits continue theirs.
    pub earlier: u32,
    /// Until when `earlier` counts: a Task that fails later starts with the initial wait.
    pub earlier_until: Timestamp,
}

/// A check, and how its results count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbePlan {
    /// What is asked.
    pub check: Check,
    /// Wait after the start of the container.
    pub initial_delay: Duration,
    /// Time from one check to the next.
    pub period: Duration,
    /// The longest a check may take.
    pub timeout: Duration,
    /// Good results in a row that turn it good.
    pub successes: u32,
    /// Bad results in a row that turn it bad.
    pub failures: u32,
}

/// What a probe asks of a container, on the node's loopback address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// A GET that must be answered with 200 to 399.
    Http {
        /// Path with query, beginning with `/`.
        path: String,
        /// Host port.
        port: u16,
    },
    /// A connection that must be accepted.
    Tcp {
        /// Host port.
        port: u16,
    },
}

/// Why a Task cannot be run as it stands; the server lets none such pass, so this is told and final.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct BadTask {
    field: String,
    rule: String,
}

fn bad(field: impl Into<String>, rule: impl Into<String>) -> BadTask {
    BadTask { field: field.into(), rule: rule.into() }
}

impl TryFrom<&Task> for Assignment {
    type Error = BadTask;

    fn try_from(task: &Task) -> Result<Self, BadTask> {
        let spec = &task.spec;
        let uid = TaskUid::parse(&task.metadata.uid)
            .ok_or_else(|| bad("metadata.uid", "must be 32 lower-case hex digits"))?;
        let ports = host_ports(task)?;
        let containers = spec.containers.iter().map(|c| program(c, &ports)).collect::<Result<Vec<_>, _>>()?;
        if containers.is_empty() {
            return Err(bad("spec.containers", "must have at least one entry"));
        }
        Ok(Self {
            uid,
            namespace: task.metadata.namespace.clone(),
            name: task.metadata.name.clone(),
            containers,
            ports: ports.iter().map(|port| port.port).collect(),
            restart: restart_policy(task),
            drain: spec.drain_delay(),
            grace: spec.grace(),
            requests: summed_requests(&spec.containers)?,
        })
    }
}

fn restart_policy(task: &Task) -> RestartPolicy {
    let asked = task.spec.restarts();
    let earlier = task.metadata.annotations.get(RESTARTS_BEFORE).and_then(|count| count.parse().ok());
    let created = task.metadata.creation_timestamp.unwrap_or(Timestamp::from_millis(0));
    RestartPolicy {
        in_place: asked.in_place,
        within: asked.within,
        initial: asked.initial_delay,
        most: asked.max_delay,
        earlier: earlier.unwrap_or(0),
        earlier_until: created.plus(asked.within),
    }
}

/// The host port behind each port name of the Task, in the order of the manifest, with its container.
struct HostPort {
    container: String,
    name: String,
    port: TaskPort,
}

fn host_ports(task: &Task) -> Result<Vec<HostPort>, BadTask> {
    let mut found = Vec::new();
    for container in &task.spec.containers {
        for port in &container.ports {
            let assigned = task.spec.assigned_ports.iter().find(|a| a.name == port.name).map(|a| a.port);
            let number = port.host_port.or(assigned).ok_or_else(|| {
                bad(format!("spec.assignedPorts[{}]", port.name), "must be there for a port without hostPort")
            })?;
            let taken = TaskPort { number, assigned: port.host_port.is_none() };
            found.push(HostPort { container: container.name.clone(), name: port.name.clone(), port: taken });
        }
    }
    Ok(found)
}

fn program(container: &Container, ports: &[HostPort]) -> Result<Program, BadTask> {
    let at = |field: &str| format!("spec.containers[{}].{field}", container.name);
    name::dns_label(&container.name).map_err(|rule| bad(at("name"), rule))?;
    let root = root_of(&container.image).map_err(|rule| bad(at("image"), rule))?;
    if root == Root::Host && container.command.is_empty() {
        return Err(bad(at("command"), "must be there when there is no image"));
    }
    let context = container.security_context.clone().unwrap_or_default();
    let amount = |list: &ResourceList, name: &str| list.get(name).map(Quantity::millis).transpose();
    let millis = |list, name: &str| amount(list, name).map_err(|e| bad(at("resources"), e.to_string()));
    let limits = &container.resources.limits;
    let probe = |given: &Option<Probe>, field: &str| {
        given.as_ref().map(|p| probe_plan(p, ports)).transpose().map_err(|rule| bad(at(field), rule))
    };
    Ok(Program {
        name: container.name.clone(),
        root,
        command: container.command.clone(),
        args: container.args.clone(),
        working_dir: container.working_dir.clone(),
        env: environment(container, ports),
        user: context.run_as_user,
        group: context.run_as_group,
        cpu_request: millis(&container.resources.requests, "cpu")?.map(Millicores),
        cpu_limit: millis(limits, "cpu")?.map(Millicores),
        memory_limit: millis(limits, "memory")?.map(|m| Bytes(m / 1000)),
        pids_limit: millis(limits, "pids")?.map(|m| m / 1000),
        readiness: probe(&container.readiness_probe, "readinessProbe")?,
        liveness: probe(&container.liveness_probe, "livenessProbe")?,
    })
}

/// Where a container's root comes from: the node's own when the manifest names no image.
fn root_of(image: &str) -> Result<Root, String> {
    if image.is_empty() {
        return Ok(Root::Host);
    }
    let ImageRef::OciLayout { dir, tag } = ImageRef::parse(image)?;
    Ok(Root::Layout { dir, tag })
}

/// The manifest's variables after the ports, so that values may use `$(PORT)`: a manifest may still set its own.
fn environment(container: &Container, ports: &[HostPort]) -> Vec<(String, String)> {
    let mut env = Vec::new();
    if let Some(first) = ports.iter().find(|p| p.container == container.name) {
        env.push(("PORT".to_owned(), first.port.number.to_string()));
    }
    for port in ports {
        let name = port.name.to_ascii_uppercase().replace('-', "_");
        env.push((format!("PORT_{name}"), port.port.number.to_string()));
    }
    env.extend(container.env.iter().map(|v| (v.name.clone(), v.value.clone())));
    env
}

fn probe_plan(probe: &Probe, ports: &[HostPort]) -> Result<ProbePlan, String> {
    let check = match (&probe.http_get, &probe.tcp_socket) {
        (Some(http), None) => {
            let path = if http.path.starts_with('/') { http.path.clone() } else { format!("/{}", http.path) };
            Check::Http { path, port: port_number(&http.port, ports)? }
        }
        (None, Some(tcp)) => Check::Tcp { port: port_number(&tcp.port, ports)? },
        (Some(_), Some(_)) | (None, None) => return Err("needs one of httpGet and tcpSocket".into()),
    };
    Ok(ProbePlan {
        check,
        initial_delay: probe.initial_delay(),
        period: probe.period().max(Duration::from_secs(1)),
        timeout: probe.timeout().max(Duration::from_secs(1)),
        successes: probe.successes().max(1),
        failures: probe.failures().max(1),
    })
}

fn port_number(port: &IntOrString, ports: &[HostPort]) -> Result<u16, String> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number)
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| format!("port must be 1 to 65535, got {number}")),
        IntOrString::String(name) => ports
            .iter()
            .find(|p| p.name == *name)
            .map(|p| p.port.number)
            .ok_or_else(|| format!("the Task has no port `{name}`")),
    }
}

fn summed_requests(containers: &[Container]) -> Result<ResourceList, BadTask> {
    let mut sums: std::collections::BTreeMap<String, i64> = std::collections::BTreeMap::new();
    for container in containers {
        for (name, amount) in &container.resources.requests {
            let millis = amount
                .millis()
                .map_err(|e| bad(format!("spec.containers[{}].resources", container.name), e.to_string()))?;
            let sum = sums.entry(name.clone()).or_default();
            *sum = sum.saturating_add(millis);
        }
    }
    Ok(sums.into_iter().map(|(name, millis)| (name.clone(), amount_of(&name, millis))).collect())
}

fn amount_of(name: &str, millis: i64) -> Quantity {
    match name {
        "cpu" => Quantity::of_millicores(Millicores(millis)),
        _ => Quantity::of_bytes(Bytes(millis / 1000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_types::task::{AssignedPort, Port};

    #[test]
    fn an_image_is_a_layout_folder_with_or_without_tag() {
        let layout =
            |dir: &str, tag: Option<&str>| Ok(Root::Layout { dir: dir.into(), tag: tag.map(str::to_owned) });
        assert_eq!(root_of(""), Ok(Root::Host));
        assert_eq!(root_of("oci:/srv/web"), layout("/srv/web", None));
        assert_eq!(root_of("oci:/srv/web:v1"), layout("/srv/web", Some("v1")));
        assert_eq!(root_of("oci:/srv/a:b/web"), layout("/srv/a:b/web", None));
        for other in ["nginx", "oci:web", "docker://nginx", "oci:"] {
            assert!(root_of(other).is_err(), "{other}");
        }
    }

    /// A Task of these containers.
    fn task(containers: Vec<Container>) -> Task {
        let mut task = Task::default();
        task.metadata.uid = "0".repeat(32);
        task.spec.containers = containers;
        task
    }

    #[test]
    fn the_waits_continue_those_of_the_tasks_before_as_long_as_restarts_are_counted() {
        let sleep = Container { name: "a".into(), command: vec!["sleep".into()], ..Container::default() };
        let created = Timestamp::from_millis(1_000_000);
        for (annotation, earlier) in [(None, 0), (Some("15"), 15), (Some("x"), 0), (Some("-1"), 0)] {
            let mut task = task(vec![sleep.clone()]);
            task.metadata.creation_timestamp = Some(created);
            let annotations = annotation.map(|count| (RESTARTS_BEFORE.to_owned(), count.to_owned()));
            task.metadata.annotations.extend(annotations);
            let restart = Assignment::try_from(&task).unwrap().restart;
            assert_eq!(restart.earlier, earlier, "{annotation:?}");
            assert_eq!(restart.earlier_until, created.plus(restart.within));
            assert!(!restart.within.is_zero());
        }
    }

    #[test]
    fn ports_reach_the_program_by_its_own_first_and_by_every_name() {
        let container = |name: &str, port: &str| Container {
            name: name.into(),
            command: vec!["x".into()],
            ports: vec![Port { name: port.into(), host_port: None }],
            ..Container::default()
        };
        let mut task = task(vec![container("a", "http"), container("b", "debug-port")]);
        let assigned = |name: &str, port| AssignedPort { name: name.into(), port };
        task.spec.assigned_ports = vec![assigned("debug-port", 31001), assigned("http", 31000)];
        let got = Assignment::try_from(&task).unwrap();
        let env: Vec<String> = got.containers[1].env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(env, ["PORT=31001", "PORT_HTTP=31000", "PORT_DEBUG_PORT=31001"]);
        let port = |number, assigned| TaskPort { number, assigned };
        assert_eq!(got.ports, [port(31000, true), port(31001, true)]);
        task.spec.containers[0].ports[0].host_port = Some(80);
        assert_eq!(Assignment::try_from(&task).unwrap().ports, [port(80, false), port(31001, true)]);
        task.spec.containers[0].ports[0].host_port = None;
        task.spec.assigned_ports.clear();
        assert_eq!(
            Assignment::try_from(&task).unwrap_err().to_string(),
            "spec.assignedPorts[http]: must be there for a port without hostPort"
        );
    }
}
