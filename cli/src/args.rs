//! What was typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where the API is without a flag.
pub const SERVER: &str = "unix:/run/berth/api.sock";
/// The data folder without a flag.
pub const DATA: &str = "/var/lib/berth";
/// The run folder without a flag.
pub const RUN: &str = "/run/berth";
/// Host ports for Tasks without a flag.
pub const PORTS: &str = "31000-32000";

/// Talks to a Berth cluster, and runs one on this machine.
#[derive(Debug, Parser)]
#[command(name = "ctl", version, arg_required_else_help = true, after_help = EXIT_CODES)]
#[command(disable_help_subcommand = false, propagate_version = false)]
pub struct Cli {
    /// API server; several by commas
    #[arg(long, env = "CTL_SERVER", default_value = SERVER, global = true)]
    pub server: String,
    /// Namespace that names without one belong to [default: default]
    #[arg(short, long, env = "CTL_NAMESPACE", global = true, hide_env_values = true)]
    pub namespace: Option<String>,
    #[command(subcommand)]
    pub verb: Verb,
}

const EXIT_CODES: &str = "\
Kinds can be written as app, apps or App; objects as KIND NAME or KIND/NAME.

Exit codes:
    0  it worked
    1  the operation failed, or what get, logs, describe or validate print could not be written
    2  the command line or a manifest is wrong, or a yes is missing; nothing was changed
    3  timed out waiting
    4  not allowed
    5  conflict with somebody else's change
    6  what was waited for cannot come any more (a failed rollout)
    7  no API server answers
  130  interrupted";

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Bring objects to what manifests say
    Apply(ApplyArgs),
    /// Show objects in a table, or as JSON or YAML
    Get(GetArgs),
    /// Tell the story of objects: what is asked for, what is there, and why
    Describe(DescribeArgs),
    /// Delete objects
    Delete(DeleteArgs),
    /// Change how many Tasks an App has
    Scale(ScaleArgs),
    /// Watch, undo or restart the rollout of an App
    #[command(subcommand)]
    Rollout(RolloutVerb),
    /// Print what the containers of a Task, or of all Tasks of an App, wrote
    Logs(LogsArgs),
    /// Wait until objects are as they should be
    Wait(WaitArgs),
    /// Check manifests without a server
    Validate(ValidateArgs),
    /// Show the versions of ctl and the server
    Version(VersionArgs),
    /// Run Berth on this machine
    Up(UpArgs),
    /// Stop Berth on this machine and everything it runs; keep its data
    Down(DownArgs),
}

#[derive(Debug, Args)]
pub struct Files {
    /// File or directory with manifests, or - for standard input; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// File or directory with manifests, or - for standard input; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", required = true)]
    pub files: Vec<PathBuf>,
    /// Take fields over from whoever else set them
    #[arg(long)]
    pub force_conflicts: bool,
    /// Change nothing: only check (client), or ask the server what would happen (server)
    #[arg(long, value_enum, default_value_t = DryRun::None)]
    pub dry_run: DryRun,
    /// Wait until Apps are rolled out
    #[arg(long)]
    pub wait: bool,
    /// How long --wait waits, as 30s, 5m; 0 for ever
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    None,
    Client,
    Server,
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// KIND [NAME...], KIND/NAME... or KIND,KIND
    #[arg(required = true, value_name = "KIND [NAME...]")]
    pub objects: Vec<String>,
    /// Form of the output
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
    /// Go on with every change
    #[arg(short, long)]
    pub watch: bool,
    /// Only objects with these labels, as app=web,tier!=test
    #[arg(short = 'l', long, default_value = "", hide_default_value = true)]
    pub selector: String,
    /// Only objects with these fields, as metadata.name=web
    #[arg(long, default_value = "", hide_default_value = true)]
    pub field_selector: String,
    /// In all Namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Without the line of column heads
    #[arg(long)]
    pub no_headers: bool,
    /// With a column of labels
    #[arg(long)]
    pub show_labels: bool,
    /// With managedFields in JSON and YAML
    #[arg(long)]
    pub show_managed_fields: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Wide,
    Json,
    Yaml,
    Name,
}

#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// KIND [NAME...] or KIND/NAME...
    #[arg(required = true, value_name = "KIND [NAME...]")]
    pub objects: Vec<String>,
    /// Only objects with these labels
    #[arg(short = 'l', long, default_value = "", hide_default_value = true)]
    pub selector: String,
    /// In all Namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// KIND NAME... or KIND/NAME...
    #[arg(value_name = "KIND NAME...", required_unless_present = "files")]
    pub objects: Vec<String>,
    #[command(flatten)]
    pub files: Files,
    /// Objects with these labels
    #[arg(short = 'l', long, default_value = "", hide_default_value = true)]
    pub selector: String,
    /// All objects of the kind in the Namespace
    #[arg(long, conflicts_with = "selector")]
    pub all: bool,
    /// Wait until they are gone
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    pub wait: bool,
    /// How long to wait, as 30s, 5m; 0 for ever
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
    /// Whether what belongs to the objects goes too (background) or stays (orphan)
    #[arg(long, value_enum, default_value_t = Cascade::Background)]
    pub cascade: Cascade,
    /// Seconds between TERM and KILL of Tasks, when fewer than they ask for
    #[arg(long)]
    pub grace_period: Option<u32>,
    /// Objects that do not exist are no error
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Do not ask before deleting a Node on which Tasks run
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Cascade {
    Background,
    Orphan,
}

#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// app NAME or app/NAME
    #[arg(required = true, value_name = "app/NAME")]
    pub objects: Vec<String>,
    /// How many Tasks
    #[arg(long, allow_negative_numbers = true)]
    pub replicas: u32,
    /// Wait until the App has them
    #[arg(long)]
    pub wait: bool,
    /// How long --wait waits, as 30s, 5m; 0 for ever
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub enum RolloutVerb {
    /// Wait until the present rollout is done; exit code 6 as soon as it cannot be
    Status(RolloutStatusArgs),
    /// Go back to an earlier template
    Undo(RolloutUndoArgs),
    /// Replace every Task by the rules of a rolling update
    Restart(RolloutArgs),
    /// List the templates that can be gone back to
    History(RolloutArgs),
}

#[derive(Debug, Args)]
pub struct RolloutArgs {
    /// app NAME or app/NAME
    #[arg(required = true, value_name = "app/NAME")]
    pub objects: Vec<String>,
}

#[derive(Debug, Args)]
pub struct RolloutStatusArgs {
    /// app NAME or app/NAME
    #[arg(required = true, value_name = "app/NAME")]
    pub objects: Vec<String>,
    /// How long to wait, as 30s, 5m; 0 for ever
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
    /// Only say how it stands (false) or wait for its end (true)
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    pub watch: bool,
}

#[derive(Debug, Args)]
pub struct RolloutUndoArgs {
    /// app NAME or app/NAME
    #[arg(required = true, value_name = "app/NAME")]
    pub objects: Vec<String>,
    /// Number of the template in `rollout history`; the one before the present one when absent
    #[arg(long)]
    pub to_revision: Option<i64>,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// NAME or task/NAME of a Task, or app/NAME for all Tasks of an App
    #[arg(required = true, value_name = "TASK|app/NAME")]
    pub objects: Vec<String>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Of the attempt before the present one
    #[arg(short, long)]
    pub previous: bool,
    /// Only so many lines of what is there
    #[arg(long, allow_negative_numbers = true)]
    pub tail: Option<u32>,
    /// Of this container; all when absent
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub container: String,
}

#[derive(Debug, Args)]
pub struct WaitArgs {
    /// KIND NAME... or KIND/NAME...
    #[arg(required = true, value_name = "KIND/NAME...")]
    pub objects: Vec<String>,
    /// condition=Available, condition=Ready=false, delete, or jsonpath={.status.phase}=Running
    #[arg(long = "for", value_name = "WHAT")]
    pub what: String,
    /// Objects with these labels
    #[arg(short = 'l', long, default_value = "", hide_default_value = true)]
    pub selector: String,
    /// How long to wait, as 30s, 5m; 0 for ever
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// File or directory with manifests, or - for standard input; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", required = true)]
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Form of the output
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
    /// Only that of ctl, without asking a server
    #[arg(long)]
    pub client: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Folders {
    /// Folder of what lasts: the store, images, logs
    #[arg(long, env = "BERTH_DATA", default_value = DATA, value_name = "DIR")]
    pub data: PathBuf,
    /// Folder of what does not outlive a boot: sockets and locks
    #[arg(long, env = "BERTH_RUN", default_value = RUN, value_name = "DIR")]
    pub run: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    #[command(flatten)]
    pub folders: Folders,
    /// Keep the objects in etcd at these URLs instead of the data folder
    #[arg(long, env = "BERTH_ETCD", value_name = "URL,URL", value_delimiter = ',')]
    pub etcd: Vec<String>,
    /// Take an etcd with known faults (below 3.5.13)
    #[arg(long)]
    pub allow_unsupported_etcd: bool,
    /// Name of this machine's Node [default: its host name]
    #[arg(long, env = "BERTH_NODE_NAME")]
    pub node_name: Option<String>,
    /// Host ports that Tasks may be given
    #[arg(long, env = "BERTH_PORTS", default_value = PORTS, value_name = "A-B")]
    pub ports: String,
    /// Come back once it is up, leaving it running in the background
    #[arg(long)]
    pub detach: bool,
    /// This is the process in the background
    #[arg(long, hide = true)]
    pub detached: bool,
    /// How long it may take to come up
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub struct DownArgs {
    #[command(flatten)]
    pub folders: Folders,
    /// Remove the data too: objects, images, logs
    #[arg(long)]
    pub delete_data: bool,
    /// Do not ask
    #[arg(long, requires = "delete_data")]
    pub yes: bool,
}

/// A span of time as `90s`, `5m`, `2h`, or a bare number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("must be a number with s, m or h, got `{text}`");
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => match text.chars().last() {
            Some('s') => (&text[..text.len() - 1], 1_000),
            Some('m') => (&text[..text.len() - 1], 60_000),
            Some('h') => (&text[..text.len() - 1], 3_600_000),
            _ => (text, 1_000),
        },
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_millis(u64::from(number) * unit))
}
