//! The stored state of one profile, as versioned JSON text.
//!
//! An older program refuses a record with a newer version and leaves it unchanged. It ignores
//! unknown fields.

use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use self::intent::Intent;
pub(crate) use self::policy::RenewalPolicy;
use crate::{
    AccessToken, ApiKey, Authority, BearerGrant, ErrorCode, IdToken, Identity, Mode, RefreshResponse,
    RefreshToken, Routing, Tokens, digest, own_credential::CheckedToken,
};

mod intent;
mod policy;
mod text;

/// The newest version that this program reads.
const VERSION: u32 = 4;

/// The state that survives a restart.
#[derive(Clone, Debug)]
pub struct Record {
    /// Increases with every new credential.
    pub generation: u64,
    /// The signed-in user and the secrets.
    pub grant: Grant,
    /// A refresh was sent at this time, and its response has not been saved.
    pub journal: Option<Timestamp>,
    /// Set when the provider has rejected the refresh token for good.
    pub ended: Option<Arc<GrantEnd>>,
    /// The workspace's routing.
    pub routing: Arc<Routing>,
    /// When the routing was last fetched.
    pub routed_at: Option<Timestamp>,
    /// Identifies the grant from its sign-in to its end, under any profile name. It is not secret.
    pub grant_id: Arc<str>,
    /// The record with the highest rank is the default profile; 0 means unranked.
    pub default_rank: u64,
    /// An unfinished move of the grant.
    pub intent: Option<Intent>,
}

/// A random grant id: 16 bytes as 32 hexadecimal digits.
pub fn new_grant_id() -> Arc<str> {
    grant_id_from(rand::random())
}

/// The grant id of these bytes.
pub fn grant_id_from(bytes: [u8; 16]) -> Arc<str> {
    digest::hex(bytes).into()
}

/// The result of a sign-in.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The signed-in user. Shared with its publisher.
    pub identity: Arc<Identity>,
    /// The tokens or the API key.
    pub secrets: GrantSecrets,
    /// The reason for the mode.
    pub mode_reason: Arc<str>,
    /// When the tokens, or the key, were issued.
    pub issued_at: Timestamp,
}

impl Grant {
    /// A grant of a personal access token of OpenAI, which acts for this user. Nothing renews it.
    pub fn personal_access_token(token: AccessToken, identity: Identity, now: Timestamp) -> Self {
        let tokens = Tokens { access_token: token, refresh_token: None, expires_at: None };
        Self {
            identity: identity.into(),
            secrets: GrantSecrets::ChatGpt(tokens, None),
            mode_reason: "it is a personal access token".into(),
            issued_at: now,
        }
    }

    /// A grant of a defined provider's token, which the user supplied. It has no client: nothing
    /// renews it, and no endpoint of OAuth revokes it.
    pub fn own_token(
        token: AccessToken,
        authority: Authority,
        checked: CheckedToken,
        now: Timestamp,
    ) -> Self {
        let CheckedToken { identity, expires_at } = checked;
        let mode_reason = format!("provider {}, with a token of your own", authority.provider).into();
        let tokens = Tokens { access_token: token, refresh_token: None, expires_at };
        let grant = BearerGrant { tokens, client_secret: None, authority: authority.into() };
        let secrets = GrantSecrets::Bearer(Box::new(grant));
        Self { identity: identity.into(), secrets, mode_reason, issued_at: now }
    }

    /// A grant of the user's own API key: it has no identity, and nothing renews it.
    pub fn own_key(key: ApiKey, reason: &str, now: Timestamp) -> Self {
        Self {
            identity: Arc::default(),
            secrets: GrantSecrets::ApiKey(key, None),
            mode_reason: reason.into(),
            issued_at: now,
        }
    }
}

/// The secrets of a grant, by mode.
#[derive(Clone, Debug)]
pub enum GrantSecrets {
    /// ChatGPT mode: the access token is the credential. The id token is only needed to move the
    /// login elsewhere, so it is dropped from memory once it is saved.
    ChatGpt(Tokens, Option<IdToken>),
    /// API-key mode: the key is the credential. The tokens renew it: the id token is exchanged for
    /// a new key. Without tokens it is the user's own key.
    ApiKey(ApiKey, Option<Box<(Tokens, IdToken)>>),
    /// Bearer mode: the access token of a defined provider is the credential.
    Bearer(Box<BearerGrant>),
}

impl GrantSecrets {
    /// The mode of these secrets.
    pub fn mode(&self) -> Mode {
        match self {
            Self::ChatGpt(..) => Mode::ChatGpt,
            Self::ApiKey(..) => Mode::ApiKey,
            Self::Bearer(_) => Mode::Bearer,
        }
    }

    /// Whether these are a personal access token of OpenAI: the only access token of ChatGPT mode
    /// without a refresh token.
    pub fn is_personal_access_token(&self) -> bool {
        matches!(self, Self::ChatGpt(tokens, _) if tokens.refresh_token.is_none())
    }

    /// The grant of a defined provider, in bearer mode.
    pub fn bearer_grant(&self) -> Option<&BearerGrant> {
        match self {
            Self::Bearer(grant) => Some(grant),
            Self::ChatGpt(..) | Self::ApiKey(..) => None,
        }
    }

    /// The authorization server and the client, in bearer mode.
    pub fn authority(&self) -> Option<&Arc<Authority>> {
        self.bearer_grant().map(|grant| &grant.authority)
    }

    /// The tokens, if any.
    pub fn tokens(&self) -> Option<&Tokens> {
        match self {
            Self::ChatGpt(tokens, _) => Some(tokens),
            Self::ApiKey(_, renewal) => renewal.as_ref().map(|renewal| &renewal.0),
            Self::Bearer(grant) => Some(&grant.tokens),
        }
    }

    pub(crate) fn tokens_mut(&mut self) -> Option<&mut Tokens> {
        match self {
            Self::ChatGpt(tokens, _) => Some(tokens),
            Self::ApiKey(_, renewal) => renewal.as_mut().map(|renewal| &mut renewal.0),
            Self::Bearer(grant) => Some(&mut grant.tokens),
        }
    }

    /// The id token, if it is in memory.
    pub fn id_token(&self) -> Option<&IdToken> {
        match self {
            Self::ChatGpt(_, id_token) => id_token.as_ref(),
            Self::ApiKey(_, renewal) => renewal.as_ref().map(|renewal| &renewal.1),
            Self::Bearer(_) => None,
        }
    }

    /// The refresh token, if any.
    pub fn refresh_token(&self) -> Option<&RefreshToken> {
        self.tokens()?.refresh_token.as_ref()
    }

    /// Merges a refresh response, and returns the id token that it contained, if any.
    pub(crate) fn renew(&mut self, response: RefreshResponse, now: Timestamp) -> Option<&IdToken> {
        match self {
            Self::ChatGpt(tokens, id_token) => Some(id_token.insert(tokens.merge(response, now)?)),
            Self::ApiKey(_, renewal) => {
                let (tokens, id_token) = &mut **renewal.as_mut()?;
                *id_token = tokens.merge(response, now)?;
                Some(id_token)
            }
            Self::Bearer(grant) => {
                grant.merge(response, now);
                None
            }
        }
    }
}

/// The end of a grant: the user has to sign in again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantEnd {
    /// The provider's error code.
    pub code: ErrorCode,
    /// When the provider rejected the refresh token.
    pub at: Timestamp,
    /// An earlier refresh was sent at this time, and its response was lost.
    pub answer_lost_at: Option<Timestamp>,
}

/// A stored record that cannot be used. The store keeps it unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A newer authd wrote it: upgrade authd.
    #[error("the record has version {0}, and this authd reads up to {VERSION}: upgrade authd")]
    TooNew(u32),
    /// A newer authd began to move the grant in a way that this one can neither finish nor undo.
    #[error("the record is part of an unfinished move of an unknown kind: upgrade authd")]
    UnknownIntent,
    /// It is not a valid record: sign in again.
    #[error("the record is damaged (line {line}, column {column})")]
    Damaged {
        /// The line of the parse error. The text itself is secret.
        line: usize,
        /// The column of the parse error.
        column: usize,
    },
}

impl Record {
    /// The record of a new sign-in.
    pub fn new(grant: Grant, grant_id: Arc<str>, generation: u64) -> Self {
        Self {
            generation,
            grant,
            journal: None,
            ended: None,
            routing: Routing::default().shared(),
            routed_at: None,
            grant_id,
            default_rank: 0,
            intent: None,
        }
    }

    /// Whether both records are of the same grant, perhaps at different times.
    pub fn is_same_grant(&self, other: &Self) -> bool {
        self.grant_id == other.grant_id
    }

    /// Whether the id token is in memory, or not needed. If not, it is in the stored record only,
    /// and has to be copied from there before this record replaces it.
    pub fn is_complete(&self) -> bool {
        let secrets = &self.grant.secrets;
        secrets.is_personal_access_token() || !matches!(secrets, GrantSecrets::ChatGpt(_, None))
    }

    /// This record with the id token of the stored one, if it lacks one. If the stored record
    /// belongs to another user or cannot be read, this record stays without one until the next
    /// refresh.
    #[must_use]
    pub fn with_id_token_from(mut self, stored: Option<&SecretString>) -> Self {
        if !self.is_complete()
            && let GrantSecrets::ChatGpt(_, id_token) = &mut self.grant.secrets
        {
            let stored = stored.and_then(|text| Self::from_text(text).ok());
            let same_user = stored.filter(|stored| stored.grant.identity.is_same(&self.grant.identity));
            *id_token = same_user.and_then(|stored| stored.grant.secrets.id_token().cloned());
        }
        self
    }

    /// Puts an id token back into memory: the store may have lost it.
    pub(crate) fn restore_id_token(&mut self, stored: Option<IdToken>) {
        if !self.is_complete()
            && let GrantSecrets::ChatGpt(_, id_token) = &mut self.grant.secrets
        {
            *id_token = stored;
        }
    }

    /// Drops the id token from memory once it is stored.
    pub(crate) fn drop_id_token(&mut self) {
        if let GrantSecrets::ChatGpt(_, id_token) = &mut self.grant.secrets {
            *id_token = None;
        }
    }
}
