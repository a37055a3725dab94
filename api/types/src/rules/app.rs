//! What an App and its Revisions keep.

use crate::app::App;
use crate::fault::Faults;
use crate::name;
use crate::revision::Revision;

use super::Rules;

/// The longest name of an App: with `-` and the ten digits of a Revision it is still a DNS label.
const NAME: usize = name::LABEL_LENGTH - 11;

impl Rules for App {
    fn name(name: &str) -> Result<(), String> {
        if name.len() > NAME {
            let why = "because its Tasks are called `<app>-<number>`";
            return Err(format!("must be at most {NAME} characters, {why}, got {}", name.len()));
        }
        name::dns_label(name)
    }

    fn check(&self, _faults: &mut Faults) {}
}

impl Rules for Revision {
    fn name(name: &str) -> Result<(), String> {
        name::dns_label(name)
    }

    fn check(&self, _faults: &mut Faults) {}
}
