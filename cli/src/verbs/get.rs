//! `ctl get`: objects in a table, or whole.

use std::collections::BTreeMap;

use berth_client::{Change, Error, Update, Watch};
use berth_types::kinds::Kind;
use berth_types::{Clock, SystemClock};
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};

use crate::api::Api;
use crate::failure::{Exit, Failure};
use crate::manifest::visible;
use crate::output::columns;
use crate::output::print;
use crate::output::table::Table;
use crate::output::yaml::yaml;
use crate::request::{Follow, Form, Get, Look, Scope, Selection, Shown, Target};

/// Shows what is asked for.
pub async fn run(api: &Api, task: &Get) -> Result<(), Failure> {
    match task.follow {
        Follow::Once => once(api, task).await,
        Follow::Changes => follow(api, task).await,
    }
}

async fn once(api: &Api, task: &Get) -> Result<(), Failure> {
    let mut kinds: Vec<(&'static Kind, Vec<Value>)> = Vec::new();
    let mut failures = Vec::new();
    for target in &task.selection.targets {
        let objects = match fetch(api, &task.selection, target).await {
            Ok(objects) => objects,
            Err(failure) if failure.exit == Exit::Failed && target.name.is_some() => {
                failures.push(failure);
                continue;
            }
            Err(failure) => return Err(failure),
        };
        match kinds.last_mut().filter(|(kind, _)| kind.kind == target.kind.kind) {
            Some((_, found)) => found.extend(objects),
            None => kinds.push((target.kind, objects)),
        }
    }
    show(task, &kinds);
    let last = failures.pop();
    failures.iter().for_each(|failure| print::message(&failure.to_string()));
    last.map_or(Ok(()), Err)
}

/// The objects of one target.
pub async fn fetch(api: &Api, selection: &Selection, target: &Target) -> Result<Vec<Value>, Failure> {
    let kind = target.kind;
    let failed = |what: &str, error: &Error| match error {
        Error::NotFound(_) if target.name.is_some() => {
            Failure::new(Exit::Failed, format!("{what} not found"))
        }
        error => api.failed(&format!("could not get {what}"), error),
    };
    match &target.name {
        Some(name) => {
            if selection.scope == Scope::All && kind.namespaced {
                let message = format!("in which namespace is {}/{name}?", kind.traits.singular);
                return Err(Failure::new(Exit::Usage, message).hint("give -n NAMESPACE in place of -A"));
            }
            let object = api.client.get(&selection.key(kind, name)).await;
            let object =
                object.map_err(|error| failed(&format!("{}/{name}", kind.traits.singular), &error))?;
            Ok(vec![object])
        }
        None => {
            let listed = api.client.list(&selection.query(target)).await;
            let mut objects = listed.map_err(|error| failed(kind.plural, &error))?.items;
            if kind.kind == "Event" {
                // Timestamps of one form sort as text; what happened last stands last.
                objects.sort_by_cached_key(|event| event["lastTimestamp"].as_str().map(str::to_owned));
            }
            Ok(objects)
        }
    }
}

fn show(task: &Get, kinds: &[(&'static Kind, Vec<Value>)]) {
    let all = || kinds.iter().flat_map(|(_, objects)| objects);
    match task.form {
        Form::Table(look) => tables(task, look, kinds),
        Form::Name => kinds.iter().for_each(|(kind, objects)| {
            objects
                .iter()
                .for_each(|object| print::line(&format!("{}/{}", kind.traits.singular, name(object))));
        }),
        Form::Json(_) | Form::Yaml(_) => {
            let single = matches!(task.selection.targets.as_slice(), [Target { name: Some(_), .. }]);
            let mut objects: Vec<Value> = all().cloned().map(|object| tidy(object, task.form)).collect();
            match (single, objects.pop()) {
                (true, None) => {}
                (true, Some(object)) => whole(&object, task.form),
                (false, last) => {
                    objects.extend(last);
                    whole(&json!({"apiVersion": "v1", "kind": "List", "items": objects}), task.form);
                }
            }
        }
    }
}

fn tables(task: &Get, look: Look, kinds: &[(&'static Kind, Vec<Value>)]) {
    let full: Vec<_> = kinds.iter().filter(|(_, objects)| !objects.is_empty()).collect();
    if full.is_empty() && task.selection.targets.iter().all(|target| target.name.is_none()) {
        print::note(&format!("no {} found{}", words(&task.selection), place(&task.selection)));
    }
    for (n, (kind, objects)) in full.iter().enumerate() {
        if n > 0 {
            print::line("");
        }
        let mut view = View::new(kind, task, look);
        view.print(objects);
    }
}

/// A kind's table on the screen, which a watch goes on with.
struct View<'a> {
    kind: &'static Kind,
    task: &'a Get,
    look: Look,
    table: Table,
    begun: bool,
}

impl<'a> View<'a> {
    fn new(kind: &'static Kind, task: &'a Get, look: Look) -> Self {
        let named = columns::shows_name(kind.kind, look.columns);
        let mut heads: Vec<String> = named.then(|| "NAME".into()).into_iter().collect();
        if task.selection.scope == Scope::All && kind.namespaced {
            heads.insert(0, "NAMESPACE".into());
        }
        heads.extend(columns::heads(kind.kind, look.columns));
        if look.labels == Shown::Yes {
            heads.push("LABELS".into());
        }
        Self { kind, task, look, table: Table::new(heads), begun: false }
    }

    fn print(&mut self, objects: &[Value]) {
        let rows = objects.iter().map(|object| self.row(object)).collect();
        self.print_rows(rows);
    }

    /// Shows objects that are gone; as they were last they would look as if they still were.
    fn print_gone(&mut self, objects: &[Value]) {
        let status = self.table.column("STATUS");
        let row = |object: &Value| {
            let mut row = self.row(object);
            if let Some(cell) = status.and_then(|at| row.get_mut(at)) {
                *cell = "Deleted".into();
            }
            row
        };
        let rows = objects.iter().map(row).collect();
        self.print_rows(rows);
    }

    fn print_rows(&mut self, rows: Vec<Vec<String>>) {
        if rows.is_empty() {
            return;
        }
        self.table.fit(&rows);
        if !self.begun && self.look.heads == Shown::Yes {
            print::line(&self.table.head());
        }
        self.begun = true;
        rows.iter().for_each(|row| print::line(&self.table.line(row)));
    }

    fn row(&self, object: &Value) -> Vec<String> {
        let own = name(object);
        let several = self.task.selection.targets.iter().any(|target| target.kind.kind != self.kind.kind);
        let named = columns::shows_name(self.kind.kind, self.look.columns);
        let own = if several { format!("{}/{own}", self.kind.traits.singular) } else { own.to_owned() };
        let mut row: Vec<String> = named.then_some(own).into_iter().collect();
        if self.task.selection.scope == Scope::All && self.kind.namespaced {
            row.insert(0, object["metadata"]["namespace"].as_str().unwrap_or_default().into());
        }
        let cells = columns::cells(self.kind.kind, object, self.look.columns, SystemClock.now());
        row.extend(cells.iter().map(|cell| visible(cell)));
        if self.look.labels == Shown::Yes {
            row.push(labels(object));
        }
        row
    }
}

/// Shows what is there, then each change.
async fn follow(api: &Api, task: &Get) -> Result<(), Failure> {
    let mut views = Vec::new();
    let mut feeds = Vec::new();
    for (n, target) in task.selection.targets.iter().enumerate() {
        let look = match task.form {
            Form::Table(look) => look,
            Form::Json(_) | Form::Yaml(_) | Form::Name => {
                Look { columns: crate::request::Columns::Usual, heads: Shown::No, labels: Shown::No }
            }
        };
        views.push((View::new(target.kind, task, look), Seen::default()));
        let watch = api.client.watch(&task.selection.query(target));
        feeds.push(
            stream::unfold(watch, move |mut watch: Watch<Value>| async move {
                let update = watch.next().await;
                Some(((n, update), watch))
            })
            .boxed_local(),
        );
    }
    let mut feeds = stream::select_all(feeds);
    let mut silence = Box::pin(api.fallen_silent_or_back());
    loop {
        let (n, update) = tokio::select! {
            Some(update) = feeds.next() => update,
            news = &mut silence => {
                print::note(&news);
                silence = Box::pin(api.fallen_silent_or_back());
                continue;
            }
            else => return Ok(()),
        };
        let update = update.map_err(|error| api.failed("could not watch", &error))?;
        let (view, seen) = &mut views[n];
        let (objects, gone) = seen.take(update);
        match task.form {
            Form::Table(_) => {
                view.print(&objects);
                view.print_gone(&gone);
            }
            Form::Name => objects.iter().chain(&gone).for_each(|object| {
                print::line(&format!("{}/{}", view.kind.traits.singular, name(object)));
            }),
            Form::Json(_) | Form::Yaml(_) => {
                for object in objects.into_iter().chain(gone) {
                    if matches!(task.form, Form::Yaml(_)) {
                        print::line("---");
                    }
                    whole(&tidy(object, task.form), task.form);
                }
            }
        }
        print::settled().await;
    }
}

/// What a watch showed already.
#[derive(Default)]
struct Seen(BTreeMap<(String, String), String>);

impl Seen {
    /// The objects of an update that are news, and those that are gone.
    fn take(&mut self, update: Update<Value>) -> (Vec<Value>, Vec<Value>) {
        let (mut there, mut gone) = (Vec::new(), Vec::new());
        match update {
            Update::Initial { objects, .. } | Update::Restarted { objects, .. } => there = objects,
            Update::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        Change::Added(object) | Change::Modified(object) => there.push(object),
                        Change::Deleted(object) => gone.push(object),
                    }
                }
            }
            Update::Bookmark { .. } => {}
        }
        there.retain(|object| self.news(object));
        (there, gone)
    }

    fn news(&mut self, object: &Value) -> bool {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let version = text("resourceVersion");
        self.0.insert((text("namespace"), text("name")), version.clone()) != Some(version)
    }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn labels(object: &Value) -> String {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    let labels: Vec<String> =
        labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    if labels.is_empty() { "-".into() } else { labels.join(",") }
}

/// An object without what only machines read, unless asked for.
fn tidy(mut object: Value, form: Form) -> Value {
    let hidden = matches!(form, Form::Json(Shown::No) | Form::Yaml(Shown::No));
    if let Some(metadata) = object["metadata"].as_object_mut().filter(|_| hidden) {
        metadata.remove("managedFields");
    }
    object
}

fn whole(object: &Value, form: Form) {
    let text = match form {
        Form::Yaml(_) => Ok(yaml(object)),
        Form::Json(_) | Form::Table(_) | Form::Name => {
            serde_json::to_string_pretty(object).map(|text| text + "\n").map_err(|error| error.to_string())
        }
    };
    print::raw(text.expect("JSON values can be written").as_bytes());
}

fn words(selection: &Selection) -> String {
    let kinds: Vec<&str> = selection.targets.iter().map(|target| target.kind.plural).collect();
    kinds.join(", ")
}

fn place(selection: &Selection) -> String {
    match &selection.scope {
        Scope::One(namespace) if selection.targets.iter().any(|target| target.kind.namespaced) => {
            format!(" in namespace {namespace}")
        }
        Scope::One(_) | Scope::All => String::new(),
    }
}
