use std::time::{Duration, Instant};

use berth_store::{At, Group, StoreError};

use super::{World, next};

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_secs(2);

pub async fn the_keys_of_a_revoked_lease_go_in_one_revision(world: World) {
    let lease = world.store.lease_grant(LONG).await.unwrap();
    let base = world.write([world.bound("a", lease), world.bound("b", lease), world.put("c", "1")]).await;
    let mut watch = world.watch(base + 1).await;
    world.store.lease_revoke(lease).await.unwrap();
    assert_eq!(world.told(base, &next(&mut watch).await.unwrap()), "+1 a:bound>- b:bound>-");
    assert_eq!(world.all(At::Latest).await, ["c=1"]);
    assert_eq!(world.store.lease_revoke(lease).await, Err(StoreError::NoLease(lease)));
    assert_eq!(world.store.lease_renew(lease).await, Err(StoreError::NoLease(lease)));
}

pub async fn a_lease_runs_out_not_before_its_time_and_soon_after(world: World) {
    let lease = world.store.lease_grant(SHORT).await.unwrap();
    let granted = Instant::now();
    let base = world.write([world.bound("a", lease), world.bound("b", lease)]).await;
    let mut watch = world.watch(base + 1).await;
    assert_eq!(world.told(base, &next(&mut watch).await.unwrap()), "+1 a:bound>- b:bound>-");
    let lived = granted.elapsed();
    assert!(lived > SHORT - Duration::from_millis(100), "it lived {lived:?}");
    assert!(lived < SHORT + Duration::from_secs(4), "it lived {lived:?}");
    assert_eq!(world.store.lease_renew(lease).await, Err(StoreError::NoLease(lease)));
    assert_eq!(world.all(At::Latest).await, Vec::<String>::new());
}

pub async fn a_renewed_lease_lives_on(world: World) {
    let renewed = world.store.lease_grant(Duration::from_secs(4)).await.unwrap();
    let left = world.store.lease_grant(Duration::from_secs(6)).await.unwrap();
    let base = world.write([world.bound("a", renewed), world.bound("b", left)]).await;
    let mut watch = world.watch(base + 1).await;
    let mut renewals = tokio::time::interval(Duration::from_millis(500));
    let gone = loop {
        tokio::select! {
            _ = renewals.tick() => world.store.lease_renew(renewed).await.unwrap(),
            gone = next(&mut watch) => break gone.unwrap(),
        }
    };
    assert_eq!(world.told(base, &gone), "+1 b:bound>-");
    world.store.lease_revoke(renewed).await.unwrap();
    assert_eq!(world.told(base, &next(&mut watch).await.unwrap()), "+2 a:bound>-");
}

pub async fn a_put_moves_its_key_to_another_lease(world: World) {
    let first = world.store.lease_grant(LONG).await.unwrap();
    let second = world.store.lease_grant(LONG).await.unwrap();
    world.write(["a", "b", "c", "d"].map(|name| world.bound(name, first))).await;
    world.write([world.bound("b", second), world.put("c", "free"), world.delete("d")]).await;
    world.write([world.put("d", "new")]).await;
    assert_eq!(world.get("b").await.map(|kv| kv.lease), Some(second));
    assert_eq!(world.get("c").await.map(|kv| kv.lease), Some(0));
    world.store.lease_revoke(first).await.unwrap();
    assert_eq!(world.all(At::Latest).await, ["b=bound", "c=free", "d=new"]);
    world.store.lease_revoke(second).await.unwrap();
    assert_eq!(world.all(At::Latest).await, ["c=free", "d=new"]);
}

pub async fn a_lease_that_is_not_there_fails_the_whole_call(world: World) {
    let base = world.write([world.put("a", "0")]).await;
    let lease = world.store.lease_grant(LONG).await.unwrap();
    world.store.lease_revoke(lease).await.unwrap();
    let group = |writes| Group { conditions: vec![], writes };
    let call = vec![group(vec![world.put("a", "1")]), group(vec![world.bound("b", lease)])];
    assert_eq!(world.store.commit(call).await, Err(StoreError::NoLease(lease)));
    assert_eq!(world.store.current_rev().await.unwrap(), base);
    assert_eq!(world.all(At::Latest).await, ["a=0"]);
}
