//! The list of shares in the state directory. It holds the hashes of keys, but no key.

use std::{borrow::Cow, collections::BTreeMap, io, sync::Arc};

use authd_store::StateDir;
use serde::{Deserialize, Serialize};

use super::{key::KeyHash, live::Share, terms::ShareTerms};
use crate::json_file::JsonFile;

const FILE: JsonFile = JsonFile {
    name: "shares.json",
    version: 1,
    longest: 16 << 20,
    damaged: "list of shares damaged; make the shares again",
};

/// The shares by id.
pub(super) type ShareMap = BTreeMap<Arc<str>, Share>;

#[derive(Default, Serialize, Deserialize)]
struct ShareFile<'a> {
    version: u32,
    shares: BTreeMap<Cow<'a, str>, StoredShare<'a>>,
}

#[derive(Serialize, Deserialize)]
struct StoredShare<'a> {
    #[serde(flatten)]
    terms: Cow<'a, ShareTerms>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_hash: Option<String>,
}

/// Reads the list.
pub(super) async fn read(state_dir: &StateDir) -> io::Result<ShareMap> {
    let file: ShareFile<'_> = FILE.read(state_dir).await?;
    Ok(file.shares.into_iter().map(|(id, stored)| stored.into_entry(&id)).collect())
}

/// Replaces the list.
pub(super) async fn write(state_dir: &StateDir, shares: &ShareMap) -> io::Result<()> {
    let shares = shares.iter().map(|(id, share)| (Cow::Borrowed(&**id), StoredShare::from(share))).collect();
    FILE.write(state_dir, &ShareFile { version: FILE.version, shares }).await
}

impl StoredShare<'_> {
    fn into_entry(self, id: &str) -> (Arc<str>, Share) {
        let id: Arc<str> = id.into();
        let key_hash = self.key_hash.as_deref().and_then(KeyHash::from_text);
        (id.clone(), Share::new(id, self.terms.into_owned(), key_hash))
    }
}

impl<'a> From<&'a Share> for StoredShare<'a> {
    fn from(share: &'a Share) -> Self {
        let key_hash = share.key_hash.as_ref().map(KeyHash::to_text);
        Self { terms: Cow::Borrowed(&share.terms), key_hash }
    }
}
