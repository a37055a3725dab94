//! Reads a selector, as Kubernetes' `labels.Parse` does, but for `<` and `>`.

use std::collections::BTreeSet;

use super::{BadSelector, Requirement, Selector, Test};
use crate::name;

/// The most requirements of one selector.
const REQUIREMENTS: usize = 64;

pub(super) fn selector(text: &str) -> Result<Selector, BadSelector> {
    let mut reader = Reader { text, at: 0 };
    let mut requirements = Vec::new();
    if reader.peek().is_none() {
        return Ok(Selector { requirements });
    }
    loop {
        if requirements.len() == REQUIREMENTS {
            return Err(reader.bad(format!("at most {REQUIREMENTS} requirements are allowed")));
        }
        requirements.push(reader.requirement()?);
        match reader.peek() {
            None => return Ok(Selector { requirements }),
            Some(',') => reader.skip(),
            Some(_) => return Err(reader.expected("`,` or the end")),
        }
    }
}

/// Reads from `text`, of which everything before byte `at` was read.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn requirement(&mut self) -> Result<Requirement, BadSelector> {
        if self.take("!") {
            return Ok(Requirement { key: self.key()?, test: Test::Absent });
        }
        let key = self.key()?;
        let test = match self.peek() {
            None | Some(',') => Test::Exists,
            Some('=') => {
                let _ = self.take("==") || self.take("=");
                Test::Is(self.value()?)
            }
            Some('!') if self.take("!=") => Test::IsNot(self.value()?),
            Some('!') => return Err(self.expected("`!=`")),
            Some(_) => self.membership()?,
        };
        Ok(Requirement { key, test })
    }

    fn membership(&mut self) -> Result<Test, BadSelector> {
        let before = self.at;
        match self.word() {
            "in" => Ok(Test::In(self.values()?)),
            "notin" => Ok(Test::NotIn(self.values()?)),
            _ => {
                self.at = before;
                Err(self.expected("`=`, `!=`, `in`, `notin`, `,` or the end"))
            }
        }
    }

    fn values(&mut self) -> Result<BTreeSet<String>, BadSelector> {
        if !self.take("(") {
            return Err(self.expected("`(`"));
        }
        let mut values = BTreeSet::new();
        loop {
            values.insert(self.value()?);
            match self.peek() {
                Some(',') => self.skip(),
                Some(')') => {
                    self.skip();
                    return Ok(values);
                }
                Some(_) | None => return Err(self.expected("`,` or `)`")),
            }
        }
    }

    fn key(&mut self) -> Result<String, BadSelector> {
        self.checked("a label key", name::qualified)
    }

    fn value(&mut self) -> Result<String, BadSelector> {
        self.checked("a label value", name::label_value)
    }

    fn checked(&mut self, what: &str, rule: fn(&str) -> Result<(), String>) -> Result<String, BadSelector> {
        self.peek();
        let before = self.at;
        let word = self.word();
        let Err(fault) = rule(word) else { return Ok(word.into()) };
        let message = if word.is_empty() { self.expected(what) } else { self.bad(format!("{what} {fault}")) };
        Err(BadSelector { at: self.text[..before].chars().count() + 1, ..message })
    }

    /// The next character that is no blank; stays before it.
    fn peek(&mut self) -> Option<char> {
        let rest = self.text[self.at..].trim_start();
        self.at = self.text.len() - rest.len();
        rest.chars().next()
    }

    /// Reads `sign` if it stands next.
    fn take(&mut self, sign: &str) -> bool {
        self.peek();
        let found = self.text[self.at..].starts_with(sign);
        if found {
            self.at += sign.len();
        }
        found
    }

    /// Reads one sign of one byte, seen by `peek`.
    fn skip(&mut self) {
        self.at += 1;
    }

    /// Reads up to the next sign or blank.
    fn word(&mut self) -> &'a str {
        self.peek();
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| c.is_whitespace() || "=!,()<>".contains(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn expected(&mut self, what: &str) -> BadSelector {
        let got = match self.peek() {
            Some(_) => format!("`{}`", &self.text[self.at..]),
            None => "the end".into(),
        };
        self.bad(format!("expected {what}, got {got}"))
    }

    fn bad(&self, message: String) -> BadSelector {
        BadSelector { text: self.text.into(), at: self.text[..self.at].chars().count() + 1, message }
    }
}
