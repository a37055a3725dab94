use std::time::Duration;

use berth_store::{At, Changes, Kv, StoreError, Write};
use futures::StreamExt;

use super::{PATIENCE, World, next};

async fn told(world: &World, base: i64, watch: &mut berth_store::WatchStream, count: usize) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..count {
        told.push(world.told(base, &next(watch).await.unwrap()));
    }
    told
}

pub async fn a_watch_from_the_first_revision_tells_all_that_ever_was(world: World) {
    let base = world.store.current_rev().await.unwrap();
    world.write([world.put("a", "1")]).await;
    let mut watch = world.watch(1).await;
    world.write([world.put("a", "2")]).await;
    assert_eq!(told(&world, base, &mut watch, 2).await, ["+1 a:->1", "+2 a:1>2"]);
}

pub async fn a_watch_tells_every_change_once_with_what_was_before(world: World) {
    let base = world.store.current_rev().await.unwrap();
    let mut watch = world.watch(base + 1).await;
    world.write([world.put("b", "1"), world.put("a", "1")]).await;
    world.write([world.delete("b"), world.put("a", "2"), world.delete("never"), world.put("c", "1")]).await;
    world.write([berth_store::Write::put("/elsewhere", "1")]).await;
    world.write([world.put("b", "3")]).await;
    let expected = ["+1 a:->1 b:->1", "+2 a:1>2 b:1>- c:->1", "+4 b:->3"];
    assert_eq!(told(&world, base, &mut watch, 3).await, expected);
    let mut narrow = world.store.watch(&world.key("b"), &world.key("c"), base + 1).await.unwrap();
    assert_eq!(told(&world, base, &mut narrow, 3).await, ["+1 b:->1", "+2 b:1>-", "+4 b:->3"]);
}

pub async fn a_watch_from_the_past_goes_over_into_the_present(world: World) {
    let base = world.store.current_rev().await.unwrap();
    let mut expected = Vec::new();
    for n in 1..=20 {
        world.write([world.put("a", &n.to_string())]).await;
        expected.push(format!("+{n} a:{}>{n}", if n == 1 { "-".into() } else { (n - 1).to_string() }));
    }
    let mut watch = world.watch(base + 1).await;
    let writing = async {
        for n in 21..=40 {
            world.write([world.put("a", &n.to_string())]).await;
        }
    };
    let (told, ()) = tokio::join!(told(&world, base, &mut watch, 40), writing);
    expected.extend((21..=40).map(|n| format!("+{n} a:{}>{n}", n - 1)));
    assert_eq!(told, expected);
}

pub async fn a_watch_may_begin_in_the_future(world: World) {
    let base = world.store.current_rev().await.unwrap();
    let mut watch = world.watch(base + 3).await;
    for n in 1..=4 {
        world.write([world.put("a", &n.to_string())]).await;
    }
    assert_eq!(told(&world, base, &mut watch, 2).await, ["+3 a:2>3", "+4 a:3>4"]);
}

pub async fn compaction_forgets_what_was_before_and_nothing_else(world: World) {
    let first = world.write([world.put("a", "1"), world.put("b", "1"), world.put("c", "1")]).await;
    let second = world.write([world.put("a", "2"), world.delete("b")]).await;
    let third = world.write([world.delete("a")]).await;
    let mut open = world.watch(third + 1).await;
    assert_eq!(world.store.compact(third + 1).await, Err(StoreError::Future { newest: third }));
    world.store.compact(second).await.unwrap();
    for rev in [first, second] {
        assert_eq!(world.store.compact(rev).await, Err(StoreError::Compacted { oldest: second }));
    }
    let compacted = StoreError::Compacted { oldest: second };
    assert_eq!(world.store.get(&world.key("a"), At::Rev(first)).await, Err(compacted.clone()));
    assert_eq!(
        world.store.range(&world.key(""), &world.end(), 0, At::Rev(first)).await,
        Err(compacted.clone())
    );
    assert_eq!(refusal(&world, first).await, compacted);
    assert_eq!(world.all(At::Rev(second)).await, ["a=2", "c=1"]);
    assert_eq!(world.all(At::Rev(third)).await, ["c=1"]);
    let mut watch = world.watch(second + 1).await;
    assert_eq!(told(&world, second, &mut watch, 1).await, ["+1 a:2>-"]);
    world.store.compact(third).await.unwrap();
    world.write([world.put("c", "2")]).await;
    assert_eq!(told(&world, third, &mut open, 1).await, ["+1 c:1>2"]);
}

/// The error of a watch, whether it does not open or ends at once.
async fn refusal(world: &World, from: i64) -> StoreError {
    match world.store.watch(world.prefix.as_bytes(), &world.end(), from).await {
        Err(error) => error,
        Ok(mut watch) => next(&mut watch).await.unwrap_err(),
    }
}

pub async fn a_slow_watcher_holds_nobody_up_and_is_never_skipped(world: World) {
    const WRITES: usize = 300;
    let base = world.store.current_rev().await.unwrap();
    let mut slow = world.watch(base + 1).await;
    let large = "x".repeat(20_000);
    let writing = async {
        for _ in 0..WRITES {
            world.write([world.put("a", &large)]).await;
        }
    };
    tokio::time::timeout(PATIENCE * 2, writing).await.expect("writes wait for the slow watcher");
    let newest = world.store.current_rev().await.unwrap();
    let mut seen = base;
    loop {
        let told: Option<Result<Changes, StoreError>> =
            tokio::time::timeout(Duration::from_secs(20), slow.next()).await.expect("the watch stands still");
        match told {
            Some(Ok(changes)) => {
                assert_eq!(changes.rev, seen + 1);
                seen = changes.rev;
            }
            Some(Err(StoreError::Lagged)) => return,
            other => panic!("{other:?}"),
        }
        if seen == newest {
            return;
        }
    }
}

/// A revision over 2 MiB: of what is removed, the last states come along. etcd sends it in parts.
pub async fn a_revision_of_many_bytes_comes_whole(world: World) {
    const KEYS: usize = 60;
    const TOGETHER: usize = 12;
    const BYTES: usize = 100_000;
    let name = |n: usize| format!("{n:03}");
    let large = |n: usize| Write::put(world.key(&name(n)), vec![b'x'; BYTES]);
    let base = world.store.current_rev().await.unwrap();
    let live = world.watch(base + 1).await;
    let mut expected = Vec::new();
    for first in (0..KEYS).step_by(TOGETHER).chain([0, TOGETHER]) {
        let before = if expected.len() < KEYS / TOGETHER { 0 } else { BYTES };
        world.write((first..first + TOGETHER).map(large)).await;
        expected.push((first..first + TOGETHER).map(|n| (name(n), before, BYTES)).collect::<Vec<_>>());
    }
    world.write([world.put("small", "1")]).await;
    expected.push(vec![("small".into(), 0, 1)]);
    world.write((0..KEYS).map(|n| world.delete(&name(n)))).await;
    expected.push((0..KEYS).map(|n| (name(n), BYTES, 0)).collect());
    world.write([world.put("small", "22")]).await;
    expected.push(vec![("small".into(), 1, 2)]);
    let bytes = |kv: &Option<Kv>| kv.as_ref().map_or(0, |kv| kv.value.len());
    for mut watch in [live, world.watch(base + 1).await] {
        for (rev, expected) in (base + 1..).zip(&expected) {
            let Changes { rev: told, changes } = next(&mut watch).await.unwrap();
            let told_of = |change: &berth_store::Change| {
                (world.name(&change.key), bytes(&change.before), bytes(&change.now))
            };
            assert_eq!(told, rev);
            assert_eq!(changes.iter().map(told_of).collect::<Vec<_>>(), *expected, "revision {rev}");
        }
    }
}
