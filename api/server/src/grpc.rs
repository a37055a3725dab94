//! The gRPC face: messages in, the core's answers out.

use std::pin::Pin;
use std::sync::Arc;

use berth_proto::to_grpc;
use berth_proto::v1::resources_server::Resources;
use berth_proto::v1::write::Verb;
use berth_proto::v1::{self as wire};
use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::batch::batch;
use crate::read::Reader;
use crate::refuse::Answer;
use crate::server::Server;
use crate::write::Request as WriteRequest;

/// The resource API.
#[derive(Clone)]
pub struct ResourcesFace(pub Arc<Server>);

impl ResourcesFace {
    fn reader(&self) -> Reader<'_> {
        Reader { cache: &self.0.writer.cache, store: &*self.0.writer.store, table: &self.0.writer.table }
    }

    async fn write(
        &self,
        request: Request<wire::Write>,
        verb: Verb,
    ) -> Result<Response<wire::Object>, Status> {
        let writer = &self.0.writer;
        let written = async {
            let request = WriteRequest::read(&writer.table, request.into_inner(), Some(verb))?;
            let (json, written) = writer.write(&request).await?.wire();
            Ok(wire::Object { json, written: Some(written) })
        };
        respond(written.await)
    }
}

fn respond<T>(answer: Answer<T>) -> Result<Response<T>, Status> {
    answer.map(Response::new).map_err(|status| to_grpc(&status))
}

#[tonic::async_trait]
impl Resources for ResourcesFace {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::WatchResponse, Status>> + Send>>;

    async fn get(&self, request: Request<wire::GetRequest>) -> Result<Response<wire::Object>, Status> {
        let found = self.reader().get(request.into_inner()).await;
        respond(found.map(|json| wire::Object { json, written: None }))
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        respond(self.reader().list(request.into_inner()).await)
    }

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let opened = self.0.watches.open(request.into_inner()).await;
        let stream = opened.map_err(|status| to_grpc(&status))?;
        Ok(Response::new(stream.map(|message| message.map_err(|status| to_grpc(&status))).boxed()))
    }

    async fn create(&self, request: Request<wire::Write>) -> Result<Response<wire::Object>, Status> {
        self.write(request, Verb::Create).await
    }

    async fn update(&self, request: Request<wire::Write>) -> Result<Response<wire::Object>, Status> {
        self.write(request, Verb::Update).await
    }

    async fn update_status(&self, request: Request<wire::Write>) -> Result<Response<wire::Object>, Status> {
        self.write(request, Verb::UpdateStatus).await
    }

    async fn patch(&self, request: Request<wire::Write>) -> Result<Response<wire::Object>, Status> {
        self.write(request, Verb::Patch).await
    }

    async fn apply(&self, request: Request<wire::Write>) -> Result<Response<wire::Object>, Status> {
        self.write(request, Verb::Apply).await
    }

    async fn delete(&self, request: Request<wire::Write>) -> Result<Response<wire::Object>, Status> {
        self.write(request, Verb::Delete).await
    }

    async fn batch(
        &self,
        request: Request<wire::BatchRequest>,
    ) -> Result<Response<wire::BatchResponse>, Status> {
        let outcomes = batch(&self.0.writer, request.into_inner()).await;
        respond(outcomes.map(|outcomes| wire::BatchResponse { outcomes }))
    }

    async fn bind(
        &self,
        request: Request<wire::BindRequest>,
    ) -> Result<Response<wire::BindResponse>, Status> {
        respond(
            self.0.binder.bind(request.into_inner()).await.map(|outcomes| wire::BindResponse { outcomes }),
        )
    }

    async fn version(
        &self,
        _request: Request<wire::VersionRequest>,
    ) -> Result<Response<wire::VersionResponse>, Status> {
        respond(Ok(self.0.version()))
    }

    async fn health(
        &self,
        _request: Request<wire::HealthRequest>,
    ) -> Result<Response<wire::HealthResponse>, Status> {
        respond(Ok(self.0.health().await))
    }
}
