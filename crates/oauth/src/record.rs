//! What is kept at rest of one profile: versioned JSON text. Where it is kept is the store's business.
//!
//! Old readers meet new records: a newer version is refused and left alone, unknown fields are ignored.

use std::{io, sync::Arc};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    AccessToken, ApiKey, Code, IdToken, Identity, Mode, RefreshAnswer, RefreshToken, Routing, Tokens,
};

/// The version this program writes, and the newest it reads.
const VERSION: u32 = 1;

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
    pub ended: Option<Arc<Ended>>,
    /// Where the workspace's requests go.
    pub routing: Arc<Routing>,
    /// When that was last asked.
    pub routed_at: Option<Timestamp>,
}

/// What a sign-in yields.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Who. Shared with whatever tells it.
    pub identity: Arc<Identity>,
    /// What is held for them.
    pub holding: Holding,
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
            holding: Holding::ApiKey(key, None),
            mode_reason: reason.into(),
            issued_at: now,
        }
    }
}

/// The secrets of a grant, by mode.
#[derive(Clone, Debug)]
pub enum Holding {
    /// ChatGPT mode: the access token is the credential. The id token is not needed as long as the login stays
    /// here, so that once it is at rest it is nowhere else.
    ChatGpt(Tokens, Option<IdToken>),
    /// API-key mode: the key is the credential; the tokens renew it, and the id token is exchanged for it.
    /// Without them it is a key of the user's own.
    ApiKey(ApiKey, Option<Box<(Tokens, IdToken)>>),
}

impl Holding {
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
pub struct Ended {
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
    /// Whether this is all of it. If not, the id token is only in the record at rest, which has to be completed
    /// with before anything takes its place.
    pub fn is_whole(&self) -> bool {
        !matches!(self.grant.holding, Holding::ChatGpt(_, None))
    }

    /// The whole record, with what only the one at rest has. What is at rest may be another login's, or none: its
    /// id token is not taken, and the record stays without one until a refresh brings it.
    #[must_use]
    pub fn completed(mut self, at_rest: Option<&SecretString>) -> Self {
        if let Holding::ChatGpt(_, id_token @ None) = &mut self.grant.holding {
            let at_rest = at_rest.and_then(|text| Self::from_text(text).ok());
            let same = at_rest.filter(|there| there.grant.identity.is_same(&self.grant.identity));
            *id_token = same.and_then(|there| there.grant.holding.id_token().cloned());
        }
        self
    }

    /// Takes back an id token that may be at rest no more.
    pub(crate) fn recollect(&mut self, was_at_rest: Option<IdToken>) {
        if let Holding::ChatGpt(_, id_token @ None) = &mut self.grant.holding {
            *id_token = was_at_rest;
        }
    }

    /// It is at rest now, all of it: lets go of what is not needed here.
    pub(crate) fn rest(&mut self) {
        if let Holding::ChatGpt(_, id_token) = &mut self.grant.holding {
            *id_token = None;
        }
    }

    /// The record as text.
    pub fn to_text(&self) -> SecretString {
        let Grant { identity, holding, mode_reason, issued_at } = &self.grant;
        let tokens = holding.tokens();
        let api_key = match holding {
            Holding::ChatGpt(..) => None,
            Holding::ApiKey(key, _) => Some(key.expose()),
        };
        // The second place where a secret leaves: the record at rest. It is written from where it is.
        let written = Written {
            version: VERSION,
            generation: self.generation,
            identity: (**identity).clone(),
            mode: holding.mode(),
            mode_reason: mode_reason.to_string(),
            issued_at: *issued_at,
            id_token: holding.id_token().map(IdToken::expose),
            access_token: tokens.map(|tokens| tokens.access_token.expose()),
            refresh_token: holding.refresh_token().map(RefreshToken::expose),
            expires_at: tokens.map(|tokens| tokens.expires_at),
            api_key,
            journal: self.journal,
            ended: self.ended.as_deref().cloned(),
            routing: (*self.routing).clone(),
            routed_at: self.routed_at,
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
        let holding = match (written.mode, key, tokens, id_token) {
            (Mode::ChatGpt, _, Some(tokens), id_token) => Holding::ChatGpt(tokens, id_token),
            (Mode::ApiKey, Some(key), Some(tokens), Some(id_token)) => {
                Holding::ApiKey(key, Some(Box::new((tokens, id_token))))
            }
            (Mode::ApiKey, Some(key), None, None) => Holding::ApiKey(key, None),
            _ => return lacking,
        };
        Ok(Self {
            generation: written.generation,
            grant: Grant {
                identity: written.identity.into(),
                holding,
                mode_reason: written.mode_reason.into(),
                issued_at: written.issued_at,
            },
            journal: written.journal,
            ended: written.ended.map(Arc::new),
            routing: written.routing.shared(),
            routed_at: written.routed_at,
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
    ended: Option<Ended>,
    #[serde(default)]
    routing: Routing,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    routed_at: Option<Timestamp>,
}

impl Written<&str> {
    /// The text, in a place of just its size: one that grows, or shrinks, leaves secrets behind that nobody
    /// overwrites.
    fn to_text(&self) -> SecretString {
        const FORM: &str = "a struct of strings and numbers has a JSON form";
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
