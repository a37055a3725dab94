//! The recorder of an etcd misses nothing of one that dies, hangs or is compacted, or says that it did.

use std::path::Path;
use std::time::Duration;

use berth_e2e::etcd::Etcd;
use berth_e2e::record::{Recorder, Source};
use berth_e2e::wait::eventually;
use etcd_client::Client;
use nix::sys::signal::Signal;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);

fn etcd() -> (TempDir, Etcd) {
    let folder = tempfile::tempdir().unwrap();
    let etcd = Etcd::start("3.5.1", folder.path());
    (folder, etcd)
}

fn record(etcd: &mut Etcd, folder: &Path) -> Recorder {
    let recorder = Recorder::start(folder, folder, Source::Etcd(etcd.urls()));
    etcd.record(recorder.tape().clone());
    recorder
}

/// Writes a key so many times, with the header of a stored value before it; the newest revision.
async fn write(etcd: &Etcd, key: &str, times: usize) -> i64 {
    eventually("etcd answers", LIMIT, || etcd.ctl(&["endpoint", "health"]));
    let client = Client::connect(etcd.urls(), None).await.unwrap();
    let value = [&[1; 27][..], b"\0{}"].concat();
    for _ in 0..times {
        client.kv_client().put(key, value.clone(), None).await.unwrap();
    }
    etcd.revision()
}

/// Waits until the recorder has given a watch up.
fn watch_breaks(recorder: &Recorder) {
    let before = recorder.broken_watches();
    eventually("the recorder's watch breaks", LIMIT, || match recorder.broken_watches() {
        now if now > before => Ok(()),
        now => Err(format!("{now} broke so far")),
    });
}

/// On a thread that is none of the test's runtime.
fn finish(recorder: Recorder) -> (usize, Vec<String>) {
    let recording = std::thread::spawn(|| recorder.finish()).join().unwrap();
    (recording.eras[0].events.len(), recording.wrong)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_dies_and_hangs_is_followed_to_its_end() {
    let (folder, mut etcd) = etcd();
    let recorder = record(&mut etcd, folder.path());
    write(&etcd, "a", 20).await;
    etcd.kill(0);
    watch_breaks(&recorder);
    etcd.begin(0);
    recorder.tape().wait_for(write(&etcd, "b", 20).await, LIMIT).unwrap();
    etcd.signal(0, Signal::SIGSTOP);
    watch_breaks(&recorder);
    etcd.signal(0, Signal::SIGCONT);
    let newest = write(&etcd, "c", 20).await;
    // What was told already may be forgotten.
    etcd.make_space();
    assert_eq!((newest, finish(recorder)), (61, (60, Vec::new())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_was_compacted_before_it_was_recorded_is_told() {
    let (folder, mut etcd) = etcd();
    write(&etcd, "a", 20).await;
    etcd.make_space();
    let recorder = record(&mut etcd, folder.path());
    let why = "etcd was compacted up to 21, the recorder had come to 1";
    assert_eq!(recorder.tape().wait_for(21, LIMIT).unwrap_err(), why);
    let (events, wrong) = finish(recorder);
    assert_eq!(events, 0);
    assert!(wrong.iter().any(|wrong| wrong == "nothing was recorded"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_is_another_one_is_told() {
    let (folder, mut etcd) = etcd();
    let recorder = Recorder::start(folder.path(), folder.path(), Source::Etcd(etcd.urls()));
    let newest = write(&etcd, "a", 3).await;
    recorder.tape().wait_for(newest, LIMIT).unwrap();
    let snapshot = folder.path().join("snapshot");
    etcd.save(&snapshot);
    etcd.restore(&snapshot);
    let why = recorder.tape().wait_for(write(&etcd, "b", 3).await, LIMIT).unwrap_err();
    assert!(why.contains("is told after revision 4 of"), "{why}");
}
