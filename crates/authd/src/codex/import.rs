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
    CodexFailure, CodexManager,
    homes::{ManagedHome, Phase},
    location::{Found, LoginLocation},
    sync::{self, OverwritePolicy},
};
use crate::{
    clock,
    facts::{Facts, View},
    keeper::{Keeper, Placement, SignIn},
};

/// An import whose other copy is not disarmed yet.
#[derive(Clone, Debug)]
pub(super) struct PendingImport {
    name: ProfileName,
    /// The imported grant: under that name there may be another one by now.
    grant_id: Arc<str>,
    location: LoginLocation,
    /// Whether a refresh has shown that the grant is ours.
    verified: bool,
}

impl CodexManager {
    pub(super) async fn import(
        &mut self,
        path: Option<PathBuf>,
        wanted: ProfileName,
    ) -> Result<ProfileName, CodexFailure> {
        let Found { location, text, locked } = self.look(path, |path| path).await?;
        let path = location.path().to_path_buf();
        let text = match (text, locked) {
            (Some(text), _) => text,
            (None, Some(locked)) => return Err(CodexFailure::Store(locked)),
            (None, None) => return Err(CodexFailure::Nobody(path)),
        };
        let grant = match codex::parse(text.expose_secret(), clock::now()) {
            Ok(CodexLogin::Grant(grant)) => *grant,
            Ok(CodexLogin::External) => return Err(CodexFailure::External(path)),
            Ok(CodexLogin::Nobody) => return Err(CodexFailure::Nobody(path)),
            Err(error) => return Err(CodexFailure::Login(path, error)),
        };
        // The list has to be readable before anything is moved that it must hold in the end.
        self.homes.all().await.map_err(CodexFailure::Homes)?;
        if let Some(name) = self.signed_in_as(&grant, &wanted).await? {
            let same = |import: &&PendingImport| import.name == name && import.location.path() == path;
            if self.imports.iter().any(|import| same(&import)) {
                self.finish_import(&name).await?;
                return Ok(name);
            }
            return Err(CodexFailure::Already(name));
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
        let name = self.keeper.sign_in(sign_in).await.map_err(|error| CodexFailure::Keeper(wanted, error))?;
        let import =
            PendingImport { name: name.clone(), grant_id: grant_id_here, location, verified: !renewable };
        self.imports.push(import);
        // Nothing is spent before it is at rest here.
        if renewable && let Some(failure) = self.unsaved(&name) {
            let signed_out = self.keeper.sign_out(name.clone(), false).await;
            if signed_out.is_ok() {
                self.imports.retain(|import| import.name != name);
            }
            return Err(failure);
        }
        self.finish_import(&name).await?;
        Ok(name)
    }

    /// Why a profile is not at rest, if it is not.
    fn unsaved(&self, name: &ProfileName) -> Option<CodexFailure> {
        let facts = self.keeper.directory().profiles.get(name)?.view().facts().cloned()?;
        let detail = match facts.last_error.as_deref() {
            Some(LastError::Store(SaveError { message, .. })) => message.clone(),
            Some(LastError::Provider(..)) | None => "the login is not saved".to_owned(),
        };
        facts.flags.unsaved.then_some(CodexFailure::Store(StoreError::Unavailable { detail }))
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
    async fn finish_import(&mut self, name: &ProfileName) -> Result<(), CodexFailure> {
        let Some(at) = self.imports.iter().position(|import| import.name == *name) else { return Ok(()) };
        let PendingImport { location, grant_id, verified, .. } = self.imports[at].clone();
        // It was signed out meanwhile, or another login has its name.
        if self.grant_of(name).is_none_or(|there| there != grant_id) {
            self.imports.remove(at);
            return Err(CodexFailure::Gone);
        }
        if !verified {
            match verify(&self.keeper, &location, name).await {
                Ok(()) => self.imports[at].verified = true,
                Err(unusable @ CodexFailure::Unusable(..)) => {
                    let refused = |error| CodexFailure::Keeper(name.clone(), error);
                    self.keeper.sign_out(name.clone(), false).await.map_err(refused)?;
                    self.imports.remove(at);
                    return Err(unusable);
                }
                Err(failure) => return Err(failure),
            }
        }
        self.disarm(&location, name).await?;
        self.keeper
            .clear_intent(name.clone())
            .await
            .map_err(|error| CodexFailure::Keeper(name.clone(), error))?;
        self.imports.remove(at);
        info!(profile = %name, "a login of Codex was taken over");
        Ok(())
    }

    /// The grant that a profile has now.
    fn grant_of(&self, name: &ProfileName) -> Option<Arc<str>> {
        let view = self.keeper.directory().profiles.get(name)?.view();
        Some(view.facts()?.credential.grant_id.clone())
    }

    /// Puts the access token in the place of the grant, and keeps the home supplied.
    async fn disarm(&mut self, location: &LoginLocation, name: &ProfileName) -> Result<(), CodexFailure> {
        let home = location.home().to_path_buf();
        let managed = ManagedHome {
            profile: name.clone(),
            restorable: false,
            taken: true,
            item: location.is_item(),
            phase: Phase::Installed,
        };
        let earlier = self.homes.all().await.map_err(CodexFailure::Homes)?.get(&home).cloned();
        self.change_homes(|homes| drop(homes.insert(home.clone(), managed.clone()))).await?;
        if earlier.is_some_and(|earlier| earlier.restorable) {
            self.delete_original(&home).await;
        }
        let handle = self.keeper.directory().profiles.get(name).cloned().ok_or(CodexFailure::Gone)?;
        let there = location.read().await?;
        let disarmed = there.filter(|text| is_of(text, &handle.view()));
        let policy = disarmed.as_ref().map_or(OverwritePolicy::Ours, OverwritePolicy::Kept);
        let written = sync::write(location, &handle.view(), policy).await;
        written.map_err(|error| CodexFailure::File(location.path().to_path_buf(), error))?;
        self.sync(&home, &managed);
        Ok(())
    }

    /// The name of the profile that holds this login already, if there is one. While a record has not been read, that
    /// is not known.
    async fn signed_in_as(
        &self,
        grant: &Grant,
        wanted: &ProfileName,
    ) -> Result<Option<ProfileName>, CodexFailure> {
        let refused = |error| CodexFailure::Keeper(wanted.clone(), error);
        for (name, handle) in &self.keeper.directory().profiles {
            if matches!(handle.view(), View::Closed(_)) {
                self.keeper.read(name.clone()).await.map_err(refused)?;
            }
        }
        let directory = self.keeper.known(std::time::Duration::ZERO).await.map_err(CodexFailure::Store)?;
        for (name, handle) in &directory.profiles {
            match handle.view() {
                View::Known(facts) if is_same_login(&facts, grant) => return Ok(Some(name.clone())),
                view => {
                    if let Some(error) = view.unread() {
                        return Err(CodexFailure::Store(error.clone()));
                    }
                }
            }
        }
        Ok(None)
    }
}

/// Whether a text is a grant of the person that a profile is signed in as.
fn is_of(text: &SecretString, view: &View) -> bool {
    let login = codex::parse(text.expose_secret(), clock::now());
    let Ok(CodexLogin::Grant(grant)) = login else { return false };
    view.facts().is_some_and(|facts| is_same_login(facts, &grant))
}

/// One refresh tells whether the login is alive, and makes us its only owner.
async fn verify(keeper: &Keeper, location: &LoginLocation, name: &ProfileName) -> Result<(), CodexFailure> {
    let handle = keeper.directory().profiles.get(name).cloned().ok_or(CodexFailure::Gone)?;
    handle.refresh(None).await.map_err(|_| CodexFailure::Gone)?;
    let View::Known(facts) = handle.view() else { return Err(CodexFailure::Gone) };
    // An answer that was lost may have rotated the token: then it must stay where the journal is.
    if facts.ended.is_none() && (facts.last_error.is_none() || facts.is_in_doubt() || facts.renewals > 0) {
        return Ok(());
    }
    Err(CodexFailure::Unusable(location.path().to_path_buf(), Box::new(Facts::clone(&facts))))
}

/// The same person, or the same key.
fn is_same_login(facts: &Facts, grant: &Grant) -> bool {
    let credential = &facts.credential;
    if grant.identity.user_id.is_some() {
        return credential.identity.is_same(&grant.identity);
    }
    match &grant.secrets {
        authd_oauth::GrantSecrets::ApiKey(key, None) => credential.bearer.expose() == key.expose(),
        authd_oauth::GrantSecrets::ApiKey(..) | authd_oauth::GrantSecrets::ChatGpt(..) => false,
    }
}
