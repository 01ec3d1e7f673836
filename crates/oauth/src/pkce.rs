//! Proof Key for Code Exchange (RFC 7636) and the state parameter: random words that tie a browser's
//! return to the attempt that sent it out.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// The code verifier: 64 random bytes as 86 letters. It belongs to one attempt, so it cannot be cloned.
pub struct Verifier(SecretString);

/// The code challenge: what of the verifier may be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge(String);

/// The state parameter: 32 random bytes as 43 letters, good for finding one attempt once.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State(String);

impl Verifier {
    /// A new one.
    pub fn generate() -> Self {
        Self::from_bytes(&rand::random())
    }

    /// The one that these random bytes make.
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(bytes).into())
    }

    /// One that was made elsewhere: kept at rest, or by the provider in a device authorization.
    pub fn from_text(text: String) -> Self {
        Self(text.into())
    }

    /// The challenge by the method `S256` (RFC 7636, section 4.2).
    pub fn challenge(&self) -> Challenge {
        Challenge(URL_SAFE_NO_PAD.encode(Sha256::digest(self.expose())))
    }

    /// The verifier itself, for the form body of the exchange and the record at rest.
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
    /// A new one.
    pub fn generate() -> Self {
        Self::from_bytes(&rand::random())
    }

    /// The one that these random bytes make.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The state that a browser brought back, without the suffix that the provider may add to it.
    pub fn from_returned(text: &str) -> Self {
        Self(text.strip_suffix(".onboarding_entrypoint=life_sciences").unwrap_or(text).to_owned())
    }

    /// The state as text, for the authorize URL and the record at rest.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_rfc_7636_appendix_b() {
        let verifier = Verifier::from_text("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned());
        assert_eq!(verifier.challenge().as_str(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn lengths_are_those_on_the_wire() {
        let (verifier, state) = (Verifier::generate(), State::generate());
        assert_eq!(verifier.expose().len(), 86);
        assert_eq!(verifier.challenge().as_str().len(), 43);
        assert_eq!(state.as_str().len(), 43);
        assert_ne!(verifier.expose(), Verifier::generate().expose());
    }

    #[test]
    fn one_known_suffix_is_taken_off_the_state_once() {
        let suffix = ".onboarding_entrypoint=life_sciences";
        assert_eq!(State::from_returned(&format!("abc{suffix}")).as_str(), "abc");
        assert_ne!(State::from_returned(&format!("abc{suffix}{suffix}")).as_str(), "abc");
        assert_ne!(State::from_returned("abc.onboarding_entrypoint=other").as_str(), "abc");
    }
}
