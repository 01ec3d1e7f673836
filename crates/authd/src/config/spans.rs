//! The positions of the keys in a configuration file, for messages with line numbers.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// The keys of a text; a table precedes its own keys.
pub(super) struct Spans<'t> {
    text: &'t str,
    keys: Vec<KeySpan>,
}

struct KeySpan {
    /// The full path: `provider.issuer`.
    path: String,
    /// Byte range of the key.
    key: Range<usize>,
    /// Byte range of the value.
    value: Range<usize>,
}

impl<'t> Spans<'t> {
    /// The spans of a text that was parsed into this table.
    pub(super) fn of(text: &'t str, table: &DeTable<'_>) -> Self {
        let mut keys = Vec::new();
        collect(table, "", &mut keys);
        Self { text, keys }
    }

    /// The line of a key, if it is in the text.
    pub(super) fn line_of(&self, path: &str) -> Option<usize> {
        let span = self.keys.iter().find(|span| span.path == path)?;
        Some(Self::line_at(self.text, span.key.start))
    }

    /// The line at an offset, and the innermost key there.
    pub(super) fn at(&self, offset: usize) -> Option<(usize, &str)> {
        let contains = |span: &&KeySpan| span.key.contains(&offset) || span.value.contains(&offset);
        let span = self.keys.iter().rev().find(contains)?;
        Some((Self::line_at(self.text, offset), &span.path))
    }

    /// The line at an offset, counted from 1.
    pub(super) fn line_at(text: &str, offset: usize) -> usize {
        1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }
}

fn collect(table: &DeTable<'_>, prefix: &str, keys: &mut Vec<KeySpan>) {
    for (key, value) in table {
        let path = format!("{prefix}{}", key.get_ref());
        keys.push(KeySpan { path: path.clone(), key: key.span(), value: value.span() });
        if let DeValue::Table(inner) = value.get_ref() {
            collect(inner, &format!("{path}."), keys);
        }
    }
}
