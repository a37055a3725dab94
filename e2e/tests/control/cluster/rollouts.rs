//! Rollouts that get stuck, and changes that are none.

use berth_types::revision::Revision;
use berth_types::task::Task;
use serde_json::json;

use super::machine::BROKEN;
use super::world::{World, summary};
use super::{app, delete, template, version_of};

fn living(tasks: &[Task], version: &str) -> usize {
    let lives = |task: &&Task| task.status.phase == "Running" && !task.metadata.deleting();
    tasks.iter().filter(lives).filter(|task| version_of(task) == version).count()
}

/// Waits until so many Tasks of `v1` run, and as many are available, and at least one broken one is there.
async fn stuck(world: &World, working: usize) -> Vec<Task> {
    world
        .eventually("the rollout is stuck, with what it may miss", async || {
            let (app, tasks) = (world.app("web").await, world.all::<Task>().await);
            let available = app.status.available_replicas as usize;
            let right = living(&tasks, "v1") == working && available == working;
            if right && living(&tasks, BROKEN) > 0 { Ok(tasks) } else { Err((available, summary(&tasks))) }
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_while_a_rollout_is_stuck_comes_back_from_the_old_template() {
    let world = World::start().await;
    let _controllers = world.controllers();
    let _machines = [world.machine("n1").await, world.machine("n2").await];
    world.apply(app("web", 3, "v1")).await;
    world.settled("web", 3).await;
    world.patch("web", template(BROKEN)).await;
    let tasks = stuck(&world, 3).await;
    let old: Vec<&Task> = tasks.iter().filter(|task| version_of(task) == "v1").collect();
    let revision = old[0].spec.revision.clone();
    for lost in &old[..2] {
        delete(&world, *lost).await;
    }
    let gone = |tasks: &[Task]| {
        !tasks.iter().any(|task| old[..2].iter().any(|lost| lost.metadata.uid == task.metadata.uid))
    };
    let tasks = world
        .eventually("both are made again", async || {
            let tasks = stuck(&world, 3).await;
            if gone(&tasks) { Ok(tasks) } else { Err(summary(&tasks)) }
        })
        .await;
    let of_old = tasks.iter().filter(|task| version_of(task) == "v1");
    assert!(of_old.clone().all(|task| task.spec.revision == revision), "{}", summary(&tasks));

    // A quarter of six may be missing: both grow, and five stay available.
    world.patch("web", json!({ "replicas": 6 })).await;
    stuck(&world, 5).await;
    world.patch("web", template("v2")).await;
    let tasks = world.settled("web", 6).await;
    assert!(tasks.iter().all(|task| version_of(task) == "v2"), "{}", summary(&tasks));
    world.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_process_notices_replaces_no_task_and_the_next_one_gets_it() {
    let world = World::start().await;
    let _controllers = world.controllers();
    let _machine = world.machine("n1").await;
    world.apply(app("web", 2, "v1")).await;
    let uids = |tasks: &[Task]| -> std::collections::BTreeSet<String> {
        tasks.iter().map(|task| task.metadata.uid.clone()).collect()
    };
    let first = world.settled("web", 2).await;

    let mut reworded = template("v1");
    let spec = &mut reworded["template"]["spec"];
    spec["containers"][0]["resources"]["requests"]["cpu"] = json!("0.50");
    spec["terminationGracePeriodSeconds"] = json!(7);
    spec["drainDelaySeconds"] = json!(0);
    spec["restart"] = json!({ "inPlace": 9 });
    world.patch("web", reworded).await;
    world
        .eventually("the Revision has the new values", async || {
            let revisions = world.all::<Revision>().await;
            let [only] = revisions.as_slice() else { return Err(revisions) };
            let spec = &only.spec.template.spec;
            let values = (spec.termination_grace_period_seconds, spec.drain_delay_seconds);
            if values == (Some(7), Some(0)) && only.spec.number == 1 { Ok(()) } else { Err(revisions) }
        })
        .await;
    let same = world.settled("web", 2).await;
    assert_eq!(uids(&same), uids(&first));
    assert!(same.iter().all(|task| task.spec.drain_delay_seconds.is_none()), "{}", summary(&same));

    delete(&world, &same[0]).await;
    let next = world
        .eventually("another Task is there", async || {
            let tasks = world.settled("web", 2).await;
            let new = tasks.iter().find(|task| !uids(&first).contains(&task.metadata.uid));
            new.cloned().ok_or_else(|| summary(&tasks))
        })
        .await;
    assert_eq!((next.spec.drain_delay_seconds, next.spec.restarts().in_place), (Some(0), 9));
    world.ends_settled().await;
}
