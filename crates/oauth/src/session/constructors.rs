//! How a session begins: with a sign-in, with a record at rest, or with another sign-in in the place of the old
//! one.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Credential, Durable, Network, Session, Work};
use crate::{Grant, Record};

impl Session {
    /// The session of a new sign-in; its first effect saves the record. The record's generation is one that no
    /// credential under this name has had; the seed spreads the schedule.
    pub fn signed_in(record: Record, seed: u64, now: Timestamp) -> Self {
        let mut session = Self::of(record, seed, now);
        session.durable = Durable::due(now);
        session
    }

    /// The session that a saved record describes. A journalled refresh is settled at once.
    pub fn restored(mut record: Record, seed: u64, now: Timestamp) -> Self {
        record.drop_id_token();
        let mut session = Self::of(record, seed, now);
        session.correct_future(now);
        session.served = Credential::of(&session.record).into();
        session
    }

    fn of(record: Record, seed: u64, now: Timestamp) -> Self {
        Self {
            served: Credential::of(&record).into(),
            work: Work::Idle,
            ticket: 0,
            durable: Durable::Yes,
            changed: false,
            unsaved: false,
            journal_durable: record.journal.is_some(),
            network: Network::Trusted,
            failures: 0,
            not_before: now,
            journal_failed_at: None,
            answer_lost_at: record.journal,
            asked: record.journal.is_some(),
            rejected: false,
            renew_key: false,
            spent: false,
            paused_since: None,
            renewals: 0,
            used_at: now,
            last_error: None,
            pending_routing: None,
            stopping: false,
            seed,
            record,
        }
    }

    /// The new grant is served once it is saved; until then, the old one is. The profile keeps its default mark;
    /// an intent was about the old grant.
    pub(super) fn replace(&mut self, grant: Grant, grant_id: Arc<str>, now: Timestamp) {
        let mut record = Record::new(grant, grant_id, self.record.generation + 1);
        record.default_rank = self.record.default_rank;
        *self = Self {
            served: self.served.clone(),
            unsaved: self.unsaved,
            ticket: self.ticket + 1,
            stopping: self.stopping,
            renewals: self.renewals,
            durable: Durable::due(now),
            ..Self::of(record, self.seed, now)
        };
    }
}
