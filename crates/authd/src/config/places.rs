//! Where in a text its keys are, so that a message can name the line. It judges nothing.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// The keys of a text, each table before what is in it.
pub(super) struct Places<'t> {
    text: &'t str,
    keys: Vec<Place>,
}

struct Place {
    /// The whole path: `provider.issuer`.
    path: String,
    /// Where the key is, in bytes.
    key: Range<usize>,
    /// Where its value is, in bytes.
    value: Range<usize>,
}

impl<'t> Places<'t> {
    /// The places of a text that was read as this table.
    pub(super) fn of(text: &'t str, table: &DeTable<'_>) -> Self {
        let mut keys = Vec::new();
        collect(table, "", &mut keys);
        Self { text, keys }
    }

    /// The line of a key; nothing, where the key is not written.
    pub(super) fn line_of(&self, path: &str) -> Option<usize> {
        let place = self.keys.iter().find(|place| place.path == path)?;
        Some(Self::line_at(self.text, place.key.start))
    }

    /// The line at an offset, and the innermost key there.
    pub(super) fn at(&self, offset: usize) -> Option<(usize, &str)> {
        let here = |place: &&Place| place.key.contains(&offset) || place.value.contains(&offset);
        let place = self.keys.iter().rev().find(here)?;
        Some((Self::line_at(self.text, offset), &place.path))
    }

    /// The line at an offset, counted from 1.
    pub(super) fn line_at(text: &str, offset: usize) -> usize {
        1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }
}

fn collect(table: &DeTable<'_>, above: &str, keys: &mut Vec<Place>) {
    for (key, value) in table {
        let path = format!("{above}{}", key.get_ref());
        keys.push(Place { path: path.clone(), key: key.span(), value: value.span() });
        if let DeValue::Table(inner) = value.get_ref() {
            collect(inner, &format!("{path}."), keys);
        }
    }
}
