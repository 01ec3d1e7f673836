//! What the index remembers beyond names: how it is found again when it is lost, where records move to, and
//! which of them are to be deleted still.

use authd_store::{Index, Key, Kind, Loaded, Moved, StoreError};
use tracing::warn;

use super::Owner;
use crate::profile::Tools;

/// The index that the state directory holds; or, if it is damaged or lost, what the store itself tells.
pub(crate) async fn find_index(loaded: Loaded, tools: &Tools) -> Index {
    match loaded {
        Loaded::Index(index) => index,
        Loaded::Missing => from_store(tools).await,
        Loaded::Damaged(reason) => {
            warn!(%reason, "the index is damaged; it is rebuilt from the store");
            from_store(tools).await
        }
    }
}

async fn from_store(tools: &Tools) -> Index {
    let mut index = Index::default();
    match tools.store.list().await {
        Ok(keys) => {
            let names = keys.iter().filter_map(Key::profile_name);
            index.profiles = names.map(|name| (name.to_owned(), None)).collect();
        }
        Err(error) => warn!(%error, "the store cannot be listed"),
    }
    index.default = index.profiles.keys().next().filter(|_| index.profiles.len() == 1).cloned();
    index
}

impl Owner {
    /// The new store is remembered before anything is deleted from the old one.
    pub(super) async fn migrate(&mut self, to: Kind) -> Result<Moved, StoreError> {
        let store = self.tools.store.clone();
        let before = self.index.clone();
        let remember = || {
            self.index.leaving = before.store;
            self.index.store = Some(to);
            self.index.save(&self.state_dir)
        };
        match store.migrate(to, remember).await {
            Ok(moved) => {
                if moved.left_behind.is_none() {
                    self.index.leaving = None;
                    self.write();
                }
                Ok(moved)
            }
            Err(error) => {
                self.index = before;
                Err(error)
            }
        }
    }

    /// Finishes what an earlier run began: deleting records that are of no use any more, and a move that
    /// was interrupted after everything had been copied.
    pub(super) async fn clear_left_behind(&mut self) {
        // Under some of those names somebody has signed in since, and has put a record in its place.
        let Index { discarded, profiles, .. } = &mut self.index;
        discarded.retain(|name| !profiles.contains_key(name));
        for name in discarded.clone() {
            self.discard(&name).await;
        }
        let Some(kind) = self.index.leaving else { return };
        match self.tools.store.clear(kind).await {
            Ok(()) => {
                self.index.leaving = None;
                self.write();
            }
            Err(error) => warn!(%error, %kind, "the store that was left still holds records"),
        }
    }

    /// Deletes a record that is of no use any more; if it cannot be deleted now, then at the next start.
    pub(super) async fn discard(&mut self, name: &str) {
        self.index.discarded.insert(name.to_owned());
        self.write();
        match self.tools.store.delete(&Key::profile(name)).await {
            Ok(()) => {
                self.index.discarded.remove(name);
                self.write();
            }
            Err(error) => warn!(%error, name, "a record of no use is left in the store until the next start"),
        }
    }
}
