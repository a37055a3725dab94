//! The configuration of the controllers: a flag over the environment over the file over the default.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_builtin::garbage::Limits;
use berth_builtin::node::MassVanish;
use berth_client::{Durations, Options};
use berth_runtime::Timing;
use clap::Parser;
use serde::Deserialize;

/// What was typed.
#[derive(Debug, Parser)]
#[command(name = "controllers", version, about = "Keeps a Berth cluster the way its objects say")]
pub struct Flags {
    /// Where an apiserver listens, as unix:/run/berth/api.sock; several with commas
    #[arg(long, env = "BERTH_SERVER", value_delimiter = ',')]
    server: Vec<String>,
    /// Run only these: app, node, garbage, scheduler
    #[arg(long, env = "BERTH_ONLY", value_delimiter = ',')]
    only: Vec<String>,
    /// Lead without a Lease, beside whoever holds it, and write without an epoch: in test builds only
    #[cfg(debug_assertions)]
    #[arg(long)]
    force_active: bool,
    /// A YAML file with any of: server, only, massVanish, garbage, lease, client
    #[arg(long, env = "BERTH_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct File {
    server: Vec<String>,
    only: Vec<String>,
    mass_vanish: MassVanishFile,
    garbage: GarbageFile,
    lease: LeaseFile,
    client: Durations,
}

/// How long a leader leads without a sign of life.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct LeaseFile {
    duration_millis: Option<u64>,
    renew_every_millis: Option<u64>,
    give_up_after_millis: Option<u64>,
}

/// When so many nodes vanish at once that nothing is replaced.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct MassVanishFile {
    more_than_nodes: Option<usize>,
    more_than_percent: Option<usize>,
    within_seconds: Option<u64>,
}

/// How long things are kept.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct GarbageFile {
    finished_tasks: Option<usize>,
    finished_task_seconds: Option<u64>,
    events: Option<usize>,
    event_seconds: Option<u64>,
    gone_event_seconds: Option<u64>,
}

/// A controller of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Name {
    App,
    Node,
    Garbage,
    Scheduler,
}

/// How the controllers are to work.
#[derive(Debug)]
pub struct Config {
    /// Where apiservers listen.
    pub server: Vec<String>,
    /// Which controllers run.
    pub only: BTreeSet<Name>,
    /// When nothing is replaced.
    pub mass_vanish: MassVanish,
    /// How long things are kept.
    pub garbage: Limits,
    /// By what right they act.
    pub leading: Leading,
    /// How long calls may take.
    pub client: Options,
}

/// By what right controllers act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leading {
    /// Each by its Lease.
    ByLease(Timing),
    /// None, so that a test sees what two leaders do.
    #[cfg(debug_assertions)]
    Forced,
}

impl Name {
    /// All of them.
    pub const ALL: [Name; 4] = [Name::App, Name::Node, Name::Garbage, Name::Scheduler];

    fn word(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Node => "node",
            Self::Garbage => "garbage",
            Self::Scheduler => "scheduler",
        }
    }
}

impl Config {
    /// Reads and checks everything; all faults at once.
    pub fn read(flags: Flags) -> Result<Self, Vec<String>> {
        let file = match &flags.config {
            Some(path) => read_file(path).map_err(|fault| vec![fault])?,
            None => File::default(),
        };
        let mut faults = Vec::new();
        let server = if flags.server.is_empty() { file.server } else { flags.server };
        if server.is_empty() {
            faults.push("server: is needed, as --server unix:/run/berth/api.sock".into());
        }
        let words = if flags.only.is_empty() { file.only } else { flags.only };
        let only = names(&words, &mut faults);
        let mass_vanish = mass_vanish(&file.mass_vanish, &mut faults);
        let garbage = limits(&file.garbage);
        let leading = Leading::ByLease(lease(&file.lease, &mut faults));
        #[cfg(debug_assertions)]
        let leading = if flags.force_active { Leading::Forced } else { leading };
        let client = file.client.options(&mut faults);
        let config = Self { server, only, mass_vanish, garbage, leading, client };
        if faults.is_empty() { Ok(config) } else { Err(faults) }
    }
}

fn read_file(path: &Path) -> Result<File, String> {
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|why| format!("config: could not read {}: {why}", path.display()))?;
    if text.trim().is_empty() {
        return Ok(File::default());
    }
    serde_yaml::from_str(&text).map_err(|why| format!("config: {}: {why}", path.display()))
}

fn names(words: &[String], faults: &mut Vec<String>) -> BTreeSet<Name> {
    if words.is_empty() {
        return Name::ALL.into();
    }
    let mut names = BTreeSet::new();
    for word in words {
        match Name::ALL.into_iter().find(|name| name.word() == word) {
            Some(name) => {
                names.insert(name);
            }
            None => faults.push(format!("only: must be app, node, garbage or scheduler, got `{word}`")),
        }
    }
    names
}

fn mass_vanish(given: &MassVanishFile, faults: &mut Vec<String>) -> MassVanish {
    let default = MassVanish::default();
    let percent = given.more_than_percent.unwrap_or(default.percent);
    if percent > 100 {
        faults.push(format!("massVanish.moreThanPercent: must be at most 100, got {percent}"));
    }
    MassVanish {
        nodes: given.more_than_nodes.unwrap_or(default.nodes),
        percent,
        within: given.within_seconds.map_or(default.within, Duration::from_secs),
    }
}

fn lease(given: &LeaseFile, faults: &mut Vec<String>) -> Timing {
    let default = Timing::default();
    let mut millis = |field: &str, given: Option<u64>, default: Duration| {
        if given == Some(0) {
            faults.push(format!("lease.{field}: must be at least 1, got 0"));
        }
        given.map_or(default, Duration::from_millis)
    };
    let timing = Timing {
        duration: millis("durationMillis", given.duration_millis, default.duration),
        renew_every: millis("renewEveryMillis", given.renew_every_millis, default.renew_every),
        give_up_after: millis("giveUpAfterMillis", given.give_up_after_millis, default.give_up_after),
    };
    faults.extend(timing.faults());
    timing
}

fn limits(given: &GarbageFile) -> Limits {
    let default = Limits::default();
    Limits {
        finished_tasks: given.finished_tasks.unwrap_or(default.finished_tasks),
        finished_at_most: given.finished_task_seconds.map_or(default.finished_at_most, Duration::from_secs),
        events: given.events.unwrap_or(default.events),
        events_for: given.event_seconds.map_or(default.events_for, Duration::from_secs),
        events_of_gone_for: given.gone_event_seconds.map_or(default.events_of_gone_for, Duration::from_secs),
        ..default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Config, Vec<String>> {
        Config::read(Flags::parse_from([&["controllers"], arguments].concat()))
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let faults = read(&["--only", "app,nodes"]).unwrap_err();
        expect_test::expect![[r#"
            server: is needed, as --server unix:/run/berth/api.sock
            only: must be app, node, garbage or scheduler, got `nodes`"#]]
        .assert_eq(&faults.join("\n"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        let durations = "{durationMillis: 2000, giveUpAfterMillis: 2000, renewEveryMillis: 2500}";
        std::fs::write(&path, format!("server: [unix:/a]\nlease: {durations}\n")).unwrap();
        let faults = read(&["--config", path.to_str().unwrap()]).unwrap_err();
        expect_test::expect![[r#"
            lease.giveUpAfterMillis (2000) must be less than durationMillis (2000), or two lead at once
            lease.renewEveryMillis (2500) must be less than giveUpAfterMillis (2000), or a leader gives up between two renewals"#]]
        .assert_eq(&faults.join("\n"));
    }

    #[test]
    fn a_flag_wins_over_the_file_and_unknown_keys_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, "server: [unix:/a]\nonly: [app]\nmassVanish:\n  moreThanNodes: 7\n").unwrap();
        let config = read(&["--config", path.to_str().unwrap(), "--only", "node,garbage"]).unwrap();
        assert_eq!(config.server, ["unix:/a"]);
        assert_eq!(config.only, BTreeSet::from([Name::Node, Name::Garbage]));
        assert_eq!((config.mass_vanish.nodes, config.mass_vanish.percent), (7, 50));
        std::fs::write(&path, "sever: [unix:/a]\n").unwrap();
        let faults = read(&["--config", path.to_str().unwrap()]).unwrap_err();
        assert!(faults[0].contains("unknown field `sever`"), "{faults:?}");
    }
}
