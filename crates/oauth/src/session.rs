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

pub use self::words::{Credential, Effect, Event, Outlook, Standing, Trouble, Unsaved};
use crate::{
    Grant, Holding, Mode, Record, Routing,
    schedule::{self, Jitter, later},
};

mod beginning;
mod results;
mod words;

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

/// An API key is renewed at most this often, so that a key refused again right after its renewal does
/// not turn every request into an exchange.
const KEY_PAUSE: Duration = Duration::from_secs(5 * 60);

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
    /// Not yet, or not after so many tries; the next one at this time.
    No {
        failures: u32,
        next: Timestamp,
    },
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
    /// What is served is not durable.
    unsaved: bool,
    journal_durable: bool,
    network: Network,
    failures: u32,
    not_before: Timestamp,
    answer_lost_at: Option<Timestamp>,
    asked: bool,
    renew_key: bool,
    /// An API key was refused by an upstream, and cannot be renewed any more.
    spent: bool,
    key_renewed_at: Option<Timestamp>,
    used_at: Timestamp,
    trouble: Option<Arc<Trouble>>,
    /// A workspace's routing that waits for the call in flight.
    told: Option<Box<(Box<str>, Routing)>>,
    stopping: bool,
    seed: u64,
}

impl Session {
    /// Takes in what happened, and says what to do now.
    pub fn apply(&mut self, event: Event, now: Timestamp) -> Effect {
        match event {
            Event::Used(at) => self.used_at = self.used_at.max(at),
            Event::Wanted(span) => self.wanted(span, now),
            Event::RefreshAsked(rejected) => self.refresh_asked(rejected, now),
            Event::Routed(workspace, routing) => self.routed(workspace, routing, now),
            Event::Unkept(id_token) => {
                self.record.recollect(id_token);
                self.durable = Durable::No { failures: 0, next: now };
            }
            Event::Stopping => self.stopping = true,
            Event::Woke => self.doubt_network(now, false),
            Event::SignedIn(grant) => self.replace(*grant, now),
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
        if self.work == Work::Idle
            && let Some(told) = self.told.take()
        {
            let (workspace, routing) = *told;
            self.routed(workspace, routing, now);
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
    pub fn outlook(&self) -> Outlook {
        Outlook {
            ended: self.record.ended.is_some(),
            spent: self.spent,
            unsaved: self.unsaved,
            renewing: matches!(self.work, Work::Journalling | Work::Refreshing | Work::Exchanging),
        }
    }

    /// Whether the profile can be used now.
    pub fn standing(&self, now: Timestamp) -> Standing {
        self.outlook().standing(&self.served, now)
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
    pub fn trouble(&self) -> Option<&Arc<Trouble>> {
        self.trouble.as_ref()
    }

    /// Whether all that is known is durable.
    pub fn is_durable(&self) -> bool {
        matches!(self.durable, Durable::Yes)
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

    fn wanted(&mut self, span: Duration, now: Timestamp) {
        self.used_at = self.used_at.max(now);
        // What is on its way to the store already counts: it is served as soon as it is there.
        let newest = Credential::of(&self.record);
        let counts = |expires| schedule::wish(span, newest.issued_at, expires, self.planned_at(), now);
        if newest.lasts(now) <= newest.expires_at.map_or(span, counts) {
            self.asked = true;
        }
        if let Network::Doubtful(doubt) = &mut self.network {
            doubt.next = doubt.next.min(later(now, PROBE_PAUSE));
        }
    }

    fn refresh_asked(&mut self, rejected: Option<u64>, now: Timestamp) {
        self.used_at = self.used_at.max(now);
        // A generation that is not the newest one has its successor already, or on its way.
        if rejected.is_some_and(|generation| generation != self.record.generation) {
            return;
        }
        let is_key = self.record.grant.holding.mode() == Mode::ApiKey;
        if self.record.ended.is_some() {
            // A key may outlive the tokens that renew it, until somebody refuses it.
            self.spent |= is_key && rejected.is_some();
            return;
        }
        let recently = self.key_renewed_at.is_some_and(|at| now < later(at, KEY_PAUSE));
        if rejected.is_some() && is_key && recently {
            return;
        }
        self.asked = true;
        self.renew_key = is_key && !recently;
    }

    /// Headers that changed are another credential to whoever keeps them. That it was asked is kept in
    /// any case, or every start would ask again. While the record is on its way to the store it stays as
    /// it is: what is saved then would count as all there is. An answer that was asked for before somebody
    /// signed in to another workspace says nothing of this one: a token must not follow it.
    fn routed(&mut self, workspace: Box<str>, routing: Routing, now: Timestamp) {
        let Grant { identity, holding, .. } = &self.record.grant;
        if identity.account_id.as_ref() != Some(&workspace) || holding.mode() != Mode::ChatGpt {
            return;
        }
        if self.work == Work::Idle {
            self.record.generation += u64::from(*self.record.routing != routing);
            self.record.routing = routing.shared();
            self.record.routed_at = Some(now);
            self.durable = Durable::No { failures: 0, next: now };
        } else {
            self.told = Some(Box::new((workspace, routing)));
        }
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
        let holding = &self.record.grant.holding;
        if self.renew_key
            && !self.asked
            && let Some(id_token) = holding.id_token().cloned()
        {
            return Effect::Exchange(self.begin(Work::Exchanging), id_token);
        }
        let Some(token) = holding.refresh_token().cloned() else { return Effect::Rest };
        if self.journal_durable {
            return Effect::Refresh(self.begin(Work::Refreshing), token);
        }
        self.record.journal = Some(self.answer_lost_at.unwrap_or(now));
        let record = Box::new(self.record.clone());
        Effect::Save(self.begin(Work::Journalling), record)
    }

    /// When the next renewal is wanted, back-off aside.
    fn renewal_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.stopping || !self.can_renew() {
            return None;
        }
        let wanted_now = self.asked || self.renew_key || self.journal_durable;
        Some(if wanted_now { now } else { self.planned_at() })
    }

    fn can_renew(&self) -> bool {
        self.record.ended.is_none() && self.record.grant.holding.refresh_token().is_some()
    }

    fn planned_at(&self) -> Timestamp {
        let grant = &self.record.grant;
        let keep_alive = later(grant.issued_at, schedule::KEEP_ALIVE);
        match &grant.holding {
            Holding::ApiKey(..) => keep_alive,
            Holding::ChatGpt(tokens, _) => {
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
