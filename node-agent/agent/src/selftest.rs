//! Before anything runs here: one container is started the way all are, and looks whether it is confined. A node whose
//! containers are not refuses to start.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use berth_shim_api::cgroup::Hierarchies;
use berth_shim_api::message::Start;
use berth_shim_api::{Client, ExitRecord, ProcessId, SealedShim};
use berth_types::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::assignment::{Assignment, Program, RestartPolicy, Root, TaskUid};
use crate::homes::Homes;
use crate::places::Places;
use berth_daemon::chain;
use berth_removal::remove_tree;

/// The word that makes this program look at itself from inside a container.
pub const INSIDE: &str = "inside-self-test";
/// Where this program is seen in the container.
const SEEN_AT: &str = "/berth-self-test";
/// The longest that any step may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes free on a disk that is not full: ten times as many as a self-test writes.
const NEEDED_BYTES: u64 = 1 << 20;
/// The same for files and folders.
const NEEDED_FILES: u64 = 200;

/// Why this node must not run containers.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// A container runs without what it must be confined by.
    #[error("containers here are not confined: {0}")]
    Unconfined(&'static str),
    /// No container could be run at all.
    #[error("no container can be run here: {0}")]
    CannotRun(String),
}

/// What one line of `/proc/self/status` must say, and the exit code when it does not.
const MUST: &[(&str, &str, i32, &str)] = &[
    ("Seccomp:", "2", 20, "no seccomp filter is seen inside (`Seccomp: 2` is missing)"),
    ("NoNewPrivs:", "1", 21, "new privileges may be gained inside (`NoNewPrivs: 1` is missing)"),
    ("CapBnd:", "0000000000000000", 22, "capabilities are left inside (`CapBnd` is not empty)"),
];

/// Inside the container: the exit code says what is missing.
pub fn look_inside() -> u8 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let says = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let missing = MUST.iter().find(|(name, value, ..)| says(name) != Some(value));
    missing.map_or(0, |(_, _, code, _)| u8::try_from(*code).unwrap_or(u8::MAX))
}

/// Where a self-test may lie: like Tasks in the data folder, but on a full disk in the run folder. An agent must start
/// there too, for only it can remove what fills the disk.
pub fn places(places: &Places, cgroup_parent: &str) -> [Places; 2] {
    [places.clone(), Places::new(&places.run().join("self-test"), places.run(), cgroup_parent)]
}

fn has_room(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|disk| {
        let bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        // Some file systems have no fixed number of files.
        bytes >= NEEDED_BYTES && (disk.f_files == 0 || disk.f_favail >= NEEDED_FILES)
    })
}

/// What a self-test works with.
#[derive(Debug)]
pub struct Bench<'a> {
    /// Homes that take Tasks without image, in each of [`places`].
    pub homes: &'a [Homes; 2],
    /// Where cgroups are mounted.
    pub hierarchies: &'a Hierarchies,
    /// What runs containers.
    pub shim: &'a SealedShim,
}

impl Bench<'_> {
    /// Starts one container and asks it; blocks.
    pub fn test(&self) -> Result<(), SelfTestError> {
        let failed = |why: String| SelfTestError::CannotRun(why);
        self.remove_left().map_err(failed)?;
        let [data, run] = self.homes;
        let homes = if has_room(data.places().data()) { data } else { run };
        let uid =
            TaskUid::parse(&uuid::Uuid::new_v4().simple().to_string()).expect("a uuid is 32 hex digits");
        fs::create_dir_all(homes.places().data())
            .and_then(|()| fs::write(homes.places().self_test_mark(), uid.as_str()))
            .map_err(|e| failed(e.to_string()))?;
        let outcome = ask(&uid, homes, self.shim);
        let removed = self.remove(&uid, homes);
        let record = outcome.map_err(failed)?;
        removed.map_err(failed)?;
        verdict(record.end.code())
    }

    /// Ends and removes what earlier self-tests left, wherever they lay.
    fn remove_left(&self) -> Result<(), String> {
        for homes in self.homes {
            let mark = fs::read_to_string(homes.places().self_test_mark()).ok();
            if let Some(left) = mark.as_deref().and_then(TaskUid::parse) {
                self.remove(&left, homes)?;
            }
        }
        Ok(())
    }

    /// Ends and removes all that a self-test made, its mark last.
    fn remove(&self, uid: &TaskUid, homes: &Homes) -> Result<(), String> {
        let places = homes.places();
        self.hierarchies.subtree(&places.task_cgroup(uid)).remove(PATIENCE).map_err(|e| chain(&e))?;
        if let Ok(mut client) = Client::connect(&places.socket(uid), PATIENCE)
            && let Err(error) = client.shutdown()
        {
            tracing::debug!(error = %chain(&error), "the shim of the self-test does not end when asked");
            kill(client.shim())?;
        }
        homes.remove(uid).map_err(|e| e.to_string())?;
        remove_logs(places, uid).map_err(|e| e.to_string())?;
        fs::remove_file(places.self_test_mark()).map_err(|e| e.to_string())
    }
}

/// Ends a shim, if it still runs: without its folder nobody would find it again.
fn kill(shim: ProcessId) -> Result<(), String> {
    let began = Instant::now();
    while shim.runs() {
        if began.elapsed() > PATIENCE {
            return Err(format!("the shim of the self-test (pid {}) does not end", shim.pid));
        }
        if let Some(pid) = Pid::from_raw(shim.pid) {
            // It may have ended by now.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn verdict(code: i32) -> Result<(), SelfTestError> {
    if code == 0 {
        return Ok(());
    }
    Err(MUST.iter().find(|(_, _, known, _)| *known == code).map_or_else(
        || SelfTestError::CannotRun(format!("the container of the self-test ended with code {code}")),
        |(_, _, _, why)| SelfTestError::Unconfined(why),
    ))
}

fn ask(uid: &TaskUid, homes: &Homes, shim: &SealedShim) -> Result<ExitRecord, String> {
    let (places, assignment) = (homes.places(), assignment(uid));
    homes.make(&assignment).map_err(|e| e.message)?;
    let start = homes.furnish(&assignment, &assignment.containers[0], 0).map_err(|e| e.message)?;
    show_this_program(&start).map_err(|e| format!("could not show this program to the container: {e}"))?;
    shim.launch(&places.bundle(uid)).map_err(|e| chain(&e))?;
    let mut client = Client::connect(&places.socket(uid), PATIENCE).map_err(|e| chain(&e))?;
    let record = client
        .subscribe()
        .and_then(|_| client.start(start))
        .and_then(|_| client.next_exit())
        .map_err(|e| chain(&e));
    if let Err(error) = client.shutdown() {
        // What runs goes with its cgroup; the shim ends with its last container.
        tracing::debug!(error = %error, "the shim of the self-test did not end at once");
        let _ = client.kill(&assignment.containers[0].name);
        let _ = client.shutdown();
    }
    record
}

fn assignment(uid: &TaskUid) -> Assignment {
    let program = Program {
        name: "self-test".into(),
        root: Root::Host,
        command: vec![SEEN_AT.into(), INSIDE.into()],
        args: Vec::new(),
        working_dir: String::new(),
        env: Vec::new(),
        // This program may lie where root alone may run it.
        user: Some(0),
        group: Some(0),
        cpu_request: None,
        cpu_limit: None,
        memory_limit: None,
        pids_limit: None,
        readiness: None,
        liveness: None,
    };
    let once = RestartPolicy {
        in_place: 0,
        within: Duration::ZERO,
        initial: Duration::ZERO,
        most: Duration::ZERO,
        earlier: 0,
        earlier_until: Timestamp::from_millis(0),
    };
    Assignment {
        uid: uid.clone(),
        namespace: "berth-system".into(),
        name: "self-test".into(),
        containers: vec![program],
        ports: Vec::new(),
        restart: once,
        drain: Duration::ZERO,
        grace: Duration::ZERO,
        requests: Default::default(),
    }
}

/// The program may lie in a folder that is hidden from containers, so it is shown on its own.
fn show_this_program(start: &Start) -> io::Result<()> {
    let path = start.bundle.join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&path)?)?;
    let program = fs::canonicalize("/proc/self/exe")?;
    if let Some(mounts) = spec["mounts"].as_array_mut() {
        mounts.push(json!({ "destination": SEEN_AT, "type": "bind", "source": program,
            "options": ["bind", "nosuid", "nodev", "ro", "rprivate"] }));
    }
    fs::write(path, serde_json::to_vec(&spec)?)
}

fn remove_logs(places: &Places, uid: &TaskUid) -> io::Result<()> {
    let assignment = assignment(uid);
    remove_tree(&places.logs(&assignment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::homes::Views;

    #[test]
    fn what_is_missing_inside_is_named() {
        assert!(verdict(0).is_ok());
        assert_eq!(
            verdict(20).unwrap_err().to_string(),
            "containers here are not confined: no seccomp filter is seen inside (`Seccomp: 2` is missing)"
        );
        assert!(matches!(verdict(127), Err(SelfTestError::CannotRun(_))));
    }

    #[test]
    fn a_shim_that_does_not_end_when_asked_is_killed() {
        let mut stubborn = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let shim = ProcessId::of(stubborn.id().cast_signed()).unwrap();
        kill(shim).unwrap();
        assert!(!shim.runs());
        stubborn.wait().unwrap();
        kill(shim).unwrap();
    }

    #[test]
    fn what_a_self_test_left_goes_wherever_it_lay() {
        let dir = tempfile::tempdir().unwrap();
        let main = Places::new(&dir.path().join("data"), &dir.path().join("run"), "berth-self-test-left");
        let node = crate::machine::node_says(&[]).unwrap();
        let homes = places(&main, "berth-self-test-left")
            .map(|places| Homes::new(places, node.clone(), Views::Allowed));
        let (hierarchies, shim) =
            (Hierarchies::discover().unwrap(), SealedShim::load(Path::new("/bin/true")).unwrap());
        let bench = Bench { homes: &homes, hierarchies: &hierarchies, shim: &shim };
        let left = ["1", "2"].map(|digit| TaskUid::parse(&digit.repeat(32)).unwrap());
        for (uid, homes) in left.iter().zip(&homes) {
            homes.make(&assignment(uid)).unwrap();
            fs::write(homes.places().self_test_mark(), uid.as_str()).unwrap();
        }
        bench.remove_left().unwrap();
        for (uid, homes) in left.iter().zip(&homes) {
            let places = homes.places();
            assert!(!places.task(uid).exists() && !places.self_test_mark().exists(), "{places:?}");
        }
    }

    #[test]
    fn this_process_is_not_confined() {
        assert_eq!(look_inside(), 20);
    }
}
