//! The reader against serde_yaml, which reads the same language: values over many scalars and generated documents.

use std::rc::Rc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::marks::{Mark, Parts, Place};
use super::parse::parse;
use super::values::{unstorable, value_of};

fn by_serde_yaml(text: &str) -> Option<Value> {
    serde_yaml::from_str(text).ok()
}

#[test]
fn a_bare_scalar_means_what_it_means_to_serde_yaml() {
    let words = "~ null Null NULL nUll true True TRUE tRue false False FALSE yes no on off y n = . .. + 5 05 0 00 -0 +7 ++7 \
        -+7 +-7 0x1F 0X1F +0x1f -0x1F 0x 0x+1 0xg 0o17 -0o17 0o8 0b101 -0b1 0b2 1_000 1:30 1.5 1.50 -1.5 +1.5 .5 5. -.5 1e3 \
        1E3 1e+3 1e-3 1.e3 .e3 e3 1e 1e400 -1e400 inf nan infinity NaN 9223372036854775807 9223372036854775808 \
        -9223372036854775808 18446744073709551615 0xffffffffffffffff 2026-11-21 2026-11-21T07:45:35Z 10.0.0.1 1.2.3 a,b a#b \
        a:b 500m 64Mi ~a - <<";
    for word in words.split_whitespace().filter(|word| *word != "-") {
        let document = format!("a: {word}\n");
        assert_eq!(value_of(&document), by_serde_yaml(&document), "{word}");
        let quoted = format!("a: '{word}'\n");
        assert_eq!(value_of(&quoted), Some(json!({ "a": word })), "{word}");
    }
    assert_eq!(value_of("a:\n"), Some(json!({ "a": null })));
}

#[test]
fn json_reads_as_json() {
    for text in [
        r#"{"a": "\ud83d\ude00", "b": "x\uD83D\uDE00\\ud83d\\ude00\u00e9\/\n", "\ud83d\ude00": [1, true, null]}"#,
        "{\n\t\"a\": \"\\ud83d\\ude00\",\n\t\"b\": {\n\t\t\"c\": []\n\t}\n}\n",
        r#"["\\\ud83d\ude00"]"#,
    ] {
        assert_eq!(value_of(text), serde_json::from_str(text).ok(), "{text}");
    }
    // Neither is JSON: halves of pairs alone, and a list without brackets.
    for text in [r#"{"a": "\ud83d"}"#, r#"{"a": "\ude00\ud83d"}"#, r#"- "\ud83d\ude00""#] {
        assert_eq!(value_of(text), None, "{text}");
    }
    let (line, message) = &wrong("{\n\t\"a\": \"\\x\"\n}\n")[0];
    assert!(*line == 2 && !message.contains("tab"), "{message}");
}

/// The texts that keys and values of a document stand at, in the order of their places.
fn pointed_at(text: &str) -> Vec<String> {
    fn collect(mark: &Mark, places: &mut Vec<Place>) {
        places.extend(mark.key);
        match &mark.parts {
            Parts::Scalar(_) => places.push(mark.value),
            Parts::Mapping(entries) => entries.values().for_each(|mark| collect(mark, places)),
            Parts::List(items) => items.iter().for_each(|mark| collect(mark, places)),
        }
    }
    let mut found = Vec::new();
    collect(&parse(text, 1).0.expect("a document"), &mut found);
    found.sort();
    let lines: Vec<&str> = text.lines().collect();
    let stretch =
        |place: &Place| lines[place.line - 1].chars().skip(place.column).take(place.width).collect();
    found.iter().map(stretch).collect()
}

#[test]
fn places_in_json_are_those_of_the_file() {
    let line = r#"{"a": "\ud83d\ude00", "b\uD83D\uDE00\ud83d\ude01": 1, "c": "\\\ud83d\ude00é", "d": "x"}"#;
    let parts = [
        r#""a""#,
        r#""\ud83d\ude00""#,
        r#""b\uD83D\uDE00\ud83d\ude01""#,
        "1",
        r#""c""#,
        r#""\\\ud83d\ude00é""#,
        r#""d""#,
        r#""x""#,
    ];
    assert_eq!(pointed_at(line), parts);
    let lines = line.replace(", ", ",\n\t").replace(": ", ":\r\n");
    assert_eq!(pointed_at(&lines), parts);
}

#[test]
fn numbers_that_json_does_not_hold_are_named_with_path_and_text() {
    let text = "a: [1, 18446744073709551616, {b.c: -9223372036854775809}]\nd: .inf\ne: {f: .NaN, g: 1e3}\n\
                h: 340282366920938463463374607431768211456\n";
    let (marks, faults) = parse(text, 1);
    assert_eq!(faults, []);
    let found = unstorable(&marks.unwrap());
    let found: Vec<_> = found.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    assert_eq!(
        found,
        [
            ("a[1]", "18446744073709551616"),
            ("a[2][b.c]", "-9223372036854775809"),
            ("d", ".inf"),
            ("e.f", ".NaN"),
            ("h", "340282366920938463463374607431768211456"),
        ]
    );
}

#[test]
fn merges_are_applied_innermost_first_and_what_is_nearer_wins() {
    for (text, expected) in [
        ("a: &a {one: x}\nb: &b {<<: *a, two: y}\nc: {<<: *b}", json!({"one": "x", "two": "y"})),
        ("a: &a {one: x}\nb: &b {<<: *a}\nd: &d {<<: *b}\ne: &e {<<: *d}\nc: {<<: *e}", json!({"one": "x"})),
        ("a: &a {one: x}\nc: {one: z, <<: *a}", json!({"one": "z"})),
        ("a: &a {one: x}\nc: {<<: *a, one: z}", json!({"one": "z"})),
        (
            "a: &a {n: a, one: x}\nb: &b {n: b, two: y}\nc: {<<: [*a, *b]}",
            json!({"n": "a", "one": "x", "two": "y"}),
        ),
        (
            "a: &a {n: a, one: x}\nb: &b {n: b, two: y}\nc: {<<: [*b, *a]}",
            json!({"n": "b", "one": "x", "two": "y"}),
        ),
        ("a: &a {n: a}\nb: &b {<<: *a, n: b}\nc: {<<: [*a, *b], m: 1}", json!({"n": "a", "m": 1})),
        ("a: &a [{n: a}, {m: b}]\nc: {<<: *a}", json!({"n": "a", "m": "b"})),
        ("c: {<<: {n: {<<: {m: 1}}}}", json!({"n": {"m": 1}})),
        ("a: &a {n: {deep: 1}}\nc: {<<: *a, n: {other: 2}}", json!({"n": {"other": 2}})),
        ("c: {'<<': x, \"n\": y}", json!({"<<": "x", "n": "y"})),
        ("a: &a {n: 1}\nc: [{<<: *a}, {<<: *a, m: 2}]", json!([{"n": 1}, {"n": 1, "m": 2}])),
    ] {
        assert_eq!(value_of(text).map(|value| value["c"].clone()), Some(expected), "{text}");
    }
}

/// Messages and lines of what is wrong with the form of a document.
fn wrong(text: &str) -> Vec<(usize, String)> {
    let (_, faults) = parse(text, 1);
    faults.into_iter().map(|fault| (fault.place.line, format!("{}; {}", fault.message, fault.note))).collect()
}

#[test]
fn every_fault_of_the_form_is_found_with_its_line() {
    let said = |line: usize, text: &str| (line, text.to_owned());
    let twice = "duplicate key `<<`; the first is in line 3: write one, as `<<: [*a, *b]`";
    assert_eq!(
        wrong("a: &a {n: 1}\nb:\n  <<: *a\n  <<: *a\n  m: 1\n  <<: *a\nc: {<<: *a}\n"),
        [said(4, twice), said(6, twice)]
    );
    let first = "duplicate key `n`; first given in line 2";
    assert_eq!(wrong("a:\n  n: 1\n  m: 2\n  n: 3\n  n: 4\nb:\n  n: 5\n"), [said(4, first), said(5, first)]);
    assert_eq!(wrong("a: {n: 1}\nb: {n: 1}\nc: [{n: 1}, {n: 1}]\n"), []);
    let key = |got: &str, text: &str| format!("a key must be text, got {got}; quote it, as `\"{text}\"`");
    assert_eq!(
        wrong("1.10: a\ntrue: b\n'2': c\n~: d\n0x1F: e\n123456789012345678901234: f\n"),
        [
            said(1, &key("number `1.10`", "1.10")),
            said(2, &key("`true`", "true")),
            said(4, &key("`~`", "~")),
            said(5, &key("number `0x1F`", "0x1F")),
            said(6, &key("number `123456789012345678901234`", "123456789012345678901234")),
        ]
    );
    assert_eq!(wrong("'1': a\n\"1\": b\n").len(), 1);
    let merge = "`<<` must name a mapping, or a list of mappings; write `<<: *a` or `<<: [*a, *b]`";
    assert_eq!(
        wrong("a: &a 1\nb: {<<: *a}\nc: {<<: [{n: 1}, x]}\nd: {<<: }\n"),
        [2, 3, 4].map(|line| said(line, merge))
    );
    let key = "a key must be a text, not an alias; write the key out";
    assert_eq!(wrong("a: &a x\nb: {*a : y}\n"), [said(2, key)]);
}

#[test]
fn aliases_may_not_grow_a_document_beyond_values_or_bytes() {
    let many = |count: usize, value: &str| format!("a: &a {value}\nb: [{}]\n", vec!["*a"; count].join(", "));
    assert_eq!(wrong(&many(1000, "x")), []);
    assert_eq!(wrong(&many(1001, "x")).len(), 1);
    let long = "x".repeat(100_000);
    assert_eq!(wrong(&many(10, &long)), []);
    assert_eq!(wrong(&many(11, &long)).len(), 1);
    assert_eq!(wrong(&format!("{}{}", "[".repeat(128), "]".repeat(128))), []);
    assert_eq!(wrong(&format!("{}{}", "[".repeat(129), "]".repeat(129))).len(), 1);
}

#[test]
fn what_an_alias_or_a_merge_brings_is_found_where_it_is_written() {
    let text = "a: &a\n  n: 1.50\n  l: [x, y]\nb: *a\nc:\n  <<: *a\n  m: 2\n";
    let marks: Rc<Mark> = Rc::new(parse(text, 1).0.unwrap());
    for (path, line, typed) in [
        ("a.n", 2, Some("1.50")),
        ("b.n", 2, Some("1.50")),
        ("b.l[1]", 3, Some("y")),
        ("c.n", 2, Some("1.50")),
        ("c.m", 7, Some("2")),
        ("b", 4, None),
    ] {
        let found = marks.find(path);
        assert_eq!((found.mark.value.line, found.missing), (line, None), "{path}");
        assert_eq!(marks.typed(path).as_deref(), typed, "{path}");
    }
}

#[test]
fn an_item_is_found_by_all_of_its_keys() {
    let text = "taints:\n- {key: a, effect: x, value: one}\n- {key: a, effect: y, value: two}\n- {key: b, effect: y, value: three}\n";
    let marks = parse(text, 1).0.unwrap();
    for (item, value) in [
        ("key=a,effect=x", Some("one")),
        ("key=a,effect=y", Some("two")),
        ("effect=y,key=a", Some("two")),
        ("key=b,effect=y", Some("three")),
        ("key=b,effect=x", None),
        ("key=c,effect=y", None),
        ("key=b", Some("three")),
    ] {
        assert_eq!(marks.typed(&format!("taints[{item}].value")).as_deref(), value, "{item}");
    }
}

fn scalars() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[-+.:0-9a-zA-Z_ #'\"\\n\\t\\r,{}&*!|>%@`~=<?\u{e9}\u{1f6a2}]{0,10}".prop_map(Value::from),
        "[ \\n]{0,3}[a-c]{0,3}[ \\n]{0,3}[a-c]{0,3}[ \\n]{0,3}".prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ]
}

fn documents() -> impl Strategy<Value = Value> {
    scalars().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[-0-9a-z~:.]{0,5}", inner, 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..berth_cases::cases(1000) })]

    #[test]
    fn a_document_of_any_form_reads_as_it_was_written(value in documents()) {
        let block = serde_yaml::to_string(&value).unwrap();
        prop_assert_eq!(value_of(&block), Some(value.clone()), "{}", block);
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(value_of(&pretty), Some(value.clone()), "{}", pretty);
    }

    #[test]
    fn any_bare_text_means_what_it_means_to_serde_yaml(text in "[-+.0-9eExXobinfNaA_:]{1,8}") {
        let document = format!("a: {text}\n");
        let marks = parse(&document, 1).0;
        if let (Some(expected), Some(found), Some(marks)) = (by_serde_yaml(&document), value_of(&document), marks)
            && unstorable(&marks).is_empty()
        {
            prop_assert_eq!(found, expected, "{}", text);
        }
    }
}
