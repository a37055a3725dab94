use std::time::Duration;

use berth_client::{Change, Error, Query, Update, Watch};
use berth_proto::v1 as wire;
use berth_proto::v1::watch_event::Type;
use berth_types::app::App;
use berth_types::{Reason, Resource, Status};
use serde_json::json;

use crate::fake::{Answers, Fake, Script, client};

fn event(kind: Type, name: &str) -> wire::WatchEvent {
    let json = json!({"metadata": {"name": name}}).to_string();
    wire::WatchEvent { r#type: kind.into(), json: json.into() }
}

fn message(version: &str, events: Vec<wire::WatchEvent>) -> Result<wire::WatchResponse, Status> {
    Ok(wire::WatchResponse { resource_version: version.into(), events, ..wire::WatchResponse::default() })
}

fn present(names: &[&str], version: &str) -> Script {
    let mut script: Script = names.iter().map(|name| message("", vec![event(Type::Added, name)])).collect();
    script.push(Ok(wire::WatchResponse {
        resource_version: version.into(),
        initial_end: true,
        ..wire::WatchResponse::default()
    }));
    script
}

fn expired() -> Script {
    vec![Err(Status::new(Reason::Expired, "the version is compacted"))]
}

async fn next(watch: &mut Watch<App>) -> String {
    let update = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("nothing came");
    let names =
        |objects: Vec<App>| objects.iter().map(|app| app.meta().name.clone()).collect::<Vec<_>>().join(" ");
    match update {
        Ok(Update::Initial { objects, version }) => format!("initial {} at {version}", names(objects)),
        Ok(Update::Restarted { objects, version }) => format!("restarted {} at {version}", names(objects)),
        Ok(Update::Bookmark { version }) => format!("bookmark at {version}"),
        Ok(Update::Changes { changes, version }) => {
            let changes = changes.into_iter().map(|change| match change {
                Change::Added(app) => format!("+{}", app.metadata.name),
                Change::Modified(app) => format!("~{}", app.metadata.name),
                Change::Deleted(app) => format!("-{}", app.metadata.name),
            });
            format!("{} at {version}", changes.collect::<Vec<_>>().join(" "))
        }
        Err(error) => format!("error {error}"),
    }
}

#[tokio::test]
async fn a_watch_goes_on_at_another_server_from_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut script = present(&["a", "b"], "1023");
    script.push(message("2047", vec![event(Type::Added, "c"), event(Type::Deleted, "a")]));
    script.push(message("3071", Vec::new()));
    let one = Fake::start(folder.path(), "one", Answers::Nothing, vec![script]);
    let two_says = vec![message("4095", vec![event(Type::Modified, "b")])];
    let two = Fake::start(folder.path(), "two", Answers::Nothing, vec![two_says]);
    let mut watch = client(&[one.address(), two.address()]).watch_as::<App>(&Query::of::<App>());
    assert_eq!(next(&mut watch).await, "initial a b at 1023");
    assert_eq!(next(&mut watch).await, "+c -a at 2047");
    assert_eq!(next(&mut watch).await, "bookmark at 3071");
    one.kill().await;
    assert_eq!(next(&mut watch).await, "~b at 4095");
    assert_eq!(two.calls(), ["watch from `3071`"]);
}

#[tokio::test]
async fn a_watch_whose_version_is_forgotten_gives_the_whole_state_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut breaks = present(&["a"], "1023");
    breaks.extend(expired());
    let scripts = vec![breaks, present(&["b"], "5119")];
    let server = Fake::start(folder.path(), "one", Answers::Nothing, scripts);
    let mut watch = client(&[server.address()]).watch_as::<App>(&Query::of::<App>());
    assert_eq!(next(&mut watch).await, "initial a at 1023");
    assert_eq!(next(&mut watch).await, "restarted b at 5119");
    assert_eq!(server.calls(), ["watch from ``", "watch from ``"]);
}

/// Every message of it is of this history.
fn of(history: &str, script: Script) -> Script {
    let told = |message| wire::WatchResponse { history: history.into(), ..message };
    script.into_iter().map(|said| said.map(told)).collect()
}

#[tokio::test]
async fn a_watch_carries_the_history_of_its_version_and_another_one_is_told_to_all() {
    let folder = tempfile::tempdir().unwrap();
    let broken = || Err(Status::new(Reason::Unavailable, "the server is being stopped"));
    let mut first = of("old", present(&["a"], "1023"));
    first.push(broken());
    let scripts = vec![first, expired(), of("new", present(&["b"], "7"))];
    let server = Fake::start(folder.path(), "one", Answers::Nothing, scripts);
    let client = client(&[server.address()]);
    let mut watch = client.watch_as::<App>(&Query::of::<App>());
    assert_eq!(next(&mut watch).await, "initial a at 1023");
    assert!(futures::FutureExt::now_or_never(client.store_replaced()).is_none());
    assert_eq!(next(&mut watch).await, "restarted b at 7");
    assert_eq!(server.calls(), ["watch from ``", "watch from `1023` of old", "watch from ``"]);
    let heard = tokio::time::timeout(Duration::from_secs(20), client.store_replaced());
    heard.await.expect("another history was told");
}

#[tokio::test]
async fn a_watch_from_a_forgotten_version_says_that_it_lost_events() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        Fake::start(folder.path(), "one", Answers::Nothing, vec![expired(), present(&["b"], "5119")]);
    let mut watch = client(&[server.address()]).watch_from(&Query::of::<App>(), "1023", "");
    let update = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.unwrap().unwrap();
    assert!(matches!(update, Update::Restarted { .. }), "{update:?}");
}

#[tokio::test]
async fn a_beginning_that_broke_off_is_not_taken_for_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let half = vec![
        message("", vec![event(Type::Added, "a")]),
        Err(Status::new(Reason::Unavailable, "the server is being stopped")),
    ];
    let server = Fake::start(folder.path(), "one", Answers::Nothing, vec![half, present(&["b"], "1023")]);
    let mut watch = client(&[server.address()]).watch_as::<App>(&Query::of::<App>());
    assert_eq!(next(&mut watch).await, "initial b at 1023");
}

#[tokio::test]
async fn what_waiting_does_not_heal_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let unknown = vec![Err(Status::new(Reason::NotFound, "there is no kind Ap"))];
    let server = Fake::start(folder.path(), "one", Answers::Nothing, vec![unknown]);
    let mut watch = client(&[server.address()]).watch_as::<App>(&Query::of::<App>());
    let error = watch.next().await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error:?}");
}

#[tokio::test]
async fn a_refreshed_watch_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let scripts = vec![present(&["a"], "1023"), vec![message("9215", Vec::new())]];
    let server = Fake::start(folder.path(), "one", Answers::Nothing, scripts);
    let mut watch = client(&[server.address()]).watch_as::<App>(&Query::of::<App>());
    assert_eq!(next(&mut watch).await, "initial a at 1023");
    watch.refresh();
    assert_eq!(next(&mut watch).await, "bookmark at 9215");
    assert_eq!(server.calls(), ["watch from ``", "watch from `1023`"]);
}
