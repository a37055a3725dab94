//! Time as a value: a point in time, and the clock that tells the present one.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in time to the millisecond, written as RFC 3339 in UTC; whole seconds without a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The point `millis` milliseconds after 1970-01-01T00:00:00Z; out of the calendar's range it is clamped.
    pub fn from_millis(millis: i64) -> Self {
        let (least, most) = (jiff::Timestamp::MIN.as_millisecond(), jiff::Timestamp::MAX.as_millisecond());
        Self(millis.clamp(least, most))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// The same point cut to whole seconds, as object metadata carries it.
    pub fn whole_seconds(self) -> Self {
        Self(self.0.div_euclid(1000) * 1000)
    }

    /// How long ago `earlier` was; zero when it is in the future.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// The point `after` later, clamped to the calendar's range.
    pub fn plus(self, after: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Reads RFC 3339.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read = text.parse::<jiff::Timestamp>().map_err(|_| format!("not an RFC 3339 time: `{text}`"))?;
        Ok(Self(read.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.0).expect("clamped to the calendar's range");
        if self.0 % 1000 == 0 { write!(f, "{time:.0}") } else { write!(f, "{time:.3}") }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// Tells the time; the seam through which tests set it.
pub trait Clock: Send + Sync {
    /// The present wall-clock time.
    fn now(&self) -> Timestamp;
}

/// The machine's clock, which somebody may set. A test build sees it as many seconds off as the file says that
/// `BERTH_CLOCK_OFFSET` names.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_millisecond() + offset_millis())
    }
}

#[cfg(debug_assertions)]
fn offset_millis() -> i64 {
    use std::path::PathBuf;
    use std::sync::OnceLock;

    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let Some(file) = FILE.get_or_init(|| std::env::var_os("BERTH_CLOCK_OFFSET").map(PathBuf::from)) else {
        return 0;
    };
    let seconds = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<i64>().ok());
    seconds.expect("BERTH_CLOCK_OFFSET names a file with a number of seconds") * 1000
}

#[cfg(not(debug_assertions))]
fn offset_millis() -> i64 {
    0
}

/// The machine's clock for all that waits: it never goes back, and what somebody sets the machine's clock by it makes
/// up for slowly, so that no wait of this process ends early or late by more than a tenth. All copies are one clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SteadyClock;

static STEADY: Mutex<Option<Steady>> = Mutex::new(None);

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let (up, wall) = (uptime(), SystemClock.now().0 * 1000);
        let mut steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
        let steady = steady.get_or_insert(Steady { up, shown: wall });
        Timestamp(steady.at(up, wall).div_euclid(1000))
    }
}

/// Time since the boot, that of sleep included.
fn uptime() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).expect("the kernel tells its uptime")
}

/// What the steady clock showed last; in microseconds.
#[derive(Debug)]
struct Steady {
    up: Duration,
    shown: i64,
}

impl Steady {
    /// What it shows when the machine is up for `up` and its clock says `wall`.
    fn at(&mut self, up: Duration, wall: i64) -> i64 {
        let passed = i64::try_from(up.saturating_sub(self.up).as_micros()).unwrap_or(i64::MAX);
        let gap = wall.saturating_sub(self.shown.saturating_add(passed));
        self.shown += passed + gap.clamp(-passed / 10, passed / 10);
        self.up = up;
        self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back_as_written() {
        for text in ["2026-11-21T07:45:35Z", "2026-11-21T07:45:35.120Z", "1969-12-31T23:59:59.999Z"] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
        assert!(Timestamp::parse("yesterday").is_err());
        assert_eq!(
            Timestamp::parse("2026-11-21T08:45:35+01:00").unwrap().to_string(),
            "2026-11-21T07:45:35Z"
        );
    }

    #[test]
    fn the_steady_clock_makes_up_for_what_the_machines_is_set_by_a_tenth_at_a_time() {
        const SECOND: i64 = 1_000_000;
        let up = |seconds| Duration::from_secs(seconds);
        let mut steady = Steady { up: up(0), shown: 0 };
        assert_eq!(steady.at(up(10), 10 * SECOND), 10 * SECOND);
        let mut ahead = Steady { up: up(10), shown: 10 * SECOND };
        assert_eq!(ahead.at(up(20), 3620 * SECOND), 21 * SECOND);
        assert_eq!(ahead.at(up(20), 3620 * SECOND), 21 * SECOND);
        let mut behind = Steady { up: up(10), shown: 10 * SECOND };
        assert_eq!(behind.at(up(20), -3580 * SECOND), 19 * SECOND);
        assert_eq!(steady.at(up(11), 11 * SECOND + SECOND / 20), 11 * SECOND + SECOND / 20);
    }
}
