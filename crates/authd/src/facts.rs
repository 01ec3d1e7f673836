//! What a profile publishes: everything a handler answers from, rendered once when it changes.
//! Handlers read it without a message, a lock held over an await, or a copy of a secret.

use std::{sync::Arc, time::Duration};

use authd_api::ProfileName;
use authd_oauth::{
    Credential, GrantEnd, LastError, Mode, ProfileStatus, ProviderError, RecordError, Session, StatusFlags,
    schedule::{self, Jitter},
};
use authd_store::StoreError;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use jiff::Timestamp;

use self::ready::Beside;
pub(crate) use self::ready::{Ready, Rendering};

mod ready;

/// What is known of a profile.
#[derive(Clone, Debug)]
pub(crate) enum View {
    /// The store does not give its record now; it is tried again.
    Closed(Arc<StoreError>),
    /// Its record cannot be used.
    Unreadable(Arc<RecordError>),
    /// Everything.
    Known(Arc<Facts>),
}

impl View {
    /// The facts, if they are known.
    pub(crate) fn facts(&self) -> Option<&Arc<Facts>> {
        match self {
            Self::Known(facts) => Some(facts),
            Self::Closed(_) | Self::Unreadable(_) => None,
        }
    }

    /// Why the record has not been read, if it may be read later: what it says is not known.
    pub(crate) fn unread(&self) -> Option<&StoreError> {
        match self {
            Self::Closed(error) if !matches!(**error, StoreError::Damaged { .. }) => Some(error),
            Self::Closed(_) | Self::Unreadable(_) | Self::Known(_) => None,
        }
    }

    /// Whether the record is none that any version could use: no key opens it, or it is cut short.
    pub(crate) fn is_damaged(&self) -> bool {
        match self {
            Self::Closed(error) => matches!(**error, StoreError::Damaged { .. }),
            Self::Unreadable(error) => matches!(**error, RecordError::Damaged { .. }),
            Self::Known(_) => false,
        }
    }
}

/// One profile, as of its last change.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Its name.
    pub(crate) name: ProfileName,
    /// How things stand, whatever the time is.
    pub(crate) flags: StatusFlags,
    /// What is served: until a sign-in is saved, the credential of whoever was signed in before.
    pub(crate) credential: Arc<Credential>,
    /// When the next renewal is planned.
    pub(crate) refresh_at: Option<Timestamp>,
    /// The end of the grant, if it has ended.
    pub(crate) ended: Option<Arc<GrantEnd>>,
    /// What went wrong last.
    pub(crate) last_error: Option<Arc<LastError>>,
    /// Whether it can be renewed at all.
    pub(crate) renewable: bool,
    /// Whether an unfinished move keeps the refresh token from being used.
    pub(crate) pinned: bool,
    /// Whether it answers a rejection, and no upstream has accepted it since.
    pub(crate) on_probation: bool,
    /// How many renewals have succeeded since the actor began.
    pub(crate) renewals: u64,
    /// The credential, ready to use.
    pub(crate) ready: Ready,
    /// What it was rendered with.
    rendering: Arc<Rendering>,
}

/// Whether a credential may be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Yes.
    Fresh,
    /// Yes, and a renewal is due.
    Due,
    /// Not before a renewal.
    Expired,
    /// Not before a sign-in.
    LoginRequired,
}

impl Facts {
    /// The facts of a session. What is rendered is kept from the facts before, if it is the same still.
    pub(crate) fn of(
        name: &ProfileName,
        session: &Session,
        rendering: &Arc<Rendering>,
        before: Option<&Arc<Self>>,
    ) -> Self {
        let credential = session.credential();
        let same = before.filter(|old| old.is_rendered_of(name, credential, rendering));
        let ready = same.map_or_else(|| Ready::of(name, credential, rendering), |old| old.ready.clone());
        Self {
            name: name.clone(),
            flags: session.flags(),
            credential: credential.clone(),
            refresh_at: session.refresh_at(),
            ended: session.record().ended.clone(),
            last_error: session.last_error().cloned(),
            renewable: session.record().grant.secrets.refresh_token().is_some(),
            pinned: session.is_pinned(),
            on_probation: session.is_on_probation(),
            renewals: session.renewals(),
            ready,
            rendering: rendering.clone(),
        }
    }

    fn is_rendered_of(&self, name: &ProfileName, credential: &Credential, with: &Arc<Rendering>) -> bool {
        self.name == *name
            && self.credential.generation == credential.generation
            && self.credential.grant_id == credential.grant_id
            && self.credential.identity == credential.identity
            && Arc::ptr_eq(&self.rendering, with)
    }

    /// The credential's mode.
    pub(crate) fn mode(&self) -> Mode {
        self.credential.bearer.mode()
    }

    /// The base URL that the credential is good for.
    pub(crate) fn base_url(&self) -> String {
        self.beside().base_url()
    }

    /// The ChatGPT backend that it is good for.
    pub(crate) fn backend_url(&self) -> String {
        self.beside().backend_url()
    }

    /// The answer to a request for the headers.
    pub(crate) fn answer(&self) -> [Bytes; 3] {
        self.ready.answer(&self.credential.bearer)
    }

    /// The headers, as the relay puts them in. The secret stays in its place.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
        let own = self.ready.authorization.clone().map(|value| (header::AUTHORIZATION, value));
        let parsed = |(name, value): (String, String)| Some((name.parse().ok()?, value.try_into().ok()?));
        own.into_iter().chain(self.beside().headers().into_iter().filter_map(parsed))
    }

    fn beside(&self) -> Beside<'_> {
        Beside { credential: &self.credential, rendering: &self.rendering }
    }

    /// Whether a refresh was sent and never answered: the token may have been rotated.
    pub(crate) fn is_in_doubt(&self) -> bool {
        matches!(self.last_error.as_deref(), Some(LastError::Provider(ProviderError::NoResponse { .. }, _)))
    }

    /// Whether the profile can be used.
    pub(crate) fn status(&self, now: Timestamp) -> ProfileStatus {
        self.flags.status(&self.credential, now)
    }

    /// Whether the credential lasts as long as a client's wish counts, whether or not a renewal would help.
    pub(crate) fn lasts(&self, span: Duration, now: Timestamp) -> bool {
        let Some(expires) = self.credential.expires_at else { return true };
        let issued_at = self.credential.issued_at;
        let planned = || schedule::refresh_at(issued_at, expires, Jitter::NONE);
        let due = self.refresh_at.unwrap_or_else(planned);
        schedule::lifetime(now, expires) > schedule::wish(span, issued_at, expires, due, now)
    }

    /// Whether the credential may be handed out to somebody who needs it for `span`.
    pub(crate) fn freshness(&self, span: Duration, now: Timestamp) -> Freshness {
        if self.credential.expires_at.is_none() {
            return if self.flags.spent { Freshness::LoginRequired } else { Freshness::Fresh };
        }
        // What cannot be renewed is good until it expires.
        let enough = self.refresh_at.is_none() || self.lasts(span, now);
        match self.status(now) {
            ProfileStatus::LoginRequired => Freshness::LoginRequired,
            ProfileStatus::Expired => Freshness::Expired,
            ProfileStatus::Ready | ProfileStatus::Refreshing | ProfileStatus::Unsaved if !enough => {
                Freshness::Expired
            }
            ProfileStatus::Ready | ProfileStatus::Refreshing | ProfileStatus::Unsaved => {
                match self.refresh_at {
                    Some(due) if due <= now => Freshness::Due,
                    _ => Freshness::Fresh,
                }
            }
        }
    }
}

/// Equal facts need not be published again.
impl PartialEq for Facts {
    fn eq(&self, other: &Self) -> bool {
        self.is_rendered_of(&other.name, &other.credential, &other.rendering)
            && self.flags == other.flags
            && self.renewals == other.renewals
            && self.pinned == other.pinned
            && self.on_probation == other.on_probation
            && self.credential.expires_at == other.credential.expires_at
            && self.credential.mode_reason == other.credential.mode_reason
            && self.credential.issued_at == other.credential.issued_at
            && self.refresh_at == other.refresh_at
            && self.ended == other.ended
            && self.last_error == other.last_error
    }
}
