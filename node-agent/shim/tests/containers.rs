//! A shim and real containers: what a Task's life needs. Needs root.
#![allow(clippy::unwrap_used)]

mod world;

use berth_shim_api::End;
use world::World;

#[test]
fn an_exit_code_arrives_with_the_whole_output() {
    let world = World::new();
    let ask = world.shell("echo hello; echo oh no >&2; printf torn; exit 42");
    let record = world.run(&ask);
    assert_eq!((record.end, record.oom_kills), (End::Code(42), 0));
    let mut lines: Vec<String> = world.output(&ask).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["stderr oh no", "stdout hello", "stdout torn"]);
}
