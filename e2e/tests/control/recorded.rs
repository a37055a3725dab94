//! The store of a plane is recorded and judged too: a store in this process by its own watch, an etcd as ever.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use berth_e2e::record::{
    Listing, RawChange, RawValue, Recorder, Recording, Source, Tape, Verdict, differences,
};
use berth_store::{At, Change, Kv, Rev, Store};
use tokio::sync::oneshot;
use tokio_stream::StreamExt;

use crate::plane::LIMIT;

const START: &[u8] = &[0];
const END: &[u8] = &[u8::MAX];

/// Records one plane.
pub enum Recorded {
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
        Self::Own(tape, end, thread)
    }

    /// Records an etcd that nothing was written to yet.
    pub fn etcd(urls: Vec<String>, folder: &Path) -> Self {
        Self::Etcd(Recorder::start(folder, folder, Source::Etcd(urls)))
    }

    /// Waits until `rev` is recorded: what is compacted before can never be.
    pub fn reaches(&self, rev: Rev) {
        let tape = match self {
            Self::Own(tape, ..) => tape,
            Self::Etcd(recorder) => recorder.tape(),
        };
        tape.wait_for(rev, LIMIT).expect("the recorder follows");
    }

    /// Ends it, with what is to be said.
    pub fn judge(self) -> Verdict {
        let recording = match self {
            Self::Own(_, end, thread) => {
                end.send(()).expect("it waits for that");
                thread.join().unwrap()
            }
            // It blocks on a runtime of its own, which a thread of the test's must not.
            Self::Etcd(recorder) => std::thread::spawn(|| recorder.finish()).join().unwrap(),
        };
        recording.judge()
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
