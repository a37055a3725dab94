use berth_store::{At, Group, Kv, StoreError, Write};

use super::World;

const NAMES: [&str; 6] = ["a", "a/1", "a/2", "a0", "b", "c\x7f"];

async fn filled(world: &World) -> i64 {
    world.write(NAMES.map(|name| world.put(name, "1"))).await
}

async fn names(world: &World, start: &str, end: &[u8], limit: usize) -> (Vec<String>, bool) {
    let page = world.store.range(&world.key(start), end, limit, At::Latest).await.unwrap();
    (page.kvs.iter().map(|kv| world.name(&kv.key)).collect(), page.more)
}

pub async fn a_range_is_in_order_and_ends_before_its_end(world: World) {
    let rev = filled(&world).await;
    assert_eq!(names(&world, "", &world.end(), 0).await, (NAMES.map(String::from).to_vec(), false));
    assert_eq!(names(&world, "a/", &world.key("a0"), 0).await, (vec!["a/1".into(), "a/2".into()], false));
    assert_eq!(names(&world, "a/1", &world.key("b"), 2).await, (vec!["a/1".into(), "a/2".into()], true));
    assert!(!names(&world, "a/1", &world.key("b"), 3).await.1, "the limit is just enough");
    assert_eq!(names(&world, "x", &world.key("y"), 0).await, (vec![], false));
    let (read, kv) = world.store.get(&world.key("a"), At::Latest).await.unwrap();
    assert_eq!((read, kv.map(|kv| kv.mod_rev)), (rev, Some(rev)));
    for (start, end) in [(&b""[..], &b"z"[..]), (b"b", b"a"), (b"a", b"a"), (b"a", b"")] {
        let refused = world.store.range(start, end, 0, At::Latest).await;
        assert!(matches!(refused, Err(StoreError::BadCall(_))), "{refused:?}");
        assert!(matches!(world.store.watch(start, end, 1).await.err(), Some(StoreError::BadCall(_))));
    }
}

pub async fn pages_of_one_revision_make_the_whole(world: World) {
    let rev = filled(&world).await;
    let mut found: Vec<Kv> = Vec::new();
    let mut start = world.key("");
    loop {
        let page = world.store.range(&start, &world.end(), 2, At::Rev(rev)).await.unwrap();
        world.write([world.put("a/15", "new"), world.delete("b")]).await;
        found.extend(page.kvs);
        if !page.more {
            break;
        }
        start = [&found.last().unwrap().key[..], &[0]].concat().into();
    }
    assert_eq!(found.iter().map(|kv| world.name(&kv.key)).collect::<Vec<_>>(), NAMES);
}

pub async fn a_read_at_a_revision_is_the_state_of_then(world: World) {
    let first = world.write([world.put("a", "1"), world.put("b", "1")]).await;
    let second = world.write([world.put("a", "2"), world.delete("b")]).await;
    let third = world.write([world.delete("a"), world.put("c", "3")]).await;
    let states = [(first, vec!["a=1", "b=1"]), (second, vec!["a=2"]), (third, vec!["c=3"])];
    for (rev, state) in states {
        assert_eq!(world.all(At::Rev(rev)).await, state);
        let (read, a) = world.store.get(&world.key("a"), At::Rev(rev)).await.unwrap();
        let expected = state.iter().find(|shown| shown.starts_with("a=")).map(|shown| (*shown).to_owned());
        assert_eq!((read, a.map(|kv| world.shown(&kv))), (rev, expected));
    }
    assert_eq!(world.all(At::Latest).await, ["c=3"]);
    let future = StoreError::Future { newest: third };
    assert_eq!(world.store.get(&world.key("a"), At::Rev(third + 1)).await, Err(future.clone()));
    assert_eq!(world.store.range(&world.key(""), &world.end(), 0, At::Rev(third + 1)).await, Err(future));
    for rev in [0, -1] {
        let refused = world.store.get(&world.key("a"), At::Rev(rev)).await;
        assert!(matches!(refused, Err(StoreError::BadCall(_))), "{refused:?}");
    }
}

pub async fn a_range_of_many_bytes_comes_whole(world: World) {
    for call in 0..8 {
        let group = |n: usize| Group {
            conditions: vec![],
            writes: vec![Write::put(world.key(&format!("{call}{n:03}")), vec![b'x'; 10_000])],
        };
        world.commit((0..120).map(group).collect()).await;
    }
    let page = world.store.range(&world.key(""), &world.end(), 0, At::Latest).await.unwrap();
    assert_eq!((page.kvs.len(), page.more), (960, false));
    assert!(page.kvs.is_sorted_by(|a, b| a.key < b.key));
    let page = world.store.range(&world.key(""), &world.end(), 700, At::Latest).await.unwrap();
    assert_eq!((page.kvs.len(), page.more), (700, true));
}
