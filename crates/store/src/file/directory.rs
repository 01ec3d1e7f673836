//! The directory of encrypted records.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{Key, StoreError, private};

/// The names in the directory of records.
#[derive(Default)]
pub(crate) struct Scan {
    /// Keys of records.
    pub(crate) keys: BTreeSet<Key>,
    /// Keys with a temporary file.
    pub(crate) interrupted: Vec<Key>,
    /// Other names.
    pub(crate) unknown: Vec<String>,
}

/// Whether a state directory contains encrypted records.
pub(crate) fn has_records(state_dir: &Path) -> Result<bool, StoreError> {
    let found = scan(&directory(state_dir))?;
    let has_keys = found.keys.iter().chain(&found.interrupted).any(|key| *key != Key::probe());
    let is_age = |name: &String| Path::new(name).extension().is_some_and(|extension| extension == "age");
    Ok(has_keys || found.unknown.iter().any(is_age))
}

/// The directory of records in a state directory.
pub(crate) fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("store")
}

/// Reads the names in a directory. A directory that does not exist is empty.
pub(crate) fn scan(directory: &Path) -> Result<Scan, StoreError> {
    let mut scan = Scan::default();
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound && private::is_absent(directory)? => {
            return Ok(scan);
        }
        Err(error) => return Err(private::at(directory, &error).into()),
    };
    let key = |name: &str| Key::parse(name.strip_suffix(".age")?);
    let interrupted = |name: &str| key(name.strip_prefix('.')?.strip_suffix(".tmp")?);
    for entry in entries {
        let name = entry.map_err(|error| private::at(directory, &error))?.file_name();
        let name = name.to_string_lossy();
        if let Some(key) = key(&name) {
            scan.keys.insert(key);
        } else if let Some(key) = interrupted(&name) {
            scan.interrupted.push(key);
        } else {
            scan.unknown.push(name.into_owned());
        }
    }
    Ok(scan)
}
