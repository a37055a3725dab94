//! Amounts of a resource: `500m`, `2`, `64Mi`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::scalar::short;

/// An amount as written in a manifest; [`Quantity::millis`] reads it. Equal means written alike: `1` is not `1000m`, and
/// what is more is told by the amounts read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Quantity(String);

/// Amounts by the name of the resource: `cpu`, `memory`, `disk`.
pub type ResourceList = BTreeMap<String, Quantity>;

/// Thousandths of a CPU core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millicores(pub i64);

/// Bytes of memory or disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub i64);

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuantity {
    /// Not a number with a known suffix.
    #[error("must be a number with an optional suffix (m, k, M, G, T, Ki, Mi, Gi, Ti), got `{0}`")]
    Form(String),
    /// Less than zero.
    #[error("must not be negative, got `{0}`")]
    Negative(String),
    /// More than 2^63 thousandths.
    #[error("is too large: `{0}`")]
    TooLarge(String),
}

impl Quantity {
    /// The amount as written.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// An amount of bytes in its shortest exact form.
    pub fn of_bytes(bytes: Bytes) -> Self {
        let mut rest = bytes.0;
        for suffix in ["", "Ki", "Mi", "Gi"] {
            if rest == 0 || rest % 1024 != 0 {
                return Self(format!("{rest}{suffix}"));
            }
            rest /= 1024;
        }
        Self(format!("{rest}Ti"))
    }

    /// An amount of CPU in its shortest exact form.
    pub fn of_millicores(cpu: Millicores) -> Self {
        if cpu.0 % 1000 == 0 { Self((cpu.0 / 1000).to_string()) } else { Self(format!("{}m", cpu.0)) }
    }

    /// The amount in thousandths, rounded up.
    pub fn millis(&self) -> Result<i64, BadQuantity> {
        let text = self.0.as_str();
        let form = || BadQuantity::Form(short(text));
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let factor = factor_of(suffix).ok_or_else(form)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(form());
        }
        if negative {
            return Err(BadQuantity::Negative(short(text)));
        }
        scaled(whole, fraction, factor).ok_or_else(|| BadQuantity::TooLarge(short(text)))
    }

    /// The amount as CPU.
    pub fn millicores(&self) -> Result<Millicores, BadQuantity> {
        self.millis().map(Millicores)
    }

    /// The amount as bytes, rounded up.
    pub fn bytes(&self) -> Result<Bytes, BadQuantity> {
        let millis = self.millis()?;
        Ok(Bytes(millis / 1000 + i64::from(millis % 1000 != 0)))
    }
}

/// Thousandths that one unit of `suffix` is.
fn factor_of(suffix: &str) -> Option<i128> {
    Some(match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        _ => return None,
    })
}

/// `whole.fraction` times `factor`, rounded up; none when it leaves i64 (or has more than 18 digits a side).
fn scaled(whole: &str, fraction: &str, factor: i128) -> Option<i64> {
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    if whole.len() > 18 || fraction.len() > 18 {
        return None;
    }
    let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let scale = 10i128.pow(u32::try_from(fraction.len()).ok()?);
    let product = digits.checked_mul(factor)?;
    i64::try_from(product / scale + i128::from(product % scale != 0)).ok()
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            serde_json::Value::Number(number) => Ok(Self(number.to_string())),
            other => Err(de::Error::custom(format!("must be an amount, got `{other}`"))),
        }
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number"], "format": "quantity" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_amount_reads_in_thousandths_rounded_up() {
        for (text, millis) in [
            ("0", 0),
            ("1", 1000),
            ("500m", 500),
            ("0.1", 100),
            ("1.5Ki", 1_536_000),
            ("0.0001", 1),
            ("64Mi", 67_108_864_000),
            ("2G", 2_000_000_000_000),
        ] {
            assert_eq!(Quantity::new(text).millis(), Ok(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", "abc", "1e9", "NaN", "0x10", "1.5Kib", "1.2.3", ".", "-", "1 Mi"] {
            assert_eq!(Quantity::new(text).millis(), Err(BadQuantity::Form(text.into())), "{text}");
        }
        assert!(matches!(Quantity::new("-1").millis(), Err(BadQuantity::Negative(_))));
        assert!(matches!(Quantity::new("99999999999Ti").millis(), Err(BadQuantity::TooLarge(_))));
    }

    #[test]
    fn an_amount_is_written_in_its_shortest_form() {
        assert_eq!(Quantity::of_bytes(Bytes(64 << 20)).to_string(), "64Mi");
        assert_eq!(Quantity::of_bytes(Bytes(1025)).to_string(), "1025");
        assert_eq!(Quantity::of_millicores(Millicores(2000)).to_string(), "2");
        assert_eq!(Quantity::of_millicores(Millicores(1500)).to_string(), "1500m");
    }

    /// An amount as a person writes it, and its exact value in thousandths over 10^6.
    fn written() -> impl Strategy<Value = (String, i128)> {
        let suffixes = prop::sample::select(vec!["m", "", "k", "M", "G", "Ki", "Mi", "Gi"]);
        (0..10_000i128, prop::option::of(0..1_000_000u32), suffixes).prop_map(|(whole, fraction, suffix)| {
            let factor = factor_of(suffix).expect("a known suffix");
            let text = match fraction {
                Some(fraction) => format!("{whole}.{fraction:06}{suffix}"),
                None => format!("{whole}{suffix}"),
            };
            (text, (whole * 1_000_000 + i128::from(fraction.unwrap_or(0))) * factor)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_amount_made_by_us_reads_back(number in 0..i64::MAX / 1000) {
            prop_assert_eq!(Quantity::of_bytes(Bytes(number)).bytes(), Ok(Bytes(number)));
            prop_assert_eq!(Quantity::of_millicores(Millicores(number)).millicores(), Ok(Millicores(number)));
        }

        #[test]
        fn an_amount_is_never_less_than_written_and_less_than_a_thousandth_more((text, exact) in written()) {
            let read = i128::from(Quantity::new(text).millis().expect("well-formed")) * 1_000_000;
            prop_assert!(read >= exact && read - exact < 1_000_000);
        }

        #[test]
        fn more_written_is_no_less_read((one, less) in written(), (other, more) in written()) {
            let read = |text: String| Quantity::new(text).millis().expect("well-formed");
            prop_assert!(less > more || read(one) <= read(other));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+]?[0-9.]{0,25}[mkMGTKiEe]{0,2}") {
            if let Ok(millis) = Quantity::new(text).millis() {
                prop_assert!(millis >= 0);
            }
        }
    }
}
