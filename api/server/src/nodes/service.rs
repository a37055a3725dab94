//! The gRPC face of [`Nodes`].

use std::pin::Pin;

use berth_proto::to_grpc;
use berth_proto::v1::nodes_server::Nodes as NodesApi;
use berth_proto::v1::{AgentMessage, LogsRequest, PresenceReport, PresenceRequest, TunnelChunk, TunnelEnd};
use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::logs::{self, Chunks, FORWARDED, From};
use super::session::Outbound;
use super::{Nodes, presence, session};

#[tonic::async_trait]
impl NodesApi for Nodes {
    type SessionStream = Outbound;
    type PresenceStream = Pin<Box<dyn Stream<Item = Result<PresenceReport, Status>> + Send>>;
    type LogsStream = Chunks;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let inbound = request.into_inner().boxed();
        let opened = session::open(self.shared.clone(), inbound).await;
        opened.map(Response::new).map_err(|why| to_grpc(&why))
    }

    async fn tunnel(&self, request: Request<Streaming<TunnelChunk>>) -> Result<Response<TunnelEnd>, Status> {
        let carried = self.shared.tunnels.carry(request.into_inner()).await;
        carried.map(|()| Response::new(TunnelEnd {})).map_err(|why| to_grpc(&why))
    }

    async fn presence(&self, _: Request<PresenceRequest>) -> Result<Response<Self::PresenceStream>, Status> {
        let reports = presence::reports(self.shared.clone());
        Ok(Response::new(reports.map(Ok).boxed()))
    }

    async fn logs(&self, request: Request<LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let from = match request.metadata().get(FORWARDED) {
            Some(_) => From::OtherServer,
            None => From::Client,
        };
        let opened = logs::open(&self.shared, request.into_inner(), from).await;
        opened.map(Response::new).map_err(|why| to_grpc(&why))
    }
}
