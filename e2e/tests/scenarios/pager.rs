//! A reader of `ctl` that pauses, as a pager does until a key is pressed.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use berth_e2e::wait::eventually;
use berth_e2e::world::{Part, SOON};
use berth_e2e::{StoreForm, World, binary};

const LINES: usize = 40_000;
/// The server cuts off who has not answered a ping for 1 s.
const PINGS: &str = "keepalive: {everyMillis: 250, answerMillis: 750}";
/// How long the reader pauses: three times as long.
const PAUSE: Duration = Duration::from_secs(3);

/// While nobody reads what `ctl logs` printed, its connection lives on: every line comes in the end.
pub fn a_reader_that_pauses_gets_every_line(form: StoreForm) {
    let world = World::plan(form).config(Part::Apiserver, PINGS).start();
    let line = "of a log that is longer than any pipe, any window and any buffer between its ends";
    let command = format!("seq -f '%.0f {line}' 1 {LINES}; exec sleep 3600");
    world
        .apply(&format!(
            "apiVersion: berth.dev/v1\nkind: App\nmetadata: {{name: talker}}\nspec:\n  template:\n    spec:\n      \
             terminationGracePeriodSeconds: 1\n      containers:\n        - name: main\n          \
             command: [sh, -c, \"{command}\"]\n"
        ))
        .ok();
    world.wait_ready("talker", 1);
    eventually("everything is logged", SOON, || {
        let last = world.ctl(&["logs", "app/talker", "--tail", "1"]).stdout;
        if last.starts_with(&format!("{LINES} ")) { Ok(()) } else { Err(last) }
    });

    let mut logs = Command::new(binary("ctl"))
        .args(["logs", "app/talker"])
        .env("CTL_SERVER", world.servers())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ctl starts");
    std::thread::park_timeout(PAUSE);
    let mut read = String::new();
    logs.stdout.take().expect("a pipe").read_to_string(&mut read).expect("a log of text");
    let ended = logs.wait_with_output().expect("ctl ends");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.is_empty(), "{said}");
    let numbers: Vec<&str> = read.lines().filter_map(|line| line.split(' ').next()).collect();
    let expected: Vec<String> = (1..=LINES).map(|number| number.to_string()).collect();
    assert!(numbers == expected, "{} lines came, the last one is {:?}", numbers.len(), read.lines().last());
    a_lost_output_ends_the_logs(&world);
    world.end();
}

/// With 0 where the reader went away, and with 1 where the output cannot be written; also while they are followed.
fn a_lost_output_ends_the_logs(world: &World) {
    const UNWRITTEN: &str =
        "error: could not write to standard output\n  No space left on device (os error 28)\n";
    for more in [&[][..], &["-f"]] {
        let (reader, nobody) = std::io::pipe().expect("a pipe");
        drop(reader);
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        for (to, code, said) in [(Stdio::from(nobody), 0, ""), (full.into(), 1, UNWRITTEN)] {
            let logs = Command::new(binary("ctl"))
                .args(["logs", "app/talker"])
                .args(more)
                .env("CTL_SERVER", world.servers())
                .stdin(Stdio::null())
                .stdout(to)
                .output()
                .expect("ctl starts");
            assert_eq!(logs.status.code(), Some(code), "{more:?}");
            assert_eq!(String::from_utf8_lossy(&logs.stderr), said, "{more:?}");
        }
    }
}
