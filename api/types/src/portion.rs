//! Numbers that may be written as a percentage, and the bounds of a rolling update made of them.

use crate::app::AppSpec;
use crate::task::IntOrString;

/// Which way a percentage that is no whole number goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// To more.
    Up,
    /// To less.
    Down,
}

/// A text that is neither a number nor a percentage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a number or a percentage as `25%`, got `{0}`")]
pub struct BadPortion(pub String);

impl IntOrString {
    /// The number, or the percentage of `whole`; never negative.
    pub fn of(&self, whole: u32, round: Round) -> Result<u32, BadPortion> {
        match self {
            IntOrString::Int(number) => u32::try_from(*number).map_err(|_| BadPortion(number.to_string())),
            IntOrString::String(text) => {
                let bad = || BadPortion(text.clone());
                let digits = text.strip_suffix('%').ok_or_else(bad)?;
                if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
                    return Err(bad());
                }
                let percent: u32 = digits.parse().map_err(|_| bad())?;
                let hundredths = u64::from(percent) * u64::from(whole);
                let part = match round {
                    Round::Up => hundredths.div_ceil(100),
                    Round::Down => hundredths / 100,
                };
                Ok(u32::try_from(part).unwrap_or(u32::MAX))
            }
        }
    }
}

/// What `maxSurge` and `maxUnavailable` are when absent.
pub(crate) const DEFAULT: &str = "25%";

/// How far a rolling update may stray from `replicas`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Tasks beyond `replicas`.
    pub surge: u32,
    /// Tasks of `replicas` that may be missing.
    pub unavailable: u32,
}

impl Bounds {
    /// The bounds of an App's rolling update. Both 25% when absent, a percentage of surge rounded up and one of
    /// unavailable rounded down; when both come out as zero one may be missing, else nothing could ever move
    /// (as in Kubernetes).
    pub fn of(spec: &AppSpec) -> Result<Bounds, BadPortion> {
        let update = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let quarter = IntOrString::String(DEFAULT.into());
        let portion =
            |given: Option<&IntOrString>, round| given.unwrap_or(&quarter).of(spec.replicas(), round);
        let surge = portion(update.and_then(|update| update.max_surge.as_ref()), Round::Up)?;
        let unavailable = portion(update.and_then(|update| update.max_unavailable.as_ref()), Round::Down)?;
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Ok(Bounds { surge, unavailable: unavailable.min(spec.replicas()) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn surge_is_rounded_up_and_unavailable_down() {
        for (replicas, surge, unavailable, expected) in [
            (4, json!(null), json!(null), (1, 1)),
            (3, json!(null), json!(null), (1, 0)),
            (1, json!(null), json!(null), (1, 0)),
            (10, json!("25%"), json!("25%"), (3, 2)),
            (10, json!(0), json!("5%"), (0, 1)),
            (0, json!("25%"), json!("25%"), (0, 0)),
            (2, json!(1), json!(5), (1, 2)),
            (2, json!("200%"), json!("100%"), (4, 2)),
        ] {
            let spec: AppSpec = serde_json::from_value(json!({
                "replicas": replicas,
                "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
            }))
            .unwrap();
            let bounds = Bounds::of(&spec).unwrap();
            assert_eq!((bounds.surge, bounds.unavailable), expected, "{replicas} {surge} {unavailable}");
        }
    }

    #[test]
    fn what_is_no_portion_is_refused() {
        for text in ["", "%", "25", "-5%", "+5%", "2.5%", "99999999999%", "a%"] {
            assert!(IntOrString::String(text.into()).of(10, Round::Up).is_err(), "{text}");
        }
        assert!(IntOrString::Int(-1).of(10, Round::Up).is_err());
    }
}
