//! The Secret Service (of GNOME, KDE or `KeePassXC`). Checks without a dialog that its default
//! collection exists and is unlocked.

use std::{collections::HashMap, sync::Arc};

use keyring_core::{CredentialStore, Entry, Error};
use secret_service::{EncryptionType, blocking::SecretService};
use zbus_secret_service_keyring_store::{Store, cred::Specifier, errors};

use crate::StoreError;

/// The keychain's name, as shown to the user.
pub(super) const NAME: &str = "Secret Service";

/// A connection to the service.
pub(super) struct Platform {
    pub(super) store: Arc<CredentialStore>,
    service: SecretService<'static>,
}

impl Platform {
    /// Connects to the service on the session bus.
    pub(super) fn connect() -> Result<Self, Error> {
        let service = SecretService::connect(EncryptionType::Plain).map_err(errors::platform_failure)?;
        Ok(Self { store: Store::new()?, service })
    }

    /// Fails unless the default collection can be used now.
    pub(super) fn check_ready(&self) -> Result<(), StoreError> {
        let collection = self.service.get_default_collection().map_err(|error| match error {
            secret_service::Error::NoResult => {
                StoreError::unavailable("it has no default collection; create one, for example in Seahorse")
            }
            error => StoreError::unavailable(error),
        })?;
        if collection.is_locked().map_err(StoreError::unavailable)? {
            let name = collection.get_label().unwrap_or_else(|_| "default".to_owned());
            return Err(StoreError::Locked { detail: format!("the collection \"{name}\" is locked") });
        }
        Ok(())
    }

    /// The item of a service and a user, whether it exists or not.
    pub(super) fn entry(&self, service: &str, user: &str, label: Option<&str>) -> Result<Entry, Error> {
        let modifiers = label.map(|label| HashMap::from([("label", label)]));
        self.store.build(service, user, modifiers.as_ref())
    }
}

/// The user name of an item that a search returned.
pub(super) fn user(item: &Entry) -> Result<Option<String>, Error> {
    item.get_attributes().map(|mut attributes| attributes.remove("username"))
}

/// Sets the label of an item if it differs: the profile's account may have changed.
pub(super) fn relabel(entry: &Entry, label: &str) -> Result<(), Error> {
    match entry.as_any().downcast_ref::<Specifier>() {
        Some(item) if item.get_label()? != label => item.set_label(label),
        _ => Ok(()),
    }
}
