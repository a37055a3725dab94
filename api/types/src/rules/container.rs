//! What a container keeps.

use std::collections::HashMap;
use std::path::{Component, Path};

use crate::expand::{LONGEST, STACK, expanded_size, taken, together};
use crate::fault::{Faults, Rule};
use crate::image::ImageRef;
use crate::name;
use crate::path::At;
use crate::task::{Container, EnvVar};

use super::{at_most, bounded, probe, resources};

/// The most variables of one container.
const VARIABLES: usize = 1000;
/// The most bytes of command and arguments together.
const COMMAND_BYTES: usize = 128 << 10;

/// Adds what is wrong with `container`, in a Task whose ports have these names.
pub(super) fn check(container: &Container, ports: &[&str], at: &At, faults: &mut Faults) {
    faults.text(&at.field("name"), &container.name, name::dns_label);
    if container.image.is_empty() {
        if container.command.is_empty() {
            let message = "is needed without an image: what runs then is a program of the node";
            faults.add(&at.field("command"), Rule::Required, message);
        }
    } else {
        faults.text(&at.field("image"), &container.image, |image| ImageRef::parse(image).map(drop));
    }
    check_command(container, at, faults);
    if !container.working_dir.is_empty() {
        faults.text(&at.field("workingDir"), &container.working_dir, absolute);
    }
    check_env(&container.env, &at.field("env"), faults);
    check_sizes(container, at, faults);
    resources::check(&container.resources, &at.field("resources"), faults);
    probe::check(container, ports, at, faults);
    if let Some(context) = &container.security_context {
        let here = at.field("securityContext");
        // The highest number means "leave as it is" to the kernel.
        let most = i64::from(u32::MAX) - 1;
        bounded(faults, &here.field("runAsUser"), context.run_as_user, 0, most);
        bounded(faults, &here.field("runAsGroup"), context.run_as_group, 0, most);
    }
}

fn check_command(container: &Container, at: &At, faults: &mut Faults) {
    let mut bytes = 0;
    for (field, words) in [("command", &container.command), ("args", &container.args)] {
        let here = at.field(field);
        for (index, word) in words.iter().enumerate() {
            bytes += word.len() + 1;
            faults.text(&here.item(index), word, no_nul);
        }
    }
    if bytes > COMMAND_BYTES {
        let message = format!("must be at most {COMMAND_BYTES} bytes together with args, got {bytes}");
        faults.add(&at.field("command"), Rule::Invalid, message);
    }
    if container.command.first().is_some_and(String::is_empty) {
        let here = at.field("command");
        faults.add(&here.item(0), Rule::Invalid, "must name a program, got nothing");
    }
}

fn check_env(env: &[EnvVar], at: &At, faults: &mut Faults) {
    at_most(faults, at, env.len(), VARIABLES);
    for (index, variable) in env.iter().enumerate() {
        let here = at.item(index);
        faults.text(&here.field("name"), &variable.name, name::env_var);
        faults.text(&here.field("value"), &variable.value, no_nul);
    }
}

/// Refuses what cannot be started because of its size once references are replaced. A reference to a name that the
/// manifest does not define before counts nothing: image, ports or node may define it, and the agent has the last word.
fn check_sizes(container: &Container, at: &At, faults: &mut Faults) {
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    let mut all = 0usize;
    let env = at.field("env");
    for (index, variable) in container.env.iter().enumerate() {
        let bytes = least_size(&variable.value, &sizes);
        let here = env.item(index);
        let here = here.field("value");
        let fits = check_size(
            bytes.saturating_add(variable.name.len() + 1),
            "with its name, references replaced",
            &here,
            &mut all,
            faults,
        );
        // Counted as nothing from here on: what refers to it is not at fault.
        sizes.insert(&variable.name, if fits { bytes } else { 0 });
    }
    for (field, words) in [("command", &container.command), ("args", &container.args)] {
        let here = at.field(field);
        for (index, word) in words.iter().enumerate() {
            let bytes = least_size(word, &sizes);
            check_size(bytes, "once references are replaced", &here.item(index), &mut all, faults);
        }
    }
    let most = together(STACK);
    if all > most {
        let message = format!(
            "must be at most {most} bytes together with command and args, references replaced, got {all}"
        );
        faults.add(&env, Rule::Invalid, message);
    }
}

/// Adds to `all` what a text takes, and a fault if it is too long by itself.
fn check_size(bytes: usize, counted: &str, at: &At, all: &mut usize, faults: &mut Faults) -> bool {
    if bytes > LONGEST {
        faults.add(at, Rule::Invalid, format!("must be at most {LONGEST} bytes {counted}, got {bytes}"));
        return false;
    }
    *all = all.saturating_add(taken(bytes));
    true
}

fn least_size(text: &str, sizes: &HashMap<&str, usize>) -> usize {
    expanded_size(text, |name| Some(sizes.get(name).copied().unwrap_or(0)))
}

fn no_nul(text: &str) -> Result<(), String> {
    if text.contains('\0') { Err("must not have a NUL character in it".into()) } else { Ok(()) }
}

/// An absolute path without steps upwards.
fn absolute(path: &str) -> Result<(), String> {
    no_nul(path)?;
    let upwards = Path::new(path).components().any(|part| part == Component::ParentDir);
    if !path.starts_with('/') || upwards {
        return Err(format!("must be an absolute path without `..`, got `{}`", path.escape_debug()));
    }
    if path.len() > 4095 {
        return Err(format!("must be at most 4095 bytes, got {}", path.len()));
    }
    Ok(())
}
