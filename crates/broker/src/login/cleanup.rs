//! Deletes the stored copies of logins that have ended. A failed delete is retried while the daemon
//! runs; the next start deletes the rest.

use std::time::Duration;

use authd_oauth::{Attempt, Authority, ProfileStatus};
use authd_store::{Key, State};
use tracing::{debug, warn};

use super::{defined_exchange, manager::Logins};
use crate::{clock, profile::ProfileHandle};

/// Wait before a retry once the store is ready, at first and at most. A ready store can still
/// refuse to delete.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5 * 60));

/// How many failed deletes are remembered. The next start deletes the rest.
const CAPACITY: usize = 1024;

/// Longest wait for the store to be ready.
const STORE_WAIT: Duration = Duration::from_secs(15 * 60);

impl Logins {
    /// Deletes the stored copy of a login that has ended.
    pub(super) fn delete_stored(&self, id: &str) {
        self.publish_change(id);
        let (logins, id) = (self.clone(), id.to_owned());
        self.0.tasks.spawn(async move {
            let Err(error) = logins.0.deps.store.delete(&Key::login(&id)).await else { return };
            warn!(%error, login = id, "stored copy of an ended login not deleted; retrying");
            let is_first = {
                let failed = &mut logins.logins().failed_deletes;
                let is_first = failed.is_empty();
                if failed.len() < CAPACITY {
                    failed.insert(id);
                }
                is_first
            };
            if is_first {
                logins.retry_deletes().await;
            }
        });
    }

    /// Forgets the automatically registered client of a browser login that ended without a
    /// redirect. The server may not know the client any more: it says so on a page of its own, and
    /// every further login with this client would end there, too. A client that a usable profile
    /// has is known.
    pub(super) async fn forget_client(&self, attempt: Option<Attempt>) {
        let Some(plan) = attempt.and_then(|attempt| attempt.defined).map(|defined| defined.plan) else {
            return;
        };
        let Some(key) = &plan.registration else { return };
        let has_client = |handle: &ProfileHandle| {
            let view = handle.view();
            view.snapshot().is_some_and(|snapshot| {
                let authority = snapshot.credential.authority.as_deref();
                let is_same = |one: &Authority| {
                    one.token_url == plan.authority.token_url && one.client == plan.authority.client
                };
                let is_usable = match snapshot.status(clock::now()) {
                    ProfileStatus::Ready | ProfileStatus::Refreshing | ProfileStatus::Unsaved => true,
                    ProfileStatus::Expired | ProfileStatus::LoginRequired => false,
                };
                authority.is_some_and(is_same) && is_usable && snapshot.last_error.is_none()
            })
        };
        if !self.0.registry.snapshot().profiles.values().any(has_client) {
            defined_exchange::forget(&self.0.deps.store, key).await;
        }
    }

    async fn retry_deletes(&self) {
        let mut status = self.0.deps.store.watch();
        let (mut pause, longest) = PAUSE;
        while self.failed_delete().is_some() {
            let ready = status.wait_for(|status| status.state == State::Ready);
            tokio::select! {
                () = self.0.deps.stopping.cancelled() => return,
                _ = tokio::time::timeout(STORE_WAIT, ready) => {}
            }
            tokio::select! {
                () = self.0.deps.stopping.cancelled() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(longest),
            }
            while let Some(id) = self.failed_delete() {
                if let Err(error) = self.0.deps.store.delete(&Key::login(&id)).await {
                    debug!(%error, "stored copy of an ended login still not deleted");
                    break;
                }
                self.logins().failed_deletes.remove(&id);
            }
        }
    }

    fn failed_delete(&self) -> Option<String> {
        self.logins().failed_deletes.first().cloned()
    }
}
