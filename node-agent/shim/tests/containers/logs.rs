//! What becomes of a container's output.

use std::fs;

use berth_shim_api::{Completeness, End, LogEntry, LogRotation, rotated_name};

use crate::world::{World, eventually, read_log};

#[test]
fn a_log_is_cut_at_its_limit_and_keeps_the_newest() {
    let rotation = LogRotation { bytes: 20_000, files: 3 };
    let world = World::with(&["main"], rotation);
    let ask = world.shell("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done");
    assert_eq!(world.run(&ask).end, End::Code(0));
    let log = world.log(&ask);
    assert_eq!(fs::read_dir(world.path("logs")).unwrap().count(), 3);
    let mut kept = String::new();
    for age in [2, 1, 0] {
        let file = rotated_name(&log, age);
        assert!(fs::metadata(&file).unwrap().len() <= rotation.bytes, "{}", file.display());
        kept += &read_log(&file);
    }
    let first = 3000 - kept.lines().count();
    let expected: String = (first..3000).map(|n| format!("stdout line {n}\n")).collect();
    assert_eq!(kept, expected);
}

#[test]
fn one_kept_file_starts_anew() {
    let world = World::with(&["main"], LogRotation { bytes: 20_000, files: 1 });
    let ask = world.shell("seq 1 2000");
    world.run(&ask);
    assert_eq!(fs::read_dir(world.path("logs")).unwrap().count(), 1);
    assert!(world.output(&ask).ends_with("stdout 2000\n"));
}

#[test]
fn a_line_without_end_is_cut_into_entries() {
    let world = World::new();
    let ask = world.shell("head -c 40000 /dev/zero | tr '\\0' x; echo; echo next");
    world.run(&ask);
    let text = fs::read(world.log(&ask)).unwrap();
    let entries: Vec<_> = text.split(|b| *b == b'\n').filter_map(LogEntry::parse).collect();
    let shape: Vec<_> = entries.iter().map(|entry| (entry.completeness, entry.text.len())).collect();
    use Completeness::{Full, Partial};
    assert_eq!(shape, [(Partial, 16384), (Partial, 16384), (Full, 40000 - 32768), (Full, 4)]);
}

#[test]
fn half_a_line_is_written_while_its_program_waits_and_ends_with_it() {
    let world = World::new();
    let ask = world.shell("printf 'Password: '; exec sleep 1000");
    let mut client = world.listener();
    world.start(&mut client, &ask);
    eventually("the prompt is in the log", || {
        let text = fs::read(world.log(&ask)).unwrap_or_default();
        let entry = text.strip_suffix(b"\n").and_then(LogEntry::parse);
        entry.is_some_and(|entry| entry.completeness == Completeness::Partial && entry.text == b"Password: ")
    });
    client.kill("main").unwrap();
    client.next_exit().unwrap();
    // The line ends with its program.
    assert_eq!(world.output(&ask), "stdout Password: \nstdout \n");
}

#[test]
fn output_that_looks_like_an_entry_forges_none() {
    let world = World::new();
    let ask = world.shell("echo '2026-01-01T00:00:00Z stderr F forged'; printf 'a\\rb\\033[2Jc\\n'");
    world.run(&ask);
    assert_eq!(world.output(&ask), "stdout 2026-01-01T00:00:00Z stderr F forged\nstdout a\rb\u{1b}[2Jc\n");
}

#[test]
fn a_flood_keeps_nobody_else_waiting() {
    let world = World::with(&["main", "other"], LogRotation { bytes: 1 << 20, files: 2 });
    let mut client = world.listener();
    let flood = world.shell("while :; do echo flood; echo flood >&2; done");
    world.start(&mut client, &flood);
    eventually("it floods", || rotated_name(&world.log(&flood), 1).exists());
    let mut other = world.shell("echo quiet");
    other.container = "other";
    other.spec["linux"]["cgroupsPath"] = world.bundle.containers[1].cgroup.clone().into();
    other.spec["root"]["path"] = world.path("other-root").to_str().into();
    client.start(world.starting_beside(&other)).unwrap();
    let record = client.next_exit().unwrap();
    assert_eq!((record.container.as_str(), record.end), ("other", End::Code(0)));
    assert_eq!(world.output(&other), "stdout quiet\n");
    client.kill("main").unwrap();
    assert_eq!(client.next_exit().unwrap().end, End::Signal(9));
}

#[test]
fn a_disk_that_takes_no_log_does_not_stop_the_container() {
    let world = World::new();
    let ask = world.shell("seq 1 100000; exit 5");
    let mut client = world.listener();
    let mut start = world.starting(&ask);
    start.log = "/dev/full".into();
    client.start(start).unwrap();
    assert_eq!(client.next_exit().unwrap().end, End::Code(5));
    eventually("the loss is noted", || world.shim_log().contains("could not be written"));
}
