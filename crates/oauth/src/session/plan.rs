//! When a session renews its credential.

use jiff::Timestamp;

use super::Session;
use crate::{
    record::RenewalPolicy,
    schedule::{self, Jitter, later},
};

impl Session {
    /// When the next renewal is due, back-off aside.
    pub(super) fn renewal_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.stopping || self.has_open_move() || self.holds_unstored_token() || !self.can_renew() {
            return None;
        }
        let is_due = self.renewal_requested || self.exchange_requested || self.journal_saved;
        if is_due { Some(now) } else { self.planned_at() }
    }

    pub(super) fn policy(&self) -> RenewalPolicy {
        RenewalPolicy::of(&self.record.grant.secrets)
    }

    /// Whether rejections count, because nothing renews the credential.
    pub(super) fn counts_rejections(&self) -> bool {
        self.policy().ends_by_rejections && self.record.grant.secrets.refresh_token().is_none()
    }

    pub(super) fn can_renew(&self) -> bool {
        self.record.ended.is_none() && self.record.grant.secrets.refresh_token().is_some()
    }

    /// When a renewal is planned. None for a token of unknown lifetime: only a rejection shows that
    /// it has expired. After an early refusal it is the expiry.
    pub(super) fn planned_at(&self) -> Option<Timestamp> {
        if self.early_refusal.is_some() {
            return self.credential.expires_at;
        }
        let grant = &self.record.grant;
        let keep_alive = later(grant.issued_at, schedule::KEEP_ALIVE);
        if !self.policy().token_is_credential {
            return Some(self.in_turn(keep_alive));
        }
        let expires_at = grant.secrets.tokens()?.expires_at?;
        let due = schedule::refresh_at(grant.issued_at, expires_at, self.shared_jitter());
        let is_unused = due > later(self.used_at, schedule::UNUSED_AFTER);
        Some(self.in_turn(if is_unused { due.max(keep_alive) } else { due }))
    }

    /// The jitter of the `n`th decision about this generation; number 0 is the schedule.
    pub(super) fn jitter(&self, n: u32) -> Jitter {
        Jitter::of(self.seed, self.record.generation.wrapping_mul(1 << 16).wrapping_add(n.into()))
    }
}
