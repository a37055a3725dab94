use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use berth_store::{At, Condition, Group, Kv, Outcome, Rev};

use super::{World, next};

const CLIENTS: usize = 6;
const EACH: usize = 40;
const REGISTERS: usize = 3;

/// What one call was told, and when, by a clock that only counts.
struct Told {
    asked: u64,
    answered: u64,
    rev: Rev,
    register: usize,
    claim: Claim,
}

/// What the answer says of the register at its revision.
#[derive(Debug)]
enum Claim {
    /// It was this, written then.
    Was(Option<(String, Rev)>),
    /// The call wrote this.
    Wrote(String),
    /// The call removed it.
    Removed,
}

/// Every answer is true at its revision, and revisions follow the order in which calls ended and began: together
/// that makes reads, conditional writes and removals linearizable, with the revisions as the witness.
pub async fn every_answer_is_of_a_moment_between_question_and_answer(world: World) {
    let base = world.store.current_rev().await.unwrap();
    let clock = Arc::new(AtomicU64::new(0));
    let clients = (0..CLIENTS).map(|client| {
        let (world, clock) = (world.clone(), clock.clone());
        tokio::spawn(async move { use_registers(&world, &clock, client).await })
    });
    let told: Vec<Told> =
        futures::future::join_all(clients).await.into_iter().flat_map(|client| client.unwrap()).collect();
    let history = registers(&world, base).await;
    for one in &told {
        let state = history[one.register].range(..=one.rev).next_back();
        match &one.claim {
            Claim::Was(was) => {
                let written = state.and_then(|(rev, value)| Some((value.clone()?, *rev)));
                assert_eq!(*was, written, "register {} at {}", one.register, one.rev);
            }
            Claim::Wrote(value) => assert_eq!(state, Some((&one.rev, &Some(value.clone())))),
            Claim::Removed => assert_eq!(state, Some((&one.rev, &None))),
        }
        for later in told.iter().filter(|later| one.answered < later.asked) {
            assert!(one.rev <= later.rev, "answered at {} and then {} was told", one.rev, later.rev);
        }
    }
}

async fn use_registers(world: &World, clock: &AtomicU64, client: usize) -> Vec<Told> {
    let mut rng = fastrand::Rng::with_seed(u64::try_from(client).unwrap());
    let mut seen: [Option<Rev>; REGISTERS] = [None; REGISTERS];
    let mut told = Vec::new();
    for number in 0..EACH {
        let register = rng.usize(0..REGISTERS);
        let key = world.key(&register.to_string());
        let asked = clock.fetch_add(1, Ordering::SeqCst);
        let (rev, claim) = if rng.bool() {
            let (rev, kv) = world.store.get(&key, At::Latest).await.unwrap();
            (rev, Claim::Was(value_of(kv)))
        } else {
            let value = format!("{client}.{number}");
            let must =
                seen[register].map_or(Condition::absent(key.clone()), |rev| Condition::unchanged(key, rev));
            // Who knows of a value may remove it.
            let removes = seen[register].is_some() && rng.u32(0..3) == 0;
            let name = register.to_string();
            let write = if removes { world.delete(&name) } else { world.put(&name, &value) };
            let mut ended = world.commit(vec![Group { conditions: vec![must], writes: vec![write] }]).await;
            let claim = match ended.outcomes.remove(0) {
                Outcome::Applied if removes => Claim::Removed,
                Outcome::Applied => Claim::Wrote(value),
                Outcome::Conflict { mut current } => Claim::Was(value_of(current.remove(0))),
            };
            (ended.rev, claim)
        };
        let answered = clock.fetch_add(1, Ordering::SeqCst);
        seen[register] = match &claim {
            Claim::Was(was) => was.as_ref().map(|(_, rev)| *rev),
            Claim::Wrote(_) => Some(rev),
            Claim::Removed => None,
        };
        told.push(Told { asked, answered, rev, register, claim });
    }
    told
}

fn value_of(kv: Option<Kv>) -> Option<(String, Rev)> {
    kv.map(|kv| (String::from_utf8(kv.value.to_vec()).unwrap(), kv.mod_rev))
}

/// The values of each register by the revision of their write; none where it was removed.
async fn registers(world: &World, base: Rev) -> Vec<BTreeMap<Rev, Option<String>>> {
    let end = world.write([world.put("end", "")]).await;
    let mut watch = world.watch(base + 1).await;
    let mut history = vec![BTreeMap::new(); REGISTERS];
    loop {
        let changes = next(&mut watch).await.unwrap();
        if changes.rev == end {
            return history;
        }
        for change in changes.changes {
            let register: usize = world.name(&change.key).parse().unwrap();
            history[register].insert(changes.rev, value_of(change.now).map(|(value, _)| value));
        }
    }
}
