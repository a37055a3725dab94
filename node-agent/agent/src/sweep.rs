//! What nobody needs any more: leftovers of Tasks that the journal does not know, logs of Tasks long gone, layers that
//! no Task uses.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::assignment::TaskUid;
use crate::blocking::blocking;
use crate::ended_logs;
use crate::execute::World;
use berth_removal::remove_tree;

/// Logs outlive their Task by this.
const LOGS_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Layers outlive the last Task that used them by this.
const LAYERS_KEPT: Duration = Duration::from_secs(24 * 3600);
/// At least between two looks at the logs of ended attempts.
const LOGS_LOOK: Duration = Duration::from_secs(1);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(600);

/// Folders of Tasks that the journal does not know, as a crash between two steps leaves them.
pub fn leftovers(world: &World, journalled: &BTreeSet<TaskUid>) -> Vec<TaskUid> {
    let named = fs::read_dir(world.places.tasks()).into_iter().flatten().flatten();
    let uids = named.filter_map(|entry| TaskUid::parse(entry.file_name().to_str()?));
    uids.filter(|uid| !journalled.contains(uid)).collect()
}

/// Removes leftovers after `patience`, then keeps logs and layers in bounds.
pub async fn sweep(world: Arc<World>, leftovers: Vec<TaskUid>, patience: Duration) {
    if !leftovers.is_empty() {
        tracing::warn!(tasks = leftovers.len(), ?patience, "folders of unknown tasks are removed soon");
        tokio::time::sleep(patience).await;
    }
    for task in leftovers {
        world.end_shim(&task).await;
        if let Err(why) = world.remove_leftovers(&task).await {
            tracing::error!(task = %task, why, "leftovers of an unknown task stay");
        }
    }
    tokio::join!(remove_old(&world), bound_logs(&world));
}

async fn remove_old(world: &Arc<World>) {
    loop {
        let swept = world.clone();
        blocking(move || {
            remove_old_logs(&swept);
            remove_old_layers(&swept);
        })
        .await;
        tokio::time::sleep(LOOK).await;
    }
}

/// After ends, as there are, and not more often than once in a while.
async fn bound_logs(world: &Arc<World>) {
    loop {
        let places = world.places.clone();
        match blocking(move || ended_logs::bound(&places)).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "logs of ended attempts over the bound are removed"),
            Err(error) => tracing::warn!(error = %error, "logs of ended attempts stay"),
        }
        tokio::time::sleep(LOGS_LOOK).await;
        world.ends.notified().await;
    }
}

fn remove_old_logs(world: &World) {
    for entry in fs::read_dir(world.places.all_logs()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let uid = name.rsplit('_').next().and_then(TaskUid::parse);
        let over = uid.is_some_and(|uid| !world.places.task(&uid).exists());
        if over && last_written(&entry.path()).is_some_and(is_old) {
            // Whoever reads them right now goes on reading what is open.
            let _ = remove_tree(&entry.path());
        }
    }
}

fn remove_old_layers(world: &World) {
    let before = SystemTime::now() - LAYERS_KEPT;
    match world.homes.collect_layers(before) {
        Ok(0) => {}
        Ok(layers) => tracing::info!(layers, "unused layers are removed"),
        Err(error) => tracing::warn!(error = %error, "unused layers stay"),
    }
}

fn is_old(written: SystemTime) -> bool {
    written.elapsed().is_ok_and(|age| age > LOGS_KEPT)
}

fn last_written(folder: &Path) -> Option<SystemTime> {
    let own = fs::metadata(folder).and_then(|meta| meta.modified()).ok();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries.filter_map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => last_written(&entry.path()),
        Ok(_) | Err(_) => entry.metadata().and_then(|meta| meta.modified()).ok(),
    });
    below.chain(own).max()
}
