//! What a Task keeps, and the Tasks that a template makes.

use std::collections::BTreeMap;

use crate::fault::{Faults, Rule};
use crate::name;
use crate::path::At;
use crate::phase::Phase;
use crate::scalar::one_of;
use crate::task::{Task, TaskSpec, Toleration};

use super::{Rules, SECONDS, at_most, bounded, container, meta};

/// The most containers of one Task.
const CONTAINERS: usize = 64;
/// The most tolerations of one Task.
const TOLERATIONS: usize = 64;
/// The most restarts in place that can be asked for.
const RESTARTS: i64 = 1_000_000;

impl Rules for Task {
    fn name(name: &str) -> Result<(), String> {
        name::dns_label(name)
    }

    fn check(&self, faults: &mut Faults) {
        let spec = At::ROOT.field("spec");
        check_spec(&self.spec, &spec, faults);
        if self.spec.node_name.is_empty() != self.spec.node_uid.is_empty() {
            let message = "must stand together with nodeUid: Bind writes both";
            faults.add(&spec.field("nodeName"), Rule::Invalid, message);
        }
        if Phase::of(self).is_err() {
            let status = At::ROOT.field("status");
            let message = one_of(Phase::ALL.map(Phase::as_str).into_iter(), &self.status.phase);
            faults.add(&status.field("phase"), Rule::NotSupported, message);
        }
    }
}

/// What runs; the fields that Bind writes apart.
pub(super) fn check_spec(spec: &TaskSpec, at: &At, faults: &mut Faults) {
    let containers = at.field("containers");
    if spec.containers.is_empty() {
        faults.add(&containers, Rule::Required, "at least one container is needed");
    }
    at_most(faults, &containers, spec.containers.len(), CONTAINERS);
    let ports = check_ports(spec, &containers, faults);
    for (index, container) in spec.containers.iter().enumerate() {
        container::check(container, &ports, &containers.item(index), faults);
    }
    meta::wanted_labels(&spec.node_selector, &at.field("nodeSelector"), faults);
    check_tolerations(&spec.tolerations, &at.field("tolerations"), faults);
    check_durations(spec, at, faults);
}

/// Names and host ports, each unique in the Task; gives the names.
fn check_ports<'a>(spec: &'a TaskSpec, containers: &At, faults: &mut Faults) -> Vec<&'a str> {
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    let mut numbers: BTreeMap<u16, String> = BTreeMap::new();
    for (index, container) in spec.containers.iter().enumerate() {
        let here = containers.item(index);
        let ports = here.field("ports");
        for (index, port) in container.ports.iter().enumerate() {
            let here = ports.item(index);
            faults.text(&here.field("name"), &port.name, name::port);
            if let Some(first) = names.get(port.name.as_str()) {
                faults.add(&here.field("name"), Rule::Duplicate, format!("is already used by `{first}`"));
            }
            names.entry(&port.name).or_insert_with(|| here.to_string());
            let Some(number) = port.host_port else { continue };
            bounded(faults, &here.field("hostPort"), Some(number), 1, 65535);
            if let Some(first) = numbers.get(&number) {
                let message = format!("{number} is already used by `{first}`");
                faults.add(&here.field("hostPort"), Rule::Duplicate, message);
            }
            numbers.entry(number).or_insert_with(|| here.to_string());
        }
    }
    names.into_keys().collect()
}

fn check_tolerations(tolerations: &[Toleration], at: &At, faults: &mut Faults) {
    at_most(faults, at, tolerations.len(), TOLERATIONS);
    for (index, toleration) in tolerations.iter().enumerate() {
        let here = at.item(index);
        if !toleration.key.is_empty() {
            faults.text(&here.field("key"), &toleration.key, name::qualified);
        } else if toleration.operator != "Exists" {
            let message = "is needed, unless the operator is `Exists`, which then tolerates all taints";
            faults.add(&here.field("key"), Rule::Required, message);
        }
        match toleration.operator.as_str() {
            "" | "Equal" => faults.text(&here.field("value"), &toleration.value, name::label_value),
            "Exists" if toleration.value.is_empty() => {}
            "Exists" => {
                let message = "must be empty when the operator is `Exists`";
                faults.add(&here.field("value"), Rule::Invalid, message);
            }
            other => {
                let message = one_of(["Equal", "Exists"].into_iter(), other);
                faults.add(&here.field("operator"), Rule::NotSupported, message);
            }
        }
        if !matches!(toleration.effect.as_str(), "" | "NoSchedule") {
            let message = one_of(["NoSchedule"].into_iter(), &toleration.effect);
            faults.add(&here.field("effect"), Rule::NotSupported, message);
        }
    }
}

fn check_durations(spec: &TaskSpec, at: &At, faults: &mut Faults) {
    let grace = spec.termination_grace_period_seconds;
    bounded(faults, &at.field("terminationGracePeriodSeconds"), grace, 0, SECONDS);
    bounded(faults, &at.field("drainDelaySeconds"), spec.drain_delay_seconds, 0, SECONDS);
    if let Some(unreachable) = &spec.unreachable {
        let here = at.field("unreachable");
        bounded(faults, &here.field("replaceAfterSeconds"), unreachable.replace_after_seconds, 0, SECONDS);
    }
    let Some(restart) = &spec.restart else { return };
    let here = at.field("restart");
    bounded(faults, &here.field("inPlace"), restart.in_place, 0, RESTARTS);
    bounded(faults, &here.field("withinSeconds"), restart.within_seconds, 1, SECONDS);
    bounded(faults, &here.field("initialDelaySeconds"), restart.initial_delay_seconds, 0, SECONDS);
    bounded(faults, &here.field("maxDelaySeconds"), restart.max_delay_seconds, 0, SECONDS);
}
