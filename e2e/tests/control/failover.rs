use std::collections::BTreeMap;

use berth_client::{Change, Error, Query, Update, Write};
use berth_types::app::App;

use crate::plane::{LIMIT, Plane, app, client};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_and_a_watch_go_on_when_their_server_is_killed() {
    let plane = Plane::new();
    let (one, two) = (plane.apiserver("one").await, plane.apiserver("two").await);
    let client = client(&[&one, &two]);
    let mut watch = client.watch_as::<App>(&Query::of::<App>());
    assert!(matches!(watch.next().await.unwrap(), Update::Initial { objects, .. } if objects.is_empty()));
    let writer = client.clone();
    let (halfway, reached) = tokio::sync::oneshot::channel();
    let writing = tokio::spawn(async move {
        let mut halfway = Some(halfway);
        for count in 1..=200 {
            writer.write(&Write::apply(&app(&format!("app-{}", count % 10), count), "test")).await.unwrap();
            if count == 100 {
                halfway.take().expect("once").send(()).unwrap();
            }
        }
    });
    reached.await.unwrap();
    one.kill();
    writing.await.unwrap();
    let present = client.list_as::<App>(&Query::of::<App>()).await.unwrap();
    let mut seen: BTreeMap<String, App> = BTreeMap::new();
    let followed = tokio::time::timeout(LIMIT, async {
        while seen.len() < 10 || seen.values().any(|app| !present.items.contains(app)) {
            match watch.next().await.unwrap() {
                Update::Changes { changes, .. } => {
                    for change in changes {
                        let (Change::Added(app) | Change::Modified(app) | Change::Deleted(app)) = change;
                        seen.insert(app.metadata.name.clone(), app);
                    }
                }
                Update::Bookmark { .. } => {}
                other => panic!("the watch was not resumed: {other:?}"),
            }
        }
    });
    followed.await.expect("the watch did not come to the present state");
}

#[tokio::test]
async fn a_write_says_what_its_caller_can_do() {
    let plane = Plane::new();
    let server = plane.apiserver("one").await;
    let client = client(&[&server]);
    let web = app("web", 1);
    let made = client.write_as::<App>(&Write::create_json(&web)).await.unwrap();
    let again = client.write(&Write::create_json(&web)).await.unwrap_err();
    assert!(matches!(again, Error::AlreadyExists(_)), "{again:?}");
    let patch = |replicas: u32| {
        Write::patch::<App>("default", "web", serde_json::json!({ "spec": { "replicas": replicas } }))
    };
    client.write(&patch(2).unchanged(&made)).await.unwrap();
    let stale = client.write(&patch(3).unchanged(&made)).await.unwrap_err();
    assert!(matches!(stale, Error::Conflict(_)), "{stale:?}");
    let wrong = Write::patch::<App>("default", "web", serde_json::json!({ "spec": { "replicas": "many" } }));
    let wrong = client.write(&wrong).await.unwrap_err();
    assert!(
        matches!(&wrong, Error::Invalid(status) if status.details.causes[0].field == "spec.replicas"),
        "{wrong:?}"
    );
    let none = client.get_as::<App>("default", "none").await.unwrap_err();
    assert!(matches!(none, Error::NotFound(_)), "{none:?}");
}
