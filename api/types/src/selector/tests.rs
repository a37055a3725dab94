use std::collections::{BTreeMap, BTreeSet};

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn labels(text: &str) -> BTreeMap<String, String> {
    text.split_whitespace()
        .map(|pair| pair.split_once('=').expect("key=value"))
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

#[test]
fn a_selector_picks_what_fulfils_all_of_it() {
    for (selector, picked, left) in [
        ("", &["", "app=web"][..], &[][..]),
        ("app=web", &["app=web", "app=web tier=front"], &["", "app=db"]),
        ("app==web", &["app=web"], &["app=db"]),
        ("app!=web", &["", "app=db"], &["app=web"]),
        ("app", &["app=", "app=web"], &["", "tier=front"]),
        ("!app", &["", "tier=front"], &["app=", "app=web"]),
        ("tier in (front, back)", &["tier=front", "tier=back"], &["", "tier=side"]),
        ("tier notin (front,back)", &["", "tier=side"], &["tier=front"]),
        ("tier in ()", &["tier="], &["", "tier=front"]),
        ("app=", &["app="], &["", "app=web"]),
        (" app = web , !canary ", &["app=web"], &["app=web canary=1", "canary=1"]),
        ("in in (in)", &["in=in"], &["in=notin"]),
        ("berth.dev/app=web", &["berth.dev/app=web"], &["app=web"]),
    ] {
        let read = Selector::parse(selector).unwrap();
        for candidate in picked {
            assert!(read.matches(&labels(candidate)), "`{selector}` picks `{candidate}`");
        }
        for candidate in left {
            assert!(!read.matches(&labels(candidate)), "`{selector}` leaves `{candidate}`");
        }
    }
}

#[test]
fn each_requirement_alone_leaves_a_candidate() {
    let selector =
        Selector::parse("app=web,tier in (front,back,side),!canary,zone!=b,disk,os notin (a,b,c)").unwrap();
    let good = "app=web tier=back zone=a disk=ssd os=d";
    for tier in ["front", "back", "side"] {
        assert!(selector.matches(&labels(&good.replace("back", tier))), "{tier}");
    }
    for (was, is) in [
        ("app=web", "app=db"),
        ("app=web ", ""),
        ("tier=back", "tier=top"),
        ("tier=back ", ""),
        ("disk=ssd", "disk=ssd canary=1"),
        ("zone=a", "zone=b"),
        ("disk=ssd", "other=ssd"),
        ("os=d", "os=a"),
        ("os=d", "os=b"),
        ("os=d", "os=c"),
    ] {
        let candidate = good.replace(was, is);
        assert_ne!(candidate, good);
        assert!(!selector.matches(&labels(&candidate)), "`{candidate}`");
    }
}

fn refused(text: &str, expected: Expect) {
    expected.assert_eq(&Selector::parse(text).expect_err(text).to_string());
}

#[test]
fn a_bad_selector_says_where_and_what() {
    refused(
        "app web",
        expect![
            "bad selector `app web`, at character 5: expected `=`, `!=`, `in`, `notin`, `,` or the end, got `web`"
        ],
    );
    refused("app in web", expect!["bad selector `app in web`, at character 8: expected `(`, got `web`"]);
    refused(
        "app in (a",
        expect!["bad selector `app in (a`, at character 10: expected `,` or `)`, got the end"],
    );
    refused(
        "app=web,",
        expect!["bad selector `app=web,`, at character 9: expected a label key, got the end"],
    );
    refused("=web", expect!["bad selector `=web`, at character 1: expected a label key, got `=web`"]);
    refused("app=a=b", expect!["bad selector `app=a=b`, at character 6: expected `,` or the end, got `=b`"]);
    refused(
        "app>3",
        expect![
            "bad selector `app>3`, at character 4: expected `=`, `!=`, `in`, `notin`, `,` or the end, got `>3`"
        ],
    );
    refused(
        "é/x=1",
        expect![
            "bad selector `é/x=1`, at character 1: a label key the part before `/` must be lower-case letters, digits, `-` and `.`, with a letter or digit at both ends of each part, got `é`"
        ],
    );
    refused("a!b", expect!["bad selector `a!b`, at character 2: expected `!=`, got `!b`"]);
    assert!(Selector::parse(&vec!["a"; 64].join(",")).is_ok());
    assert!(Selector::parse(&vec!["a"; 65].join(",")).is_err());
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]([a-z0-9]{0,3})",
        "[a-z]{1,3}\\.dev/[A-Za-z]{1,3}",
        Just("in".into()),
        Just("notin".into())
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]{0,2}", "[A-Z][a-z._-]{0,2}[0-9]"]
}

fn test() -> impl Strategy<Value = Test> {
    let values = || proptest::collection::btree_set(value(), 1..4);
    prop_oneof![
        Just(Test::Exists),
        Just(Test::Absent),
        value().prop_map(Test::Is),
        value().prop_map(Test::IsNot),
        values().prop_map(Test::In),
        values().prop_map(Test::NotIn),
    ]
}

fn selectors() -> impl Strategy<Value = Selector> {
    let requirement = (key(), test()).prop_map(|(key, test)| Requirement { key, test });
    proptest::collection::vec(requirement, 0..5).prop_map(|requirements| Selector { requirements })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_selector_reads_back_as_written(selector in selectors()) {
        prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[a-c=!,() inot/.é<]{0,20}") {
        if let Err(refusal) = Selector::parse(&text) {
            prop_assert!(refusal.at <= text.chars().count() + 1);
        }
    }

    #[test]
    fn a_test_and_its_opposite_never_agree(value in value(), values in proptest::collection::btree_set(value(), 1..4), have in proptest::option::of(value())) {
        let have = have.as_deref();
        let opposites: [(Test, Test); 3] = [
            (Test::Exists, Test::Absent),
            (Test::Is(value.clone()), Test::IsNot(value)),
            (Test::In(values.clone()), Test::NotIn(BTreeSet::clone(&values))),
        ];
        for (one, other) in opposites {
            prop_assert_ne!(one.holds(have), other.holds(have));
        }
    }
}
