//! Reads and writes a profile's record in the store. In ChatGPT mode only the record needs the id
//! token: the session drops it once it is saved, and a later save takes it over from the stored
//! record.

use std::sync::Arc;

use authd_api::ProfileName;
use authd_oauth::{Record, SaveError};
use authd_store::{Key, Store, StoreError};
use tracing::{debug, error};

use crate::snapshot::ProfileView;

/// Loads a profile's record. The error is the view of a profile without a usable record.
pub(crate) async fn load(store: &Store, name: &ProfileName) -> Result<Option<Record>, ProfileView> {
    match store.load(&key(name)).await {
        Ok(Some(text)) => Record::from_text(&text).map(Some).map_err(|error| {
            error!(%error, profile = %name, "record unreadable");
            ProfileView::Unreadable(Arc::new(error))
        }),
        Ok(None) => Ok(None),
        Err(error) => {
            debug!(%error, profile = %name, "record not read");
            Err(error.into())
        }
    }
}

/// Replaces the stored record. A record without an id token takes it over from the stored one in
/// the same store operation, so that two saves in flight cannot lose it.
pub(super) async fn save(store: &Store, name: &ProfileName, record: Record) -> Result<(), StoreError> {
    if record.is_complete() {
        return put(store, name, &record).await;
    }
    let (key, label) = (key(name), label(name, &record));
    store.update(&key, &label, move |stored| record.with_id_token_from(stored.as_ref()).to_text()).await
}

/// The record with the id token of the stored one, unless the stored one is damaged. The caller
/// makes sure that no save is in flight.
pub(super) async fn complete(
    store: &Store,
    name: &ProfileName,
    record: &Record,
) -> Result<Record, StoreError> {
    if record.is_complete() {
        return Ok(record.clone());
    }
    let stored = match store.load(&key(name)).await {
        Err(StoreError::Damaged { .. }) => None,
        loaded => loaded?,
    };
    Ok(record.clone().with_id_token_from(stored.as_ref()))
}

/// Saves a record that has its id token.
pub(crate) async fn put(store: &Store, name: &ProfileName, record: &Record) -> Result<(), StoreError> {
    store.save(&key(name), &label(name, record), record.to_text()).await
}

/// Deletes a profile's record; succeeds if none exists.
pub(crate) async fn delete(store: &Store, name: &ProfileName) -> Result<(), StoreError> {
    store.delete(&key(name)).await
}

fn key(name: &ProfileName) -> Key {
    Key::profile(name.as_str())
}

/// The label that keychain tools show.
fn label(name: &ProfileName, record: &Record) -> String {
    match &record.grant.identity.email {
        Some(email) => format!("authd: profile {name} ({email})"),
        None => format!("authd: profile {name}"),
    }
}

/// The session's form of a failed save.
pub(super) fn save_error(error: &StoreError) -> SaveError {
    SaveError { locked: matches!(error, StoreError::Locked { .. }), message: error.to_string() }
}
