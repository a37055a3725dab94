//! crun on a bundle.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::bundle::{self, Bundle, Root, State};
use crate::filter;

/// crun and a container's bundle.
#[derive(Debug)]
pub struct Crun {
    dir: PathBuf,
    cgroup: String,
    state: State,
    _root: Root,
}

/// Whether a container's system calls are filtered, as the shim's always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// By the shim's own list.
    Filtered,
    /// By none.
    Free,
}

impl Crun {
    /// Lays the bundle out in the new folder `dir`.
    pub fn new(bundle: &Bundle, dir: &Path, calls: Calls) -> Self {
        let cgroup = bundle::cgroup(match calls {
            Calls::Filtered => "crun",
            Calls::Free => "crun-free",
        });
        let state = State::mount(dir);
        let root = Root::mount(bundle, dir);
        let mut spec = bundle.placed(&root.path, &cgroup);
        if calls == Calls::Filtered {
            spec["linux"]["seccomp"] = filter::in_words();
        }
        Self::write(dir, &spec);
        Self { dir: dir.into(), cgroup, state, _root: root }
    }

    fn write(dir: &Path, spec: &Value) {
        fs::write(dir.join("config.json"), spec.to_string()).expect("the folder is writable");
    }

    /// `crun run`: returns when the container runs.
    pub fn run(&self) {
        self.crun(&["run", "--detach"]);
    }

    /// `crun create` and `crun start`.
    pub fn create_and_start(&self) {
        self.crun(&["create"]);
        self.call(&["start"]);
    }

    /// `crun delete --force`.
    pub fn delete(&self) {
        self.call(&["delete", "--force"]);
    }

    fn crun(&self, words: &[&str]) {
        let bundle = self.dir.display().to_string();
        self.call(&[words, &["--bundle", &bundle]].concat());
    }

    fn call(&self, words: &[&str]) {
        // Output to files: crun keeps a pipe open for as long as the container lives.
        let log = fs::File::create(self.dir.join("log")).expect("the folder is writable");
        let status = Command::new("crun")
            .arg("--root")
            .arg(&self.state.path)
            .args(words)
            .arg("bench")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .status()
            .expect("crun is installed: run `e2e/setup bench`");
        let said = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        assert!(status.success(), "crun {words:?}: {said}");
    }
}

impl Drop for Crun {
    fn drop(&mut self) {
        bundle::remove_cgroup(&self.cgroup);
    }
}
