//! What is armed where, as the file of orders says.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

/// What happens at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The process dies at once.
    Kill,
    /// The process stands still until somebody lets it go on.
    Stop,
    /// The step fails.
    Fail,
    /// The thread waits.
    Sleep(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nth {
    Only(u64),
    From(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Order {
    place: String,
    action: Action,
    nth: Nth,
}

impl Order {
    fn parse(line: &str) -> Self {
        let bad = || panic!("BERTH_FAILPOINTS: cannot read `{line}`: PLACE kill|stop|fail|sleep:MS [NTH[+]]");
        let mut words = line.split_whitespace();
        let (Some(place), Some(action)) = (words.next(), words.next()) else { bad() };
        let action = match action.split_once(':') {
            None if action == "kill" => Action::Kill,
            None if action == "stop" => Action::Stop,
            None if action == "fail" => Action::Fail,
            Some(("sleep", millis)) => {
                Action::Sleep(Duration::from_millis(millis.parse().unwrap_or_else(|_| bad())))
            }
            None | Some(_) => bad(),
        };
        let number = |text: &str| text.parse().unwrap_or_else(|_| bad());
        let nth = words.next().map_or(Nth::Only(1), |word| {
            word.strip_suffix('+').map_or_else(|| Nth::Only(number(word)), |from| Nth::From(number(from)))
        });
        Self { place: place.into(), action, nth }
    }
}

/// The orders, read again when the file is replaced.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    file: Option<PathBuf>,
    version: (u64, i64, i64, u64),
    /// Each line with the hits that its place had when it appeared.
    lines: BTreeMap<String, (Order, u64)>,
}

impl Orders {
    /// The orders of `file`; none when there is no file.
    pub(crate) fn read_from(file: Option<PathBuf>) -> Self {
        Self { file, ..Self::default() }
    }

    /// What must happen at the `count`th hit of `place` by this process.
    pub(crate) fn at(&mut self, place: &str, count: u64) -> Option<Action> {
        self.refresh(place, count.saturating_sub(1));
        let due = |(order, before): &(Order, u64)| match order.nth {
            _ if order.place != place => false,
            Nth::Only(nth) => count - before == nth,
            Nth::From(nth) => count - before >= nth,
        };
        self.lines.values().find(|line| due(line)).map(|(order, _)| order.action)
    }

    fn refresh(&mut self, place: &str, hits: u64) {
        let Some(file) = &self.file else { return };
        let version = fs::metadata(file)
            .map_or((0, 0, 0, 0), |file| (file.ino(), file.mtime(), file.mtime_nsec(), file.len()));
        if version == self.version {
            self.begin(place, hits);
            return;
        }
        let text = fs::read_to_string(file).unwrap_or_default();
        let mut old = std::mem::take(&mut self.lines);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            // Hits of other places are not known here: they are filled in when the place is reached next.
            let kept = old.remove(line).unwrap_or_else(|| (Order::parse(line), u64::MAX));
            self.lines.insert(line.to_owned(), kept);
        }
        self.version = version;
        self.begin(place, hits);
    }

    /// Hits that a place had before its new lines were seen do not count.
    fn begin(&mut self, place: &str, hits: u64) {
        for (order, before) in self.lines.values_mut() {
            if order.place == place && *before == u64::MAX {
                *before = hits;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(text: &str) -> (tempfile::TempDir, Orders) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("orders");
        fs::write(&file, text).unwrap();
        (dir, Orders::read_from(Some(file)))
    }

    #[test]
    fn an_order_is_due_at_its_hit_or_from_it_on() {
        let (_dir, mut orders) = orders("a kill\nb fail 2\nc sleep:5 2+\n");
        let due = |orders: &mut Orders, place| (1..=3).map(|hit| orders.at(place, hit)).collect::<Vec<_>>();
        let sleep = Some(Action::Sleep(Duration::from_millis(5)));
        assert_eq!(due(&mut orders, "a"), [Some(Action::Kill), None, None]);
        assert_eq!(due(&mut orders, "b"), [None, Some(Action::Fail), None]);
        assert_eq!(due(&mut orders, "c"), [None, sleep, sleep]);
        assert_eq!(due(&mut orders, "d"), [None, None, None]);
    }

    #[test]
    fn a_running_process_is_armed_and_counts_from_then_on() {
        let (dir, mut orders) = orders("");
        assert_eq!(orders.at("a", 7), None);
        let new = dir.path().join("new");
        fs::write(&new, "a stop 2\n").unwrap();
        fs::rename(new, dir.path().join("orders")).unwrap();
        assert_eq!(
            [orders.at("a", 8), orders.at("a", 9), orders.at("a", 10)],
            [None, Some(Action::Stop), None]
        );
    }

    #[test]
    fn an_order_that_cannot_be_read_ends_the_process() {
        for text in ["a", "a burn", "a sleep", "a sleep:x", "a kill x", "a kill 1-"] {
            assert!(std::panic::catch_unwind(|| Order::parse(text)).is_err(), "{text}");
        }
    }
}
