//! Follows the records of a fleet. Other nodes sign in, rename and sign out there, too.

use std::{collections::BTreeSet, sync::Arc};

use authd_api::ProfileName;
use authd_fleet::{Change, Fleet, StoredRecord};
use authd_store::{ProfilePlace, StoreError};
use tracing::{debug, error, info, warn};

use super::{actor::RegistryActor, handle::RegistryError, load::parse_name, pending_change::PendingChange};
use crate::{
    profile::{self, InitialState, ProfileHandle},
    snapshot::ProfileView,
};

impl RegistryActor {
    /// The fleet, if records of profiles are in its store or move there.
    pub(super) fn fleet(&self) -> Option<Fleet> {
        self.deps.fleet.clone().filter(|_| self.snapshot.place != ProfilePlace::Local)
    }

    /// The fleet whose store gets the records of new sign-ins.
    pub(super) fn target_fleet(&self) -> Option<Fleet> {
        let is_target = matches!(self.snapshot.place, ProfilePlace::ToFleet | ProfilePlace::Fleet);
        self.deps.fleet.clone().filter(|_| is_target)
    }

    /// Reads what a change is about.
    pub(super) async fn follow(&mut self, change: Change) {
        match change {
            Change::Record { name, revision } => {
                let Some(name) = parse_name(&name) else { return };
                let known = self.snapshot.profiles.get(&name);
                let is_known = known.zip(revision).is_some_and(|(known, new)| known.has_revision(new));
                if !is_known {
                    self.read_shared(&name).await;
                }
            }
            Change::Everything => self.read_fleet().await,
        }
    }

    /// Reads all records of the fleet again.
    pub(super) async fn read_fleet(&mut self) {
        let Some(fleet) = self.fleet() else { return };
        match fleet.list().await {
            Ok(records) => {
                self.is_fleet_unread = false;
                let listed = self.take_list(&fleet, records);
                let is_gone = |(name, handle): &(&ProfileName, &ProfileHandle)| {
                    !listed.contains(*name) && handle.is_stored_in_fleet()
                };
                let gone = self.snapshot.profiles.iter().filter(is_gone).map(|(name, _)| name.clone());
                for name in gone.collect::<Vec<_>>() {
                    self.end_deleted(&name).await;
                }
            }
            Err(error) => self.fleet_not_read(&error),
        }
    }

    /// Takes over the records of a list. Returns their names.
    pub(super) fn take_list(
        &mut self,
        fleet: &Fleet,
        records: Vec<(String, Result<StoredRecord, StoreError>)>,
    ) -> BTreeSet<ProfileName> {
        let mut listed = BTreeSet::new();
        for (name, record) in records {
            let Some(name) = parse_name(&name) else { continue };
            match record {
                Ok(stored) => self.take_stored(fleet, &name, &stored),
                Err(error) => self.show_unread_shared(&name, error.into()),
            }
            listed.insert(name);
        }
        listed
    }

    /// Reads one record of the fleet.
    pub(super) async fn read_shared(&mut self, name: &ProfileName) {
        let Some(fleet) = self.fleet() else { return };
        match fleet.load(name.as_str()).await {
            Ok(Some(stored)) => self.take_stored(&fleet, name, &stored),
            Ok(None) => self.end_deleted(name).await,
            Err(error @ StoreError::Damaged { .. }) => self.show_unread_shared(name, error.into()),
            Err(error) => self.fleet_not_read(&error),
        }
    }

    fn fleet_not_read(&mut self, error: &StoreError) {
        if !self.is_fleet_unread {
            warn!(%error, "changes of the fleet not read; retrying");
        }
        self.is_fleet_unread = true;
    }

    /// Starts the profile of a stored record, or reports the record to its actor.
    fn take_stored(&mut self, fleet: &Fleet, name: &ProfileName, stored: &StoredRecord) {
        let shared = match profile::parse(stored) {
            Ok(shared) => shared,
            Err(error) => {
                error!(%error, profile = %name, "record unreadable");
                return self.show_unread_shared(name, ProfileView::Unreadable(Arc::new(error)));
            }
        };
        let previous = self.snapshot.default.clone();
        if stored.default_rank > 0 {
            self.ranks.insert(name.clone(), stored.default_rank);
        } else {
            self.ranks.remove(name);
        }
        let handle = self.snapshot.profiles.get(name).filter(|_| !self.unread.contains_key(name));
        let is_new = handle.is_none();
        if let Some(handle) = handle {
            handle.report_stored(shared);
        } else {
            debug!(profile = %name, "profile of the fleet");
            self.start(name, InitialState::Shared(Box::new(shared), fleet.clone()));
        }
        self.publish();
        let default = self.snapshot.default.clone();
        if is_new {
            self.announce(name);
        }
        if previous != default {
            previous.iter().chain(&default).for_each(|name| self.announce(name));
        }
    }

    /// Shows a record that cannot be used, unless its profile has a usable one from before.
    fn show_unread_shared(&mut self, name: &ProfileName, view: ProfileView) {
        let has_actor = self.snapshot.profiles.contains_key(name) && !self.unread.contains_key(name);
        if !has_actor {
            self.show_unread(name, view);
            self.publish();
            self.announce(name);
        }
    }

    /// Ends a profile whose record another node has deleted or renamed.
    async fn end_deleted(&mut self, name: &ProfileName) {
        let Some(handle) = self.snapshot.profiles.get(name).cloned() else { return };
        let Some(fleet) = self.fleet() else { return };
        // Only the list says whether it was renamed.
        let records = match fleet.list().await {
            Ok(records) => records,
            Err(error) => return self.fleet_not_read(&error),
        };
        if !self.unread.contains_key(name) {
            match handle.end_if_deleted().await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) | Err(_) => return,
                Ok(Err(error)) => return self.fleet_not_read(&error),
            }
        }
        self.take_list(&fleet, records);
        let renamed = self.other_name_of(name, &handle);
        if let Some(to) = &renamed {
            info!(profile = %name, %to, "another node renamed the profile");
            self.shares.rename_profile(name, to).await;
            self.add_pending_change(PendingChange::Rename { from: name.clone(), to: to.clone() });
        } else {
            info!(profile = %name, "another node signed out");
        }
        self.remove_and_publish(name).await;
        self.finish_changes().await;
        // The move of the record to this node has just deleted it in the fleet. After a rename, a
        // copy of an unfinished move is no login: the fleet has it.
        if self.snapshot.place == ProfilePlace::ToLocal && renamed.is_none() {
            self.load_moved(name).await;
        }
    }

    /// The other name that has the grant of this profile.
    fn other_name_of(&self, name: &ProfileName, handle: &ProfileHandle) -> Option<ProfileName> {
        let grant_id = handle.view().snapshot()?.credential.grant_id.clone();
        let other = self.snapshot.profiles.iter().find(|(other, handle)| {
            let view = handle.view();
            *other != name && view.snapshot().is_some_and(|other| other.credential.grant_id == grant_id)
        });
        other.map(|(other, _)| other.clone())
    }

    /// Makes a profile the default of the fleet.
    pub(super) async fn make_fleet_default(
        &mut self,
        fleet: &Fleet,
        name: &ProfileName,
    ) -> Result<(), RegistryError> {
        if !fleet.make_default(name.as_str()).await? {
            return Err(RegistryError::Unknown);
        }
        self.read_shared(name).await;
        Ok(())
    }
}
