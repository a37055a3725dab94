//! Who watches, when nothing else is said: several kinds, with and without labels, in every manner.

use super::errands::TIER;
use super::watcher::{Manner, Watch};
use super::wire::{APP, CONFIG_MAP, Kind, NODE, TASK};
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
        here("all", CONFIG_MAP, None, Manner::Steady),
        here("gold", CONFIG_MAP, Some(Term::any_of(TIER, &["gold"])), Manner::Steady),
        everywhere(here("metal", CONFIG_MAP, Some(Term::any_of(TIER, &["gold", "iron"])), Manner::Restless)),
        here("not-gold", CONFIG_MAP, Some(Term::none_of(TIER, &["gold"])), Manner::Slow),
        here("torn", CONFIG_MAP, None, Manner::Torn),
        everywhere(here("torn-bare", CONFIG_MAP, Some(Term::Absent(TIER.into())), Manner::Torn)),
        here("torn-tiers", CONFIG_MAP, Some(Term::Exists(TIER.into())), Manner::Torn),
        here("forgetful", CONFIG_MAP, Some(Term::any_of(TIER, &["iron"])), Manner::Forgetful),
        here("apps", APP, None, Manner::Restless),
        everywhere(here("tasks", TASK, None, Manner::Steady)),
        everywhere(here("nodes", NODE, None, Manner::Restless)),
    ]
}
