//! The documents of manifests: what they say, and where they say it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::rc::Rc;

use berth_types::Fault;
use berth_types::fault::Rule;
use berth_types::kinds::Kind;
use berth_types::status::Cause;
use serde_json::Value;

use super::check;
use super::marks::{Found, Mark, Place, Style};
use super::parse::{Malformed, parse};
use super::source::{self, Input, Source};
use super::trouble::Trouble;
use super::values;

/// Beyond this many mistakes nobody reads on.
const MOST_SHOWN: usize = 50;

/// One object of a manifest.
pub struct Document {
    /// Its kind.
    pub kind: &'static Kind,
    /// What it says.
    pub value: Value,
    /// Where it says it.
    pub origin: Origin,
}

/// Where an object of a manifest stands.
#[derive(Debug, Clone)]
pub struct Origin {
    source: Rc<Source>,
    marks: Rc<Mark>,
    /// Its place in a `List`.
    item: Option<usize>,
    /// As `document 2`; empty when the file has one only.
    label: String,
}

/// What was read from all inputs.
#[derive(Default)]
pub struct Reading {
    /// Objects without a mistake.
    pub documents: Vec<Document>,
    troubles: Vec<Trouble>,
    bad: usize,
}

/// Reads every document of every input and finds every mistake that can be found without a server.
pub fn read(inputs: &[Input]) -> Reading {
    let (sources, unreadable) = source::read(inputs);
    let mut reading = Reading { bad: unreadable.len(), troubles: unreadable, ..Reading::default() };
    for source in sources {
        let chunks = source.documents();
        for (n, (first, text)) in chunks.iter().enumerate() {
            let label = if chunks.len() > 1 { format!("document {}", n + 1) } else { String::new() };
            reading.take(&source, *first, text, &label);
        }
    }
    check::twice(&mut reading);
    reading
}

impl Reading {
    /// Every mistake and how many there are, if there is any; `outcome` says what was done about it.
    pub fn report(&self, outcome: &str) -> Option<String> {
        let total = self.bad + self.documents.len();
        (!self.troubles.is_empty()).then(|| report(&self.troubles, self.bad, total, outcome))
    }

    /// Takes mistakes of one of the documents in.
    pub fn reject(&mut self, mut troubles: Vec<Trouble>) {
        self.bad += 1;
        troubles.sort_by_key(Trouble::place);
        self.troubles.extend(troubles);
    }

    fn take(&mut self, source: &Rc<Source>, first: usize, text: &str, label: &str) {
        let (marks, malformed) = parse(text, first);
        let of_form = |fault: Malformed| {
            Trouble::new(source.clone(), fault.message).at(fault.place).within(label).noting(fault.note)
        };
        let (Some(marks), true) = (marks, malformed.is_empty()) else {
            return self.reject(malformed.into_iter().map(of_form).collect());
        };
        let origin =
            Origin { source: source.clone(), marks: Rc::new(marks), item: None, label: label.into() };
        let value = values::value(&origin.marks);
        self.take_value(value, origin);
    }

    fn take_value(&mut self, mut value: Value, origin: Origin) {
        let listed = value["kind"] == "List" && value["apiVersion"] == "v1";
        let Some(items) = value.get_mut("items").and_then(Value::as_array_mut).filter(|_| listed) else {
            return self.take_object(value, origin);
        };
        for (n, item) in std::mem::take(items).into_iter().enumerate() {
            self.take_object(item, origin.of_item(n));
        }
    }

    fn take_object(&mut self, value: Value, origin: Origin) {
        match check::object(&value, origin.mark()) {
            Ok(kind) => self.documents.push(Document { kind, value, origin }),
            Err(faults) => {
                let name = check::name_of(&value);
                let once = origin.told_once(&faults);
                self.reject(once.into_iter().map(|fault| origin.trouble(fault).within(&name)).collect());
            }
        }
    }
}

impl Document {
    /// As `app/web`.
    pub fn name(&self) -> String {
        check::name_of(&self.value)
    }

    /// A mistake that somebody found in it.
    pub fn trouble(&self, fault: &Fault) -> Trouble {
        self.origin.trouble(fault).within(self.name())
    }

    /// A mistake that the server found in it.
    pub fn refused(&self, cause: &Cause) -> Trouble {
        let rules =
            [Rule::Required, Rule::Invalid, Rule::Type, Rule::NotSupported, Rule::Duplicate, Rule::Unknown];
        // What else there is (a conflict, above all) is about the field, not about its value.
        let rule = rules.into_iter().find(|rule| rule.reason() == cause.reason).unwrap_or(Rule::Forbidden);
        let field = cause.field.trim_start_matches('.');
        self.trouble(&Fault::new(field, rule, cause.message.clone()))
    }
}

impl Origin {
    /// Where its first line is, as `web.yaml:3`.
    pub fn line(&self) -> String {
        format!("{}:{}", self.source.name, self.mark().value.line)
    }

    /// A mistake of the object as a whole.
    pub fn mistake(&self, path: &str, message: impl Into<String>) -> Trouble {
        self.trouble(&Fault::new(path, Rule::Invalid, message))
    }

    fn of_item(&self, n: usize) -> Self {
        let label =
            if self.label.is_empty() { format!("item {n}") } else { format!("{}, item {n}", self.label) };
        Self { item: Some(n), label, ..self.clone() }
    }

    /// What it says, with places.
    fn mark(&self) -> &Mark {
        let Some(n) = self.item else { return &self.marks };
        let items = self.marks.find("items").mark;
        items.item(n).unwrap_or(items)
    }

    /// `faults` without those that aliases and merges repeat: what is wrong at one place in one way is one mistake.
    fn told_once<'f>(&self, faults: &'f [Fault]) -> Vec<&'f Fault> {
        let mut told = BTreeSet::new();
        let fresh = |fault: &&'f Fault| {
            let found = self.mark().find(&fault.path);
            told.insert((place_of(fault.rule, &found), found.missing, &fault.message))
        };
        faults.iter().filter(fresh).collect()
    }

    fn trouble(&self, fault: &Fault) -> Trouble {
        let found = self.mark().find(&fault.path);
        let (message, note) = parted(&fault.message);
        let note = if note.is_empty() { advice(fault, &found) } else { note };
        let speaks_of_field = matches!(fault.rule, Rule::Unknown) || fault.path.is_empty();
        let message = if speaks_of_field { message } else { format!("{}: {message}", fault.path) };
        Trouble::new(self.source.clone(), message)
            .at(place_of(fault.rule, &found))
            .within(&self.label)
            .noting(note)
    }
}

/// Where to point for a fault of this rule: at the key when the field itself is wrong, else at the value.
fn place_of(rule: Rule, found: &Found<'_>) -> Place {
    let mark = found.mark;
    let has_text = mark.scalar().is_some_and(|scalar| !scalar.text.is_empty());
    match rule {
        Rule::Unknown | Rule::Required | Rule::Forbidden => mark.key_or_value(),
        Rule::Invalid | Rule::Type | Rule::NotSupported | Rule::Duplicate => {
            if has_text && found.missing.is_none() { mark.value } else { mark.key_or_value() }
        }
    }
}

/// A message parted into the rule and what to do about it, which stands beside the caret.
fn parted(message: &str) -> (String, String) {
    for (mark, shown) in [(", did you mean ", 2), (": quote it", 2), (": remove the quotes", 2)] {
        if let Some(at) = message.find(mark) {
            return (message[..at].to_owned(), message[at + shown..].to_owned());
        }
    }
    (message.to_owned(), String::new())
}

/// What helps beyond the rule itself: what is missing, and that YAML 1.2 knows only one word for each truth.
fn advice(fault: &Fault, found: &Found<'_>) -> String {
    if let (Rule::Required, Some(missing)) = (fault.rule, &found.missing) {
        return format!("`{missing}` is missing here");
    }
    let Some(scalar) = found.mark.scalar().filter(|_| fault.rule == Rule::Type) else { return String::new() };
    match (scalar.style, scalar.text.to_lowercase().as_str()) {
        (Style::Plain, "yes" | "on" | "y") => format!("`{}` is text in YAML 1.2: write `true`", scalar.text),
        (Style::Plain, "no" | "off" | "n") => format!("`{}` is text in YAML 1.2: write `false`", scalar.text),
        (Style::Plain | Style::Quoted, _) => String::new(),
    }
}

/// All mistakes as text for a person, and what they came to.
pub fn report(troubles: &[Trouble], bad: usize, total: usize, outcome: &str) -> String {
    let mut text = String::new();
    for trouble in troubles.iter().take(MOST_SHOWN) {
        let _ = writeln!(text, "{trouble}");
    }
    if troubles.len() > MOST_SHOWN {
        let _ = writeln!(text, "... and {} more\n", troubles.len() - MOST_SHOWN);
    }
    let errors = if troubles.len() == 1 { "error" } else { "errors" };
    let place = if total == 1 { String::new() } else { format!(" in {bad} of {total} documents") };
    let _ = writeln!(text, "{} {errors}{place}; {outcome}", troubles.len());
    text
}
