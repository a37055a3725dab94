//! What the kinds borrowed from Kubernetes keep: Namespace, Event, Lease.

use crate::core::{Event, Namespace};
use crate::fault::{Faults, Rule};
use crate::lease::Lease;
use crate::name;
use crate::path::At;
use crate::scalar::one_of;

use super::Rules;

/// The longest reason and message of an Event.
const REASON: usize = 128;
const MESSAGE: usize = 1024;

impl Rules for Namespace {
    fn name(name: &str) -> Result<(), String> {
        name::dns_label(name)
    }

    fn check(&self, _faults: &mut Faults) {}
}

impl Rules for Lease {
    fn name(name: &str) -> Result<(), String> {
        name::dns_subdomain(name)
    }

    fn check(&self, faults: &mut Faults) {
        if self.spec.lease_duration_seconds == Some(0) {
            let spec = At::ROOT.field("spec");
            faults.add(&spec.field("leaseDurationSeconds"), Rule::Invalid, "must be at least 1, got 0");
        }
    }
}

impl Rules for Event {
    fn name(name: &str) -> Result<(), String> {
        name::dns_subdomain(name)
    }

    fn check(&self, faults: &mut Faults) {
        let about = At::ROOT.field("involvedObject");
        for (field, word) in [("kind", &self.involved_object.kind), ("name", &self.involved_object.name)] {
            if word.is_empty() {
                faults.add(&about.field(field), Rule::Required, "is needed");
            }
        }
        if !matches!(self.type_.as_str(), "" | "Normal" | "Warning") {
            let words = ["Normal", "Warning"].into_iter();
            faults.add(&At::ROOT.field("type"), Rule::NotSupported, one_of(words, &self.type_));
        }
        for (field, text, most) in [("reason", &self.reason, REASON), ("message", &self.message, MESSAGE)] {
            if text.len() > most {
                let message = format!("must be at most {most} bytes, got {}", text.len());
                faults.add(&At::ROOT.field(field), Rule::Invalid, message);
            }
        }
    }
}
