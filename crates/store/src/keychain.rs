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
    backend::{Backend, Entries, Kind, RekeyReport, StoreError},
};

#[cfg_attr(target_os = "linux", path = "keychain/secret_service.rs")]
#[cfg_attr(target_os = "macos", path = "keychain/apple.rs")]
mod platform;

/// A connection to the keychain, made when it is needed and dropped after a failure.
pub(crate) struct Keychain {
    service: String,
    platform: Option<Platform>,
}

impl Keychain {
    /// The keychain's items of this service name. Nothing is opened yet.
    pub(crate) fn new(service: String) -> Self {
        Self { service, platform: None }
    }

    /// A keychain that answers and is not locked. This is checked before every call: a call to a locked one
    /// would show a dialog that asks for a password, and wait for it.
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

    /// Only the keychain's own "no entry" is an absence, and only if the keychain was not locked meanwhile.
    /// After a failure the connection is made anew, because it may be to a service that has ended.
    fn outcome<T>(&mut self, key: Option<&Key>, result: Result<T, Error>) -> Result<Option<T>, StoreError> {
        match (result, key) {
            (Ok(value), _) => Ok(Some(value)),
            (Err(Error::NoEntry), _) => self.platform().map(|_| None),
            (Err(Error::BadEncoding(_) | Error::BadDataFormat(..)), Some(key)) => {
                Err(damaged(key, "it is not text".to_owned()))
            }
            (Err(Error::Ambiguous(items)), Some(key)) => {
                let count = items.len();
                Err(damaged(
                    key,
                    format!("{count} items have its name; delete the others in the {}", platform::NAME),
                ))
            }
            (Err(error), _) => {
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
        Ok(self.outcome(Some(key), read)?.map(SecretString::from))
    }

    fn save(&mut self, key: &Key, label: &str, record: &SecretString) -> Result<(), StoreError> {
        let label = Some(label).filter(|label| !label.is_empty());
        let entry = self.entry(key, label)?;
        let written = entry.set_password(record.expose_secret());
        self.outcome(Some(key), written)?;
        // The label is for people; the record is complete without it.
        if let Some(Err(error)) = label.map(|label| platform::relabel(&entry, label)) {
            tracing::debug!(%error, "the item keeps its old label");
        }
        Ok(())
    }

    fn delete(&mut self, key: &Key) -> Result<(), StoreError> {
        let deleted = self.entry(key, None)?.delete_credential();
        self.outcome(Some(key), deleted).map(drop)
    }

    /// An item whose attributes cannot be read fails the whole call. A keychain that was locked during the
    /// search may have left items out, so the result counts only if it is still open afterwards.
    fn list(&mut self) -> Result<Entries, StoreError> {
        let service = self.service.clone();
        let found = self.platform()?.search(&HashMap::from([("service", service.as_str())]));
        let mut entries = Entries::default();
        for item in self.outcome(None, found)?.unwrap_or_default() {
            let user = self.outcome(None, platform::user(&item))?.flatten();
            match user.as_deref().and_then(Key::parse) {
                Some(key) if key == Key::probe() => {}
                Some(key) => entries.keys.push(key),
                None => entries.unknown.push(user.unwrap_or_else(|| "an item without a name".to_owned())),
            }
        }
        self.platform()?;
        entries.keys.sort();
        entries.keys.dedup();
        Ok(entries)
    }

    fn rekey(&mut self) -> Result<RekeyReport, StoreError> {
        let detail = "the keychain has a key of its own; change its password there";
        Err(StoreError::Refused { detail: detail.to_owned() })
    }

    fn description(&self) -> String {
        format!("the {}, items of the service \"{}\"", platform::NAME, self.service)
    }
}

fn damaged(key: &Key, detail: String) -> StoreError {
    StoreError::Damaged { key: key.to_string(), detail }
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
