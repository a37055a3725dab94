//! `$(NAME)` in commands, arguments and variables, as Kubernetes has it: replaced by the value of a variable before it;
//! an unknown name stays as written, and `$$` gives `$`. A name has no `$`. Only text of the manifest is expanded: what
//! an image says is taken as it is, and may be referred to.
//!
//! Nothing is built before its size is computed, for references multiply: six lines of ten references each stand for a
//! million values. One text has at most [`LONGEST`] bytes and all of a container what [`together`] says, as the kernel
//! would refuse more; the work is linear in what is written and bounded in what is copied.

use std::collections::HashMap;

/// The most bytes of one variable with its name and `=`, or of one argument: `MAX_ARG_STRLEN` of the kernel, which
/// counts a NUL more.
pub const LONGEST: usize = 131_071;

/// The soft stack limit that a container gets, in bytes, unless its node's own is lower.
pub const STACK: u64 = 8 << 20;

/// The most bytes copied for one container, values that a later one of the same name replaces included.
const COPIED: usize = 64 << 20;

/// Bytes that are left to the path of the program and to the interpreter that its first line may name.
const PROGRAM: u64 = 8 << 10;

/// Why a text cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// One variable is too long.
    #[error(
        "variable {name} has {bytes} bytes with its name once its references are replaced; at most {LONGEST} are allowed"
    )]
    Variable {
        /// Its name, cut.
        name: String,
        /// What it would have.
        bytes: usize,
    },
    /// One word of the command is too long.
    #[error(
        "word {index} of the command has {bytes} bytes once its references are replaced; at most {LONGEST} are allowed"
    )]
    Word {
        /// 0 for the program.
        index: usize,
        /// What it would have.
        bytes: usize,
    },
    /// All together are too much.
    #[error("variables and command together exceed {most} bytes, starting at {which}")]
    Together {
        /// What they may have.
        most: usize,
        /// The first one beyond.
        which: String,
    },
}

/// Whether references in a text are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// Of the manifest: they are.
    Expanded,
    /// Of the image or the node: they are not.
    Plain,
}

/// What the kernel takes of variables and command together, in bytes, under a soft stack limit of `stack` bytes: a
/// quarter of it, at most 6 MiB and at least 128 KiB (`bprm_stack_limits` in `fs/exec.c`), without the program's path.
pub fn together(stack: u64) -> usize {
    usize::try_from((stack / 4).clamp(128 << 10, 6 << 20) - PROGRAM).unwrap_or(usize::MAX)
}

/// What a text of `bytes` bytes takes of [`together`]: a NUL and a pointer more.
pub fn taken(bytes: usize) -> usize {
    bytes.saturating_add(1 + size_of::<u64>())
}

/// The size of `text` in bytes once its references are replaced by values of these sizes.
pub fn expanded_size(text: &str, size: impl Fn(&str) -> Option<usize>) -> usize {
    let mut bytes = 0usize;
    walk(text, size, |part| {
        bytes = bytes.saturating_add(match part {
            Part::Text(text) => text.len(),
            Part::Value(size) => size,
        });
    });
    bytes
}

/// The variables of one container, references replaced, and the words of its command after them.
#[derive(Debug)]
pub struct Expansion {
    variables: Vec<(String, String)>,
    places: HashMap<String, usize>,
    most: usize,
    taken: usize,
    copied: usize,
}

impl Expansion {
    /// Nothing yet, of at most `most` bytes together.
    pub fn within(most: usize) -> Self {
        Self { variables: Vec::new(), places: HashMap::new(), most, taken: 0, copied: 0 }
    }

    /// Adds a variable; references are to those before. Of one name the last value wins, at its first place.
    pub fn define(&mut self, name: &str, value: &str, text: Text) -> Result<(), TooLarge> {
        let size = |bytes: usize| bytes.saturating_add(name.len() + 1);
        let bytes = size(self.size(value, text));
        let shown = || name.chars().take(64).collect::<String>();
        if bytes > LONGEST {
            return Err(TooLarge::Variable { name: shown(), bytes });
        }
        let replaced = self.places.get(name).copied();
        self.taken -= replaced.map_or(0, |place| taken(size(self.variables[place].1.len())));
        self.take(bytes, || format!("variable {}", shown()))?;
        let value = self.expand(value, text);
        match replaced {
            Some(place) => self.variables[place].1 = value,
            None => {
                self.places.insert(name.to_owned(), self.variables.len());
                self.variables.push((name.to_owned(), value));
            }
        }
        Ok(())
    }

    /// The command; references are to all variables.
    pub fn command<'w>(
        &mut self,
        words: impl Iterator<Item = (&'w String, Text)>,
    ) -> Result<Vec<String>, TooLarge> {
        let mut command = Vec::new();
        for (index, (word, text)) in words.enumerate() {
            let bytes = self.size(word, text);
            if bytes > LONGEST {
                return Err(TooLarge::Word { index, bytes });
            }
            self.take(bytes, || format!("word {index} of the command"))?;
            command.push(self.expand(word, text));
        }
        Ok(command)
    }

    /// The variables, in the order of their first mention.
    pub fn variables(self) -> Vec<(String, String)> {
        self.variables
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|place| self.variables[*place].1.as_str())
    }

    fn take(&mut self, bytes: usize, which: impl Fn() -> String) -> Result<(), TooLarge> {
        self.taken = self.taken.saturating_add(taken(bytes));
        self.copied = self.copied.saturating_add(bytes);
        if self.taken > self.most || self.copied > COPIED {
            return Err(TooLarge::Together { most: self.most, which: which() });
        }
        Ok(())
    }

    fn size(&self, written: &str, text: Text) -> usize {
        match text {
            Text::Expanded => expanded_size(written, |name| self.value(name).map(str::len)),
            Text::Plain => written.len(),
        }
    }

    fn expand(&self, written: &str, text: Text) -> String {
        if text == Text::Plain {
            return written.to_owned();
        }
        let mut out = String::new();
        walk(
            written,
            |name| self.value(name),
            |part| {
                out.push_str(match part {
                    Part::Text(text) | Part::Value(text) => text,
                });
            },
        );
        out
    }
}

enum Part<'t, V> {
    Text(&'t str),
    Value(V),
}

/// Gives `take` what `text` consists of. The end of a reference is looked for once, not from every `$(` anew.
fn walk<'t, V>(text: &'t str, value: impl Fn(&str) -> Option<V>, mut take: impl FnMut(Part<'t, V>)) {
    let (mut at, mut close) = (0, text.find(')'));
    while let Some(found) = text[at..].find('$') {
        take(Part::Text(&text[at..at + found]));
        at += found;
        let rest = &text[at..];
        let name = rest.strip_prefix("$(").and_then(|_| {
            while close.is_some_and(|close| close < at) {
                close = text[at..].find(')').map(|found| at + found);
            }
            // The next `$` ends the search in a long name, so no byte is read more than twice.
            Some(&text[at + 2..close?]).filter(|name| !name.contains('$'))
        });
        if let Some((name, value)) = name.and_then(|name| Some((name, value(name)?))) {
            take(Part::Value(value));
            at += name.len() + 3;
        } else {
            take(Part::Text("$"));
            at += if rest.starts_with("$$") { 2 } else { 1 };
        }
    }
    take(Part::Text(&text[at..]));
}

#[cfg(test)]
mod tests;
