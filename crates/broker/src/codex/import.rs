//! Taking a login over from Codex. The grant is in our store, with the intent, before it is tried; one refresh makes us
//! its only owner; then the copy that Codex has is disarmed, and the intent cleared. A crash between any two of these
//! leaves the grant to Codex if it was not refreshed here, and is finished at the next start if it was.

use std::{path::PathBuf, sync::Arc};

use authd_api::ProfileName;
use authd_oauth::{CodexLogin, Grant, Intent, LastError, SaveError, codex, new_grant_id};
use authd_store::StoreError;
use secrecy::{ExposeSecret, SecretString};
use tracing::{info, warn};

use super::{
    actor::CodexActor,
    error::CodexHomeError,
    homes::{ManagedHome, Phase},
    location::{FoundLogin, LoginLocation},
    pending_import::PendingImport,
    sync::{self, OverwritePolicy},
};
use crate::{
    clock,
    registry::{Placement, ProfileRegistry, SignIn},
    snapshot::{ProfileSnapshot, ProfileView},
};

impl CodexActor {
    pub(super) async fn import(
        &mut self,
        path: Option<PathBuf>,
        wanted: ProfileName,
    ) -> Result<ProfileName, CodexHomeError> {
        let FoundLogin { location, text, locked } = self.look(path, |path| path).await?;
        let path = location.path().to_path_buf();
        let text = match (text, locked) {
            (Some(text), _) => text,
            (None, Some(locked)) => return Err(CodexHomeError::Store(locked)),
            (None, None) => return Err(CodexHomeError::Nobody(path)),
        };
        let grant = match codex::parse(text.expose_secret(), clock::now()) {
            Ok(CodexLogin::Grant(grant)) => *grant,
            Ok(CodexLogin::External) => return Err(CodexHomeError::External(path)),
            Ok(CodexLogin::SignedOut) => return Err(CodexHomeError::Nobody(path)),
            Err(error) => return Err(CodexHomeError::Login(path, error)),
        };
        // The list has to be readable before anything is moved that it must hold in the end.
        self.homes.all().await.map_err(CodexHomeError::Homes)?;
        if let Some(name) = self.signed_in_as(&grant, &wanted).await? {
            let same = |import: &&PendingImport| import.name == name && import.location.path() == path;
            if self.imports.iter().any(|import| same(&import)) {
                self.finish_import(&name).await?;
                return Ok(name);
            }
            return Err(CodexHomeError::Already(name));
        }
        let intent = grant.secrets.refresh_token().map(|token| Intent::ImportFrom {
            home: location.home().to_path_buf(),
            path: path.clone(),
            item: location.is_item(),
            token: token.fingerprint(),
        });
        let (renewable, grant_id) = (intent.is_some(), new_grant_id());
        let (placement, grant_id_here) = (Placement::Free, grant_id.clone());
        let sign_in = SignIn { wanted: wanted.clone(), placement, grant, grant_id, intent };
        let name =
            self.registry.sign_in(sign_in).await.map_err(|error| CodexHomeError::Registry(wanted, error))?;
        let import =
            PendingImport { name: name.clone(), grant_id: grant_id_here, location, verified: !renewable };
        self.imports.push(import);
        // Nothing is spent before it is at rest here.
        if renewable && let Some(failure) = self.unsaved(&name) {
            let signed_out = self.registry.sign_out(name.clone(), false).await;
            if signed_out.is_ok() {
                self.imports.retain(|import| import.name != name);
            }
            return Err(failure);
        }
        self.finish_import(&name).await?;
        Ok(name)
    }

    /// Why a profile is not at rest, if it is not.
    fn unsaved(&self, name: &ProfileName) -> Option<CodexHomeError> {
        let snapshot = self.registry.snapshot().profiles.get(name)?.view().snapshot().cloned()?;
        let detail = match snapshot.last_error.as_deref() {
            Some(LastError::Store(SaveError { message, .. })) => message.clone(),
            Some(LastError::Provider(..)) | None => "the login is not saved".to_owned(),
        };
        snapshot.flags.unsaved.then_some(CodexHomeError::Store(StoreError::Unavailable { detail }))
    }

    /// An import that an earlier run began; its grant is ours.
    pub(super) async fn resume_import(&mut self, name: ProfileName, intent: Intent) {
        let Intent::ImportFrom { home, path, item, .. } = intent else { return };
        let location = LoginLocation::of(&home, &path, item, || self.keychain());
        let Some(grant_id) = self.grant_of(&name) else { return };
        self.imports.push(PendingImport { name, grant_id, location, verified: false });
        self.finish_imports().await;
    }

    /// Tries to finish every import that is not finished.
    pub(super) async fn finish_imports(&mut self) {
        for PendingImport { name, .. } in self.imports.clone() {
            match self.finish_import(&name).await {
                Ok(()) => {}
                Err(failure) => warn!(profile = %name, ?failure, "the import is not finished yet"),
            }
        }
    }

    /// Verifies that the grant is ours, disarms the other copy, and clears the intent. A login that does not work, or
    /// could not be tried, is left to Codex.
    async fn finish_import(&mut self, name: &ProfileName) -> Result<(), CodexHomeError> {
        let Some(at) = self.imports.iter().position(|import| import.name == *name) else { return Ok(()) };
        let PendingImport { location, grant_id, verified, .. } = self.imports[at].clone();
        // It was signed out meanwhile, or another login has its name.
        if self.grant_of(name).is_none_or(|there| there != grant_id) {
            self.imports.remove(at);
            return Err(CodexHomeError::Stopping);
        }
        if !verified {
            match verify(&self.registry, &location, name).await {
                Ok(()) => self.imports[at].verified = true,
                Err(unusable @ CodexHomeError::Unusable(..)) => {
                    let refused = |error| CodexHomeError::Registry(name.clone(), error);
                    self.registry.sign_out(name.clone(), false).await.map_err(refused)?;
                    self.imports.remove(at);
                    return Err(unusable);
                }
                Err(failure) => return Err(failure),
            }
        }
        self.disarm(&location, name).await?;
        self.registry
            .clear_intent(name.clone())
            .await
            .map_err(|error| CodexHomeError::Registry(name.clone(), error))?;
        self.imports.remove(at);
        info!(profile = %name, "a login of Codex was taken over");
        Ok(())
    }

    /// The grant that a profile has now.
    fn grant_of(&self, name: &ProfileName) -> Option<Arc<str>> {
        let view = self.registry.snapshot().profiles.get(name)?.view();
        Some(view.snapshot()?.credential.grant_id.clone())
    }

    /// Puts the access token in the place of the grant, and keeps the home supplied.
    async fn disarm(&mut self, location: &LoginLocation, name: &ProfileName) -> Result<(), CodexHomeError> {
        let home = location.home().to_path_buf();
        let managed = ManagedHome {
            profile: name.clone(),
            restorable: false,
            taken: true,
            item: location.is_item(),
            phase: Phase::Installed,
        };
        let earlier = self.homes.all().await.map_err(CodexHomeError::Homes)?.get(&home).cloned();
        self.change_homes(|homes| drop(homes.insert(home.clone(), managed.clone()))).await?;
        if earlier.is_some_and(|earlier| earlier.restorable) {
            self.delete_original(&home).await;
        }
        let handle = self.registry.snapshot().profiles.get(name).cloned().ok_or(CodexHomeError::Stopping)?;
        let there = location.read().await?;
        let disarmed = there.filter(|text| is_of(text, &handle.view()));
        let policy = disarmed.as_ref().map_or(OverwritePolicy::Ours, OverwritePolicy::Kept);
        let written = sync::write(location, &handle.view(), policy).await;
        written.map_err(|error| CodexHomeError::File(location.path().to_path_buf(), error))?;
        self.sync(&home, &managed);
        Ok(())
    }

    /// The name of the profile that holds this login already, if there is one. While a record has not been read, that
    /// is not known.
    async fn signed_in_as(
        &self,
        grant: &Grant,
        wanted: &ProfileName,
    ) -> Result<Option<ProfileName>, CodexHomeError> {
        let refused = |error| CodexHomeError::Registry(wanted.clone(), error);
        for (name, handle) in &self.registry.snapshot().profiles {
            if matches!(handle.view(), ProfileView::StoreUnavailable(_)) {
                self.registry.read(name.clone()).await.map_err(refused)?;
            }
        }
        let directory =
            self.registry.known(std::time::Duration::ZERO).await.map_err(CodexHomeError::Store)?;
        for (name, handle) in &directory.profiles {
            match handle.view() {
                ProfileView::Loaded(snapshot) if is_same_login(&snapshot, grant) => {
                    return Ok(Some(name.clone()));
                }
                view => {
                    if let Some(error) = view.unread() {
                        return Err(CodexHomeError::Store(error.clone()));
                    }
                }
            }
        }
        Ok(None)
    }
}

/// Whether a text is a grant of the person that a profile is signed in as.
fn is_of(text: &SecretString, view: &ProfileView) -> bool {
    let login = codex::parse(text.expose_secret(), clock::now());
    let Ok(CodexLogin::Grant(grant)) = login else { return false };
    view.snapshot().is_some_and(|snapshot| is_same_login(snapshot, &grant))
}

/// One refresh tells whether the login is alive, and makes us its only owner.
async fn verify(
    registry: &ProfileRegistry,
    location: &LoginLocation,
    name: &ProfileName,
) -> Result<(), CodexHomeError> {
    let handle = registry.snapshot().profiles.get(name).cloned().ok_or(CodexHomeError::Stopping)?;
    handle.refresh(None).await.map_err(|_| CodexHomeError::Stopping)?;
    let ProfileView::Loaded(snapshot) = handle.view() else { return Err(CodexHomeError::Stopping) };
    // An answer that was lost may have rotated the token: then it must stay where the journal is.
    if snapshot.ended.is_none()
        && (snapshot.last_error.is_none() || snapshot.is_in_doubt() || snapshot.renewals > 0)
    {
        return Ok(());
    }
    Err(CodexHomeError::Unusable(location.path().to_path_buf(), Box::new(ProfileSnapshot::clone(&snapshot))))
}

/// The same person, or the same key.
fn is_same_login(snapshot: &ProfileSnapshot, grant: &Grant) -> bool {
    let credential = &snapshot.credential;
    if grant.identity.user_id.is_some() {
        return credential.identity.is_same(&grant.identity);
    }
    match &grant.secrets {
        authd_oauth::GrantSecrets::ApiKey(key, None) => credential.bearer.expose() == key.expose(),
        authd_oauth::GrantSecrets::ApiKey(..) | authd_oauth::GrantSecrets::ChatGpt(..) => false,
    }
}
