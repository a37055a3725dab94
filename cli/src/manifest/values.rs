//! The value of a document, as JSON: what its scalars mean by the core schema of YAML 1.2, as serde_yaml reads them.

use serde_json::{Map, Number, Value};

use super::marks::{Mark, Parts, Scalar, Style};

/// What a scalar means.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    /// Nothing.
    Null,
    /// A truth value.
    Truth(bool),
    /// A number that JSON holds.
    Number(Number),
    /// A number that JSON does not hold: an integer of more than 64 bits, infinite, or none.
    Unstorable,
    /// Text.
    Text,
}

/// The value of a document. A number that JSON does not hold is a number that fits nowhere.
pub fn value(mark: &Mark) -> Value {
    match &mark.parts {
        Parts::Scalar(scalar) => match meaning(scalar) {
            Meaning::Null => Value::Null,
            Meaning::Truth(truth) => Value::Bool(truth),
            Meaning::Number(number) => Value::Number(number),
            Meaning::Unstorable => Number::from_f64(f64::MAX).map_or(Value::Null, Value::Number),
            Meaning::Text => Value::String(scalar.text.clone()),
        },
        Parts::List(items) => items.iter().map(value).collect(),
        Parts::Mapping(entries) => {
            Value::Object(entries.iter().map(|(key, mark)| (key.clone(), value(mark))).collect::<Map<_, _>>())
        }
    }
}

/// The value of the one document in `text`, if its form is right.
#[cfg(test)]
pub fn value_of(text: &str) -> Option<Value> {
    let (marks, faults) = super::parse::parse(text, 1);
    marks.filter(|_| faults.is_empty()).map(|marks| value(&marks))
}

/// The paths and texts of the numbers that JSON does not hold.
pub fn unstorable(mark: &Mark) -> Vec<(String, String)> {
    let mut found = Vec::new();
    search(mark, "", &mut found);
    found
}

fn search(mark: &Mark, path: &str, found: &mut Vec<(String, String)>) {
    match &mark.parts {
        Parts::Scalar(scalar) if meaning(scalar) == Meaning::Unstorable => {
            found.push((path.to_owned(), scalar.text.clone()));
        }
        Parts::Scalar(_) => {}
        Parts::List(items) => {
            items.iter().enumerate().for_each(|(n, item)| search(item, &format!("{path}[{n}]"), found));
        }
        Parts::Mapping(entries) => {
            for (key, mark) in entries.iter() {
                let plain = key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
                let path = match (plain, path.is_empty()) {
                    (false, _) => format!("{path}[{key}]"),
                    (true, true) => key.clone(),
                    (true, false) => format!("{path}.{key}"),
                };
                search(mark, &path, found);
            }
        }
    }
}

/// What a scalar means.
pub fn meaning(scalar: &Scalar) -> Meaning {
    match scalar.style {
        Style::Quoted => Meaning::Text,
        Style::Plain => plain(&scalar.text),
    }
}

/// What a text without quotes means.
pub fn plain(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "true" | "True" | "TRUE" => return Meaning::Truth(true),
        "false" | "False" | "FALSE" => return Meaning::Truth(false),
        _ => {}
    }
    let (negative, unsigned) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Meaning::Unstorable;
    }
    if unsigned.starts_with(['+', '-']) {
        return Meaning::Text;
    }
    let digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match unsigned.get(..2) {
        Some("0x") => return integer(negative, &unsigned[2..], 16),
        Some("0o") => return integer(negative, &unsigned[2..], 8),
        Some("0b") => return integer(negative, &unsigned[2..], 2),
        // `0777` was octal in YAML 1.1 and is text in 1.2.
        Some(_) if unsigned.starts_with('0') && digits(unsigned) => return Meaning::Text,
        _ if digits(unsigned) => return integer(negative, unsigned, 10),
        _ => {}
    }
    let float = unsigned.parse::<f64>().ok().filter(|float| float.is_finite());
    let float = float.and_then(|float| Number::from_f64(if negative { -float } else { float }));
    float.map_or(Meaning::Text, Meaning::Number)
}

/// An integer in digits of a base; digits of another base make it text.
fn integer(negative: bool, digits: &str, radix: u32) -> Meaning {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Meaning::Text;
    }
    let unsigned = u64::from_str_radix(digits, radix);
    let number = match (negative, unsigned) {
        (false, Ok(number)) => Some(Number::from(number)),
        (true, Ok(number)) => 0i64.checked_sub_unsigned(number).map(Number::from),
        (_, Err(_)) => None,
    };
    number.map_or(Meaning::Unstorable, Meaning::Number)
}
