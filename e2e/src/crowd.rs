//! Many Apps on nodes without containers, made and deleted; and what the parts of a world hold of memory and disk.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use berth_client::{Atomicity, Client, ObjectKey, Query, Write};
use berth_types::Resource;
use berth_types::app::App;
use berth_types::lease::Lease;
use berth_types::revision::Revision;
use berth_types::task::Task;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::wait::eventually;
use crate::world::{Part, Plan, SOON, StoreForm, World};

/// Nodes of a crowd's world.
const NODES: usize = 20;
/// Writes of one call.
const AT_ONCE: usize = 100;
/// Controllers, each with a Lease.
const CONTROLLERS: usize = 4;
/// How long a crowd may take on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(600);
/// A journal of this size is not shrunk.
const SMALL: u64 = 4 << 20;

/// MiB of each part: resident memory of the apiserver and of the controllers, and the embedded store's file.
pub type Sizes = BTreeMap<&'static str, f64>;

/// Apps of one replica each, by a number.
pub struct Crowd {
    runtime: Runtime,
    client: Client,
    names: Vec<String>,
}

/// A world for a crowd, on the embedded store.
pub fn plan() -> Plan {
    Plan::new(StoreForm::Embedded).without(Part::Agent).simulate(NODES)
}

impl Crowd {
    /// A crowd that is not there yet; every controller of its world leads.
    pub fn of(world: &World, apps: usize) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let client = {
            let _inside = runtime.enter();
            Client::new(&[world.server()]).expect("an address")
        };
        let names = (0..apps).map(|number| format!("crowd-{number}")).collect();
        let crowd = Self { runtime, client, names };
        eventually("the controllers lead", SOON, || {
            let leases = crowd.count::<Lease>(|_| true)?;
            if leases >= CONTROLLERS { Ok(()) } else { Err(format!("{leases} Leases")) }
        });
        crowd
    }

    /// Creates the Apps and waits until the Task of each runs.
    pub fn comes(&self) {
        self.write(|name| Write::create_json(&app(name)));
        let apps = self.names.len();
        eventually("the Task of every App runs", LIMIT, || {
            match self.count::<Task>(|task| task["status"]["phase"] == "Running")? {
                tasks if tasks == apps => Ok(()),
                tasks => Err(format!("{tasks} of {apps} run")),
            }
        });
    }

    /// Deletes the Apps and waits until nothing of them is left.
    pub fn goes(&self) {
        self.write(|name| Write::delete(&ObjectKey::of::<App>("default", name)));
        let all = |_: &Value| true;
        eventually("nothing of the Apps is left", LIMIT, || {
            match self.count::<App>(all)? + self.count::<Task>(all)? + self.count::<Revision>(all)? {
                0 => Ok(()),
                left => Err(format!("{left} objects")),
            }
        });
    }

    /// One write for each App, many in a call.
    fn write(&self, write: impl Fn(&str) -> Write) {
        for names in self.names.chunks(AT_ONCE) {
            let writes: Vec<Write> = names.iter().map(|name| write(name)).collect();
            let outcomes = self.runtime.block_on(self.client.batch(&writes, Atomicity::Each));
            for outcome in outcomes.expect("the API answers") {
                outcome.expect("written");
            }
        }
    }

    /// How many objects of a kind there are that are as said.
    fn count<K: Resource>(&self, is_so: impl Fn(&Value) -> bool) -> Result<usize, String> {
        let listed = self.runtime.block_on(self.client.list(&Query::of::<K>()));
        Ok(listed.map_err(|why| why.to_string())?.items.iter().filter(|object| is_so(object)).count())
    }
}

fn app(name: &str) -> Value {
    let container = json!({
        "name": "main", "command": ["sleep", "100000"], "env": [{"name": "A", "value": "x".repeat(1000)}],
        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}},
    });
    json!({
        "apiVersion": "berth.dev/v1", "kind": "App", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}},
    })
}

/// What a world of the embedded store holds now.
pub fn sizes(world: &World) -> Sizes {
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let resident = |part| mebibytes(resident(world.part(part).pid()));
    let journal = fs::metadata(world.data().join("store/journal.redb")).expect("the store has a journal");
    BTreeMap::from([
        ("apiserver", resident(Part::Apiserver)),
        ("controllers", resident(Part::Controllers)),
        ("journal", mebibytes(journal.len().saturating_sub(crate::record::TABLES).max(SMALL))),
    ])
}

fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("kB") << 10
}
