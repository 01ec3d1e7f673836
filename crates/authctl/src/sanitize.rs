//! Removes control characters, and with them escape sequences, from text of the daemon and of
//! providers before a terminal shows it.

use std::borrow::Cow;

pub(crate) const REPLACEMENT: char = '\u{FFFD}';

/// Text of one line or more: keeps line feeds, tabs and the escape sequences in `allowed`.
pub(crate) fn text<'a>(text: &'a str, allowed: &[&str]) -> Cow<'a, str> {
    let is_safe = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if text.chars().all(is_safe) {
        return Cow::Borrowed(text);
    }
    let (mut clean, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(c) = rest.chars().next() {
        let sequence = allowed.iter().find(|sequence| rest.starts_with(**sequence));
        match (sequence, c) {
            (Some(sequence), _) => clean.push_str(sequence),
            // A carriage return would let the rest of the text overwrite the line.
            (None, '\r') => {}
            (None, c) if is_safe(c) => clean.push(c),
            (None, _) => clean.push(REPLACEMENT),
        }
        rest = &rest[sequence.map_or(c.len_utf8(), |sequence| sequence.len())..];
    }
    Cow::Owned(clean)
}

/// A value within one line: removes also what ends the line or changes the text direction.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    // Direction overrides and isolates: Unicode Standard Annex 9, section 2.
    let is_unsafe = |c: char| {
        c.is_control()
            || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    if text.contains(is_unsafe) {
        text.replace(is_unsafe, &REPLACEMENT.to_string()).into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_keeps_lines_and_loses_control_characters() {
        assert!(matches!(text("a\n\tb – ✓", &[]), Cow::Borrowed(_)));
        assert_eq!(text("\x1b]0;t\x07\u{9b}2J\x08a\r\nb\x7f\0", &[]), "�]0;t��2J�a\nb��");
        assert_eq!(text("\x1b[1ma\x1b[0m\x1b[8m", &["\x1b[1m", "\x1b[0m"]), "\x1b[1ma\x1b[0m�[8m");
    }

    #[test]
    fn line_cannot_end_or_turn_the_line() {
        assert!(matches!(line("ä@b.c – ✓"), Cow::Borrowed(_)));
        assert_eq!(line("a\nb\tc\x1b[1m\u{202e}d\u{2028}"), "a�b�c�[1m�d�");
    }
}
