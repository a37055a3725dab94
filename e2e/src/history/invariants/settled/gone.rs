//! L3: what was told to go is gone, and what belonged to what is gone too. Left are what somebody else's finalizer holds,
//! and Tasks on a Node that is not heard: only its agent can say that nothing of them runs.

use std::collections::HashSet;

use super::Scene;
use crate::history::Object;
use crate::history::key::told;
use crate::history::task;
use crate::history::violation::Breach;

/// Finalizers that the cluster itself takes off.
const OWN: [&str; 2] = ["berth.dev/node", "berth.dev/namespace"];

pub fn look(scene: &Scene<'_>, broken: &mut Vec<Breach>) {
    let there: HashSet<&str> = scene.objects.values().map(|object| &*object.meta.uid).collect();
    for (key, object) in &scene.objects {
        let Some(why) = overdue(object, &there).filter(|_| !is_held(scene, object)) else { continue };
        broken.push(scene.breach(format!("{} is there, {why}", told(key)), [*key]));
    }
}

/// Why an object should be gone.
fn overdue(object: &Object, there: &HashSet<&str>) -> Option<String> {
    if object.is_deleting() {
        return Some("and was told to go".into());
    }
    let owner = object.meta.owner().filter(|owner| !there.contains(&*owner.uid))?;
    Some(format!("and its {} {} is not", owner.kind, owner.name))
}

fn is_held(scene: &Scene<'_>, object: &Object) -> bool {
    let foreign = |name: &str| !OWN.contains(&name);
    object.meta.finalizers.iter().any(|name| foreign(name))
        || task::spec(object).is_some_and(|task| scene.is_out_of_reach(task))
}
