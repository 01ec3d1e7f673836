//! How each event changes the state of the invariants.

use std::time::Duration;

use authd_oauth::{
    Annotation, Grant, GrantSecrets, Mode, ProviderError, REJECTION_PAUSE, Rejected, Session,
    schedule::{self, earlier, later, shifted},
};
use jiff::{SignedDuration, Timestamp};

use super::{BACK_OFF, CheckResult, Invariants, LAST_MINUTE, LONGEST_RETRY_AFTER, Operation, SOON};
use crate::outcome::CallResult;

impl Invariants {
    pub(crate) fn may_renew(&self) -> bool {
        !self.ended && !self.stopping
    }

    /// An event from outside, or time, may start a new chain of calls.
    pub(crate) fn restart_chain(&mut self) {
        self.chain = 0;
    }

    pub(crate) fn resumed(&mut self) {
        (self.doubt, self.not_probed_since) = (true, true);
        self.old_probe = matches!(self.in_flight, Some((_, Operation::Probe)));
    }

    pub(crate) fn stopping(&mut self) {
        self.stopping = true;
    }

    pub(crate) fn signed_in(&mut self, grant: &Grant, now: Timestamp) {
        grant.secrets.refresh_token().unwrap().expose().clone_into(&mut self.newest);
        self.id_token = grant.secrets.id_token().map(|token| token.expose().to_owned());
        (self.scopes, self.refused_early) = (Default::default(), false);
        self.in_flight = None;
        (self.ended, self.doubt, self.not_probed_since, self.response_lost) = (false, false, false, false);
        (self.not_before, self.excused_until) = (now, now);
        (self.journal_failed, self.renewal_requested, self.paused_since) = (false, false, None);
        (self.rejected, self.annotations.1, self.store_failed_at) = (false, None, None);
    }

    pub(crate) fn annotated(&mut self, annotation: &Annotation) {
        match annotation {
            Annotation::DefaultRank(rank) => self.annotations.0 = *rank,
            Annotation::Intent(intent) => self.annotations.1.clone_from(intent),
        }
    }

    /// Moves all times with the clock.
    pub(crate) fn clock_set(&mut self, by: SignedDuration) {
        for at in [&mut self.not_before, &mut self.excused_until] {
            *at = shifted(*at, by);
        }
        for at in [&mut self.paused_since, &mut self.store_failed_at] {
            *at = at.map(|at| shifted(at, by));
        }
    }

    pub(crate) fn store_ready(&mut self, now: Timestamp) {
        if let Some(failed_at) = self.store_failed_at {
            self.not_before = self.not_before.min(later(failed_at, SOON).max(now));
        }
    }

    /// When the store works again, a pending save must be due soon.
    pub(crate) fn check_store_retry(&self, session: &Session, now: Timestamp) -> CheckResult {
        let soon = session.next_wakeup(now).is_some_and(|wake| wake <= later(now, SOON));
        check!(
            self.in_flight.is_some() || session.is_durable() || soon,
            "the store is ready, and no save is due"
        );
        Ok(())
    }

    /// The newest credential, saved or not, may satisfy the request.
    pub(crate) fn credential_requested(&mut self, span: Duration, session: &Session, now: Timestamp) {
        let grant = &session.record().grant;
        let is_credential = !matches!(grant.secrets, GrantSecrets::ApiKey(..));
        let expiry = grant.secrets.tokens().and_then(|tokens| tokens.expires_at).filter(|_| is_credential);
        if let (Some(expires), Some(due)) = (expiry, session.refresh_at()) {
            let issued = grant.issued_at;
            let counts = schedule::achievable_lifetime(span, issued, expires, due, now);
            // After an early refusal, no request helps before the expiry.
            self.renewal_requested |= schedule::lifetime(now, expires) <= counts && !self.refused_early;
        }
    }

    pub(crate) fn refresh_requested(
        &mut self,
        rejected: Option<&Rejected>,
        session: &Session,
        now: Timestamp,
    ) {
        let record = session.record();
        match rejected {
            None => self.renewal_requested = true,
            Some(Rejected { generation, grant_id }) => {
                let newest =
                    *generation == record.generation && grant_id.as_deref() == Some(&*record.grant_id);
                if newest && !self.is_paused(now) && !self.ended {
                    if self.refused_early && !self.rejected {
                        self.not_before = now;
                    }
                    (self.renewal_requested, self.rejected) = (true, true);
                }
            }
        }
    }

    pub(super) fn is_paused(&self, now: Timestamp) -> bool {
        self.paused_since.is_some_and(|at| now < later(at, REJECTION_PAUSE))
    }

    /// A client has requested a credential. If none is pending, there must be a reason.
    pub(crate) fn check_waiting_client(&self, session: &Session, now: Timestamp) -> CheckResult {
        let has_credential = session.credential().remaining(now) > Duration::ZERO;
        let excused = !self.may_renew() || session.has_open_move() || now < self.excused_until;
        check!(
            session.is_pending(now) || has_credential || excused,
            "no credential is pending, without a reason"
        );
        Ok(())
    }

    /// Records a result, if it is that of the call in flight.
    pub(crate) fn record_result(
        &mut self,
        ticket: u64,
        result: &CallResult,
        session: &Session,
        now: Timestamp,
    ) {
        if self.in_flight.as_ref().is_none_or(|(expected, _)| *expected != ticket) {
            return;
        }
        match (result, self.in_flight.take()) {
            (CallResult::Probed(true), _) => {
                self.doubt = false;
                self.not_probed_since &= self.old_probe;
            }
            (CallResult::Probed(false), _) => {}
            (CallResult::Saved(result), Some((_, Operation::Save { bearer, journal }))) => {
                if self.first.as_ref() == Some(&bearer) {
                    self.first = None;
                }
                let journal_failed = journal && result.is_err();
                let last_minute = session.credential().remaining(now) <= LAST_MINUTE;
                if journal {
                    self.journal_failed = journal_failed && last_minute;
                }
                if journal_failed && !last_minute {
                    self.back_off(None, now);
                    self.store_failed_at = Some(now);
                    // In the last minute the refresh does not wait for the store.
                    if let Some(expires) = session.credential().expires_at {
                        self.not_before = self.not_before.min(earlier(expires, LAST_MINUTE));
                    }
                }
                if result.is_err() {
                    self.unsaved.insert(bearer);
                }
            }
            (CallResult::Refreshed(Ok(renewal)), _) => {
                self.newest.clone_from(&renewal.refresh_token);
                self.id_token.clone_from(&renewal.id_token);
                if let (Some(scopes), Mode::Bearer) = (&renewal.scopes, session.record().grant.secrets.mode())
                {
                    self.scopes[0].clone_from(scopes);
                }
                (self.response_lost, self.journal_failed, self.refused_early) = (false, false, false);
                if !renewal.has_access_token {
                    self.renewal_requested = true;
                    self.back_off(None, now);
                    return;
                }
                (self.doubt, self.not_probed_since, self.renewal_requested) = (false, false, false);
                if session.record().grant.secrets.mode() != Mode::ApiKey {
                    self.paused_since = std::mem::take(&mut self.rejected).then_some(now);
                }
            }
            (CallResult::Exchanged(Ok(_)), _) => {
                (self.paused_since, self.rejected) = (Some(now), false);
                (self.doubt, self.not_probed_since, self.renewal_requested) = (false, false, false);
            }
            (CallResult::Refreshed(Err(ProviderError::Rejected { .. })), _)
                if self.doubts_refusal(session, now) =>
            {
                (self.refused_early, self.renewal_requested, self.doubt) = (true, false, false);
                (self.not_probed_since, self.journal_failed) = (false, false);
                self.back_off(None, now);
            }
            (CallResult::Refreshed(Err(failure)), _) => {
                self.response_lost |= failure.may_have_rotated();
                self.failed(failure, now);
            }
            (CallResult::Exchanged(Err(failure)), _) => self.failed(failure, now),
            (CallResult::Saved(_), _) => unreachable!("tickets are not used twice"),
        }
    }

    /// Whether a refusal of a defined provider is not final: the credential is still good.
    fn doubts_refusal(&self, session: &Session, now: Timestamp) -> bool {
        let is_valid = session.credential().remaining(now) > Duration::ZERO && !self.rejected;
        is_valid && session.record().grant.secrets.mode() == Mode::Bearer
    }

    /// A server asks for a scope that the present grant lacks.
    pub(crate) fn scope_missing(&mut self, scope: &str, session: &Session) {
        if session.record().grant.secrets.mode() == Mode::Bearer
            && !self.scopes[1].iter().any(|it| it == scope)
        {
            self.scopes[1].push(scope.to_owned());
        }
    }

    fn failed(&mut self, failure: &ProviderError, now: Timestamp) {
        match failure {
            ProviderError::Rejected { .. } => self.ended = true,
            // A successful probe may end the wait.
            ProviderError::NotSent { .. } | ProviderError::NoResponse { .. } => {
                self.doubt = true;
                self.excused_until = later(now, BACK_OFF.1);
            }
            ProviderError::Unavailable { retry_after, .. }
            | ProviderError::RejectedForNow { retry_after, .. } => self.back_off(*retry_after, now),
            ProviderError::NoClientSecret { .. } | ProviderError::InvalidResponse { .. } => {
                self.back_off(None, now);
            }
        }
    }

    fn back_off(&mut self, retry_after: Option<Duration>, now: Timestamp) {
        self.store_failed_at = None;
        let requested = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        self.not_before = later(now, requested.max(BACK_OFF.0));
        self.excused_until = later(now, requested.max(BACK_OFF.1));
    }
}
