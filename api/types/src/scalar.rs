//! Whether a single value is what its place asks for, and what to say when it is not.

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::fault::Rule;
use crate::quantity::Quantity;
use crate::shape::Scalar;
use crate::spelling;

/// What is said of a field with nothing behind its colon.
pub const NO_VALUE: &str = "has no value: give it one, or take the line out";

/// Whether `value` may stand where `scalar` is asked for; else the rule, and what to do.
pub fn judge(scalar: &Scalar, value: &Value) -> Result<(), (Rule, String)> {
    if value.is_null() {
        return Err((Rule::Type, NO_VALUE.into()));
    }
    match scalar {
        Scalar::Text => text(value).map(|_| ()),
        Scalar::Choice(words) => choice(words, text(value)?),
        Scalar::Time => {
            let written = text(value)?;
            Timestamp::parse(written).map(|_| ()).map_err(|_| {
                let message = format!("must be a time as `2026-11-21T07:45:35Z`, got {}", shown(value));
                (Rule::Invalid, message)
            })
        }
        Scalar::Quantity => quantity(value),
        Scalar::IntOrText if value.is_i64() || value.is_string() => Ok(()),
        Scalar::IntOrText => wrong_type("a whole number or text", value),
        Scalar::Truth if value.is_boolean() => Ok(()),
        Scalar::Truth => wrong_type("true or false", value),
        Scalar::Whole(least, most) => whole(*least, *most, value),
        Scalar::Number if value.is_number() => Ok(()),
        Scalar::Number => wrong_type("a number", value),
    }
}

/// A value that fits, to stand in for one that does not.
pub fn neutral(scalar: &Scalar) -> Value {
    match scalar {
        Scalar::Text => json!(""),
        Scalar::Choice(words) => json!(words.first()),
        Scalar::Time => json!("1970-01-01T00:00:00Z"),
        Scalar::Truth => json!(false),
        Scalar::Whole(least, _) => json!(i64::try_from(*least).unwrap_or(0).max(0)),
        Scalar::Quantity | Scalar::IntOrText | Scalar::Number => json!(0),
    }
}

/// A value as a message shows it: its kind, and a short form of it.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(_) => format!("`{value}`"),
        Value::Number(_) => format!("number `{value}`"),
        Value::String(text) => format!("text `{}`", short(text)),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a map".into(),
    }
}

/// The first 60 characters of `text` on one line, control characters made visible.
pub fn short(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == 60 {
            out.push_str("...");
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

fn wrong_type<T>(expected: &str, value: &Value) -> Result<T, (Rule, String)> {
    Err((Rule::Type, format!("must be {expected}, got {}", shown(value))))
}

fn text(value: &Value) -> Result<&str, (Rule, String)> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(_) | Value::Bool(_) => {
            Err((Rule::Type, format!("must be text, got {}: quote it, as `\"{value}\"`", shown(value))))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => wrong_type("text", value),
    }
}

fn choice(words: &[String], written: &str) -> Result<(), (Rule, String)> {
    if words.iter().any(|word| word == written) {
        return Ok(());
    }
    Err((Rule::NotSupported, one_of(words.iter().map(String::as_str), written)))
}

/// `must be one of `A`, `B`, got `C`, did you mean `B`?`.
pub fn one_of<'a>(words: impl Iterator<Item = &'a str> + Clone, written: &str) -> String {
    let choice = if words.clone().count() == 1 { "" } else { "one of " };
    let listed: Vec<String> = words.clone().map(|word| format!("`{word}`")).collect();
    let hint = spelling::hint(written, words);
    format!("must be {choice}{}, got `{}`{hint}", listed.join(", "), short(written))
}

fn quantity(value: &Value) -> Result<(), (Rule, String)> {
    let written = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return wrong_type("an amount as `500m` or `64Mi`", value);
        }
    };
    Quantity::new(written).millis().map(|_| ()).map_err(|fault| (Rule::Invalid, fault.to_string()))
}

fn whole(least: i128, most: i128, value: &Value) -> Result<(), (Rule, String)> {
    let number = match value.as_i64().map(i128::from).or(value.as_u64().map(i128::from)) {
        Some(number) => number,
        None => {
            let quoted = value.as_str().is_some_and(|text| text.parse::<i64>().is_ok());
            let remedy = if quoted { ": take the quotes away" } else { "" };
            let expected = if value.is_number() { "a whole number" } else { "a number" };
            return Err((Rule::Type, format!("must be {expected}, got {}{remedy}", shown(value))));
        }
    };
    if (least..=most).contains(&number) {
        return Ok(());
    }
    let message = match number < least {
        true if least == 0 => format!("must not be negative, got {number}"),
        true => format!("must be at least {least}, got {number}"),
        false => format!("must be at most {most}, got {number}"),
    };
    Err((Rule::Invalid, message))
}
