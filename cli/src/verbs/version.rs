//! `ctl version`.

use serde_json::{Value, json};

use crate::api::Api;
use crate::failure::Failure;
use crate::output::print;
use crate::request::{Form, Version, VersionOf};

/// Shows the versions of ctl and of the server.
pub async fn run(api: impl FnOnce() -> Result<Api, Failure>, task: Version) -> Result<(), Failure> {
    let mut versions = json!({"client": {"version": env!("CARGO_PKG_VERSION")}});
    let mut failed = None;
    if task.of == VersionOf::Both {
        match server(api).await {
            Ok(server) => versions["server"] = server,
            Err(failure) => failed = Some(failure),
        }
    }
    match task.form {
        Form::Json(_) => print::line(&serde_json::to_string_pretty(&versions).expect("JSON can be written")),
        Form::Yaml(_) => print::raw(serde_yaml::to_string(&versions).expect("JSON is YAML").as_bytes()),
        Form::Table(_) | Form::Name => {
            print::line(&format!("ctl     {}", text(&versions["client"]["version"])));
            let server = &versions["server"];
            if server.is_object() {
                let (version, cluster, store) = (&server["version"], &server["clusterUid"], &server["store"]);
                let of = format!("cluster {}, store {}", text(cluster), text(store));
                print::line(&format!("server  {}   ({of})", text(version)));
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn server(api: impl FnOnce() -> Result<Api, Failure>) -> Result<Value, Failure> {
    let api = api()?;
    let found = api.client.version().await;
    let found = found.map_err(|error| api.failed("could not ask the server for its version", &error))?;
    Ok(json!({
        "version": found.version,
        "clusterUid": found.cluster_uid,
        "serverId": found.server_id,
        "store": found.store,
    }))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}
