//! Restores the pending logins of the last run from the store.

use std::time::Duration;

use authd_store::{Key, StoreError};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{error::LoginError, manager::Logins, redirect::port_of, stored::StoredLogin};
use crate::{clock, profile::ProfileHandle};

/// Wait before the first retry, and the longest wait.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long a request for an unknown login waits for the store to be read.
const WAIT: Duration = Duration::from_secs(10);

impl Logins {
    /// Restores the pending logins of the last run once the store can be listed. Deletes those that
    /// have expired, and those whose sign-in was saved before a crash.
    pub(crate) async fn restore(&self) {
        self.0.registry.listed().await;
        let mut pause = RETRY.0;
        let mut unread = None;
        loop {
            if unread.is_none() {
                unread = self.0.deps.store.list().await.ok().map(|listing| listing.logins);
            }
            if let Some(ids) = unread.take() {
                let failed = self.restore_all(ids).await;
                if failed.is_empty() {
                    self.0.restored.send_replace(true);
                    return;
                }
                unread = Some(failed);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        }
    }

    /// Waits until the logins of the last run are known, at most as long as a browser waits.
    /// Returns whether they are.
    pub(super) async fn restored(&self) -> bool {
        let mut restored = self.0.restored.subscribe();
        let known = tokio::time::timeout(WAIT, restored.wait_for(|restored| *restored)).await;
        known.is_ok_and(|known| known.is_ok())
    }

    /// Waits until a login is known. Fails if the logins of the last run are not read in time,
    /// because this may be one of them.
    pub async fn wait_until_known(&self, id: &str) -> Result<(), LoginError> {
        if self.get(id).is_ok() || self.restored().await || self.get(id).is_ok() {
            return Ok(());
        }
        Err(LoginError::NotRead)
    }

    /// Restores these logins. Returns those that could not be read.
    async fn restore_all(&self, ids: Vec<String>) -> Vec<String> {
        let snapshot = self.0.registry.snapshot();
        let is_signed_in = |id: &str| {
            let mut views = snapshot.profiles.values().map(ProfileHandle::view);
            views.any(|view| view.snapshot().is_some_and(|profile| *profile.credential.grant_id == *id))
        };
        let mut unread = Vec::new();
        for id in ids {
            if self.get(&id).is_ok() {
                continue;
            }
            let ended = is_signed_in(&id)
                || match self.0.deps.store.load(&Key::login(&id)).await {
                    Ok(Some(text)) => {
                        let stored = StoredLogin::from_secret_json(&text);
                        let stored = stored.filter(|stored| stored.login.id == id);
                        !match stored {
                            Some(stored) => self.resume(stored).await,
                            None => false,
                        }
                    }
                    Ok(None) => false,
                    Err(error @ StoreError::Damaged { .. }) => {
                        warn!(%error, login = id, "pending login is damaged and left as it is");
                        false
                    }
                    Err(_) => {
                        unread.push(id);
                        continue;
                    }
                };
            if ended {
                self.delete_stored(&id);
            }
        }
        unread
    }

    /// Resumes a login unless it has expired. Returns whether it did.
    async fn resume(&self, StoredLogin { login, replace, attempt }: StoredLogin) -> bool {
        let left = Duration::try_from(login.expires_at.duration_since(clock::now())).unwrap_or_default();
        if left.is_zero() {
            return false;
        }
        info!(login = login.id, "pending login restored");
        // The clock may have been set, so the login gets at most the lifetime of a new one.
        let left = left.min(self.0.settings.borrow().lifetime);
        let deadline = Instant::now() + left;
        let listener = match &attempt.defined {
            Some(_) => self.open_port(port_of(&attempt.redirect_uri)).await.unwrap_or_else(|error| {
                warn!(%error, login = login.id, "port of a pending login not opened; it can be pasted");
                None
            }),
            None => None,
        };
        self.add_browser(deadline, login, replace, attempt, listener);
        true
    }
}
