//! Token responses (RFC 6749, section 5.1). An expiry is read from the token where it states one.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    AccessToken, ApiKey, IdToken, ProviderError, RefreshToken, claims,
    schedule::{self, later},
    scope::{MAX_SCOPES, is_scope},
};

/// The lifetime of an access token that states none: the Codex CLI renews such a token eight days
/// after the last refresh.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(8 * 24 * 3600);

/// Two right clocks may differ by this much.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// Longest plausible lifetime of an access token. A token that states more has a meaningless `iat`.
const LONGEST_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// Longest token type that is used, in bytes.
const MAX_TYPE: usize = 64;

/// The access token and the refresh token of a grant.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The credential of ChatGPT mode and of bearer mode.
    pub access_token: AccessToken,
    /// Renews both. A grant without one ends with its access token.
    pub refresh_token: Option<RefreshToken>,
    /// When the access token expires. `None` if a defined provider did not say so: then only a
    /// rejection shows it.
    pub expires_at: Option<Timestamp>,
}

/// The response to a code exchange.
#[derive(Debug)]
pub struct CodeResponse {
    id_token: IdToken,
    access_token: AccessToken,
    refresh_token: RefreshToken,
    expires_in: Option<Duration>,
}

/// The response to a refresh, with an access token, a refresh token, or both. An absent token stays
/// valid.
#[derive(Clone, Debug)]
pub struct RefreshResponse(TokenFields);

impl Tokens {
    /// The tokens of a new sign-in, and its id token.
    pub fn issued(response: CodeResponse, now: Timestamp) -> (Self, IdToken) {
        let CodeResponse { id_token, access_token, refresh_token, expires_in } = response;
        let expires_at = Some(expiry_of_new(&access_token, expires_in, now));
        (Self { access_token, refresh_token: Some(refresh_token), expires_at }, id_token)
    }

    /// Merges a refresh response, and returns its id token, if it contains one.
    pub fn merge(&mut self, response: RefreshResponse, now: Timestamp) -> Option<IdToken> {
        let TokenFields { id_token, access_token, refresh_token, expires_in, .. } = response.0;
        if let Some(access_token) = access_token {
            self.expires_at = Some(expiry_of_new(&access_token, expires_in, now));
            self.access_token = access_token;
        }
        if refresh_token.is_some() {
            self.refresh_token = refresh_token;
        }
        id_token
    }

    /// Merges the refresh response of a defined provider, and returns its scopes, if it states
    /// them. A response without a refresh token keeps the old one (RFC 6749, section 6).
    pub(crate) fn merge_bearer(&mut self, response: RefreshResponse, now: Timestamp) -> Option<Vec<String>> {
        let TokenFields { access_token, refresh_token, expires_in, scopes, .. } = response.0;
        if let Some(access_token) = access_token {
            self.expires_at = stated_expiry(expires_in, now);
            self.access_token = access_token;
        }
        if refresh_token.is_some() {
            self.refresh_token = refresh_token;
        }
        scopes
    }
}

/// The response of a defined provider to a code exchange, or to the last poll of a device login.
#[derive(Debug)]
pub struct BearerResponse {
    /// The tokens.
    pub tokens: Tokens,
    /// The id token (`OpenID` Connect Core, section 3.1.3.3).
    pub id_token: Option<IdToken>,
    /// The granted scopes; `None` if they are the requested ones (RFC 6749, section 5.1).
    pub scopes: Option<Vec<String>>,
}

impl BearerResponse {
    /// Parses a response body. An access token is required.
    pub fn parse(body: &[u8], now: Timestamp) -> Result<Self, ProviderError> {
        let TokenFields { id_token, access_token, refresh_token, expires_in, scopes, token_type } =
            TokenFields::parse(body)?;
        let access_token = access_token.ok_or_else(|| missing("access_token"))?;
        let access_token = with_type(access_token, token_type.as_deref()).ok_or_else(unusable_type)?;
        let tokens = Tokens { access_token, refresh_token, expires_at: stated_expiry(expires_in, now) };
        Ok(Self { tokens, id_token, scopes })
    }
}

impl CodeResponse {
    /// Parses a response body. All three tokens are required.
    pub fn parse(body: &[u8]) -> Result<Self, ProviderError> {
        let TokenFields { id_token, access_token, refresh_token, expires_in, .. } = TokenFields::parse(body)?;
        Ok(Self {
            id_token: id_token.ok_or_else(|| missing("id_token"))?,
            access_token: access_token.ok_or_else(|| missing("access_token"))?,
            refresh_token: refresh_token.ok_or_else(|| missing("refresh_token"))?,
            expires_in,
        })
    }
}

impl RefreshResponse {
    /// Parses a response body. Without an access token and a refresh token it is invalid: it may be
    /// the JSON of a captive portal.
    pub fn parse(body: &[u8]) -> Result<Self, ProviderError> {
        let fields = TokenFields::parse(body)?;
        if fields.access_token.is_none() && fields.refresh_token.is_none() {
            return Err(missing("access_token"));
        }
        Ok(Self(fields))
    }

    /// Parses the response body of a defined provider. A token of a type that authd cannot use
    /// counts as absent, and the refresh token beside it is kept.
    pub fn parse_bearer(body: &[u8]) -> Result<Self, ProviderError> {
        let Self(mut fields) = Self::parse(body)?;
        let access_token = fields.access_token.take();
        fields.access_token = access_token.and_then(|token| with_type(token, fields.token_type.as_deref()));
        if fields.access_token.is_none() && fields.refresh_token.is_none() {
            return Err(unusable_type());
        }
        Ok(Self(fields))
    }

    /// The error of a response that rotated the refresh token and contains no access token.
    pub(crate) fn lacks_access_token(&self) -> Option<ProviderError> {
        self.0.access_token.is_none().then(|| missing("access_token"))
    }
}

/// Parses the API key in the response to a token exchange (RFC 8693, section 2.2.1).
pub(crate) fn api_key(body: &[u8]) -> Result<ApiKey, ProviderError> {
    TokenFields::parse(body)?.access_token.map(ApiKey::from).ok_or_else(|| missing("access_token"))
}

/// The fields of a token response. An empty field and one of an unexpected type count as absent:
/// they must not cause the loss of the refresh token beside them.
#[derive(Clone, Debug)]
struct TokenFields {
    id_token: Option<IdToken>,
    access_token: Option<AccessToken>,
    refresh_token: Option<RefreshToken>,
    expires_in: Option<Duration>,
    scopes: Option<Vec<String>>,
    token_type: Option<String>,
}

impl TokenFields {
    fn parse(body: &[u8]) -> Result<Self, ProviderError> {
        // Each raw value is parsed on its own, so that an invalid one does not affect the others.
        // Of a repeated name the last usable value counts. No token contains the replacement
        // character that invalid UTF-8 becomes.
        let body = String::from_utf8_lossy(body);
        let RawFields(fields) = serde_json::from_str(&body)
            .map_err(|_| ProviderError::invalid("a success status without the expected JSON"))?;
        let values =
            |name| fields.iter().rev().filter(move |(field, _)| field == name).map(|(_, value)| *value);
        let token = |name| {
            values(name)
                .filter_map(|value| serde_json::from_str(value.get()).ok())
                .find(|text: &String| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()))
        };
        Ok(Self {
            id_token: token("id_token").map(IdToken::new),
            access_token: token("access_token").map(AccessToken::new),
            refresh_token: token("refresh_token").map(RefreshToken::new),
            expires_in: values("expires_in").find_map(seconds),
            scopes: values("scope").find_map(scopes),
            token_type: token("token_type"),
        })
    }
}

/// The fields of a JSON object, unparsed and in their order.
struct RawFields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for RawFields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = RawFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(RawFields(fields))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

/// A number of seconds, as a number or as text: `864000`, `864000.0`, `"864000"`. None if it is
/// negative or implausibly high.
fn seconds(value: &RawValue) -> Option<Duration> {
    let text = value.get();
    let text = serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned());
    let seconds = Duration::try_from_secs_f64(text.trim().parse().ok()?).ok()?;
    Some(seconds).filter(|seconds| *seconds <= LONGEST_LIFETIME)
}

/// The scopes of a response, separated by spaces (RFC 6749, section 3.3), or by commas, as GitHub
/// sends them. Those beyond [`MAX_SCOPES`] are dropped.
fn scopes(value: &RawValue) -> Option<Vec<String>> {
    let text: String = serde_json::from_str(value.get()).ok()?;
    let scopes = text.split([' ', ',']).filter(|scope| is_scope(scope));
    Some(scopes.take(MAX_SCOPES).map(str::to_owned).collect())
}

/// The expiry that a defined provider states. Its access token is opaque to a client (RFC 6749,
/// section 1.4).
fn stated_expiry(expires_in: Option<Duration>, now: Timestamp) -> Option<Timestamp> {
    expires_in.filter(|expires_in| !expires_in.is_zero()).map(|expires_in| later(now, expires_in))
}

/// The token with the scheme of its type (RFC 6749, section 7.1). None for a type that needs more
/// than a header, such as a signature.
fn with_type(token: AccessToken, token_type: Option<&str>) -> Option<AccessToken> {
    const UNUSABLE: [&str; 4] = ["dpop", "mac", "n_a", "pop"];
    let Some(token_type) = token_type else { return Some(token) };
    if token_type.eq_ignore_ascii_case(token.scheme()) {
        return Some(token);
    }
    let is_usable =
        is_token_type(token_type) && !UNUSABLE.contains(&token_type.to_ascii_lowercase().as_str());
    is_usable.then(|| token.with_scheme(token_type))
}

/// Whether a text can be the scheme of a header.
pub(crate) fn is_token_type(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_TYPE).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn unusable_type() -> ProviderError {
    ProviderError::invalid("an access token of a type that authd cannot use")
}

fn missing(field: &str) -> ProviderError {
    ProviderError::invalid(format!("a success status without {field}"))
}

/// The expiry of an access token that the provider has just issued.
///
/// It is the token's `exp`, unless our clock must be wrong. In that case the token seems to be
/// issued in the future, to be expired, or to have lost half of its lifetime on arrival, and its
/// lifetime counts from now. So a wrong clock neither lets an expired token be served, nor makes
/// every refresh yield a token that is due at once.
fn expiry_of_new(token: &AccessToken, expires_in: Option<Duration>, now: Timestamp) -> Timestamp {
    let times = claims::times(token.expose());
    let Some(exp) = times.expires_at else { return later(now, expires_in.unwrap_or(DEFAULT_LIFETIME)) };
    let stated = times.lifetime().filter(|lifetime| *lifetime <= LONGEST_LIFETIME);
    let lifetime = stated.or(expires_in.filter(|expires_in| !expires_in.is_zero()));
    let left = schedule::lifetime(now, exp);
    let clock_is_right = match lifetime {
        Some(lifetime) => left >= lifetime / 2 && left <= lifetime.saturating_add(CLOCK_TOLERANCE),
        None => !left.is_zero(),
    };
    if clock_is_right { exp } else { later(now, lifetime.unwrap_or(DEFAULT_LIFETIME)) }
}

/// The expiry of an access token that was issued some time ago, if the token states one, and
/// whether it is a guess.
///
/// If the token is valid for longer than its lifetime (which it states, or else as given here), our
/// clock must be wrong. Its true expiry is unknown then, and it counts from now.
pub(crate) fn expiry_of_old(
    token: &AccessToken,
    lifetime: Option<Duration>,
    now: Timestamp,
) -> Option<(Timestamp, bool)> {
    let times = claims::times(token.expose());
    let exp = times.expires_at?;
    let lifetime = times.lifetime().filter(|lifetime| *lifetime <= LONGEST_LIFETIME).or(lifetime);
    match lifetime.map(|lifetime| later(now, lifetime)) {
        Some(latest) if exp > later(latest, CLOCK_TOLERANCE) => Some((latest, true)),
        _ => Some((exp, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_that_is_no_valid_header_value_is_absent() {
        assert!(api_key(b"{\"access_token\":\"sk-a\\r\\nX: y\"}").is_err());
        assert_eq!(api_key(br#"{"access_token":"sk-a"}"#).unwrap().expose(), "sk-a");
    }
}
