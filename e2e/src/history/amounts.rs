//! Amounts of what a node has and a Task takes, in integers.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

/// The resources, in the order in which they are told. Of `tasks` every Task takes one.
pub const NAMES: [&str; 4] = ["cpu", "memory", "disk", "tasks"];

/// An amount for each of [`NAMES`]: thousandths of a core, bytes, bytes, Tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts(pub [i64; 4]);

impl Amounts {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        self.zip(other, i64::saturating_add)
    }

    /// What is left without `other`.
    pub fn minus(self, other: Self) -> Self {
        self.zip(other, i64::saturating_sub)
    }

    /// The larger of each.
    pub fn max(self, other: Self) -> Self {
        self.zip(other, i64::max)
    }

    fn zip(self, other: Self, with: impl Fn(i64, i64) -> i64) -> Self {
        Self(std::array::from_fn(|at| with(self.0[at], other.0[at])))
    }
}

impl fmt::Display for Amounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told: Vec<String> = (0..NAMES.len()).map(|at| self.one(at)).collect();
        f.write_str(&told.join(", "))
    }
}

impl Amounts {
    /// One of them for a person, as `cpu 500m`.
    pub fn one(self, at: usize) -> String {
        let suffix = if NAMES[at] == "cpu" { "m" } else { "" };
        format!("{} {}{suffix}", NAMES[at], self.0[at])
    }
}

/// A list of resources as it is written.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Listed {
    cpu: Option<Quantity>,
    memory: Option<Quantity>,
    disk: Option<Quantity>,
    tasks: Option<Quantity>,
}

impl Listed {
    /// The amounts. What is not listed is `absent`; what cannot be read is all there could be.
    pub fn or(self, absent: Amounts) -> Amounts {
        let thousandths = self.cpu.map(|cpu| cpu.0.unwrap_or(i64::MAX));
        let whole = |listed: Option<Quantity>| {
            listed.map(|listed| {
                listed.0.map_or(i64::MAX, |thousandths| {
                    thousandths.div_euclid(1000) + i64::from(thousandths % 1000 != 0)
                })
            })
        };
        let listed = [thousandths, whole(self.memory), whole(self.disk), whole(self.tasks)];
        Amounts(std::array::from_fn(|at| listed[at].unwrap_or(absent.0[at])))
    }
}

/// An amount in thousandths, rounded up; none when it cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Quantity(Option<i64>);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AsWritten)
    }
}

/// Reads a text or a number.
struct AsWritten;

impl Visitor<'_> for AsWritten {
    type Value = Quantity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount")
    }

    fn visit_str<E>(self, text: &str) -> Result<Quantity, E> {
        Ok(Quantity(thousandths(text)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Quantity, E> {
        Ok(Quantity(thousandths(&number.to_string())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Quantity, E> {
        Ok(Quantity(thousandths(&number.to_string())))
    }

    fn visit_i64<E>(self, _negative: i64) -> Result<Quantity, E> {
        Ok(Quantity(None))
    }

    fn visit_bool<E>(self, _neither: bool) -> Result<Quantity, E> {
        Ok(Quantity(None))
    }
}

/// A quantity as `500m`, `2`, `1.5Gi` in thousandths, rounded up.
fn thousandths(text: &str) -> Option<i64> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') || fraction.len() > 12 {
        return None;
    }
    let scale = 10i128.pow(u32::try_from(fraction.len()).ok()?);
    let number = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<i128>().ok() };
    let digits = number(whole)?.checked_mul(scale)?.checked_add(number(fraction)?)?;
    let product = digits.checked_mul(thousandths_of(suffix)?)?;
    i64::try_from(product / scale + i128::from(product % scale != 0)).ok()
}

fn thousandths_of(suffix: &str) -> Option<i128> {
    let decimal = ["", "k", "M", "G", "T", "P"].iter().position(|known| *known == suffix);
    let binary = ["", "Ki", "Mi", "Gi", "Ti", "Pi"].iter().position(|known| *known == suffix);
    let power = |base: i128, exponent: usize| base.pow(u32::try_from(exponent).unwrap_or(0)) * 1000;
    match (suffix, decimal, binary) {
        ("m", _, _) => Some(1),
        (_, Some(exponent), _) => Some(power(1000, exponent)),
        (_, _, Some(exponent)) => Some(power(1024, exponent)),
        (_, None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(list: Value, absent: Amounts) -> [i64; 4] {
        serde_json::from_value::<Listed>(list).unwrap().or(absent).0
    }

    #[test]
    fn a_quantity_is_read_in_its_unit_and_rounded_up() {
        let table = [
            (json!("500m"), "cpu", 500),
            (json!(2), "cpu", 2000),
            (json!(0.5), "cpu", 500),
            (json!("0.0001"), "cpu", 1),
            (json!("1500m"), "memory", 2),
            (json!("1.5Ki"), "memory", 1536),
            (json!("64Mi"), "memory", 64 << 20),
            (json!("2G"), "disk", 2_000_000_000),
            (json!("5"), "tasks", 5),
            (json!("1.5Kib"), "memory", i64::MAX),
            (json!("-1"), "cpu", i64::MAX),
            (json!(-1), "cpu", i64::MAX),
            (json!(true), "cpu", i64::MAX),
            (json!(""), "cpu", i64::MAX),
        ];
        for (value, name, expected) in table {
            let at = NAMES.iter().position(|known| *known == name).unwrap();
            assert_eq!(read(json!({ name: value }), Amounts::default())[at], expected, "{value} {name}");
        }
    }

    #[test]
    fn what_is_not_listed_is_absent() {
        let list = json!({"cpu": "1", "gpu": 3});
        assert_eq!(read(list, Amounts([7, 7, 7, 7])), [1000, 7, 7, 7]);
    }
}
