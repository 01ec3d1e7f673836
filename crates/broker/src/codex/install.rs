//! Installs a profile in a Codex home, and restores the original login. The list of homes records
//! the change before it starts, so that the next start finishes what a crash interrupted.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use authd_api::{LoginFile, LoginFileOutcome, ProfileName};
use authd_store::StoreError;
use secrecy::SecretString;
use tracing::{info, warn};

use super::{
    actor::CodexActor,
    error::CodexHomeError,
    homes::{ManagedHome, Phase},
    location::{FILE, FoundLogin, LoginLocation, login_file, original_key},
    lock::LockedLogin,
    sync,
};
use crate::{registry::RegistryError, snapshot::ProfileView};

/// A home whose original login is restored.
struct Restored {
    home: PathBuf,
    outcome: LoginFileOutcome,
    /// Whether the store and the list of homes hold nothing of it any more.
    finished: bool,
}

impl Restored {
    fn require_finished(self) -> Result<(), CodexHomeError> {
        if self.finished { Ok(()) } else { Err(CodexHomeError::Interrupted(self.home)) }
    }
}

impl CodexActor {
    pub(super) async fn install(
        &mut self,
        home: Option<PathBuf>,
        name: ProfileName,
    ) -> Result<PathBuf, CodexHomeError> {
        let FoundLogin { location, .. } = self.read_login(home, |home| home.join(FILE)).await?;
        let home = location.home();
        let registry_error = CodexHomeError::registry(&name);
        self.registry.read(name.clone()).await.map_err(&registry_error)?;
        let handle = self.profile(&name).ok_or_else(|| registry_error(RegistryError::Unknown))?;
        let view = handle.view();
        view.snapshot().map(|snapshot| sync::external_login(snapshot)).transpose()?;
        let mut previous = self.managed_home(home).await?;
        if let Some(managed) = previous.as_ref().filter(|managed| managed.phase != Phase::Installed) {
            if !self.recover_home(home, managed.clone()).await {
                return Err(CodexHomeError::Interrupted(home.to_path_buf()));
            }
            previous = self.managed_home(home).await?;
        }
        let locked = lock(location.clone(), previous.as_ref()).await?;
        let text = locked.read().await?;
        // A login that the user made in a managed home becomes its original login.
        let installed = previous.as_ref().filter(|managed| sync::is_own_login(text.as_ref(), managed));
        let original = text.as_ref().filter(|_| installed.is_none());
        let (restorable, taken) =
            installed.map_or((text.is_some(), false), |managed| (managed.restorable, managed.taken));
        let managed = ManagedHome {
            profile: name.clone(),
            restorable,
            taken,
            item: location.is_item(),
            link: location.link_text().await,
            written: previous.as_ref().map(|managed| managed.written.clone()).unwrap_or_default(),
            phase: Phase::Installing,
        };
        self.save_home(home, managed.clone()).await?;
        if let Err(error) = self.replace_login(&locked, &managed, original, text.as_ref(), &view).await {
            let reverted = match previous {
                Some(previous) => self.revert_home(home, previous).await,
                None => self.restore(&locked).await.and_then(Restored::require_finished),
            };
            if let Err(error) = reverted {
                warn!(?error, "failed installation not reverted; retrying");
                self.recovered = false;
            }
            return Err(error);
        }
        info!(profile = %name, home = %home.display(), "profile installed in a Codex home");
        Ok(location.path().to_path_buf())
    }

    /// Saves the original login in the store, writes the access token over the `current` login, and
    /// marks the home as installed.
    async fn replace_login(
        &mut self,
        locked: &LockedLogin,
        managed: &ManagedHome,
        original: Option<&SecretString>,
        current: Option<&SecretString>,
        view: &ProfileView,
    ) -> Result<(), CodexHomeError> {
        let location = locked.location();
        let home = location.home();
        if let Some(text) = original {
            let label = format!("authd: what was in {}", location.path().display());
            self.store().save(&original_key(home), &label, text.clone()).await?;
        }
        sync::write(locked, &self.homes, view, current).await?;
        self.save_phase(home, Phase::Installed).await?;
        self.start_sync(home, managed);
        Ok(())
    }

    pub(super) async fn uninstall(&mut self, home: Option<PathBuf>) -> Result<LoginFile, CodexHomeError> {
        let file = login_file(home, |home| home.join(FILE)).await?;
        let home = file.parent().unwrap_or(&file);
        let managed = self.managed_home(home).await?;
        let managed = managed.ok_or_else(|| CodexHomeError::NotManaged(home.to_path_buf()))?;
        let profile = managed.profile.clone();
        let location = self.location(home, managed.item);
        let path = location.path().to_path_buf();
        // After a sign-out of the profile the home is only removed from the list.
        let registry = self.registry.known(Duration::ZERO).await?;
        if managed.taken && registry.profiles.contains_key(&profile) {
            return Err(CodexHomeError::Taken(path, profile));
        }
        // The login went with the home, and there is nothing to restore.
        if !managed.restorable && location.is_home_missing().await {
            self.stop_sync(home);
            self.remove_home(home).await?;
            return Ok(LoginFile { profile, path, outcome: Some(LoginFileOutcome::Removed) });
        }
        let locked = lock(location, Some(&managed)).await?;
        let restored = self.restore(&locked).await;
        // The rest is retried.
        self.recovered &= matches!(restored, Ok(Restored { finished: true, .. }));
        Ok(LoginFile { profile, path, outcome: Some(restored?.outcome) })
    }

    /// Restores the original login of a home, and removes the home from the list.
    async fn restore(&mut self, locked: &LockedLogin) -> Result<Restored, CodexHomeError> {
        let location = locked.location();
        let home = location.home();
        let managed = self.managed_home(home).await?;
        let managed = managed.ok_or_else(|| CodexHomeError::NotManaged(home.to_path_buf()))?;
        self.save_phase(home, Phase::Removing).await?;
        let original = if managed.restorable { self.store().load(&original_key(home)).await? } else { None };
        let outcome = match &original {
            // A login that the user made since stays.
            _ if !sync::is_own_login(locked.read().await?.as_ref(), &managed) => LoginFileOutcome::LeftAlone,
            Some(_) => LoginFileOutcome::Restored,
            None => LoginFileOutcome::Removed,
        };
        self.stop_sync(home);
        if outcome != LoginFileOutcome::LeftAlone {
            locked.restore(original).await.map_err(|error| location.error(error))?;
        }
        let finished = self.delete_original(home).await && self.remove_home(home).await.is_ok();
        Ok(Restored { home: home.to_path_buf(), outcome, finished })
    }

    /// Deletes the stored original login of a home. Returns whether it is deleted.
    pub(super) async fn delete_original(&self, home: &Path) -> bool {
        let deleted = self.store().delete(&original_key(home)).await;
        if let Err(error) = &deleted {
            warn!(%error, home = %home.display(), "stored original login not deleted");
        }
        deleted.is_ok()
    }

    /// Finishes an interrupted change of a home. Returns whether it is finished.
    pub(super) async fn recover_home(&mut self, home: &Path, managed: ManagedHome) -> bool {
        let location = self.location(home, managed.item);
        let finished = match managed.phase {
            Phase::Installed => self.remove_if_unused(&location, &managed).await,
            Phase::Removing => self.finish_removal(location, &managed).await,
            Phase::Installing => self.finish_install(location, &managed).await,
        };
        if let Err(error) = &finished {
            warn!(home = %home.display(), ?error, "interrupted change of a Codex home not finished; retrying");
        }
        finished.is_ok()
    }

    async fn finish_removal(
        &mut self,
        location: LoginLocation,
        managed: &ManagedHome,
    ) -> Result<(), CodexHomeError> {
        let locked = lock(location, Some(managed)).await?;
        self.restore(&locked).await?.require_finished()
    }

    async fn finish_install(
        &mut self,
        location: LoginLocation,
        managed: &ManagedHome,
    ) -> Result<(), CodexHomeError> {
        let handle = self.profile(&managed.profile);
        let view = handle
            .map_or_else(|| StoreError::unavailable("its profile is gone").into(), |handle| handle.view());
        let locked = lock(location, Some(managed)).await?;
        let current = locked.read().await?;
        let original = current.as_ref().filter(|text| !sync::is_own_login(Some(text), managed));
        self.replace_login(&locked, managed, original, current.as_ref(), &view).await
    }

    /// Removes a home from the list if a crash interrupted the export of its profile to it.
    async fn remove_if_unused(
        &mut self,
        location: &LoginLocation,
        managed: &ManagedHome,
    ) -> Result<(), CodexHomeError> {
        let is_unused = self.profile(&managed.profile).is_none() && !managed.restorable;
        if is_unused && !sync::is_own_login(location.read().await?.as_ref(), managed) {
            self.remove_home(location.home()).await?;
        }
        Ok(())
    }
}

/// Locks a login. A symbolic link that Codex deleted at a sign-out is made again first, so that the
/// login goes to its target.
async fn lock(location: LoginLocation, managed: Option<&ManagedHome>) -> Result<LockedLogin, CodexHomeError> {
    if let Some(link) = managed.and_then(|managed| managed.link.as_ref()) {
        location.relink(link).await?;
    }
    LockedLogin::take(location).await
}
