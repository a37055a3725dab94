//! Which objects of a kind a list or watch is about: a namespace, labels, fields.

use berth_types::selector::Selector;

use crate::cache::Entry;
use crate::refuse::{Answer, bad_field};
use crate::table::Row;

/// Which objects of a kind are wanted.
#[derive(Debug, Clone)]
pub struct Selection {
    namespace: String,
    labels: Selector,
    fields: Vec<FieldTerm>,
}

#[derive(Debug, Clone)]
struct FieldTerm {
    field: Field,
    value: String,
    wanted: Wanted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
    Indexed(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Equal,
    Different,
}

impl Selection {
    /// What a request selects.
    pub fn parse(row: &Row, namespace: &str, labels: &str, fields: &str) -> Answer<Self> {
        let labels = Selector::parse(labels).map_err(|why| bad_field("label_selector", why.to_string()))?;
        let terms = fields.split(',').map(str::trim).filter(|term| !term.is_empty());
        let fields = terms.map(|term| FieldTerm::parse(row, term)).collect::<Answer<_>>()?;
        Ok(Self { namespace: namespace.into(), labels, fields })
    }

    /// The one namespace that is wanted, if it is one.
    pub fn namespace(&self) -> Option<&str> {
        (!self.namespace.is_empty()).then_some(self.namespace.as_str())
    }

    /// Whether every object of the namespace is wanted.
    pub fn takes_all(&self) -> bool {
        self.fields.is_empty() && self.labels.is_everything()
    }

    /// The value that the kind's hot field must have, if one is asked for.
    pub fn hot_value(&self, row: &Row) -> Option<&str> {
        let hot = Field::Indexed(row.hot_field?);
        let term = self.fields.iter().find(|term| term.field == hot && term.wanted == Wanted::Equal)?;
        Some(&term.value)
    }

    /// Whether an object is wanted.
    pub fn takes(&self, entry: &Entry) -> bool {
        (self.namespace.is_empty() || self.namespace == entry.namespace())
            && self.fields.iter().all(|term| term.takes(entry))
            && (self.labels.is_everything()
                || self
                    .labels
                    .requirements()
                    .iter()
                    .all(|wanted| wanted.test.holds(label(entry, &wanted.key))))
    }
}

fn label<'e>(entry: &'e Entry, name: &str) -> Option<&'e str> {
    let at = entry.labels.binary_search_by(|(label, _)| (**label).cmp(name)).ok()?;
    Some(&entry.labels[at].1)
}

impl FieldTerm {
    fn parse(row: &Row, term: &str) -> Answer<Self> {
        let (field, value, wanted) = if let Some((field, value)) = term.split_once("!=") {
            (field, value, Wanted::Different)
        } else if let Some((field, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
            (field, value, Wanted::Equal)
        } else {
            return Err(bad_field(
                "field_selector",
                format!("must be field=value or field!=value, got `{term}`"),
            ));
        };
        let field = match field {
            "metadata.name" => Field::Name,
            "metadata.namespace" => Field::Namespace,
            _ => Field::Indexed(row.fields.iter().position(|known| *known == field).ok_or_else(|| {
                let known = [&["metadata.name", "metadata.namespace"], row.fields].concat().join(", ");
                bad_field("field_selector", format!("cannot select {} by `{field}`; by {known}", row.name()))
            })?),
        };
        Ok(Self { field, value: value.into(), wanted })
    }

    fn takes(&self, entry: &Entry) -> bool {
        let value = match self.field {
            Field::Name => entry.name(),
            Field::Namespace => entry.namespace(),
            Field::Indexed(at) => &entry.fields[at],
        };
        match self.wanted {
            Wanted::Equal => value == self.value,
            Wanted::Different => value != self.value,
        }
    }
}
