//! The database of a fleet. Each daemon has its own, on a server that they share. Before each fault
//! point it has the prepared records again.

use std::{
    io::Read as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use age::{Decryptor, x25519};
use authd_sandbox::postgres::{FLEET_KEY, TestPostgres};

use crate::invariants::Keychain;

/// A database.
pub(crate) struct FleetDatabase {
    server: Arc<TestPostgres>,
    name: String,
}

impl FleetDatabase {
    pub(crate) fn create(server: &Arc<TestPostgres>) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let name = format!("fleet{}", NEXT.fetch_add(1, Ordering::Relaxed));
        server.psql(&format!("CREATE DATABASE {name}")).unwrap();
        Self { server: server.clone(), name }
    }

    /// The settings of the daemon.
    pub(crate) fn toml(&self) -> String {
        self.server.node_toml_of(&self.name, &self.name).unwrap()
    }

    /// Remembers the present records.
    pub(crate) fn save(&self) {
        if self.has_tables().unwrap() {
            self.psql("CREATE TABLE prepared AS SELECT * FROM authd.record").unwrap();
        }
    }

    /// Returns to those records. The connections of a killed daemon end before.
    pub(crate) fn restore(&self) {
        self.psql(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .unwrap();
        let is_prepared = self.psql("SELECT to_regclass('prepared') IS NOT NULL").unwrap() == "t";
        let restore = if is_prepared {
            "BEGIN; DELETE FROM authd.record; INSERT INTO authd.record SELECT * FROM prepared; COMMIT"
        } else {
            "DROP SCHEMA IF EXISTS authd CASCADE"
        };
        self.psql(restore).unwrap();
    }

    fn has_tables(&self) -> Result<bool, String> {
        Ok(self.psql("SELECT to_regclass('authd.record') IS NOT NULL")? == "t")
    }

    fn psql(&self, sql: &str) -> Result<String, String> {
        self.server.psql_in(&self.name, sql).map_err(|error| error.to_string())
    }
}

impl Keychain for FleetDatabase {
    fn items(&self) -> Result<Vec<(String, String)>, String> {
        if !self.has_tables()? {
            return Ok(Vec::new());
        }
        let rows = self.psql("SELECT name, encode(sealed, 'hex') FROM authd.record")?;
        let rows = rows.lines().filter_map(|row| row.split_once('|'));
        rows.map(|(name, sealed)| Ok((format!("profile.{name}"), open(sealed)?))).collect()
    }
}

/// Opens a sealed record in hexadecimal digits.
fn open(sealed: &str) -> Result<String, String> {
    let byte = |at: usize| u8::from_str_radix(&sealed[at..at + 2], 16);
    let bytes: Result<Vec<u8>, _> = (0..sealed.len() / 2).map(|index| byte(2 * index)).collect();
    let bytes = bytes.map_err(|error| error.to_string())?;
    let identity: x25519::Identity = FLEET_KEY.parse()?;
    let opened = || -> Result<String, Box<dyn std::error::Error>> {
        let mut text = String::new();
        let identities = [&identity as &dyn age::Identity];
        Decryptor::new_buffered(&bytes[..])?.decrypt(identities.into_iter())?.read_to_string(&mut text)?;
        Ok(text)
    };
    opened().map_err(|error| format!("a row cannot be opened: {error}"))
}
