//! Token answers: as sent, and as meant. Lifetimes are read from the token, never assumed.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::{AccessToken, ApiKey, Failure, IdToken, RefreshToken, claims, schedule::later};

/// The lifetime of an access token that states none: the provider's own client renews such a token
/// eight days after the last refresh.
const UNSTATED: Duration = Duration::from_secs(8 * 24 * 3600);

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

/// The answer to a refresh. What is not in it stays as it was.
#[derive(Clone, Debug)]
pub struct RefreshAnswer {
    id_token: Option<IdToken>,
    access_token: AccessToken,
    refresh_token: Option<RefreshToken>,
    expires_in: Option<Duration>,
}

impl Tokens {
    /// The tokens of a fresh sign-in, and its id token.
    pub fn issued(answer: CodeAnswer, now: Timestamp) -> (Self, IdToken) {
        let CodeAnswer { id_token, access_token, refresh_token, expires_in } = answer;
        let expires_at = expires_at(&access_token, expires_in, now);
        (Self { access_token, refresh_token: Some(refresh_token), expires_at }, id_token)
    }

    /// Takes a refresh's answer in, and gives back the id token that it brought, if it brought one.
    pub fn merge(&mut self, answer: RefreshAnswer, now: Timestamp) -> Option<IdToken> {
        let RefreshAnswer { id_token, access_token, refresh_token, expires_in } = answer;
        self.expires_at = expires_at(&access_token, expires_in, now);
        self.access_token = access_token;
        if refresh_token.is_some() {
            self.refresh_token = refresh_token;
        }
        id_token
    }
}

impl CodeAnswer {
    /// The answer that a body means.
    pub fn parse(body: &[u8]) -> Result<Self, Failure> {
        let sent = Sent::parse(body)?;
        Ok(Self {
            id_token: IdToken::new(sent.id_token.ok_or_else(|| missing("id_token"))?),
            access_token: AccessToken::new(sent.access_token.ok_or_else(|| missing("access_token"))?),
            refresh_token: RefreshToken::new(sent.refresh_token.ok_or_else(|| missing("refresh_token"))?),
            expires_in: sent.expires_in.map(Duration::from_secs),
        })
    }
}

impl RefreshAnswer {
    /// The answer that a body means. Without an access token it is none: a portal's JSON is not ours.
    pub fn parse(body: &[u8]) -> Result<Self, Failure> {
        let sent = Sent::parse(body)?;
        Ok(Self {
            id_token: sent.id_token.map(IdToken::new),
            access_token: AccessToken::new(sent.access_token.ok_or_else(|| missing("access_token"))?),
            refresh_token: sent.refresh_token.map(RefreshToken::new),
            expires_in: sent.expires_in.map(Duration::from_secs),
        })
    }
}

/// The API key that a token exchange's body holds (RFC 8693, section 2.2.1).
pub(crate) fn api_key(body: &[u8]) -> Result<ApiKey, Failure> {
    Sent::parse(body)?.access_token.map(ApiKey::new).ok_or_else(|| missing("access_token"))
}

/// A token answer as sent. Empty words count as absent.
#[derive(Deserialize)]
struct Sent {
    id_token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
}

impl Sent {
    fn parse(body: &[u8]) -> Result<Self, Failure> {
        let sent: Self = serde_json::from_slice(body)
            .map_err(|_| Failure::Garbled { detail: "a success without the expected JSON".to_owned() })?;
        let said = |text: Option<String>| {
            text.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()))
        };
        Ok(Self {
            id_token: said(sent.id_token),
            access_token: said(sent.access_token),
            refresh_token: said(sent.refresh_token),
            expires_in: sent.expires_in,
        })
    }
}

fn missing(field: &str) -> Failure {
    Failure::Garbled { detail: format!("a success without {field}") }
}

fn expires_at(token: &AccessToken, expires_in: Option<Duration>, now: Timestamp) -> Timestamp {
    claims::expiry(token.expose()).unwrap_or_else(|| later(now, expires_in.unwrap_or(UNSTATED)))
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
            assert!(matches!(CodeAnswer::parse(lacking), Err(Failure::Garbled { .. })));
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
