//! The configuration of an apiserver: a flag over the environment over the file over the default.

mod durations;

use std::path::PathBuf;
use std::time::Duration;

use berth_server::listen::Place;
use berth_server::{Options, Timing};
use berth_store::{EtcdOptions, Unsupported, etcd_addresses};
use clap::Parser;
use serde::Deserialize;

use durations::{Etcd, Keepalive, Liveness, fits_etcd};

pub use durations::Pings;

/// What was typed.
#[derive(Debug, Parser)]
#[command(name = "apiserver", version, about = "Serves the Berth API over a store")]
pub struct Flags {
    /// Where everything is kept: memory, embedded:DIR, or etcd:URL[,URL...]
    #[arg(long, env = "BERTH_STORE")]
    store: Option<String>,
    /// Where to listen: unix:PATH, or tcp:127.0.0.1:PORT; may be given more than once
    #[arg(long, env = "BERTH_LISTEN", value_delimiter = ',')]
    listen: Vec<String>,
    /// Use etcd 3.5.0 to 3.5.2, which can lose data
    #[arg(long, env = "BERTH_ALLOW_UNSUPPORTED_ETCD")]
    allow_unsupported_etcd: bool,
    /// Where the tests' recorder reads every revision of the store: unix:PATH
    #[cfg(debug_assertions)]
    #[arg(long, env = "BERTH_RAW_HISTORY", hide = true)]
    raw_history: Option<Place>,
    /// A YAML file with any of: store, listen, allowUnsupportedEtcd, windowBytes, windowSeconds, bookmarkSeconds,
    /// compactionSeconds, auditSeconds, liveness, etcd, keepalive
    #[arg(long, env = "BERTH_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct File {
    store: Option<String>,
    listen: Vec<String>,
    allow_unsupported_etcd: bool,
    window_bytes: Option<usize>,
    window_seconds: Option<u64>,
    bookmark_seconds: Option<u64>,
    compaction_seconds: Option<u64>,
    audit_seconds: Option<u64>,
    liveness: Liveness,
    etcd: Etcd,
    keepalive: Keepalive,
}

/// Where everything is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlace {
    /// Nowhere: it ends with the process.
    Memory,
    /// A folder of this machine.
    Embedded(PathBuf),
    /// The members of an etcd cluster.
    Etcd(Vec<String>),
}

/// How an apiserver is to work.
#[derive(Debug)]
pub struct Config {
    /// Where everything is kept.
    pub store: StorePlace,
    /// Where it listens.
    pub listen: Vec<Place>,
    /// How an etcd is used.
    pub etcd: EtcdOptions,
    /// How it serves.
    pub options: Options,
    /// How long one may be silent.
    pub liveness: Timing,
    /// Pings on the connections of clients.
    pub pings: Pings,
    /// Where every revision of the store is told, in test builds.
    #[cfg(debug_assertions)]
    pub raw_history: Option<Place>,
}

impl Config {
    /// Reads and checks everything; all faults at once.
    pub fn read(flags: Flags) -> Result<Self, Vec<String>> {
        let file = match &flags.config {
            Some(path) => read_file(path).map_err(|fault| vec![fault])?,
            None => File::default(),
        };
        let mut faults = Vec::new();
        let store = store_place(flags.store.or(file.store).as_deref(), &mut faults);
        let listen = if flags.listen.is_empty() { file.listen } else { flags.listen };
        if listen.is_empty() {
            faults.push("listen: is needed, as --listen unix:/run/berth/api.sock".into());
        }
        let places = listen.iter().filter_map(|text| match text.parse::<Place>() {
            Ok(place) => Some(place),
            Err(why) => {
                faults.push(format!("listen: {why}"));
                None
            }
        });
        let listen = places.collect();
        let defaults = Options::default();
        let options = Options {
            window_bytes: file.window_bytes.unwrap_or(defaults.window_bytes),
            window_age: seconds("windowSeconds", file.window_seconds, defaults.window_age, &mut faults),
            bookmarks: seconds("bookmarkSeconds", file.bookmark_seconds, defaults.bookmarks, &mut faults),
            audits: seconds("auditSeconds", file.audit_seconds, defaults.audits, &mut faults),
            compaction: seconds(
                "compactionSeconds",
                file.compaction_seconds,
                defaults.compaction,
                &mut faults,
            ),
        };
        let liveness = file.liveness.timing(&mut faults);
        if matches!(store, Some(StorePlace::Etcd(_))) {
            fits_etcd(&liveness, &mut faults);
        }
        let allowed = flags.allow_unsupported_etcd || file.allow_unsupported_etcd;
        let unsupported = if allowed { Unsupported::Allow } else { Unsupported::Refuse };
        let etcd = EtcdOptions { unsupported, ..file.etcd.options(&mut faults) };
        let pings = file.keepalive.pings(&mut faults);
        match store {
            Some(store) if faults.is_empty() => Ok(Self {
                store,
                listen,
                etcd,
                options,
                liveness,
                pings,
                #[cfg(debug_assertions)]
                raw_history: flags.raw_history,
            }),
            Some(_) | None => Err(faults),
        }
    }
}

fn read_file(path: &std::path::Path) -> Result<File, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|why| format!("config: could not read {}: {why}", path.display()))?;
    if text.trim().is_empty() {
        return Ok(File::default());
    }
    serde_yaml::from_str(&text).map_err(|why| format!("config: {}: {why}", path.display()))
}

fn seconds(field: &str, given: Option<u64>, default: Duration, faults: &mut Vec<String>) -> Duration {
    if given == Some(0) {
        faults.push(format!("{field}: must be at least 1, got 0"));
    }
    given.map_or(default, Duration::from_secs)
}

fn store_place(text: Option<&str>, faults: &mut Vec<String>) -> Option<StorePlace> {
    let Some(text) = text else {
        faults.push("store: is needed: memory, embedded:DIR or etcd:URL[,URL...]".into());
        return None;
    };
    match text.split_once(':') {
        None if text == "memory" => Some(StorePlace::Memory),
        Some(("embedded", folder)) if !folder.is_empty() => Some(StorePlace::Embedded(folder.into())),
        Some(("etcd", urls)) => match etcd_addresses(urls.split(',')) {
            Ok(addresses) => Some(StorePlace::Etcd(addresses)),
            Err(wrong) => {
                faults.extend(wrong.into_iter().map(|fault| format!("store: {fault}")));
                None
            }
        },
        Some(_) | None => {
            faults.push(format!("store: must be memory, embedded:DIR or etcd:URL[,URL...], got `{text}`"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Config, Vec<String>> {
        Config::read(Flags::parse_from([&["apiserver"], arguments].concat()))
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let faults =
            read(&["--store", "redis:x", "--listen", "tcp:0.0.0.0:7443,http://x,unix:"]).unwrap_err();
        expect_test::expect![[r#"
            store: must be memory, embedded:DIR or etcd:URL[,URL...], got `redis:x`
            listen: TCP without identity is served on loopback only, got `0.0.0.0:7443`
            listen: must be unix:PATH or tcp:ADDRESS:PORT, got `http://x`
            listen: unix: needs the path of a socket"#]]
        .assert_eq(&faults.join("\n"));
    }

    #[test]
    fn every_address_of_etcd_is_checked_before_the_first_connection() {
        let store = |text: &str| {
            let read = read(&["--store", text, "--listen", "unix:/a"]);
            read.map(|config| config.store).map_err(|faults| faults.join("\n"))
        };
        let two = vec!["http://a:1".to_owned(), "http://b:2".to_owned()];
        assert_eq!(store("etcd:HTTP://a:1/, http://b:2,\n"), Ok(StorePlace::Etcd(two)));
        expect_test::expect![[r#"
            store: etcd address `http://a` has no port; write http://HOST:PORT, as http://127.0.0.1:2379
            store: etcd address `b:2` does not begin with http://; write http://HOST:PORT, as http://127.0.0.1:2379"#]]
        .assert_eq(&store("etcd:http://a, http://b:2,b:2").unwrap_err());
        assert!(store("etcd:").is_err_and(|fault| fault.contains("no address of etcd is given")));
    }

    #[test]
    fn a_flag_wins_over_the_file_and_unknown_keys_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, "store: memory\nlisten: [unix:/a]\nbookmarkSeconds: 7\n").unwrap();
        let path = path.to_str().unwrap();
        let config = read(&["--config", path, "--store", "embedded:/d"]).unwrap();
        assert_eq!(config.store, StorePlace::Embedded("/d".into()));
        assert_eq!((config.listen.len(), config.options.bookmarks.as_secs()), (1, 7));
        std::fs::write(
            path,
            "store: etcd:http://x:2379\nlisten: [unix:/a]\nliveness: {serverTtlMillis: 1500, tickMillis: 0}\n",
        )
        .unwrap();
        let faults = read(&["--config", path]).unwrap_err();
        expect_test::expect![[r#"
            liveness.tickMillis: must be at least 1, got 0
            liveness.serverTtlMillis: must be whole seconds, at least 2, on etcd, got 1500"#]]
        .assert_eq(&faults.join("\n"));
        std::fs::write(path, "stoer: memory\n").unwrap();
        assert!(read(&["--config", path]).unwrap_err()[0].contains("unknown field `stoer`"));
    }

    #[test]
    fn the_raw_history_is_hidden_and_no_flag_of_a_release_build() {
        use clap::CommandFactory;

        assert!(!Flags::command().render_long_help().to_string().contains("raw-history"));
        let typed = ["apiserver", "--raw-history", "unix:/raw.sock"];
        assert_eq!(Flags::try_parse_from(typed).is_ok(), cfg!(debug_assertions));
    }
}
