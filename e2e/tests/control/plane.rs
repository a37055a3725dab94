//! Apiservers over one store, each on a socket and a runtime of its own, so that one can be killed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_client::{Client, Options};
use berth_e2e::etcd::Etcd;
use berth_proto::v1::resources_server::ResourcesServer;
use berth_server::{Nodes, ResourcesFace, Server, Timing};
use berth_store::{EmbeddedStore, EtcdOptions, EtcdStore, Store, Unsupported};
use berth_types::app::App;
use berth_types::node::Node;
use berth_types::{ObjectMeta, Resource, SystemClock};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;

use crate::recorded::Recorded;

/// Long enough for a machine that does other things too.
pub const LIMIT: Duration = Duration::from_secs(60);

/// One store and a folder of sockets. What happened in the store is judged in the end.
pub struct Plane {
    store: Arc<dyn Store>,
    recorded: Option<Recorded>,
    folder: tempfile::TempDir,
    _etcd: Option<Etcd>,
}

/// One apiserver.
pub struct Apiserver {
    path: PathBuf,
    runtime: Option<Runtime>,
}

impl Plane {
    /// An empty store in memory.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::memory());
        let recorded = Some(Recorded::own(store.clone(), folder.path()));
        Self { store, recorded, folder, _etcd: None }
    }

    /// An empty etcd of this version.
    pub async fn on_etcd(version: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let etcd = Etcd::start(version, folder.path());
        let options = EtcdOptions { unsupported: Unsupported::Allow, ..EtcdOptions::default() };
        let store = EtcdStore::connect(&[etcd.url()], options).await.unwrap();
        let recorded = Some(Recorded::etcd(etcd.urls(), folder.path()));
        Self { store: Arc::new(store), recorded, folder, _etcd: Some(etcd) }
    }

    /// What is under the apiservers.
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Compacts the store up to now, once that is recorded.
    pub async fn compact(&self) {
        let now = self.store.current_rev().await.unwrap();
        self.recorded.as_ref().expect("a plane is recorded until it is judged").reaches(now);
        self.store.compact(now).await.unwrap();
    }

    /// Starts an apiserver and waits until it serves.
    pub async fn apiserver(&self, name: &str) -> Apiserver {
        self.apiserver_timed(name, Timing::default()).await
    }

    /// The same with another timing of its agents.
    pub async fn apiserver_timed(&self, name: &str, timing: Timing) -> Apiserver {
        self.serve(name, self.store(), berth_server::Options::default(), timing).await
    }

    /// The same with options of its own, over what a test has put before the store.
    pub async fn apiserver_over(
        &self,
        name: &str,
        store: Arc<dyn Store>,
        options: berth_server::Options,
    ) -> Apiserver {
        self.serve(name, store, options, Timing::default()).await
    }

    async fn serve(
        &self,
        name: &str,
        store: Arc<dyn Store>,
        options: berth_server::Options,
        timing: Timing,
    ) -> Apiserver {
        let path = self.folder.path().join(name);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let socket = path.clone();
        let (ready, served) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let mut tasks = JoinSet::new();
            let server =
                Server::start(store.clone(), Arc::new(SystemClock), options, &mut tasks).await.unwrap();
            let address = format!("unix:{}", socket.display());
            let committer = server.writer.committer.clone();
            let nodes = Nodes::start(store, committer, &server.cluster_uid, vec![address], timing);
            let listener = UnixListener::bind(&socket).unwrap();
            ready.send(()).unwrap();
            let serving = tonic::transport::Server::builder()
                .add_service(ResourcesServer::new(ResourcesFace(server.clone())))
                .add_service(nodes.service());
            serving.serve_with_incoming(UnixListenerStream::new(listener)).await.unwrap();
        });
        served.await.unwrap();
        Apiserver { path, runtime: Some(runtime) }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if let Some(recorded) = self.recorded.take() {
            recorded.must_be_clean();
        }
    }
}

impl Apiserver {
    /// As a client is told.
    pub fn address(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// Ends it with all its connections, as kill -9 does.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Drop for Apiserver {
    fn drop(&mut self) {
        self.end();
    }
}

/// A client of these servers.
pub fn client(servers: &[&Apiserver]) -> Client {
    let addresses: Vec<String> = servers.iter().map(|server| server.address()).collect();
    Client::with_options(&addresses, Options::default()).unwrap()
}

/// An App of one container.
pub fn app(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": App::API_VERSION,
        "kind": App::KIND,
        "metadata": { "namespace": "default", "name": name },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": 0,
            "template": { "spec": { "containers": [{ "name": "main", "command": ["/bin/true"] }] } },
        },
    })
}

/// A Node as its agent makes it.
pub fn node(name: &str) -> Node {
    Node { metadata: ObjectMeta::named("", name), ..Node::default() }
}

/// Looks until `look` says `Ok`.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        let seen = match look().await {
            Ok(reached) => return reached,
            Err(seen) => seen,
        };
        assert!(tokio::time::Instant::now() < end, "waited {LIMIT:?} until {what}; last seen: {seen}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
