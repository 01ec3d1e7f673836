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

/// The time over which the nodes of a fleet are spread.
const TURNS: Duration = Duration::from_secs(3600);

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

    /// When the next request is due. In a fleet another node may have sent one since: the nodes are
    /// spread, so that one sends it and most of the others take over what it has stored.
    fn due(&self, session: &Session) -> Timestamp {
        let turns = if session.is_shared() { TURNS } else { Duration::ZERO };
        let turn = Jitter::of(self.seed, 0).part_of(turns);
        let since_stored = session.record().routed_at.map(|at| later(at, INTERVAL + turn));
        since_stored.map_or(self.due, |due| due.max(self.due))
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
        (is_used && self.request.is_empty() && routable(session, now).is_some()).then(|| self.due(session))
    }

    /// Sends a request, if one is due.
    pub(super) fn request_if_due(&mut self, session: &Session, endpoint: &Endpoint, now: Timestamp) {
        if now < self.due(session) || !self.request.is_empty() {
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
                let wait = schedule::back_off(self.failures, error.retry_after(), jitter);
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

#[cfg(test)]
mod tests {
    use authd_oauth::{
        Grant, GrantSecrets, IdToken, Identity, Record, RefreshToken, SharedRecord, Tokens, Version,
    };

    use super::*;

    /// The record of a fleet whose routing was stored at this time.
    fn stored(revision: u64, routed_at: Timestamp) -> SharedRecord {
        let tokens = Tokens {
            access_token: AccessToken::new("access"),
            refresh_token: Some(RefreshToken::new("refresh")),
            expires_at: None,
        };
        let grant = Grant {
            identity: Identity { account_id: Some("account".into()), ..Identity::default() }.into(),
            secrets: GrantSecrets::ChatGpt(tokens, Some(IdToken::new("id"))),
            mode_reason: "".into(),
            issued_at: routed_at,
        };
        let record = Record { routed_at: Some(routed_at), ..Record::new(grant, "grant".into(), 1) };
        let version = Version { revision, token: 1 };
        SharedRecord { record: Box::new(record), version, valid_for: None }
    }

    #[test]
    fn nodes_of_a_fleet_request_the_routing_once_a_day_together() {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let day = |days: u32| later(start, INTERVAL * days);
        let mut session = Session::restored_shared(stored(1, start), 1, start);
        let nodes: Vec<_> = (0..100).map(|seed| RoutingSchedule::new(&session, seed, start)).collect();
        let turns = |session: &Session, now| -> Vec<Timestamp> {
            nodes.iter().map(|node| node.next_wakeup(session, now, now).unwrap()).collect()
        };
        let first = turns(&session, start);
        let (least, most) = (*first.iter().min().unwrap(), *first.iter().max().unwrap());
        assert!(day(1) <= least && least < later(day(1), TURNS / 20), "{least}");
        assert!(later(day(1), TURNS / 2) < most && most <= later(day(1), TURNS), "{most}");
        // Another node has sent the request.
        session.apply(Event::ChangedElsewhere(stored(2, day(1))), day(1));
        assert!(turns(&session, day(1)).into_iter().all(|turn| turn >= day(2)));
    }
}
