//! Keeping a Codex home supplied with a profile's access tokens, and restoring what was there before. The list of homes
//! says that it has begun before anything is changed, so that the next start finishes what a crash interrupted.

use std::path::{Path, PathBuf};

use authd_api::{LoginFile, LoginFileOutcome, ProfileName};
use secrecy::SecretString;
use tracing::{info, warn};

use super::{
    actor::CodexActor,
    error::CodexHomeError,
    homes::{ManagedHome, Phase},
    location::{FILE, FoundLogin, LoginLocation, before, login_file},
    sync::{self, OverwritePolicy},
};
use crate::{registry::RegistryError, snapshot::ProfileView};

/// A home has what it had before.
struct Restored {
    home: PathBuf,
    outcome: LoginFileOutcome,
    /// Nothing is left of it in the store and in the list.
    finished: bool,
}

impl Restored {
    fn finished(self) -> Result<(), CodexHomeError> {
        if self.finished { Ok(()) } else { Err(CodexHomeError::Interrupted(self.home)) }
    }
}

impl CodexActor {
    pub(super) async fn install(
        &mut self,
        home: Option<PathBuf>,
        name: ProfileName,
    ) -> Result<PathBuf, CodexHomeError> {
        let FoundLogin { location, mut text, .. } = self.look(home, |home| home.join(FILE)).await?;
        let (home, path) = (location.home().to_path_buf(), location.path().to_path_buf());
        let refused = |error| CodexHomeError::Registry(name.clone(), error);
        self.registry.read(name.clone()).await.map_err(refused)?;
        let handle = self.registry.snapshot().profiles.get(&name).cloned();
        let view = handle.ok_or_else(|| refused(RegistryError::Unknown))?.view();
        if view.snapshot().is_some_and(|snapshot| sync::content(snapshot).is_none()) {
            return Err(CodexHomeError::NoWorkspace(name));
        }
        let mut earlier = self.homes.all().await.map_err(CodexHomeError::Homes)?.get(&home).cloned();
        if let Some(managed) = earlier.as_ref().filter(|managed| managed.phase != Phase::Installed) {
            if !self.recover_home(&home, managed.clone()).await {
                return Err(CodexHomeError::Interrupted(home));
            }
            // That changed the list and the file.
            earlier = self.homes.all().await.map_err(CodexHomeError::Homes)?.get(&home).cloned();
            text = location.read().await?;
        }
        let ours = earlier.clone().filter(|_| sync::is_ours(text.as_ref()));
        let original = if ours.is_some() { None } else { text.as_ref() };
        // A login that was made in a managed home since takes the place of what was there before.
        let (restorable, taken) = ours.map_or((text.is_some(), false), |it| (it.restorable, it.taken));
        let phase = Phase::Installing;
        let managed =
            ManagedHome { profile: name.clone(), restorable, taken, item: location.is_item(), phase };
        self.change_homes(|homes| drop(homes.insert(home.clone(), managed.clone()))).await?;
        if let Err(failure) = self.replace(&location, &managed, original, text.as_ref(), &view).await {
            let back = match earlier {
                Some(earlier) => self.change_homes(|homes| drop(homes.insert(home.clone(), earlier))).await,
                // What was there before is put back, and what was sealed of it is deleted.
                None => self.restore(&home, &location, managed).await.and_then(Restored::finished),
            };
            if let Err(error) = back {
                warn!(?error, "the installation is not taken back yet; it is tried again");
                self.recovered = false;
            }
            return Err(failure);
        }
        info!(profile = %name, home = %home.display(), "a Codex home is kept supplied");
        Ok(path)
    }

    /// Seals what is to be restored one day, writes the access token in its place, and marks the home as installed.
    async fn replace(
        &mut self,
        location: &LoginLocation,
        managed: &ManagedHome,
        original: Option<&SecretString>,
        there: Option<&SecretString>,
        view: &ProfileView,
    ) -> Result<(), CodexHomeError> {
        let home = location.home();
        if let Some(text) = original {
            let label = format!("authd: what was in {}", location.path().display());
            let sealed = self.store.save(&before(home), &label, text.clone()).await;
            sealed.map_err(CodexHomeError::Store)?;
        }
        let policy = there.map_or(OverwritePolicy::Ours, OverwritePolicy::Kept);
        let written = sync::write(location, view, policy).await;
        written.map_err(|error| CodexHomeError::File(location.path().to_path_buf(), error))?;
        let managed = ManagedHome { phase: Phase::Installed, ..managed.clone() };
        self.change_homes(|homes| drop(homes.insert(home.to_path_buf(), managed.clone()))).await?;
        self.sync(home, &managed);
        Ok(())
    }

    pub(super) async fn uninstall(&mut self, home: Option<PathBuf>) -> Result<LoginFile, CodexHomeError> {
        let path = login_file(home, |home| home.join(FILE))?;
        let home = path.parent().unwrap_or(&path).to_path_buf();
        let homes = self.homes.all().await.map_err(CodexHomeError::Homes)?;
        let managed = homes.get(&home).cloned().ok_or_else(|| CodexHomeError::NotManaged(home.clone()))?;
        let profile = managed.profile.clone();
        let location = self.location(&home, managed.item);
        let path = location.path().to_path_buf();
        // Once its profile is signed out, there is nothing to give back either.
        let directory =
            self.registry.known(std::time::Duration::ZERO).await.map_err(CodexHomeError::Store)?;
        if managed.taken && directory.profiles.contains_key(&profile) {
            return Err(CodexHomeError::Taken(path, profile));
        }
        let restored = self.restore(&home, &location, managed).await;
        // What has begun is finished when the store and the disk work.
        self.recovered &= matches!(restored, Ok(Restored { finished: true, .. }));
        Ok(LoginFile { profile, path, outcome: Some(restored?.outcome) })
    }

    /// Restores what was in a home before, and takes the home out of the list.
    async fn restore(
        &mut self,
        home: &Path,
        location: &LoginLocation,
        managed: ManagedHome,
    ) -> Result<Restored, CodexHomeError> {
        let removing = ManagedHome { phase: Phase::Removing, ..managed.clone() };
        self.change_homes(|homes| drop(homes.insert(home.to_path_buf(), removing))).await?;
        let original = if managed.restorable {
            self.store.load(&before(home)).await.map_err(CodexHomeError::Store)?
        } else {
            None
        };
        let outcome = match &original {
            // A login that was made there meanwhile stays.
            _ if !sync::is_ours(location.read().await?.as_ref()) => LoginFileOutcome::LeftAlone,
            Some(_) => LoginFileOutcome::Restored,
            None => LoginFileOutcome::Removed,
        };
        self.stop_sync(home);
        if outcome != LoginFileOutcome::LeftAlone {
            let put_back = location.put_back(original).await;
            put_back.map_err(|error| CodexHomeError::File(location.path().to_path_buf(), error))?;
        }
        let finished = self.delete_original(home).await
            && self.change_homes(|homes| drop(homes.remove(home))).await.is_ok();
        Ok(Restored { home: home.to_path_buf(), outcome, finished })
    }

    /// Deletes what was in a home before it was supplied: it is there again, or something newer is.
    pub(super) async fn delete_original(&self, home: &Path) -> bool {
        let deleted = self.store.delete(&before(home)).await;
        if let Err(error) = &deleted {
            warn!(%error, "what was in the Codex home is still in the store");
        }
        deleted.is_ok()
    }

    /// Finishes what was begun with a home. False: it cannot be finished now.
    pub(super) async fn recover_home(&mut self, home: &Path, managed: ManagedHome) -> bool {
        let location = self.location(home, managed.item);
        let finished = match managed.phase {
            Phase::Installed => self.drop_if_unused(home, &location, &managed).await,
            Phase::Removing => self.restore(home, &location, managed).await.and_then(Restored::finished),
            Phase::Installing => self.finish_install(&location, &managed).await,
        };
        if let Err(failure) = &finished {
            warn!(home = %home.display(), ?failure, "what was begun with a Codex home is not finished yet");
        }
        finished.is_ok()
    }

    async fn finish_install(
        &mut self,
        location: &LoginLocation,
        managed: &ManagedHome,
    ) -> Result<(), CodexHomeError> {
        let handle = self.registry.snapshot().profiles.get(&managed.profile).cloned();
        let there = location.read().await?;
        let original = there.as_ref().filter(|text| !sync::is_ours(Some(text)));
        let view =
            handle.map_or(ProfileView::StoreUnavailable(std::sync::Arc::new(gone())), |handle| handle.view());
        self.replace(location, managed, original, there.as_ref(), &view).await
    }

    /// A home whose login was given back by an export that a crash cut short is in the list still.
    async fn drop_if_unused(
        &mut self,
        home: &Path,
        location: &LoginLocation,
        managed: &ManagedHome,
    ) -> Result<(), CodexHomeError> {
        let unknown = !self.registry.snapshot().profiles.contains_key(&managed.profile);
        if unknown && !managed.restorable && !sync::is_ours(location.read().await?.as_ref()) {
            self.change_homes(|homes| drop(homes.remove(home))).await?;
        }
        Ok(())
    }
}

fn gone() -> authd_store::StoreError {
    authd_store::StoreError::Unavailable { detail: "its profile is gone".to_owned() }
}
