//! The key of a loopback share: `authd_share_ID.SECRET`. The id finds the share, and the hash of
//! the secret proves the key. The daemon stores only the hash.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::distr::{Alphanumeric, SampleString};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The prefix of every key, by which scanners for leaked secrets can recognise one.
const PREFIX: &str = "authd_share_";

/// Number of random bytes in a secret.
const SECRET_BYTES: usize = 32;

/// Number of random characters in an id.
const ID_LENGTH: usize = 12;

/// The key of a loopback share.
#[derive(Clone, Debug)]
pub struct ShareKey(SecretString);

/// The hash of a key's secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyHash([u8; 32]);

/// A new random share id. It is safe in a path and in a URL, and it is no option of a command.
pub(super) fn new_id() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), ID_LENGTH)
}

impl ShareKey {
    /// A new key of a share.
    pub(super) fn new(id: &str) -> Self {
        let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; SECRET_BYTES]>());
        Self([PREFIX, id, ".", &secret].concat().into())
    }

    /// The text of the key, for its holder.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    pub(super) fn hash(&self) -> KeyHash {
        KeyHash::of(self.expose())
    }
}

impl KeyHash {
    fn of(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Whether this is the hash of the key. Takes the same time for every wrong key.
    pub(super) fn is_of(&self, key: &str) -> bool {
        bool::from(Self::of(key).0.ct_eq(&self.0))
    }

    pub(super) fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(super) fn from_text(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

/// The id of the share that a key names. The key may be wrong all the same.
pub(super) fn id_in(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX)?.split_once('.').map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_names_its_share_and_matches_only_its_hash() {
        let (id, other) = (new_id(), new_id());
        let key = ShareKey::new(&id);
        assert_eq!(id_in(key.expose()), Some(&*id));
        assert!(key.hash().is_of(key.expose()));
        assert!(!key.hash().is_of(ShareKey::new(&id).expose()));
        assert!(!key.hash().is_of(&key.expose().replace(&id, &other)));
        assert_eq!(KeyHash::from_text(&key.hash().to_text()), Some(key.hash()));
    }

    #[test]
    fn id_is_an_argument_of_a_command() {
        for _ in 0..1000 {
            let id = new_id();
            assert!(id.len() == 12 && id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
        }
    }

    #[test]
    fn other_texts_name_no_share() {
        for text in ["", "Bearer", "authd_share_", "authd_share_abc", "sk-abc.def"] {
            assert_eq!(id_in(text), None, "{text}");
        }
    }
}
