//! The program that runs test programs, on one whose test takes too long.

use std::fs;
use std::process::Command;
use std::time::Duration;

use berth_e2e::wait::{eventually, output};

/// How long it may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The processes, and their command lines, that have this in it.
fn processes(words: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let line = |process: fs::DirEntry| fs::read(process.path().join("cmdline")).unwrap_or_default();
    let lines = all.map(|process| String::from_utf8_lossy(&line(process)).replace('\0', " "));
    lines.filter(|line| line.contains(words)).collect()
}

#[test]
fn a_program_with_an_overdue_test_is_ended_and_what_it_waits_for_is_told() {
    // Of this test alone.
    let sleep = format!("sleep 300.{}", std::process::id());
    // libtest names a test after a minute, which is all that it may take here.
    let script = format!(
        "{sleep} & until grep -q ^sleep /proc/$!/cmdline; do :; done
        echo 'test a has been running for over 60 seconds'; wait"
    );
    let mut runner = Command::new(env!("CARGO_BIN_EXE_test-runner"));
    runner.args(["sh", "-c", &script]).env("BERTH_TEST_MINUTES", "1");
    let ended = output(&mut runner, LIMIT).expect("it ends");
    let [said, told] = [ended.stdout, ended.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert_eq!(ended.status.code(), Some(101), "{told}");
    assert_eq!(said, "test a has been running for over 60 seconds\n");
    for part in ["after 1 minutes these tests still run: a\n", "thread `sh` ", "process `", &sleep] {
        assert!(told.contains(part), "no {part} in {told}");
    }
    eventually("the program and what it started are gone", LIMIT, || {
        let left = processes(&sleep);
        if left.is_empty() { Ok(()) } else { Err(left.concat()) }
    });
}

#[test]
fn a_program_ends_with_its_own_code_and_output() {
    let mut runner = Command::new(env!("CARGO_BIN_EXE_test-runner"));
    let ended = output(runner.args(["sh", "-c", "echo 'test a ... ok'; exit 7"]), LIMIT).expect("it ends");
    assert_eq!((ended.status.code(), &*ended.stdout), (Some(7), &b"test a ... ok\n"[..]));
}
