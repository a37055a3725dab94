//! What the requests and limits of a container keep.

use std::collections::BTreeMap;

use crate::fault::{Faults, Rule};
use crate::path::At;
use crate::quantity::{Quantity, ResourceList};
use crate::scalar::short;
use crate::spelling;
use crate::task::Resources;

const REQUESTS: [&str; 3] = ["cpu", "memory", "disk"];
const LIMITS: [&str; 3] = ["cpu", "memory", "pids"];
/// Less memory than this is a forgotten suffix.
const LEAST_MEMORY: i64 = 1 << 20;

pub(super) fn check(resources: &Resources, at: &At, faults: &mut Faults) {
    let requests = check_list(&resources.requests, REQUESTS, &at.field("requests"), faults);
    let limits = check_list(&resources.limits, LIMITS, &at.field("limits"), faults);
    for (name, (asked, request)) in &requests {
        let Some((most, limit)) = limits.get(name) else { continue };
        if asked > most {
            let requests = at.field("requests");
            let message = format!("must be at most the limit, which is {limit}, got {request}");
            faults.add(&requests.entry(name), Rule::Invalid, message);
        }
    }
}

/// Amounts without a fault, in thousandths and as written: only these are compared with others.
type Good<'a> = BTreeMap<&'a str, (i64, &'a Quantity)>;

fn check_list<'a>(list: &'a ResourceList, known: [&str; 3], at: &At, faults: &mut Faults) -> Good<'a> {
    let mut good = Good::new();
    for (name, amount) in list {
        let here = at.entry(name);
        if !known.contains(&name.as_str()) {
            faults.add(&here, Rule::Unknown, unknown(name, known));
            continue;
        }
        // What is no amount was found by the shape.
        let Ok(millis) = amount.millis() else { continue };
        if let Some(message) = fault_of(name, amount, millis) {
            faults.add(&here, Rule::Invalid, message);
        } else {
            good.insert(name, (millis, amount));
        }
    }
    good
}

fn unknown(name: &str, known: [&str; 3]) -> String {
    match spelling::hint(name, known) {
        hint if hint.is_empty() => {
            format!("unknown resource `{}`, known here: {}", short(name), known.join(", "))
        }
        hint => format!("unknown resource `{}`{hint}", short(name)),
    }
}

fn fault_of(name: &str, amount: &Quantity, millis: i64) -> Option<String> {
    let text = amount.to_string();
    if millis == 0 {
        return Some("must be greater than 0; remove the line to request nothing".into());
    }
    match name {
        "cpu" if text.ends_with(|c: char| c.is_ascii_alphabetic() && c != 'm') => {
            Some(format!("must be cores, as `2`, or thousandths of a core, as `500m`, got {text}"))
        }
        "memory" | "disk" if millis < LEAST_MEMORY * 1000 => {
            Some(format!("must be at least 1Mi, got {text}{}", in_mebibytes(&text)))
        }
        "pids" if millis % 1000 != 0 => Some(format!("must be a whole number, got {text}")),
        _ => None,
    }
}

/// The proposal for an amount of bytes that is too small: `64`, `64m` and `64Ki` were meant as `64Mi`.
fn in_mebibytes(text: &str) -> String {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let fits = digits.parse::<f64>().is_ok_and(|number| number >= 1.0) && digits.len() < 7;
    if fits { format!(", did you mean `{digits}Mi`?") } else { String::new() }
}
