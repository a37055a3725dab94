//! Which scenario runs where and when: each in a process of its own, so that what one mounts, listens on and counts is
//! its own, and two at a time.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, PoisonError, RwLock};

use berth_e2e::StoreForm::{self, Embedded, Etcd};
use berth_e2e::{hits, soak};
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};

/// How many run at once when nobody says otherwise.
const LANES: usize = 2;
/// The environment variable that names the scenario that a process is for.
const OWN: &str = "BERTH_SCENARIO";

/// A scenario on one store.
pub struct Scenario {
    name: String,
    form: StoreForm,
    carry_out: fn(StoreForm),
    company: Company,
}

/// What may run beside a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Company {
    /// Another one.
    Any,
    /// Nothing: it takes the whole machine.
    None,
}

impl Scenario {
    /// The scenario `name` on a store.
    pub fn new(name: &str, form: StoreForm, carry_out: fn(StoreForm)) -> Self {
        let store = match form {
            Embedded => "embedded".to_string(),
            Etcd(version) => format!("etcd {version}"),
        };
        Self { name: format!("{name} ({store})"), form, carry_out, company: Company::Any }
    }

    /// The same, with nothing beside it.
    pub fn alone(self) -> Self {
        Self { company: Company::None, ..self }
    }

    /// In this process.
    fn here(&self) {
        soak::scenario(&self.name, || (self.carry_out)(self.form));
    }

    /// In a process of its own, which tells `tally` what it counts.
    fn trial(self, turn: Arc<RwLock<()>>, tally: PathBuf) -> Trial {
        Trial::test(self.name.clone(), move || match self.company {
            Company::Any => {
                let _turn = turn.read().unwrap_or_else(PoisonError::into_inner);
                in_own_process(&self.name, &tally)
            }
            Company::None => {
                let _turn = turn.write().unwrap_or_else(PoisonError::into_inner);
                in_own_process(&self.name, &tally)
            }
        })
    }
}

fn in_own_process(name: &str, tally: &Path) -> Result<(), Failed> {
    let program = env::current_exe()?;
    let ran = Command::new(program).env(OWN, name).env(soak::TALLY, tally).output()?;
    if ran.status.success() {
        return Ok(());
    }
    let said = [&*String::from_utf8_lossy(&ran.stdout), &*String::from_utf8_lossy(&ran.stderr)].concat();
    Err(format!("{}\n{said}", ran.status).into())
}

/// Runs what the command line asks for, or the one scenario that this process is for. A whole run also fails when a
/// failpoint was never reached.
pub fn run(scenarios: Vec<Scenario>) {
    if let Ok(own) = env::var(OWN) {
        berth_e2e::namespaces::enter();
        scenarios.iter().find(|scenario| scenario.name == own).expect("a scenario of this name").here();
        return;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(LANES);
    // The tally of a soak goes on; another run's lasts as long as it.
    let kept = tempfile::NamedTempFile::new().expect("a file for the tally");
    let tally = env::var_os(soak::TALLY).map_or_else(|| kept.path().to_owned(), PathBuf::from);
    let before = fs::metadata(&tally).map_or(0, |file| file.len());
    let turn = Arc::new(RwLock::new(()));
    let trials = scenarios.into_iter().map(|scenario| scenario.trial(turn.clone(), tally.clone())).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let reached = is_whole(&arguments, &conclusion).then(|| verdict(&tally, before));
    drop(kept);
    match reached {
        Some(Err(never)) => {
            println!("{never}");
            std::process::exit(101);
        }
        Some(Ok(table)) => println!("{table}"),
        None => {}
    }
    conclusion.exit();
}

fn is_whole(arguments: &Arguments, conclusion: &Conclusion) -> bool {
    !arguments.list && conclusion.num_filtered_out == 0 && conclusion.num_ignored == 0
}

/// How often each failpoint was reached since `before`.
fn verdict(tally: &Path, before: u64) -> Result<String, String> {
    let before = usize::try_from(before).map_err(|error| error.to_string())?;
    let told = soak::hits_told(tally, before).map_err(|error| format!("{}: {error}", tally.display()))?;
    hits::verdict(&told)
}
