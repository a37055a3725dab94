//! The calls of the resource API, each over whichever endpoint answers.

use std::sync::Arc;

use berth_proto::v1;
use berth_proto::v1::nodes_client::NodesClient;
use berth_proto::v1::resources_client::ResourcesClient;
use berth_proto::v1::write::Verb;
use berth_types::Resource;
use berth_types::status::{Reason, Status};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tonic::transport::Channel;

use crate::endpoint::Endpoint;
use crate::error::{Error, Failure};
use crate::failover::{Options, Resend, Servers};
use crate::messages::{BindItem, Health, Listed, LogsQuery, Version, outcomes};
use crate::object::{Object, ObjectKey, Query, parse};
use crate::presence::PresenceStream;
use crate::session::{Hello, Session};
use crate::watch::Watch;
use crate::write::{Atomicity, Fence, Write};
use crate::written::Written;

/// Objects per page when a whole list is read.
const PAGE: u32 = 500;
/// How often a list is begun again because its moment was compacted before its last page.
const LISTS: usize = 5;
/// The largest answer that is taken: a page of large objects.
const MAX_ANSWER: usize = 64 << 20;

/// A connection to the API; clones are cheap and share connections and the choice of endpoint.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) servers: Arc<Servers>,
}

impl Client {
    /// A client of the servers at these addresses (`unix:PATH` or `http://127.0.0.1:PORT`), the first preferred.
    /// Connects on first use. Must be called inside a tokio runtime.
    pub fn new<S: AsRef<str>>(addresses: &[S]) -> Result<Self, Error> {
        Self::with_options(addresses, Options::default())
    }

    /// The same with durations of one's own.
    pub fn with_options<S: AsRef<str>>(addresses: &[S], options: Options) -> Result<Self, Error> {
        if addresses.is_empty() {
            return Err(Error::Invalid(Status::new(Reason::BadRequest, "no server address is given")));
        }
        let endpoints = addresses
            .iter()
            .map(|address| Endpoint::parse(address.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { servers: Arc::new(Servers::new(endpoints, options)) })
    }

    /// One object.
    pub async fn get(&self, key: &ObjectKey) -> Result<Value, Error> {
        parse(&self.get_bytes(key).await?)
    }

    /// One object of type `K`; `namespace` is empty for kinds without.
    pub async fn get_as<K: Resource>(&self, namespace: &str, name: &str) -> Result<K, Error> {
        parse(&self.get_bytes(&ObjectKey::of::<K>(namespace, name)).await?)
    }

    /// All objects of a query, read page by page as they were at one moment.
    pub async fn list(&self, query: &Query) -> Result<Listed<Value>, Error> {
        self.list_all(query).await
    }

    /// All objects of type `K` of a query, read page by page as they were at one moment.
    pub async fn list_as<K: Resource>(&self, query: &Query) -> Result<Listed<K>, Error> {
        self.list_all(query).await
    }

    /// One page of at most `limit` objects (0: all), the first or the one that `continue_token` names.
    pub async fn page(
        &self,
        query: &Query,
        limit: u32,
        continue_token: Option<&str>,
    ) -> Result<Listed<Value>, Error> {
        self.page_of(query, limit, continue_token).await
    }

    /// Sends one write; answers with the object as it is now.
    pub async fn write(&self, write: &Write) -> Result<Value, Error> {
        self.send(write).await?.json()
    }

    /// Sends one write; answers with the object as it is now, typed.
    pub async fn write_as<K: Resource>(&self, write: &Write) -> Result<K, Error> {
        self.send(write).await?.read()
    }

    /// Sends one write; answers with the object as it is now, not yet parsed.
    pub async fn send(&self, write: &Write) -> Result<Object, Error> {
        self.send_and_hear(write).await.map(|(object, _)| object)
    }

    /// Sends one write; answers also with what the write did and what the server warns of.
    pub async fn send_and_hear(&self, write: &Write) -> Result<(Object, Written), Error> {
        let (answer, earlier) = self
            .servers
            .call_with_earlier(write.resend(), |endpoint| {
                let (mut api, message, verb) = (resources(endpoint), write.wire(), write.verb());
                async move {
                    match verb {
                        Verb::Unspecified | Verb::Create => api.create(message).await,
                        Verb::Update => api.update(message).await,
                        Verb::UpdateStatus => api.update_status(message).await,
                        Verb::Patch | Verb::PatchStatus => api.patch(message).await,
                        Verb::Apply | Verb::ApplyStatus => api.apply(message).await,
                        Verb::Delete => api.delete(message).await,
                    }
                }
            })
            .await?;
        Ok((Object(answer.json), Written::of(answer.written, earlier)))
    }

    /// Sends many writes in one call; an outcome for each, in order. Resent after an unknown outcome only when each
    /// of them may be.
    pub async fn batch(
        &self,
        writes: &[Write],
        atomicity: Atomicity,
    ) -> Result<Vec<Result<Object, Error>>, Error> {
        let request = v1::BatchRequest {
            writes: writes.iter().map(Write::wire).collect(),
            atomic: atomicity == Atomicity::All,
        };
        let safe = writes.iter().all(|write| write.resend() == Resend::Safe);
        let resend = if safe { Resend::Safe } else { Resend::Unsafe };
        let answer = self
            .servers
            .call(resend, |endpoint| {
                let (mut api, request) = (resources(endpoint), request.clone());
                async move { api.batch(request).await }
            })
            .await?;
        outcomes(answer.outcomes, writes.len())
    }

    /// Places Tasks on Nodes; an outcome for each item, in order: the Task as it is now, or why not.
    pub async fn bind(
        &self,
        items: &[BindItem],
        fence: Option<&Fence>,
    ) -> Result<Vec<Result<Object, Error>>, Error> {
        let request = v1::BindRequest {
            items: items.iter().map(BindItem::wire).collect(),
            fence: fence.map(Fence::wire),
        };
        // A Task is bound once per uid: a second try finds the first.
        let answer = self
            .servers
            .call(Resend::Safe, |endpoint| {
                let (mut api, request) = (resources(endpoint), request.clone());
                async move { api.bind(request).await }
            })
            .await?;
        outcomes(answer.outcomes, items.len())
    }

    /// What answers.
    pub async fn version(&self) -> Result<Version, Error> {
        let answer = self
            .servers
            .call(Resend::Safe, |endpoint| {
                let mut api = resources(endpoint);
                async move { api.version(v1::VersionRequest {}).await }
            })
            .await?;
        self.servers.heard.hear(&answer.history);
        Ok(Version {
            version: answer.version,
            cluster_uid: answer.cluster_uid,
            server_id: answer.server_id,
            store: answer.store,
            history: answer.history,
        })
    }

    /// How the current server does, which is asked once; no other one is tried.
    pub async fn health(&self) -> Result<Health, Error> {
        let endpoint = self.servers.current();
        let asked = resources(endpoint.clone()).health(v1::HealthRequest {}).await;
        let answer = asked.map_err(|grpc| Failure::of(&grpc, &endpoint.name).into_status())?.into_inner();
        Ok(Health { ready: answer.ready, writable: answer.writable, faults: answer.faults })
    }

    /// Ends when an answer shows that the store was restored from a backup, or another took its place. Caches, versions
    /// and epochs of before mean nothing then; a process that keeps any ends and is started anew.
    pub async fn store_replaced(&self) {
        self.servers.heard.another().await;
    }

    /// Follows the objects of a query from their present state on.
    pub fn watch(&self, query: &Query) -> Watch<Value> {
        Watch::new(self.servers.clone(), query.clone(), None)
    }

    /// Follows the objects of type `K` of a query from their present state on.
    pub fn watch_as<K: Resource>(&self, query: &Query) -> Watch<K> {
        Watch::new(self.servers.clone(), query.clone(), None)
    }

    /// Follows the objects of a query after a version of a history, as a list gave them.
    pub fn watch_from(&self, query: &Query, version: &str, history: &str) -> Watch<Value> {
        Watch::new(self.servers.clone(), query.clone(), Some((version.into(), history.into())))
    }

    /// Whether what was told of these objects at a version of a history is of the past of the store that is there now: it
    /// is not after the store was put back from a backup of before, or replaced. An empty version stands for the whole
    /// history.
    pub async fn is_past(&self, query: &Query, version: &str, history: &str) -> Result<bool, Error> {
        let request = v1::WatchRequest {
            kind: Some(query.kind.wire()),
            namespace: query.namespace.clone(),
            resource_version: version.into(),
            history: history.into(),
            ..v1::WatchRequest::default()
        };
        let asked = self.servers.call(Resend::Safe, |endpoint| {
            let (mut api, request) = (resources(endpoint), request.clone());
            async move { api.watch(request).await }
        });
        match asked.await {
            Ok(_) => Ok(true),
            Err(Error::Expired(status)) => Ok(!status.is_of_another_history()),
            Err(error) => Err(error),
        }
    }

    /// Follows which nodes are present.
    pub fn presence(&self) -> PresenceStream {
        PresenceStream::new(self.servers.clone())
    }

    /// The log of a Task's container, in chunks of whole lines. Not resumed when it breaks: it ends with an error.
    pub async fn logs(&self, query: &LogsQuery) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let request = query.wire();
        let chunks = self
            .servers
            .call(Resend::Safe, |endpoint| {
                let (mut api, request) = (nodes(endpoint), request.clone());
                async move { api.logs(request).await }
            })
            .await?;
        let chunks = chunks.map(|chunk| match chunk {
            Ok(chunk) => Ok(chunk.data),
            Err(grpc) => Err(Failure::of(&grpc, "the server").into_status().into()),
        });
        Ok(chunks.boxed())
    }

    /// Opens an agent's session at the current endpoint, or the first after it that accepts.
    pub async fn session(&self, hello: &Hello) -> Result<Session, Error> {
        Session::open(self.servers.clone(), hello).await
    }

    async fn get_bytes(&self, key: &ObjectKey) -> Result<Bytes, Error> {
        let request = v1::GetRequest { key: Some(key.wire()) };
        let answer = self
            .servers
            .call(Resend::Safe, |endpoint| {
                let (mut api, request) = (resources(endpoint), request.clone());
                async move { api.get(request).await }
            })
            .await?;
        Ok(answer.json)
    }

    async fn list_all<T: DeserializeOwned>(&self, query: &Query) -> Result<Listed<T>, Error> {
        let mut whole: Listed<T> = self.page_of(query, PAGE, None).await?;
        let mut begun = 1;
        while let Some(token) = whole.continue_token.take() {
            match self.page_of(query, PAGE, Some(&token)).await {
                Ok(page) => {
                    whole.items.extend(page.items);
                    whole.continue_token = page.continue_token;
                }
                // The moment of the first page is compacted: a list must be of one moment, so it begins again, page by
                // page, for a whole kind may be more than one message carries.
                Err(Error::Expired(_)) if begun < LISTS => {
                    begun += 1;
                    whole = self.page_of(query, PAGE, None).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(whole)
    }

    async fn page_of<T: DeserializeOwned>(
        &self,
        query: &Query,
        limit: u32,
        continue_token: Option<&str>,
    ) -> Result<Listed<T>, Error> {
        let request = v1::ListRequest {
            kind: Some(query.kind.wire()),
            namespace: query.namespace.clone(),
            label_selector: query.labels.clone(),
            field_selector: query.fields.clone(),
            limit,
            continue_token: continue_token.unwrap_or_default().into(),
            resource_version: String::new(),
        };
        let answer = self
            .servers
            .call(Resend::Safe, |endpoint| {
                let (mut api, request) = (resources(endpoint), request.clone());
                async move { api.list(request).await }
            })
            .await?;
        self.servers.heard.hear(&answer.history);
        Ok(Listed {
            items: answer.items.iter().map(|item| parse(item)).collect::<Result<_, _>>()?,
            version: answer.resource_version,
            history: answer.history,
            continue_token: Some(answer.continue_token).filter(|token| !token.is_empty()),
        })
    }
}

pub(crate) fn resources(endpoint: Endpoint) -> ResourcesClient<Channel> {
    ResourcesClient::new(endpoint.channel)
        .max_decoding_message_size(MAX_ANSWER)
        .max_encoding_message_size(MAX_ANSWER)
}

pub(crate) fn nodes(endpoint: Endpoint) -> NodesClient<Channel> {
    NodesClient::new(endpoint.channel).max_decoding_message_size(MAX_ANSWER)
}
