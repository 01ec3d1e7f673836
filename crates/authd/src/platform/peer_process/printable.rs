//! Names that a process chooses, as printable text.

use std::fmt::Write;

/// What stands for the beginning of a text that is too long.
const CUT: &str = "…";

/// The end of a text, of at most `most` characters, on one line and without a control character.
/// The end of a path says more than its beginning. Escapes what is not printable, and the
/// backslash, so that different bytes stay different: `\n`, `\u{1b}`, and `\xff` for a byte outside
/// of UTF-8.
pub(super) fn end(bytes: &[u8], most: usize) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\'' | '"' => text.push(char),
                char => text.extend(char.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("writing to a string does not fail");
        }
    }
    let Some(excess) = text.chars().count().checked_sub(most).filter(|&excess| excess > 0) else {
        return text;
    };
    let rest = text.char_indices().nth(excess + CUT.chars().count()).map_or("", |(at, _)| &text[at..]);
    format!("{CUT}{rest}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_is_not_printable_is_escaped() {
        let same = ["/usr/bin/curl", "/opt/Ünïcode/工具", "it's \"quoted\" (deleted)", "tmux: server", ""];
        for text in same {
            assert_eq!(end(text.as_bytes(), 64), text);
        }
        let table: [(&[u8], &str); 7] = [
            (b"\x1b[2J\x1b]0;root\x07", r"\u{1b}[2J\u{1b}]0;root\u{7}"),
            (b"a\nb\tc\rd", r"a\nb\tc\rd"),
            (br"a\nb", r"a\\nb"),
            (b"caf\xe9", r"caf\xe9"),
            (b"\xf0\x9f\x98", r"\xf0\x9f\x98"),
            ("evil\u{202e}txt.exe\u{200b}".as_bytes(), r"evil\u{202e}txt.exe\u{200b}"),
            (br#"","uid":0,"x":""#, r#"","uid":0,"x":""#),
        ];
        for (bytes, expected) in table {
            assert_eq!(end(bytes, 64), expected);
        }
    }

    #[test]
    fn a_long_text_keeps_its_end() {
        let path = format!("/{}/authctl", "long/".repeat(1_000));
        let short = end(path.as_bytes(), 20);
        assert_eq!(short, "…/long/long//authctl");
        assert_eq!(short.chars().count(), 20);
    }

    proptest! {
        #[test]
        fn any_bytes_are_short_and_printable(bytes: Vec<u8>, most in 1_usize..200) {
            let text = end(&bytes, most);
            prop_assert!(text.chars().count() <= most);
            let is_harmful = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}');
            prop_assert!(!text.contains(is_harmful));
        }
    }
}
