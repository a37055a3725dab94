use berth_client::{Change, Update};
use berth_runtime::{Indexes, owner_uids};
use berth_types::task::{Container, Task};
use berth_types::{ObjectMeta, OwnerReference};

use super::*;

const UID: &str = "0123456789abcdef0123456789abcdef";

fn app(version: &str, tasks_created: i64) -> App {
    let metadata = ObjectMeta { uid: UID.into(), ..ObjectMeta::named("default", "web") };
    let mut app = App { metadata, ..App::default() };
    app.metadata.resource_version = version.into();
    app.spec.template.spec.containers = vec![Container { name: "main".into(), ..Container::default() }];
    app.status.tasks_created = tasks_created;
    app
}

fn task(version: &str) -> Task {
    let metadata = ObjectMeta { uid: "t".into(), ..ObjectMeta::named("default", "web-0") };
    let mut task = Task { metadata, ..Task::default() };
    task.metadata.resource_version = version.into();
    task.metadata.owner_references =
        vec![OwnerReference { uid: UID.into(), controller: Some(true), ..OwnerReference::default() }];
    task.spec.ordinal = Some(0);
    task.spec.revision = Wanted::read(&app(version, 1)).unwrap().revision;
    task
}

/// A controller whose caches show what they are given.
fn over(apps: &Cache<App>) -> AppController {
    let (mut tasks, mut revisions) = (Indexes::new(), Indexes::new());
    let (by_owner, by_node) = (tasks.add(owner_uids), tasks.add(|_: &Task| Vec::new()));
    let of_revisions = revisions.add(owner_uids);
    let tasks = Tasks { all: Cache::empty(tasks), by_owner, by_node };
    let client = Client::new(&["unix:/nowhere"]).unwrap();
    AppController {
        apps: apps.clone(),
        currency: Arc::new(Currency::new(client, tasks.all.clone())),
        tasks,
        revisions: Owned { all: Cache::empty(revisions), by_owner: of_revisions },
        made: Made::default(),
    }
}

fn creates(controller: &AppController) -> usize {
    let work = controller.reconcile(&Key::new("default", "web"), Timestamp::from_millis(0));
    work.waves.iter().flatten().filter(|deed| deed.action == "create").count()
}

#[tokio::test]
async fn an_app_that_counts_tasks_not_seen_yet_makes_none() {
    let apps = Cache::empty(Indexes::new());
    let controller = over(&apps);
    let version = |text: &str| text.to_owned();
    controller.tasks.all.apply(Update::Initial { objects: vec![], version: version("2047") });
    apps.apply(Update::Initial { objects: vec![app("2000", 0)], version: version("2047") });
    assert_eq!(creates(&controller), 1, "nothing was made yet");

    let ahead = Change::Modified(app("3072", 1));
    apps.apply(Update::Changes { changes: vec![ahead], version: version("4095") });
    assert_eq!(creates(&controller), 0, "its Task is not seen yet");

    let born = Change::Added(task("3073"));
    controller.tasks.all.apply(Update::Changes { changes: vec![born], version: version("4095") });
    assert_eq!(creates(&controller), 0, "its Task is there");

    // Whatever else changes in the App, the Tasks are all known.
    let scaled =
        App { spec: berth_types::app::AppSpec { replicas: Some(2), ..app("", 1).spec }, ..app("5120", 1) };
    apps.apply(Update::Changes { changes: vec![Change::Modified(scaled)], version: version("6143") });
    assert_eq!(creates(&controller), 1, "a second one is asked for");
}
