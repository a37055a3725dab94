//! Keys and values of liveness in the store.

use berth_store::Kv;
use berth_store::value::Value;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Folder of the servers' keys.
pub const SERVERS: &str = "/berth/-/server/";
/// Folder of the sessions' keys.
pub const SESSIONS: &str = "/berth/-/session/";
/// Folder of the Nodes.
pub const NODES: &str = "/berth/berth.dev/nodes/-/";

/// Key of a server.
pub fn server(id: &str) -> Bytes {
    format!("{SERVERS}{id}").into()
}

/// Key of a node's session.
pub fn session(node: &str) -> Bytes {
    format!("{SESSIONS}{node}").into()
}

/// Key of a Node.
pub fn node(name: &str) -> Bytes {
    format!("{NODES}{name}").into()
}

/// Key of a Task.
pub fn task(namespace: &str, name: &str) -> Bytes {
    format!("/berth/berth.dev/tasks/{namespace}/{name}").into()
}

/// What a server's key says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerValue {
    /// Where it can be reached.
    pub endpoints: Vec<String>,
}

/// What a session's key says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionValue {
    /// Id of the server.
    pub server: String,
    /// uid of the Node.
    pub node_uid: String,
    /// Boot id of the machine.
    pub boot_id: String,
    /// Grows with every session that the agent opens.
    pub number: u64,
}

/// What of a Node's object matters here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NodeValue {
    /// Its metadata.
    pub metadata: Identity,
}

/// What of a Task's object matters here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TaskValue {
    /// Its metadata.
    pub metadata: Identity,
    /// Its spec.
    #[serde(default)]
    pub spec: Placed,
}

/// Which incarnation of an object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Identity {
    /// Its uid.
    pub uid: String,
}

/// Where a Task runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Placed {
    /// Its node; empty while it is not bound.
    pub node_name: String,
}

/// Reads the JSON of a stored value; none, and a line in the log, for what cannot be read.
pub fn read<T: serde::de::DeserializeOwned>(kv: &Kv) -> Option<T> {
    let value = Value::parse(kv.value.clone()).map_err(|error| error.to_string());
    let read = value.and_then(|value| serde_json::from_slice(&value.json()).map_err(|why| why.to_string()));
    read.inspect_err(|why| {
        let key = String::from_utf8_lossy(&kv.key).into_owned();
        tracing::error!(key, why, "stored value left out");
    })
    .ok()
}
