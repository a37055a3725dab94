//! What a load noted, and whether it was enough to prove anything.

use std::time::Duration;

use crate::history::answers::{Asked, Operation, Told};
use crate::history::evidence::Fault;
use crate::history::watched::{End, Stream};

/// The shortest time without a fault that has a rate: what a machine does in fewer seconds depends on what else starts on
/// it just then.
const RATED: Duration = Duration::from_secs(10);

/// Everything that a load noted. Times are nanoseconds of the machine's monotonic clock.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// What clients asked and were told.
    pub answers: Vec<Operation>,
    /// What watchers were told.
    pub watches: Vec<Stream>,
    /// When it began.
    pub from: u64,
    /// When its clients ended.
    pub until: u64,
}

/// What a load must reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Floor {
    /// Acknowledged writes per second outside of faults, if that is 10 s or more.
    pub writes_per_second: f64,
    /// Events that watchers were told, in all.
    pub watch_events: usize,
}

impl Default for Floor {
    fn default() -> Self {
        Self { writes_per_second: 10.0, watch_events: 300 }
    }
}

/// What a load reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Writes acknowledged outside of faults.
    pub writes: usize,
    /// The time without a fault.
    pub quiet: Duration,
    /// Events that watchers were told.
    pub watch_events: usize,
    /// Operations that were under way while a fault was in force.
    pub in_faults: usize,
    /// Writes of unknown outcome.
    pub unknown: usize,
    /// Streams that were told that events are lost to them.
    pub expired: usize,
}

impl Records {
    /// What was reached; a fault without an end lasts until the end of the load.
    pub fn measure(&self, faults: &[Fault]) -> Measured {
        let troubled = troubled(faults, self.from, self.until);
        let lost: u64 = troubled.iter().map(|(from, until)| until - from).sum();
        let in_trouble = |time: u64| troubled.iter().any(|(from, until)| (*from..*until).contains(&time));
        let acknowledged = self.answers.iter().filter(|done| {
            matches!((&done.asked, &done.told), (Asked::Write(_), Told::Object(_)))
                && !in_trouble(done.returned)
        });
        let met = |done: &&Operation| {
            troubled.iter().any(|(from, until)| done.invoked < *until && done.returned > *from)
        };
        let unknown =
            |done: &&Operation| matches!((&done.asked, &done.told), (Asked::Write(_), Told::Unknown(_)));
        let expired = self.watches.iter().filter(|stream| matches!(stream.end, End::Expired(_)));
        let messages = self.watches.iter().flat_map(|stream| &stream.got);
        Measured {
            writes: acknowledged.count(),
            quiet: Duration::from_nanos((self.until - self.from).saturating_sub(lost)),
            watch_events: messages.map(|message| message.events.len()).sum(),
            in_faults: self.answers.iter().filter(met).count(),
            unknown: self.answers.iter().filter(unknown).count(),
            expired: expired.count(),
        }
    }
}

/// When faults were in force between two times, in order and without overlap.
fn troubled(faults: &[Fault], from: u64, until: u64) -> Vec<(u64, u64)> {
    let mut spans: Vec<(u64, u64)> = faults
        .iter()
        .map(|fault| (fault.from.max(from), fault.until.unwrap_or(until).min(until)))
        .filter(|(from, until)| from < until)
        .collect();
    spans.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (from, until) in spans {
        match joined.last_mut().filter(|(_, last)| from <= *last) {
            Some((_, last)) => *last = (*last).max(until),
            None => joined.push((from, until)),
        }
    }
    joined
}

impl Measured {
    /// Fails the run unless the faults left clients without an answer, so that there is something to judge of them.
    ///
    /// # Panics
    /// When every write had its answer.
    pub fn must_have_lost_answers(&self) {
        assert!(
            self.in_faults > 0 && self.unknown > 0,
            "INVALID: no answer was lost to the faults: {self:?}"
        );
    }

    /// Whether that is enough; else, what was missing.
    pub fn reaches(&self, floor: &Floor) -> Result<(), String> {
        let (writes, quiet) = (self.writes, self.quiet);
        // Where there is no rate, only what watchers were told counts.
        let rated = if quiet < RATED { Duration::ZERO } else { quiet };
        let wanted = floor.writes_per_second * rated.as_secs_f64();
        #[allow(clippy::cast_precision_loss)]
        if (writes as f64) < wanted {
            return Err(format!(
                "{writes} writes were acknowledged in {quiet:?} outside of faults; the floor is {} per second",
                floor.writes_per_second
            ));
        }
        if self.watch_events < floor.watch_events {
            return Err(format!(
                "watchers were told {} events; the floor is {}",
                self.watch_events, floor.watch_events
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::history::answers::{Verb, Write};

    const SECOND: u64 = 1_000_000_000;

    fn write(returned: u64, told: Told) -> Operation {
        let write = Write {
            verb: Verb::Create,
            key: "k".into(),
            sent: Value::Null,
            marker: String::new(),
            version: None,
            uid: String::new(),
            atomic: None,
        };
        let asked = Asked::Write(write);
        let invoked = returned - SECOND / 20;
        Operation { client: "a".into(), number: 1, server: "s".into(), asked, invoked, returned, told }
    }

    /// One write each tenth of a second for ten seconds, every other one refused.
    fn records() -> Records {
        let told = |at| if at % 2 == 0 { Told::Object(json!({})) } else { Told::Unknown("?".into()) };
        let answers = (0..100).map(|at| write(SECOND + at * SECOND / 10, told(at))).collect();
        Records { answers, watches: Vec::new(), from: SECOND, until: 11 * SECOND }
    }

    fn fault(from: u64, until: Option<u64>) -> Fault {
        Fault { what: "x".into(), from: from * SECOND, until: until.map(|until| until * SECOND) }
    }

    #[test]
    fn a_rate_counts_what_was_acknowledged_outside_of_faults() {
        let table = [
            (vec![], 50, 10),
            (vec![fault(0, Some(3))], 40, 8),
            (vec![fault(4, Some(6)), fault(5, Some(7)), fault(2, Some(3))], 30, 6),
            (vec![fault(9, None)], 40, 8),
            (vec![fault(0, None)], 0, 0),
        ];
        for (faults, writes, seconds) in table {
            let measured = records().measure(&faults);
            assert_eq!((measured.writes, measured.quiet.as_secs()), (writes, seconds), "{faults:?}");
        }
    }

    #[test]
    fn what_was_under_way_in_a_fault_and_lost_its_answer_is_counted() {
        let counted = |fault| {
            let measured = records().measure(&[fault]);
            (measured.in_faults, measured.unknown)
        };
        assert_eq!(counted(fault(2, Some(3))), (10, 50));
        assert_eq!(counted(fault(20, None)), (0, 50));
        let lost = |records: Records| {
            let measured = records.measure(&[fault(2, Some(3))]);
            std::panic::catch_unwind(|| measured.must_have_lost_answers()).is_ok()
        };
        let mut answered = records();
        answered.answers.retain(|done| matches!(done.told, Told::Object(_)));
        assert_eq!((lost(records()), lost(answered)), (true, false));
    }

    #[test]
    fn below_the_floor_a_run_is_invalid_and_the_numbers_say_why() {
        let measured = records().measure(&[]);
        let floor = |writes_per_second, watch_events| Floor { writes_per_second, watch_events };
        assert_eq!(measured.reaches(&floor(5.0, 0)), Ok(()));
        assert_eq!(
            measured.reaches(&floor(5.1, 0)).unwrap_err(),
            "50 writes were acknowledged in 10s outside of faults; the floor is 5.1 per second"
        );
        for measured in [measured, records().measure(&[fault(0, Some(4))])] {
            assert_eq!(
                measured.reaches(&floor(5.0, 1)).unwrap_err(),
                "watchers were told 0 events; the floor is 1"
            );
        }
    }

    #[test]
    fn a_few_quiet_seconds_have_no_rate() {
        let floor = Floor { writes_per_second: 5.1, watch_events: 0 };
        assert_eq!(records().measure(&[fault(0, Some(2))]).reaches(&floor), Ok(()));
        assert!(records().measure(&[fault(0, Some(1))]).reaches(&floor).is_err());
    }
}
