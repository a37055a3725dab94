//! Sends deeds in the name of one leader.

use std::collections::BTreeMap;

use berth_client::{Atomicity, BindItem, Client, Error, Fence, KindName, Object, Write};
use berth_types::parcel::Parcel;

use crate::deed::{Deed, Wave};
use crate::key::ResourceVersion;
use crate::notes::Notes;

/// Sends writes in the name of a controller; each carries its epoch while it leads by a Lease.
#[derive(Debug, Clone)]
pub struct Writer {
    client: Client,
    manager: &'static str,
    fence: Option<Fence>,
    notes: Notes,
}

/// How one deed ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done; or, for a deletion, there was nothing left to delete.
    Done,
    /// Our view was old: look again, there is nothing wrong.
    Stale,
    /// Refused or not carried out.
    Failed(Box<Error>),
}

impl Outcome {
    /// The worse of two.
    pub fn or(self, other: Outcome) -> Outcome {
        match (self, other) {
            (failed @ Self::Failed(_), _) | (_, failed @ Self::Failed(_)) => failed,
            (Self::Stale, _) | (_, Self::Stale) => Self::Stale,
            (Self::Done, Self::Done) => Self::Done,
        }
    }
}

/// For each kind, the latest version that was written.
pub(crate) type Written = BTreeMap<KindName, ResourceVersion>;

/// The action of a deed that only writes a status: no event worth a line at info.
pub(crate) const STATUS: &str = "status";

/// Writes and bytes of one Batch, well below what a server takes in one message; it spreads them over calls of the store.
const BATCH: Parcel = Parcel::of(200, 1 << 20);

impl Writer {
    /// A writer in the name of `manager`; within a runtime, for it tells people what it does beside its work.
    pub fn new(client: Client, manager: &'static str, fence: Option<Fence>) -> Self {
        let notes = Notes::new(client.clone(), manager, "");
        Self { client, manager, fence, notes }
    }

    /// The client, for reads.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends one write.
    pub async fn write(&self, write: Write) -> Result<Object, Error> {
        self.client.send(&self.signed(write)).await
    }

    /// Places Tasks on Nodes.
    pub async fn bind(&self, items: &[BindItem]) -> Result<Vec<Result<Object, Error>>, Error> {
        berth_failpoint::reach("runtime.bind.before");
        let outcomes = self.client.bind(items, self.fence()).await;
        berth_failpoint::reach("runtime.bind.after");
        outcomes
    }

    /// Sends the deeds of one wave; an outcome for each, in order.
    pub async fn send(&self, wave: Wave) -> Vec<Outcome> {
        self.send_noting(wave, &mut Written::new()).await
    }

    pub(crate) async fn send_noting(&self, wave: Wave, written: &mut Written) -> Vec<Outcome> {
        let singles = wave.iter().filter(|deed| deed.writes.len() == 1).map(|deed| deed.writes[0].clone());
        let mut batches = Vec::new();
        for part in BATCH.cut(singles, Write::size) {
            batches.push(self.batch(part, Atomicity::Each));
        }
        let groups = wave.iter().filter(|deed| deed.writes.len() != 1);
        let groups = groups.map(|deed| self.batch(deed.writes.clone(), Atomicity::All));
        berth_failpoint::reach("runtime.wave.before");
        let (singles, groups) =
            futures::join!(futures::future::join_all(batches), futures::future::join_all(groups));
        berth_failpoint::reach("runtime.wave.after");
        let mut singles = singles.into_iter().flatten();
        let mut groups = groups.into_iter();
        wave.iter()
            .map(|deed| {
                let results: Vec<_> = match deed.writes.len() {
                    1 => singles.by_ref().take(1).collect(),
                    _ => groups.next().unwrap_or_default(),
                };
                let outcome = judge(deed, &results);
                log(deed, &outcome);
                if outcome == Outcome::Done {
                    deed.notes.iter().for_each(|note| self.notes.report(note.clone()));
                }
                note(&results, written);
                outcome
            })
            .collect()
    }

    /// A result for each write, whatever happened to the call.
    async fn batch(
        &self,
        writes: Vec<Write>,
        atomicity: Atomicity,
    ) -> Vec<(KindName, Result<Object, Error>)> {
        let kinds: Vec<KindName> = writes.iter().map(|write| write.key().kind).collect();
        if kinds.is_empty() {
            return Vec::new();
        }
        let signed: Vec<Write> = writes.into_iter().map(|write| self.signed(write)).collect();
        let results = match &signed[..] {
            [single] => vec![self.client.send(single).await],
            several => match self.client.batch(several, atomicity).await {
                Ok(results) => results,
                Err(error) => vec![Err(error); several.len()],
            },
        };
        kinds.into_iter().zip(results).collect()
    }

    fn signed(&self, write: Write) -> Write {
        let write = write.by_default(self.manager);
        match self.fence() {
            Some(fence) => write.fenced(fence),
            None => write,
        }
    }

    fn fence(&self) -> Option<&Fence> {
        self.fence.as_ref().filter(|_| !berth_failpoint::seeded_bug("leader-without-epoch"))
    }
}

fn judge(deed: &Deed, results: &[(KindName, Result<Object, Error>)]) -> Outcome {
    let mut worst = Outcome::Done;
    for (write, (_, result)) in deed.writes.iter().zip(results) {
        match result {
            Ok(_) => {}
            Err(Error::NotFound(_)) if write.is_delete() && deed.writes.len() == 1 => {}
            Err(Error::Conflict(_) | Error::AlreadyExists(_) | Error::NotFound(_)) => {
                if worst == Outcome::Done {
                    worst = Outcome::Stale;
                }
            }
            Err(error) => return Outcome::Failed(Box::new(error.clone())),
        }
    }
    worst
}

fn log(deed: &Deed, outcome: &Outcome) {
    let (object, action, why) = (&deed.object, deed.action, &deed.why);
    match outcome {
        Outcome::Done if deed.action == STATUS => tracing::debug!(object, action, "acted"),
        Outcome::Done => tracing::info!(object, action, why, "acted"),
        Outcome::Stale => tracing::debug!(object, action, why, "view was old"),
        Outcome::Failed(error) => tracing::warn!(object, action, why, %error, "could not act"),
    }
}

fn note(results: &[(KindName, Result<Object, Error>)], written: &mut Written) {
    for (kind, result) in results {
        let Ok(object) = result else { continue };
        let Ok(version) = object.version() else { continue };
        let latest = written.entry(kind.clone()).or_default();
        *latest = (*latest).max(ResourceVersion::parse(&version));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_client::{ObjectKey, Precondition};
    use berth_types::Status;
    use berth_types::app::App;
    use berth_types::status::Reason;
    use serde_json::json;

    fn patch(bytes: usize) -> Write {
        Write::patch::<App>("shop", "web", json!("x".repeat(bytes)))
    }

    fn delete() -> Write {
        Write::delete(&ObjectKey::of::<App>("shop", "web"))
    }

    #[test]
    fn a_batch_is_bounded_by_writes_and_by_bytes() {
        let sizes =
            |writes: Vec<Write>| BATCH.cut(writes, Write::size).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![]), Vec::<usize>::new());
        assert_eq!(sizes(vec![patch(1); 450]), [200, 200, 50]);
        assert_eq!(sizes(vec![patch(400_000), patch(400_000), patch(400_000), patch(1)]), [2, 2]);
        assert_eq!(sizes(vec![patch(1), patch(2_000_000), patch(1)]), [1, 1, 1]);
        // Preconditions travel too: 200 stops that each count on 90 others are more than one message carries.
        let other = ObjectKey::of::<App>(&"n".repeat(50), &"x".repeat(50));
        let condition = Precondition::at_version(&other, &"u".repeat(32), "1024");
        let stop = (0..90).fold(delete(), |write, _| write.requiring(condition.clone()));
        assert!(sizes(vec![stop; 200]).len() > 2);
    }

    #[test]
    fn an_old_view_is_no_failure_and_what_is_gone_needs_no_deletion() {
        let error = |reason| Error::from(Status::new(reason, ""));
        let outcome = |write: Write, reason| {
            let deed = Deed::one("do", "web", "", write);
            match judge(&deed, &[(KindName::of::<App>(), Err(error(reason)))]) {
                Outcome::Done => "done",
                Outcome::Stale => "stale",
                Outcome::Failed(_) => "failed",
            }
        };
        for (write, reason, expected) in [
            (patch(1), Reason::Conflict, "stale"),
            (patch(1), Reason::AlreadyExists, "stale"),
            (patch(1), Reason::NotFound, "stale"),
            (delete(), Reason::NotFound, "done"),
            (delete(), Reason::Conflict, "stale"),
            (patch(1), Reason::Invalid, "failed"),
            (patch(1), Reason::Unavailable, "failed"),
            (patch(1), Reason::Timeout, "failed"),
        ] {
            assert_eq!(outcome(write, reason), expected, "{reason:?}");
        }
    }
}
