//! Which defect comes to light in which history, and the promise that it breaks.

use std::collections::BTreeSet;
use std::pin::Pin;

use berth_e2e::history::Run;
use berth_failpoint::SEEDED_BUGS;

use crate::{answers, ends, nodes, rollouts, rooms, watches, writes};

/// One deliberate defect.
pub struct Row {
    /// Its name.
    pub bug: &'static str,
    /// The history that brings it to light.
    pub world: &'static str,
    /// The promise that it breaks.
    pub breaks: &'static str,
}

/// A cluster that lives through a history.
pub struct World {
    /// The history's name.
    pub name: &'static str,
    /// What has it happen.
    pub live: Live,
}

/// How a history is lived through.
pub enum Live {
    /// Within this process.
    Here(fn() -> Pin<Box<dyn Future<Output = Run>>>),
    /// With processes and containers, in namespaces of this process.
    OnANode(fn() -> Run),
}

macro_rules! worlds {
    ($($module:ident :: $world:ident),+; $($node:ident :: $history:ident),+ $(,)?) => {
        &[
            $(World { name: stringify!($world), live: Live::Here(|| Box::pin($module::$world())) },)+
            $(World { name: stringify!($history), live: Live::OnANode($node::$history) }),+
        ]
    };
}

/// The histories.
pub const WORLDS: &[World] = worlds![
    rooms::a_node_is_cordoned_before_a_bind,
    rooms::a_node_shrinks_under_a_bind,
    rooms::two_servers_bind_to_one_node,
    rooms::a_server_binds_before_it_sees_its_own,
    rooms::a_stopping_task_keeps_its_room,
    rooms::a_finalizer_is_taken_off,
    rooms::a_task_is_bound_twice,
    rooms::an_end_is_taken_back,
    writes::a_leader_comes_back,
    writes::a_leader_of_something_else_binds,
    rollouts::controllers_lead,
    writes::an_app_is_written,
    ends::an_app_is_asked_for,
    ends::an_app_is_deleted,
    ends::one_of_two_owners_is_deleted,
    rollouts::a_rollout_waits_for_stops,
    rollouts::a_rollout_gets_stuck,
    answers::a_write_is_not_sent,
    answers::an_answer_is_lost,
    answers::a_server_lags,
    watches::a_watch_follows_its_selection,
    watches::a_watch_is_resumed,
    watches::a_watch_is_resumed_too_late;
    nodes::a_deaf_container_is_stopped,
    nodes::a_shim_is_killed,
    nodes::a_container_is_killed,
];

macro_rules! rows {
    ($($bug:literal in $world:ident breaks $promise:literal),+ $(,)?) => {
        &[$(Row { bug: $bug, world: stringify!($world), breaks: $promise }),+]
    };
}

/// The defects.
pub const TABLE: &[Row] = rows![
    "bind-on-an-old-decision" in a_node_is_cordoned_before_a_bind breaks "I1 placing",
    "bind-skips-the-node" in a_node_shrinks_under_a_bind breaks "I1 room",
    "bind-skips-the-ledger" in two_servers_bind_to_one_node breaks "I1 room",
    "bind-forgets-its-own" in a_server_binds_before_it_sees_its_own breaks "I1 room",
    "room-free-at-deletion" in a_stopping_task_keeps_its_room breaks "I1 room",
    "room-free-while-stopping" in a_stopping_task_keeps_its_room breaks "I1 room",
    "finalizer-off-by-anybody" in a_finalizer_is_taken_off breaks "I1 room",
    "deleted-in-one-step" in a_stopping_task_keeps_its_room breaks "I10 going",
    "one-owner-gone-is-enough" in one_of_two_owners_is_deleted breaks "I10 going",
    "bind-twice" in a_task_is_bound_twice breaks "I2 binding",
    "phase-goes-back" in an_end_is_taken_back breaks "I2 binding",
    "unsent-is-acknowledged" in a_write_is_not_sent breaks "I3 answers",
    "resent-without-conditions" in an_answer_is_lost breaks "I3 answers",
    "answer-names-another-revision" in a_server_lags breaks "I3 answers",
    "list-of-a-lagging-cache" in a_server_lags breaks "I3 answers",
    "end-told-before-it-came" in a_deaf_container_is_stopped breaks "I2 processes",
    "leftovers-live-on" in a_shim_is_killed breaks "I2 processes",
    "rollout-counts-the-unready" in a_rollout_gets_stuck breaks "I4 rollouts",
    "surge-without-the-stopping" in a_rollout_waits_for_stops breaks "I4 rollouts",
    "watch-drops-an-event" in a_watch_follows_its_selection breaks "I5 watches",
    "watch-keeps-who-left" in a_watch_follows_its_selection breaks "I5 watches",
    "watch-splits-a-revision" in a_watch_follows_its_selection breaks "I5 watches",
    "bookmark-comes-early" in a_watch_follows_its_selection breaks "I5 watches",
    "watch-repeats-on-resuming" in a_watch_is_resumed breaks "I5 watches",
    "watch-resumes-after-a-gap" in a_watch_is_resumed_too_late breaks "I5 watches",
    "leader-without-epoch" in controllers_lead breaks "I9 fences",
    "holder-without-epoch" in a_leader_comes_back breaks "I9 fences",
    "fence-not-asked" in a_leader_comes_back breaks "I9 fences",
    "bind-by-any-lease" in a_leader_of_something_else_binds breaks "I9 fences",
    "no-op-is-written" in an_app_is_written breaks "I13 versions",
    "generation-stays" in an_app_is_written breaks "I13 versions",
    "generation-by-status" in an_app_is_written breaks "I13 versions",
    "generation-seen-before-it-is" in a_rollout_waits_for_stops breaks "I13 versions",
    "app-forgets-the-last" in an_app_is_asked_for breaks "L1 apps",
    "app-gives-a-place-twice" in an_app_is_asked_for breaks "L1 apps",
    "scheduler-leaves-the-last" in an_app_is_asked_for breaks "L2 places",
    "orphans-stay" in an_app_is_deleted breaks "L3 gone",
    "exits-go-unheard" in a_container_is_killed breaks "I12 status",
];

/// A defect that nothing provokes proves nothing.
pub fn is_whole() {
    let rows: BTreeSet<&str> = TABLE.iter().map(|row| row.bug).collect();
    assert_eq!(rows, SEEDED_BUGS.iter().copied().collect(), "the table on the left, the list on the right");
    assert_eq!(rows.len(), TABLE.len(), "a defect has two rows");
    for row in TABLE {
        assert!(WORLDS.iter().any(|world| world.name == row.world), "there is no world {}", row.world);
    }
}
