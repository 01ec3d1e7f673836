//! Requests where the requests of a workspace go (docs/protocol.md, section 11.7): after a sign-in
//! and daily, while the profile is in use. A failed request is repeated with the back-off of a
//! refresh, and at the next refresh. Until then the routing stays as it was.

use std::{panic, sync::Arc, time::Duration};

use authd_oauth::{
    AccessToken, Bearer, Endpoint, Event, ProviderError, Routing, Session,
    schedule::{self, Jitter, earlier, later},
};
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::{clock, snapshot::RoutingFailure};

/// Time between two requests for a workspace's routing.
const INTERVAL: Duration = Duration::from_secs(24 * 3600);

pub(super) struct RoutingSchedule {
    due: Timestamp,
    /// The request in flight, at most one.
    request: JoinSet<Response>,
    /// The failed requests since the last success, and the last error.
    failures: u32,
    error: Option<Arc<ProviderError>>,
    /// Spreads the retries of many profiles.
    seed: u64,
}

/// A workspace, and the provider's answer about it.
type Response = (Box<str>, Result<Option<Routing>, ProviderError>);

impl RoutingSchedule {
    pub(super) fn new(session: &Session, seed: u64, now: Timestamp) -> Self {
        let due = session.record().routed_at.map_or(now, |at| later(at, INTERVAL));
        Self { due, request: JoinSet::new(), failures: 0, error: None, seed }
    }

    /// Forgets the old grant, and plans the next request for now, because of a new sign-in.
    pub(super) fn reset(&mut self, now: Timestamp) {
        *self = Self { due: now, request: JoinSet::new(), failures: 0, error: None, seed: self.seed };
    }

    /// Plans the retry of a failed request for now: the credential has been replaced.
    pub(super) fn renewed(&mut self, now: Timestamp) {
        if self.error.is_some() {
            self.due = now;
        }
    }

    /// Follows a wall clock that was set.
    pub(super) fn shift(&mut self, by: SignedDuration) {
        self.due = self.due.saturating_add(by).unwrap_or(self.due);
    }

    /// The last error, until a request succeeds.
    pub(super) fn failure(&self) -> Option<RoutingFailure> {
        let error = self.error.clone()?;
        Some(RoutingFailure { error, next_attempt: self.due })
    }

    /// When the actor must wake for the next request. A profile that is out of use sends none, and
    /// a routing that cannot be requested now would be due again at once, for ever.
    pub(super) fn next_wakeup(
        &self,
        session: &Session,
        last_used: Timestamp,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let is_used = last_used > earlier(now, INTERVAL);
        (is_used && self.request.is_empty() && routable(session, now).is_some()).then_some(self.due)
    }

    /// Sends a request, if one is due.
    pub(super) fn request_if_due(&mut self, session: &Session, endpoint: &Endpoint, now: Timestamp) {
        if now < self.due || !self.request.is_empty() {
            return;
        }
        let Some((token, account)) = routable(session, now) else { return };
        let (endpoint, token, account) = (endpoint.clone(), token.clone(), Box::<str>::from(account));
        self.request.spawn(async move {
            let routing = endpoint.routing(&token, &account).await;
            (account, routing)
        });
    }

    /// The event of the request in flight; `None` without one.
    pub(super) async fn response(&mut self) -> Option<Event> {
        match self.request.join_next().await? {
            Ok((account, result)) => Some(self.handle_response(account, result, clock::now())),
            Err(failure) => panic::resume_unwind(failure.into_panic()),
        }
    }

    fn handle_response(
        &mut self,
        account: Box<str>,
        result: Result<Option<Routing>, ProviderError>,
        now: Timestamp,
    ) -> Event {
        match result {
            Ok(routing) => {
                (self.due, self.failures, self.error) = (later(now, INTERVAL), 0, None);
                routing.map_or(Event::Ticked, |routing| Event::RoutingReceived(account, routing))
            }
            Err(error) => {
                if self.error.is_none() {
                    warn!(%error, "routing of the workspace not received; retrying");
                } else {
                    debug!(%error, "routing of the workspace not received; retrying");
                }
                self.failures += 1;
                let jitter = Jitter::of(self.seed, self.failures.into());
                let requested = match &error {
                    ProviderError::Unavailable { retry_after, .. } => *retry_after,
                    _ => None,
                };
                let wait = schedule::back_off(self.failures, requested, jitter);
                (self.due, self.error) = (later(now, wait), Some(error.into()));
                Event::Ticked
            }
        }
    }
}

/// The token and the workspace, if the routing can be requested now. Until a new sign-in is saved
/// the old credential is served, which may have no access to the new workspace.
fn routable(session: &Session, now: Timestamp) -> Option<(&AccessToken, &str)> {
    let (record, credential) = (session.record(), session.credential());
    let Bearer::Access(token) = &credential.bearer else { return None };
    let account = record.grant.identity.account_id.as_deref()?;
    let is_current = record.ended.is_none()
        && credential.generation == record.generation
        && !credential.remaining(now).is_zero();
    is_current.then_some((token, account))
}
