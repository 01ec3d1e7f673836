//! The age identities that seal texts: the first encrypts, all decrypt.

use std::{io::Read as _, iter};

use age::{DecryptError, Decryptor, x25519};
use secrecy::{ExposeSecret, SecretString};

use crate::StoreError;

/// The identities of an identity file, as `age-keygen` writes it. The first encrypts. The others
/// only decrypt, so that a key can be replaced while older texts exist.
#[derive(Clone)]
pub struct SealingKey {
    pub(crate) first: x25519::Identity,
    pub(crate) older: Vec<x25519::Identity>,
}

impl SealingKey {
    /// The identities in a text; `None` if there are none. Other lines are ignored.
    pub fn parse(text: &SecretString) -> Option<Self> {
        let lines = text.expose_secret().lines();
        let mut identities = lines.filter_map(|line| line.trim().parse().ok());
        Some(Self { first: identities.next()?, older: identities.collect() })
    }

    /// The public keys, that of the encrypting identity first.
    pub fn public_keys(&self) -> impl Iterator<Item = String> {
        self.identities().map(|identity| identity.to_public().to_string())
    }

    /// Encrypts a text with the first identity.
    pub fn seal(&self, text: &SecretString) -> Result<Vec<u8>, StoreError> {
        age::encrypt(&self.first.to_public(), text.expose_secret().as_bytes())
            .map_err(StoreError::unavailable)
    }

    /// Decrypts a text with whichever identity fits. The error says why that is not possible.
    pub fn open(&self, sealed: &[u8]) -> Result<SecretString, String> {
        let text = self.decrypt(sealed).map_err(|error| error.to_string())?;
        String::from_utf8(text).map(SecretString::from).map_err(|_| "it is not UTF-8".to_owned())
    }

    /// Decrypts a text with whichever identity fits.
    pub(crate) fn decrypt(&self, sealed: &[u8]) -> Result<Vec<u8>, DecryptError> {
        decrypt(sealed, self.identities().map(|identity| identity as _))
    }

    /// All identities, the encrypting one first.
    pub(crate) fn identities(&self) -> impl Iterator<Item = &x25519::Identity> {
        iter::once(&self.first).chain(&self.older)
    }
}

/// Decrypts a text with one of these identities.
pub(crate) fn decrypt<'a>(
    encrypted: &[u8],
    identities: impl Iterator<Item = &'a dyn age::Identity>,
) -> Result<Vec<u8>, DecryptError> {
    // The buffer never grows: growing would leave copies of secrets in the heap. It is allocated
    // before age's buffers, which are twenty times as large, so that freeing those leaves no gap in
    // the heap.
    let mut text = Vec::with_capacity(encrypted.len());
    Decryptor::new_buffered(encrypted)?.decrypt(identities)?.read_to_end(&mut text)?;
    Ok(text)
}
