//! Who watches, when nothing else is said: several kinds, with and without labels, in every manner.

use super::errands::TIER;
use super::watcher::{Manner, Watch};
use super::wire::{APP, Kind, NODE, REVISION, TASK};
use crate::history::selector::{Selector, Term};

/// One of every sort.
pub(super) fn all_sorts(namespace: &str) -> Vec<Watch> {
    let here = |name: &str, kind: Kind, term: Option<Term>, manner: Manner| Watch {
        name: name.into(),
        kind,
        namespace: namespace.into(),
        selector: Selector(term.into_iter().collect()),
        manner,
    };
    let everywhere = |watch: Watch| Watch { namespace: String::new(), ..watch };
    vec![
        here("all", REVISION, None, Manner::Steady),
        here("gold", REVISION, Some(Term::any_of(TIER, &["gold"])), Manner::Steady),
        everywhere(here("metal", REVISION, Some(Term::any_of(TIER, &["gold", "iron"])), Manner::Restless)),
        here("not-gold", REVISION, Some(Term::none_of(TIER, &["gold"])), Manner::Slow),
        here("torn", REVISION, None, Manner::Torn),
        everywhere(here("torn-bare", REVISION, Some(Term::Absent(TIER.into())), Manner::Torn)),
        here("torn-tiers", REVISION, Some(Term::Exists(TIER.into())), Manner::Torn),
        here("forgetful", REVISION, Some(Term::any_of(TIER, &["iron"])), Manner::Forgetful),
        here("apps", APP, None, Manner::Restless),
        everywhere(here("tasks", TASK, None, Manner::Steady)),
        everywhere(here("nodes", NODE, None, Manner::Restless)),
    ]
}
