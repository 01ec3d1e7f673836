//! A server with the tables of a fleet, and handles of its nodes.

use std::{sync::LazyLock, time::Duration};

use age::x25519;
use authd_fleet::{Change, Changes, Claimed, Fleet, FleetConfig, StoredRecord, Written};
use authd_oauth::claim::Write;
use authd_sandbox::postgres::TestPostgres;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::JoinHandle;

/// The time limit of a call: long, so that a busy machine does not exceed it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The fleet's key.
pub(crate) static KEY: LazyLock<SecretString> = LazyLock::new(new_key);

pub(crate) fn new_key() -> SecretString {
    SecretString::from(x25519::Identity::generate().to_string().expose_secret())
}

/// One node: a handle and its task.
pub(crate) struct Node {
    pub(crate) fleet: Fleet,
    pub(crate) changes: Changes,
    task: JoinHandle<()>,
}

impl std::ops::Deref for Node {
    type Target = Fleet;

    fn deref(&self) -> &Fleet {
        &self.fleet
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Node {
    /// Waits until the listener has connected, so that any record may have changed.
    pub(crate) async fn wait_for_everything(&mut self) {
        while self.changes.next().await.unwrap() != Change::Everything {}
    }

    /// Waits for a change of this record.
    pub(crate) async fn wait_for(&mut self, record: &str) {
        while !matches!(self.changes.next().await.unwrap(), Change::Record { name, .. } if name == record) {}
    }
}

/// The settings of a node.
pub(crate) fn config(url: &str, node: &str) -> FleetConfig {
    FleetConfig {
        schema: "the \"fleet\"".to_owned(),
        deadline: DEADLINE,
        poll: Duration::from_secs(3600),
        ..FleetConfig::new(url, KEY.clone(), node)
    }
}

/// The node of these settings.
pub(crate) fn node_with(config: FleetConfig) -> Node {
    let (fleet, task) = Fleet::start(config).unwrap();
    Node { changes: fleet.changes(), fleet, task: tokio::spawn(task) }
}

/// A node of this name.
pub(crate) fn node(postgres: &TestPostgres, name: &str) -> Node {
    node_with(config(&postgres.url(), name))
}

/// A server without tables.
pub(crate) fn server() -> Option<TestPostgres> {
    TestPostgres::start().unwrap()
}

/// A server with tables.
pub(crate) async fn migrated() -> Option<TestPostgres> {
    let postgres = server()?;
    node(&postgres, "first").migrate_schema().await.unwrap();
    Some(postgres)
}

pub(crate) fn text(text: &str) -> SecretString {
    SecretString::from(text)
}

/// Creates a record whose access token is valid for an hour. Returns its token's number.
pub(crate) async fn create(fleet: &Fleet, name: &str, record: &str) -> u64 {
    let valid_for = Some(Duration::from_secs(3600));
    let (revision, token) = done(fleet.write(name, Write::Create, text(record), valid_for).await.unwrap());
    assert_eq!(revision, token);
    token
}

/// The revision and the token of a successful write.
pub(crate) fn done(written: Written) -> (u64, u64) {
    match written {
        Written::Done { revision, token } => (revision, token),
        Written::Conflict(found) => panic!("conflict: {found:?}"),
    }
}

/// The record that caused a conflict.
pub(crate) fn conflict(written: Written) -> Option<StoredRecord> {
    match written {
        Written::Conflict(found) => found,
        Written::Done { .. } => panic!("no conflict"),
    }
}

/// The text of a record.
pub(crate) fn content(record: Option<StoredRecord>) -> Option<String> {
    record.map(|record| record.text.expose_secret().to_owned())
}

pub(crate) fn is_granted(claimed: &Claimed) -> bool {
    matches!(claimed, Claimed::Granted { .. })
}
