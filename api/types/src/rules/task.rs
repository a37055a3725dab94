//! What a Task keeps.

use crate::fault::Faults;
use crate::name;
use crate::task::Task;

use super::Rules;

impl Rules for Task {
    fn name(name: &str) -> Result<(), String> {
        name::dns_label(name)
    }

    fn check(&self, _faults: &mut Faults) {}
}
