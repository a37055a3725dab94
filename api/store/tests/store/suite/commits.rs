use std::sync::Arc;

use berth_store::{At, Condition, Group, LIMITS, Must, Outcome, StoreError, Write};
use bytes::Bytes;

use super::{World, applied};

pub async fn a_group_happens_when_its_conditions_hold(world: World) {
    let before = world.write([world.put("there", "1")]).await;
    let written = world.write([world.put("there", "2")]).await;
    world.write([world.put("gone", "1")]).await;
    let gone = world.write([world.delete("gone")]).await;
    let table = [
        ("there", Must::BeAbsent, false),
        ("there", Must::BeUnchangedSince(before), false),
        ("there", Must::BeUnchangedSince(written), true),
        ("there", Must::BeUnchangedSince(gone), false),
        ("there", Must::ExistNotWrittenAfter(before), false),
        ("there", Must::ExistNotWrittenAfter(written), true),
        ("there", Must::ExistNotWrittenAfter(gone + 100), true),
        ("there", Must::ExistNotWrittenAfter(i64::MAX), true),
        ("there", Must::ExistNotWrittenAfter(0), false),
        ("gone", Must::BeAbsent, true),
        ("gone", Must::BeUnchangedSince(gone), false),
        ("gone", Must::ExistNotWrittenAfter(gone), false),
        ("never", Must::BeAbsent, true),
        ("never", Must::BeUnchangedSince(1), false),
        ("never", Must::ExistNotWrittenAfter(gone), false),
    ];
    for (name, must, holds) in table {
        let condition = Condition { key: world.key(name), must };
        let ended = world.commit(vec![Group { conditions: vec![condition], writes: vec![] }]).await;
        assert_eq!((applied(&ended), ended.rev), (vec![holds], gone), "{name} {must:?}");
    }
}

pub async fn groups_are_independent_and_see_the_state_before_the_call(world: World) {
    let base = world.write([world.put("a", "0"), world.put("b", "0")]).await;
    let group = |asks: &[(&str, i64)], writes: Vec<Write>| Group {
        conditions: asks.iter().map(|(name, rev)| Condition::unchanged(world.key(name), *rev)).collect(),
        writes,
    };
    let ended = world
        .commit(vec![
            group(&[("a", base)], vec![world.put("a", "1"), world.put("new", "1")]),
            group(&[("b", base), ("b", base - 1)], vec![world.put("other", "1")]),
            group(&[("b", base)], vec![world.put("c", "1")]),
            group(&[], vec![world.delete("never"), world.put("d", "1")]),
        ])
        .await;
    assert_eq!(applied(&ended), [true, false, true, true]);
    assert_eq!(world.all(At::Latest).await, ["a=1", "b=0", "c=1", "d=1", "new=1"]);
    assert_eq!(ended.rev, base + 1);
}

pub async fn a_conflict_shows_the_keys_as_they_were_before_the_call(world: World) {
    let base = world.write([world.put("a", "0"), world.put("b", "0")]).await;
    let conditions = vec![
        Condition::unchanged(world.key("a"), base),
        Condition::absent(world.key("b")),
        Condition::absent(world.key("c")),
    ];
    let refused = Group { conditions, writes: vec![world.put("a", "1")] };
    let other = Group { conditions: vec![], writes: vec![world.put("z", "1")] };
    let ended = world.commit(vec![other, refused]).await;
    let Outcome::Conflict { current } = &ended.outcomes[1] else { panic!("{ended:?}") };
    let shown: Vec<_> =
        current.iter().map(|kv| kv.as_ref().map(|kv| (world.shown(kv), kv.mod_rev))).collect();
    assert_eq!(shown, [Some(("a=0".into(), base)), Some(("b=0".into(), base)), None]);
}

pub async fn a_call_that_writes_is_one_revision_and_any_other_is_none(world: World) {
    let base = world.store.current_rev().await.unwrap();
    assert_eq!(world.write([world.put("a", "1"), world.put("b", "1")]).await, base + 1);
    assert_eq!(world.write([world.delete("never")]).await, base + 1);
    assert_eq!(world.commit(vec![]).await.rev, base + 1);
    assert_eq!(world.commit(vec![Group::default()]).await.outcomes, [Outcome::Applied]);
    let refused =
        Group { conditions: vec![Condition::absent(world.key("a"))], writes: vec![world.put("a", "2")] };
    assert_eq!(world.commit(vec![refused]).await.rev, base + 1);
    let lease = world.store.lease_grant(std::time::Duration::from_secs(60)).await.unwrap();
    world.store.lease_renew(lease).await.unwrap();
    world.store.lease_revoke(lease).await.unwrap();
    assert_eq!(world.store.current_rev().await.unwrap(), base + 1);
    assert_eq!(world.write([world.delete("a"), world.put("b", "2"), world.delete("never")]).await, base + 2);
    assert_eq!(world.all(At::Latest).await, ["b=2"]);
}

pub async fn a_removed_key_begins_anew(world: World) {
    let numbers = async || {
        let kv = world.get("a").await.expect("it is there");
        (kv.create_rev, kv.mod_rev, kv.version)
    };
    let first = world.write([world.put("a", "1")]).await;
    assert_eq!(numbers().await, (first, first, 1));
    let second = world.write([world.put("a", "2")]).await;
    assert_eq!(numbers().await, (first, second, 2));
    world.write([world.delete("a")]).await;
    assert_eq!(world.get("a").await, None);
    let again = world.write([world.put("a", "3")]).await;
    assert_eq!(numbers().await, (again, again, 1));
}

pub async fn a_call_that_breaks_a_rule_changes_nothing(world: World) {
    let base = world.write([world.put("a", "0")]).await;
    let writes = |writes: Vec<Write>| Group { conditions: vec![], writes };
    let asks = |condition: Condition| Group { conditions: vec![condition], writes: vec![] };
    let puts = |from: usize, count: usize| {
        writes((from..from + count).map(|n| world.put(&format!("n{n}"), "1")).collect::<Vec<_>>())
    };
    let broken = [
        vec![writes(vec![world.put("a", "1")]), writes(vec![world.put("a", "2")])],
        vec![writes(vec![world.put("a", "1")]), writes(vec![world.delete("a")])],
        vec![writes(vec![world.put("a", "1"), world.delete("a")])],
        vec![asks(Condition::absent(world.key("b"))), writes(vec![world.put("b", "1")])],
        vec![writes(vec![world.put("b", "1")]), asks(Condition::absent(world.key("b")))],
        vec![asks(Condition::unchanged(world.key("b"), 0))],
        vec![writes(vec![Write::put("", "1")])],
        vec![asks(Condition::absent(""))],
        vec![puts(0, LIMITS.operations)],
        (0..LIMITS.operations).map(|n| puts(n, 1)).collect(),
        (0..11).map(|n| puts(n * 100, 100)).collect(),
        vec![writes(vec![Write::put(world.key("b"), vec![b'x'; LIMITS.bytes])])],
    ];
    for (number, groups) in broken.into_iter().enumerate() {
        let refused = world.store.commit(groups).await;
        assert!(matches!(refused, Err(StoreError::BadCall(_))), "call {number}: {refused:?}");
    }
    assert_eq!(world.store.current_rev().await.unwrap(), base);
    assert_eq!(world.all(At::Latest).await, ["a=0"]);
}

pub async fn the_largest_calls_pass(world: World) {
    let puts = |from: usize, count: usize| Group {
        conditions: vec![],
        writes: (from..from + count).map(|n| world.put(&format!("n{n:04}"), "1")).collect(),
    };
    let guarded = |n: usize| {
        let mut group = puts(n, 1);
        group.conditions.push(Condition::absent(world.key(&format!("n{n:04}"))));
        group
    };
    let most = LIMITS.operations - 1;
    assert!(applied(&world.commit((0..most).map(guarded).collect()).await).iter().all(|applied| *applied));
    assert!(applied(&world.commit((0..most).map(guarded).collect()).await).iter().all(|applied| !applied));
    world.commit((0..10).map(|n| puts(n * 100, 100)).collect()).await;
    assert_eq!(world.all(At::Latest).await.len(), 1000);
    let twice = |n: usize| Condition::not_written_after(world.key(&format!("n{n:04}")), i64::MAX);
    let asking = Group { conditions: (0..63).map(twice).collect(), writes: vec![] };
    assert_eq!(applied(&world.commit(vec![asking.clone(), asking]).await), [true, true]);
    let large = Bytes::from(vec![b'x'; 1_390_000]);
    world.write([Write::put(world.key("large"), large.clone())]).await;
    assert_eq!(world.get("large").await.expect("it is there").value, large);
}

pub async fn of_many_who_count_up_nobody_is_lost(world: World) {
    const COUNTERS: u32 = 8;
    const EACH: u32 = 10;
    world.write([world.put("count", "0")]).await;
    let world = Arc::new(world);
    let mut counters = tokio::task::JoinSet::new();
    for _ in 0..COUNTERS {
        let world = world.clone();
        counters.spawn(async move {
            for _ in 0..EACH {
                count_up(&world).await;
            }
        });
    }
    counters.join_all().await;
    assert_eq!(world.all(At::Latest).await, [format!("count={}", COUNTERS * EACH)]);
}

/// Reads the count, writes one more if it is unchanged, until that happens.
async fn count_up(world: &World) {
    loop {
        let seen = world.get("count").await.expect("it is there");
        let count: u32 = std::str::from_utf8(&seen.value).unwrap().parse().unwrap();
        let group = Group {
            conditions: vec![Condition::unchanged(seen.key, seen.mod_rev)],
            writes: vec![world.put("count", &(count + 1).to_string())],
        };
        if applied(&world.commit(vec![group]).await) == [true] {
            return;
        }
    }
}
