//! Moving everything to another store, and sealing everything with a new key. Nothing is deleted before
//! its copy has been read back, and before the new place is remembered.

use std::{io, time::Duration};

use secrecy::ExposeSecret;
use tracing::{info, warn};

use super::{State, Store};
use crate::{
    Key, Kind, StoreError,
    worker::{Command, Worker},
};

/// How long sealing everything anew may take: a thousand records take seconds.
const REKEY: Duration = Duration::from_secs(120);

/// What moving everything came to.
#[derive(Debug)]
pub struct Moved {
    /// How many records were moved.
    pub records: usize,
    /// Why the old store still holds its copies, if it does.
    pub left_behind: Option<StoreError>,
}

impl Store {
    /// Moves every record to a store of another kind. `remember` makes the choice durable; it is called
    /// when every copy has been read back, and before anything is deleted.
    pub async fn migrate(
        &self,
        to: Kind,
        remember: impl FnOnce() -> io::Result<()>,
    ) -> Result<Moved, StoreError> {
        let _alone = self.0.moving.write().await;
        let from = match self.worker() {
            Some(from) if from.kind == to => return Ok(Moved { records: 0, left_behind: None }),
            Some(from) => from,
            None => return Err(StoreError::Unavailable { detail: "no store is settled yet".to_owned() }),
        };
        let target = self.start(to);
        let deadline = self.0.config.deadline;
        let described = self.call_on(&target, Command::Probe, deadline).await?;
        let keys = self.call_on(&from, Command::List, deadline).await?;
        let copied = async {
            for key in &keys {
                self.copy(key, &from, &target).await?;
            }
            remember().map_err(|error| StoreError::Unavailable {
                detail: format!("the new place cannot be remembered, so nothing is moved: {error}"),
            })
        };
        if let Err(error) = copied.await {
            self.delete_all(&keys, &target).await.unwrap_or_else(|left| {
                warn!(%left, "copies are left in the store that nothing was moved to");
            });
            return Err(error);
        }
        *super::lock(&self.0.worker) = Some(target);
        self.show(State::Ready, &described);
        info!(from = %from.kind, %to, records = keys.len(), "moved");
        let left_behind = self.delete_all(&keys, &from).await.err();
        if let Some(error) = &left_behind {
            warn!(%error, "the old store still holds records; they are deleted at the next start");
        }
        Ok(Moved { records: keys.len(), left_behind })
    }

    /// Deletes everything that a store of this kind holds; it must not be the one in use.
    pub async fn clear(&self, kind: Kind) -> Result<(), StoreError> {
        if self.worker().is_none_or(|worker| worker.kind == kind) {
            return Err(StoreError::Refused { detail: "it is in use".to_owned() });
        }
        let old = self.start(kind);
        let keys = self.call_on(&old, Command::List, self.0.config.deadline).await?;
        self.delete_all(&keys, &old).await
    }

    /// Seals everything with a new key.
    pub async fn rekey(&self) -> Result<(), StoreError> {
        let _alone = self.0.moving.write().await;
        let Some(worker) = self.worker() else {
            return Err(StoreError::Unavailable { detail: "no store is settled yet".to_owned() });
        };
        self.call_on(&worker, Command::Rekey, REKEY).await
    }

    async fn copy(&self, key: &Key, from: &Worker, to: &Worker) -> Result<(), StoreError> {
        let deadline = self.0.config.deadline;
        let load = |answer| Command::Load(key.clone(), answer);
        let Some(record) = self.call_on(from, load, deadline).await? else { return Ok(()) };
        // Saving reads back what was written, and compares.
        let text = record.expose_secret().into();
        let label = key
            .profile_name()
            .map_or_else(|| format!("authd: {key}"), |name| format!("authd: profile {name}"));
        self.call_on(to, |answer| Command::Save(key.clone(), label, text, answer), deadline).await
    }

    async fn delete_all(&self, keys: &[Key], worker: &Worker) -> Result<(), StoreError> {
        for key in keys {
            let delete = |answer| Command::Delete(key.clone(), answer);
            self.call_on(worker, delete, self.0.config.deadline).await?;
        }
        Ok(())
    }
}
