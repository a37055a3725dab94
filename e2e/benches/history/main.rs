//! How fast the history checker reads: `cargo bench --workspace --bench history`. A generated history is read from its
//! file and judged, beside nothing but parsing the same lines. A line for people, and JSON in `target/bench/history.jsonl`.
//! A number on the command line is how many events.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use berth_e2e::history::evidence::Run;
use berth_e2e::history::generator::generate;
use berth_e2e::history::invariants::all;
use berth_e2e::history::{Judge, log};
use serde_json::{Value, json};

/// What is asked of a release build.
const ASKED: f64 = 200_000.0;

fn main() {
    let count = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(400_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("events.jsonl");
    let events = write(&path, count);
    let (mut judged, mut parsed) = (0f64, 0f64);
    // The best of three: caches that others emptied only make it slower.
    for _ in 0..3 {
        judged = judged.max(per_second(events, || judge(&path)));
        parsed = parsed.max(per_second(events, || parse(&path)));
    }
    let bytes = fs::metadata(&path).expect("the file is there").len() as f64 / events as f64;
    println!(
        "history: {judged:.0} events/s read and judged, {:.2} x bare parsing ({parsed:.0}); {events} events of \
         {bytes:.0} bytes [{ASKED:.0}]",
        judged / parsed
    );
    let line = json!({
        "name": "history", "value": judged, "unit": "events/s", "samples": 3, "reference": "bare parsing",
        "referenceValue": parsed, "ratio": judged / parsed, "asked": ASKED, "events": events, "bytes": bytes,
    });
    let report = berth_e2e::workspace().join("target/bench");
    fs::create_dir_all(&report).expect("the report's folder can be made");
    fs::write(report.join("history.jsonl"), format!("{line}\n")).expect("the report is writable");
}

fn write(path: &Path, count: usize) -> usize {
    let events = generate(1, count);
    let mut file = BufWriter::new(File::create(path).expect("the folder is writable"));
    log::write(&mut file, &events).and_then(|()| file.flush()).expect("the file is writable");
    events.len()
}

/// Per second that the processor worked for this thread: on a machine that is shared, others do not count.
fn per_second(events: usize, work: impl FnOnce() -> usize) -> f64 {
    let begun = worked();
    assert_eq!(work(), events, "every event was read");
    events as f64 * 1e9 / (worked() - begun)
}

/// Nanoseconds that this thread was on a processor.
fn worked() -> f64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux machine");
    stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number")
}

fn open(path: &Path) -> BufReader<File> {
    BufReader::with_capacity(1 << 20, File::open(path).expect("the file is there"))
}

fn judge(path: &Path) -> usize {
    let mut judge = Judge::new(all(&Run::default()));
    let mut count = 0;
    for event in log::read(open(path)) {
        judge.on_event(event.expect("a line is an event"));
        count += 1;
    }
    let broken = judge.finish();
    assert!(broken.is_empty(), "{broken:?}");
    count
}

fn parse(path: &Path) -> usize {
    let mut count = 0;
    for line in open(path).lines() {
        let value: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        count += usize::from(value.is_object());
    }
    count
}
