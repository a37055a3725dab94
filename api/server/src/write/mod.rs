//! The write path: decide on what the cache has, submit with the conditions of that decision, decide again on what
//! the store says when it was stale. A refusal is never given on a stale view: the cache is brought up to date first.
//!
//! A write that changes nothing makes no revision, but is answered only after the store confirmed its conditions.

mod answer;
mod asks;
mod draft;
mod orphans;
mod plan;
mod reading;
mod request;
mod told;
mod warnings;

use std::collections::HashMap;
use std::sync::Arc;

use berth_store::{Committer, Condition, Ended, Group, Kv, Rev, Store, Submission, Urgency};
use berth_types::{Clock, Reason, Status};
use bytes::Bytes;

use crate::cache::{Cache, Entry};
use crate::hooks::World;
use crate::refuse::{self, Answer, bad_request, because, conflict};
use crate::table::{Row, Table};

use plan::{By, Plan, Sight};
pub use request::{Fence, Request, author};
pub use told::Written;

/// Decisions on a stale view before the caller is told that there is too much contention.
const ATTEMPTS: usize = 50;

/// Carries writes out.
#[derive(Clone)]
pub struct Writer {
    /// What is kept.
    pub store: Arc<dyn Store>,
    /// What writes are decided on.
    pub cache: Arc<Cache>,
    /// Who carries them to the store.
    pub committer: Committer,
    /// The kinds.
    pub table: Arc<Table>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// A refusal of one of several writes.
#[derive(Debug)]
pub struct Refused {
    /// Which one.
    pub at: usize,
    /// Why.
    pub why: Box<Status>,
}

/// Where the state of one object comes from.
#[derive(Debug, Clone)]
enum Known {
    Cached,
    /// The store told it, and the cache may not have it yet.
    Told(Option<Arc<Entry>>),
}

/// A condition of the whole group, and for which write's sake.
struct Asked {
    at: usize,
    by: By,
    condition: Condition,
}

/// The plans of some writes as one group of the store.
struct Joint {
    /// The revision of the cache before the decision: the group happens after it.
    seen: Rev,
    plans: Vec<Plan>,
    asked: Vec<Asked>,
    group: Group,
}

impl Writer {
    /// Carries one write out; the object as it is then, and what the write did.
    pub async fn write(&self, request: &Request) -> Answer<Written> {
        let mut answers =
            self.together(std::slice::from_ref(request)).await.map_err(|refused| refused.why)?;
        Ok(answers.pop().expect("one answer for each write"))
    }

    /// Carries all writes out or none.
    pub async fn together(&self, requests: &[Request]) -> Result<Vec<Written>, Refused> {
        let mut known = vec![Known::Cached; requests.len()];
        let mut refreshed = false;
        // What belongs to an owner is found by looking around: so the view must be current from the start.
        if requests.iter().any(|request| request.deletes.orphan) {
            self.cache.refresh().await.map_err(|why| Refused { at: 0, why })?;
        }
        for _ in 0..ATTEMPTS {
            let joint = match self.join(requests, &known) {
                // An owner that the cache lacks may just be new.
                Ok(joint) if !refreshed && joint.misses_an_object() => {
                    self.cache.refresh().await.map_err(|why| Refused { at: 0, why })?;
                    refreshed = true;
                    continue;
                }
                Ok(joint) => joint,
                Err(refused) if refreshed => return Err(refused),
                Err(refused) => {
                    self.cache.refresh().await.map_err(|why| Refused { at: refused.at, why })?;
                    known[refused.at] = Known::Cached;
                    refreshed = true;
                    continue;
                }
            };
            let whole = |why| Refused { at: 0, why };
            berth_failpoint::reach("server.write.decided");
            let watch_bytes = joint.plans.iter().map(|plan| plan.weight).sum();
            let submission =
                Submission { group: joint.sent(requests), watch_bytes, urgency: joint.urgency() };
            let ended = self.committer.carry_out(submission, &requests[0].author).await;
            match ended.map_err(|error| whole(refuse::store(&error)))? {
                Ended::Applied { rev, positions } => {
                    berth_failpoint::reach("server.write.committed");
                    return Ok(self.answers(requests, joint, rev, &positions));
                }
                Ended::Conflict { rev, current } => {
                    self.learn(requests, &joint.asked, rev, &current, &mut known).await?;
                }
                Ended::Unclear { rev, write_id, current } => {
                    if let Some(answers) =
                        self.happened(requests, &joint, rev, write_id).await.map_err(whole)?
                    {
                        return Ok(answers);
                    }
                    self.learn(requests, &joint.asked, rev, &current, &mut known).await?;
                }
            }
        }
        let message = format!("`{}` is written by too many at once; try again", requests[0].name);
        Err(Refused { at: 0, why: because(Reason::Conflict, message) })
    }

    /// Decides on every write, and joins them into one group.
    fn join(&self, requests: &[Request], known: &[Known]) -> Result<Joint, Refused> {
        let now = self.clock.now();
        let seen = self.cache.rev();
        let mut plans = Vec::with_capacity(requests.len());
        for (at, (request, known)) in requests.iter().zip(known).enumerate() {
            let planned = self.cache.look(|state| {
                let current = match known {
                    Known::Cached => state.kind(request.kind).get(&request.path).cloned(),
                    Known::Told(entry) => entry.clone(),
                };
                let world = World { state, table: &self.table };
                plan::plan(request, &Sight { world, current, now })
            });
            plans.push(planned.map_err(|why| Refused { at, why })?);
        }
        joined(seen, plans)
    }

    /// Finds out which conditions did not hold: refuses what cannot be decided anew, remembers what the store told,
    /// and waits until the cache has the rest.
    async fn learn(
        &self,
        requests: &[Request],
        asked: &[Asked],
        rev: Rev,
        current: &[Option<Kv>],
        known: &mut [Known],
    ) -> Result<(), Refused> {
        let mut wait_for = 0;
        for (asked, now) in
            asked.iter().zip(current).filter(|(asked, now)| !asked.condition.must.holds(now.as_ref()))
        {
            let request = &requests[asked.at];
            let refused = |why| Err(Refused { at: asked.at, why });
            match asked.by {
                By::Own => {
                    let entry = self.entry_of(request, now.as_ref());
                    if now.is_some() && entry.is_none() {
                        return refused(unreadable(self.table.row(request.kind), request));
                    }
                    known[asked.at] = Known::Told(entry);
                }
                By::Fence => return refused(fenced_off(request)),
                By::Precondition(number) => {
                    let wanted = &request.preconditions[number];
                    return refused(asks::broken_precondition(self.table.row(wanted.kind), wanted));
                }
                By::Sight => wait_for = wait_for.max(now.as_ref().map_or(rev, |kv| kv.mod_rev)),
            }
        }
        self.cache.await_rev(wait_for).await.map_err(|why| Refused { at: 0, why })
    }

    fn entry_of(&self, request: &Request, kv: Option<&Kv>) -> Option<Arc<Entry>> {
        kv.and_then(|kv| Entry::read(self.table.row(request.kind), kv)).map(Arc::new)
    }
}

impl Joint {
    /// Whether an answer warns of an object that the cache does not have.
    fn misses_an_object(&self) -> bool {
        self.plans.iter().any(|plan| !plan.told.missing.is_empty())
    }

    /// A group is as urgent as the least urgent of its writes.
    fn urgency(&self) -> Urgency {
        self.plans.iter().map(|plan| plan.urgency).min().unwrap_or_default()
    }

    /// What is sent: without its writes when the caller only wants to know.
    fn sent(&self, requests: &[Request]) -> Group {
        let mut group = self.group.clone();
        if requests.iter().any(|request| request.dry_run) {
            group.writes.clear();
        }
        group
    }
}

/// One group of all plans: a condition that several ask for is asked once.
fn joined(seen: Rev, plans: Vec<Plan>) -> Result<Joint, Refused> {
    let mut group = Group::default();
    let mut asked: Vec<Asked> = Vec::new();
    let mut places: HashMap<Bytes, usize> = HashMap::new();
    for (at, plan) in plans.iter().enumerate() {
        for ask in &plan.asks {
            let Some(place) = places.get(&ask.condition.key) else {
                places.insert(ask.condition.key.clone(), asked.len());
                asked.push(Asked { at, by: ask.by, condition: ask.condition.clone() });
                continue;
            };
            if asked[*place].condition.must != ask.condition.must {
                let name = String::from_utf8_lossy(&ask.condition.key).into_owned();
                let why = conflict("object", &name, "is wanted in two states by one atomic batch");
                return Err(Refused { at, why });
            }
        }
        group.writes.extend(plan.writes.iter().cloned());
    }
    let mut keys = std::collections::HashSet::new();
    if let Some(twice) = group.writes.iter().find(|write| !keys.insert(write.key().clone())) {
        let message = format!("atomic batch writes `{}` twice", String::from_utf8_lossy(twice.key()));
        return Err(Refused { at: 0, why: bad_request(message) });
    }
    group.conditions = asked.iter().map(|asked| asked.condition.clone()).collect();
    Ok(Joint { seen, plans, asked, group })
}

/// The refusal of a write to a key whose value is not an object.
fn unreadable(row: &Row, request: &Request) -> Box<Status> {
    let message = format!(
        "{} `{}` cannot be read from the store and is not overwritten; run `ctl version` to see the key and the remedy",
        row.name(),
        request.name
    );
    refuse::about(Reason::InternalError, row.name(), &request.name, message)
}

/// The refusal of a leader whose time is over.
pub fn fenced_off(request: &Request) -> Box<Status> {
    let fence = request.fence.as_ref().expect("only a fence asks for the fence");
    over(fence)
}

/// The refusal of a leader whose time is over.
pub fn over(fence: &Fence) -> Box<Status> {
    let why = format!("is in a newer epoch than {}: the writer no longer leads", fence.epoch);
    conflict("Lease", &fence.lease.1, why)
}
