//! Keeping one login file of Codex fresh: the access token alone, replaced whole whenever it changes.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use authd_api::ProfileName;
use authd_oauth::{
    CodexLogin, Mode,
    codex::{self, External},
};
use authd_store::private;
use secrecy::{ExposeSecret, SecretString};
use tracing::{debug, warn};

use crate::{
    clock,
    facts::{Facts, View},
    keeper::Keeper,
};

/// Writes a file whenever its profile's credential changes, for as long as the daemon runs.
pub(super) async fn keep(path: PathBuf, name: ProfileName, keeper: Keeper) {
    let mut directory = keeper.watch();
    loop {
        let handle = directory.borrow_and_update().profiles.get(&name).cloned();
        let mut view = handle.map(|handle| handle.watch());
        loop {
            if let Some(view) = &mut view {
                let now = view.borrow_and_update().clone();
                write(&path, &now, Over::Ours);
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

/// Writes the credential into the file, unless it is there already, or something that is not to be
/// written over.
pub(super) fn write(path: &Path, view: &View, over: Over) {
    let Some(facts) = view.facts() else { return };
    let Some(text) = content(facts) else { return };
    match fs::read_to_string(path) {
        Ok(there) if there == text.expose_secret() => return,
        Ok(_) if over == Over::Ours && !is_ours(path) => {
            warn!(path = %path.display(), "somebody signed in to Codex there; the file is left alone");
            return;
        }
        _ => {}
    }
    // The fifth place where a secret leaves: the file of a program that is to use it.
    match private::atomic_write(path, text.expose_secret().as_bytes()) {
        Ok(()) => debug!(path = %path.display(), "Codex has the newest access token"),
        Err(error) => warn!(%error, path = %path.display(), "Codex's file cannot be written"),
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

/// Whether the file holds nothing that somebody could lose: it is absent, or in the external form.
pub(super) fn is_ours(path: &Path) -> bool {
    match fs::read_to_string(path) {
        Ok(text) => match codex::parse(&text, clock::now()) {
            Ok(CodexLogin::Grant(grant)) => {
                // A bare key looks the same whoever wrote it; ours ends with a line break.
                grant.holding.tokens().is_none() && text.ends_with('\n')
            }
            Ok(CodexLogin::External | CodexLogin::Nobody) => true,
            Err(_) => false,
        },
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
