//! The names in the directory of records.

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

/// Whether sealed records are below a state directory.
pub(crate) fn holds_records(state_dir: &Path) -> Result<bool, StoreError> {
    let found = scan(&directory(state_dir))?;
    let ours = found.keys.iter().chain(&found.interrupted).any(|key| *key != Key::probe());
    Ok(ours || found.unknown.iter().any(|name| Path::new(name).extension().is_some_and(|end| end == "age")))
}

/// Where the records of a state directory are.
pub(crate) fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("store")
}

/// The names in a directory, or none if it does not exist.
pub(crate) fn scan(directory: &Path) -> Result<Scan, StoreError> {
    names(directory).map_err(StoreError::unavailable)
}

fn names(directory: &Path) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound && private::is_absent(directory)? => {
            return Ok(scan);
        }
        Err(error) => return Err(private::at(directory, &error)),
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
