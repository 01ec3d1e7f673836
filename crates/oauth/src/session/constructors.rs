//! How a session begins: with a sign-in, with a stored record, or with a new grant under the same
//! name.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Credential, Operation, PendingSave, Session};
use crate::{Grant, Record};

impl Session {
    /// The session of a new sign-in. Its first effect saves the record. The record's generation
    /// must be one that no credential under this name has had. The seed spreads the schedule.
    pub fn signed_in(record: Record, seed: u64, now: Timestamp) -> Self {
        Self { pending_save: Some(PendingSave::due(now)), ..Self::new(record, seed, now) }
    }

    /// The session of a stored record. A journalled refresh is repeated at once.
    pub fn restored(mut record: Record, seed: u64, now: Timestamp) -> Self {
        record.drop_id_token();
        let mut session = Self::new(record, seed, now);
        session.correct_future(now);
        session.credential = Credential::of(&session.record).into();
        session
    }

    pub(super) fn new(record: Record, seed: u64, now: Timestamp) -> Self {
        Self {
            credential: Credential::of(&record).into(),
            operation: Operation::Idle,
            ticket: 0,
            pending_save: None,
            changed_during_call: false,
            credential_unsaved: false,
            journal_saved: record.journal.is_some(),
            network_doubt: None,
            failures: 0,
            refusals: 0,
            not_before: now,
            journal_failed_at: None,
            answer_lost_at: record.journal,
            renewal_requested: record.journal.is_some(),
            credential_rejected: false,
            exchange_requested: false,
            spent: false,
            paused_since: None,
            renewals: 0,
            used_at: now,
            last_error: None,
            early_refusal: None,
            pending_routing: None,
            stopping: false,
            seed,
            shared: None,
            record,
        }
    }

    /// Replaces the grant. Clients get the old credential until the new record is saved. The
    /// profile keeps its default rank. An intent belonged to the old grant and is dropped.
    pub(super) fn replace_grant(&mut self, grant: Grant, grant_id: Arc<str>, now: Timestamp) {
        let mut record = Record::new(grant, grant_id, self.record.generation + 1);
        record.default_rank = self.record.default_rank;
        let replaced = self.record.grant_id.clone();
        let shared = self.shared.take().map(|shared| Box::new(shared.with_sign_in(replaced)));
        *self = Self {
            credential: self.credential.clone(),
            credential_unsaved: self.credential_unsaved,
            ticket: self.ticket + 1,
            stopping: self.stopping,
            renewals: self.renewals,
            pending_save: Some(PendingSave::due(now)),
            shared,
            ..Self::new(record, self.seed, now)
        };
    }
}
