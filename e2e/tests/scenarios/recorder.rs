//! The recorder sees what happened, and notices when it is told something else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use berth_e2e::history::Sighting;
use berth_e2e::record::open_journal;
use berth_e2e::wait::eventually;
use berth_e2e::world::{SOON, name, uid};
use berth_e2e::{Part, StoreForm, World};
use redb::{ReadableTable, TableDefinition};
use serde_json::Value;

const BUSY: &str = "apiVersion: berth.dev/v1
kind: App
metadata: {name: busy}
spec:
  minReadySeconds: 0
  template:
    spec:
      drainDelaySeconds: 0
      terminationGracePeriodSeconds: 1
      containers:
        - name: brief
          command: [sh, -c, 'sleep 0.3']
          resources: {requests: {cpu: 10m, memory: 8Mi}}
        - name: family
          command: [sh, -c, 'sleep 1000 & exec sleep 1000']
          resources: {requests: {cpu: 10m, memory: 8Mi}}
";

fn of<'a>(sightings: &'a [Sighting], container: &str) -> Vec<&'a Sighting> {
    sightings.iter().filter(|sighting| sighting.container == container).collect()
}

fn attempts(sightings: &[&Sighting]) -> BTreeSet<u64> {
    sightings.iter().filter_map(|sighting| sighting.attempt).collect()
}

/// How many attempts of the container `brief` have written a log.
fn logs(world: &World, task: &Value) -> usize {
    let folder = format!("default_{}_{}/brief", name(task), uid(task));
    let logs = fs::read_dir(world.data().join("node/logs").join(folder));
    let is_log = |path: &Path| path.extension().is_some_and(|end| end == "log");
    logs.into_iter().flatten().flatten().filter(|entry| is_log(&entry.path())).count()
}

/// Every attempt of a container is seen, on its node; what a container forks is of the same attempt.
pub fn every_attempt_of_a_container_is_seen(form: StoreForm) {
    let world = World::start(form);
    world.apply(BUSY).ok();
    let task = eventually("its Task is there", SOON, || {
        let mut tasks = world.tasks_of("busy")?;
        tasks.pop().ok_or_else(|| "no Task".to_owned())
    });
    let seen = eventually("every attempt that has a log was seen, three at least", SOON, || {
        let (logs, seen) = (logs(&world, &task), world.recorder().sightings());
        let attempts = attempts(&of(&seen, "brief")).len();
        if logs >= 3 && attempts == logs {
            Ok(seen)
        } else {
            Err(format!("{logs} logs, {attempts} attempts"))
        }
    });
    let (brief, family) = (of(&seen, "brief"), of(&seen, "family"));
    assert!(family.len() >= 2 && attempts(&family).len() == 1, "one attempt of two processes: {family:#?}");
    for sighting in brief.iter().chain(&family) {
        assert_eq!((&*sighting.node, &*sighting.task), ("one", uid(&task)), "{sighting:?}");
    }
    world.ctl(&["delete", "app/busy"]).ok();
    world.wait_none("tasks");
    world.end();
}

/// A server that kept another history than it told is found out by the file that it kept.
pub fn a_journal_that_differs_from_what_was_told_is_noticed(form: StoreForm) {
    let mut world = World::start(form);
    world.ctl(&["apply", "-f", "manifests/hello.yaml"]).ok();
    world.wait_ready("hello", 3);
    world.ctl(&["delete", "app/hello"]).ok();
    world.wait_none("tasks");
    world.recorder().catch_up().expect("the recorder keeps up");
    for part in Part::ALL {
        world.stop(part);
    }
    forge(&world);
    let verdict = world.end_unjudged().judge().to_string();
    for noticed in ["did not keep it", "other than it kept it", "did not tell it"] {
        assert!(verdict.contains(noticed), "`{noticed}` in {verdict}");
    }
}

/// Takes one record out of the journal, changes a second, puts a third in.
fn forge(world: &World) {
    const LOG: TableDefinition<'_, (i64, u32), &[u8]> = TableDefinition::new("log");
    let database = open_journal(&world.data().join("store")).expect("nobody has it open");
    let written = database.begin_write().expect("a transaction");
    {
        let mut log = written.open_table(LOG).expect("the log");
        let all: Vec<((i64, u32), Vec<u8>)> = log
            .iter()
            .expect("rows")
            .map(|row| row.map(|(place, record)| (place.value(), record.value().to_vec())).expect("a row"))
            .collect();
        let ((gone, _), (changed, record)) = (&all[5], &all[7]);
        let mut changed_record = record.clone();
        let last = changed_record.last_mut().expect("a record has bytes");
        *last = if *last == b'}' { b']' } else { b'}' };
        let invented = [&[0, 0, 0, 0, 8][..], b"/berth/x"].concat();
        log.remove(gone).expect("it was there");
        log.insert(changed, changed_record.as_slice()).expect("it is there");
        log.insert((all[9].0.0, 999), invented.as_slice()).expect("a new place");
    }
    written.commit().expect("the journal is writable");
}
