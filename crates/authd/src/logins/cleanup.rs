//! Deletes the stored copies of logins that have ended. A delete that fails is tried again for as long as the daemon
//! lives; what is left then, the next start deletes.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use authd_store::{Key, State};
use tracing::{debug, warn};

use super::Logins;

/// How long to wait for the next try once the store is ready again: at least, and at most. A store can be ready and
/// still refuse to delete.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5 * 60));

/// How long to wait for that.
const RETRY: Duration = Duration::from_secs(15 * 60);

/// How many failed deletes are remembered.
const MOST_UNDELETED: usize = 1024;

/// The logins whose stored copy could not be deleted yet. While there are any, one task tries again.
#[derive(Default)]
pub(super) struct Undeleted(Mutex<BTreeSet<String>>);

impl Undeleted {
    /// Adds a login. Whether it is the only one: then nothing tries again yet.
    fn add(&self, id: String) -> bool {
        self.with(|ids| {
            let first = ids.is_empty();
            if ids.len() < MOST_UNDELETED {
                ids.insert(id);
            }
            first
        })
    }

    fn with<T>(&self, of: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
        of(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Logins {
    /// Deletes the stored copy of a login that has ended.
    pub(super) fn unseal(&self, id: &str) {
        self.changed(id);
        let (logins, id) = (self.clone(), id.to_owned());
        self.0.tasks.spawn(async move {
            let Err(error) = logins.0.store.delete(&Key::login(&id)).await else { return };
            warn!(%error, login = id, "the stored copy of an ended login is not deleted; it is tried again");
            if logins.0.undeleted.add(id) {
                logins.retry_deletes().await;
            }
        });
    }

    /// Tries again to delete what could not be deleted, until nothing is left.
    async fn retry_deletes(&self) {
        let mut status = self.0.store.watch();
        let (mut pause, longest) = PAUSE;
        while let Some(id) = self.0.undeleted.with(|ids| ids.first().cloned()) {
            tokio::select! {
                () = self.0.stopping.cancelled() => return,
                _ = tokio::time::timeout(RETRY, status.wait_for(|status| status.state == State::Ready)) => {}
            }
            tokio::select! {
                () = self.0.stopping.cancelled() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(longest),
            }
            let mut next = Some(id);
            while let Some(id) = next {
                if let Err(error) = self.0.store.delete(&Key::login(&id)).await {
                    debug!(%error, "the stored copy of an ended login is still not deleted");
                    break;
                }
                next = self.0.undeleted.with(|ids| {
                    ids.remove(&id);
                    ids.first().cloned()
                });
            }
        }
    }
}
