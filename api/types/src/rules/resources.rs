//! What the requests and limits of a container keep.

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
    check_list(&resources.requests, REQUESTS, &at.field("requests"), faults);
    check_list(&resources.limits, LIMITS, &at.field("limits"), faults);
    for (name, request) in &resources.requests {
        let Some(limit) = resources.limits.get(name) else { continue };
        if let (Ok(asked), Ok(most)) = (request.millis(), limit.millis())
            && asked > most
        {
            let requests = at.field("requests");
            let message = format!("must be at most the limit, which is {limit}, got {request}");
            faults.add(&requests.entry(name), Rule::Invalid, message);
        }
    }
}

fn check_list(list: &ResourceList, known: [&str; 3], at: &At, faults: &mut Faults) {
    for (name, amount) in list {
        let here = at.entry(name);
        if !known.contains(&name.as_str()) {
            faults.add(&here, Rule::Unknown, unknown(name, known));
            continue;
        }
        check_amount(name, amount, &here, faults);
    }
}

fn unknown(name: &str, known: [&str; 3]) -> String {
    match spelling::hint(name, known) {
        hint if hint.is_empty() => {
            format!("unknown resource `{}`, known here: {}", short(name), known.join(", "))
        }
        hint => format!("unknown resource `{}`{hint}", short(name)),
    }
}

fn check_amount(name: &str, amount: &Quantity, at: &At, faults: &mut Faults) {
    let Ok(millis) = amount.millis() else { return };
    if millis == 0 {
        faults.add(at, Rule::Invalid, "must be more than 0: take the line out to ask for nothing");
        return;
    }
    if matches!(name, "memory" | "disk") && millis < LEAST_MEMORY * 1000 {
        let hint =
            amount.to_string().parse::<u32>().map(|n| format!(", did you mean `{n}Mi`?")).unwrap_or_default();
        faults.add(at, Rule::Invalid, format!("must be at least 1Mi, got {amount}{hint}"));
    }
    if name == "pids" && millis % 1000 != 0 {
        faults.add(at, Rule::Invalid, format!("must be a whole number, got {amount}"));
    }
}
