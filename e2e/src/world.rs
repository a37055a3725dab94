//! A world: one cluster on this machine, its parts as processes of their own, its folders under a temporary one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

mod ending;
mod part;
mod plan;
mod recorded;

pub use part::Part;
pub use plan::Plan;

use crate::etcd::Etcd;
use crate::faults::{FaultLog, Paused, Relay, SmallDisk};
use crate::history::Settled;
use crate::hits;
use crate::leftovers;
use crate::load::Records;
use crate::process::Process;
use crate::record::Recorder;
use crate::wait::{eventually, output};
use crate::{binary, workspace};

/// How long a step of a healthy world may take at most.
pub const SOON: Duration = Duration::from_secs(60);

/// How long a run of `ctl` may take; those that wait say for how long, and none for so long.
const CTL: Duration = Duration::from_secs(180);

/// Which store a world runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreForm {
    /// The journalled one inside the apiserver.
    Embedded,
    /// A real etcd of this version.
    Etcd(&'static str),
}

/// Which way a folder is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// It is saved.
    Away,
    /// It is restored.
    Back,
}

/// How a run of `ctl` ended.
#[derive(Debug, Clone)]
pub struct Run {
    /// Exit code; -1 when it was killed.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Run {
    /// The output of a run that must have ended well.
    ///
    /// # Panics
    /// When it did not.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "ctl failed\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// One cluster on this machine.
#[derive(Debug)]
pub struct World {
    parts: BTreeMap<Part, Process>,
    etcd: Option<Etcd>,
    recorder: Option<Recorder>,
    /// What loads noted.
    told: Records,
    /// Why the recorder did not come to the end of the store.
    late: Option<String>,
    /// Why it is not settled in the end, if it need not be.
    mid_air: Option<&'static str>,
    /// When it was, or had waited too long for it.
    settled: Mutex<Vec<Settled>>,
    links: BTreeMap<Part, Relay>,
    faults: FaultLog,
    plan: Plan,
    disks: Vec<SmallDisk>,
    dir: TempDir,
}

impl World {
    /// A plan of the smallest world; it says what else is in it.
    pub fn plan(form: StoreForm) -> Plan {
        Plan::new(form)
    }

    /// Folders and a store, but no process of Berth yet.
    pub fn empty(form: StoreForm) -> Self {
        Plan::new(form).start_nothing()
    }

    /// The smallest world, with every part running and its node ready.
    pub fn start(form: StoreForm) -> Self {
        Plan::new(form).start()
    }

    fn folders(plan: Plan) -> Self {
        // Not under /tmp: a Task has one of its own there, which would hide the world for the wrong reason.
        let dir =
            tempfile::Builder::new().prefix("berth-").tempdir_in("/var/lib").expect("a temporary folder");
        for folder in ["data/log", "run", "failpoints", "hits", "config"] {
            fs::create_dir_all(dir.path().join(folder)).expect("folders of the world");
        }
        let faults = FaultLog::default();
        let disk =
            |(folder, size): &(String, u32)| SmallDisk::mount(&dir.path().join(folder), *size, &faults);
        let disks = plan.disks.iter().map(disk).collect();
        let etcd = match plan.form {
            StoreForm::Embedded => None,
            StoreForm::Etcd(version) => Some(Etcd::set_up(version, dir.path(), plan.etcd.clone())),
        };
        let server = dir.path().join("run/api.sock");
        let link = |part: &Part| {
            let socket = dir.path().join("run").join(format!("to-{}.sock", part.name()));
            (*part, Relay::start(part.name(), &socket, &server, faults.clone()))
        };
        let links = plan.relayed.iter().map(link).collect();
        let mut world = Self {
            parts: BTreeMap::new(),
            etcd,
            recorder: None,
            told: Records::default(),
            late: None,
            mid_air: None,
            settled: Mutex::default(),
            links,
            faults,
            plan,
            disks,
            dir,
        };
        world.record();
        world
    }

    /// Has the data folder name its cluster, as `ctl up` does: `ctl down` goes by it.
    pub fn claim(&self) {
        let version: Value = serde_json::from_str(&self.ctl(&["version", "-o", "json"]).ok()).expect("JSON");
        let uid = version["server"]["clusterUid"].as_str().expect("the server tells the cluster's uid");
        fs::write(self.data().join("cluster"), uid).expect("the data folder is writable");
    }

    /// The world's folder; every name it leaves anywhere contains it or the cluster's uid.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The run folder.
    pub fn run(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// Where the API is reached: the first apiserver.
    pub fn server(&self) -> String {
        self.address(Part::Apiserver)
    }

    /// Where an apiserver listens.
    pub fn address(&self, part: Part) -> String {
        let socket = if part == Part::SecondApiserver { "api-two.sock" } else { "api.sock" };
        format!("unix:{}", self.run().join(socket).display())
    }

    /// Where all apiservers of the plan listen, with commas.
    pub fn servers(&self) -> String {
        let servers = [Part::Apiserver, Part::SecondApiserver].into_iter();
        let planned = servers.filter(|part| self.plan.parts.contains(part));
        planned.map(|part| self.address(part)).collect::<Vec<_>>().join(",")
    }

    /// The file of orders of a part's failpoints.
    pub fn orders(&self, part: Part) -> PathBuf {
        self.dir.path().join("failpoints").join(part.name())
    }

    /// Arms a part's failpoints: lines as `agent.journalled kill 3`. What was armed before is not any more.
    pub fn arm(&self, part: Part, orders: &str) {
        let new = self.dir.path().join("failpoints/new");
        fs::write(&new, orders).expect("the world's folder is writable");
        fs::rename(new, self.orders(part)).expect("the world's folder is writable");
    }

    /// The folder in which every process counts its hits of failpoints.
    pub fn hits(&self) -> PathBuf {
        self.dir.path().join("hits")
    }

    /// The etcd's URL, in a world on etcd.
    pub fn etcd_url(&self) -> Option<String> {
        self.etcd.as_ref().map(Etcd::url)
    }

    /// The etcd, in a world on etcd.
    pub fn etcd(&self) -> Option<&Etcd> {
        self.etcd.as_ref()
    }

    /// The etcd, to do something to it.
    ///
    /// # Panics
    /// In a world on another store.
    pub fn etcd_mut(&mut self) -> &mut Etcd {
        self.etcd.as_mut().expect("a world on etcd")
    }

    /// The first small disk of the plan.
    pub fn disk(&mut self) -> &mut SmallDisk {
        &mut self.disks[0]
    }

    /// Waits until the first node is ready.
    pub fn wait_for_node(&mut self) {
        self.wait_for_ready(1);
    }

    /// Waits until every node of the plan is ready.
    pub fn wait_for_nodes(&mut self) {
        self.wait_for_ready(self.plan.nodes());
    }

    fn wait_for_ready(&mut self, count: usize) {
        eventually(&format!("{count} nodes are ready"), SOON, || {
            for process in self.parts.values_mut() {
                process.must_run();
            }
            let nodes = self.list("nodes")?;
            let ready = nodes.iter().filter(|node| condition(node, "Ready") == "True").count();
            if ready >= count { Ok(()) } else { Err(format!("{ready} ready; {}", summary(&nodes))) }
        });
    }

    /// Starts a part, as the plan says.
    pub fn begin(&mut self, part: Part) {
        if let Some(config) = self.plan.given(part).config {
            fs::write(self.config(part), config).expect("the world's folder is writable");
        }
        self.record_node(part);
        let process = Process::start(part.name(), self.command(part), &self.log(part));
        self.parts.insert(part, process);
    }

    fn log(&self, part: Part) -> PathBuf {
        self.data().join("log").join(format!("{}.log", part.name()))
    }

    fn config(&self, part: Part) -> PathBuf {
        self.dir.path().join("config").join(format!("{}.yaml", part.name()))
    }

    /// Whether a part was started and not ended by the test.
    pub fn has(&self, part: Part) -> bool {
        self.parts.contains_key(&part)
    }

    /// A running part.
    pub fn part(&self, part: Part) -> &Process {
        &self.parts[&part]
    }

    /// The link between a part and its apiserver, where the plan says that there is one.
    pub fn link(&self, part: Part) -> &Relay {
        &self.links[&part]
    }

    /// What was done to this world.
    pub fn faults(&self) -> &FaultLog {
        &self.faults
    }

    /// Puts a copy of the embedded store's folder at `copy`, or the folder back from there: the apiserver has ended, and
    /// another one begins.
    pub fn copy_store(&mut self, copy: &Path, way: Copy) {
        self.stop(Part::Apiserver);
        let store = self.data().join("store");
        let (from, to) = match way {
            Copy::Away => (store.as_path(), copy),
            Copy::Back => {
                let recorder = self.recorder.as_ref().expect("a world of a test build is recorded");
                recorder.tape().begin_anew();
                (copy, store.as_path())
            }
        };
        fs::create_dir_all(to).expect("the world's folder is writable");
        for file in fs::read_dir(from).expect("the folder is there").flatten() {
            fs::copy(file.path(), to.join(file.file_name())).expect("the world's folder is writable");
        }
        self.begin(Part::Apiserver);
    }

    /// Stops a part where it is, until what is returned is resumed or dropped.
    pub fn pause(&self, part: Part) -> Paused {
        Paused::begin(part.name(), self.part(part).pid(), &self.faults)
    }

    /// Stops the etcd where it is, until what is returned is resumed or dropped.
    pub fn pause_etcd(&self) -> Paused {
        let etcd = self.etcd.as_ref().expect("a world on etcd");
        Paused::begin("etcd", etcd.process().pid(), &self.faults)
    }

    /// Kills a part with -9.
    pub fn kill(&mut self, part: Part) {
        self.faults.happened(format!("kill -9 of {}", part.name()));
        self.parts.remove(&part).unwrap_or_else(|| panic!("{} runs", part.name())).kill();
    }

    /// Whether a part has ended by itself, as an armed failpoint has it do; then it may be started again.
    ///
    /// # Panics
    /// When it ended in any other way than by -9.
    pub fn has_fallen(&mut self, part: Part) -> bool {
        let Some(process) = self.parts.get_mut(&part) else { return false };
        let Some(status) = process.ended() else { return false };
        assert_eq!(status.signal(), Some(9), "{} ended: {}", part.name(), process.output());
        self.parts.remove(&part);
        true
    }

    /// Waits until a part has ended by itself, as an armed failpoint has it do; whether it has within `limit`.
    pub fn falls(&mut self, part: Part, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if self.has_fallen(part) {
                return true;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        false
    }

    /// Waits until a part has ended by itself with an error, as one does that cannot go on; whether it has within
    /// `limit`. Then it may be started again.
    ///
    /// # Panics
    /// When it ended well or by a signal.
    pub fn gives_up(&mut self, part: Part, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            let Some(process) = self.parts.get_mut(&part) else { return false };
            if let Some(status) = process.ended() {
                let failed = status.code().is_some_and(|code| code != 0);
                assert!(failed, "{} ended with {status}: {}", part.name(), process.output());
                self.parts.remove(&part);
                return true;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        false
    }

    /// Asks a part to end.
    pub fn stop(&mut self, part: Part) {
        self.parts.remove(&part).unwrap_or_else(|| panic!("{} runs", part.name())).stop();
    }

    /// Runs `ctl` against this world. One that does not end is killed, and says so.
    pub fn ctl(&self, args: &[&str]) -> Run {
        let mut command = Command::new(binary("ctl"));
        command.args(args).env("CTL_SERVER", self.servers()).current_dir(workspace());
        let output = match output(&mut command, CTL) {
            Ok(output) => output,
            Err(why) => return Run { code: -1, stdout: String::new(), stderr: why },
        };
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Applies a manifest's text.
    pub fn apply(&self, manifest: &str) -> Run {
        let file = self.dir.path().join("manifest.yaml");
        fs::write(&file, manifest).expect("the world's folder is writable");
        self.ctl(&["apply", "-f", &file.display().to_string()])
    }

    /// All objects of a kind in the namespace `default`, or without one.
    pub fn list(&self, kind: &str) -> Result<Vec<Value>, String> {
        let run = self.ctl(&["get", kind, "-o", "json"]);
        if run.code != 0 {
            return Err(run.stderr);
        }
        let list: Value =
            serde_json::from_str(&run.stdout).map_err(|error| format!("{error}: {}", run.stdout))?;
        Ok(list["items"].as_array().cloned().unwrap_or_else(|| vec![list.clone()]))
    }

    /// The Tasks of an App that are not being deleted, in the order of their names.
    pub fn tasks_of(&self, app: &str) -> Result<Vec<Value>, String> {
        let mut tasks = self.list("tasks")?;
        tasks.retain(|task| {
            task["metadata"]["labels"]["berth.dev/app"] == app
                && task["metadata"]["deletionTimestamp"].is_null()
        });
        Ok(tasks)
    }

    /// Waits until exactly `count` Tasks of an App are Ready, and gives them.
    pub fn wait_ready(&self, app: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} Tasks of {app} are ready"), SOON, || {
            let tasks = self.tasks_of(app)?;
            let ready = tasks.iter().filter(|task| condition(task, "Ready") == "True").count();
            if ready == count && tasks.len() == count { Ok(tasks) } else { Err(summary(&tasks)) }
        })
    }

    /// Waits until there is no object of `kind` any more.
    pub fn wait_none(&self, kind: &str) {
        eventually(&format!("no {kind} are left"), SOON, || {
            let left = self.list(kind)?;
            if left.is_empty() { Ok(()) } else { Err(summary(&left)) }
        });
    }

    /// Ends the world: everything it started is gone and every promise was kept, or the test fails.
    pub fn end(mut self) {
        self.catch_up();
        self.stop_all();
        self.down();
        let mut left = leftovers::scan(self.dir.path());
        left.retain(|line| {
            !self.disks.iter().any(|disk| line.contains(&format!(" {} ", disk.folder().display())))
        });
        assert!(left.is_empty(), "left after `ctl down`: {left:#?}");
        self.judge();
    }

    /// Stops every part, the agent first; what was asked for is done by then, unless the test says why not.
    pub fn stop_all(&mut self) {
        self.settles_in_the_end();
        while let Some((_, process)) = self.parts.pop_last() {
            process.stop();
        }
    }

    /// Runs `ctl down` for this world's folders.
    pub fn down(&self) -> Run {
        let down = |data: &Path, run: &Path| {
            let (data, run) = (data.display().to_string(), run.display().to_string());
            self.ctl(&["down", "--data", &data, "--run", &run])
        };
        // The second agent has folders of its own, of which the others' `ctl down` ends nothing.
        let (data, run) = (self.data().join("two"), self.run().join("two"));
        if data.exists() {
            down(&data, &run);
        }
        down(&self.data(), &self.run())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (part, process) in &self.parts {
                let output = process.output();
                let tail: Vec<&str> = output.lines().rev().take(30).collect();
                eprintln!("--- {} ---", part.name());
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
            self.look_back();
        }
        self.catch_up();
        if !std::thread::panicking() {
            self.settles_in_the_end();
        }
        self.parts.clear();
        self.down();
        hits::tell(&self.hits());
        self.judge();
    }
}

/// Status of a condition of an object; empty when it has none.
pub fn condition<'a>(object: &'a Value, type_: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == type_);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default()
}

/// The host port of a Task's port `name`.
pub fn port(task: &Value, name: &str) -> u16 {
    let ports = task["spec"]["assignedPorts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = ports.iter().find(|port| port["name"] == name).and_then(|port| port["port"].as_u64());
    found.and_then(|port| u16::try_from(port).ok()).unwrap_or_else(|| panic!("no port `{name}` in {task}"))
}

/// Name of an object.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("an object has a name")
}

/// uid of an object.
pub fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().expect("an object has a uid")
}

/// Objects in a few words each.
pub fn summary(objects: &[Value]) -> String {
    let line = |object: &Value| {
        let status = &object["status"];
        format!(
            "{} {} {} {}",
            name(object),
            status["phase"],
            status["containerStatuses"],
            status["conditions"]
        )
    };
    objects.iter().map(line).collect::<Vec<_>>().join("\n")
}
