//! The embedded store is killed at random moments. Whatever it acknowledged is there when it is opened again, and
//! what is there is a prefix of what was done.
//!
//! `BERTH_CRASH_ROUNDS` says how many times (default 40), `BERTH_SEED` at which moments.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use berth_store::{At, Condition, EmbeddedStore, Group, Outcome, Rev, Store, Write};
use bytes::Bytes;
use futures::StreamExt;

use crate::soak::{number, seed};

const WRITERS: usize = 6;
const DIR: &str = "BERTH_CRASH_DIR";
/// Every so many writes a writer compacts all but the last few revisions.
const COMPACT_EVERY: i64 = 40;

#[test]
fn a_killed_store_keeps_what_it_acknowledged() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = vec![(0, 0); WRITERS];
    for round in 0..number("BERTH_CRASH_ROUNDS", 40) {
        let lines = if rng.u32(0..8) == 0 { 0 } else { rng.usize(1..150) };
        for (writer, count, rev) in run_and_kill(dir.path(), lines) {
            acknowledged[writer] = (count, rev);
        }
        check(dir.path(), &acknowledged).unwrap_or_else(|why| panic!("seed {seed}, round {round}: {why}"));
    }
    assert!(
        acknowledged.iter().all(|(count, _)| *count > 100),
        "hardly anything was written: {acknowledged:?}"
    );
}

/// Starts a writer, kills it when it has acknowledged so many writes, and returns all that it acknowledged.
fn run_and_kill(dir: &Path, lines: usize) -> Vec<(usize, i64, Rev)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::writes_until_killed", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut acknowledged = Vec::new();
    for line in told.by_ref() {
        acknowledged.extend(parse(&line));
        if acknowledged.len() >= lines && line.starts_with(['o', 'a']) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    acknowledged.extend(told.filter_map(|line| parse(&line)));
    acknowledged
}

/// A line `acked WRITER COUNT REVISION;`, if it is one and whole.
fn parse(line: &str) -> Option<(usize, i64, Rev)> {
    let mut words = line.strip_prefix("acked ")?.strip_suffix(';')?.split(' ');
    let mut number = || words.next()?.parse::<i64>().ok();
    Some((usize::try_from(number()?).ok()?, number()?, number()?))
}

/// The other process: not a law, but what `a_killed_store_keeps_what_it_acknowledged` runs and kills.
#[test]
fn writes_until_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    println!("opening");
    let store = EmbeddedStore::open(Path::new(&dir)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        futures::future::join_all((0..WRITERS).map(|writer| write_on(&store, writer))).await;
    });
}

/// Counts up the writer's key for ever, each time only if it is unchanged, with a key that comes and goes beside it.
async fn write_on(store: &EmbeddedStore, writer: usize) {
    let key = Bytes::from(format!("/count/{writer}"));
    let beside = Bytes::from(format!("/beside/{writer}"));
    let (_, found) = store.get(&key, At::Latest).await.unwrap();
    let (mut count, mut rev) = found.map_or((0, 0), |kv| (kv.version, kv.mod_rev));
    loop {
        count += 1;
        let condition =
            if rev == 0 { Condition::absent(key.clone()) } else { Condition::unchanged(key.clone(), rev) };
        let other =
            if count % 2 == 0 { Write::delete(beside.clone()) } else { Write::put(beside.clone(), "x") };
        let writes = vec![Write::put(key.clone(), count.to_string()), other];
        let committed = store.commit(vec![Group { conditions: vec![condition], writes }]).await.unwrap();
        assert_eq!(committed.outcomes, [Outcome::Applied]);
        rev = committed.rev;
        let mut out = std::io::stdout().lock();
        writeln!(out, "acked {writer} {count} {rev};").unwrap();
        drop(out);
        if count % COMPACT_EVERY == 0 {
            // Another writer may have compacted more already.
            drop(store.compact(rev - 10).await);
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn check(dir: &Path, acknowledged: &[(i64, Rev)]) -> Result<(), String> {
    let store = EmbeddedStore::open(dir).unwrap();
    let newest = store.current_rev().await.unwrap();
    for (writer, (count, rev)) in acknowledged.iter().enumerate() {
        let (_, found) = store.get(format!("/count/{writer}").as_bytes(), At::Latest).await.unwrap();
        let (version, value) = found.map_or((0, "0".into()), |kv| (kv.version, text(&kv.value)));
        if version < *count || newest < *rev {
            return Err(format!("writer {writer} was told {count} at {rev}, found {version} at {newest}"));
        }
        if value != version.to_string() {
            return Err(format!("writer {writer}: value {value} is version {version}"));
        }
        let (_, beside) = store.get(format!("/beside/{writer}").as_bytes(), At::Latest).await.unwrap();
        if beside.is_some() != (version % 2 == 1) {
            return Err(format!("writer {writer}: half a group at {version}"));
        }
    }
    no_revision_is_missing(&store, newest).await
}

/// The history since the last compaction has every revision up to the newest.
async fn no_revision_is_missing(store: &EmbeddedStore, newest: Rev) -> Result<(), String> {
    let oldest = match store.watch(b"/", b"0", 1).await {
        Err(berth_store::StoreError::Compacted { oldest }) => oldest,
        Err(error) => return Err(error.to_string()),
        Ok(_) => 1,
    };
    let mut watch = store.watch(b"/", b"0", oldest + 1).await.unwrap();
    for expected in oldest + 1..=newest {
        let changes = watch.next().await.unwrap().map_err(|error| error.to_string())?;
        if changes.rev != expected {
            return Err(format!("revision {expected} is missing, {} is there", changes.rev));
        }
    }
    Ok(())
}

fn text(value: &[u8]) -> String {
    String::from_utf8(value.to_vec()).unwrap()
}
