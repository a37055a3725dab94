//! Names: which texts may stand as a name, a label or a variable, and what to do about those that may not.

/// The longest DNS-1123 label, label value and name part of a key.
pub const LABEL_LENGTH: usize = 63;
/// The longest DNS-1123 subdomain.
pub const SUBDOMAIN_LENGTH: usize = 253;

/// A DNS-1123 label, as the name of a Task or container: `web-1`. The error names rule and remedy.
pub fn dns_label(text: &str) -> Result<(), String> {
    length(text, LABEL_LENGTH)?;
    if is_label(text) {
        return Ok(());
    }
    Err(format!(
        "must be lower-case letters, digits and `-`, with a letter or digit at both ends, got `{text}`{}",
        instead(text, &lowered(text, false), is_label)
    ))
}

/// A DNS-1123 subdomain, as the name of a Node: labels joined by dots. The error names rule and remedy.
pub fn dns_subdomain(text: &str) -> Result<(), String> {
    length(text, SUBDOMAIN_LENGTH)?;
    if is_subdomain(text) {
        return Ok(());
    }
    Err(format!(
        "must be lower-case letters, digits, `-` and `.`, with a letter or digit at both ends of each part, \
         got `{text}`{}",
        instead(text, &lowered(text, true), is_subdomain)
    ))
}

/// A label key, finalizer or taint key: `[prefix/]name`, as `berth.dev/app`. The error names rule and remedy.
pub fn qualified(text: &str) -> Result<(), String> {
    let name = match text.split_once('/') {
        None => text,
        Some((prefix, name)) => {
            dns_subdomain(prefix).map_err(|fault| format!("the part before `/` {fault}"))?;
            name
        }
    };
    length(name, LABEL_LENGTH)?;
    if is_word(name) {
        return Ok(());
    }
    let rule = "must be `name` or `prefix/name`, the name of letters, digits, `-`, `_` and `.`, \
                with a letter or digit at both ends";
    Err(format!("{rule}, got `{text}`"))
}

/// The value of a label: empty, or like the name of a key. The error names rule and remedy.
pub fn label_value(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    length(text, LABEL_LENGTH)?;
    if is_word(text) {
        return Ok(());
    }
    Err(format!(
        "must be letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `{text}`"
    ))
}

/// The name of a variable of the environment. The error names rule and remedy.
pub fn env_var(text: &str) -> Result<(), String> {
    if is_env_var(text) {
        return Ok(());
    }
    if text.is_empty() {
        return Err("must not be empty".into());
    }
    let mended: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    Err(format!(
        "must be letters, digits and `_`, not beginning with a digit, got `{text}`{}",
        instead(text, &mended, is_env_var)
    ))
}

/// The name of a port: a DNS-1123 label of at most 15 with a letter in it, so that it is never taken for a number.
pub fn port(text: &str) -> Result<(), String> {
    length(text, 15)?;
    dns_label(text)?;
    if text.bytes().any(|c| c.is_ascii_alphabetic()) {
        return Ok(());
    }
    Err(format!("must have a letter in it, got `{text}`, which would be taken for a number"))
}

fn length(text: &str, most: usize) -> Result<(), String> {
    match text.len() {
        0 => Err("must not be empty".into()),
        length if length > most => Err(format!("must be at most {most} characters, got {length}")),
        _ => Ok(()),
    }
}

fn is_label(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    text.len() <= LABEL_LENGTH
        && text.bytes().all(inner)
        && !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_subdomain(text: &str) -> bool {
    // Parts may be longer than 63: Kubernetes looks at the whole length alone.
    let part = |part: &str| {
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= SUBDOMAIN_LENGTH && text.split('.').all(part)
}

fn is_word(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let end = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.bytes().all(inner) && end(text.bytes().next()) && end(text.bytes().last())
}

fn is_env_var(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        && text.bytes().next().is_some_and(|c| !c.is_ascii_digit())
}

/// `text` with everything that a DNS name cannot hold turned into `-`.
fn lowered(text: &str, dots: bool) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || (dots && c == '.');
    let mended: String = text.chars().map(|c| if keep(c) { c.to_ascii_lowercase() } else { '-' }).collect();
    mended.trim_matches(['-', '.']).into()
}

/// `; `x` would do` when the mended text obeys the rule.
fn instead(text: &str, mended: &str, obeys: impl Fn(&str) -> bool) -> String {
    if mended != text && obeys(mended) { format!("; `{mended}` would do") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn says(rule: fn(&str) -> Result<(), String>, text: &str, expected: Expect) {
        expected.assert_eq(&rule(text).expect_err(text));
    }

    #[test]
    fn a_good_name_passes() {
        for text in ["a", "web-1", "0", &"a".repeat(63)] {
            assert_eq!(dns_label(text), Ok(()), "{text}");
        }
        for text in ["a", "n1.rack-2.example", &"a".repeat(253)] {
            assert_eq!(dns_subdomain(text), Ok(()), "{text}");
        }
        for text in ["app", "berth.dev/app", "a.b-c.d/x_Y.z", "App"] {
            assert_eq!(qualified(text), Ok(()), "{text}");
        }
        for text in ["", "v1.2", "A_b"] {
            assert_eq!(label_value(text), Ok(()), "{text}");
        }
        for text in ["PATH", "_x", "a1"] {
            assert_eq!(env_var(text), Ok(()), "{text}");
        }
        for text in ["http", "metrics-2", "h2c"] {
            assert_eq!(port(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_bad_name_is_told_the_rule_and_the_remedy() {
        says(dns_label, "", expect!["must not be empty"]);
        says(
            dns_label,
            "My_App",
            expect![
                "must be lower-case letters, digits and `-`, with a letter or digit at both ends, got `My_App`; `my-app` would do"
            ],
        );
        says(
            dns_label,
            "../../etc",
            expect![
                "must be lower-case letters, digits and `-`, with a letter or digit at both ends, got `../../etc`; `etc` would do"
            ],
        );
        says(dns_label, &"a".repeat(64), expect!["must be at most 63 characters, got 64"]);
        says(
            dns_subdomain,
            "a..b",
            expect![
                "must be lower-case letters, digits, `-` and `.`, with a letter or digit at both ends of each part, got `a..b`"
            ],
        );
        says(
            qualified,
            "Bad Prefix/x",
            expect![
                "the part before `/` must be lower-case letters, digits, `-` and `.`, with a letter or digit at both ends of each part, got `Bad Prefix`; `bad-prefix` would do"
            ],
        );
        says(
            qualified,
            "a/b/c",
            expect![
                "must be `name` or `prefix/name`, the name of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `a/b/c`"
            ],
        );
        says(
            label_value,
            "two words",
            expect![
                "must be letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `two words`"
            ],
        );
        says(
            env_var,
            "log-level",
            expect![
                "must be letters, digits and `_`, not beginning with a digit, got `log-level`; `log_level` would do"
            ],
        );
        says(
            port,
            "8080",
            expect!["must have a letter in it, got `8080`, which would be taken for a number"],
        );
        says(port, "a-very-long-port-name", expect!["must be at most 15 characters, got 21"]);
    }

    #[test]
    fn a_trailing_nul_or_newline_is_no_part_of_a_name() {
        for text in ["web\0", "web\n", "wéb"] {
            assert!(dns_label(text).is_err(), "{text:?}");
            assert!(dns_subdomain(text).is_err(), "{text:?}");
            assert!(label_value(text).is_err(), "{text:?}");
            assert!(env_var(text).is_err(), "{text:?}");
        }
    }
}
