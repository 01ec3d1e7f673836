//! Proof Key for Code Exchange (RFC 7636) and the state parameter: random values that bind a
//! callback to its login attempt.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// The code verifier: 64 random bytes as 86 letters. It belongs to one attempt, so it is not
/// `Clone`.
pub struct Verifier(SecretString);

/// The code challenge: the public hash of the verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge(String);

/// The state parameter: 32 random bytes as 43 letters. It identifies one attempt.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State(String);

impl Verifier {
    /// A new random verifier.
    pub fn generate() -> Self {
        Self(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 64]>()).into())
    }

    /// A stored verifier, or one that the provider generated for a device login.
    pub fn from_text(text: String) -> Self {
        Self(text.into())
    }

    /// The challenge by the method `S256` (RFC 7636, section 4.2).
    pub fn challenge(&self) -> Challenge {
        Challenge(URL_SAFE_NO_PAD.encode(Sha256::digest(self.expose())))
    }

    /// The verifier itself, for the form body of the exchange and the stored attempt.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl Challenge {
    /// The challenge as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl State {
    /// A new random state.
    pub fn generate() -> Self {
        Self(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
    }

    /// The state of a callback, without the suffix that the provider may add.
    pub fn from_returned(text: &str) -> Self {
        Self(text.strip_suffix(".onboarding_entrypoint=life_sciences").unwrap_or(text).to_owned())
    }

    /// The state as text, for the authorize URL and the stored attempt.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier([redacted])")
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State([redacted])")
    }
}
