//! The store of a test is recorded and judged too: a store in this process by its own watch, an etcd as ever.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use berth_e2e::history::{Settled, unsettled};
use berth_e2e::monotonic;
use berth_e2e::record::{Follower, Listing, RawChange, RawValue, Recorder, Recording, Tape, differences};
use berth_store::{At, Change, Kv, Rev, Store};
use tokio::sync::oneshot;
use tokio_stream::StreamExt;

use crate::plane::LIMIT;

const START: &[u8] = &[0];
const END: &[u8] = &[u8::MAX];

/// Records one store.
pub struct Recorded {
    source: Source,
    settled: OnceLock<Settled>,
    /// Whether controllers act without Leases.
    forced: AtomicBool,
}

enum Source {
    /// A store of this process: what is recorded, what tells the recorder to end, and what it found.
    Own(Arc<Tape>, oneshot::Sender<()>, JoinHandle<Recording>),
    /// An etcd.
    Etcd(Recorder),
}

impl Recorded {
    /// Records a store that nothing was written to yet.
    pub fn own(store: Arc<dyn Store>, folder: &Path) -> Self {
        let tape = Arc::new(Tape::new(folder).unwrap());
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let written = tape.clone();
        let thread = std::thread::spawn(move || runtime.block_on(follow(&*store, &written, ended)));
        Self::of(Source::Own(tape, end, thread))
    }

    /// Records an etcd that nothing was written to yet.
    pub fn etcd(urls: Vec<String>, folder: &Path) -> Self {
        let recorder = Recorder::start(folder, folder, berth_e2e::record::Source::Etcd(urls));
        Self::of(Source::Etcd(recorder))
    }

    fn of(source: Source) -> Self {
        Self { source, settled: OnceLock::new(), forced: AtomicBool::new(false) }
    }

    /// From now on all controllers act without Leases.
    pub fn forces(&self) {
        self.forced.store(true, Ordering::Relaxed);
    }

    fn tape(&self) -> &Tape {
        match &self.source {
            Source::Own(tape, ..) => tape,
            Source::Etcd(recorder) => recorder.tape(),
        }
    }

    /// Waits until `rev` is recorded: what is compacted before can never be.
    pub fn reaches(&self, rev: Rev) {
        self.tape().wait_for(rev, LIMIT).expect("the recorder follows");
    }

    /// Waits until everything that was asked for is done, or for too long: the judge says what is not.
    pub async fn settles(&self) {
        let end = tokio::time::Instant::now() + LIMIT;
        let mut follower = Follower::default();
        loop {
            follower.follow(self.tape());
            let settled = Settled { rev: follower.rev(), at: monotonic::now(), ..Settled::default() };
            let done = unsettled(follower.state(), &settled, &[]).is_empty();
            if done || tokio::time::Instant::now() > end {
                self.settled.set(settled).expect("a run ends once");
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends it and judges it; of a test that failed already it only tells.
    pub fn must_be_clean(self) {
        let recording = match self.source {
            Source::Own(_, end, thread) => {
                end.send(()).expect("it waits for that");
                thread.join().unwrap()
            }
            // It blocks on a runtime of its own, which a thread of the test's must not.
            Source::Etcd(recorder) => std::thread::spawn(|| recorder.finish()).join().unwrap(),
        };
        let settled = self.settled.into_inner().into_iter().collect();
        let all = ["app-controller", "node-controller", "garbage-collector", "scheduler"];
        let forced = if self.forced.into_inner() { all.map(str::to_owned).into() } else { Vec::new() };
        let verdict = Recording { settled, forced, ..recording }.judge();
        if std::thread::panicking() {
            eprintln!("--- history ---\n{verdict}");
        } else {
            assert!(verdict.is_clean() && verdict.events > 0, "{verdict}");
        }
    }
}

async fn follow(store: &dyn Store, tape: &Tape, mut ended: oneshot::Receiver<()>) -> Recording {
    let mut watch = store.watch(START, END, 1).await.unwrap();
    let take = |changes: Option<Result<berth_store::Changes, berth_store::StoreError>>| {
        let changes = changes.expect("a watch does not end").unwrap();
        tape.take(0, changes.rev, changes.changes.into_iter().map(raw).collect());
        changes.rev
    };
    loop {
        tokio::select! {
            changes = watch.next() => drop(take(changes)),
            _ = &mut ended => break,
        }
    }
    let page = store.range(START, END, 0, At::Latest).await.unwrap();
    while tape.next() <= page.rev {
        take(watch.next().await);
    }
    let listed = |kv: Kv| (kv.key.to_vec(), (kv.mod_rev, value(&kv)));
    let listing = Listing { rev: page.rev, keys: page.kvs.into_iter().map(listed).collect() };
    let eras = tape.cut();
    let mut wrong: Vec<String> = tape.broken().into_iter().collect();
    wrong.extend(differences(&eras[0].events, listing));
    Recording { eras, wrong, ..Recording::default() }
}

fn raw(change: Change) -> RawChange {
    RawChange { key: change.key.to_vec(), now: change.now.as_ref().map(value) }
}

fn value(kv: &Kv) -> RawValue {
    let (create_rev, version, lease) = (kv.create_rev, kv.version, kv.lease);
    RawValue { create_rev, version, lease, bytes: kv.value.to_vec() }
}
