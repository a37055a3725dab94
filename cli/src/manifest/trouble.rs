//! A mistake in a manifest, and how it is shown: the place, the line itself, a caret, what to do.

use std::fmt;
use std::rc::Rc;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::marks::Place;
use super::source::Source;

/// Of a longer line only the part around the mistake is shown.
const WIDEST_LINE: usize = 100;

/// A mistake in a manifest.
#[derive(Debug, Clone)]
pub struct Trouble {
    message: String,
    source: Option<Rc<Source>>,
    place: Option<Place>,
    within: Vec<String>,
    note: Box<str>,
    help: Box<str>,
}

impl Trouble {
    /// A mistake in `source`.
    pub fn new(source: Rc<Source>, message: impl Into<String>) -> Self {
        Self { source: Some(source), ..Self::bare(message.into()) }
    }

    /// A file as a whole that is of no use.
    pub fn of_file(name: &str, message: impl Into<String>) -> Self {
        Self::bare(format!("{name} {}", message.into()))
    }

    fn bare(message: String) -> Self {
        Self { message, source: None, place: None, within: Vec::new(), note: "".into(), help: "".into() }
    }

    /// The same, at a place of its source.
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// The same, inside of something (a document, an object, a field).
    pub fn within(mut self, what: impl Into<String>) -> Self {
        let what = what.into();
        if !what.is_empty() {
            self.within.push(what);
        }
        self
    }

    /// The same, with words beside the caret.
    pub fn noting(mut self, note: impl Into<Box<str>>) -> Self {
        self.note = note.into();
        self
    }

    /// The same, with a line of help.
    pub fn with_help(mut self, help: impl Into<Box<str>>) -> Self {
        self.help = help.into();
        self
    }

    /// Where it is in its source.
    pub fn place(&self) -> Option<Place> {
        self.place
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", visible(&self.message))?;
        if let (Some(source), Some(place)) = (&self.source, self.place) {
            self.show_line(f, source, place)?;
        }
        if !self.help.is_empty() {
            writeln!(f, "help: {}", visible(&self.help))?;
        }
        Ok(())
    }
}

impl Trouble {
    fn show_line(&self, f: &mut fmt::Formatter<'_>, source: &Source, place: Place) -> fmt::Result {
        let number = place.line.to_string();
        let gutter = " ".repeat(number.len() + 1);
        let within =
            if self.within.is_empty() { String::new() } else { format!("   ({})", self.within.join(", ")) };
        writeln!(f, "{gutter}--> {}:{}:{}{}", source.name, place.line, place.column + 1, visible(&within))?;
        let (line, blanks, carets) = excerpt(source.line(place.line), place);
        writeln!(f, "{gutter} |")?;
        writeln!(f, " {number} | {line}")?;
        let marks = format!("{}{} {}", " ".repeat(blanks), "^".repeat(carets), visible(&self.note));
        writeln!(f, "{gutter} | {}", marks.trim_end())
    }
}

/// The part of `line` around `place`, the columns before the carets, and how many carets.
fn excerpt(line: &str, place: Place) -> (String, usize, usize) {
    let chars: Vec<char> = line.chars().collect();
    let skipped = if chars.len() > WIDEST_LINE { place.column.saturating_sub(WIDEST_LINE / 2) } else { 0 };
    let end = chars.len().min(skipped + WIDEST_LINE);
    let show = |from: usize, to: usize| -> String {
        visible(&chars[from.min(end)..to.clamp(from.min(end), end)].iter().collect::<String>())
    };
    let width = if place.width == 0 { end } else { place.column + place.width };
    let (before, marked) = (show(skipped, place.column), show(place.column, width));
    let (cut, more) = (if skipped > 0 { "..." } else { "" }, if end < chars.len() { "..." } else { "" });
    let shown = format!("{cut}{}{more}", show(skipped, end));
    (shown, cut.len() + before.width(), marked.trim_end().width().max(1))
}

/// `text` as a terminal may get it: tabs as arrows, control characters as their symbols.
pub fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => '→',
            '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('?'),
            c if c.is_control() || c.width().is_none() => '\u{fffd}',
            c => c,
        })
        .collect()
}
