//! How often each failpoint was reached: by every process of a world, added up over all worlds of this process.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use berth_failpoint::PLACES;

use crate::soak;

/// Hits by place.
pub type Hits = BTreeMap<String, u64>;

/// What worlds that are gone have counted.
static GATHERED: Mutex<Hits> = Mutex::new(Hits::new());

/// The hits that the processes of one world have counted so far, in `folder`.
pub fn counted_in(folder: &Path) -> Hits {
    let mut hits = Hits::new();
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        let text = fs::read_to_string(file.path()).unwrap_or_default();
        for (count, place) in text.lines().filter_map(|line| line.trim().split_once(' ')) {
            // A line that is being written right now is read whole the next time.
            *hits.entry(place.trim().to_owned()).or_default() += count.parse::<u64>().unwrap_or(0);
        }
    }
    hits
}

/// How often one process, which may be gone, reached `place`.
pub fn of_process(folder: &Path, pid: u32, place: &str) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let its = |path: &std::path::PathBuf| path.to_string_lossy().ends_with(&format!("-{pid}"));
    let text = files.into_iter().find(its).map(|path| fs::read_to_string(path).unwrap_or_default());
    let text = text.unwrap_or_default();
    let line = text.lines().find(|line| line.split_whitespace().nth(1) == Some(place));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Adds the hits of a world that ends.
pub fn gather(folder: &Path) {
    let mut gathered = gathered();
    for (place, count) in counted_in(folder) {
        soak::tally_hits(&place, count);
        *gathered.entry(place).or_default() += count;
    }
}

/// Every place with its hits so far, in the order of the list.
pub fn of_all_places() -> Vec<(&'static str, u64)> {
    let gathered = gathered();
    PLACES.iter().map(|place| (*place, gathered.get(*place).copied().unwrap_or(0))).collect()
}

/// A line for each place; an error, with what it is about at the end, when one was never reached.
pub fn verdict() -> Result<String, String> {
    verdict_on(&of_all_places())
}

fn verdict_on(places: &[(&str, u64)]) -> Result<String, String> {
    let mut table = String::from("      hits  failpoint\n");
    for (place, hits) in places {
        writeln!(table, "{hits:>10}  {place}").expect("a string takes all");
    }
    let never: Vec<&str> = places.iter().filter(|(_, hits)| *hits == 0).map(|(place, _)| *place).collect();
    if never.is_empty() {
        return Ok(table);
    }
    Err(format!("{table}never reached, so nothing is tested there: {never:?}"))
}

fn gathered() -> MutexGuard<'static, Hits> {
    GATHERED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_of_all_processes_and_worlds_are_added_up() {
        let world = tempfile::tempdir().unwrap();
        let line = |count: u64, place: &str| format!("{count:>10} {place:<52}\n");
        let (first, second) = (PLACES[0], PLACES[1]);
        fs::write(world.path().join("a-1"), line(2, first) + &line(0, second)).unwrap();
        fs::write(world.path().join("a-2"), line(3, first)).unwrap();
        assert_eq!(counted_in(world.path()), Hits::from([(first.into(), 5), (second.into(), 0)]));
        gather(world.path());
        gather(world.path());
        assert_eq!(of_all_places()[0], (first, 10));
        let never = verdict().unwrap_err();
        assert!(never.contains(&format!("        10  {first}\n")), "{never}");
        let (_, named) = never.split_once("never reached").unwrap();
        assert!(!named.contains(first) && named.contains(second), "{named}");
    }

    #[test]
    fn one_place_that_was_never_reached_fails_a_whole_run() {
        let all: Vec<_> = PLACES.iter().map(|place| (*place, 1)).collect();
        assert!(verdict_on(&all).unwrap().lines().count() > PLACES.len());
        for (missing, place) in PLACES.iter().enumerate() {
            let mut but_one = all.clone();
            but_one[missing].1 = 0;
            let failed = verdict_on(&but_one).unwrap_err();
            assert!(failed.ends_with(&format!("nothing is tested there: [{place:?}]")), "{failed}");
        }
    }
}
