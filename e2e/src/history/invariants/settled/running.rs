//! I12: a container that is told to run is seen to run. That nothing else runs is looked at all along.

use std::collections::HashMap;

use serde_json::Value;

use super::Scene;
use crate::history::key::told;
use crate::history::violation::Breach;

/// A process may have been seen so long before: nanoseconds. A loaded machine looks late.
const SLACK: u64 = 3_000_000_000;

pub fn look(scene: &Scene<'_>, broken: &mut Vec<Breach>) {
    if scene.end.probed.is_empty() {
        return;
    }
    let mut seen: HashMap<(&str, &str), u64> = HashMap::new();
    for process in scene.processes.iter().filter(|process| process.first <= scene.end.at) {
        let last = seen.entry((&process.task, &process.container)).or_default();
        *last = process.last.max(*last);
    }
    for (key, task, spec) in scene.tasks() {
        let probed = scene.end.probed.iter().any(|node| **node == *spec.node);
        if !probed || scene.is_out_of_reach(spec) {
            continue;
        }
        let status: Value =
            task.part("status").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let containers = status["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
        for container in containers.iter().filter(|container| !container["state"]["running"].is_null()) {
            let name = container["name"].as_str().unwrap_or_default();
            let why = match seen.get(&(&*task.meta.uid, name)) {
                None => "was never seen".to_string(),
                Some(last) if last + SLACK < scene.end.at => {
                    format!("was last seen {} ms before", (scene.end.at - last) / 1_000_000)
                }
                Some(_) => continue,
            };
            broken.push(
                scene.breach(format!("container {name} of {} is told to run, and {why}", told(key)), [key]),
            );
        }
    }
}
