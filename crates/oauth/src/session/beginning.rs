//! How a session begins: with a sign-in, with a record at rest, with what another process left, or with
//! another sign-in in the place of the old one.

use jiff::Timestamp;

use super::{Credential, Durable, Network, Session, Work};
use crate::{Grant, Record, Routing};

impl Session {
    /// The session of a new sign-in; its first effect saves it. The generation is one that no credential
    /// under this name has had; the seed spreads the schedule.
    pub fn signed_in(grant: Grant, generation: u64, seed: u64, now: Timestamp) -> Self {
        let record = Record {
            generation,
            grant,
            journal: None,
            ended: None,
            routing: Routing::default().shared(),
            routed_at: None,
        };
        let mut session = Self::of(record, seed, now);
        session.durable = Durable::No { failures: 0, next: now };
        session
    }

    /// The session that a saved record describes. A journalled refresh is settled at once.
    pub fn restored(mut record: Record, seed: u64, now: Timestamp) -> Self {
        record.rest();
        Self::of(record, seed, now)
    }

    fn of(record: Record, seed: u64, now: Timestamp) -> Self {
        Self {
            served: Credential::of(&record).into(),
            work: Work::Idle,
            ticket: 0,
            durable: Durable::Yes,
            unsaved: false,
            journal_durable: record.journal.is_some(),
            network: Network::Trusted,
            failures: 0,
            not_before: now,
            answer_lost_at: record.journal,
            asked: record.journal.is_some(),
            renew_key: false,
            spent: false,
            key_renewed_at: None,
            used_at: now,
            trouble: None,
            told: None,
            stopping: false,
            seed,
            record,
        }
    }

    /// The session that another process left, which may not have managed to save it.
    pub fn handed_over(record: Record, durable: bool, seed: u64, now: Timestamp) -> Self {
        if durable {
            return Self::restored(record, seed, now);
        }
        let mut session = Self::of(record, seed, now);
        session.durable = Durable::No { failures: 0, next: now };
        session.journal_durable = false;
        session.unsaved = true;
        session
    }

    /// The new grant is served once it is saved; until then, so is the old one.
    pub(super) fn replace(&mut self, grant: Grant, now: Timestamp) {
        let record = Record {
            generation: self.record.generation + 1,
            grant,
            journal: None,
            ended: None,
            routing: Routing::default().shared(),
            routed_at: None,
        };
        *self = Self {
            served: self.served.clone(),
            unsaved: self.unsaved,
            ticket: self.ticket + 1,
            stopping: self.stopping,
            durable: Durable::No { failures: 0, next: now },
            ..Self::of(record, self.seed, now)
        };
    }
}
