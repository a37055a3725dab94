//! The value of a document, as JSON.

use serde_json::{Map, Number, Value};

/// Why a document has no value.
#[derive(Debug, PartialEq, Eq)]
pub enum NoValue {
    /// The parser's words; at a line (from 1) and column (from 0) of the text when it says so.
    Yaml(String, Option<(usize, usize)>),
    /// A value that JSON does not know, at a path.
    Unknown(String, String),
}

/// Reads the one document in `text`.
pub fn read(text: &str) -> Result<Value, NoValue> {
    let mut yaml: serde_yaml::Value = serde_yaml::from_str(text).map_err(refusal)?;
    yaml.apply_merge().map_err(refusal)?;
    json(&yaml, "")
}

fn refusal(error: serde_yaml::Error) -> NoValue {
    let words = error.to_string();
    let words = words.split(" at line ").next().unwrap_or_default().to_owned();
    NoValue::Yaml(words, error.location().map(|at| (at.line(), at.column().saturating_sub(1))))
}

fn json(yaml: &serde_yaml::Value, path: &str) -> Result<Value, NoValue> {
    Ok(match yaml {
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(truth) => Value::Bool(*truth),
        serde_yaml::Value::Number(number) => Value::Number(finite(number, path)?),
        serde_yaml::Value::String(text) => Value::String(text.clone()),
        serde_yaml::Value::Sequence(items) => {
            let items = items.iter().enumerate().map(|(n, item)| json(item, &format!("{path}[{n}]")));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        serde_yaml::Value::Mapping(entries) => {
            let mut object = Map::new();
            for (key, value) in entries {
                let key = text_of(key, path)?;
                let value = json(value, &format!("{path}[{key}]"))?;
                object.insert(key, value);
            }
            Value::Object(object)
        }
        serde_yaml::Value::Tagged(_) => {
            return Err(NoValue::Unknown(path.into(), "tags are not supported".into()));
        }
    })
}

/// A key: numbers and truth values are keys by their text, as JSON has only texts.
fn text_of(key: &serde_yaml::Value, path: &str) -> Result<String, NoValue> {
    match key {
        serde_yaml::Value::String(text) => Ok(text.clone()),
        serde_yaml::Value::Number(number) => Ok(number.to_string()),
        serde_yaml::Value::Bool(truth) => Ok(truth.to_string()),
        serde_yaml::Value::Null => Ok("null".into()),
        serde_yaml::Value::Sequence(_) | serde_yaml::Value::Mapping(_) | serde_yaml::Value::Tagged(_) => {
            Err(NoValue::Unknown(path.into(), "a key must be a text".into()))
        }
    }
}

fn finite(number: &serde_yaml::Number, path: &str) -> Result<Number, NoValue> {
    let whole = number.as_i64().map(Number::from).or_else(|| number.as_u64().map(Number::from));
    whole.or_else(|| number.as_f64().and_then(Number::from_f64)).ok_or_else(|| {
        NoValue::Unknown(path.into(), format!("`{number}` is not a number that can be stored"))
    })
}
