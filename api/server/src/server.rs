//! One apiserver: the core of handlers over one store, and what it makes in an empty store at the start.

use std::sync::Arc;
use std::time::Duration;

use berth_proto::v1 as wire;
use berth_store::committer::CommitterOptions;
use berth_store::{At, Author, Committer, Condition, Group, Store, StoreError, Value, Write};
use berth_types::{Clock, Reason, Status};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::bind::Binder;
use crate::cache::Cache;
use crate::compaction;
use crate::keys;
use crate::table::Table;
use crate::warden;
use crate::watching::Watches;
use crate::write::{Request, Writer};

/// Namespaces that are there from the start.
const NAMESPACES: [&str; 2] = ["default", "berth-system"];

/// How long the store may take to say how it is.
const TELL_WITHIN: Duration = Duration::from_secs(2);

/// How a server works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of events kept for each kind.
    pub window_bytes: usize,
    /// How long an event is kept at most.
    pub window_age: Duration,
    /// How often a quiet watcher is told how far it is.
    pub bookmarks: Duration,
    /// How often the past is forgotten; what is older than one such time.
    pub compaction: Duration,
    /// How often the cache is compared with the store.
    pub audits: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window_bytes: 32 << 20,
            window_age: Duration::from_secs(240),
            bookmarks: Duration::from_secs(5),
            compaction: Duration::from_secs(240),
            audits: Duration::from_secs(3600),
        }
    }
}

/// One apiserver.
pub struct Server {
    /// The write path.
    pub writer: Writer,
    /// Watches.
    pub watches: Watches,
    /// Binds.
    pub binder: Binder,
    /// uid of the cluster that the store holds.
    pub cluster_uid: String,
    /// New with every start.
    pub id: String,
    form: String,
    ending: watch::Sender<bool>,
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store failed.
    #[error("could not read the store")]
    Store(#[from] StoreError),
    /// What must be there from the start could not be made.
    #[error("could not make {what}")]
    Bootstrap {
        /// What was to be made.
        what: String,
        /// Why not.
        source: Box<Status>,
    },
}

impl Server {
    /// Starts a server over a store. Its work is done by `tasks`: when one of them ends, the server is of no use any more.
    pub async fn start(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        options: Options,
        tasks: &mut JoinSet<Result<(), StoreError>>,
    ) -> Result<Arc<Self>, StartError> {
        let table = Arc::new(Table::builtin());
        let committer = Committer::new(store.clone(), CommitterOptions::of(fastrand::u64(..)));
        let cluster_uid = cluster_uid(&*store, &committer).await?;
        let form = store.health().await?.form;
        let cache = Cache::follow(store.clone(), committer.clone(), table.clone(), &options, tasks).await?;
        let (ending, ended) = watch::channel(false);
        let watches = Watches {
            cache: cache.clone(),
            table: table.clone(),
            bookmarks: options.bookmarks,
            ending: ended,
        };
        let writer = Writer { store: store.clone(), cache, committer, table, clock };
        let binder = Binder::start(writer.clone(), tasks);
        tasks.spawn(warden::run(store.clone()));
        tasks.spawn(compaction::run(store, writer.committer.clone(), options.compaction));
        let id = uuid::Uuid::new_v4().simple().to_string();
        let server = Arc::new(Self { writer, watches, binder, cluster_uid, id, form, ending });
        server.make_namespaces().await?;
        Ok(server)
    }

    /// Ends every watch, so that connections close.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Turns true when the server ends: what streams for ever must end then.
    pub fn ending(&self) -> watch::Receiver<bool> {
        self.ending.subscribe()
    }

    /// What this server is.
    pub fn version(&self) -> wire::VersionResponse {
        wire::VersionResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            cluster_uid: self.cluster_uid.clone(),
            server_id: self.id.clone(),
            store: self.form.clone(),
            history: self.writer.store.history().into(),
        }
    }

    /// Whether and how well this server works just now.
    pub async fn health(&self) -> wire::HealthResponse {
        match tokio::time::timeout(TELL_WITHIN, self.writer.store.health()).await {
            Ok(Ok(health)) => {
                let writable = health.read_only.is_none();
                let faults = health.read_only.into_iter().chain(self.writer.cache.faults()).collect();
                wire::HealthResponse { ready: true, writable, faults }
            }
            Ok(Err(error)) => unready(error.to_string()),
            Err(_) => unready("the store does not answer".into()),
        }
    }

    fn has_namespace(&self, name: &str) -> bool {
        let kind = wire::Kind { api_version: "v1".into(), kind: "Namespace".into() };
        let named = self.writer.table.named(Some(&kind));
        named.is_ok_and(|kind| {
            let path = self.writer.table.row(kind).path("", name);
            self.writer.cache.get(kind, &path).is_some()
        })
    }

    async fn make_namespaces(&self) -> Result<(), StartError> {
        for name in NAMESPACES {
            // A store that is full must not keep a server from serving what is there.
            if self.has_namespace(name) {
                continue;
            }
            let failed = |source| StartError::Bootstrap { what: format!("Namespace `{name}`"), source };
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            let write = wire::Write {
                key: Some(wire::ObjectKey {
                    kind: Some(wire::Kind { api_version: "v1".into(), kind: "Namespace".into() }),
                    ..wire::ObjectKey::default()
                }),
                json: object.to_string().into(),
                field_manager: "apiserver".into(),
                ..wire::Write::default()
            };
            let request =
                Request::read(&self.writer.table, write, Some(wire::write::Verb::Create)).map_err(failed)?;
            match self.writer.write(&request).await {
                Ok(_) => {}
                Err(status) if status.reason == Reason::AlreadyExists => {}
                Err(status) => return Err(failed(status)),
            }
        }
        Ok(())
    }
}

fn unready(fault: String) -> wire::HealthResponse {
    wire::HealthResponse { ready: false, writable: false, faults: vec![fault] }
}

/// The uid of the cluster, made by whoever comes first.
async fn cluster_uid(store: &dyn Store, committer: &Committer) -> Result<String, StoreError> {
    let (_, mut kv) = store.get(keys::CLUSTER.as_bytes(), At::Latest).await?;
    if kv.is_none() {
        let uid = uuid::Uuid::new_v4().simple().to_string();
        let group = Group {
            conditions: vec![Condition::absent(keys::CLUSTER)],
            writes: vec![Write::put(keys::CLUSTER, json!({ "uid": uid }).to_string())],
        };
        // Whether it happened or somebody else was first, the store tells what counts.
        committer.submit(group, &Author { name: "apiserver".into(), epoch: 0 }).await?;
        (_, kv) = store.get(keys::CLUSTER.as_bytes(), At::Latest).await?;
    }
    let damaged = || StoreError::Damaged(format!("{} holds no uid", keys::CLUSTER));
    let json = Value::parse(kv.ok_or_else(damaged)?.value)?.json();
    let read: serde_json::Value = serde_json::from_slice(&json).map_err(|_| damaged())?;
    read["uid"].as_str().map(str::to_owned).ok_or_else(damaged)
}
