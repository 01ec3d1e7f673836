//! Events, effects and the public view of a session. No rule is here.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::shared_record::{ClaimResult, SharedRecord, WriteResult};
use crate::{
    ApiKey, Authority, Bearer, ErrorCode, Grant, GrantSecrets, IdToken, Identity, Intent, ProviderError,
    Record, RefreshResponse, RefreshToken, Routing, claim::Write, schedule,
};

/// An input of the state machine.
#[derive(Debug)]
pub enum Event {
    /// Time has passed.
    Ticked,
    /// A client used the profile at this time.
    Used(Timestamp),
    /// A client needs a credential that is valid for this long.
    CredentialRequested(Duration),
    /// A caller requests a refresh. With a credential: because an upstream rejected that one.
    RefreshRequested(Option<Rejected>),
    /// A server rejected the credential of this grant because it lacks these scopes. Without a
    /// grant id it is the present one.
    ScopesMissing(Option<Box<str>>, Vec<String>),
    /// The provider's current routing of a workspace.
    RoutingReceived(Box<str>, Routing),
    /// An upstream accepted the credential of this generation.
    Accepted(u64),
    /// The default rank or the intent changes. [`super::Session::record`] contains the change at
    /// once. It is saved as soon as no call is in flight ([`super::Session::is_durable`]).
    Annotated(Annotation),
    /// The store may have lost the record. Carries its id token, if known.
    RecordMayBeLost(Option<IdToken>),
    /// The machine resumed from sleep: the network may not be up yet.
    Resumed,
    /// The store completed a call, so a failed save is worth another attempt.
    StoreReady,
    /// The wall clock was set by this much. Time in which the machine was suspended does not count.
    /// The caller reports it before any other event at the new time.
    ClockSet(SignedDuration),
    /// The daemon stops: save the record, and begin nothing else.
    Stopping,
    /// A new sign-in under the same name, and its grant id.
    SignedIn(Box<Grant>, Arc<str>),
    /// Result of [`Effect::Probe`]: whether the provider's host responded.
    Probed(u64, bool),
    /// Result of [`Effect::Save`].
    Saved(u64, Result<(), SaveError>),
    /// Result of [`Effect::Claim`].
    Claimed(u64, Result<ClaimResult, SaveError>),
    /// Result of [`Effect::Write`].
    Written(u64, Result<WriteResult, SaveError>),
    /// Another node has stored this record.
    ChangedElsewhere(SharedRecord),
    /// Result of [`Effect::Refresh`].
    Refreshed(u64, Result<RefreshResponse, ProviderError>),
    /// Result of [`Effect::Exchange`].
    Exchanged(u64, Result<ApiKey, ProviderError>),
}

/// A field of the record beside its grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Annotation {
    /// The rank as the default profile ([`Record::default_rank`]).
    DefaultRank(u64),
    /// The unfinished move of the grant, or none ([`Record::intent`]).
    Intent(Option<Intent>),
}

/// A credential that an upstream rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its generation.
    pub generation: u64,
    /// Its grant, if the caller knows it. A credential of an earlier grant is replaced already.
    pub grant_id: Option<Box<str>>,
}

/// The next action. Each but `Wait` ends with the event that carries its ticket.
#[derive(Debug)]
pub enum Effect {
    /// Do nothing before [`super::Session::next_wakeup`].
    Wait,
    /// Check whether the provider's host responds. No secret is sent.
    Probe(u64),
    /// Save this record. An id token that it lacks is kept from the stored record
    /// ([`Record::with_id_token_from`]).
    Save(u64, Box<Record>),
    /// Ask for the permission to send the refresh token of the stored record with this revision,
    /// and say whether an upstream rejected the access token. Only if other nodes use the record,
    /// too.
    Claim(u64, u64, bool),
    /// Store this record like [`Effect::Save`], in this way. Only if other nodes use it, too.
    Write(u64, Box<Record>, Write),
    /// Spend this refresh token.
    Refresh(u64, RefreshToken),
    /// Exchange this id token for an API key.
    Exchange(u64, IdToken),
}

/// Whether the profile can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileStatus {
    /// Its credential is valid.
    Ready,
    /// Its credential is valid, and a renewal is under way.
    Refreshing,
    /// Its credential is valid, but the newest one is not saved.
    Unsaved,
    /// It needs a renewal.
    Expired,
    /// It needs a sign-in.
    LoginRequired,
}

/// The credential that clients get.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Increases with every new credential.
    pub generation: u64,
    /// The id of its grant.
    pub grant_id: Arc<str>,
    /// The secret.
    pub bearer: Bearer,
    /// The signed-in user.
    pub identity: Arc<Identity>,
    /// The reason for its mode.
    pub mode_reason: Arc<str>,
    /// The workspace's routing.
    pub routing: Arc<Routing>,
    /// The authorization server, the client and the scopes, in bearer mode.
    pub authority: Option<Arc<Authority>>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires. `None` for an API key, and for a token of unknown lifetime.
    pub expires_at: Option<Timestamp>,
}

/// The part of a session's status that depends neither on its credential nor on the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusFlags {
    /// The grant has ended: a sign-in is needed when the credential expires.
    pub ended: bool,
    /// There is a refresh token.
    pub renewable: bool,
    /// An upstream rejected the token, and there is no refresh token. It is served on: one
    /// rejection may be an error of the upstream.
    pub rejected: bool,
    /// An upstream rejected the credential, and it cannot be renewed.
    pub spent: bool,
    /// A server asks for scopes that the grant lacks.
    pub lacks_scopes: bool,
    /// The newest credential is not saved.
    pub unsaved: bool,
    /// A renewal is under way.
    pub renewing: bool,
}

impl StatusFlags {
    /// The status of a profile with this credential.
    pub fn status(&self, credential: &Credential, now: Timestamp) -> ProfileStatus {
        let expired = credential.expires_at.is_some_and(|expires| expires <= now);
        match self {
            Self { spent: true, .. } | Self { lacks_scopes: true, .. } => ProfileStatus::LoginRequired,
            Self { ended: true, .. } | Self { renewable: false, .. } if expired => {
                ProfileStatus::LoginRequired
            }
            _ if expired => ProfileStatus::Expired,
            Self { unsaved: true, .. } => ProfileStatus::Unsaved,
            Self { renewing: true, .. } => ProfileStatus::Refreshing,
            _ => ProfileStatus::Ready,
        }
    }
}

/// The last error of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastError {
    /// A renewal failed.
    Provider {
        /// The failure.
        error: ProviderError,
        /// The next attempt is not before this time.
        next_attempt: Timestamp,
        /// How many attempts in a row the provider rejected for now.
        refusals: u32,
    },
    /// A defined provider refused the refresh token while the credential was valid, and no upstream
    /// had rejected that. The refusal may be an error of the provider. So the credential is served,
    /// and the token is sent once more: when the credential has expired, when an upstream rejects
    /// it, or when a caller requests a refresh.
    EarlyRefusal(ErrorCode),
    /// The record could not be saved.
    Store(SaveError),
}

/// After this many answers in a row that call the refresh token invalid (about a minute), a user
/// should sign in again. The session keeps the grant and tries further: the provider may be wrong.
const LASTING_REFUSALS: u32 = 6;

impl LastError {
    /// Whether the provider calls the refresh token invalid, and has done so for long enough that a
    /// new sign-in is the likely remedy.
    pub fn suggests_sign_in(&self) -> bool {
        match self {
            Self::Provider { error, refusals, .. } => {
                *refusals >= LASTING_REFUSALS && error.code().is_some_and(ErrorCode::calls_token_invalid)
            }
            Self::EarlyRefusal(_) | Self::Store(_) => false,
        }
    }
}

/// A record that could not be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaveError {
    /// Whether the store is locked, so that the user has to unlock it.
    pub locked: bool,
    /// The store's message.
    pub message: String,
}

impl Credential {
    /// The remaining lifetime; [`Duration::MAX`] if it does not expire.
    pub fn remaining(&self, now: Timestamp) -> Duration {
        self.expires_at.map_or(Duration::MAX, |expires| schedule::lifetime(now, expires))
    }

    pub(super) fn of(record: &Record) -> Self {
        let Record { generation, grant, grant_id, routing, .. } = record;
        let (bearer, expires_at) = match &grant.secrets {
            GrantSecrets::ChatGpt(tokens, _) => {
                (Bearer::Access(tokens.access_token.clone()), tokens.expires_at)
            }
            GrantSecrets::ApiKey(key, _) => (Bearer::Key(key.clone()), None),
            GrantSecrets::Bearer(grant) => {
                (Bearer::Token(grant.tokens.access_token.clone()), grant.tokens.expires_at)
            }
        };
        Self {
            generation: *generation,
            grant_id: grant_id.clone(),
            bearer,
            identity: grant.identity.clone(),
            mode_reason: grant.mode_reason.clone(),
            routing: routing.clone(),
            authority: grant.secrets.authority().cloned(),
            issued_at: grant.issued_at,
            expires_at,
        }
    }
}
