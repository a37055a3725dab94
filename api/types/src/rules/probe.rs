//! What the probes of a container keep.

use crate::fault::{Faults, Rule};
use crate::path::At;
use crate::scalar::short;
use crate::spelling;
use crate::task::{Container, IntOrString, Probe};

use super::bounded;

/// The most seconds between checks, before the first, or of one.
const SECONDS: i64 = 24 * 3600;
/// The most checks in a row.
const CHECKS: i64 = 1000;

/// Adds what is wrong with the probes of `container`, in a Task whose ports have these names.
pub(super) fn check(container: &Container, ports: &[&str], at: &At, faults: &mut Faults) {
    if let Some(probe) = &container.readiness_probe {
        check_probe(probe, ports, &at.field("readinessProbe"), faults);
    }
    let Some(probe) = &container.liveness_probe else { return };
    let here = at.field("livenessProbe");
    check_probe(probe, ports, &here, faults);
    if probe.successes() > 1 {
        let message = format!("must be 1 for a livenessProbe, got {}", probe.successes());
        faults.add(&here.field("successThreshold"), Rule::Invalid, message);
    }
}

fn check_probe(probe: &Probe, ports: &[&str], at: &At, faults: &mut Faults) {
    match (&probe.http_get, &probe.tcp_socket) {
        (None, None) => faults.add(at, Rule::Required, "needs one of httpGet and tcpSocket"),
        (Some(_), Some(_)) => {
            let message = "must not stand beside httpGet: a probe checks one thing";
            faults.add(&at.field("tcpSocket"), Rule::Forbidden, message);
        }
        (Some(_), None) | (None, Some(_)) => {}
    }
    if let Some(http) = &probe.http_get {
        let here = at.field("httpGet");
        check_port(&http.port, ports, &here.field("port"), faults);
        faults.text(&here.field("path"), &http.path, path);
    }
    if let Some(tcp) = &probe.tcp_socket {
        check_port(&tcp.port, ports, &at.field("tcpSocket").field("port"), faults);
    }
    bounded(faults, &at.field("initialDelaySeconds"), probe.initial_delay_seconds, 0, SECONDS);
    bounded(faults, &at.field("periodSeconds"), probe.period_seconds, 1, SECONDS);
    bounded(faults, &at.field("timeoutSeconds"), probe.timeout_seconds, 1, SECONDS);
    bounded(faults, &at.field("successThreshold"), probe.success_threshold, 1, CHECKS);
    bounded(faults, &at.field("failureThreshold"), probe.failure_threshold, 1, CHECKS);
}

fn check_port(port: &IntOrString, ports: &[&str], at: &At, faults: &mut Faults) {
    match port {
        IntOrString::Int(0) => {
            faults.add(at, Rule::Required, "is needed: the name of a port, or a number from 1 to 65535");
        }
        IntOrString::Int(number) => bounded(faults, at, Some(*number), 1, 65535),
        IntOrString::String(name) if ports.contains(&name.as_str()) => {}
        IntOrString::String(digits) if digits.parse::<u16>().is_ok() => {
            faults.add(
                at,
                Rule::Invalid,
                format!("must be a number, got text `{digits}`: remove the quotes"),
            );
        }
        IntOrString::String(name) => {
            let hint = spelling::hint(name, ports.iter().copied());
            let message = format!("must be the name of a port of this Task, got `{}`{hint}", short(name));
            faults.add(at, Rule::Invalid, message);
        }
    }
}

/// The path of a request, with its query; `/` when empty.
fn path(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Ok(());
    }
    if path.starts_with('/') && path.len() <= 2048 && path.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(());
    }
    Err(format!("must begin with `/` and have no blanks in it, got `{}`", short(path)))
}
