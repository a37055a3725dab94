//! What a misspelt word was meant to be.

/// Likeness below which two words have nothing to do with each other (Jaro-Winkler).
const ALIKE: f64 = 0.8;

/// Whether so many slips turn one word into the other that it is another word: more than one in four letters.
fn too_far(typed: &str, word: &str) -> bool {
    strsim::osa_distance(typed, word) * 4 > typed.chars().count() + 3
}

/// The word of `known` that `typed` was most likely meant to be; none when nothing is like it.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for word in known {
        let lower = word.to_lowercase();
        let likeness = strsim::jaro_winkler(&typed, &lower);
        if too_far(&typed, &lower) {
            continue;
        }
        if likeness >= ALIKE && best.is_none_or(|(most, _)| likeness > most) {
            best = Some((likeness, word));
        }
    }
    best.map(|(_, word)| word)
}

/// `, did you mean `x`?` when something is like `typed`, else nothing.
pub fn hint<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(typed, known).map(|word| format!(", did you mean `{word}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_finds_its_word() {
        let known = ["replicas", "strategy", "template", "minReadySeconds"];
        for (typed, meant) in [
            ("replicsa", Some("replicas")),
            ("Replicas", Some("replicas")),
            ("minreadyseconds", Some("minReadySeconds")),
            ("tmplate", Some("template")),
            ("zzz", None),
            ("strategyOfUpdate", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }
}
