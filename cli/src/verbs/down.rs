//! `ctl down`: ends everything of a cluster on this machine, with or without a running control plane, and says what it
//! did. What lasts stays, unless its deletion is asked for.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cluster::folders::{Home, cgroup_of};
use crate::cluster::lock::{NoLock, UpLock, Verb};
use crate::cluster::processes::{self, Running};
use crate::cluster::{cgroups, mounts, owned};
use crate::failure::{Exit, Failure};
use crate::output::print;
use crate::output::progress::Progress;
use crate::request::{Data, Down};
use crate::verbs::consent;
use berth_removal::remove_tree;

/// How long `ctl up` may take to stop its parts.
const PATIENCE: Duration = Duration::from_secs(40);
/// Programs that know how to end.
const PARTS: [&str; 3] = ["node-agent", "controllers", "apiserver"];

/// Ends everything of the cluster.
pub async fn run(task: &Down) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new(Exit::Forbidden, "stopping containers needs root")
            .hint(format!("sudo {}", task.command())));
    }
    let home = &task.home;
    if let Some(other) = run_elsewhere(&processes::all(), home) {
        let data = home.data.display();
        return Err(Failure::new(
            Exit::Conflict,
            format!("the cluster with data folder {data} uses another run folder"),
        )
        .detail(format!("{}: stop it there, or its `ctl up` starts everything again", other.run.display()))
        .hint(other.command("down").to_string()));
    }
    if let Some(other) = kept_elsewhere(&processes::all(), home) {
        return Err(Failure::new(
            Exit::Conflict,
            format!("the cluster on run folder {} uses another data folder", home.run.display()),
        )
        .detail(format!("{}: only it tells which containers are of the cluster", other.data.display()))
        .hint(other.command("down").to_string()));
    }
    agree(task).await?;
    let mut done = Vec::new();
    let lock = stop_up(home, &mut done).await?;
    stop_parts(home, &mut done).await;
    let spared = kill_tasks(home, &mut done).await?;
    unmount(home, &mut done);
    remove_run_files(home, &spared, lock, &mut done)?;
    if task.data != Data::Kept {
        delete_data(home, &mut done)?;
    }
    if done.is_empty() {
        done.push(format!("nothing of Berth ran on {} and {}", home.data.display(), home.run.display()));
    }
    done.iter().for_each(|line| print::line(line));
    if home.data.exists() {
        print::line(&format!(
            "the data stays in {} (`{}` removes it)",
            home.data.display(),
            home.command("down --delete-data")
        ));
    }
    Ok(())
}

/// The folders of a node agent that runs on this data folder, and not on this run folder.
fn run_elsewhere(running: &[Running], home: &Home) -> Option<Home> {
    let mut agents = running.iter().filter(|one| one.is("node-agent"));
    let stranger = agents.find(|one| owned::keeps_data_in(one, home) && !owned::runs_on(one, home))?;
    let folder = Path::new(stranger.flag("--run")?);
    Some(Home { data: home.data.clone(), run: folder.parent().unwrap_or(folder).to_owned() })
}

/// The folders of a node agent that runs on this run folder, and not on this data folder.
pub fn kept_elsewhere(running: &[Running], home: &Home) -> Option<Home> {
    let mut agents = running.iter().filter(|one| one.is("node-agent"));
    let stranger = agents.find(|one| owned::runs_on(one, home) && !owned::keeps_data_in(one, home))?;
    let folder = Path::new(stranger.flag("--data")?);
    Some(Home { data: folder.parent().unwrap_or(folder).to_owned(), run: home.run.clone() })
}

async fn agree(task: &Down) -> Result<(), Failure> {
    let data = task.home.data.display();
    if task.data != Data::DeletedIfAgreed || !task.home.data.exists() {
        return Ok(());
    }
    let question = format!("This deletes every object, image and log in {data}.");
    consent::ask(&question, &format!("deleting {data}")).await
}

/// Ends a running `ctl up` or waits for another `ctl down`, and takes the lock, so that none starts meanwhile. None when
/// there is no run folder.
async fn stop_up(home: &Home, done: &mut Vec<String>) -> Result<Option<UpLock>, Failure> {
    if !home.run.exists() {
        return Ok(None);
    }
    let mut progress = Progress::begin();
    let mut until = Instant::now() + PATIENCE;
    let mut ended = false;
    while Instant::now() < until {
        match UpLock::take(&home.lock(), Verb::Down) {
            Ok(lock) => return Ok(Some(lock)),
            Err(NoLock::Held(Some(holder))) if holder.verb == Verb::Down => {
                progress.show(&format!("waiting for another `ctl down` (pid {})", holder.process.pid));
                holder.process.gone(Duration::from_millis(200)).await;
            }
            Err(NoLock::Held(Some(holder))) => {
                progress.show(&format!("stopping `ctl up` (pid {})", holder.process.pid));
                // Only what it says about its Tasks depends on it.
                let _ = home.announce_down();
                holder.process.end(PATIENCE).await;
                if holder.process.runs() {
                    let message =
                        format!("`ctl up` (pid {}) does not end, though it was killed", holder.process.pid);
                    return Err(Failure::new(Exit::Failed, message));
                }
                done.push(format!("stopped `ctl up` (pid {})", holder.process.pid));
                // Its end may have taken all the time. Who starts it again and again is waited for no longer than that.
                if !std::mem::replace(&mut ended, true) {
                    until = Instant::now() + PATIENCE;
                }
            }
            Err(NoLock::Held(None)) => tokio::time::sleep(Duration::from_millis(200)).await,
            // Another `ctl down` removed the folder.
            Err(NoLock::File(_, error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(NoLock::File(path, error)) => {
                return Err(Failure::new(
                    Exit::Failed,
                    format!("could not lock {}: {error}", path.display()),
                ));
            }
        }
    }
    Err(Failure::new(Exit::Conflict, "another `ctl up` or `ctl down` is at work here"))
}

/// Ends parts that outlived their `ctl up`, or were started by hand on these folders.
async fn stop_parts(home: &Home, done: &mut Vec<String>) {
    let mut progress = Progress::begin();
    for name in PARTS {
        for part in parts(home, name) {
            progress.show(&format!("stopping {name} (pid {})", part.process.pid));
            part.process.end(Duration::from_secs(15)).await;
            done.push(format!("stopped {name} (pid {})", part.process.pid));
        }
    }
}

/// Kills shims before their containers, so that none starts one again or reports an end that nobody asked for. Returns the
/// Tasks that it spares, as their shims belong to another folder.
pub async fn kill_tasks(home: &Home, done: &mut Vec<String>) -> Result<Vec<OsString>, Failure> {
    let shims = processes::all().into_iter().filter(Running::is_shim);
    let (shims, strangers): (Vec<_>, Vec<_>) = shims.partition(|shim| owned::is_own_shim(shim, home));
    for shim in &shims {
        shim.process.signal(Signal::KILL);
    }
    let foreign: Vec<PathBuf> = strangers.iter().filter_map(owned::sandbox_of).collect();
    let held: Vec<OsString> =
        foreign.iter().filter_map(|sandbox| Some(sandbox.file_name()?.into())).collect();
    if let Some(cluster) = home.cluster() {
        let cgroup = cgroup_of(&cluster);
        let all = cgroups::tasks_in(&cgroup);
        let tasks = all.iter().filter(|task| !held.contains(task)).count();
        let cleared = cgroups::clear(&cgroup, &held).await;
        let left =
            foreign.iter().filter(|sandbox| sandbox.file_name().is_some_and(|task| all.contains(task)));
        let mut folders = BTreeMap::<_, usize>::new();
        for folder in left.filter_map(|sandbox| sandbox.parent()) {
            *folders.entry(folder).or_default() += 1;
        }
        for (folder, left) in folders {
            let folder = folder.display();
            done.push(format!("left {left} tasks of this cluster alone, whose data is in {folder}"));
        }
        if tasks > 0 || cleared.killed > 0 {
            done.push(format!("killed {tasks} tasks ({} processes)", cleared.killed));
        }
        if cleared.removed > 0 {
            done.push(format!("removed {} cgroups", cleared.removed));
        }
        if let Some(left) = cleared.left.first() {
            let message = format!("{} cgroups cannot be emptied, as {}", cleared.left.len(), left.display());
            return Err(Failure::new(Exit::Failed, message).hint(format!(
                "a process in it hangs in the kernel; `{}` again later",
                home.command("down")
            )));
        }
    }
    for shim in &shims {
        shim.process.gone(Duration::from_secs(5)).await;
    }
    if !shims.is_empty() {
        done.push(format!("ended {} shims", shims.len()));
    }
    Ok(held)
}

/// Whether shims run whose bundles are in the data folder.
pub fn has_shims(home: &Home) -> bool {
    processes::all().iter().any(|one| owned::is_own_shim(one, home))
}

fn unmount(home: &Home, done: &mut Vec<String>) {
    let count = mounts::unmount_below(&home.agent_data()) + mounts::unmount_below(&home.agent_run());
    if count > 0 {
        done.push(format!("unmounted {count} file systems"));
    }
}

fn remove_run_files(
    home: &Home,
    spared: &[OsString],
    lock: Option<UpLock>,
    done: &mut Vec<String>,
) -> Result<(), Failure> {
    // A Task's sandbox is of no use to anybody without its Task.
    let mut sandboxes = entries(&home.sandboxes());
    sandboxes.retain(|sandbox| !spared.iter().any(|task| sandbox.file_name() == Some(task)));
    for sandbox in &sandboxes {
        remove(sandbox)?;
    }
    if !sandboxes.is_empty() {
        done.push(format!("removed {} sandboxes", sandboxes.len()));
    }
    let Some(lock) = lock else { return Ok(()) };
    remove(&home.agent_run())?;
    remove(&home.socket())?;
    remove(&home.down_file())?;
    lock.remove()
        .map_err(|error| Failure::new(Exit::Failed, format!("could not remove the lock: {error}")))?;
    // Not ours alone, then it stays.
    let _ = fs::remove_dir(&home.run);
    Ok(())
}

/// Deletes what Berth put into the data folder, and the folder when nothing else is in it.
fn delete_data(home: &Home, done: &mut Vec<String>) -> Result<(), Failure> {
    if !home.data.exists() {
        return Ok(());
    }
    let ours = [home.store(), home.agent_data(), home.logs(), home.claim_file()];
    if home.cluster().is_none() && ours.iter().all(|path| !path.exists()) {
        let message = format!("{} is not a data folder of Berth", home.data.display());
        return Err(Failure::new(Exit::Usage, message).detail("nothing in it was deleted"));
    }
    let failed =
        |why: String| Failure::new(Exit::Conflict, format!("could not lock {}: {why}", home.data.display()));
    // A `ctl up` on another run folder may just start on it.
    let lock = UpLock::take(&home.data_lock(), Verb::Down).map_err(|error| match error {
        NoLock::Held(Some(holder)) => {
            failed(format!("`ctl {}` (pid {}) uses it", holder.verb.word(), holder.process.pid))
        }
        NoLock::Held(None) => failed("another `ctl up` just starts on it".into()),
        NoLock::File(_, error) => failed(error.to_string()),
    })?;
    for path in &ours {
        remove(path)?;
    }
    // A lock that stays keeps nobody out.
    let _ = lock.remove();
    match fs::remove_dir(&home.data) {
        Ok(()) => done.push(format!("deleted {}", home.data.display())),
        Err(_) => done.push(format!("deleted Berth's data in {}", home.data.display())),
    }
    Ok(())
}

/// Removes a file or folder; never through a mount.
fn remove(path: &Path) -> Result<(), Failure> {
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format!("could not remove {}: {why}", path.display()))
    };
    if !mounts::below(path).is_empty() {
        return Err(failed(&"something is mounted in it"));
    }
    remove_tree(path).map_err(|error| failed(&error))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The processes of one part of this cluster.
fn parts(home: &Home, program: &str) -> Vec<Running> {
    let mut found = processes::all();
    found.retain(|one| one.is(program) && (owned::runs_on(one, home) || owned::keeps_data_in(one, home)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::processes::Process;

    fn agent(args: &str) -> Running {
        Running {
            process: Process::own(),
            executable: "/bin/node-agent".into(),
            args: args.split(' ').map(OsString::from).collect(),
        }
    }

    #[test]
    fn a_wrong_run_folder_is_noticed_by_what_runs() {
        let home = Home { data: "/data/a".into(), run: "/run/a".into() };
        for (args, elsewhere) in [
            ("node-agent --data /data/a/node --run /run/a/node", None),
            ("node-agent --data=/data/a/node --run=/run/b/node", Some("/run/b")),
            ("node-agent --data /data/b/node --run /run/a/node", None),
            ("node-agent --data /mnt/data/a/node --run /run/b/node", None),
        ] {
            let found = run_elsewhere(&[agent(args)], &home).map(|home| home.run);
            assert_eq!(found, elsewhere.map(PathBuf::from), "{args}");
        }
    }

    #[test]
    fn a_wrong_data_folder_is_noticed_by_what_runs() {
        let home = Home { data: "/data/a".into(), run: "/run/a".into() };
        for (args, elsewhere) in [
            ("node-agent --data /data/a/node --run /run/a/node", None),
            ("node-agent --data /data/b/node --run /run/a/node", Some("/data/b")),
            ("node-agent --data /data/b/node --run /run/b/node", None),
            ("node-agent --data /data/a/node --run /run/b/node", None),
        ] {
            assert_eq!(
                kept_elsewhere(&[agent(args)], &home).map(|home| home.data),
                elsewhere.map(PathBuf::from),
                "{args}"
            );
        }
    }
}
