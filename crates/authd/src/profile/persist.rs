//! A profile's record in the store. In ChatGPT mode the id token is needed by the record alone: a session drops it once
//! it is saved, and a record that takes another's place is completed from the one at rest.

use std::sync::Arc;

use authd_api::ProfileName;
use authd_oauth::Record;
use authd_store::{Key, Store, StoreError};
use tracing::{debug, error};

use crate::facts::View;

/// The record under a name, if there is one; else how a profile without a usable record looks.
pub(crate) async fn load(store: &Store, name: &ProfileName) -> Result<Option<Record>, View> {
    match store.load(&key(name)).await {
        Ok(Some(text)) => Record::from_text(&text).map(Some).map_err(|error| {
            error!(%error, profile = %name, "the record cannot be used, and is left as it is");
            View::Unreadable(Arc::new(error))
        }),
        Ok(None) => Ok(None),
        Err(error) => {
            debug!(%error, profile = %name, "the record cannot be read");
            Err(View::Closed(Arc::new(error)))
        }
    }
}

/// Saves a record in the place of the one at rest. Of two that are on their way the later one stays: each takes what it
/// lacks from the one before it, and nothing comes between that and its being saved.
pub(super) async fn save(store: &Store, name: &ProfileName, record: Record) -> Result<(), StoreError> {
    if record.is_whole() {
        return put(store, name, &record).await;
    }
    let (key, label) = (key(name), label(name, &record));
    store.update(&key, &label, move |at_rest| record.with_id_token_from(at_rest.as_ref()).to_text()).await
}

/// The whole of a record, as long as nothing is saved meanwhile. A record at rest that cannot be opened has nothing to
/// add, now or later.
pub(super) async fn whole(store: &Store, name: &ProfileName, record: &Record) -> Result<Record, StoreError> {
    if record.is_whole() {
        return Ok(record.clone());
    }
    let at_rest = match store.load(&key(name)).await {
        Err(StoreError::Damaged { .. }) => None,
        there => there?,
    };
    Ok(record.clone().with_id_token_from(at_rest.as_ref()))
}

/// Saves a record that is whole.
pub(super) async fn put(store: &Store, name: &ProfileName, record: &Record) -> Result<(), StoreError> {
    store.save(&key(name), &label(name, record), record.to_text()).await
}

/// Deletes the record under a name, if there is one.
pub(crate) async fn delete(store: &Store, name: &ProfileName) -> Result<(), StoreError> {
    store.delete(&key(name)).await
}

fn key(name: &ProfileName) -> Key {
    Key::profile(name.as_str())
}

/// How the store shows the record to a person.
fn label(name: &ProfileName, record: &Record) -> String {
    match &record.grant.identity.email {
        Some(email) => format!("authd: profile {name} ({email})"),
        None => format!("authd: profile {name}"),
    }
}
