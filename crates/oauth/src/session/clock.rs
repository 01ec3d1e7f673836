//! What a session does about a wall clock that is set, and about a record that was written under a wrong one.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{Durable, LONGEST_PROBE_PAUSE, LONGEST_SAVE_PAUSE, LastError, Network, Session, Work};
use crate::{
    GrantSecrets, Record,
    schedule::{self, earlier, later, lifetime, shifted},
    token::expiry_of_old,
};

/// A time further ahead than this, of something that has happened, is from a wrong clock.
const TOLERANCE: Duration = Duration::from_secs(60);

impl Session {
    /// The wall clock was set by this much. Every time that the session holds moves by the same amount, so that
    /// it stays the same moment under the new clock: ages, waits and remaining lifetimes go on as they were, and
    /// a clock that is set neither stops a renewal nor makes one due.
    ///
    /// The expiry moves, too. It comes from the token's `exp`, by the provider's clock, so that after the setting
    /// of a clock that was wrong the moved one is off by what the clock was off. That error is harmless: a clock
    /// that was ahead makes the renewal early, and one that was behind by more than five minutes made the token
    /// count from its arrival ([`crate::Tokens::merge`]), which the move keeps right. The other way round, a right
    /// clock that is set wrong, an unmoved expiry would be off by days.
    ///
    /// The caller reports the setting before anything else at the new time. If it was late, a time of the new
    /// clock moves as well; so nothing that has happened may end up in the future, and no wait gets longer than it
    /// can be from now.
    pub(super) fn clock_set(&mut self, by: SignedDuration, now: Timestamp) {
        if by.is_zero() {
            return;
        }
        let latest = later(now, TOLERANCE);
        let past = |t: Timestamp| shifted(t, by).min(latest);
        let ahead = |t: Timestamp, longest: Duration| shifted(t, by).min(later(now, longest));
        let Record { grant, journal, ended, routed_at, .. } = &mut self.record;
        let (issued_at, late) = (past(grant.issued_at), lifetime(latest, shifted(grant.issued_at, by)));
        let expiry = |t: Timestamp| earlier(shifted(t, by), late);
        grant.issued_at = issued_at;
        if let Some(tokens) = grant.secrets.tokens_mut() {
            tokens.expires_at = expiry(tokens.expires_at);
        }
        (*journal, *routed_at) = (journal.map(past), routed_at.map(past));
        if let Some(ended) = ended.as_mut().map(Arc::make_mut) {
            (ended.at, ended.answer_lost_at) = (past(ended.at), ended.answer_lost_at.map(past));
        }
        let served = Arc::make_mut(&mut self.served);
        let late = lifetime(latest, shifted(served.issued_at, by));
        served.issued_at = past(served.issued_at);
        served.expires_at = served.expires_at.map(|t| earlier(shifted(t, by), late));
        self.not_before = ahead(self.not_before, schedule::LONGEST_RETRY_AFTER);
        self.used_at = past(self.used_at);
        for at in [&mut self.journal_failed_at, &mut self.answer_lost_at, &mut self.paused_since] {
            *at = at.map(past);
        }
        if let Durable::No { next, tried_at, .. } = &mut self.durable {
            (*next, *tried_at) = (ahead(*next, LONGEST_SAVE_PAUSE), tried_at.map(past));
        }
        if let Network::Doubtful(doubt) = &mut self.network {
            doubt.next = ahead(doubt.next, LONGEST_PROBE_PAUSE);
        }
        if let Some(LastError::Provider(_, next)) = self.last_error.as_mut().map(Arc::make_mut) {
            *next = ahead(*next, schedule::LONGEST_RETRY_AFTER);
        }
        // A save that waits takes the new times along.
        if self.work != Work::Idle || matches!(self.durable, Durable::Yes) {
            self.save_again(now);
        }
    }

    /// A record from the future was written under a wrong clock, or this clock is wrong: its times mean nothing,
    /// and nothing may wait for them. It counts as issued now. Its expiry is the one that the access token states,
    /// or its lifetime from now if that is sooner. In the second case the true expiry is not known, and a refresh
    /// is due at once. The record is saved with its new times.
    pub(super) fn correct_future(&mut self, now: Timestamp) {
        let grant = &mut self.record.grant;
        let recorded = grant.issued_at;
        if recorded <= later(now, TOLERANCE) {
            return;
        }
        grant.issued_at = now;
        self.record.routed_at = self.record.routed_at.filter(|at| *at <= now);
        let is_credential = matches!(grant.secrets, GrantSecrets::ChatGpt(..));
        if let Some(tokens) = grant.secrets.tokens_mut() {
            let longest = lifetime(recorded, tokens.expires_at);
            let (expires_at, unknown) = expiry_of_old(&tokens.access_token, Some(longest), now)
                .unwrap_or_else(|| (later(now, longest), true));
            tokens.expires_at = expires_at;
            self.asked |= unknown && is_credential;
        }
        self.durable = Durable::due(now);
    }
}
