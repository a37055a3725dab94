//! Bind: places Tasks on Nodes. Room is checked here, so that no client, stale, doubled or hostile, and no pair of
//! apiservers, can overcommit a node.
//!
//! - Every node has a ledger, a key that every Bind to it writes. What a node's Tasks take is summed from the cache at
//!   a revision R; the group's condition is that the ledger was not written after R, so nobody bound meanwhile.
//! - After a success at revision c the sum is known to be right with the own charge added: until the cache has reached
//!   c, the condition is that the ledger is unchanged since c.
//! - Further conditions: the Node is unchanged since the version decided on, each Task since the cache's copy, the
//!   writer's epoch, if it names one, is the newest of the scheduler's Lease.
//! - One group in flight per node; what comes for a busy node waits and travels together.
//! - After a conflict the cache must have the conflicting revision before the rest is decided anew, three times at most.

mod admit;
mod lane;

use std::collections::{HashMap, VecDeque};

use berth_failpoint::seeded_bug;
use berth_proto::v1 as wire;
use berth_store::{Rev, StoreError};
use berth_types::parcel::{CALL_BYTES, Parcel};
use berth_types::task::Task;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::batch::{self, outcome};
use crate::refuse::{Answer, bad_field, bad_request, because};
use crate::room::Charge;
use crate::table::KindId;
use crate::version::Version;
use crate::write::{Fence, Writer};

/// The most items of one call.
const MOST_ITEMS: usize = 1000;
/// The most Tasks and bytes of one group, below what a call of the store takes.
const GROUP: Parcel = Parcel::of(60, CALL_BYTES - 200_000);
/// Bytes that a Bind adds to a Task, its key and conditions included; more for each port.
const BOUND: usize = 2_000;
/// Bytes of one assigned port.
const PORT: usize = 100;
/// Namespace and name of the Lease of who places Tasks.
const SCHEDULER: (&str, &str) = ("berth-system", "scheduler");

/// One Task for one Node.
#[derive(Debug, Clone)]
pub struct Placement {
    /// The Task's namespace.
    pub namespace: String,
    /// The Task's name.
    pub task: String,
    /// The Task's uid.
    pub task_uid: String,
    /// The Node's name.
    pub node: String,
    /// The Node's uid.
    pub node_uid: String,
    /// The Node as it was when the decision fell.
    pub node_version: Version,
    /// Host ports for the ports that the manifest leaves open, by name.
    pub ports: Vec<(String, u16)>,
}

/// A placement, who leads, and who waits for the outcome.
pub struct Item {
    place: Placement,
    fence: Option<Fence>,
    answer: oneshot::Sender<Answer<Bytes>>,
}

/// An own bind that the cache may not show yet.
#[derive(Debug, Clone)]
pub struct Own {
    rev: Rev,
    charges: Vec<Charge>,
}

/// Takes placements; one worker carries out those of every node in turn.
pub struct Binder {
    items: mpsc::UnboundedSender<Item>,
    writer: Writer,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Item>,
    busy: bool,
    own: Vec<Own>,
}

impl Binder {
    /// A binder whose worker is one of `tasks`.
    pub fn start(writer: Writer, tasks: &mut JoinSet<Result<(), StoreError>>) -> Self {
        let (items, queue) = mpsc::unbounded_channel();
        tasks.spawn(work(writer.clone(), queue));
        Self { items, writer }
    }

    /// Carries a call out; the outcomes are in the order of the items.
    pub async fn bind(&self, request: wire::BindRequest) -> Answer<Vec<wire::Outcome>> {
        if request.items.len() > MOST_ITEMS {
            return Err(bad_request(format!("{} items to bind, at most {MOST_ITEMS}", request.items.len())));
        }
        let fence = request.fence.map(Fence::read);
        fence.as_ref().map_or(Ok(()), leads_the_scheduler)?;
        let stopped = || because(berth_types::Reason::Unavailable, "the server is being stopped");
        let mut answers = batch::ANSWER;
        let ended = request.items.into_iter().map(|item| {
            let (answer, answered) = oneshot::channel();
            let sent = Placement::read(item).and_then(|place| {
                let (kind, path) = place.task(&self.writer);
                batch::take_room(
                    &mut answers,
                    &self.writer,
                    (kind, &path),
                    place.adds(),
                    batch::ANOTHER_CALL,
                )?;
                self.items.send(Item { place, fence: fence.clone(), answer }).map_err(|_| stopped())
            });
            async move {
                sent?;
                answered.await.map_err(|_| stopped())?
            }
        });
        // All are handed over before the first is waited for, so that they travel together.
        let ended: Vec<_> = ended.collect();
        let outcomes = join_all(ended).await.into_iter();
        Ok(outcomes.map(|ended| outcome(ended.map(|json| (json, None)))).collect())
    }
}

/// The epoch of another Lease would be as fresh as can be, however long ago the caller ceased to be the scheduler.
fn leads_the_scheduler(fence: &Fence) -> Answer<()> {
    let (namespace, lease) = (fence.lease.0.as_str(), fence.lease.1.as_str());
    if (namespace, lease) == SCHEDULER || seeded_bug("bind-by-any-lease") {
        return Ok(());
    }
    let message =
        format!("a Bind is fenced by the Lease {}/{}, not by {namespace}/{lease}", SCHEDULER.0, SCHEDULER.1);
    Err(because(berth_types::Reason::Forbidden, message))
}

impl Placement {
    /// Where its Task is.
    fn task(&self, writer: &Writer) -> (KindId, String) {
        let kind = writer.table.of::<Task>();
        (kind, writer.table.row(kind).path(&self.namespace, &self.task))
    }

    /// Bytes that it adds to its Task, about.
    fn adds(&self) -> usize {
        BOUND + self.ports.len() * PORT
    }

    /// Bytes that its Task takes in a group of the store, about.
    fn bytes(&self, writer: &Writer) -> usize {
        let (kind, path) = self.task(writer);
        writer.cache.get(kind, &path).map_or(0, |entry| entry.weight()) + self.adds()
    }

    fn read(item: wire::BindItem) -> Answer<Self> {
        let needed = [
            ("namespace", &item.namespace),
            ("task", &item.task),
            ("task_uid", &item.task_uid),
            ("node", &item.node),
            ("node_uid", &item.node_uid),
        ];
        if let Some((field, _)) = needed.iter().find(|(_, text)| text.is_empty()) {
            return Err(bad_field(field, "is needed to bind"));
        }
        let node_version = Version::parse(&item.node_resource_version).ok_or_else(|| {
            bad_field("node_resource_version", "is needed to bind: the Node as it was decided on")
        })?;
        let ports = item.ports.into_iter().map(|port| match u16::try_from(port.port) {
            Ok(number) if number > 0 => Ok((port.name, number)),
            Ok(_) | Err(_) => Err(bad_field("ports", format!("must be 1 to 65535, got {}", port.port))),
        });
        Ok(Self {
            ports: ports.collect::<Answer<_>>()?,
            namespace: item.namespace,
            task: item.task,
            task_uid: item.task_uid,
            node: item.node,
            node_uid: item.node_uid,
            node_version,
        })
    }
}

type Running = FuturesUnordered<BoxFuture<'static, (String, Vec<Own>)>>;

/// Gives every node its items in turn, one group at a time.
async fn work(writer: Writer, mut queue: mpsc::UnboundedReceiver<Item>) -> Result<(), StoreError> {
    let mut lanes: HashMap<String, Lane> = HashMap::new();
    let mut running = Running::new();
    let mut arrived = Vec::new();
    loop {
        tokio::select! {
            number = queue.recv_many(&mut arrived, MOST_ITEMS) => {
                if number == 0 {
                    return Ok(());
                }
                let nodes: Vec<String> = arrived.iter().map(|item| item.place.node.clone()).collect();
                for item in arrived.drain(..) {
                    lanes.entry(item.place.node.clone()).or_default().waiting.push_back(item);
                }
                for node in nodes {
                    go_on(&writer, &mut lanes, &mut running, node);
                }
            }
            Some((node, own)) = running.next(), if !running.is_empty() => {
                if let Some(lane) = lanes.get_mut(&node) {
                    lane.busy = false;
                    lane.own = own;
                }
                go_on(&writer, &mut lanes, &mut running, node);
            }
        }
    }
}

/// Starts the next group of a node that is not busy; forgets a node of which nothing is left to remember.
fn go_on(writer: &Writer, lanes: &mut HashMap<String, Lane>, running: &mut Running, node: String) {
    let Some(lane) = lanes.get_mut(&node).filter(|lane| !lane.busy) else { return };
    let reached = writer.cache.rev();
    lane.own.retain(|own| own.rev > reached);
    let Some(first) = lane.waiting.front() else {
        if lane.own.is_empty() {
            lanes.remove(&node);
        }
        return;
    };
    let fence = first.fence.clone();
    let mut items = Vec::new();
    let mut group = GROUP;
    while let Some(next) = lane.waiting.front().filter(|item| item.fence == fence) {
        if !group.takes(next.place.bytes(writer)) {
            break;
        }
        items.extend(lane.waiting.pop_front());
    }
    lane.busy = true;
    let work = lane::Work {
        writer: writer.clone(),
        node: node.clone(),
        fence,
        own: std::mem::take(&mut lane.own),
        view: lane::View::Cached,
    };
    running.push(async move { (node, work.carry_out(items).await) }.boxed());
}
