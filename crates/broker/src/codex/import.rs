//! Imports a login from Codex. The record is saved with an intent before its refresh token is used.
//! One refresh makes authd the only owner of the grant. Then the source gets the access token
//! instead of the grant, and the intent is cleared. After a crash the next start leaves the grant
//! to Codex if it was not refreshed here, and finishes the import if it was.

use std::{path::PathBuf, sync::Arc, time::Duration};

use authd_api::ProfileName;
use authd_oauth::{CodexLogin, Grant, GrantSecrets, Intent, LastError, SaveError, new_grant_id};
use authd_store::StoreError;
use tracing::{info, warn};

use super::{
    actor::CodexActor,
    error::CodexHomeError,
    homes::{ManagedHome, Phase},
    location::{FoundLogin, LoginLocation, grant_in, parse},
    lock::LockedLogin,
    pending_import::PendingImport,
    sync,
};
use crate::{
    registry::{NamePolicy, SignIn},
    snapshot::{ProfileSnapshot, ProfileView},
};

impl CodexActor {
    pub(super) async fn import(
        &mut self,
        path: Option<PathBuf>,
        requested: ProfileName,
    ) -> Result<ProfileName, CodexHomeError> {
        let FoundLogin { location, text, locked } = self.read_login(path, |path| path).await?;
        let path = location.path().to_path_buf();
        match (text, locked) {
            (Some(_), _) => {}
            (None, Some(locked)) => return Err(CodexHomeError::Store(locked)),
            (None, None) => return Err(CodexHomeError::NotSignedIn(path)),
        }
        // Codex neither spends the token nor writes the login until the import has ended.
        let locked = LockedLogin::take(location.clone()).await?;
        let text = locked.read().await?.ok_or_else(|| CodexHomeError::NotSignedIn(path.clone()))?;
        let grant = match parse(&text) {
            Ok(CodexLogin::Grant(grant)) => *grant,
            Ok(CodexLogin::External) => return Err(CodexHomeError::External(path)),
            Ok(CodexLogin::SignedOut) => return Err(CodexHomeError::NotSignedIn(path)),
            Err(error) => return Err(CodexHomeError::Login(path, error)),
        };
        // The import ends with an entry in the list of homes, so the list must be readable.
        self.all_homes().await?;
        if let Some(name) = self.profile_of(&grant, &requested).await? {
            if self.imports.iter().any(|import| import.name == name && import.location.path() == path) {
                self.finish_import(&name, &locked).await?;
                return Ok(name);
            }
            return Err(CodexHomeError::AlreadySignedIn(name));
        }
        let intent = grant.secrets.refresh_token().map(|token| Intent::ImportFrom {
            home: location.home().to_path_buf(),
            path,
            item: location.is_item(),
            token: token.fingerprint(),
        });
        let (renewable, grant_id) = (intent.is_some(), new_grant_id());
        let name_policy = NamePolicy::Free;
        let sign_in =
            SignIn { requested: requested.clone(), name_policy, grant, grant_id: grant_id.clone(), intent };
        let name = self.registry.sign_in(sign_in).await.map_err(CodexHomeError::registry(&requested))?;
        self.imports.push(PendingImport { name: name.clone(), grant_id, location, verified: !renewable });
        // A refresh token is used only after it is saved.
        if renewable && let Some(error) = self.save_error(&name) {
            if self.registry.sign_out(name.clone(), false).await.is_ok() {
                self.imports.retain(|import| import.name != name);
            }
            return Err(error);
        }
        self.finish_import(&name, &locked).await?;
        Ok(name)
    }

    /// Why a profile is not saved, if it is not.
    fn save_error(&self, name: &ProfileName) -> Option<CodexHomeError> {
        let snapshot = self.profile(name)?.view().snapshot().cloned()?;
        let detail = match snapshot.last_error.as_deref() {
            Some(LastError::Store(SaveError { message, .. })) => message.clone(),
            Some(LastError::Provider { .. } | LastError::EarlyRefusal(_)) | None => {
                "the login is not saved".to_owned()
            }
        };
        snapshot.flags.unsaved.then(|| StoreError::unavailable(detail).into())
    }

    /// Continues an import of an earlier run whose grant authd owns.
    pub(super) async fn resume_import(&mut self, name: ProfileName, intent: Intent) {
        let Intent::ImportFrom { home, path, item, .. } = intent else { return };
        let location = self.location_of(&home, &path, item);
        let Some(grant_id) = self.grant_id(&name) else { return };
        self.imports.push(PendingImport { name, grant_id, location, verified: false });
        self.finish_imports().await;
    }

    /// Tries to finish every pending import.
    pub(super) async fn finish_imports(&mut self) {
        for PendingImport { name, location, .. } in self.imports.clone() {
            let finished = match LockedLogin::take(location).await {
                Ok(locked) => self.finish_import(&name, &locked).await,
                Err(error) => Err(error),
            };
            if let Err(error) = finished {
                warn!(profile = %name, ?error, "import not finished; retrying");
            }
        }
    }

    /// Verifies that authd owns the grant, replaces the source, and clears the intent. A login that
    /// does not work, or could not be verified, is left to Codex.
    async fn finish_import(
        &mut self,
        name: &ProfileName,
        locked: &LockedLogin,
    ) -> Result<(), CodexHomeError> {
        let Some(index) = self.imports.iter().position(|import| import.name == *name) else { return Ok(()) };
        let PendingImport { grant_id, verified, .. } = self.imports[index].clone();
        // The profile was signed out, or another login has its name.
        if self.grant_id(name).is_none_or(|current| current != grant_id) {
            self.imports.remove(index);
            return Err(CodexHomeError::Stopping);
        }
        if !verified {
            match self.verify(locked.location(), name).await {
                Ok(()) => self.imports[index].verified = true,
                Err(unusable @ CodexHomeError::Unusable(..)) => {
                    let signed_out = self.registry.sign_out(name.clone(), false).await;
                    signed_out.map_err(CodexHomeError::registry(name))?;
                    self.imports.remove(index);
                    return Err(unusable);
                }
                Err(error) => return Err(error),
            }
        }
        self.replace_source(locked, name).await?;
        let cleared = self.registry.clear_intent(name.clone()).await;
        cleared.map_err(CodexHomeError::registry(name))?;
        self.imports.remove(index);
        info!(profile = %name, "login imported from Codex");
        Ok(())
    }

    /// Refreshes once: this tests whether the login works, and makes authd its only owner.
    async fn verify(&self, location: &LoginLocation, name: &ProfileName) -> Result<(), CodexHomeError> {
        let handle = self.profile(name).ok_or(CodexHomeError::Stopping)?;
        handle.refresh(None).await.map_err(|_| CodexHomeError::Stopping)?;
        let ProfileView::Loaded(snapshot) = handle.view() else { return Err(CodexHomeError::Stopping) };
        // A refresh without a response may have rotated the token. Then the record with the journal
        // stays.
        let is_owned = snapshot.ended.is_none()
            && (snapshot.last_error.is_none() || snapshot.is_in_doubt() || snapshot.renewals > 0);
        if is_owned {
            return Ok(());
        }
        let snapshot = Box::new(ProfileSnapshot::clone(&snapshot));
        Err(CodexHomeError::Unusable(location.path().to_path_buf(), snapshot))
    }

    fn grant_id(&self, name: &ProfileName) -> Option<Arc<str>> {
        Some(self.profile(name)?.view().snapshot()?.credential.grant_id.clone())
    }

    /// Writes the access token over the imported grant, and keeps it up to date from now on.
    async fn replace_source(
        &mut self,
        locked: &LockedLogin,
        name: &ProfileName,
    ) -> Result<(), CodexHomeError> {
        let location = locked.location();
        let home = location.home();
        let managed = ManagedHome {
            profile: name.clone(),
            restorable: false,
            taken: true,
            item: location.is_item(),
            link: location.link_text().await,
            written: Vec::new(),
            phase: Phase::Installed,
        };
        let previous = self.managed_home(home).await?;
        self.save_home(home, managed.clone()).await?;
        if previous.is_some_and(|previous| previous.restorable) {
            self.delete_original(home).await;
        }
        let view = self.profile(name).ok_or(CodexHomeError::Stopping)?.view();
        let is_imported =
            |grant: Grant| view.snapshot().is_some_and(|snapshot| is_same_login(snapshot, &grant));
        let imported = locked.read().await?.filter(|text| grant_in(text).is_some_and(is_imported));
        sync::write(locked, &self.homes, &view, imported.as_ref()).await?;
        self.start_sync(home, &managed);
        Ok(())
    }

    /// The profile that already holds this login. Fails while a record has not been read, because
    /// that record may hold it.
    async fn profile_of(
        &self,
        grant: &Grant,
        requested: &ProfileName,
    ) -> Result<Option<ProfileName>, CodexHomeError> {
        for (name, handle) in &self.registry.snapshot().profiles {
            if matches!(handle.view(), ProfileView::StoreUnavailable(_)) {
                let read = self.registry.read(name.clone()).await;
                read.map_err(CodexHomeError::registry(requested))?;
            }
        }
        for (name, handle) in &self.registry.known(Duration::ZERO).await?.profiles {
            let view = handle.view();
            if view.snapshot().is_some_and(|snapshot| is_same_login(snapshot, grant)) {
                return Ok(Some(name.clone()));
            }
            if let Some(error) = view.unread() {
                return Err(error.clone().into());
            }
        }
        Ok(None)
    }
}

/// Whether a grant is of the same user, or the same API key.
fn is_same_login(snapshot: &ProfileSnapshot, grant: &Grant) -> bool {
    let credential = &snapshot.credential;
    if grant.identity.user_id.is_some() {
        return credential.identity.is_same(&grant.identity);
    }
    match &grant.secrets {
        GrantSecrets::ApiKey(key, None) => credential.bearer.expose() == key.expose(),
        GrantSecrets::ApiKey(..) | GrantSecrets::ChatGpt(..) | GrantSecrets::Bearer(_) => false,
    }
}
