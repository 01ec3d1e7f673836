//! Keeping one login of Codex fresh: the access token alone, replaced whole whenever it changes.

use authd_api::ProfileName;
use authd_oauth::{
    CodexLogin, Mode,
    codex::{self, External},
};
use secrecy::{ExposeSecret, SecretString};
use tracing::{debug, warn};

use super::{CodexFailure, place::Place};
use crate::{
    clock,
    facts::{Facts, View},
    keeper::Keeper,
};

/// Writes a login whenever its profile's credential changes, for as long as the daemon runs.
pub(super) async fn keep(place: Place, name: ProfileName, keeper: Keeper) {
    let mut directory = keeper.watch();
    loop {
        let handle = directory.borrow_and_update().profiles.get(&name).cloned();
        let mut view = handle.map(|handle| handle.watch());
        loop {
            if let Some(view) = &mut view {
                let now = view.borrow_and_update().clone();
                write(&place, &now, Over::Ours).await;
            }
            let changed = async {
                match &mut view {
                    Some(view) => view.changed().await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                alive = changed => if !alive { view = None },
                changed = directory.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
        }
    }
}

/// What may be written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// What we wrote ourselves.
    Ours,
    /// Anything: it is kept elsewhere.
    Anything,
}

/// Writes the credential there, unless it is there already, or something that is not to be written
/// over.
pub(super) async fn write(place: &Place, view: &View, over: Over) {
    let Some(text) = view.facts().and_then(|facts| content(facts)) else { return };
    let path = place.path().display();
    match place.read().await {
        Ok(Some(there)) if there.expose_secret() == text.expose_secret() => return,
        Ok(there) if over == Over::Ours && !is_ours(there.as_ref()) => {
            warn!(%path, "somebody signed in to Codex there; it is left alone");
            return;
        }
        // Who signed out of Codex there took the item away, and nobody would find another one.
        Ok(None) if place.is_item() => return,
        Err(CodexFailure::Store(error)) => {
            warn!(%error, %path, "Codex's item in the keychain cannot be read");
            return;
        }
        _ => {}
    }
    // The fifth place where a secret leaves: to a program that is to use it.
    match place.write(text).await {
        Ok(()) => debug!(%path, "Codex has the newest access token"),
        Err(error) => warn!(%error, %path, "Codex's login cannot be written"),
    }
}

/// The external form of a profile's credential; none, if it has no workspace.
pub(super) fn content(facts: &Facts) -> Option<SecretString> {
    let value = &facts.ready.headers.iter().find(|(name, _)| name == http::header::AUTHORIZATION)?.1;
    let secret = value.to_str().ok()?.strip_prefix("Bearer ")?;
    let content = match facts.mode {
        Mode::ApiKey => External::ApiKey(secret),
        Mode::ChatGpt => {
            External::ChatGpt { access_token: secret, account_id: facts.identity.account_id.as_deref()? }
        }
    };
    Some(codex::external(&content, facts.issued_at))
}

/// Whether there is nothing that somebody could lose: nothing at all, or the external form.
pub(super) fn is_ours(there: Option<&SecretString>) -> bool {
    let Some(text) = there.map(ExposeSecret::expose_secret) else { return true };
    match codex::parse(text, clock::now()) {
        // A bare key looks the same whoever wrote it; ours ends with a line break.
        Ok(CodexLogin::Grant(grant)) => grant.holding.tokens().is_none() && text.ends_with('\n'),
        Ok(CodexLogin::External | CodexLogin::Nobody) => true,
        Err(_) => false,
    }
}
