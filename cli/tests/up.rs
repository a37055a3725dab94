//! A `ctl up` that fails leaves nothing behind, and what was there before stays.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

mod limit;
mod shell;

fn top() -> TempDir {
    tempfile::Builder::new().prefix("u").tempdir().expect("a temporary folder")
}

/// `ctl up` on two folders below `top` with the further words.
fn up(top: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctl"));
    command.args(["up", "--timeout", "20s"]).args(words).env("BERTH_NODE_NAME", "failing");
    command.arg("--data").arg(top.join("a/data")).arg("--run").arg(top.join("run"));
    for name in ["BERTH_DATA", "BERTH_RUN", "BERTH_ETCD", "BERTH_PORTS", "CTL_SERVER"] {
        command.env_remove(name);
    }
    command
}

/// Runs it; what it said. It must fail.
fn fails(top: &Path, words: &[&str]) -> String {
    let run = limit::output(&mut up(top, words));
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(!run.status.success(), "{said}");
    said
}

/// Everything below a folder, and the processes that name it.
fn left(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a readable folder").flatten() {
            found.push(entry.path().strip_prefix(top).expect("it is below").display().to_string());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    for process in fs::read_dir("/proc").expect("/proc").flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&top.display().to_string()) {
            found.push(line);
        }
    }
    found.sort();
    found
}

#[test]
fn a_failed_up_leaves_nothing_behind() {
    // The apiserver, then the agent is the first to fail.
    for (words, why) in
        [(&["--etcd", "http://no-port"][..], "has no port"), (&["--node-name", "No_Name"], "No_Name")]
    {
        for place in [&[][..], &["--detach"]] {
            let top = top();
            let said = fails(top.path(), &[words, place].concat());
            assert!(said.contains(why), "{said}");
            assert!(!said.contains("log is"), "a log that is gone is named: {said}");
            assert_eq!(left(top.path()), [""; 0], "{words:?} {place:?}: {said}");
        }
    }
}

#[test]
fn a_failed_up_ends_the_same_where_nothing_of_what_it_says_can_be_written() {
    for (words, code) in [(&["--etcd", "http://no-port"][..], 1), (&["--nonsense"], 2)] {
        for place in [&[][..], &["--detach"]] {
            for lost in [">/dev/full 2>&1", ">&- 2>&-"] {
                let top = top();
                let mut up = shell::redirected(&up(top.path(), &[words, place].concat()), lost);
                let run = limit::output(&mut up);
                assert_eq!(run.status.code(), Some(code), "{words:?} {place:?} {lost}");
                assert_eq!(left(top.path()), [""; 0], "{words:?} {place:?} {lost}");
            }
        }
    }
}

#[test]
fn what_was_there_before_a_failed_up_stays() {
    let top = top();
    for folder in ["a/data/log", "run"] {
        fs::create_dir_all(top.path().join(folder)).expect("a writable folder");
    }
    for file in ["a/data/notes", "a/data/log/apiserver.log"] {
        fs::write(top.path().join(file), "old\n").expect("a writable folder");
    }
    let before = left(top.path());
    fails(top.path(), &["--etcd", "http://no-port"]);
    assert_eq!(left(top.path()), before);
    assert_eq!(fs::read_to_string(top.path().join("a/data/notes")).expect("it stays"), "old\n");
}

#[test]
fn an_up_that_is_refused_touches_nothing_of_the_one_that_runs() {
    for place in [&[][..], &["--detach"]] {
        let top = top();
        let run = top.path().join("run");
        fs::create_dir_all(&run).expect("a writable folder");
        // Who holds the lock is a process that runs.
        let holder = fs::File::create(run.join("up.lock")).expect("a writable folder");
        rustix::fs::flock(&holder, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .expect("a free lock");
        fs::write(run.join("api.sock"), "").expect("a writable folder");
        let said = fails(top.path(), place);
        assert!(said.contains("at work here"), "{said}");
        assert_eq!(left(top.path()), ["run", "run/api.sock", "run/up.lock"], "{place:?}: {said}");
    }
}

#[test]
fn a_second_up_on_a_data_folder_is_refused_whatever_its_run_folder() {
    for place in [&[][..], &["--detach"]] {
        let top = top();
        let data = top.path().join("a/data");
        // As the run that holds the lock has made them.
        for folder in ["store", "node"] {
            fs::create_dir_all(data.join(folder)).expect("a writable folder");
        }
        let holder = fs::File::create(data.join("up.lock")).expect("a writable folder");
        rustix::fs::flock(&holder, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .expect("a free lock");
        fs::write(data.join("up.lock"), own_lock_line()).expect("a writable file");
        let said = fails(top.path(), &[&["--node-name", "No_Name"], place].concat());
        let told = format!("pid {} has been using data folder {}", std::process::id(), data.display());
        assert!(said.contains(&told), "{said}");
        let mut left = left(top.path());
        // The run in the background wrote its refusal there, where that of the holder has its logs.
        left.retain(|path| !path.starts_with("a/data/log"));
        assert_eq!(left, ["a", "a/data", "a/data/node", "a/data/store", "a/data/up.lock"], "{said}");
    }
}

/// What a lock says that this process holds.
fn own_lock_line() -> String {
    let stat = fs::read_to_string("/proc/self/stat").expect("/proc");
    let started = stat.rsplit_once(')').expect("a name").1.split_whitespace().nth(19).expect("22 fields");
    format!("{} {started} 2026-11-30T12:00:00Z\n", std::process::id())
}

#[test]
fn hints_name_the_folders_and_flags_in_use() {
    let top = top();
    let run = top.path().join("my run");
    fs::create_dir_all(&run).expect("a writable folder");
    let holder = fs::File::create(run.join("up.lock")).expect("a writable folder");
    rustix::fs::flock(&holder, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("a free lock");
    fs::write(run.join("up.lock"), own_lock_line()).expect("a writable file");
    let data = top.path().join("data");
    let mut up = Command::new(env!("CARGO_BIN_EXE_ctl"));
    up.arg("up").arg("--data").arg(&data).arg("--run").arg(&run);
    let up = limit::output(&mut up);
    let said = String::from_utf8_lossy(&up.stderr);
    let down = format!("`ctl down --data {} --run '{}'`", data.display(), run.display());
    assert!(said.contains(&down), "{said}");
    assert!(!data.exists(), "{said}");
}

/// Berth's programs in a folder of its own, with an agent that never registers: the time in which `ctl up` waits for it
/// lasts until the test ends it.
fn programs_without_agent() -> TempDir {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    for name in ["ctl", "apiserver", "controllers", "shim"] {
        let program = Path::new(env!("CARGO_BIN_EXE_ctl")).with_file_name(name);
        fs::hard_link(program, folder.path().join(name)).expect("a program of this build");
    }
    let agent = folder.path().join("node-agent");
    fs::write(&agent, "#!/bin/sh\nexec sleep 1000\n").expect("a writable folder");
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("an own file");
    folder
}

fn ctl(program: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    for name in ["BERTH_DATA", "BERTH_RUN", "BERTH_ETCD", "BERTH_PORTS", "CTL_SERVER"] {
        command.env_remove(name);
    }
    command.args(words);
    command
}

#[test]
fn a_failed_up_keeps_what_others_wrote_to_its_api() {
    let (top, programs) = (top(), programs_without_agent());
    let path = |name: &str| top.path().join(name).display().to_string();
    let (data, run, manifest) = (path("data"), path("run"), path("app.yaml"));
    let server = format!("unix:{run}/api.sock");
    let app = "apiVersion: berth.dev/v1\nkind: App\nmetadata: {name: kept}\nspec:\n  replicas: 0\n  template:\n    \
               spec:\n      containers: [{name: main, command: [sleep, '1000']}]\n";
    fs::write(&manifest, app).expect("a writable folder");
    let folders = ["--data", &data, "--run", &run];

    let up = ["up", "--timeout", "100s", "--node-name", "keeping"];
    let mut up = ctl(&programs.path().join("ctl"), &[&up[..], &folders].concat());
    let up =
        up.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("ctl starts");
    let until = Instant::now() + Duration::from_secs(60);
    let real = Path::new(env!("CARGO_BIN_EXE_ctl"));
    loop {
        // The claim is written once the API has answered.
        let claimed = Path::new(&data).join("cluster").exists();
        if claimed
            && limit::output(&mut ctl(real, &["apply", "--server", &server, "-f", &manifest]))
                .status
                .success()
        {
            break;
        }
        assert!(Instant::now() < until, "the API does not take the App");
        std::thread::sleep(Duration::from_millis(20));
    }
    let interrupt = Command::new("kill").args(["-INT", &up.id().to_string()]).status();
    assert!(interrupt.expect("kill starts").success());
    let up = up.wait_with_output().expect("a child can be waited for");
    let said = String::from_utf8_lossy(&up.stderr);
    assert!(
        !up.status.success() && said.contains(&format!("{data} stays, as its store holds app/kept")),
        "{said}"
    );

    let apiserver = real.with_file_name("apiserver");
    let mut apiserver = Command::new(apiserver);
    apiserver.args(["--store", &format!("embedded:{data}/store"), "--listen", &server]);
    let mut apiserver = apiserver.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    while !Path::new(&run).join("api.sock").exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    let found = limit::output(&mut ctl(real, &["get", "apps", "--server", &server]));
    apiserver.kill().expect("an own child");
    apiserver.wait().expect("an own child");
    assert!(String::from_utf8_lossy(&found.stdout).contains("kept"), "{found:?}");
    limit::output(&mut ctl(real, &[&["down", "--delete-data", "--yes"][..], &folders].concat()));
}
