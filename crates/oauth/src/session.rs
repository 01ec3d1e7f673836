//! The brain of one profile: what to do next about its grant, given everything that has happened. It is
//! pure: no await, no clock, no randomness; its task performs the [`Effect`] and reports the [`Event`].
//!
//! ```text
//!            ┌────────────── due, asked for, or expired ──────────────┐
//!            ▼                                                        │
//!   probe ─► journal ─► refresh ─► save ─► (exchange ─► save) ─► serve ─┘
//!   (only if the network  │          │
//!    is in doubt)         │          └ failed: serve from memory, save again
//!                         ├ nothing sent, or told to wait: wait, the same token again
//!                         ├ no answer: in doubt; wait for the network, the same token again
//!                         └ refused for good: serve what is valid, then ask for a sign-in
//! ```
//!
//! [`Work`] is one slot, so two calls at once cannot be written down. Every effect carries a ticket, and
//! a result with another ticket is dropped: it belongs to a grant that has been replaced.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

pub use self::types::{
    Annotation, Credential, Effect, Event, LastError, ProfileStatus, Rejected, SaveError, StatusFlags,
};
use crate::{
    GrantSecrets, Intent, Record, Routing,
    schedule::{self, Jitter, later},
};

mod clock;
mod constructors;
mod requests;
mod transitions;
mod types;

/// How often at most the network is tried while it is in doubt and somebody waits. It is also the
/// shortest time between two wake-ups.
pub const PROBE_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause between two probes when nobody waits.
const LONGEST_PROBE_PAUSE: Duration = Duration::from_secs(30);

/// A client that asked this recently is waiting for the network with us.
const WAITING: Duration = Duration::from_secs(3);

/// While the access token is good for longer than this, a refresh whose journal entry cannot be
/// written waits for the store; after that, being signed out is the greater harm.
const LAST_MINUTE: Duration = Duration::from_secs(60);

/// How long a credential that was made because an upstream refused the one before it is not renewed because an
/// upstream refuses it, too: an upstream that refuses everything does not turn every request into a renewal. An
/// API key is not exchanged anew in this time for any other reason either.
pub const REJECTION_PAUSE: Duration = Duration::from_secs(5 * 60);

/// The longest pause between two tries to save a record.
const LONGEST_SAVE_PAUSE: Duration = Duration::from_secs(60);

/// A daemon that stops tries to save a record this often.
const STOPPING_SAVE_PAUSE: Duration = Duration::from_millis(250);

/// A store that answers again is a reason to save at once, but not more often than this.
const STORE_READY_PAUSE: Duration = Duration::from_secs(1);

/// A try that is this close is worth waiting for; one that is farther is not.
const SOON: Duration = Duration::from_secs(1);

/// The one call that is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Idle,
    Probing,
    Journalling,
    Refreshing,
    Saving,
    Exchanging,
}

/// Whether the newest facts are durable.
#[derive(Debug)]
enum Durable {
    Yes,
    /// Not yet, or not after so many tries; the next one at this time, the newest one at that.
    No {
        failures: u32,
        next: Timestamp,
        tried_at: Option<Timestamp>,
    },
}

impl Durable {
    /// Not yet, and due at once.
    fn due(now: Timestamp) -> Self {
        Self::No { failures: 0, next: now, tried_at: None }
    }
}

/// Whether the network can be trusted with a token that dies on use.
#[derive(Debug)]
enum Network {
    Trusted,
    /// Seldom, and not for long.
    Doubtful(Box<Doubt>),
}

/// What is done about a doubtful network: only a probe that began after this ticket tells anything.
#[derive(Debug)]
struct Doubt {
    probes: u32,
    next: Timestamp,
    since_failure: bool,
    since: u64,
}

/// One profile's grant and all that is known of its renewal.
#[derive(Debug)]
pub struct Session {
    record: Record,
    /// Shared with whatever publishes it.
    served: Arc<Credential>,
    work: Work,
    ticket: u64,
    durable: Durable,
    /// The record changed while a call was in flight, in what that call does not save.
    changed: bool,
    /// What is served is not durable.
    unsaved: bool,
    journal_durable: bool,
    network: Network,
    failures: u32,
    not_before: Timestamp,
    /// The journal could not be written at this time, which is why nothing is sent before `not_before`.
    journal_failed_at: Option<Timestamp>,
    answer_lost_at: Option<Timestamp>,
    asked: bool,
    /// An upstream refused the newest credential, and a renewal is due to it.
    rejected: bool,
    renew_key: bool,
    /// An API key was refused by an upstream, and cannot be renewed any more.
    spent: bool,
    /// The newest credential is from this time, and is the answer to a rejection; or it is an API key that was
    /// exchanged for whatever reason.
    paused_since: Option<Timestamp>,
    renewals: u64,
    used_at: Timestamp,
    last_error: Option<Arc<LastError>>,
    /// A workspace's routing that waits for the end of the call in flight.
    pending_routing: Option<Box<(Box<str>, Routing)>>,
    stopping: bool,
    seed: u64,
}

impl Session {
    /// Takes in what happened, and says what to do now.
    pub fn apply(&mut self, event: Event, now: Timestamp) -> Effect {
        match event {
            // A time of a clock that was set back since would count as use for as long.
            Event::Used(at) => self.used_at = self.used_at.max(at.min(now)),
            Event::Wanted(span) => self.wanted(span, now),
            Event::RefreshAsked(rejected) => self.refresh_asked(rejected, now),
            Event::Routed(workspace, routing) => self.routed(workspace, routing, now),
            Event::Annotated(annotation) => self.annotated(annotation, now),
            Event::Unkept(id_token) => {
                self.record.restore_id_token(id_token);
                self.save_again(now);
            }
            Event::Accepted(generation) => self.accepted(generation),
            Event::StoreReady => self.store_ready(now),
            Event::Stopping => self.stop(now),
            Event::Woke => self.doubt_network(now, false),
            Event::ClockSet(by) => self.clock_set(by, now),
            Event::SignedIn(grant, grant_id) => self.replace(*grant, grant_id, now),
            Event::Probed(ticket, reached) if self.ends(ticket, Work::Probing) => {
                self.probed(ticket, reached, now);
            }
            Event::Saved(ticket, result) if self.ends(ticket, Work::Journalling) => {
                self.journalled(result, now);
            }
            Event::Saved(ticket, result) if self.ends(ticket, Work::Saving) => self.saved(result, now),
            Event::Refreshed(ticket, result) if self.ends(ticket, Work::Refreshing) => {
                self.refreshed(result, now);
            }
            Event::Exchanged(ticket, result) if self.ends(ticket, Work::Exchanging) => {
                self.exchanged(result, now);
            }
            // Time alone, or a result for a grant that has been replaced.
            Event::Ticked
            | Event::Probed(..)
            | Event::Saved(..)
            | Event::Refreshed(..)
            | Event::Exchanged(..) => {}
        }
        if self.work == Work::Idle {
            self.apply_pending(now);
        }
        self.next_effect(now)
    }

    /// When to look again if nothing happens before; never, while a call is in flight.
    pub fn next_wakeup(&self, now: Timestamp) -> Option<Timestamp> {
        if self.work != Work::Idle {
            return None;
        }
        let save = match self.durable {
            Durable::Yes => None,
            Durable::No { next, .. } => Some(next),
        };
        let renewal = self.renewal_at(now).map(|due| match &self.network {
            Network::Trusted => due.max(self.not_before),
            Network::Doubtful(doubt) => due.max(doubt.next),
        });
        let next = [save, renewal].into_iter().flatten().min()?;
        Some(next.max(later(now, PROBE_PAUSE)))
    }

    /// How things stand, whatever the time is.
    pub fn flags(&self) -> StatusFlags {
        StatusFlags {
            ended: self.record.ended.is_some(),
            spent: self.spent,
            unsaved: self.unsaved,
            renewing: matches!(self.work, Work::Journalling | Work::Refreshing | Work::Exchanging),
        }
    }

    /// Whether the profile can be used now.
    pub fn status(&self, now: Timestamp) -> ProfileStatus {
        self.flags().status(&self.served, now)
    }

    /// The credential that clients get, valid or not.
    pub fn credential(&self) -> &Arc<Credential> {
        &self.served
    }

    /// The newest facts. What the record at rest alone needs may be missing ([`Record::is_whole`]).
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// When the next renewal is planned; none for a key of the user's own, or after the end.
    pub fn refresh_at(&self) -> Option<Timestamp> {
        self.can_renew().then(|| self.planned_at())
    }

    /// What went wrong last, while it still matters.
    pub fn last_error(&self) -> Option<&Arc<LastError>> {
        self.last_error.as_ref()
    }

    /// Whether the newest credential answers a rejection, and was neither accepted nor refused since.
    pub fn is_on_probation(&self) -> bool {
        self.paused_since.is_some()
    }

    /// Whether something waits for the store: a save, or a journal entry.
    pub fn waits_for_store(&self) -> bool {
        !self.is_durable() || self.journal_failed_at.is_some()
    }

    /// Whether an unfinished move keeps the refresh token from being used.
    pub fn is_pinned(&self) -> bool {
        self.record.intent.as_ref().is_some_and(Intent::pins_token)
    }

    /// Whether no call is in flight.
    pub fn is_idle(&self) -> bool {
        self.work == Work::Idle
    }

    /// The record was saved under another name, with this intent, by other means than [`Effect::Save`].
    pub fn moved(&mut self, intent: Intent) {
        self.record.intent = Some(intent);
    }

    /// Whether all that is known is durable.
    pub fn is_durable(&self) -> bool {
        matches!(self.durable, Durable::Yes) && !self.changed && self.pending_routing.is_none()
    }

    /// How many refreshes and exchanges have succeeded in this session's life. A caller that compares two values
    /// knows whether a renewal was made in between.
    pub fn renewals(&self) -> u64 {
        self.renewals
    }

    /// Whether all that is known is durable, and nothing that could change it is under way.
    pub fn is_settled(&self) -> bool {
        self.work == Work::Idle && self.is_durable()
    }

    /// Whether something is under way or about to be: waiting for it makes sense.
    pub fn is_pending(&self, now: Timestamp) -> bool {
        self.is_pending_within(now, SOON)
    }

    /// Whether something is under way, or will be within this time.
    pub fn is_pending_within(&self, now: Timestamp, patience: Duration) -> bool {
        self.work != Work::Idle || self.next_wakeup(now).is_some_and(|next| next <= later(now, patience))
    }

    fn doubt_network(&mut self, now: Timestamp, since_failure: bool) {
        let next = if since_failure { later(now, PROBE_PAUSE) } else { now };
        let doubt = Doubt { probes: 0, next, since_failure, since: self.ticket };
        self.network = Network::Doubtful(Box::new(doubt));
    }

    fn next_effect(&mut self, now: Timestamp) -> Effect {
        if self.work != Work::Idle {
            return Effect::Rest;
        }
        if let Durable::No { next, .. } = self.durable
            && next <= now
        {
            let record = Box::new(self.record.clone());
            return Effect::Save(self.begin(Work::Saving), record);
        }
        if self.renewal_at(now).is_none_or(|due| due > now) {
            return Effect::Rest;
        }
        match &self.network {
            Network::Doubtful(doubt) if doubt.next <= now => Effect::Probe(self.begin(Work::Probing)),
            Network::Doubtful(_) => Effect::Rest,
            Network::Trusted if self.not_before > now => Effect::Rest,
            Network::Trusted => self.renew(now),
        }
    }

    fn renew(&mut self, now: Timestamp) -> Effect {
        let secrets = &self.record.grant.secrets;
        if self.renew_key
            && !self.asked
            && let Some(id_token) = secrets.id_token().cloned()
        {
            return Effect::Exchange(self.begin(Work::Exchanging), id_token);
        }
        let Some(token) = secrets.refresh_token().cloned() else { return Effect::Rest };
        if self.journal_durable {
            return Effect::Refresh(self.begin(Work::Refreshing), token);
        }
        self.record.journal = Some(self.answer_lost_at.unwrap_or(now));
        let record = Box::new(self.record.clone());
        Effect::Save(self.begin(Work::Journalling), record)
    }

    /// When the next renewal is wanted, back-off aside.
    fn renewal_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.stopping || self.is_pinned() || !self.can_renew() {
            return None;
        }
        let wanted_now = self.asked || self.renew_key || self.journal_durable;
        Some(if wanted_now { now } else { self.planned_at() })
    }

    fn can_renew(&self) -> bool {
        self.record.ended.is_none() && self.record.grant.secrets.refresh_token().is_some()
    }

    fn planned_at(&self) -> Timestamp {
        let grant = &self.record.grant;
        let keep_alive = later(grant.issued_at, schedule::KEEP_ALIVE);
        match &grant.secrets {
            GrantSecrets::ApiKey(..) => keep_alive,
            GrantSecrets::ChatGpt(tokens, _) => {
                let due = schedule::refresh_at(grant.issued_at, tokens.expires_at, self.jitter(0));
                let unused = due > later(self.used_at, schedule::UNUSED_AFTER);
                if unused { due.max(keep_alive) } else { due }
            }
        }
    }

    /// The jitter of the `n`th decision about this generation; the schedule is the zeroth.
    fn jitter(&self, n: u32) -> Jitter {
        Jitter::of(self.seed, self.record.generation.wrapping_mul(1 << 16).wrapping_add(n.into()))
    }

    fn begin(&mut self, work: Work) -> u64 {
        self.work = work;
        self.ticket += 1;
        self.ticket
    }

    /// Whether this is the end of the call in flight; if so, the slot is free again.
    fn ends(&mut self, ticket: u64, work: Work) -> bool {
        let ends = ticket == self.ticket && self.work == work;
        if ends {
            self.work = Work::Idle;
        }
        ends
    }
}
