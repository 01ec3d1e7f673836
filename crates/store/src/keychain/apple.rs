//! The macOS Keychain. The system shows password dialogs itself and labels the items.

use std::sync::Arc;

use apple_native_keyring_store::keychain::Store;
use keyring_core::{CredentialStore, Entry, Error};

use crate::StoreError;

/// The keychain's name, as shown to the user.
pub(super) const NAME: &str = "macOS Keychain";

/// A handle on the user's keychain.
pub(super) struct Platform {
    pub(super) store: Arc<CredentialStore>,
}

impl Platform {
    pub(super) fn connect() -> Result<Self, Error> {
        Ok(Self { store: Store::new()? })
    }

    /// Always succeeds: the system reports a locked keychain only in the call itself.
    pub(super) fn check_ready(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The item of a service and a user, whether it exists or not.
    pub(super) fn entry(&self, service: &str, user: &str, _: Option<&str>) -> Result<Entry, Error> {
        self.store.build(service, user, None)
    }
}

/// The user name of an item that a search returned.
pub(super) fn user(item: &Entry) -> Result<Option<String>, Error> {
    Ok(item.get_specifiers().map(|(_, user)| user))
}

/// Does nothing: macOS labels the items.
pub(super) fn relabel(_: &Entry, _: &str) -> Result<(), Error> {
    Ok(())
}
