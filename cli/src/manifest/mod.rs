//! Manifests: reads the YAML and JSON that a person wrote and knows where every value stands, so that each
//! mistake of each document is shown in its line, whoever finds it: the parser, the schema or the server.

mod check;
mod document;
mod json;
mod marks;
mod parse;
mod source;
mod syntax;
mod trouble;
mod values;

#[cfg(test)]
mod tests;

pub use document::{Document, Reading, read, report};
pub use source::Input;
pub use trouble::visible;
#[cfg(test)]
pub use values::value_of;
pub use values::{Meaning, plain};
