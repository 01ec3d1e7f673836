//! The calls of a profile whose record is in a fleet's store, where other nodes write it, too.

use authd_api::ProfileName;
use authd_fleet::{Claimed, Fleet, Renamed, StoredRecord, Written};
use authd_oauth::{
    ClaimResult, Event, Record, RecordError, SaveError, SharedRecord, Version, WriteResult, claim::Write,
    schedule::lifetime,
};
use authd_store::StoreError;
use tracing::{error, info, warn};

use super::{
    actor::ProfileActor,
    claim_guard::HeldClaim,
    command::{RenameError, SignOutError},
    persist::save_error,
};
use crate::clock;

/// A stored record as the session takes it.
pub(crate) fn parse(stored: &StoredRecord) -> Result<SharedRecord, RecordError> {
    let mut record = Record::from_text(&stored.text)?;
    record.default_rank = stored.default_rank;
    let version = Version { revision: stored.revision, token: stored.token };
    Ok(SharedRecord { record: Box::new(record), version, valid_for: stored.valid_for })
}

fn parse_found(stored: Option<&StoredRecord>) -> Result<Option<SharedRecord>, SaveError> {
    let parsed = stored.map(parse).transpose();
    parsed.map_err(|error| SaveError { locked: false, message: error.to_string() })
}

async fn claim(
    fleet: &Fleet,
    name: &ProfileName,
    revision: u64,
    rejected: bool,
) -> Result<ClaimResult, SaveError> {
    let claimed = fleet.claim(name.as_str(), revision, rejected).await;
    Ok(match claimed.map_err(|error| save_error(&error))? {
        Claimed::Granted { lost_since } => ClaimResult::Granted(lost_since),
        Claimed::Wait { wait, holder } => ClaimResult::Wait { wait, holder },
        Claimed::Superseded(stored) => ClaimResult::Superseded(parse_found(stored.as_ref())?),
    })
}

/// Stores a record. One without an id token takes it over from the stored record.
async fn write(
    fleet: &Fleet,
    name: &ProfileName,
    record: Record,
    kind: Write,
) -> Result<WriteResult, SaveError> {
    let written = async {
        let record = if record.is_complete() {
            record
        } else {
            let stored = fleet.load(name.as_str()).await?;
            record.with_id_token_from(stored.as_ref().map(|stored| &stored.text))
        };
        let expires_at = record.grant.secrets.tokens().and_then(|tokens| tokens.expires_at);
        let valid_for = expires_at.map(|at| lifetime(clock::now(), at));
        let written = fleet.write(name.as_str(), kind, record.to_text(), valid_for).await?;
        if kind == Write::Create && record.default_rank > 0 && matches!(written, Written::Done { .. }) {
            // The record is stored. Without the rank, a user chooses the default again.
            if let Err(error) = fleet.make_default(name.as_str()).await {
                warn!(%error, "not made the default profile");
            }
        }
        Ok(written)
    };
    Ok(match written.await.map_err(|error| save_error(&error))? {
        Written::Done { revision, token } => WriteResult::Done(Version { revision, token }),
        Written::Conflict(stored) => WriteResult::Conflict(parse_found(stored.as_ref())?),
    })
}

impl ProfileActor {
    fn fleet(&self) -> Fleet {
        let Some(access) = &self.fleet else { unreachable!("only a shared session asks for this") };
        access.fleet.clone()
    }

    /// Asks for the permission to send the refresh token.
    pub(super) fn claim(&mut self, ticket: u64, revision: u64, rejected: bool) {
        if let Some(access) = &mut self.fleet {
            access.claim_begins();
        }
        let (fleet, name) = (self.fleet(), self.name.clone());
        self.calls
            .spawn(async move { Event::Claimed(ticket, claim(&fleet, &name, revision, rejected).await) });
    }

    pub(super) fn write(&mut self, ticket: u64, record: Record, kind: Write) {
        let (fleet, name) = (self.fleet(), self.name.clone());
        self.calls.spawn(async move { Event::Written(ticket, write(&fleet, &name, record, kind).await) });
    }

    /// The claim for the next call that may spend the refresh token.
    pub(super) fn held_claim(&self) -> Option<HeldClaim> {
        self.fleet.as_ref().map(|access| access.held(&self.name, self.session.may_release()))
    }

    /// Renames the record for the whole fleet.
    pub(super) async fn rename_shared(&mut self, to: ProfileName) -> Result<(), RenameError> {
        let fleet = self.fleet();
        let failed = RenameError::NotCopied;
        let busy = || failed(StoreError::unavailable("another node is just changing the profile; try again"));
        let stored = fleet.load(self.name.as_str()).await.map_err(failed)?;
        let Some(mut stored) = stored else { return Err(busy()) };
        let is_current = self.session.version().is_some_and(|known| known.revision == stored.revision);
        if !is_current || !self.session.is_durable() {
            self.stored_elsewhere(&stored);
            return Err(busy());
        }
        let renamed = fleet.rename(self.name.as_str(), to.as_str(), stored.text.clone(), stored.revision);
        match renamed.await.map_err(failed)? {
            Renamed::Done { revision } => stored.revision = revision,
            Renamed::Taken => return Err(RenameError::Taken),
            Renamed::Conflict(_) => return Err(busy()),
        }
        info!(%to, "profile renamed");
        self.name = to;
        self.stored_elsewhere(&stored);
        Ok(())
    }

    /// Deletes the record for the whole fleet. After an error it may still be deleted; then the
    /// registry learns it as a change.
    pub(super) async fn delete_shared(&mut self) -> Result<(), SignOutError> {
        self.fleet().delete(self.name.as_str()).await.map_err(SignOutError::Store)?;
        info!("signed out");
        Ok(())
    }

    /// Whether another node has deleted the record, so that the profile ends here, too. A sign-in
    /// here that is not stored yet is newer than the deletion.
    pub(super) async fn is_deleted_elsewhere(&mut self) -> Result<bool, StoreError> {
        if self.fleet.is_none() || self.session.holds_unstored_sign_in() {
            return Ok(false);
        }
        let stored = self.fleet().load(self.name.as_str()).await?;
        if let Some(stored) = &stored {
            self.stored_elsewhere(stored);
        }
        Ok(stored.is_none())
    }

    /// Lets the session take over a stored record.
    fn stored_elsewhere(&mut self, stored: &StoredRecord) {
        match parse(stored) {
            Ok(stored) => self.step(Event::ChangedElsewhere(stored)),
            Err(error) => error!(%error, "record of another node unreadable"),
        }
    }
}
