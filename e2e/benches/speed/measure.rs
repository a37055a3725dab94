//! What is measured of a process, and how figures are shown.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

/// What a process has used so far, from `/proc/PID/stat` and `status`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Processor time, in user and system mode.
    pub cpu: Duration,
    /// Resident memory, in MiB.
    pub rss: f64,
}

impl Usage {
    /// Of the process `pid`.
    pub fn of(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
        // The name stands in parentheses and may hold anything; utime and stime are the 14th and 15th field.
        let (_, after_name) = stat.rsplit_once(") ").expect("stat names the process");
        let fields: Vec<&str> = after_name.split(' ').collect();
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
        // USER_HZ is 100 on every Linux that runs Rust.
        Self { cpu: Duration::from_millis(ticks * 10), rss: resident(pid) }
    }
}

fn resident(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("kB");
    kib / 1024.0
}

/// One measured value, and what it is read beside.
#[derive(Debug, Clone)]
pub struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    samples: usize,
    reference: Option<(String, f64)>,
    asked: Option<&'static str>,
}

impl Figure {
    /// One value of one sample.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, samples: 1, reference: None, asked: None }
    }

    /// How many samples it was made from.
    pub fn of(mut self, samples: usize) -> Self {
        self.samples = samples;
        self
    }

    /// The value of something else in the same run, which this one is divided by.
    pub fn beside(mut self, what: impl Into<String>, value: f64) -> Self {
        self.reference = Some((what.into(), value));
        self
    }

    /// What is asked of it, for people: a figure that misses it fails nothing.
    pub fn asked(mut self, asked: &'static str) -> Self {
        self.asked = Some(asked);
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.reference.as_ref().map(|(_, reference)| self.value / reference)
    }

    fn line(&self) -> String {
        let mut line = format!("{:<58} {:>11.3} {:<9}", self.name, self.value, self.unit);
        if let (Some((what, value)), Some(ratio)) = (&self.reference, self.ratio()) {
            line += &format!(" {ratio:>6.2} x {what} ({value:.3})");
        }
        if let Some(asked) = self.asked {
            line += &format!(" [{asked}]");
        }
        line.trim_end().to_string()
    }

    fn json(&self) -> String {
        let (reference, value) = self.reference.clone().unzip();
        json!({
            "name": self.name, "value": self.value, "unit": self.unit, "samples": self.samples,
            "reference": reference, "referenceValue": value, "ratio": self.ratio(), "asked": self.asked,
        })
        .to_string()
    }
}

/// Figures as they come: a line for people, a JSON object in a file.
#[derive(Debug)]
pub struct Report {
    file: File,
}

impl Report {
    /// A report into the file `path`, whose folders are made.
    pub fn new(path: &Path) -> Self {
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("the folder can be made");
        Self { file: File::create(path).expect("the report's file can be made") }
    }

    /// Adds a figure.
    pub fn add(&mut self, figure: &Figure) {
        println!("{}", figure.line());
        writeln!(self.file, "{}", figure.json()).expect("the report's file is writable");
    }
}

/// The value below which `share` of the times lie, in milliseconds.
pub fn percentile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let at = ((times.len() - 1) as f64 * share).round() as usize;
    times[at].as_secs_f64() * 1000.0
}
