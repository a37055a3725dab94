//! Reads the events of one document into its marks, and finds what is wrong with its form.

use std::collections::{BTreeMap, HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::marks::{Mark, Parts, Place, Scalar, Style};
use super::syntax;

/// Values that aliases may add to a document: enough for real manifests, too few for a bomb.
const ALIASED_VALUES: u64 = 1000;

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
    let mut tree = Tree { first, ..Tree::default() };
    for event in Parser::new_from_str(text) {
        let done = match event {
            Ok((event, span)) => tree.take(&event, span),
            Err(error) => Err(tree.unreadable(text, &error)),
        };
        if let Err(fault) = done {
            tree.faults.push(fault);
            return (None, tree.faults);
        }
    }
    (tree.root, tree.faults)
}

#[derive(Default)]
struct Tree {
    first: usize,
    open: Vec<Open>,
    root: Option<Mark>,
    faults: Vec<Malformed>,
    values: u64,
    aliased: u64,
    sizes: HashMap<usize, u64>,
}

/// A mapping or list that has begun.
struct Open {
    key: Option<Place>,
    start: Place,
    anchor: usize,
    values_before: u64,
    parts: Parts,
    next_key: Option<(String, Place)>,
}

impl Tree {
    fn take(&mut self, event: &Event<'_>, span: Span) -> Result<(), Malformed> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span)?;
                let plain = matches!(style, ScalarStyle::Plain);
                self.scalar(text, if plain { Style::Plain } else { Style::Quoted }, *anchor, span);
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), span)?;
                self.begin(Parts::List(Vec::new()), *anchor, span)?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), span)?;
                self.begin(Parts::Mapping(BTreeMap::new()), *anchor, span)?;
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

    fn scalar(&mut self, text: &str, style: Style, anchor: usize, span: Span) {
        let place = self.place(span);
        if self.wants_key() {
            return self.key(text, place);
        }
        self.values += 1;
        self.sizes.insert(anchor, 1);
        let key = self.take_key();
        let scalar = Scalar { text: text.into(), style };
        self.put(Mark { key: key.1, value: place, parts: Parts::Scalar(scalar) }, key.0);
    }

    fn begin(&mut self, parts: Parts, anchor: usize, span: Span) -> Result<(), Malformed> {
        let start = self.place(span);
        if self.wants_key() {
            return Err(Malformed {
                place: start,
                message: "a key must be a text, not a mapping or a list".into(),
                note: "is this a template? `{{ }}` must be filled in before, or quoted".into(),
            });
        }
        let key = self.open.last().and_then(|open| open.next_key.as_ref()).map(|(_, place)| *place);
        let values_before = self.values;
        self.values += 1;
        self.open.push(Open { key, start, anchor, values_before, parts, next_key: None });
        Ok(())
    }

    fn end(&mut self) {
        let Some(done) = self.open.pop() else { return };
        self.sizes.insert(done.anchor, self.values - done.values_before);
        let (name, _) = self.take_key();
        self.put(Mark { key: done.key, value: done.start, parts: done.parts }, name);
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Malformed> {
        let place = self.place(span);
        let Some(size) = self.sizes.get(&anchor).copied() else {
            return Err(Malformed {
                place,
                message: "this alias refers to the value that it stands in".into(),
                note: "write the value out".into(),
            });
        };
        self.aliased = self.aliased.saturating_add(size);
        if self.aliased > ALIASED_VALUES {
            return Err(Malformed {
                place,
                message: format!("aliases make this document grow by more than {ALIASED_VALUES} values"),
                note: "write the values out".into(),
            });
        }
        self.values = self.values.saturating_add(size);
        let (name, key) = self.take_key();
        self.put(Mark { key, value: place, parts: Parts::Alias }, name);
        Ok(())
    }

    fn wants_key(&self) -> bool {
        self.open
            .last()
            .is_some_and(|open| matches!(open.parts, Parts::Mapping(_)) && open.next_key.is_none())
    }

    fn key(&mut self, text: &str, place: Place) {
        let Some(open) = self.open.last_mut() else { return };
        if let Parts::Mapping(parts) = &open.parts
            && let Some(earlier) = parts.get(text)
        {
            self.faults.push(Malformed {
                place,
                message: format!("duplicate key `{text}`"),
                note: format!("first given in line {}", earlier.key_or_value().line),
            });
        }
        open.next_key = Some((text.into(), place));
    }

    fn take_key(&mut self) -> (Option<String>, Option<Place>) {
        self.open.last_mut().and_then(|open| open.next_key.take()).unzip()
    }

    fn put(&mut self, mark: Mark, key: Option<String>) {
        match (self.open.last_mut().map(|open| &mut open.parts), key) {
            (Some(Parts::Mapping(parts)), Some(key)) => {
                parts.entry(key).or_insert(mark);
            }
            (Some(Parts::List(parts)), _) => parts.push(mark),
            _ => self.root = Some(mark),
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
        let width = if same_line { span.end.col().saturating_sub(span.start.col()) } else { 0 };
        Place { line: self.first - 1 + span.start.line(), column: span.start.col(), width }
    }

    fn unreadable(&self, text: &str, error: &ScanError) -> Malformed {
        let at = error.marker();
        let mut fault = syntax::explain(text, error.info(), at.line(), at.col());
        fault.place.line += self.first - 1;
        fault
    }
}
