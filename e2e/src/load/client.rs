//! A client: asks one thing after the other, notes what it asked and was told, and moves to another server when its
//! own is away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use berth_proto::v1 as wire;
use berth_proto::v1::write::Verb as WireVerb;
use serde_json::Value;
use tokio::time::sleep;

use super::Progress;
use super::wire::{Failure, Kind, Peer, Sure};
use crate::history::answers::{Asked, List, Operation, Page, Told, Verb, Write};
use crate::history::content::{Seen, version};
use crate::monotonic;

/// Waited after a failure that may pass.
const PAUSE: Duration = Duration::from_millis(100);

/// A client at work.
pub(super) struct Client {
    name: String,
    peers: Vec<Peer>,
    /// The one that it asks now.
    at: usize,
    /// Calls of that server since it went there.
    asked_here: usize,
    /// Where its objects live.
    pub(super) namespace: String,
    /// Operations so far, all of them noted.
    pub(super) log: Vec<Operation>,
    asked: u64,
    /// What it was last told of each object.
    pub(super) memory: BTreeMap<String, Value>,
    progress: Arc<Progress>,
}

/// A write that is to be asked for.
#[derive(Debug, Clone)]
pub(super) struct Deed {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) verb: Verb,
    pub(super) sent: Value,
    pub(super) marker: String,
    pub(super) version: Option<u64>,
    pub(super) uid: String,
}

/// Whether a call was answered as it was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was; for a get, that there is no such object is an answer too.
    Answered,
    /// It was refused, or broke.
    Failed,
}

/// Calls after which a client goes to the next server.
const STAYS: usize = 25;

/// Whether the writes of a batch happen together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Together {
    /// Each on its own.
    Each,
    /// All or none.
    All,
}

impl Client {
    /// A client that begins at the server of number `at`.
    pub(super) fn new(
        name: &str,
        peers: Vec<Peer>,
        at: usize,
        namespace: &str,
        progress: &Arc<Progress>,
    ) -> Self {
        Self {
            name: name.into(),
            at: at % peers.len(),
            peers,
            namespace: namespace.into(),
            log: Vec::new(),
            asked: 0,
            asked_here: 0,
            memory: BTreeMap::new(),
            progress: progress.clone(),
        }
    }

    /// What the next write leaves in its object; a new one each time.
    pub(super) fn marker(&mut self) -> String {
        self.asked += 1;
        format!("{}-{}", self.name, self.asked)
    }

    /// The key of an object of this client.
    pub(super) fn key(&self, kind: Kind, name: &str) -> String {
        format!("{}{}/{name}", kind.folder, self.namespace)
    }

    /// Asks for one write.
    pub(super) async fn write(&mut self, deed: Deed) {
        let invoked = monotonic::now();
        let peer = self.peers[self.at].clone();
        let answer = peer.write(wire_verb(deed.verb), self.wire(&deed)).await;
        self.learn(&deed, &answer);
        let failed = answer.as_ref().err().cloned();
        self.note(Asked::Write(self.record(&deed, None)), invoked, told(answer));
        self.rest_after(failed.as_ref()).await;
    }

    /// Asks for many writes in one call.
    pub(super) async fn batch(&mut self, deeds: Vec<Deed>, together: Together) -> Outcome {
        let invoked = monotonic::now();
        let peer = self.peers[self.at].clone();
        let writes = deeds.iter().map(|deed| self.wire(deed)).collect();
        let answer = peer.batch(wire::BatchRequest { writes, atomic: together == Together::All }).await;
        let failed = answer.as_ref().err().cloned();
        let outcomes = match answer {
            Ok(outcomes) if outcomes.len() == deeds.len() => outcomes,
            Ok(_) => vec![Err(Failure::short()); deeds.len()],
            Err(failure) => vec![Err(failure); deeds.len()],
        };
        self.asked += 1;
        let call = (together == Together::All).then_some(self.asked);
        let failures = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        for (deed, outcome) in deeds.iter().zip(outcomes) {
            self.learn(deed, &outcome);
            self.note(Asked::Write(self.record(deed, call)), invoked, told(outcome));
        }
        self.rest_after(failed.as_ref()).await;
        if failures == 0 { Outcome::Answered } else { Outcome::Failed }
    }

    /// Asks for one object.
    pub(super) async fn get(&mut self, kind: Kind, name: &str) -> Outcome {
        let invoked = monotonic::now();
        let key = self.key(kind, name);
        let peer = self.peers[self.at].clone();
        let answer = peer.get(self.object_key(kind, name)).await;
        match &answer {
            Ok(object) => self.memory.insert(key.clone(), object.clone()),
            Err(failure) if failure.reason == "NotFound" => self.memory.remove(&key),
            Err(_) => None,
        };
        let failed = answer.as_ref().err().cloned();
        self.note(Asked::Get(key), invoked, told(answer));
        self.rest_after(failed.as_ref()).await;
        if failed.is_none_or(|why| why.reason == "NotFound") { Outcome::Answered } else { Outcome::Failed }
    }

    /// Asks for all pages of a list; what they show.
    pub(super) async fn list(&mut self, kind: Kind, list: List) -> Vec<Seen> {
        let invoked = monotonic::now();
        let mut pages: Vec<Page> = Vec::new();
        let mut request = wire::ListRequest {
            kind: Some(kind.wire()),
            namespace: list.namespace.clone(),
            label_selector: list.selector.to_string(),
            limit: u32::try_from(list.limit).unwrap_or(u32::MAX),
            ..wire::ListRequest::default()
        };
        let mut renewed = false;
        let failed = loop {
            let peer = self.peers[self.at].clone();
            match peer.list(request.clone()).await {
                Ok(answer) => {
                    request.continue_token = answer.continue_token.clone();
                    pages.push(page(kind, &answer, renewed));
                    renewed = false;
                }
                Err(failure) if failure.reason == "Expired" && !failure.goes_on.is_empty() => {
                    request.continue_token = failure.goes_on;
                    renewed = true;
                }
                Err(failure) => break Some(failure),
            }
            if request.continue_token.is_empty() {
                break None;
            }
        };
        let why = failed.as_ref().map(ToString::to_string);
        let shown = pages.iter().flat_map(|page| page.items.clone()).collect();
        self.note(Asked::List(list), invoked, Told::Pages(pages, why));
        self.rest_after(failed.as_ref()).await;
        shown
    }

    fn wire(&self, deed: &Deed) -> wire::Write {
        let json = if deed.verb == Verb::Delete { Vec::new() } else { deed.sent.to_string().into_bytes() };
        wire::Write {
            verb: wire_verb(deed.verb).into(),
            key: Some(self.object_key(deed.kind, &deed.name)),
            json: json.into(),
            uid: deed.uid.clone(),
            resource_version: deed.version.map(|version| version.to_string()).unwrap_or_default(),
            field_manager: self.name.clone(),
            force: deed.verb == Verb::Apply,
            ..wire::Write::default()
        }
    }

    fn object_key(&self, kind: Kind, name: &str) -> wire::ObjectKey {
        wire::ObjectKey { kind: Some(kind.wire()), namespace: self.namespace.clone(), name: name.into() }
    }

    fn record(&self, deed: &Deed, atomic: Option<u64>) -> Write {
        Write {
            verb: deed.verb,
            key: self.key(deed.kind, &deed.name),
            sent: deed.sent.clone(),
            marker: deed.marker.clone(),
            version: deed.version,
            uid: deed.uid.clone(),
            atomic,
        }
    }

    /// Remembers what an answer shows.
    fn learn(&mut self, deed: &Deed, answer: &Result<Value, Failure>) {
        let key = self.key(deed.kind, &deed.name);
        match answer {
            Ok(object) if deed.verb != Verb::Delete => self.memory.insert(key, object.clone()),
            // Gone, or not what it was thought to be.
            Ok(_) | Err(_) => self.memory.remove(&key),
        };
    }

    fn note(&mut self, asked: Asked, invoked: u64, told: Told) {
        self.asked += 1;
        self.log.push(Operation {
            client: self.name.clone(),
            number: self.asked,
            server: self.peers[self.at].name.clone(),
            asked,
            invoked,
            returned: monotonic::now(),
            told,
        });
    }

    /// Moves to the next server when this one did not answer, and after [`STAYS`] calls in any case. Otherwise all clients
    /// may end up on one server, and no call meets the death of another.
    async fn rest_after(&mut self, failed: Option<&Failure>) {
        let away = failed.is_some_and(Failure::may_pass);
        let counted = if away { &self.progress.missed } else { &self.progress.answered };
        counted.fetch_add(1, Ordering::Relaxed);
        self.asked_here += 1;
        if away || self.asked_here == STAYS {
            self.at = (self.at + 1) % self.peers.len();
            self.asked_here = 0;
        }
        if away {
            sleep(PAUSE).await;
        }
    }
}

impl Deed {
    /// What is remembered of its object must still be so.
    pub(super) fn on(mut self, object: &Value) -> Self {
        self.version = version(object);
        self
    }

    /// It must still be the same object, in whatever version.
    pub(super) fn on_this(mut self, object: &Value) -> Self {
        self.uid = object["metadata"]["uid"].as_str().unwrap_or_default().into();
        self
    }
}

fn told(answer: Result<Value, Failure>) -> Told {
    match answer {
        Ok(object) => Told::Object(object),
        Err(failure) => match failure.sure {
            Sure::NotDone => Told::Refused(failure.reason, failure.message),
            Sure::Unknown => Told::Unknown(failure.to_string()),
        },
    }
}

fn page(kind: Kind, answer: &wire::ListResponse, renewed: bool) -> Page {
    // What cannot be read is nothing that was ever stored: the checker will not find it.
    let unreadable = || Seen { key: String::new(), version: 0, hash: 0 };
    Page {
        version: answer.resource_version.parse().unwrap_or(0),
        items: answer
            .items
            .iter()
            .map(|json| Seen::read(kind.folder, json).unwrap_or_else(unreadable))
            .collect(),
        more: !answer.continue_token.is_empty(),
        renewed,
    }
}

fn wire_verb(verb: Verb) -> WireVerb {
    match verb {
        Verb::Create => WireVerb::Create,
        Verb::Update => WireVerb::Update,
        Verb::Patch => WireVerb::Patch,
        Verb::PatchStatus => WireVerb::PatchStatus,
        Verb::Apply => WireVerb::Apply,
        Verb::Delete => WireVerb::Delete,
    }
}
