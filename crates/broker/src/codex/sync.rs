//! Keeping one login of Codex fresh: the access token alone, replaced whole whenever it changes.

use std::{io, time::Duration};

use authd_api::ProfileName;
use authd_oauth::{
    CodexLogin, Mode,
    codex::{self, External},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::broadcast::{self, error::RecvError};
use tracing::{debug, warn};

use super::location::{LoginLocation, same};
use crate::{
    clock,
    events::ChangeEvent,
    registry::ProfileRegistry,
    snapshot::{ProfileSnapshot, ProfileView},
};

/// How long to wait before a write that failed is tried again, first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Writes a login whenever its profile's credential changes, for as long as the daemon runs. A write that failed is
/// tried again.
pub(super) async fn keep(
    location: LoginLocation,
    name: ProfileName,
    registry: ProfileRegistry,
    mut changes: broadcast::Receiver<ChangeEvent>,
) {
    registry.listed().await;
    let mut pause = RETRY.0;
    loop {
        let handle = registry.snapshot().profiles.get(&name).cloned();
        let failed = match handle {
            Some(handle) => write(&location, &handle.view(), OverwritePolicy::Ours).await.is_err(),
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
                changes = changes.recv() => match changes {
                    Ok(ChangeEvent::Profile(changed)) if changed == name => break,
                    Ok(ChangeEvent::Profile(_) | ChangeEvent::Login(_)) => {}
                    // What was missed may have been about this one.
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return,
                }
            }
        }
    }
}

/// What may be written over.
#[derive(Clone, Copy)]
pub(super) enum OverwritePolicy<'a> {
    /// What we wrote ourselves.
    Ours,
    /// This text too: it is kept elsewhere.
    Kept(&'a SecretString),
}

impl OverwritePolicy<'_> {
    fn allows(self, there: Option<&SecretString>) -> bool {
        match self {
            Self::Kept(text) if same(there, Some(text)) => true,
            Self::Ours | Self::Kept(_) => is_ours(there),
        }
    }
}

/// Writes the credential there, unless it is there already, or something that must not be written over. An error: it
/// could not be written.
pub(super) async fn write(
    location: &LoginLocation,
    view: &ProfileView,
    policy: OverwritePolicy<'_>,
) -> io::Result<()> {
    let Some(text) = view.snapshot().and_then(|snapshot| content(snapshot)) else { return Ok(()) };
    let path = location.path().display();
    match location.read().await {
        Ok(Some(there)) if there.expose_secret() == text.expose_secret() => return Ok(()),
        Ok(there) if !policy.allows(there.as_ref()) => {
            warn!(%path, "another login was made in the Codex home; it is left alone");
            return Ok(());
        }
        // A sign-out of Codex removed the item; Codex would not find another one.
        Ok(None) if location.is_item() => return Ok(()),
        Ok(_) => {}
        Err(failure) => {
            warn!(?failure, %path, "Codex's login cannot be read; it is left alone");
            return Err(io::Error::other("it cannot be read"));
        }
    }
    // The fifth place where a secret leaves: to a program that is to use it.
    let written = location.write(text).await;
    match &written {
        Ok(()) => debug!(%path, "Codex has the newest access token"),
        Err(error) => warn!(%error, %path, "Codex's login cannot be written"),
    }
    written
}

/// The external form of a profile's credential; none, if it has no workspace.
pub(super) fn content(snapshot: &ProfileSnapshot) -> Option<SecretString> {
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

/// Whether what is in a home that we supply is what we wrote, or at least nothing that somebody could lose.
pub(super) fn is_ours(there: Option<&SecretString>) -> bool {
    // A bare key looks the same whoever wrote it; ours ends with a line break.
    let is_our_key = |text: &str| match codex::parse(text, clock::now()) {
        Ok(CodexLogin::Grant(grant)) => grant.secrets.tokens().is_none() && text.ends_with('\n'),
        Ok(CodexLogin::External | CodexLogin::SignedOut) | Err(_) => false,
    };
    is_replaceable(there) || there.is_some_and(|text| is_our_key(text.expose_secret()))
}

/// Whether there is nothing that somebody could lose: nothing at all, nobody, or the external form.
pub(super) fn is_replaceable(there: Option<&SecretString>) -> bool {
    there.is_none_or(|text| {
        let login = codex::parse(text.expose_secret(), clock::now());
        matches!(login, Ok(CodexLogin::External | CodexLogin::SignedOut))
    })
}
