//! What is measured of a process.

use std::fs;
use std::time::Duration;

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

/// The value below which `share` of the times lie, in milliseconds.
pub fn percentile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let at = ((times.len() - 1) as f64 * share).round() as usize;
    times[at].as_secs_f64() * 1000.0
}
