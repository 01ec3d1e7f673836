//! `index.json`, which authd wrote before `store.json` existed. Remove this module, and its calls
//! in `placement.rs` and `engine.rs`, when no such state directory is left to upgrade.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use tracing::warn;

use crate::{Kind, StoreError, private};

/// The longest index that is read, in bytes. An index of 1,000 profiles has about 100,000.
const MAX_FILE: u64 = 16 << 20;

/// The content of the index that is in no record and not in `store.json`.
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
    /// Profiles whose records must be deleted.
    #[serde(default)]
    pub discarded: Vec<String>,
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("index.json")
}

/// Reads the index if it exists. A damaged index is renamed and counts as absent.
pub(crate) fn read(state_dir: &Path) -> Result<Option<LegacyIndex>, StoreError> {
    let path = path(state_dir);
    let Some(text) = private::read_bounded(&path, MAX_FILE)? else { return Ok(None) };
    let reason = match serde_json::from_slice::<LegacyIndex>(&text) {
        Ok(index) if index.version == 1 => return Ok(Some(index)),
        Ok(index) => format!("it has version {}", index.version),
        Err(error) => error.to_string(),
    };
    let damaged = path.with_extension("json.damaged");
    fs::rename(&path, &damaged).map_err(|error| private::at(&path, &error))?;
    warn!(%reason, moved_to = %damaged.display(), "index of an earlier authd is damaged");
    Ok(None)
}

/// Removes the index.
pub(crate) fn remove(state_dir: &Path) -> Result<(), StoreError> {
    if private::remove(&path(state_dir))? {
        private::sync(state_dir)?;
    }
    Ok(())
}
