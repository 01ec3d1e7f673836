//! Finishes changes of the store that have started. A change that fails is retried while the daemon
//! runs; the records hold enough for the next start to continue.

use authd_api::ProfileName;
use authd_oauth::{Annotation, Record};
use authd_store::{ProfilePlace, StoreError};
use tracing::{info, warn};

use super::{actor::RegistryActor, pending_change::PendingChange};
use crate::{
    codex::{CodexNotice, is_owned_here},
    profile::{ProfileHandle, SignOutError, delete, load},
    snapshot::ProfileView,
};

impl RegistryActor {
    pub(super) fn add_pending_change(&mut self, change: PendingChange) {
        if !self.pending_changes.contains(&change) {
            self.pending_changes.push(change);
        }
    }

    /// Tries to finish every change. One that fails stays for the next try.
    pub(super) async fn finish_changes(&mut self) {
        for change in self.pending_changes.clone() {
            match self.finish(&change).await {
                Ok(()) => {
                    info!(?change, "interrupted change finished");
                    self.pending_changes.retain(|other| *other != change);
                }
                Err(error) => warn!(%error, ?change, "interrupted change not finished; retrying"),
            }
        }
    }

    /// Finishes the changes that use a name. Fails if one of them cannot be finished now.
    pub(super) async fn finish_changes_of(&mut self, name: &ProfileName) -> Result<(), StoreError> {
        if self.has_pending_change(name) {
            self.finish_changes().await;
        }
        if self.has_pending_change(name) {
            return Err(StoreError::unavailable(format!(
                "an interrupted change of profile \"{name}\" is not finished yet"
            )));
        }
        Ok(())
    }

    fn has_pending_change(&self, name: &ProfileName) -> bool {
        self.pending_changes.iter().any(|change| match change {
            PendingChange::Rename { from: one, to: other }
            | PendingChange::DiscardCopy { name: one, copy: other } => one == name || other == name,
            PendingChange::Export { name: other } | PendingChange::Delete { name: other } => other == name,
            PendingChange::LegacyIndex { .. } => false,
        })
    }

    async fn finish(&mut self, change: &PendingChange) -> Result<(), StoreError> {
        match change {
            PendingChange::Rename { from, to } => self.finish_rename(from, to).await,
            PendingChange::DiscardCopy { name, copy } => self.discard_copy(name, copy).await,
            PendingChange::Export { name } => self.finish_export(name).await,
            PendingChange::Delete { name } => delete(&self.store(), name).await,
            PendingChange::LegacyIndex { .. } if self.pending_changes.iter().any(|other| other != change) => {
                Err(StoreError::unavailable("other changes are not finished yet"))
            }
            PendingChange::LegacyIndex { default } => self.remove_legacy_index(default.as_ref()).await,
        }
    }

    async fn finish_rename(&mut self, from: &ProfileName, to: &ProfileName) -> Result<(), StoreError> {
        self.homes.rename_profile(from, to).await.map_err(|error| {
            StoreError::unavailable(format!("the list of Codex homes cannot be changed: {error}"))
        })?;
        self.notify_codex(CodexNotice::HomesChanged);
        self.shares.rename_profile(from, to).await;
        if self.snapshot.place == ProfilePlace::Fleet {
            return Ok(());
        }
        if !self.is_moving() || !self.is_unusable(from).await? {
            delete(&self.store(), from).await?;
        }
        self.annotate_later(to, Annotation::Intent(None));
        Ok(())
    }

    /// Whether this node's store has a record of this name that cannot be used. During a move it is
    /// of another profile.
    async fn is_unusable(&self, name: &ProfileName) -> Result<bool, StoreError> {
        match load(&self.store(), name).await {
            Ok(_) => Ok(false),
            Err(view) => view.unread().cloned().map_or(Ok(true), Err),
        }
    }

    async fn discard_copy(&mut self, name: &ProfileName, copy: &ProfileName) -> Result<(), StoreError> {
        let Some(ProfileView::Loaded(original)) = self.view(name) else {
            return Err(StoreError::unavailable(format!(
                "the record of profile \"{name}\" has not been read"
            )));
        };
        let is_copy = |record: &Record| record.grant_id == original.credential.grant_id;
        match load(&self.store(), copy).await {
            Ok(Some(record)) if is_copy(&record) => delete(&self.store(), copy).await?,
            // The name was free before, so this is our interrupted write.
            Err(view) if view.is_damaged() => delete(&self.store(), copy).await?,
            Ok(_) | Err(ProfileView::Loaded(_) | ProfileView::Unreadable(_)) => {}
            Err(ProfileView::StoreUnavailable(error)) => return Err((*error).clone()),
        }
        if self.unread.contains_key(copy) {
            self.remove(copy);
            self.publish();
        }
        self.annotate_later(name, Annotation::Intent(None));
        Ok(())
    }

    /// Reads the target of an export to find out whether the grant was written to it.
    async fn finish_export(&mut self, name: &ProfileName) -> Result<(), StoreError> {
        let record = match load(&self.store(), name).await {
            Ok(Some(record)) => record,
            // The actor saves a record again whose delete was not confirmed.
            Ok(None) if self.snapshot.profiles.contains_key(name) => {
                return Err(StoreError::unavailable("the record is being saved again"));
            }
            Ok(None) | Err(ProfileView::Loaded(_) | ProfileView::Unreadable(_)) => return Ok(()),
            Err(ProfileView::StoreUnavailable(error)) => return Err((*error).clone()),
        };
        if is_owned_here(&record, &self.homes, &self.store()).await? {
            self.annotate_later(name, Annotation::Intent(None));
            return Ok(());
        }
        // The actor may be about to save the record, so the actor deletes it.
        if let Some(handle) = self.snapshot.profiles.get(name).cloned()
            && let Ok(Err(SignOutError::Store(error))) = handle.sign_out(false).await
        {
            return Err(error);
        }
        self.remove_and_publish(name).await;
        Ok(())
    }

    /// Saves the default of the legacy index in its record, then deletes the index.
    async fn remove_legacy_index(&self, default: Option<&ProfileName>) -> Result<(), StoreError> {
        if let Some(name) = default
            && let Some(handle) = self.snapshot.profiles.get(name)
        {
            let view = handle.view();
            if let Some(error) = view.unread() {
                return Err(error.clone());
            }
            // A record that cannot be used has no actor and gets no rank.
            if let (Some(_), Some(rank)) = (view.snapshot(), self.ranks.get(name)) {
                handle.annotate(Annotation::DefaultRank(*rank)).await??;
            }
        }
        self.store().remove_legacy_index().await
    }

    pub(super) fn view(&self, name: &ProfileName) -> Option<ProfileView> {
        self.snapshot.profiles.get(name).map(ProfileHandle::view)
    }

    /// Changes a profile's record. Its actor retries the save until the store accepts it.
    pub(super) fn annotate_later(&self, name: &ProfileName, annotation: Annotation) {
        if let Some(handle) = self.snapshot.profiles.get(name) {
            handle.annotate_later(annotation);
        }
    }
}
