//! Finds out which program owns a grant after an export or import was interrupted.

use std::time::Duration;

use authd_oauth::{Grant, Intent, Record};
use authd_store::{Store, StoreError};

use super::{
    error::CodexHomeError,
    homes::ManagedHomes,
    location::{LoginLocation, grant_in},
};

/// Longest time to read a Codex home while other profiles wait.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Whether authd owns the grant of a record. If an export or import was interrupted, the login at
/// the other location shows it. Fails if that location cannot be read now.
pub(crate) async fn is_owned_here(
    record: &Record,
    homes: &ManagedHomes,
    ours: &Store,
) -> Result<bool, StoreError> {
    let Some(Intent::ExportTo { home, path, item } | Intent::ImportFrom { home, path, item, .. }) =
        &record.intent
    else {
        return Ok(true);
    };
    let location = LoginLocation::new(home, path, *item, || homes.keychain(ours));
    let read = async {
        location.clear_temporary().await;
        location.read().await
    };
    let text = tokio::time::timeout(TIMEOUT, read).await.map_err(|_| {
        StoreError::unavailable(format!("{} cannot be read within {} s", path.display(), TIMEOUT.as_secs()))
    })?;
    let text = text.map_err(|error| match error {
        CodexHomeError::Store(error) => error,
        other => StoreError::unavailable(format!("{}: {other:?}", path.display())),
    })?;
    let grant = text.as_ref().and_then(grant_in);
    let Some(grant) = grant.filter(|grant| grant.identity.is_same(&record.grant.identity)) else {
        // The location does not hold the grant: the export was not performed, or the import was.
        return Ok(true);
    };
    let Some(Intent::ImportFrom { token, .. }) = &record.intent else {
        // The export wrote the grant, and Codex may have rotated its token since.
        return Ok(false);
    };
    let has_token =
        |grant: &Grant| grant.secrets.refresh_token().is_some_and(|current| current.fingerprint() == *token);
    // A token that was rotated here is ours. If the result of a rotation is unknown and Codex did
    // not rotate the token either, authd sends it again.
    Ok(!has_token(&record.grant) || (record.journal.is_some() && has_token(&grant)))
}
