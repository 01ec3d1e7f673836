//! The record as JSON text. Secrets are serialized by reference, without intermediate copies.

use std::{io, sync::Arc};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Grant, GrantEnd, GrantSecrets, Record, RecordError, VERSION, grant_id_from};
use crate::{
    AccessToken, ApiKey, Authority, BearerGrant, ClientSecret, IdToken, Identity, Mode, RefreshToken,
    Routing, Tokens, digest, token::is_token_type,
};

/// The version of a record without an intent. Older programs read it: they ignore unknown fields.
const VERSION_WITHOUT_INTENT: u32 = 1;

/// The version of a record with an intent: a program that does not know intents would serve a grant
/// during a move.
const VERSION_WITH_INTENT: u32 = 2;

/// The version of a record of a defined provider: a program that does not know them would send the
/// tokens to OpenAI.
const VERSION_OF_BEARER: u32 = 3;

/// The version of a record of a personal access token: it has no expiry, which older programs call
/// damaged.
const VERSION_OF_PERSONAL_ACCESS_TOKEN: u32 = 4;

const SERIALIZABLE: &str = "a struct of strings and numbers has a JSON form";

impl Record {
    /// The record as text.
    pub fn to_text(&self) -> SecretString {
        let Grant { identity, secrets, mode_reason, issued_at } = &self.grant;
        let tokens = secrets.tokens();
        let api_key = match secrets {
            GrantSecrets::ChatGpt(..) | GrantSecrets::Bearer(_) => None,
            GrantSecrets::ApiKey(key, _) => Some(key.expose()),
        };
        let (version, client_secret) = match secrets {
            GrantSecrets::Bearer(grant) => (VERSION_OF_BEARER, grant.client_secret.as_ref()),
            _ if secrets.is_personal_access_token() => (VERSION_OF_PERSONAL_ACCESS_TOKEN, None),
            _ if self.intent.is_some() => (VERSION_WITH_INTENT, None),
            _ => (VERSION_WITHOUT_INTENT, None),
        };
        let scheme = |tokens: &Tokens| Some(tokens.access_token.scheme().to_owned());
        // Secrets leave the process here: into the stored record.
        let fields = RecordFields {
            version,
            generation: self.generation,
            identity: (**identity).clone(),
            mode: secrets.mode(),
            mode_reason: mode_reason.to_string(),
            issued_at: *issued_at,
            id_token: secrets.id_token().map(IdToken::expose),
            access_token: tokens.map(|tokens| tokens.access_token.expose()),
            refresh_token: secrets.refresh_token().map(RefreshToken::expose),
            expires_at: tokens.and_then(|tokens| tokens.expires_at),
            api_key,
            token_type: tokens.and_then(scheme).filter(|scheme| scheme != "Bearer"),
            client_secret: client_secret.map(ClientSecret::expose),
            authority: secrets.authority().map(|authority| (**authority).clone()),
            journal: self.journal,
            ended: self.ended.as_deref().cloned(),
            routing: (*self.routing).clone(),
            routed_at: self.routed_at,
            grant_id: Some(self.grant_id.to_string()),
            default_rank: self.default_rank,
            intent: self.intent.as_ref().map(|intent| serde_json::to_value(intent).expect(SERIALIZABLE)),
        };
        fields.to_text()
    }

    /// Parses a record.
    pub fn from_text(text: &SecretString) -> Result<Self, RecordError> {
        let text = text.expose_secret();
        let VersionOnly { version } = serde_json::from_str(text).map_err(damaged)?;
        if version > VERSION {
            return Err(RecordError::TooNew(version));
        }
        let fields: RecordFields<String> = serde_json::from_str(text).map_err(damaged)?;
        // A record with some of its tokens is damaged: it must be neither used nor overwritten.
        let incomplete = Err(RecordError::Damaged { line: 0, column: 0 });
        let is_bearer = fields.mode == Mode::Bearer;
        let is_of_bearer =
            fields.authority.is_some() || fields.client_secret.is_some() || fields.token_type.is_some();
        if is_of_bearer && !is_bearer || fields.token_type.as_deref().is_some_and(|it| !is_token_type(it)) {
            return incomplete;
        }
        let is_personal_access_token = fields.version >= VERSION_OF_PERSONAL_ACCESS_TOKEN
            && fields.mode == Mode::ChatGpt
            && fields.refresh_token.is_none();
        let may_lack_expiry = is_bearer || is_personal_access_token;
        let tokens = match (fields.access_token, fields.expires_at) {
            (Some(access_token), expires_at) if expires_at.is_some() || may_lack_expiry => {
                let access_token = AccessToken::new(access_token);
                let access_token = match fields.token_type.as_deref() {
                    Some(scheme) => access_token.with_scheme(scheme),
                    None => access_token,
                };
                let refresh_token = fields.refresh_token.map(RefreshToken::new);
                Some(Tokens { access_token, refresh_token, expires_at })
            }
            (None, None) if fields.refresh_token.is_none() => None,
            _ => return incomplete,
        };
        let (key, id_token) = (fields.api_key.map(ApiKey::new), fields.id_token.map(IdToken::new));
        let secrets = match (fields.mode, key, tokens, id_token, fields.authority) {
            (Mode::ChatGpt, _, Some(tokens), id_token, _) => GrantSecrets::ChatGpt(tokens, id_token),
            (Mode::ApiKey, Some(key), Some(tokens), Some(id_token), _) => {
                GrantSecrets::ApiKey(key, Some(Box::new((tokens, id_token))))
            }
            (Mode::ApiKey, Some(key), None, None, _) => GrantSecrets::ApiKey(key, None),
            (Mode::Bearer, None, Some(tokens), None, Some(authority)) => {
                let client_secret = fields.client_secret.map(ClientSecret::new);
                GrantSecrets::Bearer(Box::new(BearerGrant {
                    tokens,
                    client_secret,
                    authority: authority.into(),
                }))
            }
            _ => return incomplete,
        };
        let intent = fields.intent.map(serde_json::from_value).transpose();
        let grant_id = fields.grant_id.filter(|id| fits_in_etag(id)).map_or_else(
            || derived_grant_id(&fields.identity, fields.issued_at, fields.generation),
            Into::into,
        );
        Ok(Self {
            generation: fields.generation,
            grant: Grant {
                identity: fields.identity.into(),
                secrets,
                mode_reason: fields.mode_reason.into(),
                issued_at: fields.issued_at,
            },
            journal: fields.journal,
            ended: fields.ended.map(Arc::new),
            routing: fields.routing.shared(),
            routed_at: fields.routed_at,
            grant_id,
            default_rank: fields.default_rank,
            intent: intent.map_err(|_| RecordError::UnknownIntent)?,
        })
    }
}

/// Parsed first, so that a newer record is recognised whatever its other fields are.
#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// The JSON form of a record. `S` is the text of a secret.
#[derive(Serialize, Deserialize)]
struct RecordFields<S> {
    version: u32,
    generation: u64,
    identity: Identity,
    mode: Mode,
    mode_reason: String,
    issued_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<S>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<S>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<S>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<S>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<S>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authority: Option<Authority>,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<GrantEnd>,
    #[serde(default)]
    routing: Routing,
    #[serde(skip_serializing_if = "Option::is_none")]
    routed_at: Option<Timestamp>,
    grant_id: Option<String>,
    #[serde(default)]
    default_rank: u64,
    /// Parsed separately, to tell an unknown kind of intent from a damaged record.
    #[serde(skip_serializing_if = "Option::is_none")]
    intent: Option<Value>,
}

fn fits_in_etag(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// The grant id of a record that was written before grant ids existed. It depends on the record
/// alone, and differs for two sign-ins of one user.
fn derived_grant_id(identity: &Identity, issued_at: Timestamp, generation: u64) -> Arc<str> {
    let hash = Sha256::new()
        .chain_update(identity.fingerprint())
        .chain_update(issued_at.as_nanosecond().to_be_bytes())
        .chain_update(generation.to_be_bytes());
    grant_id_from(digest::truncated(hash))
}

impl RecordFields<&str> {
    /// The text in a buffer of exactly its size. A buffer that grows or shrinks would leave a copy
    /// of the secrets behind that is never overwritten.
    fn to_text(&self) -> SecretString {
        let mut length = ByteCount(0);
        serde_json::to_writer(&mut length, self).expect(SERIALIZABLE);
        let mut text = Vec::with_capacity(length.0);
        serde_json::to_writer(&mut text, self).expect(SERIALIZABLE);
        SecretString::from(String::from_utf8(text).expect("JSON is UTF-8"))
    }
}

/// A writer that counts bytes.
struct ByteCount(usize);

impl io::Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The position of a parse error, without serde's message: that may quote a secret.
#[expect(clippy::needless_pass_by_value, reason = "the signature that map_err wants")]
fn damaged(error: serde_json::Error) -> RecordError {
    RecordError::Damaged { line: error.line(), column: error.column() }
}
