//! Objects as YAML that readers of YAML 1.1 and of 1.2 read alike. serde_yaml writes the dump and quotes what 1.2 would
//! not read as text. It cannot be told to quote more, so for every other text that some reader takes for something else
//! (`yes`, `1:30`, `2026-11-21`, line breaks of Unicode) it gets a name, for which the quoted text is put in afterwards.

use std::cell::RefCell;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::manifest::{Meaning, plain};

/// Before and after the number of a name: characters of private use, which no text keeps bare.
const OPEN: char = '\u{e000}';
const CLOSE: char = '\u{e001}';

/// `value` as YAML, ended by a new line.
pub fn yaml(value: &Value) -> String {
    let named = RefCell::new(Vec::new());
    let dump = serde_yaml::to_string(&Named { value, forms: &named }).expect("JSON is YAML");
    let forms = named.into_inner();
    let mut out = String::with_capacity(dump.len());
    let mut rest = dump.as_str();
    while let Some((before, name)) = rest.split_once(OPEN) {
        let (number, after) = name.split_once(CLOSE).expect("a name is closed");
        out.push_str(before);
        out.push_str(&forms[number.parse::<usize>().expect("a name is a number")]);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A value in which texts and numbers of another form are only named; `forms` keeps them.
struct Named<'a> {
    value: &'a Value,
    forms: &'a RefCell<Vec<String>>,
}

impl Named<'_> {
    fn name(&self, form: String) -> String {
        let mut forms = self.forms.borrow_mut();
        forms.push(form);
        format!("{OPEN}{}{CLOSE}", forms.len() - 1)
    }
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let inner = |value| Named { value, forms: self.forms };
        match self.value {
            Value::Null | Value::Bool(_) => self.value.serialize(serializer),
            Value::Number(number) => match with_exponent(&number.to_string()) {
                None => number.serialize(serializer),
                Some(form) => serializer.serialize_str(&self.name(form)),
            },
            Value::String(text) => match quoted(text) {
                None => serializer.serialize_str(text),
                Some(form) => serializer.serialize_str(&self.name(form)),
            },
            Value::Array(items) => serializer.collect_seq(items.iter().map(inner)),
            Value::Object(entries) => serializer.collect_map(entries.iter().map(|(key, value)| {
                let key = quoted(key).map_or_else(|| key.clone(), |form| self.name(form));
                (key, inner(value))
            })),
        }
    }
}

/// A number in exponent form as both readers know it: 1.1 wants a point and the sign of the exponent.
fn with_exponent(number: &str) -> Option<String> {
    let (digits, exponent) = number.split_once(['e', 'E'])?;
    let point = if digits.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['+', '-']) { "" } else { "+" };
    Some(format!("{digits}{point}e{sign}{exponent}"))
}

/// A text in quotes; `None` if every reader reads what serde_yaml makes of it.
fn quoted(text: &str) -> Option<String> {
    if text.chars().any(is_special) || text.contains('\n') && !is_plain_block(text) {
        return Some(in_double_quotes(text));
    }
    let misread = plain(text) == Meaning::Text && is_more_in_yaml_1_1(text);
    misread.then(|| format!("'{}'", text.replace('\'', "''")))
}

/// Characters that readers treat differently, or not at all, when they stand bare or in a block.
fn is_special(c: char) -> bool {
    match c {
        '\n' => false,
        '\u{85}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{feff}'
        | '\u{e000}'..='\u{f8ff}'
        | '\u{fffe}'
        | '\u{ffff}' => true,
        c => c.is_control(),
    }
}

/// Whether several lines can stand as a block: no blanks where a block begins, ends, or ends a line.
fn is_plain_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    !body.starts_with([' ', '\n']) && !body.ends_with('\n') && body.lines().all(|line| !line.ends_with(' '))
}

fn in_double_quotes(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_special(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether a text without quotes is more than text to some reader of YAML 1.1. Rather too many than too few.
fn is_more_in_yaml_1_1(text: &str) -> bool {
    const WORDS: [&str; 14] =
        ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", "=", "<<", ".inf", ".nan"];
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if WORDS.iter().any(|word| word.eq_ignore_ascii_case(unsigned)) {
        return true;
    }
    let mut chars = unsigned.chars();
    let numeric = matches!(chars.next(), Some('0'..='9' | '.'))
        && chars.all(|c| c.is_ascii_digit() || matches!(c, '.' | '_' | ',' | ':' | '+' | '-' | 'e' | 'E'));
    numeric || is_of_another_base(unsigned) || begins_as_date(text)
}

fn is_of_another_base(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let digits = ["0x", "0o", "0b"].iter().find_map(|base| lower.strip_prefix(base));
    digits.is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit() || c == '_'))
}

/// As `2026-11-21T07:45:35Z`.
fn begins_as_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(day)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    year.len() == 4
        && digits(year)
        && month.len() <= 2
        && digits(month)
        && day.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use saphyr_parser::{Event, Parser, ScalarStyle};
    use serde_json::json;

    use super::*;
    use crate::manifest::value_of;

    /// Whether a reader of YAML 1.1 takes a scalar without quotes for text: by the types of yaml.org and, where it reads
    /// more, PyYAML 6. Written apart from what is tested, form by form.
    fn is_text_in_yaml_1_1(text: &str) -> bool {
        const WORDS: [&str; 29] = [
            "y", "Y", "yes", "Yes", "YES", "n", "N", "no", "No", "NO", "true", "True", "TRUE", "false",
            "False", "FALSE", "on", "On", "ON", "off", "Off", "OFF", "~", "null", "Null", "NULL", "", "=",
            "<<",
        ];
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let special = ["inf", "Inf", "INF"].iter().any(|word| unsigned == format!(".{word}"))
            || ["nan", "NaN", "NAN"].iter().any(|word| text == format!(".{word}"));
        !WORDS.contains(&text)
            && !special
            && !int(unsigned)
            && !float(unsigned)
            && !base_60(unsigned)
            && !timestamp(text)
    }

    fn of(text: &str, allowed: &str) -> bool {
        text.chars().all(|c| allowed.contains(c))
    }

    fn int(text: &str) -> bool {
        let after = |base: &str, digits: &str| {
            text.strip_prefix(base).is_some_and(|rest| !rest.is_empty() && of(rest, digits))
        };
        let decimal = text.starts_with(|c: char| c.is_ascii_digit()) && of(text, "0123456789_");
        after("0b", "01_") || after("0x", "0123456789abcdefABCDEF_") || decimal
    }

    /// `[0-9][0-9_]*` or nothing, a point, digits and points, then an exponent with a sign.
    fn float(text: &str) -> bool {
        let Some((whole, rest)) = text.split_once('.') else { return false };
        let (fraction, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "+0"));
        let exponent = exponent
            .strip_prefix(['-', '+'])
            .is_some_and(|digits| of(digits, "0123456789") && !digits.is_empty());
        !whole.starts_with('_') && of(whole, "0123456789_") && of(fraction, "0123456789_.") && exponent
    }

    fn base_60(text: &str) -> bool {
        let mut parts = text.split(':');
        let first = parts.next().unwrap_or_default();
        let rest: Vec<&str> = parts.collect();
        let sixty = |part: &str| !part.is_empty() && part.len() <= 2 && of(part, "0123456789");
        let last =
            |part: &&str| sixty(part.split('.').next().unwrap_or_default()) && of(part, "0123456789_.");
        let (Some(end), true) = (rest.last(), first.starts_with(|c: char| c.is_ascii_digit())) else {
            return false;
        };
        of(first, "0123456789_") && rest[..rest.len() - 1].iter().all(|part| sixty(part)) && last(end)
    }

    fn timestamp(text: &str) -> bool {
        let digits = |from: usize, to: usize| text.get(from..to).is_some_and(|part| of(part, "0123456789"));
        let date = text.len() >= 8 && digits(0, 4) && text.as_bytes()[4] == b'-' && digits(5, 6);
        date && of(text, "0123456789-:.+tTZ \t")
    }

    /// Every text of a dump is quoted, or text to both readers; the dump reads back as it was.
    fn survives(value: &Value) {
        let dump = yaml(value);
        assert_eq!(value_of(&dump).as_ref(), Some(value), "{dump}");
        assert_eq!(serde_yaml::from_str::<Value>(&dump).ok().as_ref(), Some(value), "{dump}");
        for event in Parser::new_from_str(&dump) {
            if let (Event::Scalar(text, ScalarStyle::Plain, ..), _) = event.unwrap()
                && plain(&text) == Meaning::Text
            {
                assert!(is_text_in_yaml_1_1(&text), "{text} in {dump}");
            }
        }
    }

    const TEXTS: [&str; 80] = [
        "yes",
        "Yes",
        "YES",
        "no",
        "No",
        "NO",
        "on",
        "On",
        "ON",
        "off",
        "Off",
        "OFF",
        "y",
        "Y",
        "n",
        "N",
        "true",
        "False",
        "null",
        "~",
        "",
        "1:30",
        "190:20:30",
        "1:30.5",
        "-1:30",
        "0777",
        "0o17",
        "010",
        "+12",
        "-0",
        "1_000",
        "1_000.5",
        "0b1_0",
        "0b11",
        "0x1F",
        "0x_1",
        "0xZZ",
        "1e3",
        "1.5e3",
        "1.5e+3",
        "1e400",
        ".5",
        "5.",
        ".",
        "..",
        "1.2.3",
        "10.0.0.1",
        "1,000",
        ".inf",
        "-.Inf",
        ".nan",
        "NaN",
        "infinity",
        "2026-11-21",
        "2026-1-2",
        "2026-11-21T07:45:35Z",
        "2026-11-21 07:45:35",
        "2026-11-21t07:45:35.5+01:00",
        "=",
        "<<",
        "<",
        "-",
        "- dash",
        "?",
        "key: value # no comment",
        "# no comment",
        "*alias",
        "&anchor",
        "!tag",
        "%percent",
        "@at",
        "`tick`",
        "it's",
        "\"quoted\"",
        " padded ",
        "tab\there",
        "dos\r\nlines\r\n",
        "next\u{85}line\u{2028}separator",
        "\u{feff}mark",
        "first\nsecond  \n\n  indented: yes\n",
    ];

    #[test]
    fn a_text_that_looks_like_something_else_is_quoted_as_value_and_as_key() {
        for text in TEXTS {
            survives(&json!({"value": text, "list": [text, [text]], text: {text: text}}));
        }
        let all: Vec<&str> = TEXTS.to_vec();
        survives(&json!({"all": all, "after": "as\u{1f6a2} wide", "last": "yes"}));
    }

    #[test]
    fn what_is_plainly_text_stays_bare_and_numbers_stay_numbers() {
        for (value, dump) in [
            (json!({"image": "nginx:1.27"}), "image: nginx:1.27\n"),
            (json!({"cpu": "500m", "memory": "64Mi"}), "cpu: 500m\nmemory: 64Mi\n"),
            (json!({"name": "web-1", "at": "spec.x"}), "at: spec.x\nname: web-1\n"),
            (json!({"m": 7, "f": 1.5, "t": true, "z": null}), "f: 1.5\nm: 7\nt: true\nz: null\n"),
            (json!({"yes": "on", "n": -5}), "'n': -5\n'yes': 'on'\n"),
            (json!({"big": 1e300, "small": 1.5e-9}), "big: 1.0e+300\nsmall: 1.5e-9\n"),
        ] {
            assert_eq!(yaml(&value), dump);
        }
    }

    /// Texts around what a reader of YAML 1.1 takes for something else.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "[-+]?[0-9]{0,3}[:._,]?[0-9_:.]{0,6}([eE][-+]?[0-9]{0,2})?",
            "[-+]?0[xobXOB][0-9a-f_]{0,4}",
            "[0-9]{1,4}-[0-9]{1,2}-[0-9]{1,2}([Tt ][0-9:.]{0,8}[Zz]?)?",
            "[yYnN]|[oO][nN]|[oO][fF]{2}|[yY][eE][sS]|[nN][oO]",
            "[ -~]{0,12}",
            "[-:#'\" \\n\\t\\ra-c\u{85}\u{2028}\u{feff}\u{e000}\u{e001}]{0,8}",
            ".{0,8}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..berth_cases::cases(2000) })]

        #[test]
        fn any_text_survives_a_dump(keys in prop::collection::vec(texts(), 1..4), text in texts()) {
            let object: serde_json::Map<String, Value> = keys.iter().map(|key| (key.clone(), json!(text))).collect();
            survives(&json!({"a": object, "b": keys, "c": text}));
        }
    }
}
