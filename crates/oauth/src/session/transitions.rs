//! What the end of a call changes: one function for each kind of call, and what they share.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Credential, Durable, LAST_MINUTE, LONGEST_PROBE_PAUSE, LONGEST_SAVE_PAUSE, LastError, Network,
    PROBE_PAUSE, STOPPING_SAVE_PAUSE, SaveError, Session, WAITING,
};
use crate::{
    ApiKey, Code, GrantEnd, GrantSecrets, Mode, ProviderError, RefreshAnswer, claims,
    schedule::{self, earlier, later},
};

impl Session {
    pub(super) fn probed(&mut self, ticket: u64, reached: bool, now: Timestamp) {
        let Network::Doubtful(doubt) = &mut self.network else { return };
        if ticket <= doubt.since {
            return;
        }
        if reached {
            // The wait was for the network, unless the network was there all along and something
            // behind it fails: then the back-off stands.
            if doubt.since_failure && (doubt.probes > 0 || self.failures <= 1) {
                self.not_before = now;
            }
            self.network = Network::Trusted;
        } else {
            let waited_for = now < later(self.used_at, WAITING);
            let pause = if waited_for { PROBE_PAUSE } else { PROBE_PAUSE * (1 << doubt.probes.min(8)) };
            doubt.next = later(now, pause.min(LONGEST_PROBE_PAUSE));
            doubt.probes += 1;
        }
    }

    pub(super) fn journalled(&mut self, result: Result<(), SaveError>, now: Timestamp) {
        match result {
            Ok(()) => {
                self.journal_durable = true;
                self.journal_failed_at = None;
                self.rests();
            }
            Err(_) if self.served.lasts(now) <= LAST_MINUTE => {
                self.journal_durable = true;
                self.journal_failed_at = None;
            }
            Err(message) => {
                self.record.journal = self.answer_lost_at;
                self.back_off(None, now);
                self.journal_failed_at = Some(now);
                // However long the store fails, the last minute is not slept through.
                if let Some(expires) = self.served.expires_at {
                    self.not_before = self.not_before.min(earlier(expires, LAST_MINUTE));
                }
                self.last_error = Some(Arc::new(LastError::Store(message)));
            }
        }
    }

    pub(super) fn refreshed(&mut self, result: Result<RefreshAnswer, ProviderError>, now: Timestamp) {
        match result {
            Ok(answer) => {
                // The token that was sent is spent, and its successor is known.
                self.journal_durable = false;
                self.record.journal = None;
                self.answer_lost_at = None;
                self.durable = Durable::due(now);
                match answer.lacks_access_token() {
                    None => {
                        self.recovered();
                        self.renewed(answer, now);
                    }
                    // Nothing is renewed, and the new refresh token is the only one that still works: it is
                    // saved, and spent after a pause. What the refresh was due to still stands.
                    Some(failure) => {
                        self.take_in(answer, now);
                        self.failed(failure, now);
                    }
                }
            }
            Err(ProviderError::Rejected { code, .. }) => self.end(code, now),
            Err(failure) => {
                if failure.may_have_rotated() {
                    self.answer_lost_at = self.answer_lost_at.or(self.record.journal);
                }
                // The journal entry stands: the same token is sent again.
                self.failed(failure, now);
            }
        }
    }

    pub(super) fn exchanged(&mut self, result: Result<ApiKey, ProviderError>, now: Timestamp) {
        match result {
            Ok(key) => {
                self.recovered();
                (self.renew_key, self.rejected) = (false, false);
                self.paused_since = Some(now);
                self.renewals += 1;
                if let GrantSecrets::ApiKey(held, _) = &mut self.record.grant.secrets {
                    *held = key;
                }
                self.record.generation += 1;
                self.durable = Durable::due(now);
            }
            Err(ProviderError::Rejected { code, .. }) => self.end(code, now),
            Err(failure) => self.failed(failure, now),
        }
    }

    pub(super) fn saved(&mut self, result: Result<(), SaveError>, now: Timestamp) {
        let Durable::No { failures, .. } = self.durable else { return };
        match result {
            Ok(()) => {
                self.rests();
                // A journal entry that waits is the reason why nothing is sent.
                if matches!(self.last_error.as_deref(), Some(LastError::Store(_)))
                    && self.journal_failed_at.is_none()
                {
                    self.last_error = None;
                }
            }
            Err(message) => {
                let failures = failures + 1;
                let longest = if self.stopping { STOPPING_SAVE_PAUSE } else { LONGEST_SAVE_PAUSE };
                let pause = schedule::back_off(failures, None, self.jitter(failures)).min(longest);
                self.durable = Durable::No { failures, next: later(now, pause), tried_at: Some(now) };
                self.unsaved = true;
                self.last_error = Some(Arc::new(LastError::Store(message)));
            }
        }
        // Saved or not: nothing better than the newest credential can be had, and the one before it
        // may be dead already.
        self.served = Credential::of(&self.record).into();
    }

    /// All that is known is at rest.
    fn rests(&mut self) {
        self.durable = Durable::Yes;
        self.unsaved = false;
        // What changed meanwhile may be what the record needs at rest.
        if !self.changed {
            self.record.drop_id_token();
        }
    }

    /// A renewal that answers a rejection is followed by a pause for further ones; any other renewal ends that.
    pub(super) fn renewed(&mut self, answer: RefreshAnswer, now: Timestamp) {
        self.take_in(answer, now);
        self.record.grant.issued_at = now;
        self.renewals += 1;
        match self.record.grant.secrets.mode() {
            Mode::ChatGpt => {
                self.record.generation += 1;
                self.paused_since = std::mem::take(&mut self.rejected).then_some(now);
            }
            // The key is the credential, and it is the same one.
            Mode::ApiKey => {}
        }
    }

    /// Takes over what an answer brings. The login settled which user it is; an id token that cannot be read
    /// changes nothing and loses nothing.
    fn take_in(&mut self, answer: RefreshAnswer, now: Timestamp) {
        let grant = &mut self.record.grant;
        let brought = grant.secrets.renew(answer, now).map(claims::identity);
        if let Some(Ok(newer)) = brought {
            let identity = Arc::make_mut(&mut grant.identity);
            identity.plan = newer.plan.or(identity.plan.take());
            identity.email = newer.email.or(identity.email.take());
        }
    }

    pub(super) fn recovered(&mut self) {
        self.asked = false;
        self.failures = 0;
        self.network = Network::Trusted;
        self.last_error = None;
    }

    pub(super) fn failed(&mut self, failure: ProviderError, now: Timestamp) {
        let retry_after = match &failure {
            ProviderError::Unavailable { retry_after, .. } => *retry_after,
            ProviderError::NotSent { .. } | ProviderError::NoResponse { .. } => {
                self.doubt_network(now, true);
                None
            }
            ProviderError::InvalidResponse { .. } | ProviderError::Rejected { .. } => None,
        };
        self.back_off(retry_after, now);
        self.last_error = Some(Arc::new(LastError::Provider(failure, self.not_before)));
    }

    pub(super) fn back_off(&mut self, retry_after: Option<Duration>, now: Timestamp) {
        self.failures += 1;
        self.journal_failed_at = None;
        self.not_before =
            later(now, schedule::back_off(self.failures, retry_after, self.jitter(self.failures)));
    }

    pub(super) fn end(&mut self, code: Code, now: Timestamp) {
        (self.asked, self.rejected) = (false, false);
        self.spent = std::mem::take(&mut self.renew_key);
        self.journal_durable = false;
        self.record.journal = None;
        let answer_lost_at = self.answer_lost_at.take();
        self.record.ended = Some(Arc::new(GrantEnd { code, at: now, answer_lost_at }));
        self.durable = Durable::due(now);
    }
}
