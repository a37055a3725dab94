//! `ctl version`: which versions these are, and what is wrong with the server, if anything is.

use serde_json::{Value, json};

use crate::api::Api;
use crate::failure::Failure;
use crate::output::print;
use crate::output::yaml::yaml;
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
        Form::Yaml(_) => print::raw(yaml(&versions).as_bytes()),
        Form::Table(_) | Form::Name => {
            print::line(&format!("ctl     {}", text(&versions["client"]["version"])));
            let server = &versions["server"];
            if server.is_object() {
                let (version, cluster, store) = (&server["version"], &server["clusterUid"], &server["store"]);
                let of = format!("cluster {}, store {}", text(cluster), text(store));
                print::line(&format!("server  {}   ({of})", text(version)));
                troubles(&server["health"]).iter().for_each(|trouble| print::line(trouble));
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn server(api: impl FnOnce() -> Result<Api, Failure>) -> Result<Value, Failure> {
    let api = api()?;
    let found = api.client.version().await;
    let found = found.map_err(|error| api.failed("could not ask the server for its version", &error))?;
    let health = api.client.health().await;
    let health = health.map_err(|error| api.failed("could not ask the server for its health", &error))?;
    Ok(json!({
        "health": {"ready": health.ready, "writable": health.writable, "faults": health.faults},
        "version": found.version,
        "clusterUid": found.cluster_uid,
        "serverId": found.server_id,
        "store": found.store,
    }))
}

/// What a server cannot do just now, and why: a line each.
fn troubles(health: &Value) -> Vec<String> {
    let cannot = match (&health["ready"], &health["writable"]) {
        (Value::Bool(true), Value::Bool(true)) => return Vec::new(),
        (Value::Bool(true), _) => "takes no writes",
        _ => "answers no current reads and takes no writes",
    };
    let faults = health["faults"].as_array().map(Vec::as_slice).unwrap_or_default();
    let why = faults.iter().map(|fault| format!("        {}", text(fault)));
    std::iter::once(format!("        it {cannot}:")).chain(why).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_what_it_cannot_do_and_why() {
        let told = |ready, writable| {
            let health =
                json!({"ready": ready, "writable": writable, "faults": ["etcd is full; compact it"]});
            troubles(&health).join("\n")
        };
        assert_eq!(told(true, true), "");
        assert_eq!(told(true, false), "        it takes no writes:\n        etcd is full; compact it");
        assert!(told(false, false).contains("it answers no current reads and takes no writes:"));
    }
}
