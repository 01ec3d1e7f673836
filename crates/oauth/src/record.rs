//! What is kept at rest of one profile: versioned JSON text. Where it is kept is the store's business.
//!
//! Old readers meet new records: a newer version is refused and left alone, unknown fields are ignored.

use std::{fmt::Write, sync::Arc};

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use self::intent::Intent;
use crate::{ApiKey, Code, IdToken, Identity, Mode, RefreshAnswer, RefreshToken, Routing, Tokens};

mod intent;
mod text;

/// The newest version that this program reads.
const VERSION: u32 = 2;

/// Everything that must survive a restart.
#[derive(Clone, Debug)]
pub struct Record {
    /// Counts up with every new credential.
    pub generation: u64,
    /// Who is signed in, and with what.
    pub grant: Grant,
    /// A refresh was sent at this time, and its answer is not known to have arrived.
    pub journal: Option<Timestamp>,
    /// The provider refused the refresh token for good.
    pub ended: Option<Arc<GrantEnd>>,
    /// Where the workspace's requests go.
    pub routing: Arc<Routing>,
    /// When that was last asked.
    pub routed_at: Option<Timestamp>,
    /// Names the grant from its sign-in to its end, under whatever profile name. It is no secret.
    pub grant_id: Arc<str>,
    /// The record with the highest rank is the default profile; 0 is no mark.
    pub default_rank: u64,
    /// A move of the grant that has begun and is not finished.
    pub intent: Option<Intent>,
}

/// A random name for a new grant: 16 bytes as 32 hexadecimal digits.
pub fn new_grant_id() -> Arc<str> {
    grant_id_from(rand::random())
}

/// The grant id that these random bytes make.
pub fn grant_id_from(bytes: [u8; 16]) -> Arc<str> {
    let mut text = String::with_capacity(32);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes any text");
    }
    text.into()
}

/// What a sign-in yields.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Who. Shared with whatever tells it.
    pub identity: Arc<Identity>,
    /// What is held for them.
    pub secrets: GrantSecrets,
    /// Why in this mode.
    pub mode_reason: Arc<str>,
    /// When the tokens, or the key, were issued.
    pub issued_at: Timestamp,
}

impl Grant {
    /// A key of the user's own: nobody is signed in with it, and nothing renews it.
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
    /// ChatGPT mode: the access token is the credential. The id token is not needed as long as the login stays
    /// here, so that once it is at rest it is nowhere else.
    ChatGpt(Tokens, Option<IdToken>),
    /// API-key mode: the key is the credential; the tokens renew it, and the id token is exchanged for it.
    /// Without them it is a key of the user's own.
    ApiKey(ApiKey, Option<Box<(Tokens, IdToken)>>),
}

impl GrantSecrets {
    /// The mode this is for.
    pub fn mode(&self) -> Mode {
        match self {
            Self::ChatGpt(..) => Mode::ChatGpt,
            Self::ApiKey(..) => Mode::ApiKey,
        }
    }

    /// The tokens, if there are any.
    pub fn tokens(&self) -> Option<&Tokens> {
        match self {
            Self::ChatGpt(tokens, _) => Some(tokens),
            Self::ApiKey(_, renewed_by) => renewed_by.as_ref().map(|renewed_by| &renewed_by.0),
        }
    }

    /// The same, to change their times.
    pub(crate) fn tokens_mut(&mut self) -> Option<&mut Tokens> {
        match self {
            Self::ChatGpt(tokens, _) => Some(tokens),
            Self::ApiKey(_, renewed_by) => renewed_by.as_mut().map(|renewed_by| &mut renewed_by.0),
        }
    }

    /// The id token, if it is here.
    pub fn id_token(&self) -> Option<&IdToken> {
        match self {
            Self::ChatGpt(_, id_token) => id_token.as_ref(),
            Self::ApiKey(_, renewed_by) => renewed_by.as_ref().map(|renewed_by| &renewed_by.1),
        }
    }

    /// The refresh token, if there is one.
    pub fn refresh_token(&self) -> Option<&RefreshToken> {
        self.tokens()?.refresh_token.as_ref()
    }

    /// Takes a refresh's answer in, and gives the id token that it brought, if it brought one.
    pub(crate) fn renew(&mut self, answer: RefreshAnswer, now: Timestamp) -> Option<&IdToken> {
        match self {
            Self::ChatGpt(tokens, id_token) => Some(id_token.insert(tokens.merge(answer, now)?)),
            Self::ApiKey(_, renewed_by) => {
                let (tokens, id_token) = &mut **renewed_by.as_mut()?;
                *id_token = tokens.merge(answer, now)?;
                Some(id_token)
            }
        }
    }
}

/// The end of a grant: a person has to sign in again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantEnd {
    /// What the provider said.
    pub code: Code,
    /// When it said so.
    pub at: Timestamp,
    /// A refresh before that was sent at this time, and its answer was lost.
    pub answer_lost_at: Option<Timestamp>,
}

/// A record that cannot be used. It stays where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Upgrade authd: a newer one wrote this.
    #[error("the record has version {0}, and this authd reads up to {VERSION}: upgrade authd")]
    TooNew(u32),
    /// Upgrade authd: a newer one began to move the grant, in a way that this one cannot finish or undo.
    #[error("the record is part of an unfinished move that this authd does not know: upgrade authd")]
    UnknownIntent,
    /// Sign in again: this is not one of our records.
    #[error("the record is damaged (line {line}, column {column})")]
    Damaged {
        /// Where reading it failed; the text itself is secret.
        line: usize,
        /// As above.
        column: usize,
    },
}

impl Record {
    /// The record of a new sign-in: no mark, no intent, nothing journalled.
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

    /// Whether both records are of the same grant: one sign-in, perhaps at different times of its life.
    pub fn is_same_grant(&self, other: &Self) -> bool {
        self.grant_id == other.grant_id
    }

    /// Whether this is all of it. If not, the id token is only in the record at rest, which has to be completed
    /// with before anything takes its place.
    pub fn is_whole(&self) -> bool {
        !matches!(self.grant.secrets, GrantSecrets::ChatGpt(_, None))
    }

    /// The whole record, with what only the one at rest has. What is at rest may be another login's, or none: its
    /// id token is not taken, and the record stays without one until a refresh brings it.
    #[must_use]
    pub fn with_id_token_from(mut self, at_rest: Option<&SecretString>) -> Self {
        if let GrantSecrets::ChatGpt(_, id_token @ None) = &mut self.grant.secrets {
            let at_rest = at_rest.and_then(|text| Self::from_text(text).ok());
            let same = at_rest.filter(|there| there.grant.identity.is_same(&self.grant.identity));
            *id_token = same.and_then(|there| there.grant.secrets.id_token().cloned());
        }
        self
    }

    /// Takes back an id token that may be at rest no more.
    pub(crate) fn restore_id_token(&mut self, was_at_rest: Option<IdToken>) {
        if let GrantSecrets::ChatGpt(_, id_token @ None) = &mut self.grant.secrets {
            *id_token = was_at_rest;
        }
    }

    /// It is at rest now, all of it: lets go of what is not needed here.
    pub(crate) fn drop_id_token(&mut self) {
        if let GrantSecrets::ChatGpt(_, id_token) = &mut self.grant.secrets {
            *id_token = None;
        }
    }
}
