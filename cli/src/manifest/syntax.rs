//! What a YAML parser complains about, in words for the person who wrote the file.

use super::marks::Place;
use super::parse::Malformed;

/// Explains the parser's `complaint` at `line` (from 1) and `column` (from 0) of `text`.
pub fn explain(text: &str, complaint: &str, line: usize, column: usize) -> Malformed {
    if let Some(fault) = tab(text, line).filter(|_| !is_in_brackets(text)) {
        return fault;
    }
    let said = |words: &str| complaint.contains(words);
    if let Some(fault) = no_colon(text, line).filter(|_| said("mapping values are not allowed")) {
        return fault;
    }
    let (message, note, width) = if said("in quoted scalar") || said("unclosed quote") {
        ("this quote is not closed".to_owned(), "the closing quote is missing", 1)
    } else if said("mapping values are not allowed") {
        let note = "wrong indentation, or a `: ` inside a text that needs quotes";
        ("a `:` cannot stand here".into(), note, 1)
    } else if said("did not find expected key") || said("did not find expected '-' indicator") {
        ("wrong indentation".into(), "must line up with the lines above that it belongs to", 0)
    } else if said("simple key expect") {
        ("the line before this one has no `:`".into(), "expected `key: value`", 0)
    } else if said("expected ',' or") || said("illegal placement of ':'") {
        ("a bracket opened before this is not closed".into(), "expected `,` or the closing bracket", 1)
    } else if said("unexpected character") {
        ("a text cannot begin with this character".into(), "put the text in quotes", 1)
    } else if said("recursion limit") {
        ("values are nested too deeply".into(), "", 1)
    } else if said("unknown anchor") {
        ("this alias has no anchor".into(), "a text that begins with `*` needs quotes", 0)
    } else if said("unknown escape") {
        let note = "in double quotes write `\\\\`, or use single quotes";
        ("this text has a `\\` that begins no known escape".into(), note, 0)
    } else {
        (format!("not valid YAML: {complaint}"), "", 1)
    };
    Malformed { place: Place { line, column, width }, message, note: note.into() }
}

/// A line without `:` before `line`: YAML goes on reading its text there and stumbles over the next `:`.
fn no_colon(text: &str, line: usize) -> Option<Malformed> {
    let before = text.lines().take(line - 1).enumerate();
    let says = |text: &str| !text.trim().is_empty() && !text.trim_start().starts_with('#');
    let (n, before) = before.filter(|(_, text)| says(text)).last()?;
    let words = before.trim();
    let key =
        !words.contains(": ") && !words.ends_with(':') && !words.starts_with(['-', '"', '\'', '[', '{']);
    let column = before.chars().take_while(|c| *c == ' ').count();
    key.then(|| Malformed {
        place: Place { line: n + 1, column, width: words.chars().count() },
        message: "this line has no `:`".into(),
        note: "expected `key: value`".into(),
    })
}

/// Whether the document is written in brackets, as JSON is: there, indentation means nothing.
fn is_in_brackets(text: &str) -> bool {
    text.strip_prefix("---").unwrap_or(text).trim_start().starts_with(['{', '['])
}

/// A tab in the indentation of `line` or of the one after it, where parsers notice it late.
fn tab(text: &str, line: usize) -> Option<Malformed> {
    let (line, column) = text.lines().enumerate().skip(line - 1).take(2).find_map(|(n, text)| {
        let indentation = &text[..text.len() - text.trim_start_matches([' ', '\t']).len()];
        indentation.find('\t').map(|column| (n + 1, column))
    })?;
    let width = 1;
    Some(Malformed {
        place: Place { line, column, width },
        message: "tabs are not allowed for indentation".into(),
        note: "use spaces here".into(),
    })
}
