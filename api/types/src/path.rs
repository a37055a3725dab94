//! Where something stands in an object, as `spec.template.spec.containers[0].image`.

use std::fmt;

/// A place in an object; made on the way down, written out only when a fault is found there.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

/// One step on the way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// The object itself.
    Root,
    /// Into a field of an object.
    Field(&'a str),
    /// Into an entry of a map, as a label.
    Entry(&'a str),
    /// Into an item of a list.
    Item(usize),
}

impl<'a> At<'a> {
    /// The object itself.
    pub const ROOT: At<'static> = At { parent: None, step: Step::Root };

    /// The field `name` here.
    pub fn field(&'a self, name: &'a str) -> At<'a> {
        At { parent: Some(self), step: Step::Field(name) }
    }

    /// The entry `key` of the map here.
    pub fn entry(&'a self, key: &'a str) -> At<'a> {
        At { parent: Some(self), step: Step::Entry(key) }
    }

    /// The item `index` of the list here.
    pub fn item(&'a self, index: usize) -> At<'a> {
        At { parent: Some(self), step: Step::Item(index) }
    }

    /// The last step that leads here.
    pub fn step(&self) -> Step<'a> {
        self.step
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(f)?;
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) if !plain(name) => write!(f, "[{name}]"),
            Step::Field(name) if parent.step == Step::Root => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Entry(key) => write!(f, "[{key}]"),
            Step::Item(index) => write!(f, "[{index}]"),
        }
    }
}

/// Whether a field's name can stand in a path without brackets.
fn plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
/// The steps of a written path; inside brackets digits are an item, anything else an entry.
pub(crate) fn steps(path: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (key, after) = inside.split_once(']').unwrap_or((inside, ""));
            steps.push(key.parse().map_or(Step::Entry(key), Step::Item));
            rest = after;
        } else {
            let field = rest.strip_prefix('.').unwrap_or(rest);
            let end = field.find(['.', '[']).unwrap_or(field.len());
            steps.push(Step::Field(&field[..end]));
            rest = &field[end..];
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_back_as_written() {
        let spec = At::ROOT.field("spec");
        let containers = spec.field("containers");
        let first = containers.item(0);
        let image = first.field("image");
        assert_eq!(image.to_string(), "spec.containers[0].image");
        assert_eq!(
            steps("spec.containers[0].image"),
            [Step::Field("spec"), Step::Field("containers"), Step::Item(0), Step::Field("image")]
        );

        let metadata = At::ROOT.field("metadata");
        let labels = metadata.field("labels");
        assert_eq!(labels.entry("berth.dev/app").to_string(), "metadata.labels[berth.dev/app]");
        assert_eq!(
            steps("metadata.labels[berth.dev/app]"),
            [Step::Field("metadata"), Step::Field("labels"), Step::Entry("berth.dev/app")]
        );
        assert_eq!(At::ROOT.to_string(), "");
        assert_eq!(steps(""), []);
    }
}
