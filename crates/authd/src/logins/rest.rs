//! Pending logins at rest: sealed in the store from their start to their end, and left to the next run
//! where a service manager keeps that.

use authd_store::Key;
use tracing::{info, warn};

use super::Logins;
use crate::{clock, handover::Handover, sealed::Sealed};

impl Logins {
    /// Takes the logins up again that an earlier daemon left, and purges those that are over.
    pub(crate) async fn restore(&self, handover: &Handover) {
        for sealed in handover.claim_logins() {
            self.resume(sealed);
        }
        let store = &self.0.store;
        let Ok(keys) = store.list().await else { return };
        for (key, id) in keys.iter().filter_map(|key| key.login_id().map(|id| (key, id))) {
            if self.get(id).is_ok() {
                continue;
            }
            let sealed = match store.load(key).await {
                Ok(Some(text)) => Sealed::open(&text),
                Ok(None) | Err(_) => continue,
            };
            let resumed = sealed.filter(|sealed| sealed.login.id == id).is_some_and(|it| self.resume(it));
            if !resumed {
                drop(store.delete(key).await);
            }
        }
    }

    /// Goes on with a login, if it is not over. Whether it did.
    fn resume(&self, Sealed { login, replace, attempt }: Sealed) -> bool {
        let going_on = login.expires_at > clock::now();
        if going_on {
            info!(login = login.id, "a pending login is taken up again");
            self.register(login, replace, attempt);
        }
        going_on
    }

    /// Leaves the logins that nobody has finished to the next run.
    pub(crate) fn leave(&self, handover: &Handover) {
        for entry in self.registry().logins.values() {
            if let Some(attempt) = &entry.attempt {
                handover.leave_login(Sealed::text(&entry.login.borrow(), entry.replace, attempt));
            }
        }
    }

    /// A login that is over needs no copy in the store.
    pub(super) fn unseal(&self, id: &str) {
        self.changed(id);
        let (store, key) = (self.0.store.clone(), Key::login(id));
        self.0.tasks.spawn(async move {
            if let Err(error) = store.delete(&key).await {
                warn!(%error, "a finished login stays sealed until the next start");
            }
        });
    }
}
