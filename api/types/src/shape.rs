//! The shape of a kind: its JSON schema, read once into what walks over objects need.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// What may stand at a place of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Anything.
    Any,
    /// A single value.
    Scalar(Scalar),
    /// An object with known fields.
    Object(Fields),
    /// An object whose keys are up to the user, as labels.
    Map(Box<Shape>),
    /// A list.
    List(Box<Shape>, ListType),
}

/// The known fields of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// Each field by name.
    pub known: BTreeMap<String, Shape>,
    /// Names of those that must be there.
    pub required: Vec<String>,
}

/// What a single value may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    /// Text.
    Text,
    /// One of these words.
    Choice(Vec<String>),
    /// RFC 3339.
    Time,
    /// An amount, as text or as a number.
    Quantity,
    /// A whole number or a text, as a port or a percentage.
    IntOrText,
    /// `true` or `false`.
    Truth,
    /// A whole number between both, both included.
    Whole(i128, i128),
    /// Any number.
    Number,
}

/// How the items of a list are told apart (`x-kubernetes-list-type`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListType {
    /// They are not: the list is one value.
    Atomic,
    /// Each item is a value that stands once.
    Set,
    /// Each item is an object told apart by these fields.
    Keyed(Vec<String>),
}

/// The JSON schema of `T`, without references.
pub fn schema_of<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft07();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    schema
}

/// Takes away what schemars derives from serde and what is no rule of the API: defaults, and null for absence.
fn tidy(schema: &mut Value) {
    let Value::Object(schema) = schema else { return };
    schema.remove("default");
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    if let Some(Value::Object(fields)) = schema.get_mut("properties") {
        fields.values_mut().for_each(tidy);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(inner) {
            tidy(inner);
        }
    }
}

impl Shape {
    /// Reads a JSON schema without references; what it does not know it lets pass.
    pub fn of(schema: &Value) -> Shape {
        let types: Vec<&str> = match &schema["type"] {
            Value::String(name) => vec![name],
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        match types.as_slice() {
            ["object"] => Self::of_object(schema),
            ["array"] => Shape::List(Box::new(Shape::of(&schema["items"])), ListType::of(schema)),
            [] => Shape::Any,
            types => Scalar::of(types, schema).map_or(Shape::Any, Shape::Scalar),
        }
    }

    fn of_object(schema: &Value) -> Shape {
        if schema["additionalProperties"].is_object() {
            return Shape::Map(Box::new(Shape::of(&schema["additionalProperties"])));
        }
        let mut fields = Fields::default();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            fields.known.insert(name.clone(), Shape::of(field));
        }
        fields.required = texts(&schema["required"]);
        Shape::Object(fields)
    }

    /// The shape of the field or entry `name` here; none when there is no such field.
    pub fn field(&self, name: &str) -> Option<&Shape> {
        match self {
            Shape::Object(fields) => fields.known.get(name),
            Shape::Map(inner) => Some(inner),
            Shape::Any => Some(&Shape::Any),
            Shape::Scalar(_) | Shape::List(..) => None,
        }
    }
}

impl Scalar {
    fn of(types: &[&str], schema: &Value) -> Option<Scalar> {
        let format = schema["format"].as_str().unwrap_or_default();
        Some(match (types, format) {
            (_, "quantity") => Scalar::Quantity,
            (_, "int-or-string") => Scalar::IntOrText,
            (["string"], "date-time") => Scalar::Time,
            (["string"], _) if schema["enum"].is_array() => Scalar::Choice(texts(&schema["enum"])),
            (["string"], _) => Scalar::Text,
            (["boolean"], _) => Scalar::Truth,
            (["integer"], _) => Self::whole(format, schema),
            (["number"], _) => Scalar::Number,
            _ => return None,
        })
    }

    fn whole(format: &str, schema: &Value) -> Scalar {
        let (least, most) = match format {
            "uint8" => (0, u8::MAX.into()),
            "uint16" => (0, u16::MAX.into()),
            "uint32" => (0, u32::MAX.into()),
            "uint64" => (0, u64::MAX.into()),
            "int32" => (i32::MIN.into(), i32::MAX.into()),
            _ => (i64::MIN.into(), i64::MAX.into()),
        };
        let bound = |name: &str| schema[name].as_i64().map(i128::from);
        Scalar::Whole(bound("minimum").unwrap_or(least), bound("maximum").unwrap_or(most))
    }
}

impl ListType {
    fn of(schema: &Value) -> ListType {
        match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => ListType::Set,
            Some("map") => ListType::Keyed(texts(&schema["x-kubernetes-list-map-keys"])),
            _ => ListType::Atomic,
        }
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;
    use crate::meta::Condition;

    #[test]
    fn every_place_of_a_kind_has_a_shape_but_the_sets_of_fields() {
        fn anys(shape: &Shape, at: String, found: &mut Vec<String>) {
            match shape {
                Shape::Any => found.push(at),
                Shape::Scalar(_) => {}
                Shape::Map(inner) => anys(inner, format!("{at}[]"), found),
                Shape::List(inner, _) => anys(inner, format!("{at}[]"), found),
                Shape::Object(fields) => {
                    fields.known.iter().for_each(|(name, field)| anys(field, format!("{at}.{name}"), found))
                }
            }
        }
        let mut found = Vec::new();
        anys(&Shape::of(&schema_of::<App>()), String::new(), &mut found);
        assert_eq!(found, [".metadata.managedFields[].fieldsV1"]);
    }

    #[test]
    fn a_condition_names_what_it_must_have() {
        let Shape::Object(fields) = Shape::of(&schema_of::<Condition>()) else { panic!("an object") };
        assert_eq!(fields.required, ["type", "status", "lastTransitionTime"]);
        let words = ["True", "False", "Unknown"].map(String::from).to_vec();
        assert_eq!(fields.known["status"], Shape::Scalar(Scalar::Choice(words)));
    }
}
