//! What a store holds, by what it is for.

use crate::{Key, backend::Entries};

/// Everything that a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Names of profiles, sorted.
    pub profiles: Vec<String>,
    /// Ids of pending logins, sorted.
    pub logins: Vec<String>,
    /// Keys of what Codex homes held before authd supplied them, sorted.
    pub codex: Vec<Key>,
    /// Names of entries that are none of this version's records, such as those of a newer authd, and of
    /// interrupted saves that are sealed for another key. They are left alone.
    pub unknown: Vec<String>,
}

impl From<Entries> for Listing {
    fn from(Entries { keys, unknown }: Entries) -> Self {
        let mut listing = Self { unknown, ..Self::default() };
        for key in keys {
            if let Some(name) = key.profile_name() {
                listing.profiles.push(name.to_owned());
            } else if let Some(id) = key.login_id() {
                listing.logins.push(id.to_owned());
            } else {
                listing.codex.push(key);
            }
        }
        listing
    }
}
