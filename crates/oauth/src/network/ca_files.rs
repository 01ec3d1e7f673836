//! Whether CA certificates on disk have changed since they were loaded.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The files that certificates are loaded from, with the time of their last change and their size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CaFiles(Vec<(PathBuf, Option<(SystemTime, u64)>)>);

impl CaFiles {
    /// The system's files, as they are now. Empty where the system keeps its certificates
    /// elsewhere.
    pub(super) fn of_system() -> Self {
        Self::of(system_paths())
    }

    /// These files, as they are now.
    pub(super) fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let state = |path: &Path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        Self(paths.into_iter().map(|path| (state(&path), path)).map(|(state, path)| (path, state)).collect())
    }
}

#[cfg(target_os = "linux")]
fn system_paths() -> Vec<PathBuf> {
    // The places that rustls-native-certs reads.
    let openssl_probe::ProbeResult { cert_file, cert_dir } = openssl_probe::probe();
    cert_file.into_iter().chain(cert_dir).collect()
}

#[cfg(not(target_os = "linux"))]
fn system_paths() -> Vec<PathBuf> {
    Vec::new()
}
