//! What callers ask of a session and report to it. Nothing here sends or saves: it changes what
//! [`Session::apply`] does next.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Annotation, Credential, Durable, Network, PROBE_PAUSE, REJECTION_PAUSE, Rejected, STORE_READY_PAUSE,
    Session, Work,
};
use crate::{
    Grant, Mode, Routing,
    schedule::{self, later},
};

impl Session {
    pub(super) fn wanted(&mut self, span: Duration, now: Timestamp) {
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

    /// A plain request always leads to a refresh. A rejection does, too, if it is about the newest credential and
    /// that credential is not itself the answer to a rejection of the last minutes.
    pub(super) fn refresh_asked(&mut self, rejected: Option<Rejected>, now: Timestamp) {
        self.used_at = self.used_at.max(now);
        let is_rejection = rejected.is_some();
        if rejected.is_some_and(|rejected| !self.is_newest(&rejected)) {
            return;
        }
        let is_key = self.record.grant.secrets.mode() == Mode::ApiKey;
        if self.record.ended.is_some() {
            // A key may outlive the tokens that renew it, until an upstream refuses it.
            self.spent |= is_key && is_rejection;
            return;
        }
        let paused = self.paused_since.is_some_and(|at| now < later(at, REJECTION_PAUSE));
        if is_rejection && paused {
            return;
        }
        self.asked = true;
        self.rejected |= is_rejection;
        self.renew_key = is_key && !paused;
    }

    /// A credential that works can be refused for a new reason: then it is renewed at once again.
    pub(super) fn accepted(&mut self, generation: u64) {
        if generation == self.record.generation {
            self.paused_since = None;
        }
    }

    /// Whether a rejection is about the newest credential. Any other one has its successor already, or on its way.
    fn is_newest(&self, rejected: &Rejected) -> bool {
        let same_grant =
            rejected.grant_id.as_ref().is_none_or(|grant_id| **grant_id == *self.record.grant_id);
        same_grant && rejected.generation == self.record.generation
    }

    /// Changed headers are a new credential for a client that caches them. The time is kept in any case, or every
    /// start would ask the provider again. While a call is in flight, the new routing waits: its generation must
    /// not be served before it is saved. An answer about another workspace than the present one is dropped: a
    /// token must not be sent to another workspace's host.
    pub(super) fn routed(&mut self, workspace: Box<str>, routing: Routing, now: Timestamp) {
        let Grant { identity, secrets, .. } = &self.record.grant;
        if identity.account_id.as_ref() != Some(&workspace) || secrets.mode() != Mode::ChatGpt {
            return;
        }
        if self.work == Work::Idle {
            self.record.generation += u64::from(*self.record.routing != routing);
            self.record.routing = routing.shared();
            self.record.routed_at = Some(now);
            self.durable = Durable::due(now);
        } else {
            self.pending_routing = Some(Box::new((workspace, routing)));
        }
    }

    /// An annotation is part of the record at once, in the order of the events. It makes no new credential.
    pub(super) fn annotated(&mut self, annotation: Annotation, now: Timestamp) {
        match annotation {
            Annotation::DefaultRank(rank) => self.record.default_rank = rank,
            Annotation::Intent(intent) => self.record.intent = intent,
        }
        self.save_again(now);
    }

    /// The store works again: a save or a journal entry that waits for it is tried now, or a second after the
    /// last try.
    pub(super) fn store_ready(&mut self, now: Timestamp) {
        let soonest = |tried_at: Timestamp| later(tried_at, STORE_READY_PAUSE).max(now);
        if let Durable::No { next, tried_at: Some(tried_at), .. } = &mut self.durable {
            *next = (*next).min(soonest(*tried_at));
        }
        if let Some(failed_at) = self.journal_failed_at {
            self.not_before = self.not_before.min(soonest(failed_at));
        }
    }

    /// What is not saved yet is saved now, with the time that is left.
    pub(super) fn stop(&mut self, now: Timestamp) {
        self.stopping = true;
        if let Durable::No { next, .. } = &mut self.durable {
            *next = (*next).min(now);
        }
    }

    /// The record is due for saving. What is saved by a call in flight does not count: it is the record as it was
    /// when the call began.
    pub(super) fn save_again(&mut self, now: Timestamp) {
        if self.work == Work::Idle {
            self.durable = Durable::due(now);
        } else {
            self.changed = true;
        }
    }

    /// Takes up what had to wait for the end of the call in flight.
    pub(super) fn apply_pending(&mut self, now: Timestamp) {
        if std::mem::take(&mut self.changed) {
            self.durable = Durable::due(now);
        }
        if let Some(pending) = self.pending_routing.take() {
            let (workspace, routing) = *pending;
            self.routed(workspace, routing, now);
        }
    }
}
