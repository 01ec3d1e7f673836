//! The list of shares in the state directory. It holds the hashes of keys, but no key.

use std::{collections::BTreeMap, fs, io, path::PathBuf, sync::Arc};

use authd_store::{StateDir, private};
use serde::{Deserialize, Serialize};
use tracing::error;

use super::{key::KeyHash, live::Share, terms::ShareTerms};
use crate::blocking::blocking;

/// Longest list that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// The shares by id.
pub(super) type ShareMap = BTreeMap<Arc<str>, Share>;

#[derive(Serialize, Deserialize)]
struct ShareFile {
    version: u32,
    shares: BTreeMap<String, StoredShare>,
}

#[derive(Serialize, Deserialize)]
struct StoredShare {
    #[serde(flatten)]
    terms: ShareTerms,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_hash: Option<String>,
}

/// Reads the list; an absent file is an empty list. A damaged file is renamed.
pub(super) async fn read(state_dir: &StateDir) -> io::Result<ShareMap> {
    let path = path(state_dir);
    blocking(move || {
        let Some(text) = private::read_bounded(&path, MAX_FILE)? else { return Ok(ShareMap::new()) };
        match serde_json::from_slice::<ShareFile>(&text) {
            Ok(file) => {
                Ok(file.shares.into_iter().map(|(id, stored)| stored.into_entry(id.into())).collect())
            }
            Err(error) => {
                let backup = path.with_extension("json.damaged");
                error!(%error, backup = %backup.display(), "list of shares damaged; make the shares again");
                fs::rename(&path, &backup)?;
                Ok(ShareMap::new())
            }
        }
    })
    .await
}

/// Replaces the list.
pub(super) async fn write(state_dir: &StateDir, shares: &ShareMap) -> io::Result<()> {
    let stored = shares.iter().map(|(id, share)| (id.to_string(), StoredShare::from(share))).collect();
    let text = serde_json::to_vec_pretty(&ShareFile { version: 1, shares: stored });
    let (path, state_dir) = (path(state_dir), state_dir.clone());
    let text = text.expect("times, names and numbers have a JSON form");
    blocking(move || state_dir.ensure().and_then(|()| private::atomic_write(&path, &text))).await
}

fn path(state_dir: &StateDir) -> PathBuf {
    state_dir.path().join("shares.json")
}

impl StoredShare {
    fn into_entry(self, id: Arc<str>) -> (Arc<str>, Share) {
        let key_hash = self.key_hash.as_deref().and_then(KeyHash::from_text);
        (id.clone(), Share::new(id, self.terms, key_hash))
    }
}

impl From<&Share> for StoredShare {
    fn from(share: &Share) -> Self {
        Self { terms: (*share.terms).clone(), key_hash: share.key_hash.as_ref().map(KeyHash::to_text) }
    }
}
