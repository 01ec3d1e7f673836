//! Changes that have begun, and have to be finished however often the store fails: each is tried again for as long as the
//! daemon lives, and the records say enough for the next start to go on.

use authd_api::ProfileName;
use authd_oauth::{Annotation, Record};
use authd_store::StoreError;
use tracing::{info, warn};

use super::{KeeperError, Registry};
use crate::{
    codex::{homes::CodexNotice, location},
    facts::View,
    profile::{ProfileHandle, SignOutError, delete, load},
};

/// A change that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// The grant is under `to`: the homes that use `from` follow, and the record there is deleted.
    Rename { from: ProfileName, to: ProfileName },
    /// The grant is under `name`: the copy is deleted.
    DiscardCopy { name: ProfileName, copy: ProfileName },
    /// The grant of `name` may have been exported: the record says where to look.
    Export { name: ProfileName },
    /// A record of no use is deleted.
    Delete { name: ProfileName },
    /// The default that an earlier version's index names is marked in its record, and the index deleted.
    LegacyIndex { default: Option<ProfileName> },
}

impl Registry {
    /// Notes a change that has begun.
    pub(super) fn add_unfinished(&mut self, unfinished: Unfinished) {
        if !self.unfinished.contains(&unfinished) {
            self.unfinished.push(unfinished);
        }
    }

    /// Tries to finish what has begun. What cannot be finished now stays.
    pub(super) async fn finish_all(&mut self) {
        for unfinished in self.unfinished.clone() {
            match self.finish(&unfinished).await {
                Ok(()) => {
                    info!(?unfinished, "finished");
                    self.unfinished.retain(|other| *other != unfinished);
                }
                Err(error) => warn!(%error, ?unfinished, "not finished yet; it is tried again"),
            }
        }
    }

    /// Makes sure that no change that has begun concerns a name.
    pub(super) async fn free(&mut self, name: &ProfileName) -> Result<(), KeeperError> {
        if self.is_concerned(name) {
            self.finish_all().await;
        }
        if self.is_concerned(name) {
            let detail = format!("an interrupted change of profile \"{name}\" is not finished yet");
            return Err(KeeperError::Store(StoreError::Unavailable { detail }));
        }
        Ok(())
    }

    fn is_concerned(&self, name: &ProfileName) -> bool {
        self.unfinished.iter().any(|unfinished| match unfinished {
            Unfinished::Rename { from: one, to: other }
            | Unfinished::DiscardCopy { name: one, copy: other } => one == name || other == name,
            Unfinished::Export { name: gone } | Unfinished::Delete { name: gone } => gone == name,
            Unfinished::LegacyIndex { .. } => false,
        })
    }

    async fn finish(&mut self, unfinished: &Unfinished) -> Result<(), StoreError> {
        let store = self.store();
        match unfinished {
            Unfinished::Rename { from, to } => {
                self.homes.rename_profile(from, to).await.map_err(|error| StoreError::Unavailable {
                    detail: format!("the list of Codex homes cannot be changed: {error}"),
                })?;
                // Nothing listens any more while the daemon stops.
                self.notices.send(CodexNotice::HomesChanged).ok();
                delete(&store, from).await?;
                self.note(to, Annotation::Intent(None));
            }
            Unfinished::DiscardCopy { name, copy } => {
                if self.directory.profiles.get(name).is_none_or(|handle| handle.view().facts().is_none()) {
                    let detail = format!("the record of profile \"{name}\" has not been read");
                    return Err(StoreError::Unavailable { detail });
                }
                match load(&store, copy).await {
                    Ok(Some(record)) if self.is_of_the_grant_of(name, &record) => {
                        delete(&store, copy).await?;
                    }
                    // The name was free before, so that this is a write of ours that was cut short.
                    Err(view) if view.is_damaged() => delete(&store, copy).await?,
                    Ok(_) | Err(View::Known(_) | View::Unreadable(_)) => {}
                    Err(View::Closed(error)) => return Err((*error).clone()),
                }
                if self.unread.contains_key(copy) {
                    self.remove(copy);
                    self.publish();
                }
                self.note(name, Annotation::Intent(None));
            }
            Unfinished::Export { name } => self.finish_export(name).await?,
            Unfinished::Delete { name } => delete(&store, name).await?,
            Unfinished::LegacyIndex { default } => {
                let others = self.unfinished.iter().any(|other| other != unfinished);
                if others {
                    let detail = "other changes are not finished yet".to_owned();
                    return Err(StoreError::Unavailable { detail });
                }
                let handle = default.as_ref().and_then(|name| self.directory.profiles.get(name));
                if let Some(error) = handle.map(ProfileHandle::view).as_ref().and_then(View::unread) {
                    return Err(error.clone());
                }
                // A record that cannot be used has no actor, and takes no mark.
                if let Some(handle) = handle.filter(|handle| handle.view().facts().is_some())
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

    /// The place that the record names says whether the export came about.
    async fn finish_export(&mut self, name: &ProfileName) -> Result<(), StoreError> {
        let record = match load(&self.store(), name).await {
            Ok(Some(record)) => record,
            // The actor saves a record again whose delete was not confirmed.
            Ok(None) if self.directory.profiles.contains_key(name) => {
                let detail = "the record is being saved again".to_owned();
                return Err(StoreError::Unavailable { detail });
            }
            Ok(None) | Err(View::Known(_) | View::Unreadable(_)) => return Ok(()),
            Err(View::Closed(error)) => return Err((*error).clone()),
        };
        if location::is_owned_here(&record, &self.homes, &self.store()).await? {
            self.note(name, Annotation::Intent(None));
        } else {
            // The actor may be about to save the record, so it is the one that deletes it.
            if let Some(handle) = self.directory.profiles.get(name).cloned()
                && let Ok(Err(SignOutError::Store(error))) = handle.sign_out(false).await
            {
                return Err(error);
            }
            self.forget(name);
        }
        Ok(())
    }

    fn is_of_the_grant_of(&self, name: &ProfileName, record: &Record) -> bool {
        let view = self.directory.profiles.get(name).map(ProfileHandle::view);
        let facts = view.as_ref().and_then(View::facts);
        facts.is_some_and(|facts| facts.credential.grant_id == record.grant_id)
    }

    /// Has a profile's record changed by and by: its actor saves it until the store has taken it.
    pub(super) fn note(&self, name: &ProfileName, annotation: Annotation) {
        if let Some(handle) = self.directory.profiles.get(name) {
            handle.note(annotation);
        }
    }
}
