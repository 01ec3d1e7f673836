//! The operating system's keychain: the Secret Service on Linux, the Keychain on macOS. Only this
//! module uses keyring's crates. It uses keyring-core and its two stores instead of the `keyring`
//! crate: that crate connects once per process, so a keychain that starts later would stay
//! unreachable.

use std::collections::HashMap;

use keyring_core::{Entry, Error};
use secrecy::{ExposeSecret, SecretString};

use self::platform::Platform;
use crate::{
    Key, Kind, StoreError,
    backend::{Backend, RekeyReport},
    listing::Entries,
};

#[cfg_attr(target_os = "linux", path = "keychain/secret_service.rs")]
#[cfg_attr(target_os = "macos", path = "keychain/apple.rs")]
mod platform;

/// A connection to the keychain, opened at first use and dropped after a failure.
pub(crate) struct Keychain {
    service: String,
    platform: Option<Platform>,
}

impl Keychain {
    /// The keychain's items of this service name. Nothing is opened yet.
    pub(crate) fn new(service: String) -> Self {
        Self { service, platform: None }
    }

    /// Connects if necessary and fails if the keychain is locked. Every call checks this first: a
    /// call to a locked keychain would show a password dialog and block until the user answers it.
    fn platform(&mut self) -> Result<&Platform, StoreError> {
        let platform = match self.platform.take() {
            Some(platform) => platform,
            None => Platform::connect().map_err(convert)?,
        };
        platform.check_ready()?;
        Ok(self.platform.insert(platform))
    }

    fn entry(&mut self, key: &Key, label: Option<&str>) -> Result<Entry, StoreError> {
        let service = self.service.clone();
        self.platform()?.entry(&service, &key.to_string(), label).map_err(convert)
    }

    /// Converts a keyring result. `None` is the keychain's own "no entry", and only if the keychain
    /// was not locked meanwhile. A failure drops the connection: its service may have ended.
    fn convert_result<T>(
        &mut self,
        key: Option<&Key>,
        result: Result<T, Error>,
    ) -> Result<Option<T>, StoreError> {
        match (result, key) {
            (Ok(value), _) => Ok(Some(value)),
            (Err(Error::NoEntry), _) => self.platform().map(|_| None),
            (Err(Error::BadEncoding(_) | Error::BadDataFormat(..)), Some(key)) => {
                Err(StoreError::damaged(key, "not text"))
            }
            (Err(Error::Ambiguous(items)), Some(key)) => {
                let (count, keychain) = (items.len(), platform::NAME);
                let detail = format!("{count} items have its name; delete the others in the {keychain}");
                Err(StoreError::damaged(key, detail))
            }
            (Err(error), _) => {
                self.platform = None;
                Err(convert(error))
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
        Ok(self.convert_result(Some(key), read)?.map(SecretString::from))
    }

    fn save(&mut self, key: &Key, label: &str, record: &SecretString) -> Result<(), StoreError> {
        let label = Some(label).filter(|label| !label.is_empty());
        let entry = self.entry(key, label)?;
        let written = entry.set_password(record.expose_secret());
        self.convert_result(Some(key), written)?;
        // The label is for the user; the record is complete without it.
        if let Some(Err(error)) = label.map(|label| platform::relabel(&entry, label)) {
            tracing::debug!(%error, "keychain item keeps its old label");
        }
        Ok(())
    }

    fn delete(&mut self, key: &Key) -> Result<(), StoreError> {
        let deleted = self.entry(key, None)?.delete_credential();
        self.convert_result(Some(key), deleted).map(drop)
    }

    /// Fails if the attributes of any item cannot be read. A keychain that was locked during the
    /// search may have omitted items, so the result counts only if it is still unlocked afterwards.
    fn list(&mut self) -> Result<Entries, StoreError> {
        let service = self.service.clone();
        let found = self.platform()?.store.search(&HashMap::from([("service", service.as_str())]));
        let mut entries = Entries::default();
        for item in self.convert_result(None, found)?.unwrap_or_default() {
            let user = self.convert_result(None, platform::user(&item))?.flatten();
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
        Err(StoreError::refused("the keychain manages its own key; change its password there"))
    }

    fn description(&self) -> String {
        format!("the {}, items of the service \"{}\"", platform::NAME, self.service)
    }
}

fn convert(error: Error) -> StoreError {
    match error {
        Error::NoStorageAccess(cause) => StoreError::Locked { detail: cause.to_string() },
        Error::PlatformFailure(cause) => StoreError::unavailable(cause),
        other => StoreError::unavailable(other),
    }
}
