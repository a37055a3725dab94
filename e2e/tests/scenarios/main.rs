//! Scenarios end to end: real processes, real containers, a real store; one fault each, then what must happen in the
//! end and what must hold all along. Each in a process of its own, several at a time: most of a scenario is waiting.

use berth_e2e::StoreForm::{self, Embedded, Etcd};
use berth_e2e::soak;
use lanes::Scenario;
use stores::{disks, members, restored, space};

mod census;
mod clocks;
mod copies;
mod crashes;
mod images;
mod isolation;
mod kills;
mod lanes;
mod leaders;
mod load;
mod manifests;
mod operator;
mod outages;
mod overload;
mod pager;
mod partitions;
mod ports;
mod recorder;
mod released;
mod replicas;
mod rollout;
mod simulated;
mod stores;
mod tutorial;
mod up;

const ETCD: StoreForm = Etcd("3.5.1");
const OLD_ETCD: StoreForm = Etcd("3.4.23");

/// One scenario on each of these stores.
macro_rules! on {
    ($module:ident :: $scenario:ident, $($form:expr),+) => {
        forms(&[$($form),+]).map(|form| Scenario::new(stringify!($scenario), form, $module::$scenario)).collect::<Vec<_>>()
    };
}

/// The stores of a scenario. In a soak what runs on both kinds of store runs on the older etcd too.
fn forms(asked: &'static [StoreForm]) -> impl Iterator<Item = StoreForm> {
    let older = soak::soaking() && asked.starts_with(&[Embedded, ETCD]) && !asked.contains(&OLD_ETCD);
    asked.iter().copied().chain(older.then_some(OLD_ETCD))
}

/// What takes the whole machine.
fn alone(scenarios: Vec<Scenario>) -> Vec<Scenario> {
    scenarios.into_iter().map(Scenario::alone).collect()
}

fn main() {
    lanes::run(all());
}

fn all() -> Vec<Scenario> {
    let scenarios = [
        on!(replicas::three_replicas_answer_and_leave_nothing, Embedded, ETCD, OLD_ETCD),
        on!(rollout::an_image_scales_rolls_and_is_undone, Embedded, ETCD),
        on!(crashes::a_killed_container_restarts_in_place, Embedded, ETCD),
        on!(crashes::a_memory_hog_is_oom_killed, Embedded, ETCD),
        on!(crashes::a_task_that_fits_nowhere_says_why, Embedded, ETCD),
        on!(crashes::an_exit_code_and_the_last_words_are_kept, Embedded, ETCD),
        on!(ports::a_port_that_a_stranger_holds_makes_no_task_ready_and_names_the_stranger, Embedded),
        on!(kills::containers_outlive_every_part, Embedded, ETCD),
        on!(kills::containers_outlive_all_parts_at_once, Embedded, ETCD),
        on!(kills::an_exit_while_the_agent_is_away_is_reported, Embedded, ETCD),
        on!(kills::a_container_that_is_long_in_creation_holds_up_nobody_when_the_agent_restarts, Embedded),
        on!(kills::an_agent_killed_anywhere_restarts_nothing, Embedded, ETCD),
        on!(kills::a_task_that_ends_its_agent_is_refused_and_one_that_is_hit_by_kills_is_not, Embedded, ETCD),
        on!(kills::a_template_that_took_down_the_agents_of_two_nodes_goes_to_no_third, Embedded),
        on!(kills::a_killed_shim_is_noticed_and_nothing_runs_twice, Embedded, ETCD),
        on!(kills::a_rollout_ends_the_same_wherever_servers_and_controllers_are_killed, Embedded, ETCD),
        on!(kills::a_rebooted_node_believes_nothing_and_signals_no_stranger, Embedded, ETCD),
        on!(load::answers_and_watches_stay_true_while_apiservers_die, Embedded, ETCD),
        on!(partitions::a_node_cut_off_is_replaced_and_stops_its_tasks_when_it_returns, ETCD),
        on!(partitions::one_way_cuts_and_a_black_hole_are_noticed_and_healed, ETCD),
        on!(outages::the_only_apiserver_paused_replaces_nobody, Embedded, ETCD),
        on!(outages::an_etcd_without_leader_replaces_nobody, ETCD),
        on!(outages::most_nodes_gone_at_once_are_not_replaced, ETCD),
        on!(overload::two_schedulers_bind_exactly_what_fits, ETCD),
        on!(leaders::a_leader_paused_with_its_write_on_the_way_is_refused, ETCD),
        on!(leaders::two_of_every_controller_end_right, ETCD),
        on!(clocks::a_clock_set_by_an_hour_changes_nothing, ETCD),
        on!(up::up_stopped_and_started_again_adopts_its_containers, Embedded, ETCD),
        on!(up::a_failed_up_takes_back_the_node_that_it_registered, ETCD),
        on!(up::down_of_a_copy_leaves_the_original_alone, Embedded),
        on!(up::down_of_a_renamed_folder_ends_its_tasks, Embedded),
        on!(up::down_after_a_restore_ends_the_tasks, Embedded),
        on!(pager::a_reader_that_pauses_gets_every_line, Embedded),
        on!(copies::a_copy_of_a_data_folder_touches_nothing_of_the_original, Embedded),
        on!(copies::a_data_folder_of_another_name_is_refused_before_anything_is_adopted, Embedded),
        on!(isolation::a_task_reaches_nothing_of_berth, Embedded, ETCD),
        on!(images::a_container_sees_what_its_layers_make_together, Embedded),
        on!(manifests::every_manifest_runs, Embedded, ETCD),
        on!(recorder::every_attempt_of_a_container_is_seen, Embedded, ETCD),
        on!(recorder::a_journal_that_differs_from_what_was_told_is_noticed, Embedded),
        on!(tutorial::the_tutorial_is_true, Embedded),
        on!(released::what_many_apps_took_is_released, Embedded),
        on!(members::three_members_lose_one_and_most, ETCD),
        on!(restored::an_older_snapshot_is_restored, Embedded, ETCD),
        on!(disks::the_agents_disk_is_full, Embedded, ETCD),
        on!(disks::a_filling_disk_gets_no_tasks_and_loses_the_one_that_fills_it, Embedded),
        on!(disks::the_embedded_stores_disk_is_full, Embedded),
        on!(disks::etcds_disk_is_full, ETCD),
        on!(space::an_etcd_at_its_quota_is_read_and_comes_back, ETCD, OLD_ETCD),
        alone(on!(simulated::ten_thousand_tasks_on_a_thousand_nodes, Embedded, ETCD)),
    ];
    scenarios.into_iter().flatten().collect()
}
