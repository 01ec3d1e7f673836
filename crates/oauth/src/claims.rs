//! What a token says of its subject, read locally. No signature is checked: the token came straight from
//! the provider over TLS (`OpenID` Connect Core, section 3.1.3.7, item 6), and nothing is granted by it.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{IdToken, Plan, schedule};

/// The longest token that is looked into, in bytes: real ones have two thousand.
const MAX_TOKEN: usize = 64 << 10;

/// Who is signed in. An identity is (user id, account id), never the e-mail.
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
}

/// A token that is not a JWT with a JSON object in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id token cannot be read")]
pub struct Unreadable;

impl Identity {
    /// Whether this is the same user in the same workspace.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.user_id, &self.account_id) == (&other.user_id, &other.account_id)
    }

    /// What tells the same user in the same workspace again, and does not tell who that is: the first half of a
    /// SHA-256 of both ids, each with its length before it.
    pub fn fingerprint(&self) -> [u8; 16] {
        let mut hash = Sha256::new();
        for id in [&self.user_id, &self.account_id] {
            let length = id.as_ref().map_or(u64::MAX, |id| id.len() as u64);
            hash.update(length.to_be_bytes());
            hash.update(id.as_deref().unwrap_or_default());
        }
        let whole: [u8; 32] = hash.finalize().into();
        std::array::from_fn(|n| whole[n])
    }
}

/// The identity that an id token attests. Every claim is optional.
pub fn identity(token: &IdToken) -> Result<Identity, Unreadable> {
    let claims = claims(token.expose())?;
    let auth = claims.auth.unwrap_or_default();
    let profile = claims.profile.unwrap_or_default();
    // Claims are shown on terminals and stand in headers, where a control character acts.
    let said = |text: Option<String>| {
        let stands = |text: &String| !text.trim().is_empty() && !text.contains(char::is_control);
        text.filter(stands).map(String::into_boxed_str)
    };
    Ok(Identity {
        email: said(claims.email).or(said(profile.email)),
        plan: said(auth.chatgpt_plan_type).map(Plan::new),
        user_id: said(auth.chatgpt_user_id).or(said(auth.user_id)),
        account_id: said(auth.chatgpt_account_id),
        fedramp: auth.chatgpt_account_is_fedramp,
        organization_id: said(auth.organization_id),
        project_id: said(auth.project_id),
    })
}

/// The times that a token states (RFC 7519, sections 4.1.4 and 4.1.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// `iat`: when it was issued, by the provider's clock.
    pub issued_at: Option<Timestamp>,
    /// `exp`: when it expires, by the provider's clock.
    pub expires_at: Option<Timestamp>,
}

impl Times {
    /// The time from issue to expiry, if the token states both in this order.
    pub fn lifetime(&self) -> Option<Duration> {
        Some(schedule::lifetime(self.issued_at?, self.expires_at?)).filter(|lifetime| !lifetime.is_zero())
    }
}

/// The times that a token itself states, if it is a JWT. Nothing else in it matters here.
pub fn times(token: &str) -> Times {
    let claims: Value =
        body(token).ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
    // A numeric date may have a fraction.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast of a float saturates, and a fraction is nothing"
    )]
    let time = |name: &str| {
        let seconds =
            claims[name].as_i64().or_else(|| claims[name].as_f64().map(|seconds| seconds as i64))?;
        Timestamp::from_second(seconds).ok()
    };
    Times { issued_at: time("iat"), expires_at: time("exp") }
}

/// The expiry that a token itself states, if it is a JWT that states one.
pub fn expiry(token: &str) -> Option<Timestamp> {
    times(token).expires_at
}

/// The claims as sent.
#[derive(Deserialize)]
struct Claims {
    email: Option<String>,
    #[serde(rename = "https://api.openai.com/auth")]
    auth: Option<Auth>,
    #[serde(rename = "https://api.openai.com/profile")]
    profile: Option<Profile>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    chatgpt_plan_type: Option<String>,
    chatgpt_user_id: Option<String>,
    user_id: Option<String>,
    chatgpt_account_id: Option<String>,
    chatgpt_account_is_fedramp: bool,
    organization_id: Option<String>,
    project_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Profile {
    email: Option<String>,
}

fn claims(token: &str) -> Result<Claims, Unreadable> {
    serde_json::from_slice(&body(token)?).map_err(|_| Unreadable)
}

/// The second part of a JWT, decoded.
fn body(token: &str) -> Result<Vec<u8>, Unreadable> {
    let mut parts = token.split('.');
    let (Some(head), Some(body), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Unreadable);
    };
    if token.len() > MAX_TOKEN || head.is_empty() || body.is_empty() || signature.is_empty() {
        return Err(Unreadable);
    }
    URL_SAFE_NO_PAD.decode(body).map_err(|_| Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> IdToken {
        IdToken::new(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims)))
    }

    #[test]
    fn each_claim_is_read_from_its_places_in_order() {
        let full = token(
            r#"{"email":"a@b.c","exp":1,"https://api.openai.com/profile":{"email":"other@b.c"},
                "https://api.openai.com/auth":{"chatgpt_plan_type":"plus","chatgpt_user_id":"u1","user_id":"u2",
                "chatgpt_account_id":"acc","chatgpt_account_is_fedramp":true,"organization_id":"org","project_id":"proj"}}"#,
        );
        let identity = identity(&full).unwrap();
        assert_eq!(identity.email.as_deref(), Some("a@b.c"));
        assert_eq!(identity.user_id.as_deref(), Some("u1"));
        assert_eq!(identity.plan, Some(Plan::new("plus")));
        assert!(identity.fedramp);
        assert_eq!(expiry(full.expose()), Timestamp::from_second(1).ok());
    }

    #[test]
    fn a_mark_is_the_same_for_the_same_two_ids_only() {
        let of = |user: Option<&str>, account: Option<&str>| {
            let (user_id, account_id) = (user.map(Into::into), account.map(Into::into));
            Identity { user_id, account_id, ..Identity::default() }.fingerprint()
        };
        let all = [
            of(Some("u"), Some("a")),
            of(Some("a"), Some("u")),
            of(Some("ua"), None),
            of(Some("ua"), Some("")),
            of(None, Some("ua")),
            of(None, None),
        ];
        for (n, mark) in all.iter().enumerate() {
            assert_eq!(all.iter().filter(|other| *other == mark).count(), 1, "{n}");
        }
        let elsewhere = Identity { email: Some("a@b.c".into()), ..Identity::default() };
        assert_eq!(elsewhere.fingerprint(), of(None, None));
    }

    #[test]
    fn other_places_serve_and_nothing_is_required() {
        let sparse = token(
            r#"{"email":" ","https://api.openai.com/profile":{"email":"p@b.c"},"https://api.openai.com/auth":{"user_id":"u2"}}"#,
        );
        let found = identity(&sparse).unwrap();
        assert_eq!((found.email.as_deref(), found.user_id.as_deref()), (Some("p@b.c"), Some("u2")));
        assert_eq!(identity(&token("{}")), Ok(Identity::default()));
    }

    #[test]
    fn a_claim_that_would_act_is_none() {
        let acting = token(
            r#"{"email":"\u001b[2Ja@b.c","https://api.openai.com/auth":{"chatgpt_account_id":"acc\r\nX: y"}}"#,
        );
        assert_eq!(identity(&acting), Ok(Identity::default()));
    }

    #[test]
    fn what_is_no_token_is_an_error() {
        for text in ["", "a", "a.b", "..", "a..c", "a.!.c", "a.e30.", "a.W10.c"] {
            assert_eq!(identity(&IdToken::new(text)), Err(Unreadable), "{text}");
            assert_eq!(expiry(text), None);
        }
        assert_eq!(expiry(token(r#"{"exp":99999999999999999}"#).expose()), None);
    }
}
