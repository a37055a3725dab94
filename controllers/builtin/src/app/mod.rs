//! App: keeps as many ready Tasks as an App asks for, on the revision it asks for.
//! Reads App, its Tasks and Revisions. Writes Tasks (create, stop), Revisions and App status. Wakes on any of them.
//! Promises: never fewer available Tasks than replicas - maxUnavailable by its own doing; what is lost meanwhile comes back
//! from the last Revision that was available. Safe to kill at any point.
//! Leaves alone: which node a Task runs on (scheduler), containers (node agent).

mod currency;
mod execute;
mod fit;
mod fleet;
mod halt;
mod history;
mod holder;
mod made;
mod notes;
mod observed;
mod plan;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use berth_client::Client;
use berth_runtime::{Cache, Controller, Index, Key, Reconciler, Work};
use berth_types::app::App;
use berth_types::revision::Revision;
use berth_types::{Resource, Timestamp};

use crate::caches::{Caches, Owned, Tasks};
use currency::Currency;
use execute::MOST_COUNTED_ON;
use made::Made;
use observed::{Observed, Replica, Wanted};

/// The App controller's name, in logs, as manager of fields and as its Lease.
pub const NAME: &str = "app-controller";

/// Looks at one App at a time.
pub struct AppController {
    apps: Cache<App>,
    tasks: Tasks,
    revisions: Owned<Revision>,
    currency: Arc<Currency>,
    made: Made,
}

/// The App controller over these caches.
pub fn controller(client: Client, caches: &Caches) -> Controller<AppController> {
    let (apps, tasks, revisions) = (caches.apps(), caches.tasks(), caches.revisions());
    let currency = Arc::new(Currency::new(client.clone(), tasks.all.clone()));
    let reconciler = AppController {
        apps: apps.clone(),
        tasks: tasks.clone(),
        revisions: revisions.clone(),
        currency: currency.clone(),
        made: Made::default(),
    };
    Controller::new(NAME, client, reconciler)
        .wakes(&apps, |change| vec![Key::of(&**change.object())])
        .wakes(&tasks.all, |change| change.keys(Key::of_controller::<App>))
        .wakes(&revisions.all, |change| change.keys(Key::of_controller::<App>))
        .wakes_on(move || currency.clone().confirmations())
}

impl Reconciler for AppController {
    fn reconcile(&self, key: &Key, now: Timestamp) -> Work {
        let Some(app) = self.apps.get(key) else {
            self.made.forget(key);
            return Work::none();
        };
        let mut wanted = match Wanted::read(&app) {
            Ok(wanted) => wanted,
            Err(why) => {
                tracing::error!(object = %key, %why, "unreadable App left alone");
                return Work::none();
            }
        };
        if self.tasks.all.version() < self.made.version(key, &wanted) {
            self.currency.ask(key);
            return Work::none();
        }
        let tasks = controlled(&self.tasks.all, &self.tasks.by_owner, &wanted.uid);
        let tasks: Vec<Replica> = tasks.iter().map(|task| Replica::read(task, now)).collect();
        let revisions = controlled(&self.revisions.all, &self.revisions.by_owner, &wanted.uid);
        let revisions: Vec<Revision> = revisions.iter().map(|revision| Revision::clone(revision)).collect();
        if let Some(name) = history::known_by_another_name(&wanted, &revisions) {
            wanted.revision = name.to_owned();
        }
        let held = |name: &str| self.tasks.all.get(&Key::new(&wanted.namespace, name)).is_some();
        let seen = Observed { app: &wanted, tasks: &tasks, revisions: &revisions, held: &held, now };
        let mut plan = plan::plan(&seen);
        if plan.counts_on_more_than(MOST_COUNTED_ON) && !self.currency.is_confirmed(key, now) {
            self.currency.ask(key);
            plan.put_stops_off();
        }
        fit::fit(&mut plan, &app, self.apps.managed_bytes(key), &seen);
        execute::work(&seen, plan)
    }
}

/// The objects that the owner of this uid controls.
fn controlled<K: Resource>(cache: &Cache<K>, by_owner: &Index<K>, uid: &str) -> Vec<Arc<K>> {
    let mut objects = cache.by(by_owner, uid);
    objects.retain(|object| object.meta().controller().is_some_and(|owner| owner.uid == uid));
    objects
}
