use proptest::prelude::*;

use super::*;

fn expanded(pairs: &[(&str, &str)]) -> Expansion {
    let mut expansion = Expansion::within(together(STACK));
    pairs.iter().for_each(|(name, value)| expansion.define(name, value, Text::Expanded).unwrap());
    expansion
}

fn manifest(words: &[String]) -> impl Iterator<Item = (&String, Text)> {
    words.iter().map(|word| (word, Text::Expanded))
}

fn word(pairs: &[(&str, &str)], text: &str) -> String {
    expanded(pairs).command(manifest(&[text.to_owned()])).unwrap().remove(0)
}

#[test]
fn references_are_replaced_once_and_unknown_ones_stay() {
    // A value that looks like a reference is not one.
    let env = [("PORT", "31000"), ("A", "$$(PORT)")];
    for (text, expected) in [
        ("0.0.0.0:$(PORT)", "0.0.0.0:31000"),
        ("$(A)", "$(PORT)"),
        ("$(NO) $PORT ${PORT} $(", "$(NO) $PORT ${PORT} $("),
        ("$$(PORT) $$ $", "$(PORT) $ $"),
        ("$(PORT)$(PORT)", "3100031000"),
        ("$(NO$(PORT))", "$(NO31000)"),
        (")$(PORT)", ")31000"),
    ] {
        assert_eq!(word(&env, text), expected, "{text}");
    }
}

#[test]
fn a_variable_sees_those_before_it_and_the_last_of_a_name_wins() {
    let got = expanded(&[("PORT", "1"), ("URL", "http://h:$(PORT)"), ("X", "$(Y)"), ("PORT", "2")]);
    let expected = [("PORT", "2"), ("URL", "http://h:1"), ("X", "$(Y)")];
    assert_eq!(got.variables(), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn only_text_of_the_manifest_is_expanded_and_it_may_refer_to_the_rest() {
    let mut expansion = expanded(&[("A", "1")]);
    expansion.define("IMAGE", "$(A) $$ $", Text::Plain).unwrap();
    expansion.define("OWN", "$(IMAGE)", Text::Expanded).unwrap();
    let words = ["$(A) $$".to_owned(), "$(OWN) $(A) $$".to_owned()];
    let said = words.iter().zip([Text::Plain, Text::Expanded]);
    assert_eq!(expansion.command(said).unwrap(), ["$(A) $$", "$(A) $$ $ 1 $"]);
}

#[test]
fn what_grows_beyond_a_bound_is_refused_by_name_before_it_is_built() {
    let mut expansion = Expansion::within(together(STACK));
    expansion.define("A", &"x".repeat(LONGEST - 2), Text::Expanded).unwrap();
    let error = expansion.define("A", &"x".repeat(LONGEST - 1), Text::Plain).unwrap_err();
    assert_eq!(error, TooLarge::Variable { name: "A".into(), bytes: LONGEST + 1 });

    // Ten references in each of 40 lines: 10^40 values, more than any number of bytes.
    let mut expansion = Expansion::within(together(STACK));
    expansion.define("V0", "0123456789", Text::Plain).unwrap();
    let line = |n: usize| format!("$(V{n})").repeat(10);
    let first = (1..=40).find_map(|n| expansion.define(&format!("V{n}"), &line(n - 1), Text::Expanded).err());
    assert_eq!(first, Some(TooLarge::Variable { name: "V5".into(), bytes: 1_000_003 }));
    let words = [line(4), line(4).repeat(9)];
    let error = expansion.command(manifest(&words)).unwrap_err();
    assert_eq!(error, TooLarge::Word { index: 0, bytes: 1_000_000 });
}

#[test]
fn all_together_have_what_the_kernel_takes() {
    let most = together(STACK);
    let fill = |expansion: &mut Expansion| {
        let value = "x".repeat(100_000);
        (0..100).find_map(|n| expansion.define(&format!("V{n:02}"), &value, Text::Plain).err())
    };
    let mut expansion = Expansion::within(most);
    assert_eq!(fill(&mut expansion), Some(TooLarge::Together { most, which: "variable V20".into() }));

    // One name again and again takes its room once; what is copied for nothing is bounded all the same.
    let mut expansion = Expansion::within(most);
    let value = "x".repeat(100_000);
    let rounds = (0..10_000).position(|_| expansion.define("V", &value, Text::Expanded).is_err());
    assert_eq!(rounds, Some(COPIED / 100_002));

    let mut expansion = Expansion::within(most);
    let words: Vec<String> = (0..30).map(|_| value.clone()).collect();
    let error = expansion.command(manifest(&words)).unwrap_err();
    assert_eq!(error, TooLarge::Together { most, which: "word 20 of the command".into() });
}

/// What the bounds allow must start: the largest environment, and the longest variable and word, under our stack limit.
#[test]
fn the_kernel_takes_what_the_bounds_allow() {
    let stack = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_STACK).unwrap().0;
    let mut expansion = Expansion::within(together(stack));
    let longest = "x".repeat(LONGEST - 4);
    let fits = |n: &usize| expansion.define(&format!("V{n:02}"), &longest, Text::Plain).is_ok();
    let count = (0..100).take_while(fits).count();
    assert!((1..100).contains(&count), "{count}");
    let mut small = Expansion::within(together(stack) - count * taken(LONGEST));
    let fits = |n: &usize| small.define(&format!("S{n}"), "", Text::Plain).is_ok();
    assert!((0..1_000_000).take_while(fits).count() > 1);
    let mut command = std::process::Command::new("/bin/true");
    let filled: Vec<(String, String)> =
        (0..count).map(|n| (format!("V{n:02}"), longest.clone())).chain(small.variables()).collect();
    let ran = command.env_clear().envs(filled).status();
    assert!(ran.as_ref().is_ok_and(|status| status.success()), "{ran:?}");
}

#[test]
fn hostile_texts_cost_no_more_than_their_length() {
    let values = HashMap::from([("x", 1)]);
    for text in ["$(".repeat(60_000), format!("{})", "$(".repeat(60_000)), "$()".repeat(40_000)] {
        let looked_up = std::cell::Cell::new(0);
        let size = expanded_size(&text, |name| {
            looked_up.set(looked_up.get() + name.len());
            values.get(name).copied()
        });
        assert_eq!(size, text.len());
        assert!(looked_up.get() <= text.len(), "{} bytes of names are looked up", looked_up.get());
    }
}

/// The rule as it reads, without any care for its cost.
fn plainly(text: &str, env: &[(String, String)]) -> String {
    let Some((before, rest)) = text.split_once('$') else { return text.to_owned() };
    if let Some(rest) = rest.strip_prefix('$') {
        return format!("{before}${}", plainly(rest, env));
    }
    let reference = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
    let reference = reference.filter(|(name, _)| !name.contains('$'));
    let known = |name: &str| env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value);
    match reference.and_then(|(name, after)| Some((known(name)?, after))) {
        Some((value, after)) => format!("{before}{value}{}", plainly(after, env)),
        None => format!("{before}${}", plainly(rest, env)),
    }
}

proptest! {
    #[test]
    fn the_rule_is_kept_on_any_text(text in "[$()AB]{0,24}", a in "[$()AB]{0,6}", b in "[$()A]{0,6}") {
        let mut expansion = Expansion::within(together(STACK));
        let mut env = Vec::new();
        for (name, value) in [("A", a), ("B", b)] {
            expansion.define(name, &value, Text::Expanded).unwrap();
            env.push((name.to_owned(), plainly(&value, &env)));
        }
        prop_assert_eq!(expansion.command(manifest(std::slice::from_ref(&text))).unwrap(), [plainly(&text, &env)]);
        prop_assert_eq!(expansion.variables(), env);
    }
}
