//! The strings that the sandbox issues: JWTs with the provider's claims, and opaque secrets.
//! Signatures are random bytes, because clients do not verify them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::Account;

/// The issuer in every token. It does not depend on the address of the sandbox.
pub(crate) const ISSUER: &str = "https://auth.openai.com";

/// An id token. With `organizations` it names the platform organisation.
pub(crate) fn id_token(
    account: &Account,
    client_id: &str,
    organizations: bool,
    now: SystemTime,
    lifetime: Duration,
) -> String {
    let mut claims = claims(account, now, lifetime);
    claims["aud"] = json!([client_id]);
    claims["at_hash"] = json!(secret("", 22));
    claims["email_verified"] = json!(true);
    if organizations && let Some(organization) = &account.organization_id {
        let auth = &mut claims["https://api.openai.com/auth"];
        auth["organization_id"] = json!(organization);
        auth["project_id"] = json!(account.project_id);
        auth["organizations"] = json!([{"id": organization, "is_default": true, "role": "owner", "title": account.workspace_name}]);
    }
    jwt(&claims)
}

/// An access token for the ChatGPT backend.
pub(crate) fn access_token(account: &Account, client_id: &str, now: SystemTime) -> String {
    let mut claims = claims(account, now, account.access_token_lifetime);
    claims["aud"] = json!(["https://api.openai.com/v1"]);
    claims["client_id"] = json!(client_id);
    claims["scp"] = json!(["openid", "profile", "email", "offline_access"]);
    jwt(&claims)
}

/// A new opaque secret: the prefix, and `length` random characters.
pub(crate) fn secret(prefix: &str, length: usize) -> String {
    let mut text = URL_SAFE_NO_PAD.encode(rand::random_iter::<u8>().take(length).collect::<Vec<_>>());
    text.truncate(length);
    format!("{prefix}{text}")
}

/// A user code of a device login: four letters, a hyphen, four digits.
pub(crate) fn user_code() -> String {
    let letters: String = (0..4).map(|_| char::from(rand::random_range(b'A'..=b'Z'))).collect();
    format!("{letters}-{:04}", rand::random_range(0..10_000))
}

/// The S256 challenge of a PKCE verifier.
pub(crate) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

/// A time as the auth server writes it: `2026-06-22T17:12:47.105853+00:00`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string()
}

/// Whole seconds since 1970.
pub(crate) fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn claims(account: &Account, now: SystemTime, lifetime: Duration) -> Value {
    let mut auth = json!({
        "chatgpt_user_id": account.user_id,
        "user_id": account.user_id,
        "chatgpt_account_id": account.account_id,
        "completed_platform_onboarding": account.organization_id.is_some(),
        "is_org_owner": account.organization_id.is_some(),
    });
    if let Some(plan) = &account.plan {
        auth["chatgpt_plan_type"] = json!(plan);
    }
    if account.fedramp {
        auth["chatgpt_account_is_fedramp"] = json!(true);
    }
    json!({
        "iss": ISSUER,
        "sub": format!("auth0|{}", account.user_id),
        "iat": unix(now),
        "exp": unix(now + lifetime),
        "jti": secret("", 24),
        "email": account.email,
        "https://api.openai.com/profile": {"email": account.email, "email_verified": true},
        "https://api.openai.com/auth": auth,
    })
}

fn jwt(claims: &Value) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"sandbox","typ":"JWT"}"#);
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    format!("{header}.{payload}.{}", secret("", 342))
}
