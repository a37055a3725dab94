use std::time::{Duration, Instant};

use berth_client::{Atomicity, Effect, Error, ObjectKey, Query, Write};
use berth_types::app::App;
use berth_types::{ObjectMeta, Reason, Status};
use serde_json::json;

use crate::fake::{Answers, Fake, client};

fn web() -> Answers {
    Answers::Object(json!({"metadata": {"name": "web", "resourceVersion": "2048"}}))
}

fn key() -> ObjectKey {
    ObjectKey::of::<App>("shop", "web")
}

fn app(version: &str) -> App {
    let mut metadata = ObjectMeta::named("shop", "web");
    metadata.resource_version = version.into();
    App { metadata, ..App::default() }
}

#[tokio::test]
async fn a_call_that_could_not_be_sent_goes_to_the_next_server_whatever_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let there = Fake::start(folder.path(), "there", web(), Vec::new());
    let client = client(&[format!("unix:{}/nobody", folder.path().display()), there.address()]);
    client.write(&Write::create(&app(""))).await.unwrap();
    client.get(&key()).await.unwrap();
    assert_eq!(there.calls(), ["create", "get"]);
}

#[tokio::test]
async fn a_server_that_declines_is_left_for_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let declines = Answers::Refuses(Status::new(Reason::Unavailable, "no leader"));
    let one = Fake::start(folder.path(), "one", declines, Vec::new());
    let two = Fake::start(folder.path(), "two", web(), Vec::new());
    let client = client(&[one.address(), two.address()]);
    client.write(&Write::create(&app(""))).await.unwrap();
    client.write(&Write::create(&app(""))).await.unwrap();
    assert_eq!((one.calls().len(), two.calls().len()), (1, 2), "the client stays where it was answered");
}

#[tokio::test]
async fn a_refusal_is_final() {
    let folder = tempfile::tempdir().unwrap();
    let refuses = Answers::Refuses(Status::new(Reason::Conflict, "it changed"));
    let one = Fake::start(folder.path(), "one", refuses, Vec::new());
    let two = Fake::start(folder.path(), "two", web(), Vec::new());
    let client = client(&[one.address(), two.address()]);
    let error = client.write(&Write::create(&app(""))).await.unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error:?}");
    assert_eq!(two.calls().len(), 0);
}

/// Sends a write to a server that is killed before it answers, beside one that answers.
async fn killed_under(write: Write) -> (Result<serde_json::Value, Error>, usize) {
    let folder = tempfile::tempdir().unwrap();
    let dies = Fake::start(folder.path(), "dies", Answers::Nothing, Vec::new());
    let lives = Fake::start(folder.path(), "lives", web(), Vec::new());
    let client = client(&[dies.address(), lives.address()]);
    let sent = tokio::spawn(async move { client.write(&write).await });
    dies.asked(1).await;
    dies.kill().await;
    (sent.await.unwrap(), lives.calls().len())
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_sent_again_only_when_that_does_no_harm() {
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    for (write, sent_again) in [
        (Write::create(&app("")), 0),
        (Write::delete(&key()), 0),
        (Write::delete(&key()).expecting_uid("u1"), 1),
        (Write::update(&app("")), 0),
        (Write::update(&app("1024")), 1),
        (Write::patch_json(&key(), &patch), 1),
        (Write::apply(&json!({"apiVersion": "berth.dev/v1", "kind": "App"}), "ctl"), 1),
    ] {
        let (answer, again) = killed_under(write.clone()).await;
        assert_eq!(again, sent_again, "{write:?}");
        match answer {
            Ok(_) => assert_eq!(sent_again, 1, "{write:?}"),
            Err(error) => assert!(matches!(error, Error::Unknown(_)) && sent_again == 0, "{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_write_that_finds_itself_done_is_not_answered_as_unchanged() {
    let patch = Write::patch_json(&key(), &json!({}));
    for (first, effect) in [
        // Both answer that nothing changed.
        (None, Effect::Unchanged),
        (Some(Answers::Refuses(Status::new(Reason::Unavailable, "no leader"))), Effect::Unchanged),
        (Some(Answers::Nothing), Effect::Unknown),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let lives = Fake::start(folder.path(), "lives", web(), Vec::new());
        let first = first.map(|answers| Fake::start(folder.path(), "first", answers, Vec::new()));
        let addresses = first.iter().map(Fake::address).chain([lives.address()]).collect::<Vec<_>>();
        let (client, patch) = (client(&addresses), patch.clone());
        let sent = tokio::spawn(async move { client.send_and_hear(&patch).await });
        if let Some(first) = first {
            first.asked(1).await;
            first.kill().await;
        }
        let (_, written) = sent.await.unwrap().unwrap();
        assert_eq!(written.effect, effect);
    }
}

#[tokio::test]
async fn a_batch_is_sent_again_only_when_each_of_its_writes_may_be() {
    for (second, sent_again) in [(Write::create(&app("")), 0), (Write::delete(&key()).expecting_uid("u"), 1)]
    {
        let folder = tempfile::tempdir().unwrap();
        let dies = Fake::start(folder.path(), "dies", Answers::Nothing, Vec::new());
        let lives = Fake::start(folder.path(), "lives", web(), Vec::new());
        let client = client(&[dies.address(), lives.address()]);
        let writes = [Write::patch_json(&key(), &json!({})), second];
        let sent = tokio::spawn(async move { client.batch(&writes, Atomicity::Each).await });
        dies.asked(1).await;
        dies.kill().await;
        assert_eq!((sent.await.unwrap().is_ok(), lives.calls().len()), (sent_again == 1, sent_again));
    }
}

#[tokio::test]
async fn when_nobody_answers_the_call_ends_with_its_deadline_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}/nobody", folder.path().display());
    let started = Instant::now();
    let error = client(std::slice::from_ref(&address)).get(&key()).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5));
    let expected = format!("could not connect to {address}: No such file or directory (os error 2)");
    assert!(matches!(&error, Error::Unavailable(status) if status.message == expected), "{error:?}");
}

#[tokio::test]
async fn a_list_is_read_to_its_last_page() {
    let folder = tempfile::tempdir().unwrap();
    let server = Fake::start(folder.path(), "one", web(), Vec::new());
    let listed = client(&[server.address()]).list_as::<App>(&Query::of::<App>()).await.unwrap();
    assert_eq!((listed.items.len(), listed.version.as_str()), (2, "1023"));
    assert_eq!(server.calls(), ["list ", "list next"]);
}

#[tokio::test]
async fn a_list_whose_moment_is_compacted_begins_again_page_by_page_and_not_for_ever() {
    for (compacted, lists) in [(2, 3), (usize::MAX, 5)] {
        let folder = tempfile::tempdir().unwrap();
        let object = json!({"metadata": {"name": "web"}});
        let one = Fake::start(folder.path(), "one", Answers::Compacts(object, compacted), Vec::new());
        let ended = client(&[one.address()]).list(&Query::of::<App>()).await;
        assert_eq!(one.calls(), ["list ", "list next"].repeat(lists));
        match ended {
            Ok(whole) => assert_eq!((whole.items.len(), lists), (2, 3)),
            Err(error) => assert!(matches!(error, Error::Expired(_)) && lists == 5, "{error:?}"),
        }
    }
}
