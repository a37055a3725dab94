//! Which objects are meant.

use berth_client::{KindName, ObjectKey, Query};
use berth_types::kinds::Kind;
use berth_types::name;
use berth_types::selector::Selector;

use crate::failure::{Exit, Failure};

/// Objects by name, or all of a kind.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Each kind with perhaps a name.
    pub targets: Vec<Target>,
    /// In which Namespace.
    pub scope: Scope,
    /// Only those with these labels.
    pub labels: String,
    /// Only those with these fields.
    pub fields: String,
}

/// One object, or all of a kind.
#[derive(Clone)]
pub struct Target {
    /// The kind.
    pub kind: &'static Kind,
    /// The object; none for all.
    pub name: Option<String>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.traits.singular, self.name.as_deref().unwrap_or("*"))
    }
}

/// In which Namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// In this one.
    One(String),
    /// In all.
    All,
}

impl Scope {
    /// What `-n` and `-A` mean.
    pub fn of(namespace: Option<&str>, all: bool) -> Result<Self, Failure> {
        match namespace {
            _ if all => Ok(Self::All),
            Some(name) => match name::dns_label(name) {
                Ok(()) => Ok(Self::One(name.into())),
                Err(rule) => Err(Failure::new(Exit::Usage, format!("bad namespace `{name}`: {rule}"))),
            },
            None => Ok(Self::One("default".into())),
        }
    }
}

impl Selection {
    /// Reads `KIND NAME...`, `KIND,KIND` or `KIND/NAME...`.
    pub fn read(words: &[String], scope: Scope) -> Result<Self, Failure> {
        let targets = match words.split_first() {
            None => Vec::new(),
            Some((first, _)) if first.contains('/') => {
                words.iter().map(|word| pair(word)).collect::<Result<_, _>>()?
            }
            Some((kinds, names)) => listed(kinds, names)?,
        };
        Ok(Self { targets, scope, labels: String::new(), fields: String::new() })
    }

    /// The same for verbs that know Apps alone; a bare word is a name then.
    pub fn read_apps(words: &[String], scope: Scope) -> Result<Self, Failure> {
        let selection = Self::read_with_default(words, scope, "app")?;
        match selection.targets.iter().find(|target| target.kind.kind != "App") {
            None => Ok(selection),
            Some(target) => {
                let message = format!(
                    "a {} has no rollout and no replicas; only an app has",
                    target.kind.traits.singular
                );
                Err(Failure::new(Exit::Usage, message))
            }
        }
    }

    /// The same for verbs that know Tasks, and Apps for theirs; a bare word is the name of a Task.
    pub fn read_tasks(words: &[String], scope: Scope) -> Result<Self, Failure> {
        let selection = Self::read_with_default(words, scope, "task")?;
        match selection.targets.iter().find(|target| !matches!(target.kind.kind, "App" | "Task")) {
            None => Ok(selection),
            Some(target) => {
                let message = format!("a {} writes no log; a task does", target.kind.traits.singular);
                Err(Failure::new(Exit::Usage, message))
            }
        }
    }

    /// The same, only with these labels.
    pub fn labelled(mut self, labels: String) -> Result<Self, Failure> {
        Selector::parse(&labels).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        if !labels.is_empty() && self.targets.iter().any(|target| target.name.is_some()) {
            return Err(Failure::new(Exit::Usage, "give names or -l, not both"));
        }
        self.labels = labels;
        Ok(self)
    }

    /// The same, only with these fields.
    pub fn with_fields(mut self, fields: String) -> Self {
        self.fields = fields;
        self
    }

    /// The same, refused if it means all objects of a kind.
    pub fn named_or_labelled(self) -> Result<Self, Failure> {
        match self.targets.iter().find(|target| target.name.is_none() && self.labels.is_empty()) {
            None => Ok(self),
            Some(target) => {
                let kind = target.kind.traits.singular;
                Err(Failure::new(Exit::Usage, format!("which {kind}?")).hint(format!(
                    "name it, as {kind}/NAME, or choose by label: {} -l KEY=VALUE",
                    target.kind.plural
                )))
            }
        }
    }

    /// What to ask a server for.
    pub fn query(&self, target: &Target) -> Query {
        let mut query = Query::new(kind_name(target.kind)).in_namespace(self.namespace_of(target.kind));
        let by_name = target.name.as_ref().map(|name| format!("metadata.name={name}"));
        let fields: Vec<&str> = by_name.iter().map(String::as_str).chain([self.fields.as_str()]).collect();
        let fields: Vec<&str> = fields.into_iter().filter(|field| !field.is_empty()).collect();
        query = query.labels(self.labels.clone());
        query.fields(fields.join(","))
    }

    /// The key of the object `name` of a kind here.
    pub fn key(&self, kind: &Kind, name: &str) -> ObjectKey {
        ObjectKey::new(kind_name(kind), &self.namespace_of(kind), name)
    }

    /// The Namespace for a kind; empty for all, and for kinds without.
    pub fn namespace_of(&self, kind: &Kind) -> String {
        match &self.scope {
            Scope::One(name) if kind.namespaced => name.clone(),
            Scope::One(_) | Scope::All => String::new(),
        }
    }

    fn read_with_default(words: &[String], scope: Scope, kind: &str) -> Result<Self, Failure> {
        let bare = words.first().is_some_and(|word| !word.contains('/') && Kind::named(word).is_err());
        if !bare {
            return Self::read(words, scope)?.named_or_labelled();
        }
        let words: Vec<String> = words.iter().map(|word| format!("{kind}/{word}")).collect();
        Self::read(&words, scope)
    }
}

/// The kind as the client names it.
pub fn kind_name(kind: &Kind) -> KindName {
    KindName::new(kind.api_version, kind.kind)
}

fn pair(word: &str) -> Result<Target, Failure> {
    let Some((kind, name)) = word.split_once('/') else {
        let message = format!("`{word}` stands among KIND/NAME words and is none");
        return Err(Failure::new(Exit::Usage, message).hint("write KIND NAME NAME, or KIND/NAME KIND/NAME"));
    };
    if name.is_empty() {
        return Err(Failure::new(Exit::Usage, format!("`{word}` has no name after the slash")));
    }
    let kind = named(kind)?;
    if name.contains('/') {
        let message = format!("`{word}` has more than a kind and a name");
        return Err(Failure::new(Exit::Usage, message).hint("write KIND/NAME, and -n for the namespace"));
    }
    Ok(Target { kind, name: Some(name.into()) })
}

fn listed(kinds: &str, names: &[String]) -> Result<Vec<Target>, Failure> {
    if let Some(name) = names.iter().find(|name| name.contains('/')) {
        let message = format!("a name has no slash: `{name}`");
        return Err(Failure::new(Exit::Usage, message).hint("write KIND NAME NAME, or KIND/NAME KIND/NAME"));
    }
    let mut targets = Vec::new();
    for kind in kinds.split(',').filter(|kind| !kind.is_empty()) {
        let kind = named(kind)?;
        match names {
            [] => targets.push(Target { kind, name: None }),
            names => targets.extend(names.iter().map(|name| Target { kind, name: Some(name.clone()) })),
        }
    }
    Ok(targets)
}

fn named(kind: &str) -> Result<&'static Kind, Failure> {
    Kind::named(kind).map_err(|error| Failure::new(Exit::Usage, error.to_string()))
}
