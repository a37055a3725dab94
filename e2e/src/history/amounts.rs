//! Amounts of what a node has and a Task takes, in integers.

use std::fmt;

use serde_json::Value;

/// The resources, in the order in which they are told. Of `tasks` every Task takes one.
pub const NAMES: [&str; 4] = ["cpu", "memory", "disk", "tasks"];

/// An amount for each of [`NAMES`]: thousandths of a core, bytes, bytes, Tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts(pub [i64; 4]);

impl Amounts {
    /// Reads a list of resources. What is not listed is `absent`; what cannot be read is all there could be.
    pub fn read(list: &Value, absent: Self) -> Self {
        let mut amounts = absent;
        for (amount, name) in amounts.0.iter_mut().zip(NAMES) {
            if let Some(value) = list.get(name) {
                *amount = quantity(value, name).unwrap_or(i64::MAX);
            }
        }
        amounts
    }

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

/// A quantity as `500m`, `2`, `1.5Gi`: of cpu in thousandths, else in units; both rounded up.
fn quantity(value: &Value, name: &str) -> Option<i64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') || fraction.len() > 12 {
        return None;
    }
    let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let unit = if name == "cpu" { 1 } else { 1000 };
    let scale = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(unit)?;
    let thousandths = digits.checked_mul(thousandths_of(suffix)?)?;
    i64::try_from(thousandths / scale + i128::from(thousandths % scale != 0)).ok()
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
    use serde_json::json;

    use super::*;

    #[test]
    fn a_quantity_is_read_in_its_unit_and_rounded_up() {
        let table = [
            (json!("500m"), "cpu", Some(500)),
            (json!(2), "cpu", Some(2000)),
            (json!("0.0001"), "cpu", Some(1)),
            (json!("1500m"), "memory", Some(2)),
            (json!("1.5Ki"), "memory", Some(1536)),
            (json!("64Mi"), "memory", Some(64 << 20)),
            (json!("2G"), "disk", Some(2_000_000_000)),
            (json!("5"), "tasks", Some(5)),
            (json!("1.5Kib"), "memory", None),
            (json!("-1"), "cpu", None),
            (json!(true), "cpu", None),
            (json!(""), "cpu", None),
        ];
        for (value, name, expected) in table {
            assert_eq!(quantity(&value, name), expected, "{value} {name}");
        }
    }

    #[test]
    fn what_is_not_listed_is_absent_and_what_is_unreadable_is_everything() {
        let list = json!({"cpu": "1", "memory": "x"});
        let absent = Amounts([7, 7, 7, 7]);
        assert_eq!(Amounts::read(&list, absent), Amounts([1000, i64::MAX, 7, 7]));
    }
}
