//! Text of the daemon and of providers as a terminal may show it: no control character of theirs reaches
//! it, and so no escape sequence.

use std::borrow::Cow;

/// Shown in the place of a character that is not.
const REPLACEMENT: char = '\u{FFFD}';

/// Text of one line or more: line feeds and tabs stay, and the escape sequences in `kept`.
pub(crate) fn text<'a>(text: &'a str, kept: &[&str]) -> Cow<'a, str> {
    let harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(c) = rest.chars().next() {
        let sequence = kept.iter().find(|sequence| rest.starts_with(**sequence));
        match (sequence, c) {
            (Some(sequence), _) => shown.push_str(sequence),
            // It would let what follows overwrite the line.
            (None, '\r') => {}
            (None, c) => shown.push(if harmless(c) { c } else { REPLACEMENT }),
        }
        rest = &rest[sequence.map_or(c.len_utf8(), |sequence| sequence.len())..];
    }
    Cow::Owned(shown)
}

/// A value within a line: nothing that ends the line, moves on it or turns its direction.
pub(crate) fn value(text: &str) -> Cow<'_, str> {
    // The characters that override or isolate a direction (Unicode Standard Annex 9, section 2).
    let turns = |c: char| matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let harmful = |c: char| c.is_control() || turns(c) || matches!(c, '\u{2028}' | '\u{2029}');
    if text.chars().any(harmful) {
        Cow::Owned(text.chars().map(|c| if harmful(c) { REPLACEMENT } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_replaced_and_lines_stay() {
        assert!(matches!(text("a\n\tb – ✓", &[]), Cow::Borrowed(_)));
        assert_eq!(text("\x1b]0;t\x07\u{9b}2J\x08a\r\nb\x7f\0", &[]), "�]0;t��2J�a\nb��");
        assert_eq!(text("\x1b[1ma\x1b[0m\x1b[8m", &["\x1b[1m", "\x1b[0m"]), "\x1b[1ma\x1b[0m�[8m");
    }

    #[test]
    fn a_value_stays_in_its_line() {
        assert!(matches!(value("ä@b.c – ✓"), Cow::Borrowed(_)));
        assert_eq!(value("a\nb\tc\x1b[1m\u{202e}d\u{2028}"), "a�b�c�[1m�d�");
    }
}
