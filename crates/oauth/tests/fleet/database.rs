//! The store of a fleet: one row, a clock, and the rules of `authd_oauth::claim`. A planted fault
//! breaks one rule, so that the tests show that they would notice.

use std::time::Duration;

use authd_oauth::{
    ClaimResult, Record, SharedRecord, Version, WriteResult,
    claim::{self, ClaimDecision, ClaimRequest, Conflict, Holder, Row, Write},
    schedule::{later, lifetime},
};
use jiff::Timestamp;

/// How long a claim is held.
pub(crate) const LEASE: Duration = Duration::from_secs(45);

/// Longest time of a call to the provider.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Every claim is granted.
    NoClaim,
    /// A lapsed claim is taken over at once.
    NoWait,
    /// A commit after the lease is refused.
    NoLateCommit,
    /// A node sends its token however long it was paused after the claim.
    NoCheckBeforeSending,
    /// A commit is accepted whatever token is stored.
    NoCompare,
    /// A node drops a successor that could not be stored at once.
    SuccessorDropped,
}

/// The database's state.
#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) stored: Option<(Row, Record)>,
    last_revision: u64,
}

impl Database {
    pub(crate) fn read(&self, now: Timestamp) -> Option<SharedRecord> {
        let (row, record) = self.stored.as_ref()?;
        let version = Version { revision: row.revision, token: row.token };
        let valid_for = row.expires_at.map(|at| lifetime(now, at));
        let text = record.to_text();
        let record = Record::from_text(&text).expect("a record that this version wrote");
        Some(SharedRecord { record: Box::new(record), version, valid_for })
    }

    pub(crate) fn claim(
        &mut self,
        holder: &Holder,
        (revision, rejected): (u64, bool),
        now: Timestamp,
        fault: Option<Fault>,
    ) -> ClaimResult {
        let Some((row, _)) = &mut self.stored else { return ClaimResult::Superseded(None) };
        let request = ClaimRequest { holder: holder.clone(), revision, rejected };
        let mut judged = row.clone();
        match fault {
            Some(Fault::NoClaim) => judged.claim = None,
            Some(Fault::NoWait) => judged.expires_at = Some(now),
            _ => {}
        }
        match claim::claim(&judged, &request, LEASE, now) {
            ClaimDecision::Granted { row: new, lost_since } => {
                *row = Row { expires_at: row.expires_at, ..new };
                ClaimResult::Granted(lost_since)
            }
            ClaimDecision::Wait { until, holder } => ClaimResult::Wait { wait: lifetime(now, until), holder },
            ClaimDecision::Superseded => ClaimResult::Superseded(self.read(now)),
        }
    }

    pub(crate) fn write(
        &mut self,
        holder: &Holder,
        (record, write): (&Record, Write),
        valid_for: Option<Duration>,
        now: Timestamp,
        fault: Option<Fault>,
    ) -> WriteResult {
        let row = self.stored.as_ref().map(|(row, _)| row);
        let is_late = row.and_then(|row| row.claim.as_ref()).is_some_and(|claim| claim.until <= now);
        let write = match (fault, write, row) {
            (Some(Fault::NoCompare), Write::Commit { .. }, Some(row)) => Write::Commit { token: row.token },
            _ => write,
        };
        let expires_at = valid_for.map(|valid_for| later(now, valid_for));
        let result = match fault {
            Some(Fault::NoLateCommit) if is_late && matches!(write, Write::Commit { .. }) => Err(Conflict),
            _ => claim::write(row, write, holder, self.last_revision + 1, expires_at),
        };
        let Ok(row) = result else { return WriteResult::Conflict(self.read(now)) };
        self.last_revision = row.revision;
        let version = Version { revision: row.revision, token: row.token };
        let old = self.stored.take().map(|(_, record)| record.to_text());
        self.stored = Some((row, record.clone().with_id_token_from(old.as_ref())));
        WriteResult::Done(version)
    }

    pub(crate) fn release(&mut self, holder: &Holder) {
        if let Some((row, _)) = &mut self.stored {
            *row = claim::release(row, holder, None);
        }
    }
}
