//! `$(NAME)` in commands, arguments and variables, as Kubernetes has it.

/// Replaces each `$(NAME)` by the last value of that name; an unknown name stays as written, `$$(` gives `$(`.
pub fn expand(text: &str, env: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
            continue;
        }
        let reference = rest.strip_prefix("$(").and_then(|inner| inner.split_once(')'));
        let value = |name: &str| env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value);
        match reference.map(|(name, after)| (value(name), after)) {
            Some((Some(value), after)) => {
                out.push_str(value);
                rest = after;
            }
            Some((None, _)) | None => {
                out.push('$');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The variables with references to those before them replaced; of one name the last value wins, at its first place.
pub fn expand_environment(env: &[(String, String)]) -> Vec<(String, String)> {
    let mut done: Vec<(String, String)> = Vec::new();
    for (name, value) in env {
        let value = expand(value, &done);
        match done.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => done.push((name.clone(), value)),
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn references_are_replaced_once_and_unknown_ones_stay() {
        let env = env(&[("PORT", "31000"), ("A", "$(PORT)")]);
        for (text, expected) in [
            ("0.0.0.0:$(PORT)", "0.0.0.0:31000"),
            ("$(A)", "$(PORT)"),
            ("$(NO) $PORT ${PORT} $(", "$(NO) $PORT ${PORT} $("),
            ("$$(PORT) $$ $", "$(PORT) $ $"),
            ("$(PORT)$(PORT)", "3100031000"),
        ] {
            assert_eq!(expand(text, &env), expected, "{text}");
        }
    }

    #[test]
    fn a_variable_sees_those_before_it_and_the_last_of_a_name_wins() {
        let got = expand_environment(&env(&[
            ("PORT", "1"),
            ("URL", "http://h:$(PORT)"),
            ("X", "$(Y)"),
            ("PORT", "2"),
        ]));
        assert_eq!(got, env(&[("PORT", "2"), ("URL", "http://h:1"), ("X", "$(Y)")]));
    }
}
