//! A profile's record in the store. It is all there is of a login: a session lets go of what only the record needs
//! to have, and gets it back from there before anything takes the record's place.

use authd_api::ProfileName;
use authd_oauth::Record;
use authd_store::{Key, Store, StoreError};

/// Puts a record into the place of the one that is at rest. Of two that are on their way the later one stays: each
/// takes what it lacks from the one before it, and nothing comes between that and its being saved.
pub(super) async fn save(store: &Store, name: &ProfileName, record: Record) -> Result<(), StoreError> {
    if record.is_whole() {
        return put(store, name, &record).await;
    }
    let (key, label) = (key(name), label(name, &record));
    store.amend(&key, &label, move |at_rest| record.completed(at_rest.as_ref()).to_text()).await
}

/// The whole of a record, of which a session has the newest part, as long as nothing is saved meanwhile. A record at
/// rest that cannot be opened has nothing to add, now or later.
pub(super) async fn whole(store: &Store, name: &ProfileName, record: &Record) -> Result<Record, StoreError> {
    if record.is_whole() {
        return Ok(record.clone());
    }
    let at_rest = match store.load(&key(name)).await {
        Err(StoreError::Damaged { .. }) => None,
        there => there?,
    };
    Ok(record.clone().completed(at_rest.as_ref()))
}

/// Puts a record that is whole under a name.
pub(super) async fn put(store: &Store, name: &ProfileName, record: &Record) -> Result<(), StoreError> {
    store.save(&key(name), &label(name, record), record.to_text()).await
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
