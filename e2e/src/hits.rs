//! How often each failpoint was reached: by every process of a world, added up over all worlds of a run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use berth_failpoint::PLACES;

use crate::soak;

/// Hits by place.
pub type Hits = BTreeMap<String, u64>;

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

/// Tells the tally of the hits of a world that ends.
pub fn tell(folder: &Path) {
    counted_in(folder).iter().for_each(|(place, count)| soak::tally_hits(place, *count));
}

/// A line for each place in the order of the list; an error, with what it is about at the end, when one was never
/// reached.
pub fn verdict(hits: &Hits) -> Result<String, String> {
    let of = |place: &str| hits.get(place).copied().unwrap_or(0);
    let mut table = String::from("      hits  failpoint\n");
    for place in PLACES {
        writeln!(table, "{:>10}  {place}", of(place)).expect("a string takes all");
    }
    let never: Vec<&str> = PLACES.iter().copied().filter(|place| of(place) == 0).collect();
    if never.is_empty() {
        return Ok(table);
    }
    Err(format!("{table}never reached, so nothing is tested there: {never:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_of_all_processes_are_added_up() {
        let world = tempfile::tempdir().unwrap();
        let line = |count: u64, place: &str| format!("{count:>10} {place:<52}\n");
        let (first, second) = (PLACES[0], PLACES[1]);
        fs::write(world.path().join("a-1"), line(2, first) + &line(0, second)).unwrap();
        fs::write(world.path().join("a-2"), line(3, first)).unwrap();
        assert_eq!(counted_in(world.path()), Hits::from([(first.into(), 5), (second.into(), 0)]));
        assert_eq!(of_process(world.path(), 2, first), 3);
    }

    #[test]
    fn one_place_that_was_never_reached_fails_a_whole_run() {
        let all: Hits = PLACES.iter().map(|place| ((*place).to_owned(), 1)).collect();
        assert!(verdict(&all).unwrap().lines().count() > PLACES.len());
        for place in PLACES {
            let mut but_one = all.clone();
            but_one.insert((*place).to_owned(), 0);
            let failed = verdict(&but_one).unwrap_err();
            assert!(failed.ends_with(&format!("nothing is tested there: [{place:?}]")), "{failed}");
            but_one.remove(*place);
            assert_eq!(verdict(&but_one).unwrap_err(), failed);
        }
    }
}
