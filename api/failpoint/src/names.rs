//! Every place and every deliberate defect by name, so that a report can tell which were never reached.

/// The places, by the part that reaches them.
pub const PLACES: &[&str] = &[
    // What the committer sends to the store, and the store's answer; both can fail: not sent, outcome unknown.
    "store.commit.send",
    "store.commit.answer",
];

/// The defects, each of which the history checker must catch.
pub const SEEDED_BUGS: &[&str] = &[];
