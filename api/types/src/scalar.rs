//! Whether a single value is what its place asks for, and what to say when it is not.

use serde_json::{Value, json};

use crate::amount_slip;
use crate::clock::Timestamp;
use crate::fault::Rule;
use crate::quantity::Quantity;
use crate::shape::Scalar;
use crate::spelling;

/// What is said of a field with nothing behind its colon.
pub const NO_VALUE: &str = "has no value: set one or remove the line";

/// The text of the scalar if it was typed without quotes.
type Typed<'a> = &'a dyn Fn() -> Option<String>;

/// Whether `value` may stand where `scalar` is asked for; else the rule, and what to do.
pub fn judge(scalar: &Scalar, value: &Value, typed: Typed<'_>) -> Result<(), (Rule, String)> {
    if value.is_null() {
        return Err((Rule::Type, NO_VALUE.into()));
    }
    match scalar {
        Scalar::Text => text(value, typed).map(|_| ()),
        Scalar::Choice(words) => choice(words, text(value, typed)?),
        Scalar::Time => {
            let written = text(value, typed)?;
            Timestamp::parse(written).map(|_| ()).map_err(|_| {
                let message = format!("must be a time as `2026-11-21T07:45:35Z`, got {}", shown(value));
                (Rule::Invalid, message)
            })
        }
        Scalar::Quantity => quantity(value, typed),
        Scalar::IntOrText if value.is_i64() || value.is_string() => Ok(()),
        Scalar::IntOrText => wrong_type("a whole number or text", value, typed),
        Scalar::Truth if value.is_boolean() => Ok(()),
        Scalar::Truth => wrong_type("true or false", value, typed),
        Scalar::Whole(least, most) => whole(*least, *most, value, typed),
        Scalar::Number if value.is_number() => Ok(()),
        Scalar::Number => wrong_type("a number", value, typed),
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
    shown_as(value, &value.to_string())
}

/// The same, a number or truth as `typed`.
fn shown_as(value: &Value, typed: &str) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(_) => format!("`{}`", short(typed)),
        Value::Number(_) => format!("number `{}`", short(typed)),
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

fn as_typed(value: &Value, typed: Typed<'_>) -> String {
    typed().unwrap_or_else(|| value.to_string())
}

fn wrong_type<T>(expected: &str, value: &Value, typed: Typed<'_>) -> Result<T, (Rule, String)> {
    let got = shown_as(value, &as_typed(value, typed));
    Err((Rule::Type, format!("must be {expected}, got {got}")))
}

fn text<'a>(value: &'a Value, typed: Typed<'_>) -> Result<&'a str, (Rule, String)> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(_) | Value::Bool(_) => {
            let typed = as_typed(value, typed);
            let (got, quoted) = (shown_as(value, &typed), short(&typed));
            Err((Rule::Type, format!("must be text, got {got}: quote it, as `\"{quoted}\"`")))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => wrong_type("text", value, typed),
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

fn quantity(value: &Value, typed: Typed<'_>) -> Result<(), (Rule, String)> {
    let written = match value {
        Value::String(text) => text.clone(),
        Value::Number(_) => as_typed(value, typed),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return wrong_type("an amount as `500m` or `64Mi`", value, typed);
        }
    };
    let read = Quantity::new(written.as_str()).millis();
    read.map(|_| ()).map_err(|fault| (Rule::Invalid, format!("{fault}{}", amount_slip::hint(&written))))
}

fn whole(least: i128, most: i128, value: &Value, typed: Typed<'_>) -> Result<(), (Rule, String)> {
    let exact = value.as_i64().map(i128::from).or(value.as_u64().map(i128::from));
    // An integer of more than 64 bits is a number only by its text.
    let Some(number) = exact.or_else(|| value.is_number().then(|| wide(&as_typed(value, typed))).flatten())
    else {
        let quoted = value.as_str().is_some_and(|text| text.parse::<i64>().is_ok());
        let remedy = if quoted { ": remove the quotes" } else { "" };
        let expected = if value.is_number() { "a whole number" } else { "a number" };
        let got = shown_as(value, &as_typed(value, typed));
        return Err((Rule::Type, format!("must be {expected}, got {got}{remedy}")));
    };
    if (least..=most).contains(&number) {
        return Ok(());
    }
    let got = if exact.is_some() { number.to_string() } else { short(&as_typed(value, typed)) };
    let message = match number < least {
        true if least == 0 => format!("must not be negative, got {got}"),
        true => format!("must be at least {least}, got {got}"),
        false => format!("must be at most {most}, got {got}"),
    };
    Err((Rule::Invalid, message))
}

/// An integer of any length that leaves 64 bits, as the nearest one of 128.
fn wide(text: &str) -> Option<i128> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nearest = if text.starts_with('-') { i128::MIN } else { i128::MAX };
    Some(text.parse().unwrap_or(nearest))
}
