//! The record as text and back. Each field of a secret is written from where the secret is.

use std::{io, sync::Arc};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Grant, GrantEnd, GrantSecrets, Record, RecordError, VERSION, grant_id_from};
use crate::{AccessToken, ApiKey, IdToken, Identity, Mode, RefreshToken, Routing, Tokens};

/// The version of a record without an intent. Older programs read it: they ignore the fields that they do not
/// know. A record with an intent has version 2, so that no program serves a grant that is half moved.
const PLAIN: u32 = 1;

const FORM: &str = "a struct of strings and numbers has a JSON form";

impl Record {
    /// The record as text.
    pub fn to_text(&self) -> SecretString {
        let Grant { identity, secrets, mode_reason, issued_at } = &self.grant;
        let tokens = secrets.tokens();
        let api_key = match secrets {
            GrantSecrets::ChatGpt(..) => None,
            GrantSecrets::ApiKey(key, _) => Some(key.expose()),
        };
        // The second place where a secret leaves: the record at rest. It is written from where it is.
        let written = Written {
            version: if self.intent.is_some() { VERSION } else { PLAIN },
            generation: self.generation,
            identity: (**identity).clone(),
            mode: secrets.mode(),
            mode_reason: mode_reason.to_string(),
            issued_at: *issued_at,
            id_token: secrets.id_token().map(IdToken::expose),
            access_token: tokens.map(|tokens| tokens.access_token.expose()),
            refresh_token: secrets.refresh_token().map(RefreshToken::expose),
            expires_at: tokens.map(|tokens| tokens.expires_at),
            api_key,
            journal: self.journal,
            ended: self.ended.as_deref().cloned(),
            routing: (*self.routing).clone(),
            routed_at: self.routed_at,
            grant_id: Some(self.grant_id.to_string()),
            default_rank: self.default_rank,
            intent: self.intent.as_ref().map(|intent| serde_json::to_value(intent).expect(FORM)),
        };
        written.to_text()
    }

    /// The record that a text means.
    pub fn from_text(text: &SecretString) -> Result<Self, RecordError> {
        let text = text.expose_secret();
        let Versioned { version } = serde_json::from_str(text).map_err(damaged)?;
        if version > VERSION {
            return Err(RecordError::TooNew(version));
        }
        let written: Written<String> = serde_json::from_str(text).map_err(damaged)?;
        // A refresh token without the rest is too good to be dropped, and not enough to be used.
        let lacking = Err(RecordError::Damaged { line: 0, column: 0 });
        let tokens = match (written.access_token, written.expires_at) {
            (Some(access_token), Some(expires_at)) => Some(Tokens {
                access_token: AccessToken::new(access_token),
                refresh_token: written.refresh_token.map(RefreshToken::new),
                expires_at,
            }),
            (None, None) if written.refresh_token.is_none() => None,
            _ => return lacking,
        };
        let (key, id_token) = (written.api_key.map(ApiKey::new), written.id_token.map(IdToken::new));
        let secrets = match (written.mode, key, tokens, id_token) {
            (Mode::ChatGpt, _, Some(tokens), id_token) => GrantSecrets::ChatGpt(tokens, id_token),
            (Mode::ApiKey, Some(key), Some(tokens), Some(id_token)) => {
                GrantSecrets::ApiKey(key, Some(Box::new((tokens, id_token))))
            }
            (Mode::ApiKey, Some(key), None, None) => GrantSecrets::ApiKey(key, None),
            _ => return lacking,
        };
        let intent = written.intent.map(serde_json::from_value).transpose();
        let grant_id = written.grant_id.filter(|id| fits_in_an_etag(id)).map_or_else(
            || derived_grant_id(&written.identity, written.issued_at, written.generation),
            Into::into,
        );
        Ok(Self {
            generation: written.generation,
            grant: Grant {
                identity: written.identity.into(),
                secrets,
                mode_reason: written.mode_reason.into(),
                issued_at: written.issued_at,
            },
            journal: written.journal,
            ended: written.ended.map(Arc::new),
            routing: written.routing.shared(),
            routed_at: written.routed_at,
            grant_id,
            default_rank: written.default_rank,
            intent: intent.map_err(|_| RecordError::UnknownIntent)?,
        })
    }
}

/// The version alone, so that a newer record is recognised whatever else it holds.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The record as written; `S` is a secret's text.
#[derive(Serialize, Deserialize)]
struct Written<S> {
    version: u32,
    generation: u64,
    identity: Identity,
    mode: Mode,
    mode_reason: String,
    issued_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id_token: Option<S>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    access_token: Option<S>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<S>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    api_key: Option<S>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    journal: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<GrantEnd>,
    #[serde(default)]
    routing: Routing,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    routed_at: Option<Timestamp>,
    #[serde(default)]
    grant_id: Option<String>,
    #[serde(default)]
    default_rank: u64,
    /// A value at first: what a newer program wrote here is told apart from damage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    intent: Option<Value>,
}

fn fits_in_an_etag(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// The grant id of a record that was written before grant ids were: the same for the same text, and another one
/// for two sign-ins of one user.
fn derived_grant_id(identity: &Identity, issued_at: Timestamp, generation: u64) -> Arc<str> {
    let mut hash = Sha256::new();
    hash.update(identity.fingerprint());
    hash.update(issued_at.as_nanosecond().to_be_bytes());
    hash.update(generation.to_be_bytes());
    let whole: [u8; 32] = hash.finalize().into();
    grant_id_from(std::array::from_fn(|n| whole[n]))
}

impl Written<&str> {
    /// The text, in a place of just its size: one that grows, or shrinks, leaves secrets behind that nobody
    /// overwrites.
    fn to_text(&self) -> SecretString {
        let mut length = Length(0);
        serde_json::to_writer(&mut length, self).expect(FORM);
        let mut text = Vec::with_capacity(length.0);
        serde_json::to_writer(&mut text, self).expect(FORM);
        SecretString::from(String::from_utf8(text).expect("JSON is UTF-8"))
    }
}

/// How much was written.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0 += piece.len();
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The place of an error without its text: serde's message may quote the secret it stumbled over.
#[expect(clippy::needless_pass_by_value, reason = "the signature that map_err wants")]
fn damaged(error: serde_json::Error) -> RecordError {
    RecordError::Damaged { line: error.line(), column: error.column() }
}
