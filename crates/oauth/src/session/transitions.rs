//! Results of calls: one function for each kind of call, and their shared steps.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Credential, LAST_MINUTE, LONGEST_PROBE_PAUSE, LONGEST_SAVE_PAUSE, LastError, PROBE_PAUSE, PendingSave,
    RECENT_USE, STOPPING_SAVE_PAUSE, SaveError, Session,
};
use crate::{
    ApiKey, ErrorCode, GrantEnd, GrantSecrets, ProviderError, RefreshResponse, claims,
    schedule::{self, earlier, later},
};

impl Session {
    pub(super) fn probed(&mut self, ticket: u64, reached: bool, now: Timestamp) {
        let Some(doubt) = &mut self.network_doubt else { return };
        if ticket <= doubt.since_ticket {
            return;
        }
        if reached {
            // If the network was down, the wait is over. If it was up all along and the provider
            // fails behind it, the back-off stays.
            if doubt.after_failure && (doubt.failed_probes > 0 || self.failures <= 1) {
                self.not_before = now;
            }
            self.network_doubt = None;
        } else {
            let is_waited_for = now < later(self.used_at, RECENT_USE);
            let doublings = if is_waited_for { 0 } else { doubt.failed_probes.min(8) };
            doubt.next_probe = later(now, (PROBE_PAUSE * (1 << doublings)).min(LONGEST_PROBE_PAUSE));
            doubt.failed_probes += 1;
        }
    }

    pub(super) fn journalled(&mut self, result: Result<(), SaveError>, now: Timestamp) {
        match result {
            Ok(()) => {
                self.journal_saved = true;
                self.journal_failed_at = None;
                self.record_saved();
            }
            Err(_) if self.credential.remaining(now) <= LAST_MINUTE => {
                self.journal_saved = true;
                self.journal_failed_at = None;
            }
            Err(error) => {
                self.record.journal = self.answer_lost_at;
                self.back_off(None, now);
                self.journal_failed_at = Some(now);
                // However long the store fails, try again when the last minute begins.
                if let Some(expires) = self.credential.expires_at {
                    self.not_before = self.not_before.min(earlier(expires, LAST_MINUTE));
                }
                self.last_error = Some(Arc::new(LastError::Store(error)));
            }
        }
    }

    pub(super) fn refreshed(&mut self, result: Result<RefreshResponse, ProviderError>, now: Timestamp) {
        // A claim permits one call.
        self.journal_saved &= self.shared.is_none();
        match result {
            Ok(response) => {
                self.mark_successor();
                // The token that was sent is spent, and its successor is known.
                self.journal_saved = false;
                self.record.journal = None;
                self.answer_lost_at = None;
                self.pending_save = Some(PendingSave::due(now));
                match response.lacks_access_token() {
                    None => {
                        self.clear_failures();
                        self.renewed(response, now);
                    }
                    // The provider rotated the refresh token and sent no access token. The new
                    // refresh token is the only valid one: save it, and use it after a pause. The
                    // reason for the refresh still stands.
                    Some(error) => {
                        self.merge(response, now);
                        self.failed(error, now);
                    }
                }
            }
            Err(ProviderError::Rejected { code, .. }) if self.doubts_refusal(now) => {
                self.refused_early(code, now);
            }
            Err(ProviderError::Rejected { code, .. }) => self.end(code, now),
            Err(error) => {
                if error.may_have_rotated() {
                    self.answer_lost_at = self.answer_lost_at.or(self.record.journal);
                }
                // The journal entry stays valid: the same token is sent again.
                self.failed(error, now);
            }
        }
    }

    pub(super) fn exchanged(&mut self, result: Result<ApiKey, ProviderError>, now: Timestamp) {
        self.journal_saved &= self.shared.is_none();
        match result {
            Ok(new_key) => {
                self.mark_successor();
                self.clear_failures();
                (self.exchange_requested, self.credential_rejected) = (false, false);
                self.paused_since = Some(now);
                self.renewals += 1;
                if let GrantSecrets::ApiKey(key, _) = &mut self.record.grant.secrets {
                    *key = new_key;
                }
                self.record.generation += 1;
                self.pending_save = Some(PendingSave::due(now));
            }
            Err(ProviderError::Rejected { code, status }) if ends_key(status, &code) => self.end(code, now),
            Err(error) => self.failed(error, now),
        }
    }

    pub(super) fn saved(&mut self, result: Result<(), SaveError>, now: Timestamp) {
        let Some(PendingSave { failures, .. }) = self.pending_save else { return };
        match result {
            Ok(()) => {
                self.record_saved();
                // A store error stays while a journal entry waits for the store.
                if matches!(self.last_error.as_deref(), Some(LastError::Store(_)))
                    && self.journal_failed_at.is_none()
                {
                    self.last_error = None;
                }
            }
            Err(error) => {
                let failures = failures + 1;
                let longest = if self.stopping { STOPPING_SAVE_PAUSE } else { LONGEST_SAVE_PAUSE };
                let pause = schedule::back_off(failures, None, self.jitter(failures)).min(longest);
                let next_attempt = later(now, pause);
                self.pending_save = Some(PendingSave { failures, next_attempt, last_attempt: Some(now) });
                self.credential_unsaved = true;
                self.last_error = Some(Arc::new(LastError::Store(error)));
            }
        }
        // Serve the newest credential even if it is not saved: the one before may be dead already.
        self.credential = Credential::of(&self.record).into();
    }

    fn record_saved(&mut self) {
        self.pending_save = None;
        self.credential_unsaved = false;
        // If the record changed meanwhile, the next save may need the id token.
        if !self.changed_during_call {
            self.record.drop_id_token();
        }
    }

    /// A renewal that answers a rejection starts a pause for further rejections. Any other ends it.
    fn renewed(&mut self, response: RefreshResponse, now: Timestamp) {
        self.merge(response, now);
        self.record.grant.issued_at = now;
        self.renewals += 1;
        // In API-key mode the key is the credential, and it stays the same.
        if self.policy().token_is_credential {
            self.record.generation += 1;
            self.paused_since = std::mem::take(&mut self.credential_rejected).then_some(now);
        }
    }

    /// Merges a response into the grant. The user and the workspace stay those of the login. An id
    /// token that cannot be parsed changes nothing.
    fn merge(&mut self, response: RefreshResponse, now: Timestamp) {
        let grant = &mut self.record.grant;
        let attested = grant.secrets.renew(response, now).map(claims::identity);
        if let Some(Ok(newer)) = attested {
            let identity = Arc::make_mut(&mut grant.identity);
            identity.plan = newer.plan.or(identity.plan.take());
            identity.email = newer.email.or(identity.email.take());
        }
    }

    /// Whether a refusal of the refresh token may be an error of the provider: the credential is
    /// still valid, and no upstream has rejected it.
    fn doubts_refusal(&self, now: Timestamp) -> bool {
        let is_valid = !self.credential_rejected && !self.credential.remaining(now).is_zero();
        is_valid && self.policy().doubts_early_refusal
    }

    /// Keeps the refused token for one more attempt. The attempt may be hours ahead, and a response
    /// has arrived. So the journal entry ends, unless the response to an earlier attempt was lost.
    fn refused_early(&mut self, code: ErrorCode, now: Timestamp) {
        self.clear_failures();
        self.early_refusal = Some(Arc::new(LastError::EarlyRefusal(code)));
        self.journal_saved = false;
        self.record.journal = self.answer_lost_at;
        self.pending_save = Some(PendingSave::due(now));
        self.back_off(None, now);
    }

    fn clear_failures(&mut self) {
        self.renewal_requested = false;
        (self.failures, self.refusals) = (0, 0);
        self.network_doubt = None;
        (self.last_error, self.early_refusal) = (None, None);
    }

    fn failed(&mut self, error: ProviderError, now: Timestamp) {
        let (retry_after, refusals) = match &error {
            ProviderError::Unavailable { retry_after, .. } => (*retry_after, 0),
            ProviderError::NotSent { .. } | ProviderError::NoResponse { .. } => {
                self.doubt_network(now, true);
                (None, 0)
            }
            ProviderError::NoClientSecret { .. } | ProviderError::InvalidResponse { .. } => (None, 0),
            ProviderError::RejectedForNow { retry_after, .. } => (*retry_after, self.refusals + 1),
            ProviderError::Rejected { .. } => (None, self.refusals + 1),
        };
        self.refusals = refusals;
        self.back_off(retry_after, now);
        let next_attempt = self.not_before;
        self.last_error = Some(Arc::new(LastError::Provider { error, next_attempt, refusals }));
    }

    pub(super) fn back_off(&mut self, retry_after: Option<Duration>, now: Timestamp) {
        self.failures += 1;
        self.journal_failed_at = None;
        let pause = schedule::back_off(self.failures, retry_after, self.jitter(self.failures));
        self.not_before = later(now, pause);
    }

    fn end(&mut self, code: ErrorCode, now: Timestamp) {
        (self.renewal_requested, self.credential_rejected) = (false, false);
        self.spent = std::mem::take(&mut self.exchange_requested);
        self.journal_saved = false;
        self.record.journal = None;
        let answer_lost_at = self.answer_lost_at.take();
        self.record.ended = Some(Arc::new(GrantEnd { code, at: now, answer_lost_at }));
        self.pending_save = Some(PendingSave::due(now));
    }
}

/// Whether this rejection of an exchange ends the API key's renewal. After any other, a later
/// exchange may succeed.
fn ends_key(status: u16, code: &ErrorCode) -> bool {
    status == 401 || code.as_str() == "invalid_subject_token" || code.ends_grant()
}
