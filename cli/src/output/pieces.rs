//! A log that arrives in chunks, made into pieces that can be printed.

use std::str::from_utf8;

use super::escape::harmless;

/// The most bytes of a line that has a prefix; a longer one is cut into several lines.
const MOST_OF_A_LINE: usize = 64 << 10;

/// What reads the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A terminal: it gets no control characters.
    Terminal,
    /// A file or a program: it gets every byte.
    Program,
}

/// The log of one source. Without a prefix, bytes are printed as they arrive. With one, other sources print too, so only
/// whole lines are printed, each behind the prefix.
#[derive(Debug)]
pub struct Pieces<'a> {
    reader: Reader,
    prefix: &'a str,
    /// Received and not printed yet.
    held: Vec<u8>,
    /// Whether the last printed byte is not a newline.
    in_line: bool,
}

impl<'a> Pieces<'a> {
    /// The pieces of a source with this prefix, which may be empty.
    pub fn new(reader: Reader, prefix: &'a str) -> Self {
        Self { reader, prefix, held: Vec::new(), in_line: false }
    }

    /// What can be printed now that `chunk` arrived.
    pub fn take(&mut self, chunk: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.held.len() + chunk.len());
        if self.prefix.is_empty() {
            self.held.extend_from_slice(chunk);
            let ready = match self.reader {
                Reader::Terminal => decided(&self.held),
                Reader::Program => self.held.len(),
            };
            let rest = self.held.split_off(ready);
            self.print(&mut out);
            self.held = rest;
        } else {
            chunk.split_inclusive(|byte| *byte == b'\n').for_each(|part| self.part(part, &mut out));
        }
        out
    }

    /// What is left at the end of the source, with the newline that its last line lacks.
    pub fn end(mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.print(&mut out);
        if self.in_line {
            out.push(b'\n');
        }
        out
    }

    /// Takes a part of a line, which is the last one if it ends in a newline.
    fn part(&mut self, mut part: &[u8], out: &mut Vec<u8>) {
        while self.held.len() + part.len() > MOST_OF_A_LINE + usize::from(part.ends_with(b"\n")) {
            let (now, rest) = part.split_at(MOST_OF_A_LINE - self.held.len());
            self.held.extend_from_slice(now);
            let begun = self.held.split_off(whole_characters(&self.held));
            self.held.push(b'\n');
            self.print(out);
            self.held = begun;
            part = rest;
        }
        self.held.extend_from_slice(part);
        if part.ends_with(b"\n") {
            self.print(out);
        }
    }

    /// Moves everything held to `out`.
    fn print(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        let Some(last) = held.last() else { return };
        self.in_line = *last != b'\n';
        out.extend_from_slice(self.prefix.as_bytes());
        match self.reader {
            Reader::Terminal => out.extend_from_slice(harmless(&held).as_bytes()),
            Reader::Program => out.extend_from_slice(&held),
        }
    }
}

/// How many of the bytes mean the same whatever comes next: not a carriage return at the end, which may belong to a newline.
fn decided(bytes: &[u8]) -> usize {
    if bytes.ends_with(b"\r") { bytes.len() - 1 } else { whole_characters(bytes) }
}

/// How many of the bytes are left without a UTF-8 character that is cut at the end.
fn whole_characters(bytes: &[u8]) -> usize {
    let is_first = |byte: &u8| byte & 0b1100_0000 != 0b1000_0000;
    let tail = bytes.len().saturating_sub(3);
    let Some(at) = bytes[tail..].iter().rposition(is_first).map(|at| tail + at) else { return bytes.len() };
    let is_cut = from_utf8(&bytes[at..]).is_err_and(|error| error.error_len().is_none());
    if is_cut { at } else { bytes.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed after each chunk, and at the end.
    fn printed(reader: Reader, prefix: &str, chunks: &[&[u8]]) -> Vec<String> {
        let mut pieces = Pieces::new(reader, prefix);
        let mut printed: Vec<Vec<u8>> = chunks.iter().map(|chunk| pieces.take(chunk)).collect();
        printed.push(pieces.end());
        printed.into_iter().map(|bytes| String::from_utf8(bytes).expect("UTF-8")).collect()
    }

    #[test]
    fn a_source_of_its_own_is_printed_as_it_arrives() {
        for reader in [Reader::Terminal, Reader::Program] {
            for (chunks, expected) in [
                (&[&b"Password: "[..], b"secret\n"][..], &["Password: ", "secret\n", ""][..]),
                (&[b"a\nb", b"c"], &["a\nb", "c", "\n"]),
                (&[b"a", b""], &["a", "", "\n"]),
                (&[b"", b"a\n"], &["", "a\n", ""]),
                (&[], &[""]),
            ] {
                assert_eq!(printed(reader, "", chunks), expected, "{chunks:?}");
            }
        }
    }

    #[test]
    fn for_a_terminal_a_character_that_a_chunk_cuts_waits_for_the_next() {
        for (chunks, expected) in [
            (&[&b"a\xc3"[..], b"\xa9\n"][..], &["a", "\u{e9}\n", ""][..]),
            (&[b"a\xf0\x9f", b"\x98", b"\x80b"], &["a", "", "\u{1f600}b", "\n"]),
            // Not a character that is cut, and one that is never whole.
            (&[b"a\x80\x80\x80\x80", b"\n"], &["a\u{fffd}\u{fffd}\u{fffd}\u{fffd}", "\n", ""]),
            (&[b"a\xc3", b"b"], &["a", "\u{fffd}b", "\n"]),
            (&[b"a\xe2\x82"], &["a", "\u{fffd}\n"]),
            (&[b"dos\r", b"\n50%\r", b"60%"], &["dos", "\n50%", "\\x0d60%", "\n"]),
        ] {
            assert_eq!(printed(Reader::Terminal, "", chunks), expected, "{chunks:?}");
        }
        let mut pieces = Pieces::new(Reader::Program, "");
        assert_eq!(pieces.take(b"a\xc3"), b"a\xc3");
        assert_eq!(pieces.take(b"\xa9\r"), b"\xa9\r");
    }

    #[test]
    fn of_several_sources_whole_lines_are_printed() {
        for reader in [Reader::Terminal, Reader::Program] {
            for (chunks, expected) in [
                (&[&b"Pass"[..], b"word: \nb\nc", b"d"][..], &["", "> Password: \n> b\n", "", "> cd\n"][..]),
                (&[b"\n\n"], &["> \n> \n", ""]),
                (&[b"a\xc3", b"\xa9\n"], &["", "> a\u{e9}\n", ""]),
            ] {
                assert_eq!(printed(reader, "> ", chunks), expected, "{chunks:?}");
            }
        }
    }

    #[test]
    fn a_line_without_an_end_is_cut_between_characters() {
        let lines = |text: &str, size: usize| {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let mut pieces = Pieces::new(Reader::Program, "> ");
            let mut out = Vec::new();
            for chunk in chunks {
                out.extend(pieces.take(chunk));
                assert!(pieces.held.len() <= MOST_OF_A_LINE);
            }
            out.extend(pieces.end());
            let out = String::from_utf8(out).expect("no character is cut");
            let lines: Vec<&str> =
                out.lines().map(|line| line.strip_prefix("> ").expect("a prefix")).collect();
            assert_eq!(lines.concat(), text.replace('\n', ""));
            lines.iter().map(|line| line.len()).collect::<Vec<_>>()
        };
        for size in [1000, MOST_OF_A_LINE, 4 << 20] {
            assert_eq!(lines(&"a".repeat(MOST_OF_A_LINE), size), [MOST_OF_A_LINE]);
            assert_eq!(lines(&("a".repeat(MOST_OF_A_LINE) + "\nb\n"), size), [MOST_OF_A_LINE, 1]);
            assert_eq!(lines(&("a".repeat(MOST_OF_A_LINE + 1) + "\nb"), size), [MOST_OF_A_LINE, 1, 1]);
            let cut = MOST_OF_A_LINE - MOST_OF_A_LINE % 3;
            assert_eq!(
                lines(&"\u{20ac}".repeat(MOST_OF_A_LINE), size),
                [cut, cut, cut, MOST_OF_A_LINE * 3 - 3 * cut]
            );
        }
    }
}
