//! The macOS Keychain. The system asks for a password by itself where it has to, and labels the items.

use std::{collections::HashMap, sync::Arc};

use apple_native_keyring_store::keychain::Store;
use keyring_core::{CredentialStore, Entry, Error};

use crate::backend::StoreError;

/// What people call it.
pub(super) const NAME: &str = "macOS Keychain";

/// A handle on the user's keychain.
pub(super) struct Platform {
    store: Arc<CredentialStore>,
}

impl Platform {
    /// The user's keychain.
    pub(super) fn connect() -> Result<Self, Error> {
        Ok(Self { store: Store::new()? })
    }

    /// Whether it can be used now; the system tells that only in the call itself.
    pub(super) fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The item of a service and a user, whether it exists or not.
    pub(super) fn entry(&self, service: &str, user: &str, _: Option<&str>) -> Result<Entry, Error> {
        self.store.build(service, user, None)
    }

    /// The items with these attributes.
    pub(super) fn search(&self, attributes: &HashMap<&str, &str>) -> Result<Vec<Entry>, Error> {
        self.store.search(attributes)
    }
}

/// The user name of an item that a search returned.
pub(super) fn user(item: &Entry) -> Result<Option<String>, Error> {
    Ok(item.get_specifiers().map(|(_, user)| user))
}

/// Items there have no label of ours.
pub(super) fn relabel(_: &Entry, _: &str) -> Result<(), Error> {
    Ok(())
}
