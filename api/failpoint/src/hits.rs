//! How often this process reached each place, kept where a kill does not take it away.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::names::PLACES;

const LINE: usize = 64;

/// The counts, in the order of `PLACES`.
#[derive(Debug)]
pub(crate) struct Hits {
    counts: Vec<u64>,
    file: Option<File>,
}

impl Hits {
    /// Counts that are written into a file of this process in `folder`, or only remembered.
    pub(crate) fn kept_in(folder: Option<PathBuf>) -> Self {
        let file = folder.map(|folder| {
            let program = std::env::args().next().unwrap_or_default();
            let program = program.rsplit('/').next().unwrap_or_default();
            let path = folder.join(format!("{program}-{}", std::process::id()));
            fs::create_dir_all(&folder)
                .and_then(|()| File::create(&path))
                .unwrap_or_else(|error| panic!("BERTH_FAILPOINT_HITS: {}: {error}", path.display()))
        });
        let mut hits = Self { counts: vec![0; PLACES.len()], file };
        (0..PLACES.len()).for_each(|index| hits.write(index));
        hits
    }

    /// One more hit of the place at `index`; how many those are now.
    pub(crate) fn count(&mut self, index: usize) -> u64 {
        self.counts[index] += 1;
        self.write(index);
        self.counts[index]
    }

    fn write(&mut self, index: usize) {
        let Some(file) = &self.file else { return };
        let line = format!("{:>10} {:<52}\n", self.counts[index], PLACES[index]);
        // A count that cannot be kept is missing in the report, which says so.
        let _ = file.write_all_at(line.as_bytes(), (index * LINE) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_a_line_with_its_count() {
        let dir = tempfile::tempdir().unwrap();
        let mut hits = Hits::kept_in(Some(dir.path().into()));
        assert_eq!((hits.count(1), hits.count(1)), (1, 2));
        let file = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let text = fs::read_to_string(file).unwrap();
        let counts: Vec<&str> =
            text.lines().map(|line| line.split_whitespace().next().unwrap_or_default()).collect();
        assert_eq!((counts.len(), counts[0], counts[1]), (PLACES.len(), "0", "2"));
        assert!(PLACES.iter().all(|place| text.contains(place) && place.len() <= LINE - 12));
    }
}
