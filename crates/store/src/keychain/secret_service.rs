//! The Secret Service (of GNOME, KDE or `KeePassXC`): whether its default collection exists and is open,
//! which is checked without a dialog, and the items in it.

use std::{collections::HashMap, sync::Arc};

use keyring_core::{CredentialStore, Entry, Error};
use secret_service::{EncryptionType, blocking::SecretService};
use zbus_secret_service_keyring_store::{Store, cred::Specifier, errors};

use crate::backend::StoreError;

/// What people call it.
pub(super) const NAME: &str = "Secret Service";

/// A connection.
pub(super) struct Platform {
    store: Arc<CredentialStore>,
    service: SecretService<'static>,
}

impl Platform {
    /// Connects to the session bus, and to the service on it.
    pub(super) fn connect() -> Result<Self, Error> {
        let service = SecretService::connect(EncryptionType::Plain).map_err(errors::platform_failure)?;
        Ok(Self { store: Store::new()?, service })
    }

    /// Whether the default collection can be used now.
    pub(super) fn ready(&self) -> Result<(), StoreError> {
        let unavailable =
            |error: secret_service::Error| StoreError::Unavailable { detail: error.to_string() };
        let collection = match self.service.get_default_collection() {
            Ok(collection) => collection,
            Err(secret_service::Error::NoResult) => {
                let detail = "it has no default collection; make one, in Seahorse for example";
                return Err(StoreError::Unavailable { detail: detail.to_owned() });
            }
            Err(error) => return Err(unavailable(error)),
        };
        if collection.is_locked().map_err(unavailable)? {
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

    /// The items with these attributes.
    pub(super) fn search(&self, attributes: &HashMap<&str, &str>) -> Result<Vec<Entry>, Error> {
        self.store.search(attributes)
    }
}

/// The user name of an item that a search returned.
pub(super) fn user(item: &Entry) -> Result<Option<String>, Error> {
    item.get_attributes().map(|mut attributes| attributes.remove("username"))
}

/// Gives an item its label, if it has another one: the account may have changed.
pub(super) fn relabel(entry: &Entry, label: &str) -> Result<(), Error> {
    match entry.as_any().downcast_ref::<Specifier>() {
        Some(item) if item.get_label()? != label => item.set_label(label),
        _ => Ok(()),
    }
}
