//! Keeps the access token in a Codex home up to date. The home gets no refresh token.

use std::{io, time::Duration};

use authd_api::ProfileName;
use authd_oauth::{
    CodexLogin, Mode,
    codex::{self, External},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::broadcast::{self, error::RecvError};
use tracing::{debug, warn};

use super::location::{LoginLocation, grant_in, is_same_text, parse};
use crate::{
    events::ChangeEvent,
    registry::ProfileRegistry,
    snapshot::{ProfileSnapshot, ProfileView},
};

/// Wait before the first retry of a failed write, and the longest wait.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Writes a login whenever its profile's credential changes. Retries a failed write.
pub(super) async fn run(
    location: LoginLocation,
    name: ProfileName,
    registry: ProfileRegistry,
    mut events: broadcast::Receiver<ChangeEvent>,
) {
    registry.listed().await;
    let mut pause = RETRY.0;
    loop {
        let handle = registry.snapshot().profiles.get(&name).cloned();
        let failed = match handle {
            Some(handle) => write(&location, &handle.view(), None).await.is_err(),
            None => false,
        };
        if !failed {
            pause = RETRY.0;
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause), if failed => {
                    pause = (pause * 2).min(RETRY.1);
                    break;
                }
                event = events.recv() => match event {
                    Ok(ChangeEvent::Profile(changed)) if changed == name => break,
                    Ok(ChangeEvent::Profile(_) | ChangeEvent::Login(_)) => {}
                    // A missed event may have named this profile.
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return,
                }
            }
        }
    }
}

/// Writes the credential over a login of ours, over nothing, or over `saved`, which has a copy
/// elsewhere. Any other login stays. Fails if the location cannot be read or written.
pub(super) async fn write(
    location: &LoginLocation,
    view: &ProfileView,
    saved: Option<&SecretString>,
) -> io::Result<()> {
    let Some(text) = view.snapshot().and_then(|snapshot| external_login(snapshot)) else { return Ok(()) };
    let path = location.path().display();
    let may_overwrite = |current| is_own_login(current) || (saved.is_some() && is_same_text(current, saved));
    match location.read().await {
        Ok(current) if is_same_text(current.as_ref(), Some(&text)) => return Ok(()),
        Ok(current) if !may_overwrite(current.as_ref()) => {
            warn!(%path, "Codex home has another login; left as it is");
            return Ok(());
        }
        // A sign-out in Codex deleted the item, and Codex would not find a new one.
        Ok(None) if location.is_item() => return Ok(()),
        Ok(_) => {}
        Err(error) => {
            warn!(?error, %path, "Codex login not read; left as it is");
            return Err(io::Error::other("it cannot be read"));
        }
    }
    // The secret leaves authd here: Codex uses the access token.
    let written = location.write(text).await;
    match &written {
        Ok(()) => debug!(%path, "Codex login updated"),
        Err(error) => warn!(%error, %path, "Codex login not written"),
    }
    written
}

/// A profile's credential in Codex's external form. `None` in ChatGPT mode without a workspace.
pub(super) fn external_login(snapshot: &ProfileSnapshot) -> Option<SecretString> {
    let secret = snapshot.credential.bearer.expose();
    let content = match snapshot.mode() {
        Mode::ApiKey => External::ApiKey(secret),
        Mode::ChatGpt => External::ChatGpt {
            access_token: secret,
            account_id: snapshot.credential.identity.account_id.as_deref()?,
        },
    };
    Some(codex::external(&content, snapshot.credential.issued_at))
}

/// Whether authd wrote the login of a managed home, or it can be replaced without loss.
pub(super) fn is_own_login(current: Option<&SecretString>) -> bool {
    // Codex writes an API key in the same form, but ours ends with a line break.
    let is_own_key = |text: &SecretString| {
        grant_in(text).is_some_and(|grant| grant.secrets.tokens().is_none())
            && text.expose_secret().ends_with('\n')
    };
    is_replaceable(current) || current.is_some_and(is_own_key)
}

/// Whether nothing is lost if the login is replaced: there is none, or another program owns it.
pub(super) fn is_replaceable(current: Option<&SecretString>) -> bool {
    current.is_none_or(|text| matches!(parse(text), Ok(CodexLogin::External | CodexLogin::SignedOut)))
}
