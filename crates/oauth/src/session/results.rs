//! What the end of a call changes: one function for each kind of call, and what they share.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Credential, Durable, LAST_MINUTE, LONGEST_PROBE_PAUSE, Network, PROBE_PAUSE, Session, Trouble, Unsaved,
    WAITING,
};
use crate::{
    ApiKey, Code, Ended, Failure, Holding, Mode, RefreshAnswer, claims,
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

    pub(super) fn journalled(&mut self, result: Result<(), Unsaved>, now: Timestamp) {
        match result {
            Ok(()) => {
                self.journal_durable = true;
                self.rests();
            }
            Err(_) if self.served.lasts(now) <= LAST_MINUTE => self.journal_durable = true,
            Err(complaint) => {
                self.record.journal = self.answer_lost_at;
                self.back_off(None, now);
                // However long the store fails, the last minute is not slept through.
                if let Some(expires) = self.served.expires_at {
                    self.not_before = self.not_before.min(earlier(expires, LAST_MINUTE));
                }
                self.trouble = Some(Arc::new(Trouble::Store(complaint)));
            }
        }
    }

    pub(super) fn refreshed(&mut self, result: Result<RefreshAnswer, Failure>, now: Timestamp) {
        match result {
            Ok(answer) => {
                self.journal_durable = false;
                self.record.journal = None;
                self.answer_lost_at = None;
                self.recovered();
                self.renewed(answer, now);
                self.durable = Durable::No { failures: 0, next: now };
            }
            Err(Failure::Refused { code, .. }) => self.end(code, now),
            Err(failure) => {
                if failure.may_have_rotated() {
                    self.answer_lost_at = self.answer_lost_at.or(self.record.journal);
                }
                // The journal entry stands: the same token is sent again.
                self.failed(failure, now);
            }
        }
    }

    pub(super) fn exchanged(&mut self, result: Result<ApiKey, Failure>, now: Timestamp) {
        match result {
            Ok(key) => {
                self.recovered();
                self.renew_key = false;
                self.key_renewed_at = Some(now);
                if let Holding::ApiKey(held, _) = &mut self.record.grant.holding {
                    *held = key;
                }
                self.record.generation += 1;
                self.durable = Durable::No { failures: 0, next: now };
            }
            Err(Failure::Refused { code, .. }) => self.end(code, now),
            Err(failure) => self.failed(failure, now),
        }
    }

    pub(super) fn saved(&mut self, result: Result<(), Unsaved>, now: Timestamp) {
        let Durable::No { failures, .. } = self.durable else { return };
        match result {
            Ok(()) => {
                self.rests();
                if matches!(self.trouble.as_deref(), Some(Trouble::Store(_))) {
                    self.trouble = None;
                }
            }
            Err(complaint) => {
                let failures = failures + 1;
                let pause = schedule::back_off(failures, None, self.jitter(failures));
                self.durable = Durable::No { failures, next: later(now, pause) };
                self.unsaved = true;
                self.trouble = Some(Arc::new(Trouble::Store(complaint)));
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
        self.record.rest();
    }

    pub(super) fn renewed(&mut self, answer: RefreshAnswer, now: Timestamp) {
        let grant = &mut self.record.grant;
        // Who is signed in was settled at the login; an id token that cannot be read changes nothing and
        // loses nothing.
        let brought = grant.holding.renew(answer, now).map(claims::identity);
        if let Some(Ok(newer)) = brought {
            let identity = Arc::make_mut(&mut grant.identity);
            identity.plan = newer.plan.or(identity.plan.take());
            identity.email = newer.email.or(identity.email.take());
        }
        grant.issued_at = now;
        match grant.holding.mode() {
            Mode::ChatGpt => self.record.generation += 1,
            // The key is the credential, and it is the same one.
            Mode::ApiKey => {}
        }
    }

    pub(super) fn recovered(&mut self) {
        self.asked = false;
        self.failures = 0;
        self.network = Network::Trusted;
        self.trouble = None;
    }

    pub(super) fn failed(&mut self, failure: Failure, now: Timestamp) {
        let retry_after = match &failure {
            Failure::Busy { retry_after, .. } => *retry_after,
            Failure::Unsent { .. } | Failure::Unanswered { .. } => {
                self.doubt_network(now, true);
                None
            }
            Failure::Garbled { .. } | Failure::Refused { .. } => None,
        };
        self.back_off(retry_after, now);
        self.trouble = Some(Arc::new(Trouble::Provider(failure, self.not_before)));
    }

    pub(super) fn back_off(&mut self, retry_after: Option<Duration>, now: Timestamp) {
        self.failures += 1;
        self.not_before =
            later(now, schedule::back_off(self.failures, retry_after, self.jitter(self.failures)));
    }

    pub(super) fn end(&mut self, code: Code, now: Timestamp) {
        self.asked = false;
        self.spent = std::mem::take(&mut self.renew_key);
        self.journal_durable = false;
        self.record.journal = None;
        let answer_lost_at = self.answer_lost_at.take();
        self.record.ended = Some(Arc::new(Ended { code, at: now, answer_lost_at }));
        self.durable = Durable::No { failures: 0, next: now };
    }
}
