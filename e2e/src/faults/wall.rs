//! The wall clock as some parts of a world see it; their monotonic clocks go on as ever.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::log::{FaultLog, InForce};

/// The clock of the parts that are started with [`Wall::variable`] in their environment.
#[derive(Debug)]
pub struct Wall {
    dir: TempDir,
    in_force: Option<InForce>,
}

impl Wall {
    /// A right clock.
    pub fn right() -> Self {
        let wall = Self { dir: tempfile::tempdir().expect("a temporary folder"), in_force: None };
        fs::write(wall.file(), "0").expect("the folder is writable");
        wall
    }

    /// What a part is given in its environment so that this is its clock: name and value.
    pub fn variable(&self) -> (&'static str, String) {
        ("BERTH_CLOCK_OFFSET", self.file().display().to_string())
    }

    /// Sets the clock this many seconds ahead of the right one.
    pub fn set(&mut self, seconds: i64, log: &FaultLog) {
        let new = self.dir.path().join("new");
        fs::write(&new, seconds.to_string()).expect("the folder is writable");
        fs::rename(new, self.file()).expect("the folder is writable");
        self.in_force = (seconds != 0).then(|| log.begin(format!("clocks are {seconds} s ahead")));
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("seconds")
    }
}
