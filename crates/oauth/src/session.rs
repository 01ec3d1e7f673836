//! The state machine of one profile: given all events so far, it returns the next effect. It is
//! pure: no await, no clock, no randomness. The profile's task performs each [`Effect`] and reports
//! the resulting [`Event`].
//!
//! ```text
//!            ┌─────────── due, requested, or expired ─────────────────┐
//!            ▼                                                        │
//!   probe ─► journal ─► refresh ─► save ─► (exchange ─► save) ─► serve ─┘
//!   (only if the network  │          │
//!    is in doubt)         │          └ failed: serve from memory, save again
//!                         ├ not sent, rate limited, or rejected for now: wait, send the same token again
//!                         ├ no response: doubt the network, probe, send the same token again
//!                         ├ rejected: serve the credential until it expires, then need a sign-in
//!                         └ rejected early by a defined provider: serve the credential until it
//!                           expires or is rejected, then send the same token once more
//! ```
//!
//! [`Operation`] is a single slot, so two calls at once cannot be expressed. Every effect carries a
//! ticket. A result with another ticket is dropped: it belongs to a grant that has been replaced.
//! If other nodes use the record, too, a claim replaces the journal entry (`shared.rs`).

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use self::shared_record::Shared;
pub use self::{
    shared_record::{ClaimResult, SharedRecord, Version, WriteResult},
    types::{
        Annotation, Credential, Effect, Event, LastError, ProfileStatus, Rejected, SaveError, StatusFlags,
    },
};
use crate::{Intent, Record, Routing, schedule::later};

mod clock;
mod constructors;
mod plan;
mod requests;
mod shared;
mod shared_record;
mod transitions;
mod types;

/// Shortest pause between two network probes while a client waits. It is also the shortest time
/// between two wake-ups.
pub const PROBE_PAUSE: Duration = Duration::from_millis(250);

/// Longest pause between two probes.
const LONGEST_PROBE_PAUSE: Duration = Duration::from_secs(30);

/// A client that used the profile within this time counts as waiting for the network.
const RECENT_USE: Duration = Duration::from_secs(3);

/// A refresh whose journal entry cannot be written waits for the store while the access token is
/// valid for longer than this. After that it is sent anyway: an expired credential does more harm.
const LAST_MINUTE: Duration = Duration::from_secs(60);

/// After a renewal that answers a rejection, further rejections cause no renewal for this long.
/// Otherwise an upstream that rejects everything would turn every request into a renewal. An API
/// key is exchanged at most once in this time, for any reason.
pub const REJECTION_PAUSE: Duration = Duration::from_secs(5 * 60);

/// Longest pause between two attempts to save a record.
const LONGEST_SAVE_PAUSE: Duration = Duration::from_secs(60);

/// Pause between two attempts to save a record while the daemon stops.
const STOPPING_SAVE_PAUSE: Duration = Duration::from_millis(250);

/// When the store works again, a pending save is retried at once, but not more often than this.
const STORE_READY_PAUSE: Duration = Duration::from_secs(1);

/// An attempt within this time is worth waiting for.
const SOON: Duration = Duration::from_secs(1);

/// The call in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Idle,
    Probing,
    Journalling,
    Claiming,
    Refreshing,
    Saving,
    Exchanging,
}

/// A save that has not succeeded yet.
#[derive(Debug)]
struct PendingSave {
    failures: u32,
    next_attempt: Timestamp,
    last_attempt: Option<Timestamp>,
}

impl PendingSave {
    fn due(now: Timestamp) -> Self {
        Self { failures: 0, next_attempt: now, last_attempt: None }
    }
}

/// The network may be down, so no single-use token is sent before a probe succeeds.
#[derive(Debug)]
struct NetworkDoubt {
    failed_probes: u32,
    next_probe: Timestamp,
    after_failure: bool,
    /// Only a probe with a later ticket counts: it began after the doubt.
    since_ticket: u64,
}

/// One profile's grant and the state of its renewal.
#[derive(Debug)]
pub struct Session {
    record: Record,
    /// The credential that clients get. Shared with its publisher.
    credential: Arc<Credential>,
    operation: Operation,
    ticket: u64,
    /// None: the record is saved.
    pending_save: Option<PendingSave>,
    /// The record changed while a call was in flight, in fields that the call does not save.
    changed_during_call: bool,
    credential_unsaved: bool,
    journal_saved: bool,
    /// None: the network is trusted.
    network_doubt: Option<Box<NetworkDoubt>>,
    failures: u32,
    /// How many of the last renewal attempts in a row the provider rejected for now.
    refusals: u32,
    /// Earliest time of the next renewal attempt.
    not_before: Timestamp,
    /// Set while `not_before` is due to a journal entry that could not be saved.
    journal_failed_at: Option<Timestamp>,
    answer_lost_at: Option<Timestamp>,
    renewal_requested: bool,
    /// An upstream rejected the newest credential. The next renewal answers that.
    credential_rejected: bool,
    exchange_requested: bool,
    /// An upstream rejected the credential, and it cannot be renewed any more.
    spent: bool,
    /// Start of [`REJECTION_PAUSE`]: when the newest credential was issued in answer to a
    /// rejection, when the API key was exchanged, or when a token that cannot be renewed was
    /// rejected.
    paused_since: Option<Timestamp>,
    renewals: u64,
    used_at: Timestamp,
    last_error: Option<Arc<LastError>>,
    /// The provider refused the refresh token while the credential was valid
    /// ([`LastError::EarlyRefusal`]).
    early_refusal: Option<Arc<LastError>>,
    /// A workspace and its new routing. Applied when the call in flight ends.
    pending_routing: Option<Box<(Box<str>, Routing)>>,
    stopping: bool,
    seed: u64,
    /// Set if other nodes write the record, too.
    shared: Option<Box<Shared>>,
}

impl Session {
    /// Applies an event and returns the next effect.
    pub fn apply(&mut self, event: Event, now: Timestamp) -> Effect {
        match event {
            // A later time comes from before the clock was set back. It would count as use until
            // then.
            Event::Used(at) => self.used_at = self.used_at.max(at.min(now)),
            Event::CredentialRequested(lifetime) => self.request_credential(lifetime, now),
            Event::RefreshRequested(rejected) => self.request_refresh(rejected, now),
            Event::ScopesMissing(grant_id, scopes) => self.add_missing_scopes(grant_id, &scopes, now),
            Event::RoutingReceived(workspace, routing) => self.set_routing(workspace, routing, now),
            Event::Annotated(annotation) => self.annotate(annotation, now),
            Event::RecordMayBeLost(id_token) => {
                self.record.restore_id_token(id_token);
                self.save_again(now);
            }
            Event::Accepted(generation) => self.accept_credential(generation),
            Event::StoreReady => self.retry_save(now),
            Event::Stopping => self.stop(now),
            Event::Resumed => self.doubt_network(now, false),
            Event::ClockSet(by) => self.shift_times(by, now),
            Event::SignedIn(grant, grant_id) => self.replace_grant(*grant, grant_id, now),
            Event::Probed(ticket, reached) if self.completes(ticket, Operation::Probing) => {
                self.probed(ticket, reached, now);
            }
            Event::Saved(ticket, result) if self.completes(ticket, Operation::Journalling) => {
                self.journalled(result, now);
            }
            Event::Saved(ticket, result) if self.completes(ticket, Operation::Saving) => {
                self.saved(result, now);
            }
            Event::Claimed(ticket, result) if self.completes(ticket, Operation::Claiming) => {
                self.claimed(result, now);
            }
            Event::Written(ticket, result) if self.completes(ticket, Operation::Saving) => {
                self.written(result, now);
            }
            Event::ChangedElsewhere(stored) => self.changed_elsewhere(stored),
            Event::Refreshed(ticket, result) if self.completes(ticket, Operation::Refreshing) => {
                self.refreshed(result, now);
            }
            Event::Exchanged(ticket, result) if self.completes(ticket, Operation::Exchanging) => {
                self.exchanged(result, now);
            }
            // Only time has passed, or the result belongs to a grant that has been replaced.
            Event::Ticked
            | Event::Probed(..)
            | Event::Saved(..)
            | Event::Claimed(..)
            | Event::Written(..)
            | Event::Refreshed(..)
            | Event::Exchanged(..) => {}
        }
        if self.is_idle() {
            self.apply_pending(now);
        }
        self.next_effect(now)
    }

    /// When the session has to be called again without an event. None while a call is in flight.
    pub fn next_wakeup(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.is_idle() {
            return None;
        }
        let save = self.pending_save.as_ref().map(|save| save.next_attempt);
        let earliest = self.network_doubt.as_ref().map_or(self.not_before, |doubt| doubt.next_probe);
        let renewal = self.renewal_at(now).map(|due| due.max(earliest));
        let next = [save, renewal].into_iter().flatten().min()?;
        Some(next.max(later(now, PROBE_PAUSE)))
    }

    /// The part of the status that does not depend on the time.
    pub fn flags(&self) -> StatusFlags {
        let authority = self.record.grant.secrets.authority();
        StatusFlags {
            ended: self.record.ended.is_some(),
            renewable: self.record.grant.secrets.refresh_token().is_some(),
            rejected: self.counts_rejections() && self.paused_since.is_some(),
            // The grant of a defined provider ends only when its credential is useless, too.
            spent: self.spent || self.record.ended.is_some() && self.policy().doubts_early_refusal,
            lacks_scopes: authority.is_some_and(|authority| !authority.missing_scopes.is_empty()),
            unsaved: self.credential_unsaved,
            renewing: matches!(
                self.operation,
                Operation::Journalling | Operation::Claiming | Operation::Refreshing | Operation::Exchanging
            ),
        }
    }

    /// Whether the profile can be used now.
    pub fn status(&self, now: Timestamp) -> ProfileStatus {
        self.flags().status(&self.credential, now)
    }

    /// The credential that clients get. It may have expired.
    pub fn credential(&self) -> &Arc<Credential> {
        &self.credential
    }

    /// The newest record. Its id token may be in the store only ([`Record::is_complete`]).
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// When the next renewal is planned. None for a user's own API key, for a token of unknown
    /// lifetime, and after the grant's end.
    pub fn refresh_at(&self) -> Option<Timestamp> {
        if self.can_renew() { self.planned_at() } else { None }
    }

    /// The last error, until a success clears it.
    pub fn last_error(&self) -> Option<&Arc<LastError>> {
        self.last_error.as_ref().or(self.early_refusal.as_ref())
    }

    /// Whether the newest credential answers a rejection or was rejected itself, and no upstream
    /// has accepted it since.
    pub fn is_unconfirmed(&self) -> bool {
        self.paused_since.is_some()
    }

    /// Whether a save or a journal entry waits for the store.
    pub fn waits_for_store(&self) -> bool {
        !self.is_durable() || self.journal_failed_at.is_some()
    }

    /// Whether an unfinished move of the grant forbids spending the refresh token.
    pub fn has_open_move(&self) -> bool {
        self.record.intent.as_ref().is_some_and(Intent::pins_token)
    }

    /// Whether no call is in flight.
    pub fn is_idle(&self) -> bool {
        self.operation == Operation::Idle
    }

    /// Sets the intent of a record that was saved under another name without [`Effect::Save`].
    pub fn set_intent(&mut self, intent: Intent) {
        self.record.intent = Some(intent);
    }

    /// Whether the newest record is saved.
    pub fn is_durable(&self) -> bool {
        self.pending_save.is_none() && !self.changed_during_call && self.pending_routing.is_none()
    }

    /// Number of successful refreshes and exchanges in this session's life. Two different values
    /// mean that a renewal happened in between.
    pub fn renewals(&self) -> u64 {
        self.renewals
    }

    /// Whether the newest record is saved and no call is in flight.
    pub fn is_settled(&self) -> bool {
        self.is_idle() && self.is_durable()
    }

    /// Whether a call is in flight or will begin within a second, so that waiting is worthwhile.
    pub fn is_pending(&self, now: Timestamp) -> bool {
        self.is_pending_within(now, SOON)
    }

    /// Whether a call is in flight or will begin within this time.
    pub fn is_pending_within(&self, now: Timestamp, limit: Duration) -> bool {
        !self.is_idle()
            || self.awaits_other_node(now)
            || self.next_wakeup(now).is_some_and(|next| next <= later(now, limit))
    }

    fn doubt_network(&mut self, now: Timestamp, after_failure: bool) {
        let next_probe = if after_failure { later(now, PROBE_PAUSE) } else { now };
        let doubt = NetworkDoubt { failed_probes: 0, next_probe, after_failure, since_ticket: self.ticket };
        self.network_doubt = Some(Box::new(doubt));
    }

    fn next_effect(&mut self, now: Timestamp) -> Effect {
        if !self.is_idle() {
            return Effect::Wait;
        }
        if self.pending_save.as_ref().is_some_and(|save| save.next_attempt <= now) {
            let record = Box::new(self.record.clone());
            return match self.write() {
                Some(write) => Effect::Write(self.begin(Operation::Saving), record, write),
                None => Effect::Save(self.begin(Operation::Saving), record),
            };
        }
        if self.renewal_at(now).is_none_or(|due| due > now) {
            return Effect::Wait;
        }
        match &self.network_doubt {
            Some(doubt) if doubt.next_probe <= now => Effect::Probe(self.begin(Operation::Probing)),
            None if self.not_before <= now => self.renew(now),
            _ => Effect::Wait,
        }
    }

    fn renew(&mut self, now: Timestamp) -> Effect {
        if let Some(version) = self.version().filter(|_| !self.journal_saved) {
            let rejected = self.credential_rejected;
            return Effect::Claim(self.begin(Operation::Claiming), version.revision, rejected);
        }
        let secrets = &self.record.grant.secrets;
        if self.exchange_requested
            && !self.renewal_requested
            && let Some(id_token) = secrets.id_token().cloned()
        {
            return Effect::Exchange(self.begin(Operation::Exchanging), id_token);
        }
        let Some(token) = secrets.refresh_token().cloned() else { return Effect::Wait };
        if self.journal_saved {
            return Effect::Refresh(self.begin(Operation::Refreshing), token);
        }
        self.record.journal = Some(self.answer_lost_at.unwrap_or(now));
        let record = Box::new(self.record.clone());
        Effect::Save(self.begin(Operation::Journalling), record)
    }

    fn begin(&mut self, operation: Operation) -> u64 {
        self.operation = operation;
        self.ticket += 1;
        self.ticket
    }

    /// Whether this ticket is that of the call in flight. If so, the session becomes idle.
    fn completes(&mut self, ticket: u64, operation: Operation) -> bool {
        let completes = ticket == self.ticket && self.operation == operation;
        if completes {
            self.operation = Operation::Idle;
        }
        completes
    }
}
