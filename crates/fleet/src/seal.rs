//! Sealed records. The sealed text begins with the record's name, so that the administrator of the
//! database cannot give one name's record to another.

use authd_store::{SealingKey, StoreError};
use secrecy::{ExposeSecret as _, SecretString};

/// Seals the record of a name.
pub(crate) fn seal(key: &SealingKey, name: &str, text: &SecretString) -> Result<Vec<u8>, StoreError> {
    key.seal(&SecretString::from(format!("{name}\n{}", text.expose_secret())))
}

/// Opens the record of a name.
pub(crate) fn open(key: &SealingKey, name: &str, sealed: &[u8]) -> Result<SecretString, StoreError> {
    let damaged = |detail| StoreError::Damaged { key: name.to_owned(), detail };
    let text = key.open(sealed).map_err(damaged)?;
    match text.expose_secret().split_once('\n') {
        Some((sealed_name, text)) if sealed_name == name => Ok(SecretString::from(text)),
        _ => Err(damaged("its row in the database contains another record; restore the row".to_owned())),
    }
}
