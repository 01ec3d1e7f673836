//! Asks the provider where a workspace's requests go: after a sign-in and daily, while the profile is in use.

use std::time::Duration;

use authd_oauth::{
    Bearer, Event, Mode, Session,
    schedule::{earlier, later},
};
use jiff::Timestamp;
use tracing::debug;

use super::actor::ProfileActor;
use crate::clock;

/// How often a workspace is asked where its requests go.
const ROUTING_EVERY: Duration = Duration::from_secs(24 * 3600);

/// When it is to be asked for a session that begins.
pub(super) fn due(session: &Session) -> Timestamp {
    session.record().routed_at.map_or(clock::now(), |at| later(at, ROUTING_EVERY))
}

impl ProfileActor {
    /// When there is something to do next: for the session, or about the workspace's routing.
    pub(super) fn next_wakeup(&self) -> Option<Timestamp> {
        let now = clock::now();
        let used = self.handle.last_used() > earlier(now, ROUTING_EVERY);
        // A routing that cannot be asked for now would be due again at once, for ever.
        let routing = (used && is_routable(&self.session, now)).then_some(self.routing_due);
        [self.session.next_wakeup(now), routing].into_iter().flatten().min()
    }

    /// After a sign-in and daily, while the profile is in use. A failure changes nothing.
    pub(super) fn ask_for_routing(&mut self, now: Timestamp) {
        let Self { session, routing_due, .. } = self;
        let Bearer::Access(token) = &session.credential().bearer else { return };
        let Some(account) = session.record().grant.identity.account_id.clone() else { return };
        if now < *routing_due || !is_routable(session, now) {
            return;
        }
        *routing_due = later(now, ROUTING_EVERY);
        let (endpoint, token) = (self.deps.endpoint.clone(), token.clone());
        self.calls.spawn(async move {
            match endpoint.routing(&token, &account).await {
                Ok(Some(routing)) => Event::Routed(account, routing),
                Ok(None) => Event::Ticked,
                Err(failure) => {
                    debug!(%failure, "the workspace's routing is not known");
                    Event::Ticked
                }
            }
        });
    }
}

/// Whether it can be asked now where the workspace's requests go. Until a new sign-in is saved the old one
/// is served, whose token may know nothing of the new one's workspace.
fn is_routable(session: &Session, now: Timestamp) -> bool {
    let (record, credential) = (session.record(), session.credential());
    record.grant.identity.account_id.is_some()
        && record.ended.is_none()
        && credential.bearer.mode() == Mode::ChatGpt
        && credential.generation == record.generation
        && !credential.lasts(now).is_zero()
}
