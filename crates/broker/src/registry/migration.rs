//! Moves the records of the profiles between this node's store and the fleet's. `store.json` names
//! the direction before the first record moves, and the target after the last one. The fleet's
//! store counts while both hold a record. So a crash at any moment loses nothing, and the next
//! start continues.
//!
//! | step to the fleet | `store.json` | step to this node |
//! |---|---|---|
//! | check the fleet's store and its names | the old place | check that the records can be read |
//! | each actor writes its record there | on the way | each actor writes its record here, and deletes it there if no other node renews the grant |
//! | delete the records here | on the way | |
//! | done | the new place | done |

use std::sync::Arc;

use authd_api::ProfileName;
use authd_fleet::Fleet;
use authd_store::{Key, Kind, MigrationReport, ProfilePlace, StoreError};
use tracing::{info, warn};

use super::{
    actor::RegistryActor,
    handle::{MigrationTarget, RegistryError},
    snapshot::Names,
};
use crate::profile::{InitialState, load};

impl RegistryActor {
    pub(super) async fn migrate(&mut self, to: MigrationTarget) -> Result<MigrationReport, RegistryError> {
        match to {
            MigrationTarget::Fleet => self.migrate_to_fleet().await,
            MigrationTarget::Local(kind) => self.migrate_to_local(kind).await,
        }
    }

    async fn migrate_to_fleet(&mut self) -> Result<MigrationReport, RegistryError> {
        let Some(fleet) = self.deps.fleet.clone() else {
            return Err(RegistryError::Store(StoreError::refused(
                "[store.postgres] of authd.toml is missing; docs/fleet.md shows the settings",
            )));
        };
        if self.snapshot.place == ProfilePlace::ToLocal {
            return Err(RegistryError::Store(StoreError::refused(
                "the logins are moving to this machine; wait until authctl doctor shows no move, then migrate",
            )));
        }
        fleet.migrate_schema().await?;
        fleet.check().await?;
        if !self.is_moving() {
            // The tables may be new, so that the names could not be read before.
            self.require_names().await?;
            if self.snapshot.place == ProfilePlace::Fleet {
                return Ok(MigrationReport { records: 0, left_behind: None });
            }
            self.check_movable(&fleet).await?;
            self.set_place(ProfilePlace::ToFleet).await?;
            self.changes = Some(fleet.changes());
        }
        let records = self.snapshot.profiles.len();
        let left_behind = self.continue_move().await.err();
        self.publish();
        Ok(MigrationReport { records, left_behind })
    }

    /// Fails unless every record can be moved to a free name.
    async fn check_movable(&mut self, fleet: &Fleet) -> Result<(), RegistryError> {
        self.finish_changes().await;
        if !self.pending_changes.is_empty() {
            return Err(RegistryError::Store(StoreError::unavailable(
                "an interrupted change is not finished yet",
            )));
        }
        self.check_readable()?;
        let mut taken: Vec<String> = fleet.list().await?.into_iter().map(|(name, _)| name).collect();
        taken.retain(|name| self.snapshot.profiles.keys().any(|own| own.as_str() == name));
        if taken.is_empty() {
            return Ok(());
        }
        Err(RegistryError::Store(StoreError::refused(format!(
            "the fleet already has a profile of the name {}; nothing was moved. Rename the one on this machine \
             (authctl rename) or sign it out (authctl logout), then migrate",
            taken.join(", ")
        ))))
    }

    /// Fails unless every record has been read.
    fn check_readable(&self) -> Result<(), StoreError> {
        let Some(name) = self.unread.keys().next() else { return Ok(()) };
        Err(StoreError::refused(format!(
            "the record of profile \"{name}\" cannot be read; nothing was moved. Sign in again or delete it, \
             then migrate"
        )))
    }

    /// First the store of this node becomes the one that gets the records. So nothing leaves the
    /// fleet if that store or the database cannot be used.
    async fn migrate_to_local(&mut self, kind: Kind) -> Result<MigrationReport, RegistryError> {
        if let Some(fleet) = self.deps.fleet.clone() {
            self.require_names().await?;
            if self.snapshot.place != ProfilePlace::Local {
                self.check_readable()?;
                fleet.check().await?;
            }
        } else {
            // This machine leaves the fleet. The other nodes keep its records.
            self.set_place(ProfilePlace::Local).await?;
        }
        let mut report = self.deps.store.migrate(kind).await?;
        if self.snapshot.place != ProfilePlace::Local {
            report.records += self.snapshot.profiles.len();
            self.set_place(ProfilePlace::ToLocal).await?;
            if let Err(error) = self.continue_move().await {
                report.left_behind = Some(error);
            }
        }
        if !matches!(self.snapshot.names, Names::Known) {
            self.load_all().await;
        }
        Ok(report)
    }

    async fn set_place(&mut self, place: ProfilePlace) -> Result<(), StoreError> {
        self.deps.store.set_profile_place(place).await?;
        Arc::make_mut(&mut self.snapshot).place = place;
        self.publish();
        Ok(())
    }

    /// Moves what has not been moved yet. The error says why something is left.
    pub(super) async fn continue_move(&mut self) -> Result<(), StoreError> {
        let Some(fleet) = self.fleet() else { return Ok(()) };
        let moved = if self.snapshot.place == ProfilePlace::ToFleet {
            self.move_all_to_fleet(&fleet).await
        } else {
            self.move_all_to_local().await
        };
        match &moved {
            Ok(()) => {
                let place = self.snapshot.place;
                let target =
                    if place == ProfilePlace::ToFleet { ProfilePlace::Fleet } else { ProfilePlace::Local };
                self.set_place(target).await?;
                if target == ProfilePlace::Local {
                    self.changes = None;
                }
                info!("the records of all profiles were moved");
            }
            Err(error) => warn!(%error, "records not moved yet; retrying"),
        }
        moved
    }

    async fn move_all_to_fleet(&mut self, fleet: &Fleet) -> Result<(), StoreError> {
        let fleet_has_default = fleet
            .list()
            .await?
            .iter()
            .any(|(_, record)| record.as_ref().is_ok_and(|stored| stored.default_rank > 0));
        for (name, handle) in self.snapshot.profiles.clone() {
            if !handle.is_stored_in_fleet() {
                let keeps_rank = !fleet_has_default && self.snapshot.default.as_ref() == Some(&name);
                handle.move_to_fleet(fleet.clone(), keeps_rank).await??;
            }
        }
        let mut left = None;
        for name in self.deps.store.list().await?.profiles {
            if let Err(error) = self.delete_moved(&name).await {
                left = Some(error);
            }
        }
        left.map_or(Ok(()), Err)
    }

    /// Deletes a record of this node's store whose grant is in the fleet's store.
    async fn delete_moved(&self, name: &str) -> Result<(), StoreError> {
        let Ok(parsed) = name.parse::<ProfileName>() else { return Ok(()) };
        let record = match load(&self.deps.store, &parsed).await {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(()),
            Err(_) => {
                return Err(StoreError::unavailable(format!(
                    "the record of profile \"{name}\" cannot be read"
                )));
            }
        };
        let is_there = self.snapshot.profiles.values().any(|handle| {
            let view = handle.view();
            let has_grant =
                view.snapshot().is_some_and(|snapshot| snapshot.credential.grant_id == record.grant_id);
            has_grant && handle.is_stored_in_fleet()
        });
        if is_there {
            return self.deps.store.delete(&Key::profile(name)).await;
        }
        Err(StoreError::unavailable(format!(
            "the record of profile \"{name}\" is not in the fleet's store yet"
        )))
    }

    async fn move_all_to_local(&mut self) -> Result<(), StoreError> {
        let mut left = None;
        for (name, handle) in self.snapshot.profiles.clone() {
            if self.unread.contains_key(&name) {
                left =
                    Some(StoreError::unavailable(format!("the record of profile \"{name}\" cannot be read")));
            } else if let Err(error) = handle.move_to_local().await? {
                left = Some(error);
            }
        }
        left.map_or(Ok(()), Err)
    }

    /// Starts a profile whose record was moved to this node's store without its actor.
    pub(super) async fn load_moved(&mut self, name: &ProfileName) {
        match load(&self.deps.store, name).await {
            Ok(Some(record)) => self.start(name, InitialState::Loaded(Box::new(record))),
            Ok(None) => return,
            Err(view) => self.show_unread(name, view),
        }
        self.publish();
        self.announce(name);
    }
}
