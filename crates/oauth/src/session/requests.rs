//! Events from callers and from the store. They send and save nothing: they change what
//! [`Session::apply`] does next.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Annotation, Credential, PROBE_PAUSE, PendingSave, REJECTION_PAUSE, Rejected, STORE_READY_PAUSE, Session,
};
use crate::{
    Grant, GrantSecrets, Mode, Routing,
    schedule::{self, later},
};

impl Session {
    pub(super) fn request_credential(&mut self, lifetime: Duration, now: Timestamp) {
        self.used_at = self.used_at.max(now);
        // A credential that is still being saved counts already: clients get it after the save.
        let newest = Credential::of(&self.record);
        let planned = newest.expires_at.zip(self.planned_at());
        let needed = planned.map_or(lifetime, |(expires, due)| {
            schedule::achievable_lifetime(lifetime, newest.issued_at, expires, due, now)
        });
        // After an early refusal no request can be satisfied before the expiry.
        if newest.remaining(now) <= needed && self.early_refusal.is_none() {
            self.renewal_requested = true;
        }
        if let Some(doubt) = &mut self.network_doubt {
            doubt.next_probe = doubt.next_probe.min(later(now, PROBE_PAUSE));
        }
    }

    /// A plain request always leads to a refresh. A rejection does if it is about the newest
    /// credential, and if that credential does not answer a rejection of the last minutes itself.
    pub(super) fn request_refresh(&mut self, rejected: Option<Rejected>, now: Timestamp) {
        self.used_at = self.used_at.max(now);
        let is_rejection = rejected.is_some();
        if rejected.is_some_and(|rejected| !self.is_newest(&rejected)) {
            return;
        }
        let is_key = !self.policy().token_is_credential;
        if self.record.ended.is_some() {
            // An API key may outlive the tokens that renew it, until an upstream rejects it.
            self.spent |= is_key && is_rejection;
            return;
        }
        if is_rejection && self.counts_rejections() {
            self.reject_unrenewable(now);
            return;
        }
        let is_paused = self.paused_since.is_some_and(|at| now < later(at, REJECTION_PAUSE));
        if is_rejection && is_paused {
            return;
        }
        if is_rejection && !self.credential_rejected && self.early_refusal.is_some() {
            // Both servers call the grant invalid, so the answer to the next attempt is final.
            self.not_before = now;
        }
        self.renewal_requested = true;
        self.credential_rejected |= is_rejection;
        self.exchange_requested = is_key && !is_paused;
    }

    /// One rejection of a token that cannot be renewed may be an error of the server: the token is
    /// served on, and the status tells the user. Another one after [`REJECTION_PAUSE`] ends its
    /// use, unless an upstream has accepted the token in between.
    fn reject_unrenewable(&mut self, now: Timestamp) {
        let since = *self.paused_since.get_or_insert(now);
        self.spent |= now >= later(since, REJECTION_PAUSE);
    }

    /// Records that a server asks for more scopes. It makes no new credential.
    pub(super) fn add_missing_scopes(
        &mut self,
        grant_id: Option<Box<str>>,
        scopes: &[String],
        now: Timestamp,
    ) {
        let is_newest = grant_id.is_none_or(|id| *id == *self.record.grant_id);
        if let GrantSecrets::Bearer(grant) = &mut self.record.grant.secrets
            && is_newest
            && grant.add_missing_scopes(scopes)
        {
            // Readers see at once what is missing. The credential of an earlier grant, which is
            // served until the present one is saved, keeps its own authorization server.
            if self.credential.grant_id == self.record.grant_id {
                Arc::make_mut(&mut self.credential).authority = Some(grant.authority.clone());
            }
            self.save_again(now);
        }
    }

    /// Ends the pause: a rejection after an acceptance has a new reason.
    pub(super) fn accept_credential(&mut self, generation: u64) {
        if generation == self.record.generation {
            self.paused_since = None;
        }
    }

    fn is_newest(&self, rejected: &Rejected) -> bool {
        let same_grant =
            rejected.grant_id.as_ref().is_none_or(|grant_id| **grant_id == *self.record.grant_id);
        same_grant && rejected.generation == self.record.generation
    }

    /// Changed headers are a new credential for a client that caches them. The time is recorded
    /// even without a change: otherwise every start would query the provider.
    ///
    /// While a call is in flight, the routing waits: its generation must not be served before it is
    /// saved. The routing of another workspace is dropped: a token must not be sent to another
    /// workspace's host.
    pub(super) fn set_routing(&mut self, workspace: Box<str>, routing: Routing, now: Timestamp) {
        let Grant { identity, secrets, .. } = &self.record.grant;
        if identity.account_id.as_ref() != Some(&workspace) || secrets.mode() != Mode::ChatGpt {
            return;
        }
        if self.is_idle() {
            self.record.generation += u64::from(*self.record.routing != routing);
            self.record.routing = routing.shared();
            self.record.routed_at = Some(now);
            self.pending_save = Some(PendingSave::due(now));
        } else {
            self.pending_routing = Some(Box::new((workspace, routing)));
        }
    }

    /// Changes the record at once, in the order of the events. It makes no new credential.
    pub(super) fn annotate(&mut self, annotation: Annotation, now: Timestamp) {
        match annotation {
            Annotation::DefaultRank(rank) => self.record.default_rank = rank,
            Annotation::Intent(intent) => self.record.intent = intent,
        }
        self.save_again(now);
    }

    /// Retries a failed save or journal entry now, or a second after the last attempt.
    pub(super) fn retry_save(&mut self, now: Timestamp) {
        let earliest = |last_attempt: Timestamp| later(last_attempt, STORE_READY_PAUSE).max(now);
        if let Some(PendingSave { next_attempt, last_attempt: Some(last), .. }) = &mut self.pending_save {
            *next_attempt = (*next_attempt).min(earliest(*last));
        }
        if let Some(failed_at) = self.journal_failed_at {
            self.not_before = self.not_before.min(later(earliest(failed_at), self.recovery_pause()));
        }
    }

    pub(super) fn stop(&mut self, now: Timestamp) {
        self.stopping = true;
        if let Some(save) = &mut self.pending_save {
            save.next_attempt = save.next_attempt.min(now);
        }
    }

    /// Schedules a save of the record. A save in flight does not count: it writes the record as it
    /// was when the save began.
    pub(super) fn save_again(&mut self, now: Timestamp) {
        if self.is_idle() {
            self.pending_save = Some(PendingSave::due(now));
        } else {
            self.changed_during_call = true;
        }
    }

    /// Applies changes that waited for the end of the call in flight.
    pub(super) fn apply_pending(&mut self, now: Timestamp) {
        if std::mem::take(&mut self.changed_during_call) {
            self.pending_save = Some(PendingSave::due(now));
        }
        self.take_over(now);
        if let Some(pending) = self.pending_routing.take() {
            let (workspace, routing) = *pending;
            self.set_routing(workspace, routing, now);
        }
    }
}
