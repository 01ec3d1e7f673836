//! Validates the settings of the store.

use authd_store::StorePreference;

use super::{HOUR, MINUTE, SECOND, duration, file, header, invalid, non_empty};
use crate::config::{
    environment::Environment,
    problem::InvalidValue,
    raw::{PostgresSection, StoreSection},
    settings::{PostgresConfig, StoreChoice, StoreConfig},
};

/// Longest name of a schema, in bytes. PostgreSQL would cut a longer one.
const MAX_SCHEMA: usize = 63;

impl StoreSection {
    pub(super) fn validate(self, environment: &Environment) -> Result<StoreConfig, InvalidValue> {
        if self.service.trim().is_empty() {
            return invalid("store.service", "must be the name of the keychain's items, not empty");
        }
        Ok(StoreConfig {
            is_fleet_preferred: self.kind == StoreChoice::Postgres,
            local: match self.kind {
                StoreChoice::Auto => StorePreference::Auto,
                StoreChoice::Keychain => StorePreference::Keychain,
                StoreChoice::File => StorePreference::File,
                StoreChoice::Memory => StorePreference::Memory,
                StoreChoice::Postgres => self.postgres.local,
            },
            deadline: duration("store.deadline", &self.deadline, SECOND / 10..=MINUTE)?,
            service: self.service,
            passphrase_file: file("store.passphrase_file", self.passphrase_file)?,
            key_file: file("store.key_file", self.key_file)?,
            memory_control: file("store.memory_control", self.memory_control)?,
            postgres: self.postgres.validate(environment)?,
        })
    }
}

impl PostgresSection {
    fn validate(self, environment: &Environment) -> Result<PostgresConfig, InvalidValue> {
        if !(1..=MAX_SCHEMA).contains(&self.schema.len()) || self.schema.contains(char::is_control) {
            let reason = format!("must be a name of 1 to {MAX_SCHEMA} bytes, without control characters");
            return invalid("store.postgres.schema", &reason);
        }
        let node = match non_empty(self.node) {
            Some(node) => {
                header("store.postgres.node", &node)?;
                node
            }
            None => environment.host_name.clone(),
        };
        Ok(PostgresConfig {
            url_file: file("store.postgres.url_file", self.url_file)?,
            key_file: file("store.postgres.key_file", self.key_file)?,
            schema: self.schema,
            node: node.into(),
            tls: self.tls,
            ca_file: file("store.postgres.ca_file", self.ca_file)?,
            poll: duration("store.postgres.poll", &self.poll, SECOND..=HOUR)?,
        })
    }
}
