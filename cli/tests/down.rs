//! `ctl down` ends the processes of its own folders and no others.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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

#[test]
fn down_ends_what_is_in_its_folders_and_no_namesake() {
    let top = tempfile::Builder::new().prefix("d").tempdir().expect("a temporary folder");
    let top = top.path().display().to_string();
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
    let mut ours = [apiserver(&run, "--listen "), stored];
    let mut others = [
        apiserver(&behind, "--listen "),
        apiserver(&longer, "--listen="),
        apiserver_on(&format!("embedded:{nested_data}/store"), &nested, "--listen "),
        Process::start(Path::new(&shim), &["-f", &format!("{data}/notes")]),
    ];
    let mut down = Command::new(env!("CARGO_BIN_EXE_ctl"));
    let down = limit::output(down.args(["down", "--data", &data, "--run", &run]));
    let said = String::from_utf8_lossy(&down.stdout).into_owned() + &String::from_utf8_lossy(&down.stderr);
    assert!(down.status.success(), "{said}");
    assert_eq!(ours.each_mut().map(Process::runs), [false, false], "{said}");
    assert_eq!(others.each_mut().map(Process::runs), [true; 4], "{said}");
}
