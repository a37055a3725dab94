//! The amount that a person probably meant by a text that is none: `64MB`, `64mi`, `1e9`, `0x4000000`.

use crate::quantity::{Bytes, Quantity};

/// The longest text for which there is a proposal, in bytes.
const LONGEST: usize = 40;

/// `, did you mean `64Mi`?`; empty if nothing comes close.
pub fn hint(text: &str) -> String {
    meant(text).map_or_else(String::new, |meant| format!(", did you mean `{meant}`?"))
}

/// The amount that `text` probably means; always one that reads.
fn meant(text: &str) -> Option<Quantity> {
    if text.len() > LONGEST {
        return None;
    }
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let guess = based(&text).or_else(|| exponent(&text)).or_else(|| misspelt(&text))?;
    guess.millis().is_ok().then_some(guess)
}

/// A number in another base, as YAML and most languages write it.
fn based(text: &str) -> Option<Quantity> {
    let radix = match text.get(..2)?.to_ascii_lowercase().as_str() {
        "0x" => 16,
        "0o" => 8,
        "0b" => 2,
        _ => return None,
    };
    i64::from_str_radix(&text[2..], radix).ok().map(|number| Quantity::of_bytes(Bytes(number)))
}

/// A whole number in exponent form, `1e9`.
fn exponent(text: &str) -> Option<Quantity> {
    let lower = text.to_ascii_lowercase();
    let (digits, power) = lower.split_once('e')?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let zeros = power.parse::<usize>().ok().filter(|power| *power <= 18)?.checked_sub(fraction.len())?;
    let number: i64 = format!("{whole}{fraction}{}", "0".repeat(zeros)).parse().ok()?;
    Some(Quantity::of_bytes(Bytes(number)))
}

/// A suffix of the wrong case, with a `B`, or beyond the largest that there is; a comma for a point.
fn misspelt(text: &str) -> Option<Quantity> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number =
        if number.matches([',', '.']).count() == 1 { number.replace(',', ".") } else { number.into() };
    let of_bytes = suffix.ends_with(['b', 'B']);
    let bare = suffix.strip_suffix(['b', 'B']).unwrap_or(suffix);
    let (times, suffix) = match (bare, bare.to_ascii_lowercase().as_str()) {
        ("m", _) if !of_bytes => (1, "m"),
        (_, "") => (1, ""),
        // A `K` alone is mostly the one of 1024; with a B, that of 1000.
        ("K", _) if !of_bytes => (1, "Ki"),
        (_, "k") => (1, "k"),
        (_, "m") => (1, "M"),
        (_, "g") => (1, "G"),
        (_, "t") => (1, "T"),
        (_, "p") => (1_000, "T"),
        (_, "ki") => (1, "Ki"),
        (_, "mi") => (1, "Mi"),
        (_, "gi") => (1, "Gi"),
        (_, "ti") => (1, "Ti"),
        (_, "pi") => (1 << 10, "Ti"),
        _ => return None,
    };
    if times == 1 {
        return Some(Quantity::new(format!("{number}{suffix}")));
    }
    let number = number.parse::<i64>().ok()?.checked_mul(times)?;
    Some(Quantity::new(format!("{number}{suffix}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_any_kind_is_met_by_a_proposal_that_reads() {
        for (text, meant) in [
            ("64MB", "64M"),
            ("64mb", "64M"),
            ("64MiB", "64Mi"),
            ("64mib", "64Mi"),
            ("64mi", "64Mi"),
            ("64MI", "64Mi"),
            ("64K", "64Ki"),
            ("64KB", "64k"),
            ("2g", "2G"),
            ("1.5gb", "1.5G"),
            ("1,5Gi", "1.5Gi"),
            ("1,5", "1.5"),
            ("64 Mi", "64Mi"),
            ("100B", "100"),
            ("2Pi", "2048Ti"),
            ("3P", "3000T"),
            ("1e9", "1000000000"),
            ("1.5E3", "1500"),
            ("0x4000000", "64Mi"),
            ("0o400000000", "64Mi"),
            ("0b10", "2"),
        ] {
            assert_eq!(hint(text), format!(", did you mean `{meant}`?"), "{text}");
        }
        for text in [
            "",
            "abc",
            "Mi",
            "1.2.3",
            "2E",
            "-5Mi",
            "1e-3",
            "1e99",
            "0xzz",
            "64xyz",
            "1,234,567",
            "\u{e9}\u{e9}5",
        ] {
            assert_eq!(hint(text), "", "{text}");
        }
    }
}
