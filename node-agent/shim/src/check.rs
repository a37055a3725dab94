//! Whether containers can be confined on this machine, tried on a program of our own.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::hardening::harden;
use crate::helper::chain;
use crate::seccomp;

/// Starts this program anew as containers' programs are started, to show what it finds itself under.
pub fn check() -> Result<(), String> {
    let filter = seccomp::compile().map_err(|error| chain(&error))?;
    harden(&filter).map_err(|error| chain(&error))?;
    let error = Command::new("/proc/self/exe").arg("--show").env_clear().exec();
    Err(format!("could not execute a program under the filter: {error}"))
}

/// Prints what this process is confined by.
pub fn show() -> Result<(), String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| chain(&error))?;
    let confinement = |line: &&str| ["NoNewPrivs:", "Seccomp:"].iter().any(|field| line.starts_with(field));
    status.lines().filter(confinement).for_each(|line| println!("{line}"));
    Ok(())
}
