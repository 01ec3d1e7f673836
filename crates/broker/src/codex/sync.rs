//! Keeps the access token in a Codex home up to date. The home gets no refresh token.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use authd_api::{CodexHomeState, ProfileName};
use authd_oauth::{
    Mode,
    codex::{self, External},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::broadcast::{self, error::RecvError};
use tracing::{debug, info, warn};

use super::{
    error::CodexHomeError,
    homes::{ManagedHome, ManagedHomes},
    location::{LoginLocation, fingerprint, is_same_text},
    lock::LockedLogin,
    status::{Observations, Observed},
    watch::LoginWatch,
};
use crate::{
    blocking::finish,
    clock,
    events::ChangeEvent,
    profile::ProfileHandle,
    registry::{ProfileRegistry, RegistryError},
    snapshot::{ProfileSnapshot, ProfileView},
};

/// Wait before the first retry of a failed update, and the longest wait.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The task that keeps one home up to date.
pub(super) struct Sync {
    pub(super) home: PathBuf,
    pub(super) location: LoginLocation,
    pub(super) name: ProfileName,
    pub(super) registry: ProfileRegistry,
    pub(super) homes: ManagedHomes,
    pub(super) observations: Observations,
}

impl Sync {
    /// Updates the login whenever its profile's credential or the login itself changes. Retries a
    /// failed update.
    pub(super) async fn run(self, mut events: broadcast::Receiver<ChangeEvent>) {
        self.registry.listed().await;
        let mut pause = RETRY.0;
        loop {
            // The watch starts before the login is read, so that no change is missed.
            let (watch, watch_error) = match LoginWatch::start(&self.location).await {
                Ok(watch) => (Some(watch), None),
                Err(error) => (None, Some(self.location.error(error))),
            };
            let (state, error) = self.update().await;
            let error = match error.or(watch_error) {
                Some(error) => Some(cause(error, &self.location).await),
                None => None,
            };
            let failed = error.as_ref().is_some_and(may_pass);
            self.observe(state, error).await;
            if !failed {
                pause = RETRY.0;
            }
            let login_changed = async {
                match &watch {
                    Some(watch) => watch.changed().await,
                    None => std::future::pending().await,
                }
            };
            // Other events do not postpone the retry.
            let retry = tokio::time::sleep(pause);
            tokio::pin!(login_changed, retry);
            loop {
                tokio::select! {
                    () = &mut retry, if failed => {
                        pause = (pause * 2).min(RETRY.1);
                        break;
                    }
                    () = &mut login_changed => break,
                    event = events.recv() => match event {
                        Ok(ChangeEvent::Profile(changed)) if changed == self.name => break,
                        Ok(_) => {}
                        // A missed event may have named this profile.
                        Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => return,
                    }
                }
            }
        }
    }

    /// Reads the login and writes it if necessary. Returns what the home holds then, and why the
    /// login is not up to date.
    async fn update(&self) -> (CodexHomeState, Option<CodexHomeError>) {
        let (managed, current) = match self.read().await {
            Ok((Some(managed), current)) => (managed, current),
            Ok((None, _)) => return (CodexHomeState::Pending, None),
            Err(error) => return (CodexHomeState::Unreadable, Some(error)),
        };
        let state = state(current.as_ref(), &managed);
        match self.bring_up_to_date(&managed, current.as_ref()).await {
            Ok(state) => (state, None),
            Err(error) => (state, Some(error)),
        }
    }

    async fn read(&self) -> Result<(Option<ManagedHome>, Option<SecretString>), CodexHomeError> {
        let managed = self.homes.all().await.map_err(CodexHomeError::Homes)?.remove(&self.home);
        if let Some(link) = managed.as_ref().and_then(|managed| managed.link.as_ref()) {
            self.location.relink(link).await?;
        }
        Ok((managed, self.location.read().await?))
    }

    async fn bring_up_to_date(
        &self,
        managed: &ManagedHome,
        current: Option<&SecretString>,
    ) -> Result<CodexHomeState, CodexHomeError> {
        let profile = self.registry.snapshot().profiles.get(&self.name).map(ProfileHandle::view);
        let view =
            profile.ok_or_else(|| CodexHomeError::Registry(self.name.clone(), RegistryError::Unknown))?;
        let wanted = view.snapshot().map(|snapshot| external_login(snapshot)).transpose()?;
        match decide(&self.location, managed, current, wanted.as_ref(), None) {
            Step::Keep(state) => Ok(state),
            Step::Write => {
                let (location, homes) = (self.location.clone(), self.homes.clone());
                // The end of this task must not release the locks while a thread writes.
                finish(async move {
                    let locked = LockedLogin::take(location).await?;
                    write(&locked, &homes, &view, None).await
                })
                .await
            }
        }
    }

    async fn observe(&self, state: CodexHomeState, error: Option<CodexHomeError>) {
        let previous = self.observations.get(&self.home);
        let home = self.home.display();
        if let Some(error) = &error {
            warn!(%home, ?error, "Codex login not updated");
        } else if state == CodexHomeState::ForeignLogin && state != previous.state {
            warn!(%home, "Codex home has another login; left as it is");
        }
        let written_at = match state {
            CodexHomeState::Present if self.location.is_item() => {
                previous.written_at.or_else(|| Some(clock::now()))
            }
            CodexHomeState::Present => self.location.modified().await,
            _ => previous.written_at,
        };
        let link = self.location.link().await;
        self.observations.set(&self.home, Observed { state, link, written_at, error: error.map(Arc::new) });
    }
}

/// Why an update failed. A home that was removed meanwhile causes a file that is not found.
async fn cause(error: CodexHomeError, location: &LoginLocation) -> CodexHomeError {
    match error {
        CodexHomeError::File(_, error)
            if error.kind() == io::ErrorKind::NotFound && location.is_home_missing().await =>
        {
            CodexHomeError::HomeMissing(location.home().to_path_buf())
        }
        error => error,
    }
}

/// Whether a later attempt may succeed although neither the profile nor the login changes.
fn may_pass(error: &CodexHomeError) -> bool {
    !matches!(
        error,
        CodexHomeError::Registry(..) | CodexHomeError::NoWorkspace(_) | CodexHomeError::OtherProvider(_)
    )
}

/// What to do with the login of a managed home.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Keep(CodexHomeState),
    Write,
}

/// Decides whether a login is replaced: one of ours, none, or `saved`, which has a copy elsewhere.
/// Any other login stays.
fn decide(
    location: &LoginLocation,
    managed: &ManagedHome,
    current: Option<&SecretString>,
    wanted: Option<&SecretString>,
    saved: Option<&SecretString>,
) -> Step {
    let state = state(current, managed);
    let may_overwrite = match state {
        // A sign-out in Codex deleted the item, and Codex would not find a new one.
        CodexHomeState::Missing => !location.is_item(),
        CodexHomeState::Present => true,
        _ => saved.is_some() && is_same_text(current, saved),
    };
    match wanted {
        Some(_) if is_same_text(current, wanted) => Step::Keep(CodexHomeState::Present),
        Some(_) if may_overwrite => Step::Write,
        Some(_) | None => Step::Keep(state),
    }
}

/// What a home holds.
fn state(current: Option<&SecretString>, managed: &ManagedHome) -> CodexHomeState {
    match current {
        None => CodexHomeState::Missing,
        Some(_) if is_own_login(current, managed) => CodexHomeState::Present,
        Some(_) => CodexHomeState::ForeignLogin,
    }
}

/// Writes the credential into a managed home, unless it holds a foreign login. `saved` may be
/// overwritten. Returns what the home holds then.
pub(super) async fn write(
    locked: &LockedLogin,
    homes: &ManagedHomes,
    view: &ProfileView,
    saved: Option<&SecretString>,
) -> Result<CodexHomeState, CodexHomeError> {
    let location = locked.location();
    let all = homes.all().await.map_err(CodexHomeError::Homes)?;
    let Some(managed) = all.get(location.home()) else { return Ok(CodexHomeState::Pending) };
    let wanted = view.snapshot().and_then(|snapshot| external_login(snapshot).ok());
    let current = locked.read().await?;
    let (state, text) = match (decide(location, managed, current.as_ref(), wanted.as_ref(), saved), wanted) {
        (Step::Keep(state), _) => (state, None),
        (Step::Write, wanted) => (CodexHomeState::Present, wanted),
    };
    let Some(text) = text else { return Ok(state) };
    // The list knows the text before the home has it, because nothing else shows whose it is. The
    // text that is replaced stays known until the write has succeeded.
    if !codex::is_external(text.expose_secret()) {
        let known = current.as_ref().map(fingerprint).filter(|known| managed.written.contains(known));
        let written: Vec<_> = known.into_iter().chain([fingerprint(&text)]).collect();
        homes
            .change_home(location.home(), |managed| managed.written = written)
            .await
            .map_err(CodexHomeError::Homes)?;
    }
    // The secret leaves authd here: Codex uses the access token.
    locked.write(text).await.map_err(|error| location.error(error))?;
    let path = location.path().display();
    if current.is_some() {
        debug!(%path, "Codex login updated");
    } else {
        info!(%path, "Codex login written to a home that had none");
    }
    Ok(state)
}

/// A profile's credential in Codex's external form. In ChatGPT mode it needs a workspace.
pub(super) fn external_login(snapshot: &ProfileSnapshot) -> Result<SecretString, CodexHomeError> {
    let secret = snapshot.credential.bearer.expose();
    let content = match (snapshot.mode(), snapshot.credential.identity.account_id.as_deref()) {
        (Mode::Bearer, _) => return Err(CodexHomeError::OtherProvider(snapshot.name.clone())),
        (Mode::ApiKey, _) => External::ApiKey(secret),
        (Mode::ChatGpt, _) if snapshot.is_own_credential() => External::PersonalAccessToken(secret),
        (Mode::ChatGpt, Some(account_id)) => External::ChatGpt { access_token: secret, account_id },
        (Mode::ChatGpt, None) => return Err(CodexHomeError::NoWorkspace(snapshot.name.clone())),
    };
    Ok(codex::external(&content, snapshot.credential.issued_at))
}

/// Whether authd wrote the login of a managed home, or it can be replaced without loss.
pub(super) fn is_own_login(current: Option<&SecretString>, managed: &ManagedHome) -> bool {
    is_replaceable(current) || current.is_some_and(|text| managed.written.contains(&fingerprint(text)))
}

/// Whether nothing is lost if the login is replaced: there is none, or it is byte for byte in the
/// external form, so that another program owns it.
pub(super) fn is_replaceable(current: Option<&SecretString>) -> bool {
    current.is_none_or(|text| codex::is_external(text.expose_secret()))
}

#[cfg(test)]
mod tests;
