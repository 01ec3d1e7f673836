//! What the watch remembers of each event.

use std::time::Duration;

use authd_oauth::{
    Annotation, Grant, GrantSecrets, Mode, ProviderError, REJECTION_PAUSE, Rejected, Session,
    schedule::{self, earlier, later, shifted},
};
use jiff::{SignedDuration, Timestamp};

use super::{BACK_OFF, Doing, LAST_MINUTE, LONGEST_RETRY_AFTER, SOON, Watch};
use crate::world::{Kept, Report};

impl Watch {
    pub(crate) fn may_renew(&self) -> bool {
        !self.ended && !self.stopping
    }

    /// Something came from outside, or time passed: a new chain of calls may begin.
    pub(crate) fn something_new(&mut self) {
        self.chain = 0;
    }

    pub(crate) fn woke(&mut self) {
        (self.doubt, self.unproven) = (true, true);
        self.old_probe = matches!(self.in_flight, Some((_, Doing::Probe)));
    }

    pub(crate) fn stopping(&mut self) {
        self.stopping = true;
    }

    pub(crate) fn signed_in(&mut self, grant: &Grant, now: Timestamp) {
        grant.secrets.refresh_token().unwrap().expose().clone_into(&mut self.newest);
        grant.secrets.id_token().unwrap().expose().clone_into(&mut self.id_token);
        self.in_flight = None;
        (self.ended, self.doubt, self.unproven, self.lost) = (false, false, false, false);
        (self.not_before, self.excused_until) = (now, now);
        (self.journal_failed, self.wanted, self.exchanged_at) = (false, false, None);
        (self.rejected, self.annotated.1, self.store_failed_at) = (false, None, None);
    }

    pub(crate) fn annotated(&mut self, annotation: &Annotation) {
        match annotation {
            Annotation::DefaultRank(rank) => self.annotated.0 = *rank,
            Annotation::Intent(intent) => self.annotated.1.clone_from(intent),
        }
    }

    /// What was to be done then is to be done then, whatever the clock calls it.
    pub(crate) fn clock_set(&mut self, by: SignedDuration) {
        for at in [&mut self.not_before, &mut self.excused_until] {
            *at = shifted(*at, by);
        }
        for at in [&mut self.exchanged_at, &mut self.store_failed_at] {
            *at = at.map(|at| shifted(at, by));
        }
    }

    pub(crate) fn store_is_ready(&mut self, now: Timestamp) {
        if let Some(failed_at) = self.store_failed_at {
            self.not_before = self.not_before.min(later(failed_at, SOON).max(now));
        }
    }

    /// A store that works again has not long to wait for what it did not take.
    pub(crate) fn uses_the_store(&self, session: &Session, now: Timestamp) -> Kept {
        let soon = session.next_wakeup(now).is_some_and(|wake| wake <= later(now, SOON));
        promise!(
            self.in_flight.is_some() || session.is_durable() || soon,
            "the store is ready, and it waits"
        );
        Ok(())
    }

    /// A wish that the newest credential meets, saved or not, is no reason for a newer one.
    pub(crate) fn wanted(&mut self, span: Duration, session: &Session, now: Timestamp) {
        let grant = &session.record().grant;
        if let (GrantSecrets::ChatGpt(tokens, _), Some(due)) = (&grant.secrets, session.refresh_at()) {
            let (issued, expires) = (grant.issued_at, tokens.expires_at);
            let counts = schedule::wish(span, issued, expires, due, now);
            self.wanted |= schedule::lifetime(now, expires) <= counts;
        }
    }

    pub(crate) fn asked(&mut self, rejected: Option<&Rejected>, session: &Session, now: Timestamp) {
        let record = session.record();
        match rejected {
            None => self.wanted = true,
            Some(Rejected { generation, grant_id }) => {
                let newest =
                    *generation == record.generation && grant_id.as_deref() == Some(&*record.grant_id);
                if newest && !self.pauses(now) && !self.ended {
                    (self.wanted, self.rejected) = (true, true);
                }
            }
        }
    }

    pub(super) fn pauses(&self, now: Timestamp) -> bool {
        self.exchanged_at.is_some_and(|at| now < later(at, REJECTION_PAUSE))
    }

    /// Somebody has just wanted a credential. To be told "nothing comes", there has to be a reason.
    pub(crate) fn somebody_waits(&self, session: &Session, now: Timestamp) -> Kept {
        let has_one = session.credential().lasts(now) > Duration::ZERO;
        let excused = !self.may_renew() || session.is_pinned() || now < self.excused_until;
        promise!(session.is_pending(now) || has_one || excused, "nothing comes, and nobody knows why");
        Ok(())
    }

    /// Takes in a result, if it is that of the call in flight.
    pub(crate) fn hears(&mut self, ticket: u64, report: &Report, session: &Session, now: Timestamp) {
        if self.in_flight.as_ref().is_none_or(|(expected, _)| *expected != ticket) {
            return;
        }
        match (report, self.in_flight.take()) {
            (Report::Probed(true), _) => {
                self.doubt = false;
                self.unproven &= self.old_probe;
            }
            (Report::Probed(false), _) => {}
            (Report::Saved(result), Some((_, Doing::Save { bearer, journal }))) => {
                if self.first.as_ref() == Some(&bearer) {
                    self.first = None;
                }
                let journal_failed = journal && result.is_err();
                let last_minute = session.credential().lasts(now) <= LAST_MINUTE;
                if journal {
                    self.journal_failed = journal_failed && last_minute;
                }
                if journal_failed && !last_minute {
                    self.backs_off(None, now);
                    self.store_failed_at = Some(now);
                    // The wait for the store may end when the last minute begins.
                    if let Some(expires) = session.credential().expires_at {
                        self.not_before = self.not_before.min(earlier(expires, LAST_MINUTE));
                    }
                }
                if result.is_err() {
                    self.failed.insert(bearer);
                }
            }
            (Report::Refreshed(Ok(renewal)), _) => {
                self.newest.clone_from(&renewal.brings);
                self.id_token.clone_from(&renewal.id_token);
                (self.lost, self.journal_failed) = (false, false);
                if !renewal.renews {
                    self.wanted = true;
                    self.backs_off(None, now);
                    return;
                }
                (self.doubt, self.unproven, self.wanted) = (false, false, false);
                if session.record().grant.secrets.mode() == Mode::ChatGpt {
                    self.exchanged_at = std::mem::take(&mut self.rejected).then_some(now);
                }
            }
            (Report::Exchanged(Ok(_)), _) => {
                (self.exchanged_at, self.rejected) = (Some(now), false);
                (self.doubt, self.unproven, self.wanted) = (false, false, false);
            }
            (Report::Refreshed(Err(failure)), _) => {
                self.lost |= failure.may_have_rotated();
                self.failed(failure, now);
            }
            (Report::Exchanged(Err(failure)), _) => self.failed(failure, now),
            (Report::Saved(_), _) => unreachable!("tickets are not used twice"),
        }
    }

    fn failed(&mut self, failure: &ProviderError, now: Timestamp) {
        match failure {
            ProviderError::Rejected { .. } => self.ended = true,
            // A probe may find that the wait is over, so that only the excuse is certain.
            ProviderError::NotSent { .. } | ProviderError::NoResponse { .. } => {
                self.doubt = true;
                self.excused_until = later(now, BACK_OFF.1);
            }
            ProviderError::Unavailable { retry_after, .. } => self.backs_off(*retry_after, now),
            ProviderError::InvalidResponse { .. } => self.backs_off(None, now),
        }
    }

    fn backs_off(&mut self, retry_after: Option<Duration>, now: Timestamp) {
        self.store_failed_at = None;
        let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        self.not_before = later(now, asked.max(BACK_OFF.0));
        self.excused_until = later(now, asked.max(BACK_OFF.1));
    }
}
