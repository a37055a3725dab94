//! Commands that messages suggest. They repeat the flags in use, so that they mean the same cluster as the run itself.

use std::fmt;

/// A command of `ctl`, as a shell takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggested(String);

impl Suggested {
    /// `ctl` with these words.
    pub fn ctl(words: &str) -> Self {
        Self(format!("ctl {words}"))
    }

    /// The same with a flag, unless its value is the default.
    pub fn flag(self, name: &str, value: &str, default: &str) -> Self {
        if value == default { self } else { self.word(name).word(value) }
    }

    /// The same with one more word.
    pub fn word(mut self, word: &str) -> Self {
        self.0.push(' ');
        self.0.push_str(&quoted(word));
        self
    }
}

impl fmt::Display for Suggested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A word as a shell takes it for one.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_repeats_what_is_not_the_default_and_survives_a_shell() {
        let down = |data: &str| Suggested::ctl("down").flag("--data", data, "/var/lib/berth").to_string();
        assert_eq!(down("/var/lib/berth"), "ctl down");
        assert_eq!(down("/data/b"), "ctl down --data /data/b");
        assert_eq!(down("/my data"), "ctl down --data '/my data'");
        assert_eq!(down("/it's;rm"), r"ctl down --data '/it'\''s;rm'");
        assert_eq!(quoted(""), "''");
    }
}
