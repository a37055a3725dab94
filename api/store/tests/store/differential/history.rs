//! What is done, told without revisions or ids of any store: keys and leases by number, revisions by distance.

use fastrand::Rng;

/// Steps of a history.
pub const STEPS: usize = 300;

/// Keys chosen for the edges of prefixes and ranges.
pub const KEYS: [&str; 8] = ["a", "a/", "a/1", "a/1/", "a0", "b", "c\x7f", "d"];

/// One operation.
#[derive(Debug)]
pub enum Step {
    Commit(Vec<GroupStep>),
    Get {
        key: usize,
        at: AtStep,
    },
    Range {
        from: usize,
        to: usize,
        limit: usize,
        at: AtStep,
    },
    CurrentRev,
    Compact(AtStep),
    Grant,
    Renew {
        lease: usize,
    },
    Revoke {
        lease: usize,
    },
    /// Watches from a revision of the past or future to the end of a sentinel put.
    Watch {
        key: usize,
        from: AtStep,
    },
    /// Opens a watch that runs along.
    Open,
    /// Ends the watch that runs along by a sentinel put.
    Close,
    /// Closes the store and opens it again, where that can be done.
    Reopen,
}

/// One group of a call.
#[derive(Debug)]
pub struct GroupStep {
    pub conditions: Vec<(usize, MustStep)>,
    pub writes: Vec<WriteStep>,
}

/// A condition.
#[derive(Debug, Clone, Copy)]
pub enum MustStep {
    Absent,
    /// Unchanged since the revision at which it was last written, as far as the history knows.
    Right,
    /// Unchanged since another revision.
    Stale(i64),
    NotWrittenAfter(AtStep),
}

/// A write.
#[derive(Debug)]
pub enum WriteStep {
    Put { key: usize, value: String, lease: Option<usize> },
    Delete { key: usize },
}

/// A state that is read.
#[derive(Debug, Clone, Copy)]
pub enum AtStep {
    Latest,
    /// So many revisions before the newest; negative: after it.
    Back(i64),
}

/// The history of a seed.
pub fn history(seed: u64) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    (0..STEPS).map(|number| step(&mut rng, number)).collect()
}

fn step(rng: &mut Rng, number: usize) -> Step {
    match rng.u32(0..1000) {
        0..560 => Step::Commit(call(rng, number)),
        560..680 => Step::Get { key: key(rng), at: at(rng) },
        680..800 => {
            Step::Range { from: key(rng), to: rng.usize(0..=KEYS.len()), limit: rng.usize(0..5), at: at(rng) }
        }
        800..860 => Step::CurrentRev,
        860..868 => Step::Compact(AtStep::Back(rng.i64(-1..25))),
        868..890 => Step::Grant,
        890..910 => Step::Renew { lease: rng.usize(0..8) },
        910..930 => Step::Revoke { lease: rng.usize(0..8) },
        930..940 => Step::Watch { key: key(rng), from: AtStep::Back(rng.i64(-3..30)) },
        940..955 => Step::Open,
        955..990 => Step::Close,
        _ => Step::Reopen,
    }
}

fn key(rng: &mut Rng) -> usize {
    rng.usize(0..KEYS.len())
}

/// Mostly the newest state: what was compacted costs etcd a tenth of a second to say.
fn at(rng: &mut Rng) -> AtStep {
    match rng.u32(0..100) {
        0..60 => AtStep::Latest,
        60..97 => AtStep::Back(rng.i64(0..4)),
        97..99 => AtStep::Back(rng.i64(4..40)),
        _ => AtStep::Back(rng.i64(-2..0)),
    }
}

/// A call that keeps the rules, or, one time in six, one that likely breaks them.
fn call(rng: &mut Rng, number: usize) -> Vec<GroupStep> {
    let groups = if rng.u32(0..10) < 4 { 1 } else { rng.usize(1..5) };
    let lease = Some(rng.usize(0..8)).filter(|_| rng.u32(0..8) == 0);
    let loose = rng.u32(0..6) == 0;
    let mut keys: Vec<usize> = (0..KEYS.len()).collect();
    rng.shuffle(&mut keys);
    let share = KEYS.len() / groups;
    let own = |n: usize| if loose { &keys[..] } else { &keys[n * share..(n + 1) * share] };
    (0..groups).map(|n| group(rng, own(n), number, lease)).collect()
}

fn group(rng: &mut Rng, own: &[usize], number: usize, lease: Option<usize>) -> GroupStep {
    let conditions = (0..rng.usize(0..3)).map(|_| (own[rng.usize(0..own.len())], must(rng))).collect();
    let mut written = own.to_vec();
    rng.shuffle(&mut written);
    written.truncate(rng.usize(0..4));
    if rng.u32(0..60) == 0 {
        written.extend(written.first().copied());
    }
    let write = |key: usize| match rng.u32(0..10) {
        0..7 => WriteStep::Put { key, value: format!("{number}"), lease },
        _ => WriteStep::Delete { key },
    };
    GroupStep { conditions, writes: written.into_iter().map(write).collect() }
}

fn must(rng: &mut Rng) -> MustStep {
    match rng.u32(0..10) {
        0..2 => MustStep::Absent,
        2..7 => MustStep::Right,
        7..8 => MustStep::Stale(rng.i64(0..6)),
        _ => MustStep::NotWrittenAfter(AtStep::Back(rng.i64(-1..6))),
    }
}
