//! A server on a socket of its own that answers as it is told, remembers what it was asked, and can be killed.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_client::{Client, Options};
use berth_proto::v1 as wire;
use berth_proto::v1::resources_server::{Resources, ResourcesServer};
use berth_types::Status;
use futures::{Stream, StreamExt};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response};

/// What a server does with a call that is no watch.
#[derive(Clone)]
pub enum Answers {
    /// Gives this object.
    Object(serde_json::Value),
    /// Refuses.
    Refuses(Status),
    /// Never answers.
    Nothing,
    /// Gives this object as a page of its own, and refuses so many later pages as compacted.
    Compacts(serde_json::Value, usize),
}

/// What a watch gets before it falls silent.
pub type Script = Vec<Result<wire::WatchResponse, Status>>;

/// One server.
pub struct Fake {
    state: Arc<State>,
    tasks: JoinSet<()>,
    path: PathBuf,
}

struct State {
    answers: Answers,
    scripts: Mutex<Vec<Script>>,
    expired: Mutex<usize>,
    calls: watch::Sender<Vec<String>>,
}

impl Fake {
    /// A server that listens at `<folder>/<name>`.
    pub fn start(folder: &Path, name: &str, answers: Answers, scripts: Vec<Script>) -> Self {
        let path = folder.join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let scripts = Mutex::new(scripts);
        let state = Arc::new(State {
            answers,
            scripts,
            expired: Mutex::new(0),
            calls: watch::Sender::new(Vec::new()),
        });
        let service = ResourcesServer::new(Face(state.clone()));
        let serving = tonic::transport::Server::builder().add_service(service);
        let mut tasks = JoinSet::new();
        // A runtime of its own: when it goes, so do its open connections, as with a killed process.
        let (kill, killed) = std::sync::mpsc::channel::<()>();
        let listener = listener.into_std().unwrap();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.spawn(async move {
                let listener = UnixListener::from_std(listener).unwrap();
                serving.serve_with_incoming(UnixListenerStream::new(listener)).await
            });
            let _ = killed.recv();
            runtime.shutdown_background();
        });
        tasks.spawn(async move {
            let _kept = (kill, thread);
            std::future::pending::<()>().await;
        });
        Self { state, tasks, path }
    }

    /// Where it listens, as a client is told.
    pub fn address(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// Ends it with all its connections.
    pub async fn kill(mut self) {
        self.tasks.shutdown().await;
        std::fs::remove_file(&self.path).unwrap();
    }

    /// What it was asked so far.
    pub fn calls(&self) -> Vec<String> {
        self.state.calls.borrow().clone()
    }

    /// Waits until it was asked this often.
    pub async fn asked(&self, times: usize) {
        let mut calls = self.state.calls.subscribe();
        let asked = calls.wait_for(|calls| calls.len() >= times);
        let waited = tokio::time::timeout(Duration::from_secs(20), asked).await;
        assert!(waited.is_ok(), "not asked {times} times: {:?}", self.calls());
    }
}

/// A client with short durations.
pub fn client(addresses: &[String]) -> Client {
    let options = Options {
        attempt_timeout: Duration::from_secs(5),
        deadline: Duration::from_secs(2),
        first_pause: Duration::from_millis(5),
        max_pause: Duration::from_millis(50),
        ..Options::default()
    };
    Client::with_options(addresses, options).unwrap()
}

struct Face(Arc<State>);

impl Face {
    fn note(&self, call: String) {
        self.0.calls.send_modify(|calls| calls.push(call));
    }

    async fn json(&self, call: &str) -> Result<Vec<u8>, tonic::Status> {
        self.note(call.into());
        match &self.0.answers {
            Answers::Object(json) => Ok(json.to_string().into()),
            Answers::Refuses(status) => Err(berth_proto::to_grpc(status)),
            Answers::Compacts(json, _) => Ok(json.to_string().into()),
            Answers::Nothing => std::future::pending().await,
        }
    }

    /// Refuses a later page, as often as it was told to; a page without a bound is never asked for.
    fn compacted(&self, token: &str, limit: u32) -> Result<(), tonic::Status> {
        assert!(limit > 0, "a whole kind is asked for in one message");
        let Answers::Compacts(_, most) = &self.0.answers else { return Ok(()) };
        let mut expired = self.0.expired.lock().unwrap();
        if token.is_empty() || *expired == *most {
            return Ok(());
        }
        *expired += 1;
        Err(berth_proto::to_grpc(&Status::new(berth_types::Reason::Expired, "compacted")))
    }

    async fn object(&self, call: &str) -> Result<Response<wire::Object>, tonic::Status> {
        let json = self.json(call).await?.into();
        let written = wire::Written { effect: wire::written::Effect::Unchanged.into(), ..Default::default() };
        Ok(Response::new(wire::Object { json, written: Some(written) }))
    }
}

#[tonic::async_trait]
impl Resources for Face {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::WatchResponse, tonic::Status>> + Send>>;

    async fn get(&self, _: Request<wire::GetRequest>) -> Result<Response<wire::Object>, tonic::Status> {
        self.object("get").await
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, tonic::Status> {
        let wire::ListRequest { continue_token: token, limit, .. } = request.into_inner();
        let json = self.json(&format!("list {token}")).await?;
        self.compacted(&token, limit)?;
        let next = if token.is_empty() { "next" } else { "" };
        Ok(Response::new(wire::ListResponse {
            items: vec![json.into()],
            resource_version: "1023".into(),
            continue_token: next.into(),
            history: String::new(),
        }))
    }

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, tonic::Status> {
        let wire::WatchRequest { resource_version, history, .. } = request.into_inner();
        let of = if history.is_empty() { String::new() } else { format!(" of {history}") };
        self.note(format!("watch from `{resource_version}`{of}"));
        let script = {
            let mut scripts = self.0.scripts.lock().unwrap();
            if scripts.is_empty() { Vec::new() } else { scripts.remove(0) }
        };
        let told = script.into_iter().map(|said| said.map_err(|status| berth_proto::to_grpc(&status)));
        Ok(Response::new(futures::stream::iter(told).chain(futures::stream::pending()).boxed()))
    }

    async fn create(&self, _: Request<wire::Write>) -> Result<Response<wire::Object>, tonic::Status> {
        self.object("create").await
    }

    async fn update(&self, _: Request<wire::Write>) -> Result<Response<wire::Object>, tonic::Status> {
        self.object("update").await
    }

    async fn update_status(&self, _: Request<wire::Write>) -> Result<Response<wire::Object>, tonic::Status> {
        self.object("update status").await
    }

    async fn patch(&self, _: Request<wire::Write>) -> Result<Response<wire::Object>, tonic::Status> {
        self.object("patch").await
    }

    async fn apply(&self, _: Request<wire::Write>) -> Result<Response<wire::Object>, tonic::Status> {
        self.object("apply").await
    }

    async fn delete(&self, _: Request<wire::Write>) -> Result<Response<wire::Object>, tonic::Status> {
        self.object("delete").await
    }

    async fn health(
        &self,
        _: Request<wire::HealthRequest>,
    ) -> Result<Response<wire::HealthResponse>, tonic::Status> {
        Ok(Response::new(wire::HealthResponse::default()))
    }

    async fn batch(
        &self,
        request: Request<wire::BatchRequest>,
    ) -> Result<Response<wire::BatchResponse>, tonic::Status> {
        let json = self.json("batch").await?;
        let outcome = wire::Outcome { result: Some(wire::outcome::Result::Json(json.into())), written: None };
        let outcomes = vec![outcome; request.into_inner().writes.len()];
        Ok(Response::new(wire::BatchResponse { outcomes }))
    }

    async fn bind(
        &self,
        _: Request<wire::BindRequest>,
    ) -> Result<Response<wire::BindResponse>, tonic::Status> {
        self.json("bind").await?;
        Ok(Response::new(wire::BindResponse::default()))
    }

    async fn version(
        &self,
        _: Request<wire::VersionRequest>,
    ) -> Result<Response<wire::VersionResponse>, tonic::Status> {
        self.json("version").await?;
        Ok(Response::new(wire::VersionResponse::default()))
    }
}
