//! The registry's commands for one profile: make it the default, rename, sign out, export.

use authd_api::ProfileName;
use authd_oauth::Annotation;
use authd_store::ProfilePlace;

use super::{actor::RegistryActor, handle::RegistryError, pending_change::PendingChange};
use crate::profile::{ExportError, ExportRequest, RenameError, SignOutError, delete};

impl RegistryActor {
    /// Saves the highest rank in the record of the new default, then clears the other ranks.
    pub(super) async fn make_default(&mut self, name: &ProfileName) -> Result<(), RegistryError> {
        let handle = self.loaded_handle(name).await?;
        if let Some(fleet) = self.target_fleet() {
            return self.make_fleet_default(&fleet, name).await;
        }
        let rank = self.ranks.values().max().map_or(1, |highest| highest.saturating_add(1));
        handle.annotate(Annotation::DefaultRank(rank)).await??;
        let previous = self.snapshot.default.clone();
        self.ranks.insert(name.clone(), rank);
        self.default_chosen = true;
        self.clear_lower_ranks();
        self.publish();
        for changed in previous.iter().filter(|previous| *previous != name).chain([name]) {
            self.announce(changed);
        }
        Ok(())
    }

    pub(super) async fn rename(&mut self, from: &ProfileName, to: ProfileName) -> Result<(), RegistryError> {
        let handle = self.loaded_handle(from).await?;
        if *from == to {
            return Ok(());
        }
        if self.snapshot.profiles.contains_key(&to) {
            return Err(RegistryError::Taken);
        }
        self.finish_changes_of(from).await?;
        self.finish_changes_of(&to).await?;
        match handle.rename(to.clone()).await? {
            Ok(()) => {}
            Err(RenameError::NotCopied(error)) => return Err(RegistryError::Store(error)),
            Err(RenameError::Taken) => return Err(RegistryError::Taken),
            Err(RenameError::CopyInDoubt(error)) => {
                self.add_pending_change(PendingChange::DiscardCopy { name: from.clone(), copy: to });
                self.finish_changes().await;
                return Err(RegistryError::Store(error));
            }
        }
        if let Some(handle) = self.handles().remove(from) {
            self.handles().insert(to.clone(), handle);
        }
        if let Some(rank) = self.ranks.remove(from) {
            self.ranks.insert(to.clone(), rank);
        }
        self.publish();
        // The shares use the new name at once, before their list is written.
        self.shares.rename_profile(from, &to).await;
        // The rename has succeeded, even if the old record is deleted later.
        self.add_pending_change(PendingChange::Rename { from: from.clone(), to: to.clone() });
        self.finish_changes().await;
        self.announce(from);
        self.announce(&to);
        Ok(())
    }

    /// Signs out. A record that cannot be read is deleted, unless it must be revoked.
    pub(super) async fn sign_out(&mut self, name: &ProfileName, revoke: bool) -> Result<(), RegistryError> {
        self.require_names().await?;
        self.finish_changes_of(name).await?;
        match self.loaded_handle(name).await {
            Ok(handle) => handle.sign_out(revoke).await?.map_err(RegistryError::SignOut)?,
            Err(RegistryError::Unread(view)) if revoke => {
                return Err(RegistryError::SignOut(SignOutError::Unread(view)));
            }
            Err(RegistryError::Unread(_)) => {
                if let Some(fleet) = self.fleet() {
                    fleet.delete(name.as_str()).await?;
                }
                // During a move both stores can have it.
                if self.snapshot.place != ProfilePlace::Fleet {
                    delete(&self.store(), name).await?;
                }
            }
            Err(error) => return Err(error),
        }
        self.remove_and_publish(name).await;
        Ok(())
    }

    pub(super) async fn export(
        &mut self,
        name: &ProfileName,
        request: ExportRequest,
    ) -> Result<(), RegistryError> {
        let handle = self.loaded_handle(name).await?;
        self.finish_changes_of(name).await?;
        match handle.export(request).await? {
            Ok(()) => {}
            Err(ExportError::Target(error)) => return Err(RegistryError::ExportTarget(error)),
            Err(ExportError::Store(error)) => return Err(RegistryError::Store(error)),
            Err(ExportError::InDoubt(error)) => {
                self.add_pending_change(PendingChange::Export { name: name.clone() });
                return Err(error.into());
            }
        }
        self.remove_and_publish(name).await;
        Ok(())
    }

    pub(super) async fn clear_intent(&mut self, name: &ProfileName) -> Result<(), RegistryError> {
        self.loaded_handle(name).await?.annotate(Annotation::Intent(None)).await??;
        Ok(())
    }

    /// Removes a profile and ends its shares. If it was the default, there is none until the user
    /// chooses one or signs in: the other profiles may belong to other users.
    pub(super) async fn remove_and_publish(&mut self, name: &ProfileName) {
        self.remove(name);
        self.publish();
        // A share that is made now finds no profile. The credential is not served while the list
        // waits for the disk.
        self.shares.end_profile(name).await;
        self.announce(name);
    }

    /// Clears every rank below the highest.
    pub(super) fn clear_lower_ranks(&mut self) {
        let Some(highest) = self.ranks.values().max().copied() else { return };
        let lower: Vec<_> =
            self.ranks.iter().filter(|(_, rank)| **rank < highest).map(|(name, _)| name.clone()).collect();
        for name in lower {
            self.annotate_later(&name, Annotation::DefaultRank(0));
            self.ranks.remove(&name);
        }
    }
}
