//! How a session handles a wall clock that is set, and a record that was written under a wrong
//! clock.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{LONGEST_PROBE_PAUSE, LONGEST_SAVE_PAUSE, LastError, PendingSave, Session};
use crate::{
    Record,
    record::RenewalPolicy,
    schedule::{self, earlier, later, lifetime, shifted},
    token::expiry_of_old,
};

/// A past event that lies further ahead than this was recorded under a wrong clock.
const TOLERANCE: Duration = Duration::from_secs(60);

impl Session {
    /// Moves every time that the session holds by the amount that the wall clock was set by. Each
    /// stays the same moment under the new clock, so ages, waits and remaining lifetimes do not
    /// change. A clock that is set neither stops a renewal nor makes one due.
    ///
    /// The expiry moves too, although it comes from the token's `exp`, by the provider's clock. If
    /// our clock was wrong before, the moved expiry is off by the same error. That is harmless:
    /// after a clock that was ahead, the renewal is early. Under a clock that was behind by more
    /// than five minutes, the expiry was counted from the token's arrival
    /// ([`crate::Tokens::merge`]), and moving keeps it right. If a right clock is set wrong, an
    /// unmoved expiry would be off by days.
    ///
    /// The caller reports the change before any other event at the new time. If the report was
    /// late, a time of the new clock moves as well. Therefore no past event may end up in the
    /// future, and no wait gets longer than it can be from now.
    pub(super) fn shift_times(&mut self, by: SignedDuration, now: Timestamp) {
        if by.is_zero() {
            return;
        }
        let latest = later(now, TOLERANCE);
        let past = |t: Timestamp| shifted(t, by).min(latest);
        let ahead = |t: Timestamp, longest: Duration| shifted(t, by).min(later(now, longest));
        // An expiry moves back by as much as its issue time was cut, so that the lifetime stays.
        let expiry = |issued_at: Timestamp, expires_at: Timestamp| {
            earlier(shifted(expires_at, by), lifetime(latest, shifted(issued_at, by)))
        };
        let Record { grant, journal, ended, routed_at, .. } = &mut self.record;
        if let Some(tokens) = grant.secrets.tokens_mut() {
            tokens.expires_at = tokens.expires_at.map(|t| expiry(grant.issued_at, t));
        }
        grant.issued_at = past(grant.issued_at);
        (*journal, *routed_at) = (journal.map(past), routed_at.map(past));
        if let Some(ended) = ended.as_mut().map(Arc::make_mut) {
            (ended.at, ended.answer_lost_at) = (past(ended.at), ended.answer_lost_at.map(past));
        }
        let credential = Arc::make_mut(&mut self.credential);
        credential.expires_at = credential.expires_at.map(|t| expiry(credential.issued_at, t));
        credential.issued_at = past(credential.issued_at);
        self.not_before = ahead(self.not_before, schedule::LONGEST_RETRY_AFTER);
        self.used_at = past(self.used_at);
        for at in [&mut self.journal_failed_at, &mut self.answer_lost_at, &mut self.paused_since] {
            *at = at.map(past);
        }
        if let Some(save) = &mut self.pending_save {
            save.next_attempt = ahead(save.next_attempt, LONGEST_SAVE_PAUSE);
            save.last_attempt = save.last_attempt.map(past);
        }
        if let Some(doubt) = &mut self.network_doubt {
            doubt.next_probe = ahead(doubt.next_probe, LONGEST_PROBE_PAUSE);
        }
        if let Some(LastError::Provider { next_attempt: next, .. }) =
            self.last_error.as_mut().map(Arc::make_mut)
        {
            *next = ahead(*next, schedule::LONGEST_RETRY_AFTER);
        }
        // A save that is already pending writes the new times anyway.
        if !self.is_idle() || self.pending_save.is_none() {
            self.save_again(now);
        }
    }

    /// Corrects a record from the future: it was written under a wrong clock, or our clock is
    /// wrong. Its times mean nothing, and nothing may wait for them.
    ///
    /// The grant counts as issued now. Its expiry is the one that the access token states, or its
    /// lifetime from now if that is sooner. In the second case the true expiry is unknown, and a
    /// refresh is due at once. The corrected record is saved.
    pub(super) fn correct_future(&mut self, now: Timestamp) {
        let grant = &mut self.record.grant;
        let recorded = grant.issued_at;
        if recorded <= later(now, TOLERANCE) {
            return;
        }
        grant.issued_at = now;
        self.record.routed_at = self.record.routed_at.filter(|at| *at <= now);
        let policy = RenewalPolicy::of(&grant.secrets);
        if let Some(tokens) = grant.secrets.tokens_mut()
            && let Some(recorded_expiry) = tokens.expires_at
        {
            let longest = lifetime(recorded, recorded_expiry);
            let stated = expiry_of_old(&tokens.access_token, Some(longest), now)
                .filter(|_| policy.token_states_expiry);
            let (expires_at, is_unknown) = stated.unwrap_or_else(|| (later(now, longest), true));
            tokens.expires_at = Some(expires_at);
            self.renewal_requested |= is_unknown && policy.token_is_credential;
        }
        self.pending_save = Some(PendingSave::due(now));
    }
}
