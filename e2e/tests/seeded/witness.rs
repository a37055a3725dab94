//! Clients that write down what they asked and were told: Apps, at one server, nothing asked twice.

use berth_e2e::history::answers::{Asked, List, MARKER, Operation, Page, Told, Verb, Write};
use berth_e2e::history::content::{Seen, version};
use berth_e2e::history::selector::Selector;
use berth_e2e::history::watched::{self, End, Message, Stream, What};
use berth_e2e::load::{APP, Failure, Peer, Sure};
use berth_e2e::monotonic;
use berth_proto::v1;
use berth_proto::v1::watch_event::Type;
use berth_proto::v1::write::Verb as WireVerb;
use serde_json::{Value, json};
use tonic::Streaming;

/// A client that writes and reads, one thing after another.
pub struct Recorder {
    name: &'static str,
    server: Peer,
    /// What it did.
    pub operations: Vec<Operation>,
}

impl Recorder {
    /// A client of this name.
    pub fn new(name: &'static str, server: &Peer) -> Self {
        Self { name, server: server.clone(), operations: Vec::new() }
    }

    /// Makes an App with this label.
    pub async fn create(&mut self, name: &str, tier: &str) {
        self.write(Verb::Create, WireVerb::Create, name, tier).await;
    }

    /// Puts another label on an App.
    pub async fn relabel(&mut self, name: &str, tier: &str) {
        self.write(Verb::Patch, WireVerb::Patch, name, tier).await;
    }

    async fn write(&mut self, verb: Verb, on_the_wire: WireVerb, name: &str, tier: &str) {
        let write = self.app(verb, name, tier);
        let invoked = monotonic::now();
        let told = self.server.write(on_the_wire, self.wire(&write)).await;
        self.wrote(write, invoked, told);
    }

    /// Makes some Apps in one revision.
    pub async fn create_together(&mut self, names: &[&str], tier: &str) {
        let all: Vec<Write> = names.iter().map(|name| self.app(Verb::Create, name, tier)).collect();
        let create = |write| v1::Write { verb: WireVerb::Create.into(), ..self.wire(write) };
        let writes = all.iter().map(create).collect();
        let invoked = monotonic::now();
        let outcomes = self.server.batch(v1::BatchRequest { writes, atomic: true }).await.unwrap();
        for (write, told) in all.into_iter().zip(outcomes) {
            self.wrote(write, invoked, told);
        }
    }

    /// Lists all Apps.
    pub async fn list(&mut self) {
        let invoked = monotonic::now();
        let request = v1::ListRequest { kind: Some(APP.wire()), ..v1::ListRequest::default() };
        let told = match self.server.list(request).await {
            Ok(list) => Told::Pages(vec![page(&list)], None),
            Err(why) => Told::Pages(Vec::new(), Some(why.to_string())),
        };
        let folder = APP.folder.into();
        let list = List { folder, namespace: String::new(), selector: Selector::default(), limit: 0 };
        self.note(Asked::List(list), invoked, told);
    }

    /// The write of an App, which carries the number of its operation.
    fn app(&self, verb: Verb, name: &str, tier: &str) -> Write {
        let marker = format!("{}#{}-{name}", self.name, self.operations.len());
        let meta = json!({
            "namespace": "default", "name": name, "labels": { "tier": tier }, "annotations": { MARKER: marker },
        });
        let containers = [json!({ "name": "main", "command": ["/bin/true"] })];
        let sent = match verb {
            Verb::Create => {
                json!({ "metadata": meta, "spec": { "template": { "spec": { "containers": containers } } } })
            }
            _ => json!({ "metadata": meta }),
        };
        let key = format!("{}default/{name}", APP.folder);
        Write { verb, key, sent, marker, version: None, uid: String::new(), atomic: None }
    }

    fn wire(&self, write: &Write) -> v1::Write {
        let name = write.key.rsplit('/').next().unwrap_or_default().into();
        let key = v1::ObjectKey { kind: Some(APP.wire()), namespace: "default".into(), name };
        let json = write.sent.to_string().into_bytes().into();
        v1::Write { key: Some(key), json, field_manager: self.name.into(), ..v1::Write::default() }
    }

    fn wrote(&mut self, write: Write, invoked: u64, told: Result<Value, Failure>) {
        let told = match told {
            Ok(object) => Told::Object(object),
            Err(why) if why.sure == Sure::Unknown => Told::Unknown(why.to_string()),
            Err(why) => Told::Refused(why.reason, why.message),
        };
        self.note(Asked::Write(write), invoked, told);
    }

    fn note(&mut self, asked: Asked, invoked: u64, told: Told) {
        self.operations.push(Operation {
            client: self.name.into(),
            number: self.operations.len() as u64,
            server: self.server.name.clone(),
            asked,
            invoked,
            returned: monotonic::now(),
            told,
        });
    }
}

fn page(list: &v1::ListResponse) -> Page {
    let items = list.items.iter().map(|item| Seen::read(APP.folder, item).unwrap());
    Page {
        version: list.resource_version.parse().unwrap(),
        items: items.collect(),
        more: false,
        renewed: false,
    }
}

/// One stream of a watcher.
pub struct Watcher {
    stream: Stream,
    /// None when the server refused it.
    messages: Option<Streaming<v1::WatchResponse>>,
}

impl Watcher {
    /// Asks for what happens to Apps with these labels after a version; without one, for the present ones first.
    pub async fn open(server: &Peer, name: &str, selector: Selector, after: Option<u64>) -> Self {
        let request = v1::WatchRequest {
            kind: Some(APP.wire()),
            label_selector: selector.to_string(),
            resource_version: after.map_or(String::new(), |version| version.to_string()),
            ..v1::WatchRequest::default()
        };
        let stream = Stream {
            name: name.into(),
            resumes: None,
            server: server.name.clone(),
            folder: APP.folder.into(),
            namespace: String::new(),
            selector,
            after,
            asked: monotonic::now(),
            got: Vec::new(),
            ended: 0,
            end: End::Left,
        };
        match server.watch(request).await {
            Ok(messages) => Self { stream, messages: Some(messages) },
            Err(why) => {
                Self { stream: Stream { end: End::Refused(why.to_string()), ..stream }, messages: None }
            }
        }
    }

    /// Listens until everything up to a version was told, or the stream ends.
    pub async fn listen(&mut self, until: u64) {
        let Some(messages) = &mut self.messages else { return };
        while self.stream.got.last().is_none_or(|last| last.version < until) && self.stream.end == End::Left {
            match messages.message().await {
                Ok(Some(response)) => self.stream.got.push(message(&response)),
                Ok(None) => self.stream.end = End::Silent,
                Err(why) => self.stream.end = End::Expired(why.message().into()),
            }
        }
    }

    /// What it was told; it had the time to hear of everything up to a version, if one is named.
    pub fn done(mut self, heard: Option<u64>) -> Stream {
        if let (Some(version), End::Left) = (heard, &self.stream.end) {
            self.stream.end = End::Over(version);
        }
        self.stream.ended = monotonic::now();
        self.stream
    }
}

fn message(response: &v1::WatchResponse) -> Message {
    let events = response.events.iter().map(|event| watched::Told {
        what: match event.r#type() {
            Type::Added => What::Added,
            Type::Modified => What::Modified,
            Type::Deleted => What::Deleted,
        },
        seen: Seen::read(APP.folder, &event.json).unwrap(),
    });
    Message {
        at: monotonic::now(),
        version: response.resource_version.parse().unwrap_or(0),
        initial_end: response.initial_end,
        events: events.collect(),
    }
}

/// The version of the last write that a client was told of.
pub fn last_version(recorder: &Recorder) -> u64 {
    let told = recorder.operations.iter().rev().find_map(|operation| match &operation.told {
        Told::Object(object) => version(object),
        Told::Pages(..) | Told::Refused(..) | Told::Unknown(_) => None,
    });
    told.unwrap_or_else(|| panic!("no write was answered: {:?}", recorder.operations))
}
