//! Keeping one login of Codex fresh: the access token alone, replaced whole whenever it changes.

use authd_api::ProfileName;
use authd_oauth::{
    CodexLogin, Mode,
    codex::{self, External},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::broadcast::{self, error::RecvError};
use tracing::{debug, warn};

use super::place::{Place, same};
use crate::{
    clock,
    events::News,
    facts::{Facts, View},
    keeper::Keeper,
};

/// Writes a login whenever its profile's credential changes, for as long as the daemon runs.
pub(super) async fn keep(
    place: Place,
    name: ProfileName,
    keeper: Keeper,
    mut news: broadcast::Receiver<News>,
) {
    loop {
        let handle = keeper.directory().profiles.get(&name).cloned();
        if let Some(handle) = handle {
            write(&place, &handle.view(), Over::Ours).await;
        }
        loop {
            match news.recv().await {
                Ok(News::Profile(changed)) if changed == name => break,
                Ok(News::Profile(_) | News::Login(_)) => {}
                // What was missed may have been about this one.
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return,
            }
        }
    }
}

/// What may be written over.
#[derive(Clone, Copy)]
pub(super) enum Over<'a> {
    /// What we wrote ourselves.
    Ours,
    /// This text too: it is kept elsewhere.
    Kept(&'a SecretString),
}

impl Over<'_> {
    fn allows(self, there: Option<&SecretString>) -> bool {
        match self {
            Self::Kept(text) if same(there, Some(text)) => true,
            Self::Ours | Self::Kept(_) => is_ours(there),
        }
    }
}

/// Writes the credential there, unless it is there already, or something that is not to be written
/// over.
pub(super) async fn write(place: &Place, view: &View, over: Over<'_>) {
    let Some(text) = view.facts().and_then(|facts| content(facts)) else { return };
    let path = place.path().display();
    match place.read().await {
        Ok(Some(there)) if there.expose_secret() == text.expose_secret() => return,
        Ok(there) if !over.allows(there.as_ref()) => {
            warn!(%path, "somebody signed in to Codex there; it is left alone");
            return;
        }
        // Who signed out of Codex there took the item away, and nobody would find another one.
        Ok(None) if place.is_item() => return,
        Ok(_) => {}
        Err(failure) => {
            warn!(?failure, %path, "Codex's login cannot be read; it is left alone");
            return;
        }
    }
    // The fifth place where a secret leaves: to a program that is to use it.
    match place.write(text).await {
        Ok(()) => debug!(%path, "Codex has the newest access token"),
        Err(error) => warn!(%error, %path, "Codex's login cannot be written"),
    }
}

/// The external form of a profile's credential; none, if it has no workspace.
pub(super) fn content(facts: &Facts) -> Option<SecretString> {
    let secret = facts.credential.bearer.expose();
    let content = match facts.mode() {
        Mode::ApiKey => External::ApiKey(secret),
        Mode::ChatGpt => External::ChatGpt {
            access_token: secret,
            account_id: facts.credential.identity.account_id.as_deref()?,
        },
    };
    Some(codex::external(&content, facts.credential.issued_at))
}

/// Whether what is in a home that we supply is what we wrote, or at least nothing that somebody could lose.
pub(super) fn is_ours(there: Option<&SecretString>) -> bool {
    // A bare key looks the same whoever wrote it; ours ends with a line break.
    let is_our_key = |text: &str| match codex::parse(text, clock::now()) {
        Ok(CodexLogin::Grant(grant)) => grant.holding.tokens().is_none() && text.ends_with('\n'),
        Ok(CodexLogin::External | CodexLogin::Nobody) | Err(_) => false,
    };
    is_spare(there) || there.is_some_and(|text| is_our_key(text.expose_secret()))
}

/// Whether there is nothing that somebody could lose: nothing at all, nobody, or the external form.
pub(super) fn is_spare(there: Option<&SecretString>) -> bool {
    there.is_none_or(|text| {
        let login = codex::parse(text.expose_secret(), clock::now());
        matches!(login, Ok(CodexLogin::External | CodexLogin::Nobody))
    })
}
