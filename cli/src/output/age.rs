//! How long ago something was, in the one unit that says it best.

use std::time::Duration;

use berth_types::Timestamp;

/// The age of something made at `since`: `5s`, `3m`, `2h`, `4d`; `-` when nobody knows.
pub fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    since.map_or_else(|| "-".into(), |since| span(now.since(since)))
}

/// A span of time: `5s`, `3m`, `2h`, `4d`. A unit begins at two of it, so that little is lost by rounding down.
pub fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_its_best_unit() {
        for (seconds, told) in
            [(0, "0s"), (119, "119s"), (180, "3m"), (7_199, "119m"), (7_200, "2h"), (345_600, "4d")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), told);
        }
    }
}
