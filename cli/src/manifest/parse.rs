//! Reads the events of one document into its marks, and finds what is wrong with its form. The one reader of manifests:
//! values and positions both come from it.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use super::json::Yaml;
use super::marks::{Mark, Parts, Place, Scalar, Style};
use super::syntax;
use super::values::{Meaning, meaning};

/// Values that aliases may add to a document: enough for real manifests, too few for a bomb.
const ALIASED_VALUES: u64 = 1000;
/// Bytes of text that aliases may add to a document: as many as the server takes in one object.
const ALIASED_BYTES: u64 = 1 << 20;
/// The most mappings and lists in each other, as they are written.
const LEVELS: usize = 128;

/// A fault in the form of a document.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// Beside the place: what to do.
    pub note: String,
}

/// The marks of the document in `text`, whose first line is line `first` of its file; none when it is empty.
pub fn parse(text: &str, first: usize) -> (Option<Mark>, Vec<Malformed>) {
    let yaml = Yaml::of(text);
    let mut tree = Tree::new(first, &yaml);
    for event in Parser::new_from_str(&yaml.text) {
        let done = match event {
            Ok((event, span)) => tree.take(&event, span),
            Err(error) => Err(tree.unreadable(&error)),
        };
        if let Err(fault) = done {
            tree.faults.push(fault);
            return (None, tree.faults);
        }
    }
    (tree.root, tree.faults)
}

struct Tree<'a> {
    first: usize,
    yaml: &'a Yaml<'a>,
    open: Vec<Open>,
    root: Option<Mark>,
    faults: Vec<Malformed>,
    /// What was read so far, aliases counted as what they stand for.
    read: Size,
    aliased: Size,
    anchors: HashMap<usize, (Parts, Size)>,
}

/// How much a value is.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    values: u64,
    bytes: u64,
}

impl Size {
    fn add(&mut self, more: Size) {
        self.values = self.values.saturating_add(more.values);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }

    fn since(self, before: Size) -> Size {
        Size { values: self.values - before.values, bytes: self.bytes - before.bytes }
    }
}

/// A mapping or list that has begun.
struct Open {
    start: Place,
    anchor: usize,
    before: Size,
    parts: OpenParts,
}

enum OpenParts {
    Mapping { entries: BTreeMap<String, Mark>, merged: Option<Merged>, key: Option<(Key, Place)> },
    List(Vec<Mark>),
}

/// What the key of an entry says.
enum Key {
    Named(String),
    /// `<<`: the entries of other mappings are taken in.
    Merge,
}

/// The mappings that a `<<` names, and where it stands.
struct Merged {
    line: usize,
    mappings: Vec<Rc<BTreeMap<String, Mark>>>,
}

impl<'a> Tree<'a> {
    fn new(first: usize, yaml: &'a Yaml<'a>) -> Self {
        Self {
            first,
            yaml,
            open: Vec::new(),
            root: None,
            faults: Vec::new(),
            read: Size::default(),
            aliased: Size::default(),
            anchors: HashMap::new(),
        }
    }

    fn take(&mut self, event: &Event<'_>, span: Span) -> Result<(), Malformed> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span)?;
                let style = if matches!(style, ScalarStyle::Plain) { Style::Plain } else { Style::Quoted };
                self.scalar(Scalar { text: text.to_string(), style }, *anchor, span);
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), span)?;
                self.begin(OpenParts::List(Vec::new()), *anchor, span)?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), span)?;
                let parts = OpenParts::Mapping { entries: BTreeMap::new(), merged: None, key: None };
                self.begin(parts, *anchor, span)?;
            }
            Event::Alias(anchor) => self.alias(*anchor, span)?,
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn scalar(&mut self, scalar: Scalar, anchor: usize, span: Span) {
        let place = self.place(span);
        let size = Size { values: 1, bytes: scalar.text.len() as u64 };
        self.read.add(size);
        let scalar = Rc::new(scalar);
        self.remember(anchor, &Parts::Scalar(scalar.clone()), size);
        if self.wants_key() {
            return self.key(&scalar, place);
        }
        self.put(place, Parts::Scalar(scalar));
    }

    fn begin(&mut self, parts: OpenParts, anchor: usize, span: Span) -> Result<(), Malformed> {
        let start = self.place(span);
        let refused = |message: &str, note: &str| {
            Err(Malformed { place: start, message: message.into(), note: note.into() })
        };
        if self.wants_key() {
            let note = "is this a template? `{{ }}` must be filled in before, or quoted";
            return refused("a key must be a text, not a mapping or a list", note);
        }
        if self.open.len() == LEVELS {
            return refused("values are nested too deeply", "");
        }
        let before = self.read;
        self.read.add(Size { values: 1, bytes: 0 });
        self.open.push(Open { start, anchor, before, parts });
        Ok(())
    }

    fn end(&mut self) {
        let Some(done) = self.open.pop() else { return };
        let parts = match done.parts {
            OpenParts::List(items) => Parts::List(Rc::new(items)),
            OpenParts::Mapping { mut entries, merged, .. } => {
                // What the mapping has itself wins, then what is named first. An anchor is merged already itself.
                for mapping in merged.into_iter().flat_map(|merged| merged.mappings) {
                    for (key, mark) in mapping.iter() {
                        entries.entry(key.clone()).or_insert_with(|| mark.clone());
                    }
                }
                Parts::Mapping(Rc::new(entries))
            }
        };
        self.remember(done.anchor, &parts, self.read.since(done.before));
        self.put(done.start, parts);
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Malformed> {
        let place = self.place(span);
        let refused = |message: String, note: &str| Err(Malformed { place, message, note: note.into() });
        if self.wants_key() {
            return refused("a key must be a text, not an alias".into(), "write the key out");
        }
        let Some((parts, size)) = self.anchors.get(&anchor).cloned() else {
            return refused("this alias refers to the value that it stands in".into(), "write the value out");
        };
        self.aliased.add(size);
        if self.aliased.values > ALIASED_VALUES {
            let message = format!("aliases make this document grow by more than {ALIASED_VALUES} values");
            return refused(message, "write the values out");
        }
        if self.aliased.bytes > ALIASED_BYTES {
            let message = format!("aliases make this document grow by more than {ALIASED_BYTES} bytes");
            return refused(message, "write the values out");
        }
        self.read.add(size);
        self.put(place, parts);
        Ok(())
    }

    /// Keeps the value of an anchor for its aliases; 0 is no anchor.
    fn remember(&mut self, anchor: usize, parts: &Parts, size: Size) {
        if anchor > 0 {
            self.anchors.insert(anchor, (parts.clone(), size));
        }
    }

    fn wants_key(&self) -> bool {
        self.open.last().is_some_and(|open| matches!(open.parts, OpenParts::Mapping { key: None, .. }))
    }

    fn key(&mut self, scalar: &Scalar, place: Place) {
        let Some(Open { parts: OpenParts::Mapping { entries, merged, key }, .. }) = self.open.last_mut()
        else {
            return;
        };
        let is_merge = scalar.text == "<<" && scalar.style == Style::Plain;
        *key = Some((if is_merge { Key::Merge } else { Key::Named(scalar.text.clone()) }, place));
        let fault = match (is_merge, merged, entries.get(&scalar.text)) {
            (true, Some(first), _) => {
                let message = "duplicate key `<<`".into();
                let note = format!("the first is in line {}: write one, as `<<: [*a, *b]`", first.line);
                Some((message, note))
            }
            (false, _, Some(earlier)) => {
                let note = format!("first given in line {}", earlier.key_or_value().line);
                Some((format!("duplicate key `{}`", scalar.text), note))
            }
            (false, _, None) => no_text(scalar),
            (true, None, _) => None,
        };
        self.faults.extend(fault.map(|(message, note)| Malformed { place, message, note }));
    }

    /// Puts a value where it belongs: to its key, into its list, or as the whole document.
    fn put(&mut self, value: Place, parts: Parts) {
        match self.open.last_mut().map(|open| &mut open.parts) {
            None => self.root = Some(Mark { key: None, value, parts }),
            Some(OpenParts::List(items)) => items.push(Mark { key: None, value, parts }),
            Some(OpenParts::Mapping { entries, merged, key }) => match key.take() {
                Some((Key::Named(name), place)) => {
                    entries.entry(name).or_insert(Mark { key: Some(place), value, parts });
                }
                Some((Key::Merge, place)) => {
                    let mappings = mappings_of(&parts);
                    if mappings.is_none() {
                        self.faults.push(Malformed {
                            place: value,
                            message: "`<<` must name a mapping, or a list of mappings".into(),
                            note: "write `<<: *a` or `<<: [*a, *b]`".into(),
                        });
                    }
                    let mappings = mappings.unwrap_or_default();
                    merged.get_or_insert(Merged { line: place.line, mappings });
                }
                None => {}
            },
        }
    }

    fn refuse_tag(&self, tagged: bool, span: Span) -> Result<(), Malformed> {
        if !tagged {
            return Ok(());
        }
        Err(Malformed {
            place: self.place(span),
            message: "tags (`!...`) are not supported in manifests".into(),
            note: "write the plain value".into(),
        })
    }

    fn place(&self, span: Span) -> Place {
        let same_line = span.start.line() == span.end.line();
        let column = |marker: Marker| self.yaml.column_in_json(marker.line(), marker.col());
        let (start, end) = (column(span.start), column(span.end));
        let width = if same_line { end.saturating_sub(start) } else { 0 };
        Place { line: self.first - 1 + span.start.line(), column: start, width }
    }

    fn unreadable(&self, error: &ScanError) -> Malformed {
        let at = error.marker();
        let mut fault = syntax::explain(&self.yaml.text, error.info(), at.line(), at.col());
        fault.place.column = self.yaml.column_in_json(fault.place.line, fault.place.column);
        fault.place.line += self.first - 1;
        fault
    }
}

/// What is wrong with a key that is no text, and what to do.
fn no_text(key: &Scalar) -> Option<(String, String)> {
    let text = &key.text;
    let got = match meaning(key) {
        Meaning::Text => return None,
        Meaning::Null if text.is_empty() => "nothing".to_owned(),
        Meaning::Null | Meaning::Truth(_) => format!("`{text}`"),
        Meaning::Number(_) | Meaning::Unstorable => format!("number `{text}`"),
    };
    let note =
        if text.is_empty() { "write the key".to_owned() } else { format!("quote it, as `\"{text}\"`") };
    Some((format!("a key must be text, got {got}"), note))
}

/// The mappings that the value of a `<<` names; none if it is no mapping and no list of them.
fn mappings_of(parts: &Parts) -> Option<Vec<Rc<BTreeMap<String, Mark>>>> {
    match parts {
        Parts::Mapping(entries) => Some(vec![entries.clone()]),
        Parts::List(items) => items
            .iter()
            .map(|item| match &item.parts {
                Parts::Mapping(entries) => Some(entries.clone()),
                Parts::Scalar(_) | Parts::List(_) => None,
            })
            .collect(),
        Parts::Scalar(_) => None,
    }
}
