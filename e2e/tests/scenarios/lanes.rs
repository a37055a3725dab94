//! Which scenario runs where and when: each in a process of its own, so that what one mounts, listens on and counts is
//! its own, and several at a time.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use berth_e2e::StoreForm::{self, Embedded, Etcd};
use berth_e2e::{hits, limited, soak, wait};
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};

/// How many run at once when nobody says otherwise: on two cores, for most of a scenario is waiting. Each takes a third
/// to a half of a core.
const LANES: usize = 4;
/// The environment variable by which somebody else runs the scenarios, beside all other tests.
const ELSEWHERE: &str = "BERTH_SCENARIOS";
/// The environment variable that names the scenario that a process is for.
const OWN: &str = "BERTH_SCENARIO";

/// How long a scenario may take on a busy machine; in a soak one takes full durations and kills hundreds of times.
fn limit() -> Duration {
    Duration::from_secs(if soak::soaking() { 3600 } else { 900 })
}

/// How long one whose time is over has to end by itself: it says what it waited for, and what the history shows.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// The scenarios that take more than 20 s, the longest first: they run first, beside each other, and the short ones fill
/// what is left.
const LONGEST: [&str; 17] = [
    "a_rollout_ends_the_same_wherever_servers_and_controllers_are_killed",
    "three_members_lose_one_and_most",
    "an_agent_killed_anywhere_restarts_nothing",
    "an_older_snapshot_is_restored",
    "a_clock_set_by_an_hour_changes_nothing",
    "the_embedded_stores_disk_is_full",
    "an_etcd_at_its_quota_is_read_and_comes_back",
    "two_schedulers_bind_exactly_what_fits",
    "every_manifest_runs",
    "etcds_disk_is_full",
    "an_image_scales_rolls_and_is_undone",
    "a_rebooted_node_believes_nothing_and_signals_no_stranger",
    "containers_outlive_every_part",
    "the_agents_disk_is_full",
    "a_killed_shim_is_noticed_and_nothing_runs_twice",
    "one_way_cuts_and_a_black_hole_are_noticed_and_healed",
    "answers_and_watches_stay_true_while_apiservers_die",
];

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

    /// Where it comes among all: what takes the whole machine last.
    fn turn(&self) -> (bool, usize) {
        let name = self.name.split(' ').next().unwrap_or_default();
        let place = LONGEST.iter().position(|long| *long == name).unwrap_or(LONGEST.len());
        (self.company == Company::None, place)
    }

    /// In this process.
    fn here(&self) {
        wait::limit(limit());
        tell_when_over(limit());
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
    let mut command = Command::new(program);
    let own = limit() + ENDS_WITHIN;
    let cut = soak::time_left().filter(|left| *left < own);
    let ran = limited::run(command.env(OWN, name).env(soak::TALLY, tally), cut.unwrap_or(own));
    let ran = ran.map_err(|why| if cut.is_some() { format!("{}\n{why}", soak::CUT) } else { why })?;
    if ran.status.success() { Ok(()) } else { Err(format!("{}\n{}", ran.status, ran.said).into()) }
}

/// Says what this process waits for when its time is over, whatever holds it up.
fn tell_when_over(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        eprintln!("the scenario's {limit:?} are over\n{}", wait::waits());
    });
}

/// Runs what the command line asks for, or the one scenario that this process is for. A whole run also fails when a
/// failpoint was never reached.
pub fn run(mut scenarios: Vec<Scenario>) {
    if let Ok(own) = env::var(OWN) {
        berth_e2e::namespaces::enter();
        scenarios.iter().find(|scenario| scenario.name == own).expect("a scenario of this name").here();
        return;
    }
    if env::var_os(ELSEWHERE).is_some_and(|said| said == "elsewhere") {
        return;
    }
    let is_there =
        |name: &&str| scenarios.iter().any(|scenario| scenario.name.starts_with(&format!("{name} (")));
    assert!(LONGEST.iter().all(is_there), "a scenario of LONGEST has another name now");
    scenarios.sort_by_key(Scenario::turn);
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
