//! What a profile publishes: an immutable snapshot, built when the profile changes. Readers take it
//! without a message to the actor, a lock held over an await, or a copy of a secret.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use authd_api::ProfileName;
use authd_oauth::{
    Credential, GrantEnd, LastError, Mode, ProfileStatus, ProviderError, RecordError, Session, StatusFlags,
    schedule::{self, Jitter},
};
use authd_store::StoreError;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use jiff::Timestamp;

use self::headers::HeaderContext;
pub use self::headers::{RenderContext, RenderedHeaders, mode_message};

mod headers;

/// The state of a profile as readers see it.
#[derive(Clone, Debug)]
pub enum ProfileView {
    /// The store did not return its record; the registry tries again.
    StoreUnavailable(Arc<StoreError>),
    /// Its record was read and cannot be used.
    Unreadable(Arc<RecordError>),
    /// Its record was read.
    Loaded(Arc<ProfileSnapshot>),
}

impl ProfileView {
    /// The snapshot, if the record was read.
    pub fn snapshot(&self) -> Option<&Arc<ProfileSnapshot>> {
        match self {
            Self::Loaded(snapshot) => Some(snapshot),
            Self::StoreUnavailable(_) | Self::Unreadable(_) => None,
        }
    }

    /// Whether the user has to sign in, even if the credential is still valid.
    pub fn sign_in_required(&self, now: Timestamp) -> bool {
        match self {
            Self::Loaded(snapshot) => sign_in_required(
                snapshot.status(now),
                snapshot.ended.is_some(),
                snapshot.last_error.as_deref(),
            ),
            Self::Unreadable(_) => true,
            Self::StoreUnavailable(_) => false,
        }
    }

    /// Why the record has not been read, if a later read may succeed.
    pub fn unread(&self) -> Option<&StoreError> {
        match self {
            Self::StoreUnavailable(error) if !matches!(**error, StoreError::Damaged { .. }) => Some(error),
            Self::StoreUnavailable(_) | Self::Unreadable(_) | Self::Loaded(_) => None,
        }
    }

    /// Whether no version of authd can use the record: no key opens it, or it is truncated.
    pub(crate) fn is_damaged(&self) -> bool {
        match self {
            Self::StoreUnavailable(error) => matches!(**error, StoreError::Damaged { .. }),
            Self::Unreadable(error) => matches!(**error, RecordError::Damaged { .. }),
            Self::Loaded(_) => false,
        }
    }
}

/// Whether the user has to sign in: the profile cannot be used without it, or its grant has ended,
/// or the provider seems to have ended it. In the last two cases the credential can still be valid
/// for days.
fn sign_in_required(status: ProfileStatus, has_ended: bool, last_error: Option<&LastError>) -> bool {
    status == ProfileStatus::LoginRequired || has_ended || last_error.is_some_and(LastError::suggests_sign_in)
}

impl From<StoreError> for ProfileView {
    fn from(error: StoreError) -> Self {
        Self::StoreUnavailable(Arc::new(error))
    }
}

/// One profile, as of its last change.
#[derive(Clone, Debug)]
pub struct ProfileSnapshot {
    /// Its name.
    pub name: ProfileName,
    /// The parts of its status that do not depend on the time.
    pub flags: StatusFlags,
    /// The credential that clients get. Until a new sign-in is saved, this is the old one.
    pub credential: Arc<Credential>,
    /// Time of the next planned renewal.
    pub refresh_at: Option<Timestamp>,
    /// The end of the grant, if it has ended.
    pub ended: Option<Arc<GrantEnd>>,
    /// The last failure, while it still matters.
    pub last_error: Option<Arc<LastError>>,
    /// Why the current routing of the workspace is unknown.
    pub routing_failure: Option<RoutingFailure>,
    /// Whether an unfinished rename or export forbids the use of the refresh token.
    pub has_open_move: bool,
    /// The node of the fleet that renews the grant, if this node waits for it.
    pub claimed_by: Option<Arc<str>>,
    /// Whether the credential replaced a rejected one, and no upstream has accepted it yet.
    pub is_unconfirmed: bool,
    /// Number of successful renewals since the actor started.
    pub renewals: u64,
    /// The rendered credential.
    pub headers: RenderedHeaders,
    /// The headers of relayed requests, once one was sent.
    relayed: OnceLock<Box<[(HeaderName, HeaderValue)]>>,
    render_context: Arc<RenderContext>,
}

/// A failed request for the routing of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingFailure {
    /// The error.
    pub error: Arc<ProviderError>,
    /// When the request is repeated.
    pub next_attempt: Timestamp,
}

/// Whether a credential may be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Yes.
    Fresh,
    /// Yes, and a renewal is due.
    Due,
    /// Only after a renewal.
    Expired,
    /// Only after a new sign-in.
    LoginRequired,
}

impl ProfileSnapshot {
    /// The snapshot of a session. Reuses the rendered headers of `previous` if they have not
    /// changed.
    pub(crate) fn of(
        name: &ProfileName,
        session: &Session,
        render_context: &Arc<RenderContext>,
        previous: Option<&Arc<Self>>,
    ) -> Self {
        let credential = session.credential();
        let headers = match previous {
            Some(old) if old.is_rendered_of(name, credential, render_context) => old.headers.clone(),
            _ => RenderedHeaders::of(name, credential, render_context),
        };
        Self {
            name: name.clone(),
            flags: session.flags(),
            credential: credential.clone(),
            refresh_at: session.refresh_at(),
            ended: session.record().ended.clone(),
            last_error: session.last_error().cloned(),
            routing_failure: None,
            has_open_move: session.has_open_move(),
            claimed_by: session.claimed_by().cloned(),
            is_unconfirmed: session.is_unconfirmed(),
            renewals: session.renewals(),
            headers,
            relayed: OnceLock::new(),
            render_context: render_context.clone(),
        }
    }

    /// Adds what the session does not know: whether a request for the workspace's routing failed.
    pub(crate) fn with_routing_failure(self, routing_failure: Option<RoutingFailure>) -> Self {
        Self { routing_failure, ..self }
    }

    fn is_rendered_of(&self, name: &ProfileName, credential: &Credential, with: &Arc<RenderContext>) -> bool {
        self.name == *name
            && self.credential.generation == credential.generation
            && self.credential.grant_id == credential.grant_id
            && self.credential.identity == credential.identity
            && Arc::ptr_eq(&self.render_context, with)
    }

    /// The credential's mode.
    pub fn mode(&self) -> Mode {
        self.credential.bearer.mode()
    }

    /// Whether the user supplied the credential, so that nothing renews it.
    pub fn is_own_credential(&self) -> bool {
        match &self.credential.authority {
            Some(authority) => authority.is_of_own_token(),
            None => !self.flags.renewable,
        }
    }

    /// The base URL that accepts the credential.
    pub fn base_url(&self) -> String {
        self.context().base_url()
    }

    /// The URL of the ChatGPT backend that accepts the credential.
    pub fn backend_url(&self) -> String {
        self.context().backend_url()
    }

    /// The JSON of the headers message, in three parts; the secret is the middle one.
    pub fn headers_json(&self) -> [Bytes; 3] {
        self.headers.to_json(&self.credential.bearer)
    }

    /// The headers for a relayed request. The secret is not copied.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        self.relayed.get_or_init(|| {
            let own = self.headers.authorization.clone().map(|value| (header::AUTHORIZATION, value));
            let parsed = |(name, value): (String, String)| Some((name.parse().ok()?, value.try_into().ok()?));
            own.into_iter().chain(self.context().headers().into_iter().filter_map(parsed)).collect()
        })
    }

    /// Whether a relayed request gets all of these headers, even those that it has itself.
    pub fn overrides_client(&self) -> bool {
        self.render_context.override_client
    }

    fn context(&self) -> HeaderContext<'_> {
        HeaderContext { credential: &self.credential, render_context: &self.render_context }
    }

    /// Whether a refresh got no response: the provider may have rotated the token.
    pub(crate) fn is_in_doubt(&self) -> bool {
        matches!(
            self.last_error.as_deref(),
            Some(LastError::Provider { error: ProviderError::NoResponse { .. }, .. })
        )
    }

    /// Whether the profile can be used.
    pub fn status(&self, now: Timestamp) -> ProfileStatus {
        self.flags.status(&self.credential, now)
    }

    /// Whether the credential lasts for `span`, as far as any credential of its lifetime can.
    pub fn lasts(&self, span: Duration, now: Timestamp) -> bool {
        let Some(expires) = self.credential.expires_at else { return true };
        let issued_at = self.credential.issued_at;
        let planned = || schedule::refresh_at(issued_at, expires, Jitter::NONE);
        let due = self.refresh_at.unwrap_or_else(planned);
        schedule::lifetime(now, expires) > schedule::achievable_lifetime(span, issued_at, expires, due, now)
    }

    /// Whether the credential may be handed out to a client that needs it for `span`.
    pub fn freshness(&self, span: Duration, now: Timestamp) -> Freshness {
        // A credential without a refresh token is good until it expires.
        let enough = self.refresh_at.is_none() || self.lasts(span, now);
        match self.status(now) {
            ProfileStatus::LoginRequired => Freshness::LoginRequired,
            _ if self.credential.expires_at.is_none() => Freshness::Fresh,
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

/// A snapshot equal to the published one is not published.
impl PartialEq for ProfileSnapshot {
    fn eq(&self, other: &Self) -> bool {
        self.is_rendered_of(&other.name, &other.credential, &other.render_context)
            && self.flags == other.flags
            && self.renewals == other.renewals
            && self.has_open_move == other.has_open_move
            && self.claimed_by == other.claimed_by
            && self.is_unconfirmed == other.is_unconfirmed
            && self.credential.expires_at == other.credential.expires_at
            && self.credential.authority == other.credential.authority
            && self.credential.mode_reason == other.credential.mode_reason
            && self.credential.issued_at == other.credential.issued_at
            && self.refresh_at == other.refresh_at
            && self.ended == other.ended
            && self.last_error == other.last_error
            && self.routing_failure == other.routing_failure
    }
}

#[cfg(test)]
mod tests {
    use authd_oauth::{ApiKey, ErrorCode, Grant, Record, SaveError};

    use super::*;

    fn rejected_for_now(code: &str, refusals: u32) -> LastError {
        let error =
            ProviderError::RejectedForNow { status: 400, code: ErrorCode::new(code), retry_after: None };
        LastError::Provider { error, next_attempt: Timestamp::UNIX_EPOCH, refusals }
    }

    #[test]
    fn sign_in_is_required_in_these_states() {
        use ProfileStatus::{Expired, LoginRequired, Ready, Refreshing, Unsaved};
        let store = LastError::Store(SaveError { locked: true, message: String::new() });
        let early = LastError::EarlyRefusal(ErrorCode::new("invalid_grant"));
        let (short, lasting) = (rejected_for_now("token_expired", 5), rejected_for_now("token_expired", 6));
        let other = rejected_for_now("invalid_client", 6);
        for (last_error, has_ended, usable, unusable) in [
            (None, false, false, true),
            (Some(&store), false, false, true),
            (Some(&early), false, false, true),
            (Some(&short), false, false, true),
            (Some(&other), false, false, true),
            (Some(&lasting), false, true, true),
            (None, true, true, true),
            (Some(&store), true, true, true),
            (Some(&early), true, true, true),
            (Some(&short), true, true, true),
            (Some(&other), true, true, true),
            (Some(&lasting), true, true, true),
        ] {
            for status in [Ready, Refreshing, Unsaved, Expired, LoginRequired] {
                let expected = if status == LoginRequired { unusable } else { usable };
                let found = sign_in_required(status, has_ended, last_error);
                assert_eq!(found, expected, "{status:?}, ended: {has_ended}, {last_error:?}");
            }
        }
    }

    #[test]
    fn record_that_was_not_read_requires_no_sign_in_and_an_unusable_one_does() {
        let now = Timestamp::UNIX_EPOCH;
        let unread = ProfileView::from(StoreError::Locked { detail: String::new() });
        let unusable = ProfileView::Unreadable(Arc::new(RecordError::TooNew(99)));
        assert_eq!((unread.sign_in_required(now), unusable.sign_in_required(now)), (false, true));
    }

    #[test]
    fn other_node_that_renews_the_grant_is_a_change() {
        let grant = Grant::own_key(ApiKey::new("sk-1"), "", Timestamp::UNIX_EPOCH);
        let session = Session::restored(Record::new(grant, "grant".into(), 1), 1, Timestamp::UNIX_EPOCH);
        let snapshot =
            ProfileSnapshot::of(&ProfileName::first(), &session, &Arc::new(RenderContext::of_openai()), None);
        let renewed_by = |node: &str| ProfileSnapshot { claimed_by: Some(node.into()), ..snapshot.clone() };
        assert_eq!(renewed_by("a"), renewed_by("a"));
        assert_ne!(renewed_by("a"), renewed_by("b"));
    }
}
