//! What a Node keeps.

use crate::fault::{Faults, Rule};
use crate::name;
use crate::node::Node;
use crate::path::At;
use crate::scalar::one_of;

use super::Rules;

impl Rules for Node {
    fn name(name: &str) -> Result<(), String> {
        name::dns_subdomain(name)
    }

    fn check(&self, faults: &mut Faults) {
        let spec = At::ROOT.field("spec");
        let taints = spec.field("taints");
        for (index, taint) in self.spec.taints.iter().enumerate() {
            let at = taints.item(index);
            faults.text(&at.field("key"), &taint.key, name::qualified);
            faults.text(&at.field("value"), &taint.value, name::label_value);
            if taint.effect != "NoSchedule" {
                let message = one_of(["NoSchedule"].into_iter(), &taint.effect);
                faults.add(&at.field("effect"), Rule::NotSupported, message);
            }
        }
        let status = At::ROOT.field("status");
        if let Some(range) = &self.status.port_range
            && (range.first == 0 || range.last < range.first)
        {
            let message = format!("must be ports from low to high, got {} to {}", range.first, range.last);
            faults.add(&status.field("portRange"), Rule::Invalid, message);
        }
    }
}
