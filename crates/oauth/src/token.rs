//! Token answers: as sent, and as meant. Lifetimes are read from the token, never assumed.

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
};

/// The lifetime of an access token that states none: the provider's own client renews such a token
/// eight days after the last refresh.
const UNSTATED: Duration = Duration::from_secs(8 * 24 * 3600);

/// A token that seems to be issued this far in the future is issued now: clocks differ.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// No access token lives longer than this: one that seems to has an `iat` that means nothing.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The tokens that a grant is used and renewed with. Its id token goes another way.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The credential of the ChatGPT mode.
    pub access_token: AccessToken,
    /// What renews them; a grant without one ends with its access token.
    pub refresh_token: Option<RefreshToken>,
    /// When the access token expires.
    pub expires_at: Timestamp,
}

/// The answer to a code exchange.
#[derive(Debug)]
pub struct CodeAnswer {
    id_token: IdToken,
    access_token: AccessToken,
    refresh_token: RefreshToken,
    expires_in: Option<Duration>,
}

/// The answer to a refresh. What is not in it stays as it was. It has an access token or a refresh token.
#[derive(Clone, Debug)]
pub struct RefreshAnswer {
    id_token: Option<IdToken>,
    access_token: Option<AccessToken>,
    refresh_token: Option<RefreshToken>,
    expires_in: Option<Duration>,
}

impl Tokens {
    /// The tokens of a fresh sign-in, and its id token.
    pub fn issued(answer: CodeAnswer, now: Timestamp) -> (Self, IdToken) {
        let CodeAnswer { id_token, access_token, refresh_token, expires_in } = answer;
        let expires_at = expiry_of_new(&access_token, expires_in, now);
        (Self { access_token, refresh_token: Some(refresh_token), expires_at }, id_token)
    }

    /// Takes a refresh's answer in, and gives back the id token that it brought, if it brought one.
    pub fn merge(&mut self, answer: RefreshAnswer, now: Timestamp) -> Option<IdToken> {
        let RefreshAnswer { id_token, access_token, refresh_token, expires_in } = answer;
        if let Some(access_token) = access_token {
            self.expires_at = expiry_of_new(&access_token, expires_in, now);
            self.access_token = access_token;
        }
        if refresh_token.is_some() {
            self.refresh_token = refresh_token;
        }
        id_token
    }
}

impl CodeAnswer {
    /// The answer that a body means.
    pub fn parse(body: &[u8]) -> Result<Self, ProviderError> {
        let sent = Sent::parse(body)?;
        Ok(Self {
            id_token: IdToken::new(sent.id_token.ok_or_else(|| missing("id_token"))?),
            access_token: AccessToken::new(sent.access_token.ok_or_else(|| missing("access_token"))?),
            refresh_token: RefreshToken::new(sent.refresh_token.ok_or_else(|| missing("refresh_token"))?),
            expires_in: sent.expires_in,
        })
    }
}

impl RefreshAnswer {
    /// The answer that a body means. Without an access token and a refresh token it is none: a portal's JSON is
    /// not ours.
    pub fn parse(body: &[u8]) -> Result<Self, ProviderError> {
        let sent = Sent::parse(body)?;
        if sent.access_token.is_none() && sent.refresh_token.is_none() {
            return Err(missing("access_token"));
        }
        Ok(Self {
            id_token: sent.id_token.map(IdToken::new),
            access_token: sent.access_token.map(AccessToken::new),
            refresh_token: sent.refresh_token.map(RefreshToken::new),
            expires_in: sent.expires_in,
        })
    }

    /// The failure of an answer that renews nothing: it rotated the refresh token, and brought no access token.
    pub(crate) fn lacks_access_token(&self) -> Option<ProviderError> {
        self.access_token.is_none().then(|| missing("access_token"))
    }
}

/// The API key that a token exchange's body holds (RFC 8693, section 2.2.1).
pub(crate) fn api_key(body: &[u8]) -> Result<ApiKey, ProviderError> {
    Sent::parse(body)?.access_token.map(ApiKey::new).ok_or_else(|| missing("access_token"))
}

/// A token answer as sent. A field of a type that it should not have counts as absent, and so does an empty
/// one: an odd field must not cost the refresh token that came with it.
struct Sent {
    id_token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<Duration>,
}

impl Sent {
    fn parse(body: &[u8]) -> Result<Self, ProviderError> {
        // Raw values are read one by one, so that none of them can spoil another. Of a name that comes twice,
        // the last usable value counts. Bytes that are no text become a sign that no token has.
        let body = String::from_utf8_lossy(body);
        let Fields(fields) = serde_json::from_str(&body).map_err(|_| ProviderError::InvalidResponse {
            detail: "a success without the expected JSON".to_owned(),
        })?;
        let text = |name: &str| {
            let values = fields.iter().rev().filter(|(field, _)| field == name);
            values
                .filter_map(|(_, raw)| serde_json::from_str(raw.get()).ok())
                .find(|text: &String| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()))
        };
        let expires_in = fields.iter().rev().filter(|(field, _)| field == "expires_in");
        Ok(Self {
            id_token: text("id_token"),
            access_token: text("access_token"),
            refresh_token: text("refresh_token"),
            expires_in: expires_in.map(|(_, raw)| *raw).find_map(seconds),
        })
    }
}

/// The fields of a JSON object as they were sent, in their order.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A number of seconds, as a number or as text: `864000`, `864000.0`, `"864000"`. One that is negative or absurdly
/// high is none.
fn seconds(raw: &RawValue) -> Option<Duration> {
    let text = raw.get();
    let text = serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned());
    let seconds = Duration::try_from_secs_f64(text.trim().parse().ok()?).ok()?;
    Some(seconds).filter(|seconds| *seconds <= LONGEST)
}

fn missing(field: &str) -> ProviderError {
    ProviderError::InvalidResponse { detail: format!("a success without {field}") }
}

/// When an access token expires that the provider has just issued. Its own `exp` counts as it is, unless our
/// clock is wrong: then the token seems to be issued in the future, to be expired, or to have lost half of its
/// lifetime on the way. In that case its lifetime counts from now, so that a wrong clock neither lets a dead
/// token be served nor makes every refresh bring a token that is due at once.
fn expiry_of_new(token: &AccessToken, expires_in: Option<Duration>, now: Timestamp) -> Timestamp {
    let times = claims::times(token.expose());
    let Some(exp) = times.expires_at else { return later(now, expires_in.unwrap_or(UNSTATED)) };
    let stated = times.lifetime().filter(|lifetime| *lifetime <= LONGEST);
    let lifetime = stated.or(expires_in.filter(|expires_in| !expires_in.is_zero()));
    let left = schedule::lifetime(now, exp);
    let clock_is_right = match lifetime {
        Some(lifetime) => left >= lifetime / 2 && left <= lifetime.saturating_add(CLOCK_TOLERANCE),
        None => !left.is_zero(),
    };
    if clock_is_right { exp } else { later(now, lifetime.unwrap_or(UNSTATED)) }
}

/// When an access token expires that was issued some time ago, if it states that. A token that has longer to live
/// than its lifetime, as it states it or else as given here, shows that our clock is wrong. It then lives as long
/// as that from now, and the second value is true: the true expiry is not known.
pub(crate) fn expiry_of_old(
    token: &AccessToken,
    lifetime: Option<Duration>,
    now: Timestamp,
) -> Option<(Timestamp, bool)> {
    let times = claims::times(token.expose());
    let exp = times.expires_at?;
    let lifetime = times.lifetime().filter(|lifetime| *lifetime <= LONGEST).or(lifetime);
    match lifetime.map(|lifetime| later(now, lifetime)) {
        Some(latest) if exp > later(latest, CLOCK_TOLERANCE) => Some((latest, true)),
        _ => Some((exp, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn a_code_answer_needs_all_three_tokens() {
        let full = br#"{"id_token":"i","access_token":"a","refresh_token":"r","token_type":"Bearer","expires_in":60}"#;
        let (tokens, _) = Tokens::issued(CodeAnswer::parse(full).unwrap(), NOW);
        assert_eq!(tokens.expires_at, later(NOW, Duration::from_secs(60)));
        for lacking in
            [&b"{}"[..], br#"{"id_token":"i","access_token":"a"}"#, b"<html>", b"", br#"{"access_token":1}"#]
        {
            assert!(matches!(CodeAnswer::parse(lacking), Err(ProviderError::InvalidResponse { .. })));
        }
    }

    #[test]
    fn a_refresh_replaces_what_it_brings_and_keeps_the_rest() {
        let before =
            CodeAnswer::parse(br#"{"id_token":"i","access_token":"a","refresh_token":"r"}"#).unwrap();
        let (mut tokens, _) = Tokens::issued(before, NOW);
        assert_eq!(tokens.expires_at, later(NOW, UNSTATED));
        let lacking = br#"{"access_token":"a2","refresh_token":"","id_token":null}"#;
        assert!(tokens.merge(RefreshAnswer::parse(lacking).unwrap(), NOW).is_none());
        assert_eq!(tokens.access_token.expose(), "a2");
        assert_eq!(tokens.refresh_token.as_ref().unwrap().expose(), "r");
        let full = br#"{"access_token":"a3","refresh_token":"r3","id_token":"i3"}"#;
        let brought = tokens.merge(RefreshAnswer::parse(full).unwrap(), NOW);
        assert_eq!(brought.unwrap().expose(), "i3");
        assert_eq!(tokens.refresh_token.unwrap().expose(), "r3");
    }

    #[test]
    fn a_token_that_cannot_stand_in_a_header_is_none() {
        assert!(api_key(b"{\"access_token\":\"sk-a\\r\\nX: y\"}").is_err());
        assert_eq!(api_key(br#"{"access_token":"sk-a"}"#).unwrap().expose(), "sk-a");
    }
}
