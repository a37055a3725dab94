//! `ctl down` and `ctl up` end the processes of their own folders and no others.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

mod limit;

/// A process that ends with the test.
struct Process(Child);

impl Process {
    fn start(program: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("the program starts"))
    }

    fn runs(&mut self) -> bool {
        self.0.try_wait().expect("a child can be asked").is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended, which the test has seen.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An apiserver that listens in `run`, and its store.
fn apiserver(run: &str, flag: &str) -> Process {
    apiserver_on("memory", run, flag)
}

fn apiserver_on(store: &str, run: &str, flag: &str) -> Process {
    let program = Path::new(env!("CARGO_BIN_EXE_ctl")).with_file_name("apiserver");
    let socket = format!("{run}/api.sock");
    let listen = format!("{flag}unix:{socket}");
    let words: Vec<&str> = ["--store", store].into_iter().chain(listen.split(' ')).collect();
    let process = Process::start(&program, &words);
    let until = Instant::now() + Duration::from_secs(20);
    while !Path::new(&socket).exists() {
        assert!(Instant::now() < until, "the apiserver at {socket} does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    process
}

/// Parts on the two folders of a cluster, and namesakes of theirs that are not.
struct Scene {
    data: String,
    run: String,
    /// One on the run folder, one on the data folder.
    ours: [Process; 2],
    others: [Process; 4],
    /// Removed after their end.
    _top: TempDir,
}

impl Scene {
    fn begin() -> Self {
        let folder = tempfile::Builder::new().prefix("d").tempdir().expect("a temporary folder");
        let top = folder.path().display().to_string();
        let (data, run, linked) = (format!("{top}/data"), format!("{top}/run"), format!("{top}/link"));
        // The path of another cluster's folder may end with ours, or begin with it.
        let (behind, longer) = (format!("{top}/m{top}/run"), format!("{top}/run2"));
        // It may also lie inside of ours.
        let (nested_data, nested) = (format!("{data}/nested"), format!("{run}/nested"));
        let elsewhere = format!("{top}/elsewhere");
        for folder in [&data, &run, &behind, &longer, &nested_data, &nested, &elsewhere] {
            fs::create_dir_all(folder).expect("a writable folder");
        }
        symlink(&data, &linked).expect("a link");
        fs::write(format!("{data}/notes"), "").expect("a writable folder");
        let shim = format!("{top}/containerd-shim");
        fs::copy("/usr/bin/tail", &shim).expect("tail can be copied");

        let stored = apiserver_on(&format!("embedded:{linked}/store"), &elsewhere, "--listen=");
        let ours = [apiserver(&run, "--listen "), stored];
        let others = [
            apiserver(&behind, "--listen "),
            apiserver(&longer, "--listen="),
            apiserver_on(&format!("embedded:{nested_data}/store"), &nested, "--listen "),
            Process::start(Path::new(&shim), &["-f", &format!("{data}/notes")]),
        ];
        Self { data, run, ours, others, _top: folder }
    }

    /// Runs `ctl` with these words on the cluster's folders; whether it succeeded, and what it said.
    fn ctl(&self, words: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ctl"));
        for name in ["BERTH_DATA", "BERTH_RUN", "BERTH_ETCD", "BERTH_PORTS", "CTL_SERVER"] {
            command.env_remove(name);
        }
        let run = limit::output(command.args(words).args(["--data", &self.data, "--run", &self.run]));
        let said = [run.stdout, run.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        (run.status.success(), said.concat())
    }
}

#[test]
fn down_ends_what_is_in_its_folders_and_no_namesake() {
    let mut scene = Scene::begin();
    let (succeeded, said) = scene.ctl(&["down"]);
    assert!(succeeded, "{said}");
    assert_eq!(scene.ours.each_mut().map(Process::runs), [false, false], "{said}");
    assert_eq!(scene.others.each_mut().map(Process::runs), [true; 4], "{said}");
}

#[test]
fn up_ends_what_an_earlier_one_left_on_its_run_folder_and_no_namesake() {
    let mut scene = Scene::begin();
    // It ends once its apiserver does, which comes after the end of an earlier one's.
    let (succeeded, said) = scene.ctl(&["up", "--timeout", "20s", "--etcd", "http://no-port"]);
    assert!(!succeeded && said.contains("has no port"), "{said}");
    assert!(!scene.ours[0].runs(), "{said}");
    assert_eq!(scene.others.each_mut().map(Process::runs), [true; 4], "{said}");
}
