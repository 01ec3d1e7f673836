//! Asks the provider where the requests of a workspace go (docs/protocol.md, section 8).

use std::time::Duration;

use authd_oauth::{
    AccessToken, Endpoint, Event, Mode, Session,
    schedule::{earlier, later},
};
use jiff::Timestamp;
use tracing::debug;

/// Time between two requests for a workspace's routing.
pub(super) const INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// When the first request of a session is due.
pub(super) fn due(session: &Session, now: Timestamp) -> Timestamp {
    session.record().routed_at.map_or(now, |at| later(at, INTERVAL))
}

/// When the actor must wake for the next request. A profile that is out of use sends none, and a routing
/// that cannot be requested now would be due again at once, for ever.
pub(super) fn next(
    session: &Session,
    last_used: Timestamp,
    due: Timestamp,
    now: Timestamp,
) -> Option<Timestamp> {
    (last_used > earlier(now, INTERVAL) && is_routable(session, now)).then_some(due)
}

/// Whether the routing can be requested now. Until a new sign-in is saved the old credential is served,
/// which may have no access to the new workspace.
pub(super) fn is_routable(session: &Session, now: Timestamp) -> bool {
    let (record, credential) = (session.record(), session.credential());
    record.grant.identity.account_id.is_some()
        && record.ended.is_none()
        && credential.bearer.mode() == Mode::ChatGpt
        && credential.generation == record.generation
        && !credential.remaining(now).is_zero()
}

/// Requests the routing once.
pub(super) async fn request(endpoint: Endpoint, token: AccessToken, account: Box<str>) -> Event {
    match endpoint.routing(&token, &account).await {
        Ok(Some(routing)) => Event::RoutingReceived(account, routing),
        Ok(None) => Event::Ticked,
        Err(error) => {
            debug!(%error, "routing request failed");
            Event::Ticked
        }
    }
}
