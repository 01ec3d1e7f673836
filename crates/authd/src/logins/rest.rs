//! Pending logins at rest: sealed in the store from their start to their end.

use std::time::Duration;

use authd_api::Problem;
use authd_store::{Key, StoreError};
use tracing::{info, warn};

use super::Logins;
use crate::{clock, reply, sealed::StoredLogin};

/// How long to wait before the store is asked again, first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long a login that is not known waits for the store to be read.
const PATIENCE: Duration = Duration::from_secs(10);

impl Logins {
    /// Takes the logins up again that an earlier daemon left, once the store can be listed. Those that are over are
    /// deleted, and so are those whose sign-in was saved before a crash.
    pub(crate) async fn restore(&self) {
        self.0.keeper.listed().await;
        let mut pause = RETRY.0;
        let mut left = None;
        loop {
            left = match left {
                None => self.0.store.list().await.ok().map(|listing| listing.logins),
                Some(ids) => Some(ids),
            };
            if let Some(ids) = left.take() {
                let unread = self.restore_these(ids).await;
                if unread.is_empty() {
                    self.0.restored.send_replace(true);
                    return;
                }
                left = Some(unread);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        }
    }

    /// Waits until the logins of an earlier daemon are known, or for as long as a browser does. Whether they are.
    pub(crate) async fn restored(&self) -> bool {
        let mut restored = self.0.restored.subscribe();
        let known = tokio::time::timeout(PATIENCE, restored.wait_for(|restored| *restored)).await;
        known.is_ok_and(|known| known.is_ok())
    }

    /// Waits until a login is known. While the logins of an earlier daemon are not, it is not said to be unknown.
    pub(crate) async fn known(&self, id: &str) -> Result<(), Problem> {
        if self.get(id).is_ok() || self.restored().await || self.get(id).is_ok() {
            return Ok(());
        }
        let detail = "the pending logins have not been read yet".to_owned();
        Err(reply::store_failed(&StoreError::Unavailable { detail }))
    }

    /// Takes these logins up again. Returns those that could not be read.
    async fn restore_these(&self, ids: Vec<String>) -> Vec<String> {
        let directory = self.0.keeper.directory();
        let finished = |id: &str| {
            directory
                .profiles
                .values()
                .any(|handle| handle.view().facts().is_some_and(|facts| *facts.credential.grant_id == *id))
        };
        let mut unread = Vec::new();
        for id in ids {
            if self.get(&id).is_ok() {
                continue;
            }
            let over = finished(&id)
                || match self.0.store.load(&Key::login(&id)).await {
                    Ok(Some(text)) => {
                        let sealed = StoredLogin::open(&text).filter(|sealed| sealed.login.id == id);
                        !sealed.is_some_and(|sealed| self.resume(sealed))
                    }
                    Ok(None) => false,
                    Err(error @ StoreError::Damaged { .. }) => {
                        warn!(%error, login = id, "a pending login cannot be opened, and is left as it is");
                        false
                    }
                    Err(_) => {
                        unread.push(id);
                        continue;
                    }
                };
            if over {
                self.unseal(&id);
            }
        }
        unread
    }

    /// Goes on with a login, if it is not over. Whether it did.
    fn resume(&self, StoredLogin { login, replace, attempt }: StoredLogin) -> bool {
        let going_on = login.expires_at > clock::now();
        if going_on {
            info!(login = login.id, "a pending login is taken up again");
            self.register(login, replace, attempt);
        }
        going_on
    }
}
