//! Finishes changes of the store that have started. A change that fails is retried while the daemon runs;
//! the records hold enough for the next start to continue.

use authd_api::ProfileName;
use authd_oauth::{Annotation, Record};
use authd_store::StoreError;
use tracing::{info, warn};

use super::{actor::RegistryActor, handle::RegistryError, pending_change::PendingChange};
use crate::{
    codex::{CodexNotice, is_owned_here},
    profile::{ProfileHandle, SignOutError, delete, load},
    snapshot::ProfileView,
};

impl RegistryActor {
    /// Adds a change that has started.
    pub(super) fn add_pending_change(&mut self, change: PendingChange) {
        if !self.pending_changes.contains(&change) {
            self.pending_changes.push(change);
        }
    }

    /// Tries to finish every change. One that fails stays for the next try.
    pub(super) async fn finish_all(&mut self) {
        for change in self.pending_changes.clone() {
            match self.finish(&change).await {
                Ok(()) => {
                    info!(?change, "interrupted change finished");
                    self.pending_changes.retain(|other| *other != change);
                }
                Err(error) => warn!(%error, ?change, "interrupted change not finished; it is retried"),
            }
        }
    }

    /// Makes sure that no unfinished change uses the name.
    pub(super) async fn free(&mut self, name: &ProfileName) -> Result<(), RegistryError> {
        if self.is_in_use(name) {
            self.finish_all().await;
        }
        if self.is_in_use(name) {
            let detail = format!("an interrupted change of profile \"{name}\" is not finished yet");
            return Err(RegistryError::Store(StoreError::Unavailable { detail }));
        }
        Ok(())
    }

    fn is_in_use(&self, name: &ProfileName) -> bool {
        self.pending_changes.iter().any(|change| match change {
            PendingChange::Rename { from: one, to: other }
            | PendingChange::DiscardCopy { name: one, copy: other } => one == name || other == name,
            PendingChange::Export { name: gone } | PendingChange::Delete { name: gone } => gone == name,
            PendingChange::LegacyIndex { .. } => false,
        })
    }

    async fn finish(&mut self, change: &PendingChange) -> Result<(), StoreError> {
        let store = self.store();
        match change {
            PendingChange::Rename { from, to } => {
                self.homes.rename_profile(from, to).await.map_err(|error| StoreError::Unavailable {
                    detail: format!("the list of Codex homes cannot be changed: {error}"),
                })?;
                // Nothing listens any more while the daemon stops.
                self.notices.send(CodexNotice::HomesChanged).ok();
                delete(&store, from).await?;
                self.annotate_later(to, Annotation::Intent(None));
            }
            PendingChange::DiscardCopy { name, copy } => {
                if self.snapshot.profiles.get(name).is_none_or(|handle| handle.view().snapshot().is_none()) {
                    let detail = format!("the record of profile \"{name}\" has not been read");
                    return Err(StoreError::Unavailable { detail });
                }
                match load(&store, copy).await {
                    Ok(Some(record)) if self.is_of_the_grant_of(name, &record) => {
                        delete(&store, copy).await?;
                    }
                    // The name was free before, so that this is a write of ours that was cut short.
                    Err(view) if view.is_damaged() => delete(&store, copy).await?,
                    Ok(_) | Err(ProfileView::Loaded(_) | ProfileView::Unreadable(_)) => {}
                    Err(ProfileView::StoreUnavailable(error)) => return Err((*error).clone()),
                }
                if self.unread.contains_key(copy) {
                    self.remove(copy);
                    self.publish();
                }
                self.annotate_later(name, Annotation::Intent(None));
            }
            PendingChange::Export { name } => self.finish_export(name).await?,
            PendingChange::Delete { name } => delete(&store, name).await?,
            PendingChange::LegacyIndex { default } => {
                let others = self.pending_changes.iter().any(|other| other != change);
                if others {
                    let detail = "other changes are not finished yet".to_owned();
                    return Err(StoreError::Unavailable { detail });
                }
                let handle = default.as_ref().and_then(|name| self.snapshot.profiles.get(name));
                if let Some(error) = handle.map(ProfileHandle::view).as_ref().and_then(ProfileView::unread) {
                    return Err(error.clone());
                }
                // A record that cannot be used has no actor, and takes no mark.
                if let Some(handle) = handle.filter(|handle| handle.view().snapshot().is_some())
                    && let Some(rank) = default.as_ref().and_then(|name| self.ranks.get(name))
                {
                    let gone = || StoreError::Unavailable { detail: "the daemon is stopping".to_owned() };
                    handle.annotate(Annotation::DefaultRank(*rank)).await.map_err(|_| gone())??;
                }
                store.remove_legacy_index().await?;
            }
        }
        Ok(())
    }

    /// Reads the target of an export to find out whether it happened.
    async fn finish_export(&mut self, name: &ProfileName) -> Result<(), StoreError> {
        let record = match load(&self.store(), name).await {
            Ok(Some(record)) => record,
            // The actor saves a record again whose delete was not confirmed.
            Ok(None) if self.snapshot.profiles.contains_key(name) => {
                let detail = "the record is being saved again".to_owned();
                return Err(StoreError::Unavailable { detail });
            }
            Ok(None) | Err(ProfileView::Loaded(_) | ProfileView::Unreadable(_)) => return Ok(()),
            Err(ProfileView::StoreUnavailable(error)) => return Err((*error).clone()),
        };
        if is_owned_here(&record, &self.homes, &self.store()).await? {
            self.annotate_later(name, Annotation::Intent(None));
        } else {
            // The actor may be about to save the record, so it is the one that deletes it.
            if let Some(handle) = self.snapshot.profiles.get(name).cloned()
                && let Ok(Err(SignOutError::Store(error))) = handle.sign_out(false).await
            {
                return Err(error);
            }
            self.forget(name);
        }
        Ok(())
    }

    fn is_of_the_grant_of(&self, name: &ProfileName, record: &Record) -> bool {
        let view = self.snapshot.profiles.get(name).map(ProfileHandle::view);
        let snapshot = view.as_ref().and_then(ProfileView::snapshot);
        snapshot.is_some_and(|snapshot| snapshot.credential.grant_id == record.grant_id)
    }

    /// Changes a profile's record. Its actor retries the save until the store accepts it.
    pub(super) fn annotate_later(&self, name: &ProfileName, annotation: Annotation) {
        if let Some(handle) = self.snapshot.profiles.get(name) {
            handle.annotate_later(annotation);
        }
    }
}
