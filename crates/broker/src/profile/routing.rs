//! Requests where the requests of a workspace go (docs/protocol.md, section 11.7): after a sign-in
//! and daily, while the profile is in use. A failed request changes nothing.

use std::time::Duration;

use authd_oauth::{
    AccessToken, Bearer, Endpoint, Event, Session,
    schedule::{earlier, later},
};
use jiff::{SignedDuration, Timestamp};
use tracing::debug;

/// Time between two requests for a workspace's routing.
const INTERVAL: Duration = Duration::from_secs(24 * 3600);

pub(super) struct RoutingSchedule {
    due: Timestamp,
}

impl RoutingSchedule {
    pub(super) fn new(session: &Session, now: Timestamp) -> Self {
        Self { due: session.record().routed_at.map_or(now, |at| later(at, INTERVAL)) }
    }

    /// Plans the next request for now, because of a new sign-in.
    pub(super) fn reset(&mut self, now: Timestamp) {
        self.due = now;
    }

    /// Follows a wall clock that was set.
    pub(super) fn shift(&mut self, by: SignedDuration) {
        self.due = self.due.saturating_add(by).unwrap_or(self.due);
    }

    /// When the actor must wake for the next request. A profile that is out of use sends none, and
    /// a routing that cannot be requested now would be due again at once, for ever.
    pub(super) fn next_wakeup(
        &self,
        session: &Session,
        last_used: Timestamp,
        now: Timestamp,
    ) -> Option<Timestamp> {
        (last_used > earlier(now, INTERVAL) && routable(session, now).is_some()).then_some(self.due)
    }

    /// The request to send now, if one is due.
    pub(super) fn next_request(
        &mut self,
        session: &Session,
        endpoint: &Endpoint,
        now: Timestamp,
    ) -> Option<impl Future<Output = Event> + use<>> {
        let (token, account) = routable(session, now).filter(|_| now >= self.due)?;
        self.due = later(now, INTERVAL);
        Some(request(endpoint.clone(), token.clone(), account.into()))
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

async fn request(endpoint: Endpoint, token: AccessToken, account: Box<str>) -> Event {
    match endpoint.routing(&token, &account).await {
        Ok(Some(routing)) => Event::RoutingReceived(account, routing),
        Ok(None) => Event::Ticked,
        Err(error) => {
            debug!(%error, "routing request failed");
            Event::Ticked
        }
    }
}
