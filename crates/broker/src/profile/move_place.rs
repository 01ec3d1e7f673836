//! Moves a record between this node's store and the fleet's store. While both hold it, the fleet's
//! store counts: other nodes may renew the grant there.

use authd_fleet::{Fleet, TakenOut};
use authd_oauth::{Event, Record, Session};
use authd_store::StoreError;
use tracing::info;

use super::{actor::ProfileActor, claim_guard::FleetAccess, persist, shared::parse};
use crate::clock;

impl ProfileActor {
    /// Begins to write the record to the fleet's store. From now on the session sends its refresh
    /// token only once the record is there. The registry deletes the local record then.
    pub(super) async fn move_to_fleet(&mut self, fleet: Fleet, keeps_rank: bool) -> Result<(), StoreError> {
        if self.fleet.is_some() {
            return Ok(());
        }
        if !self.session.is_settled() {
            return Err(StoreError::unavailable("the newest credential is not saved yet"));
        }
        if self.session.record().intent.is_some() {
            return Err(StoreError::unavailable(
                "an earlier rename, export or import of it is not finished yet",
            ));
        }
        let mut record = persist::complete(&self.deps.store, &self.name, self.session.record()).await?;
        if !keeps_rank {
            record.default_rank = 0;
        }
        info!("moving the record to the fleet");
        self.fleet = Some(FleetAccess::new(fleet));
        self.session = Session::signed_in_shared(record, rand::random(), clock::now());
        self.step(Event::Ticked);
        Ok(())
    }

    /// Writes the record to this node's store, then deletes it in the fleet's store. If another
    /// node renews the grant or has changed the record, the copy is deleted instead.
    pub(super) async fn move_to_local(&mut self) -> Result<(), StoreError> {
        let Some(access) = &self.fleet else { return Ok(()) };
        let fleet = access.fleet.clone();
        let name = self.name.to_string();
        let name = name.as_str();
        if self.session.version().is_none() || !self.session.is_settled() {
            return Err(StoreError::unavailable("the newest credential is not saved yet"));
        }
        let Some(stored) = fleet.load(name).await? else {
            return Err(StoreError::unavailable(format!("another node has just deleted profile \"{name}\"")));
        };
        let shared = parse(&stored);
        let shared =
            shared.map_err(|error| StoreError::unavailable(format!("profile \"{name}\": {error}")))?;
        let mut record = Record { journal: None, ..*shared.record };
        let is_free = match persist::load(&self.deps.store, &self.name).await {
            Ok(found) => found.is_none_or(|found| found.grant_id == record.grant_id),
            Err(view) => match view.unread() {
                Some(error) => return Err(error.clone()),
                None => false,
            },
        };
        if !is_free {
            return Err(StoreError::unavailable(format!(
                "the store of this machine has another record of the name \"{name}\"; rename the profile \
                 (authctl rename)"
            )));
        }
        let refusal = loop {
            persist::put(&self.deps.store, &self.name, &record).await?;
            match fleet.take_out(name, stored.revision, record.journal).await? {
                TakenOut::Superseded(None) if is_elsewhere(&fleet, &record).await? => {
                    break Some(format!("another node has just renamed profile \"{name}\""));
                }
                // If it is gone, an earlier attempt may have deleted it, whose answer was lost.
                // Then this copy is the only one.
                TakenOut::Done | TakenOut::Superseded(None) => break None,
                TakenOut::Lost { since } => record.journal = Some(since),
                TakenOut::Wait { holder, wait } => {
                    let holder = holder.as_deref().unwrap_or("the provider");
                    let seconds = wait.as_secs();
                    break Some(format!(
                        "profile \"{name}\" waits for {holder}, which renews it; for {seconds} s at most"
                    ));
                }
                TakenOut::Superseded(Some(_)) => {
                    break Some(format!("another node has just changed profile \"{name}\""));
                }
            }
        };
        if let Some(refusal) = refusal {
            persist::delete(&self.deps.store, &self.name).await?;
            return Err(StoreError::unavailable(refusal));
        }
        info!("record moved from the fleet to this node");
        self.fleet = None;
        self.session = Session::restored(record, rand::random(), clock::now());
        self.step(Event::Ticked);
        Ok(())
    }
}

/// Whether the fleet's store has the grant of this record, under any name.
async fn is_elsewhere(fleet: &Fleet, record: &Record) -> Result<bool, StoreError> {
    for (name, stored) in fleet.list().await? {
        let found = parse(&stored?)
            .map_err(|error| StoreError::unavailable(format!("profile \"{name}\": {error}")))?;
        if found.record.grant_id == record.grant_id {
            return Ok(true);
        }
    }
    Ok(false)
}
