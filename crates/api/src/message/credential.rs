//! The messages that hold a credential or ask for another one.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::{Mode, Profile};
use crate::ProfileName;

/// The body of `PUT /v1/profiles/{profile}/api-key`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiKeyBody {
    /// The key: printable ASCII without spaces. Surrounding whitespace is removed.
    #[cfg_attr(feature = "openapi", schema(pattern = r"^\s*[!-~]+\s*$"))]
    pub api_key: String,
    /// Whether the daemon lists the models with the key before it stores it. Without this, any key
    /// is stored: for an API that has no list of models, or that cannot be reached yet.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    #[cfg_attr(feature = "openapi", schema(default = true))]
    pub check: bool,
    /// Whether the key replaces the credential of another account or provider.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "openapi", schema(default = false))]
    pub replace: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
fn is_true(flag: &bool) -> bool {
    *flag
}

/// The body of `PUT /v1/profiles/{profile}/token`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    /// The token: printable ASCII without spaces. Surrounding whitespace is removed.
    #[cfg_attr(feature = "openapi", schema(pattern = r"^\s*[!-~]+\s*$"))]
    pub token: String,
    /// The provider of the token; by default that of the profile, else OpenAI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Whether the token replaces the credential of another account or provider.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "openapi", schema(default = false))]
    pub replace: bool,
}

/// The profile of a credential that the user supplied, and what the check of it showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoredCredential {
    /// The profile.
    #[serde(flatten)]
    pub profile: Profile,
    /// What the user should know about the credential, if it is not fully usable now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The body of `POST /v1/profiles/{profile}/refresh`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RefreshBody {
    /// The generation that an upstream server rejected with 401. The daemon refreshes only if it is
    /// still the current one.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "integer")]
    pub rejected_generation: Option<u64>,
    /// The grant of the rejected generation, from `Headers`. The daemon ignores a rejection of
    /// another grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<String>,
    /// The scopes that an upstream server asked for with 403 `insufficient_scope`. The daemon
    /// refreshes nothing: the profile needs a sign-in that requests them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(default = Vec::<String>::new))]
    pub missing_scopes: Vec<String>,
}

/// Reads an integer as JSON Schema defines it: `143.0` is one, too.
fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    // Above 2^53 a float does not say which integer it stands for.
    let exact = |number: &f64| number.fract() == 0.0 && (0.0..=MAX_EXACT).contains(number);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let from_float = |number: f64| number as u64;
    let integer = number.as_u64().or_else(|| number.as_f64().filter(exact).map(from_float));
    integer.map(Some).ok_or_else(|| D::Error::custom("not an unsigned integer"))
}

/// The highest number below which a 64-bit float represents every integer.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The headers of a request to the provider. They contain the access token or the API key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Headers {
    /// The profile.
    pub profile: ProfileName,
    /// The kind of credential.
    pub mode: Mode,
    /// The base URL that accepts the headers; empty if the provider's definition names none.
    pub base_url: String,
    /// `{base_url}/responses`; empty in bearer mode.
    pub responses_url: String,
    /// Pairs of name and value, in order.
    pub headers: Vec<(String, String)>,
    /// Increases with every change of the credential.
    pub generation: u64,
    /// The grant's random id, generated at sign-in. Together with the generation it identifies the
    /// credential.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required, default = ""))]
    pub grant_id: String,
    /// When the credential expires; `null` for an API key, and if the provider did not say so.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime, required))]
    pub expires_at: Option<Timestamp>,
}

impl Headers {
    /// The bearer token, for a library that builds the header itself. In ChatGPT mode the other
    /// headers are necessary, too.
    ///
    /// ```no_run
    /// use authd_api::{Client, ClientError};
    ///
    /// async fn token(client: &Client) -> Result<Option<String>, ClientError> {
    ///     let headers = client.headers(None, None).await?;
    ///     Ok(headers.token().map(str::to_owned))
    /// }
    /// ```
    pub fn token(&self) -> Option<&str> {
        self.value("authorization")?.split_once(' ').map(|(_, token)| token)
    }

    /// The body of a refresh after an upstream server rejected these headers with 401. An older
    /// daemon sends no grant id and rejects the field, so it is omitted then.
    pub fn rejected(&self) -> RefreshBody {
        let grant_id = Some(self.grant_id.clone()).filter(|id| !id.is_empty());
        RefreshBody { rejected_generation: Some(self.generation), grant_id, ..RefreshBody::default() }
    }

    /// The value of a header. The name is case-insensitive.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Contains no secret.
impl fmt::Debug for ApiKeyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyBody { [redacted] }")
    }
}

/// Contains no secret.
impl fmt::Debug for TokenBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenBody { [redacted] }")
    }
}

/// Contains no secret.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Headers { [redacted] }")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_integer_may_have_a_fraction_of_zero() {
        let read =
            |text: &str| serde_json::from_str::<RefreshBody>(text).map(|body| body.rejected_generation);
        for (number, expected) in
            [("143", 143), ("143.0", 143), ("1.43e2", 143), ("-0.0", 0), ("18446744073709551615", u64::MAX)]
        {
            assert_eq!(read(&format!("{{\"rejected_generation\":{number}}}")).unwrap(), Some(expected));
        }
        assert_eq!(read("{}").unwrap(), None);
        assert_eq!(read("{\"rejected_generation\":null}").unwrap(), None);
        for number in ["143.5", "-1", "1e30", "\"143\"", "18446744073709551616"] {
            assert!(read(&format!("{{\"rejected_generation\":{number}}}")).is_err(), "{number}");
        }
    }

    #[test]
    fn rejection_contains_the_grant_id_if_the_daemon_sent_one() {
        let mut headers = serde_json::json!({"profile": "work", "mode": "chatgpt", "base_url": "",
            "responses_url": "", "headers": [], "generation": 7, "expires_at": null});
        let body = |headers: &serde_json::Value| {
            let headers: Headers = serde_json::from_value(headers.clone()).unwrap();
            serde_json::to_value(headers.rejected()).unwrap()
        };
        // An older daemon rejects an unknown field.
        assert_eq!(body(&headers), serde_json::json!({"rejected_generation": 7}));
        headers["grant_id"] = "g1".into();
        assert_eq!(body(&headers), serde_json::json!({"rejected_generation": 7, "grant_id": "g1"}));
    }
}
