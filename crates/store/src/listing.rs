//! The content of a store.

use crate::{
    Key,
    key::{CLIENT, LOGIN, PROFILE},
};

/// The content of a store, as a backend lists it.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// The keys of our records.
    pub(crate) keys: Vec<Key>,
    /// Names of entries that are not records of this version.
    pub(crate) unknown: Vec<String>,
}

/// The content of a store, by the kind of record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Names of profiles, sorted.
    pub profiles: Vec<String>,
    /// Ids of pending logins, sorted.
    pub logins: Vec<String>,
    /// Keys of the logins that Codex homes held before authd managed them, sorted.
    pub codex: Vec<Key>,
    /// Keys of the OAuth clients that servers have registered, sorted.
    pub clients: Vec<Key>,
    /// Names of entries that are not records of this version: records of a newer authd, and
    /// interrupted saves that are encrypted with another key. The store never changes them.
    pub unknown: Vec<String>,
}

impl From<Entries> for Listing {
    fn from(Entries { keys, unknown }: Entries) -> Self {
        let mut listing = Self { unknown, ..Self::default() };
        for key in keys {
            match key.kind {
                PROFILE => listing.profiles.push(key.name),
                LOGIN => listing.logins.push(key.name),
                CLIENT => listing.clients.push(key),
                _ => listing.codex.push(key),
            }
        }
        listing
    }
}
