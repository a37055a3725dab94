//! What other programs wrote, made harmless for a terminal.

use std::borrow::Cow;

/// Log bytes as a terminal may get them: control characters other than tab and newline as `\x1b`, and what is not
/// UTF-8 as replacement characters. A log must not move the cursor, rename the window or answer for the keyboard.
pub fn harmless(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    let harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(harmful) {
        return text;
    }
    // Programs for Windows and progress bars end lines in \r\n: that is no news.
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.replace("\r\n", "\n").chars() {
        match c {
            c if !harmful(c) => out.push(c),
            c if (c as u32) < 0x100 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_cannot_steer_the_terminal() {
        for (written, shown) in [
            (&b"plain\ttext\n"[..], "plain\ttext\n"),
            (b"\x1b]0;owned\x07\n", "\\x1b]0;owned\\x07\n"),
            (b"dos\r\n50%\r60%\n", "dos\n50%\\x0d60%\n"),
            ("c1 \u{9b}2J".as_bytes(), "c1 \\x9b2J"),
            (b"\xff", "\u{fffd}"),
        ] {
            assert_eq!(harmless(written), shown);
        }
    }
}
