//! How far the view of Tasks must have come before an App is planned on it. The App counts the Tasks that were made, and
//! the two are watched apart: an App that is ahead of its Tasks would have them made again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use berth_runtime::{Key, ResourceVersion};
use berth_types::slack::Slack;

use super::observed::Wanted;

/// The version of each App in which its count was first seen as it is: not older than that which made the Tasks.
#[derive(Debug, Default)]
pub struct Made {
    seen: Mutex<HashMap<Key, Seen>>,
}

#[derive(Debug)]
struct Seen {
    uid: String,
    count: i64,
    version: ResourceVersion,
}

impl Made {
    /// The version that a view of Tasks must have come to, so that it has every Task that the App counts.
    pub fn version(&self, key: &Key, app: &Wanted) -> ResourceVersion {
        let count = app.status.tasks_created;
        if count == 0 {
            return ResourceVersion::default();
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get(key).filter(|seen| seen.uid == app.uid && seen.count == count) {
            Some(seen) => seen.version,
            None => {
                let version = ResourceVersion::parse(&app.resource_version);
                seen.insert(key.clone(), Seen { uid: app.uid.clone(), count, version });
                version
            }
        }
    }

    /// The App is gone.
    pub fn forget(&self, key: &Key) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(key);
        seen.give_back();
    }
}
