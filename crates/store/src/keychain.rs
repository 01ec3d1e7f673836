//! The operating system's keychain: the Secret Service on Linux, the Keychain on macOS. The only file
//! that names keyring's crates. It uses the library's core and its two stores rather than the `keyring`
//! façade, because the façade connects once per process: a keychain that comes up later would stay
//! unreachable until a restart.

use std::{collections::HashMap, sync::Arc};

use keyring_core::{CredentialStore, Entry, Error};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    Key,
    backend::{Backend, Kind, StoreError},
};

/// A connection to the keychain, made at need and dropped when it fails.
pub(crate) struct Keychain {
    service: String,
    store: Option<Arc<CredentialStore>>,
}

impl Keychain {
    /// The keychain's items of this service name. Nothing is opened yet.
    pub(crate) fn new(service: String) -> Self {
        Self { service, store: None }
    }

    fn store(&mut self) -> Result<Arc<CredentialStore>, StoreError> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let store = connect().map_err(|error| failed(&error))?;
        self.store = Some(store.clone());
        Ok(store)
    }

    fn entry(&mut self, key: &Key, label: Option<&str>) -> Result<Entry, StoreError> {
        let modifiers: Option<HashMap<&str, &str>> =
            if LABELLED { label.map(|label| HashMap::from([("label", label)])) } else { None };
        let store = self.store()?;
        store.build(&self.service, &key.to_string(), modifiers.as_ref()).map_err(|error| failed(&error))
    }

    /// After a failure the connection is made anew: the one we have may be to a keychain that is gone.
    fn outcome<T>(&mut self, result: Result<T, Error>) -> Result<Option<T>, StoreError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => {
                self.store = None;
                Err(failed(&error))
            }
        }
    }
}

impl Backend for Keychain {
    fn kind(&self) -> Kind {
        Kind::Keychain
    }

    fn load(&mut self, key: &Key) -> Result<Option<SecretString>, StoreError> {
        let read = self.entry(key, None)?.get_password();
        Ok(self.outcome(read)?.map(SecretString::from))
    }

    fn save(&mut self, key: &Key, label: &str, record: &SecretString) -> Result<(), StoreError> {
        let written = self.entry(key, Some(label))?.set_password(record.expose_secret());
        self.outcome(written).map(drop)
    }

    fn delete(&mut self, key: &Key) -> Result<(), StoreError> {
        let deleted = self.entry(key, None)?.delete_credential();
        self.outcome(deleted).map(drop)
    }

    fn list(&mut self) -> Result<Vec<Key>, StoreError> {
        let service = self.service.clone();
        let found = self.store()?.search(&HashMap::from([("service", service.as_str())]));
        let entries = self.outcome(found)?.unwrap_or_default();
        let users = entries.iter().filter_map(|entry| {
            let attributes = entry.get_attributes().ok()?;
            attributes.get("username").or_else(|| attributes.get("account")).cloned()
        });
        Ok(users.filter_map(|user| Key::parse(&user)).collect())
    }
}

/// Whether items can carry a label that a person reads.
const LABELLED: bool = cfg!(target_os = "linux");

#[cfg(target_os = "linux")]
fn connect() -> Result<Arc<CredentialStore>, Error> {
    Ok(zbus_secret_service_keyring_store::Store::new()?)
}

#[cfg(target_os = "macos")]
fn connect() -> Result<Arc<CredentialStore>, Error> {
    Ok(apple_native_keyring_store::keychain::Store::new()?)
}

fn failed(error: &Error) -> StoreError {
    let detail = match error {
        Error::PlatformFailure(cause) | Error::NoStorageAccess(cause) => cause.to_string(),
        other => other.to_string(),
    };
    match error {
        Error::NoStorageAccess(_) => StoreError::Locked { detail },
        _ => StoreError::Unavailable { detail },
    }
}
