//! Which profiles there are when the daemon starts.

use authd_store::{Entry, Index, Key, Loaded};
use tracing::warn;

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
            index.profiles = names.map(|name| (name.to_owned(), Entry::default())).collect();
        }
        Err(error) => warn!(%error, "the store cannot be listed"),
    }
    index.default = index.profiles.keys().next().filter(|_| index.profiles.len() == 1).cloned();
    index
}
