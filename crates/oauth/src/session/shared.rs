//! A session whose record is in a store that other nodes write, too. It sends its refresh token
//! only while it holds the claim on it, and it takes over what another node has stored.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Credential, LastError, PendingSave, SaveError, Session,
    shared_record::{Change, ClaimResult, Shared, SharedRecord, Version, WriteResult},
};
use crate::{
    Record,
    claim::Write,
    schedule::{self, Jitter, earlier, later, lifetime, shifted},
};

/// Longest time that a client waits for a renewal by another node. A claim lasts less.
const LONGEST_AWAIT: Duration = Duration::from_secs(60);

/// Pause before the next look at a record that another node has deleted. The session ends by then.
const DELETED_PAUSE: Duration = Duration::from_secs(5);

/// The turns of the nodes are spread over this fraction of the token's age: over 72 s if a token
/// is renewed after 48 min.
const TURNS: u32 = 40;

/// Longest time over which the nodes that wait for the end of a claim are spread. The time of a
/// call must be left before the access token expires.
const LONGEST_SPREAD: Duration = Duration::from_secs(5);

/// Longest time over which the grants, and the nodes of one grant, are spread when the store works
/// again. After a short outage it is an eighth of the last pause.
const LONGEST_RECOVERY_PAUSE: Duration = Duration::from_secs(5);

/// A difference between two clocks that is not corrected.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

impl Session {
    /// The session of a record that other nodes use, too.
    pub fn restored_shared(stored: SharedRecord, seed: u64, now: Timestamp) -> Self {
        let version = stored.version;
        let mut session = Self::new(by_own_clock(stored, now), seed, now);
        session.shared = Some(Box::new(Shared::new(Some(version), Change::Fields)));
        session
    }

    /// The session of a new sign-in that other nodes will use, too.
    pub fn signed_in_shared(record: Record, seed: u64, now: Timestamp) -> Self {
        let shared = Some(Box::new(Shared::new(None, Change::SignIn)));
        Self { shared, ..Self::signed_in(record, seed, now) }
    }

    /// Whether the record is in the store of a fleet.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// The version of the stored record that this one is based on.
    pub fn version(&self) -> Option<Version> {
        self.shared.as_ref()?.base
    }

    /// Whether the claim may end after a call that has not spent the token. After a lost answer it
    /// stays: it keeps other nodes from sending a token that may be spent.
    pub fn may_release(&self) -> bool {
        self.answer_lost_at.is_none()
    }

    /// The node that renews the grant, if a claim here had to wait for it.
    pub fn claimed_by(&self) -> Option<&Arc<str>> {
        self.shared.as_ref()?.claimed_by.as_ref()
    }

    /// Whether a sign-in here is not stored yet.
    pub fn holds_unstored_sign_in(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.base.is_none() || shared.change == Change::SignIn)
    }

    /// Whether another node renews the grant, so that waiting is worthwhile.
    pub(super) fn awaits_other_node(&self, now: Timestamp) -> bool {
        let awaits = self.shared.as_ref().is_some_and(|shared| shared.awaits_other);
        awaits && now < self.not_before && self.not_before <= later(now, LONGEST_AWAIT)
    }

    /// The jitter of the schedule. In a fleet it is the same on all nodes: of many different ones
    /// the earliest would count, so that grants that were issued together would be renewed
    /// together.
    pub(super) fn shared_jitter(&self) -> Jitter {
        if !self.is_shared() {
            return self.jitter(0);
        }
        Jitter::of_text(&self.record.grant_id, self.record.generation)
    }

    /// When a renewal that is due at this time is this node's turn: a little earlier or later. The
    /// first node renews the grant, and most of the others take its record over before their turn.
    pub(super) fn in_turn(&self, due: Timestamp) -> Timestamp {
        if !self.is_shared() {
            return due;
        }
        let turns = lifetime(self.record.grant.issued_at, due) / TURNS;
        later(earlier(due, turns / 2), self.jitter(0).part_of(turns))
    }

    /// How long this node waits with a claim when the store works again. Otherwise all nodes would
    /// claim all grants that became due meanwhile in the same second.
    pub(super) fn recovery_pause(&self) -> Duration {
        if !self.is_shared() {
            return Duration::ZERO;
        }
        let last_pause = schedule::back_off(self.failures, None, Jitter::NONE);
        let longest = (last_pause / 8).min(LONGEST_RECOVERY_PAUSE);
        self.shared_jitter().part_of(longest) + self.jitter(0).part_of(longest)
    }

    /// The write that stores the present record.
    pub(super) fn write(&self) -> Option<Write> {
        let Shared { base, change, .. } = &**self.shared.as_ref()?;
        Some(match (base, change) {
            (None, _) => Write::Create,
            (Some(base), Change::SignIn) => Write::Replace { token: base.token },
            (Some(base), Change::Successor) => Write::Commit { token: base.token },
            (Some(base), Change::Fields) => {
                Write::Update { revision: base.revision, release: self.may_release() }
            }
        })
    }

    /// Whether the store of a fleet does not have the present refresh token yet. A claim is about
    /// the stored token: after a lost answer, other nodes would send this one.
    pub(super) fn holds_unstored_token(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.change != Change::Fields)
    }

    /// Records that the present refresh token is not the stored one.
    pub(super) fn mark_successor(&mut self) {
        if let Some(shared) = &mut self.shared {
            shared.change = shared.change.max(Change::Successor);
        }
    }

    pub(super) fn claimed(&mut self, result: Result<ClaimResult, SaveError>, now: Timestamp) {
        let Some(shared) = &mut self.shared else { return };
        (shared.awaits_other, shared.claimed_by) = (false, None);
        match result {
            Ok(ClaimResult::Granted(lost_since)) => {
                self.journal_saved = true;
                self.journal_failed_at = None;
                self.answer_lost_at = self.answer_lost_at.or(lost_since);
                self.record.journal = Some(self.answer_lost_at.unwrap_or(now));
            }
            Ok(ClaimResult::Wait { wait, holder }) => {
                (shared.awaits_other, shared.claimed_by) = (true, holder);
                let spread = self.jitter(0).part_of((wait / TURNS).min(LONGEST_SPREAD));
                self.not_before = later(now, wait + spread);
            }
            Ok(ClaimResult::Superseded(Some(stored))) => self.contradicted(stored, now),
            Ok(ClaimResult::Superseded(None)) => self.not_before = later(now, DELETED_PAUSE),
            // The token is never sent without a claim, however short the rest of its lifetime is:
            // another node may have sent it.
            Err(error) => {
                self.back_off(None, now);
                self.journal_failed_at = Some(now);
                self.last_error = Some(Arc::new(LastError::Store(error)));
            }
        }
    }

    pub(super) fn written(&mut self, result: Result<WriteResult, SaveError>, now: Timestamp) {
        let Some(shared) = &mut self.shared else { return };
        match result {
            Ok(WriteResult::Done(version)) => {
                (shared.base, shared.change, shared.replaced) = (Some(version), Change::Fields, None);
                self.saved(Ok(()), now);
            }
            Ok(WriteResult::Conflict(Some(stored))) => self.contradicted(stored, now),
            // A sign-in by the user here is newer than the sign-out elsewhere.
            Ok(WriteResult::Conflict(None)) if shared.change == Change::SignIn => {
                shared.base = None;
                self.pending_save = Some(PendingSave::due(now));
            }
            Ok(WriteResult::Conflict(None)) => {
                self.pending_save = None;
                self.not_before = later(now, DELETED_PAUSE);
            }
            Err(error) => self.saved(Err(error), now),
        }
    }

    /// Remembers a record that another node has stored. It is taken over when no call is in flight.
    pub(super) fn changed_elsewhere(&mut self, stored: SharedRecord) {
        if let Some(shared) = &mut self.shared
            && shared.newer.as_ref().is_none_or(|known| known.version.revision < stored.version.revision)
        {
            shared.newer = Some(stored);
        }
    }

    /// The store holds another record than the session was based on. Revisions only grow, so an
    /// older one shows that the store was restored from a backup: then the newer record is written.
    fn contradicted(&mut self, stored: SharedRecord, now: Timestamp) {
        let Some(shared) = &mut self.shared else { return };
        if shared.base.is_none_or(|base| base.revision < stored.version.revision) {
            shared.newer = Some(stored);
        } else if self.record.generation > stored.record.generation {
            shared.base = Some(stored.version);
            shared.change = shared.change.max(Change::Successor);
            self.pending_save = Some(PendingSave::due(now));
        } else {
            shared.base = None;
            shared.newer = Some(stored);
        }
    }

    /// Takes over a newer stored record. A successor of the stored refresh token stays, because
    /// only this session has it, and so does a sign-in that is newer than the stored grant.
    pub(super) fn take_over(&mut self, now: Timestamp) {
        let Some(shared) = &mut self.shared else { return };
        let Some(stored) = shared.newer.take() else { return };
        if shared.base.is_some_and(|base| stored.version.revision <= base.revision) {
            return;
        }
        let is_same_token = shared.base.is_some_and(|base| base.token == stored.version.token);
        let is_kept = match shared.change {
            Change::Fields => false,
            Change::Successor => is_same_token,
            Change::SignIn => shared.replaced.as_ref() == Some(&stored.record.grant_id),
        };
        if is_kept {
            shared.base = Some(stored.version);
            self.record.default_rank = stored.record.default_rank;
            self.record.generation = self.record.generation.max(stored.record.generation + 1);
            self.pending_save = Some(PendingSave::due(now));
        } else if is_same_token {
            self.take_over_fields(stored, now);
        } else {
            self.take_over_grant(stored, now);
        }
    }

    /// Takes over a record with the same refresh token: what is known about its renewal stays.
    fn take_over_fields(&mut self, stored: SharedRecord, now: Timestamp) {
        let version = stored.version;
        let (journal, ended) = (self.record.journal, self.record.ended.take());
        self.record = Record { journal, ..by_own_clock(stored, now) };
        self.serve_stored();
        // The provider's rejection, which only this node has seen, is not dropped.
        let is_unsaved = self.record.ended.is_none() && ended.is_some();
        self.record.ended = self.record.ended.take().or(ended);
        self.pending_save = is_unsaved.then(|| PendingSave::due(now));
        self.credential_unsaved = false;
        if self.record.ended.is_some() {
            (self.renewal_requested, self.journal_saved) = (false, false);
        }
        self.shared = Some(Box::new(Shared::new(Some(version), Change::Fields)));
    }

    /// Takes over a record with another refresh token: of a renewal or a sign-in elsewhere.
    fn take_over_grant(&mut self, stored: SharedRecord, now: Timestamp) {
        let shared = Shared::new(Some(stored.version), Change::Fields);
        let record = by_own_clock(stored, now);
        *self = Self {
            credential: self.credential.clone(),
            ticket: self.ticket,
            stopping: self.stopping,
            used_at: self.used_at,
            renewals: self.renewals + 1,
            network_doubt: self.network_doubt.take(),
            shared: Some(Box::new(shared)),
            ..Self::new(record, self.seed, now)
        };
        self.serve_stored();
    }

    /// Serves the credential of the record. Two credentials of a session never have the same
    /// generation.
    fn serve_stored(&mut self) {
        let (mut new, old) = (Credential::of(&self.record), &self.credential);
        let is_same =
            new.bearer.is_same(&old.bearer) && new.routing == old.routing && new.grant_id == old.grant_id;
        if !is_same {
            new.generation = new.generation.max(old.generation + 1);
            self.record.generation = new.generation;
        }
        self.credential = new.into();
    }
}

/// The record with its times moved to this node's clock, without its id token and its journal.
fn by_own_clock(stored: SharedRecord, now: Timestamp) -> Record {
    let SharedRecord { record, valid_for, .. } = stored;
    let mut record = *record;
    record.drop_id_token();
    record.journal = None;
    let grant = &mut record.grant;
    if let Some(valid_for) = valid_for
        && let Some(tokens) = grant.secrets.tokens_mut()
        && let Some(recorded) = tokens.expires_at
    {
        let by = later(now, valid_for).duration_since(recorded);
        if by.unsigned_abs() > CLOCK_TOLERANCE {
            tokens.expires_at = Some(shifted(recorded, by));
            grant.issued_at = shifted(grant.issued_at, by);
        }
    }
    grant.issued_at = grant.issued_at.min(now);
    record
}
