//! `index.json` of authd before `store.json`. To be removed, with its two calls in `placement.rs` and
//! `engine.rs`, when no such state directory is left to upgrade.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use tracing::warn;

use crate::{Kind, StoreError, private};

/// The longest index that is read, in bytes: a thousand profiles have a hundred thousand.
const MAX_FILE: u64 = 16 << 20;

/// What an index of an earlier authd says that no record and no `store.json` does.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LegacyIndex {
    version: u32,
    /// The store that holds the records.
    pub(crate) store: Option<Kind>,
    /// A store that may still hold copies.
    #[serde(default)]
    pub(crate) leaving: Option<Kind>,
    /// The default profile.
    pub default: Option<String>,
    /// Profiles whose records are to be deleted.
    #[serde(default)]
    pub discarded: Vec<String>,
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("index.json")
}

/// Reads the index, if there is one. A damaged one is moved aside and counts as none.
pub(crate) fn read(state_dir: &Path) -> Result<Option<LegacyIndex>, StoreError> {
    let path = path(state_dir);
    let Some(text) = private::read_bounded(&path, MAX_FILE).map_err(StoreError::unavailable)? else {
        return Ok(None);
    };
    let reason = match serde_json::from_slice::<LegacyIndex>(&text) {
        Ok(index) if index.version == 1 => return Ok(Some(index)),
        Ok(index) => format!("it has version {}", index.version),
        Err(error) => error.to_string(),
    };
    let aside = path.with_extension("json.damaged");
    fs::rename(&path, &aside).map_err(|error| StoreError::unavailable(private::at(&path, &error)))?;
    warn!(%reason, moved_to = %aside.display(), "index of an earlier authd is damaged");
    Ok(None)
}

/// Removes the index.
pub(crate) fn remove(state_dir: &Path) -> io::Result<()> {
    if private::remove(&path(state_dir))? {
        private::sync_dir(state_dir)?;
    }
    Ok(())
}
