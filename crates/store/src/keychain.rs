//! The operating system's keychain: the Secret Service on Linux, the Keychain on macOS. The only file
//! that names keyring's crates. It uses the library's core and its two stores rather than the `keyring`
//! façade, because the façade connects once per process: a keychain that comes up later would stay
//! unreachable until a restart.

use std::collections::HashMap;

use keyring_core::{Entry, Error};
use secrecy::{ExposeSecret, SecretString};

use self::platform::Platform;
use crate::{
    Key,
    backend::{Backend, Kind, StoreError},
};

#[cfg_attr(target_os = "linux", path = "keychain/secret_service.rs")]
#[cfg_attr(target_os = "macos", path = "keychain/apple.rs")]
mod platform;

/// A connection to the keychain, made at need and dropped when it fails.
pub(crate) struct Keychain {
    service: String,
    platform: Option<Platform>,
}

impl Keychain {
    /// The keychain's items of this service name. Nothing is opened yet.
    pub(crate) fn new(service: String) -> Self {
        Self { service, platform: None }
    }

    /// A keychain that answers and is not locked. It is looked at before every call: a call to a locked
    /// one would put up a window that asks for a password, and wait for it.
    fn platform(&mut self) -> Result<&Platform, StoreError> {
        let platform = match self.platform.take() {
            Some(platform) => platform,
            None => Platform::connect().map_err(|error| failed(&error))?,
        };
        platform.ready()?;
        Ok(self.platform.insert(platform))
    }

    fn entry(&mut self, key: &Key, label: Option<&str>) -> Result<Entry, StoreError> {
        let service = self.service.clone();
        self.platform()?.entry(&service, &key.to_string(), label).map_err(|error| failed(&error))
    }

    /// After a failure the connection is made anew: the one we have may be to a keychain that is gone.
    fn outcome<T>(&mut self, result: Result<T, Error>) -> Result<Option<T>, StoreError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => {
                self.platform = None;
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
        let label = Some(label).filter(|label| !label.is_empty());
        let entry = self.entry(key, label)?;
        let written = entry.set_password(record.expose_secret());
        self.outcome(written)?;
        // The label is for people; without it the record is as good.
        if let Some(Err(error)) = label.map(|label| platform::relabel(&entry, label)) {
            tracing::debug!(%error, "the item keeps its old label");
        }
        Ok(())
    }

    fn delete(&mut self, key: &Key) -> Result<(), StoreError> {
        let deleted = self.entry(key, None)?.delete_credential();
        self.outcome(deleted).map(drop)
    }

    fn list(&mut self) -> Result<Vec<Key>, StoreError> {
        let service = self.service.clone();
        let found = self.platform()?.search(&HashMap::from([("service", service.as_str())]));
        let entries = self.outcome(found)?.unwrap_or_default();
        let users = entries.iter().filter_map(|entry| {
            let attributes = entry.get_attributes().ok()?;
            attributes.get("username").or_else(|| attributes.get("account")).cloned()
        });
        Ok(users.filter_map(|user| Key::parse(&user)).collect())
    }

    fn rekey(&mut self) -> Result<(), StoreError> {
        let detail = "the keychain has a key of its own; change its password there";
        Err(StoreError::Refused { detail: detail.to_owned() })
    }

    fn described(&self) -> String {
        format!("the {}, items of the service \"{}\"", platform::NAME, self.service)
    }
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
