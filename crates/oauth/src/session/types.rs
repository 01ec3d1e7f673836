//! What a session is told, what it answers, and how it looks from outside. No rule is here.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::{
    ApiKey, Bearer, Grant, GrantSecrets, IdToken, Identity, Intent, ProviderError, Record, RefreshAnswer,
    RefreshToken, Routing, schedule,
};

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Time has passed.
    Ticked,
    /// A client uses the profile, or used it at this time.
    Used(Timestamp),
    /// A client needs a credential that lasts this long.
    Wanted(Duration),
    /// A caller asks for a refresh; with a credential, because an upstream refused that one.
    RefreshAsked(Option<Rejected>),
    /// Where the requests of this workspace go, as the provider says now.
    Routed(Box<str>, Routing),
    /// An upstream accepted the credential of this generation.
    Accepted(u64),
    /// The record's mark or intent changes. It is part of [`super::Session::record`] at once, and saved as soon as
    /// no call is in flight ([`super::Session::is_durable`]).
    Annotated(Annotation),
    /// The store may have lost the record, whose id token this was, if it is known.
    Unkept(Option<IdToken>),
    /// The machine slept: the network may not be there yet.
    Woke,
    /// The store has answered a call: what is not saved is worth another try.
    StoreReady,
    /// The wall clock was set by this much; time in which the machine was suspended does not count. The
    /// caller reports it before any other event at the new time.
    ClockSet(SignedDuration),
    /// The daemon stops: save what is not saved, and begin nothing else.
    Stopping,
    /// A new sign-in under the same name, and its grant id.
    SignedIn(Box<Grant>, Arc<str>),
    /// The end of [`Effect::Probe`]: whether the network answered.
    Probed(u64, bool),
    /// The end of [`Effect::Save`], with the store's message.
    Saved(u64, Result<(), SaveError>),
    /// The end of [`Effect::Refresh`].
    Refreshed(u64, Result<RefreshAnswer, ProviderError>),
    /// The end of [`Effect::Exchange`].
    Exchanged(u64, Result<ApiKey, ProviderError>),
}

/// What a record says beside its grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Annotation {
    /// The rank as the default profile ([`Record::default_rank`]).
    DefaultRank(u64),
    /// The unfinished move of the grant, or that there is none ([`Record::intent`]).
    Intent(Option<Intent>),
}

/// A credential that an upstream refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its generation.
    pub generation: u64,
    /// Its grant, if the caller knows it. A credential of another grant than the present one is gone already.
    pub grant_id: Option<Box<str>>,
}

/// What to do now. Each but `Rest` ends in the event that carries its ticket.
#[derive(Debug)]
pub enum Effect {
    /// Nothing before [`super::Session::next_wakeup`].
    Rest,
    /// Find out whether the provider's host answers; no secret is sent.
    Probe(u64),
    /// Make this durable; what it lacks stays as it is at rest ([`Record::completed`]).
    Save(u64, Box<Record>),
    /// Spend this refresh token.
    Refresh(u64, RefreshToken),
    /// Exchange this id token for an API key.
    Exchange(u64, IdToken),
}

/// Whether the profile can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileStatus {
    /// It answers.
    Ready,
    /// It answers, and a renewal is under way.
    Refreshing,
    /// It answers, but its newest credential is not saved.
    Unsaved,
    /// It cannot answer before a renewal.
    Expired,
    /// It cannot answer before a sign-in.
    LoginRequired,
}

/// The credential that clients get.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Counts up with every new one.
    pub generation: u64,
    /// Names its grant.
    pub grant_id: Arc<str>,
    /// The secret.
    pub bearer: Bearer,
    /// Whose it is.
    pub identity: Arc<Identity>,
    /// Why it has its mode.
    pub mode_reason: Arc<str>,
    /// Where its workspace's requests go.
    pub routing: Arc<Routing>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires; an API key does not.
    pub expires_at: Option<Timestamp>,
}

/// All that a session's status depends on besides its credential and the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusFlags {
    /// A person has to sign in, at the latest when the credential has expired.
    pub ended: bool,
    /// The credential is of no use any more, although it does not expire.
    pub spent: bool,
    /// The store has not taken the newest credential.
    pub unsaved: bool,
    /// A renewal is under way.
    pub renewing: bool,
}

impl StatusFlags {
    /// Whether a profile with this credential can be used.
    pub fn status(&self, credential: &Credential, now: Timestamp) -> ProfileStatus {
        let expired = credential.expires_at.is_some_and(|expires| expires <= now);
        match self {
            Self { spent: true, .. } => ProfileStatus::LoginRequired,
            Self { ended: true, .. } if expired => ProfileStatus::LoginRequired,
            _ if expired => ProfileStatus::Expired,
            Self { unsaved: true, .. } => ProfileStatus::Unsaved,
            Self { renewing: true, .. } => ProfileStatus::Refreshing,
            _ => ProfileStatus::Ready,
        }
    }
}

/// What went wrong last, while it still matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastError {
    /// The provider, in its renewal; the next try is not before the time given.
    Provider(ProviderError, Timestamp),
    /// The store.
    Store(SaveError),
}

/// A record that the store did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaveError {
    /// Because a person has to unlock it.
    pub locked: bool,
    /// The store's own words.
    pub message: String,
}

impl Credential {
    /// How much longer it is valid; for ever, if it does not expire.
    pub fn lasts(&self, now: Timestamp) -> Duration {
        self.expires_at.map_or(Duration::MAX, |expires| schedule::lifetime(now, expires))
    }

    pub(super) fn of(record: &Record) -> Self {
        let (bearer, expires_at) = match &record.grant.secrets {
            GrantSecrets::ChatGpt(tokens, _) => {
                (Bearer::Access(tokens.access_token.clone()), Some(tokens.expires_at))
            }
            GrantSecrets::ApiKey(key, _) => (Bearer::Key(key.clone()), None),
        };
        let Record { generation, grant, grant_id, routing, .. } = record;
        Self {
            generation: *generation,
            grant_id: grant_id.clone(),
            bearer,
            identity: grant.identity.clone(),
            mode_reason: grant.mode_reason.clone(),
            routing: routing.clone(),
            issued_at: grant.issued_at,
            expires_at,
        }
    }
}
