//! The claims of a token. No signature is checked: the token came straight from the provider over
//! TLS (`OpenID` Connect Core, section 3.1.3.7, item 6), and the claims grant nothing.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{IdToken, Plan, digest, schedule};

/// The longest token that is parsed, in bytes. Real ones have two thousand.
const MAX_TOKEN: usize = 64 << 10;

/// The signed-in user. The user id and the account id identify it; the e-mail address does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// The e-mail address.
    pub email: Option<Box<str>>,
    /// The plan.
    pub plan: Option<Plan>,
    /// The user.
    pub user_id: Option<Box<str>>,
    /// The workspace.
    pub account_id: Option<Box<str>>,
    /// Whether the workspace is a FedRAMP one.
    pub fedramp: bool,
    /// The API organisation.
    pub organization_id: Option<Box<str>>,
    /// The API project.
    pub project_id: Option<Box<str>>,
    /// Where the user id is unique ([`crate::Authority::realm`]); `None` for the built-in provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realm: Option<Box<str>>,
}

/// The token is not a JWT with a JSON object as its claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id token cannot be parsed")]
pub struct InvalidIdToken;

impl Identity {
    /// Whether this is the same user in the same workspace.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.user_id, &self.account_id, &self.realm) == (&other.user_id, &other.account_id, &other.realm)
    }

    /// Recognises the same user in the same workspace without naming them: the first half of a
    /// SHA-256 of both ids, and of the realm, if there is one, each after its length.
    pub fn fingerprint(&self) -> [u8; 16] {
        let mut hash = Sha256::new();
        let realm = self.realm.is_some().then_some(&self.realm);
        for id in [&self.user_id, &self.account_id].into_iter().chain(realm) {
            let length = id.as_ref().map_or(u64::MAX, |id| id.len() as u64);
            hash.update(length.to_be_bytes());
            hash.update(id.as_deref().unwrap_or_default());
        }
        digest::truncated(hash)
    }
}

/// The identity that an id token attests. Every claim is optional.
pub fn identity(token: &IdToken) -> Result<Identity, InvalidIdToken> {
    let claims: Claims = claims_of(token)?;
    let auth = claims.auth.unwrap_or_default();
    let profile = claims.profile.unwrap_or_default();
    Ok(Identity {
        email: printable(claims.email).or(printable(profile.email)),
        plan: printable(auth.chatgpt_plan_type).map(Plan::new),
        user_id: printable(auth.chatgpt_user_id).or(printable(auth.user_id)),
        account_id: printable(auth.chatgpt_account_id),
        fedramp: auth.chatgpt_account_is_fedramp,
        organization_id: printable(auth.organization_id),
        project_id: printable(auth.project_id),
        realm: None,
    })
}

/// A claim that can be used. Claims are shown on terminals and sent in headers, where a control
/// character is an injection.
pub(crate) fn printable(claim: Option<String>) -> Option<Box<str>> {
    let is_printable = |text: &String| !text.trim().is_empty() && !text.contains(char::is_control);
    claim.filter(is_printable).map(String::into_boxed_str)
}

/// The times that a token states (RFC 7519, sections 4.1.4 and 4.1.6), by the provider's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// `iat`: when it was issued.
    pub issued_at: Option<Timestamp>,
    /// `exp`: when it expires.
    pub expires_at: Option<Timestamp>,
}

impl Times {
    /// The time from issue to expiry, if the token states both in this order.
    pub fn lifetime(&self) -> Option<Duration> {
        Some(schedule::lifetime(self.issued_at?, self.expires_at?)).filter(|lifetime| !lifetime.is_zero())
    }
}

/// The times that a token states, if it is a JWT. Its other claims may be of any form.
pub fn times(token: &str) -> Times {
    let claims: Value =
        payload(token).ok().and_then(|payload| serde_json::from_slice(&payload).ok()).unwrap_or_default();
    // A numeric date may have a fraction.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast of a float saturates, and the fraction does not matter"
    )]
    let time = |name: &str| {
        let seconds =
            claims[name].as_i64().or_else(|| claims[name].as_f64().map(|seconds| seconds as i64))?;
        Timestamp::from_second(seconds).ok()
    };
    Times { issued_at: time("iat"), expires_at: time("exp") }
}

/// The claims of an id token, in a form of the caller.
pub(crate) fn claims_of<T: for<'de> Deserialize<'de>>(token: &IdToken) -> Result<T, InvalidIdToken> {
    serde_json::from_slice(&payload(token.expose())?).map_err(|_| InvalidIdToken)
}

#[derive(Deserialize)]
struct Claims {
    email: Option<String>,
    #[serde(rename = "https://api.openai.com/auth")]
    auth: Option<AuthClaims>,
    #[serde(rename = "https://api.openai.com/profile")]
    profile: Option<ProfileClaims>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthClaims {
    chatgpt_plan_type: Option<String>,
    chatgpt_user_id: Option<String>,
    user_id: Option<String>,
    chatgpt_account_id: Option<String>,
    chatgpt_account_is_fedramp: bool,
    organization_id: Option<String>,
    project_id: Option<String>,
}

#[derive(Default, Deserialize)]
struct ProfileClaims {
    email: Option<String>,
}

/// The payload of a JWT (RFC 7519, section 3), decoded.
fn payload(token: &str) -> Result<Vec<u8>, InvalidIdToken> {
    let mut parts = token.split('.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(payload), Some(signature))
            if token.len() <= MAX_TOKEN && ![header, payload, signature].contains(&"") =>
        {
            URL_SAFE_NO_PAD.decode(payload).map_err(|_| InvalidIdToken)
        }
        _ => Err(InvalidIdToken),
    }
}
