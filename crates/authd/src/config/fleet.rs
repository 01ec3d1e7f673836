//! The settings of the fleet, with the content of the files that `[store.postgres]` names.

use std::{fmt::Display, path::Path};

use authd_fleet::FleetConfig;
use authd_oauth::Network;
use authd_store::private;
use secrecy::{ExposeSecret as _, SecretString};

use super::settings::{Config, credentials_directory};

#[cfg(test)]
mod tests;

/// Longest file, in bytes.
const MAX_SECRET: u64 = 1 << 16;

/// A secret that is in a file or in a credential of systemd.
struct SecretSource<'a> {
    /// The key of the configuration that names the file.
    key: &'static str,
    /// The file.
    file: Option<&'a Path>,
    /// The name of the credential.
    credential: &'static str,
    /// What it is, for the message that it is missing.
    description: &'static str,
}

impl Config {
    /// Whether a state directory without profiles uses the database of the fleet.
    pub(crate) fn is_fleet_preferred(&self) -> bool {
        self.store.is_fleet_preferred
    }

    /// The settings of the fleet, if the configuration or a credential names its database. Reads
    /// the files. The error names the setting that cannot be used, and contains no secret.
    pub(crate) fn fleet(&self) -> Result<Option<FleetConfig>, String> {
        self.fleet_with_credentials(credentials_directory().as_deref())
    }

    fn fleet_with_credentials(&self, credentials: Option<&Path>) -> Result<Option<FleetConfig>, String> {
        let postgres = &self.store.postgres;
        let url = SecretSource {
            key: "store.postgres.url_file",
            file: postgres.url_file.as_deref(),
            credential: "authd-postgres-url",
            description: "a private file with the connection string, such as \
                          postgresql://USER:PASSWORD@HOST/DATABASE",
        };
        let key = SecretSource {
            key: "store.postgres.key_file",
            file: postgres.key_file.as_deref(),
            credential: "authd-fleet-key",
            description: "a private file with the key of the fleet: age-keygen creates it once, and all nodes \
                          have a copy",
        };
        let Some(url) = url.read(credentials)? else {
            return if self.store.is_fleet_preferred { Err(url.missing()) } else { Ok(None) };
        };
        let key = key.read(credentials)?.ok_or_else(|| key.missing())?;
        let ca_file = postgres.ca_file.clone();
        if ca_file.is_some() {
            let network = Network { ca_file: ca_file.clone(), ..Network::default() };
            network.tls().map_err(|error| format!("store.postgres.ca_file: {error}"))?;
        }
        Ok(Some(FleetConfig {
            url,
            key,
            schema: postgres.schema.clone(),
            node: postgres.node.clone(),
            tls: postgres.tls,
            ca_file: ca_file.or_else(|| self.network.ca_file.clone()),
            call_limit: self.network.timeout,
            deadline: self.store.deadline,
            poll: postgres.poll,
        }))
    }
}

impl SecretSource<'_> {
    /// The secret. `None` if neither the file is configured nor the credential exists.
    fn read(&self, credentials: Option<&Path>) -> Result<Option<SecretString>, String> {
        let explain = |problem: &dyn Display| format!("{}: {problem}", self.key);
        let (path, text) = if let Some(file) = self.file {
            let text = private::read_private(file, MAX_SECRET).map_err(|error| explain(&error))?;
            let text = text.ok_or_else(|| explain(&format_args!("{} does not exist", file.display())))?;
            (file.to_owned(), text)
        } else {
            let Some(directory) = credentials else { return Ok(None) };
            // The service manager keeps the directory private.
            let path = directory.join(self.credential);
            let text = private::read_bounded(&path, MAX_SECRET).map_err(|error| error.to_string())?;
            let Some(text) = text else { return Ok(None) };
            let text = String::from_utf8(text).map_err(|_| format!("{}: it is not UTF-8", path.display()))?;
            (path, SecretString::from(text))
        };
        if text.expose_secret().trim().is_empty() {
            return Err(format!("{} is empty", path.display()));
        }
        Ok(Some(text))
    }

    fn missing(&self) -> String {
        let Self { key, credential, description, .. } = self;
        format!(
            "the database of the fleet needs {key}, {description}; or the systemd credential {credential}, \
             which only the service has"
        )
    }
}
