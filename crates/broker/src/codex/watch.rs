//! Tells when the login file of a home may have changed. The system reports changes, so that an
//! idle daemon does not wake up.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::location::{LoginLocation, resolve};
use crate::blocking::blocking;

/// Watches the directories of a login file: its home, and the one behind a symbolic link.
pub(super) struct LoginWatch {
    changed: Arc<Notify>,
    /// Stops when it is dropped.
    _watcher: Option<RecommendedWatcher>,
}

impl LoginWatch {
    /// Watches a file from now on. A keychain item is not watched.
    pub(super) async fn start(location: &LoginLocation) -> io::Result<Self> {
        let changed = Arc::new(Notify::new());
        let LoginLocation::File(path) = location else { return Ok(Self { changed, _watcher: None }) };
        let (path, notify) = (path.clone(), changed.clone());
        let watcher = blocking(move || watch(&path, notify)).await?;
        Ok(Self { changed, _watcher: Some(watcher) })
    }

    /// Waits for a change since the start or since the last call.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

fn watch(path: &Path, changed: Arc<Notify>) -> io::Result<RecommendedWatcher> {
    let target = resolve(path)?;
    let mut directories: Vec<PathBuf> = [path, &target].map(directory).into();
    directories.dedup();
    // The system names a changed file, or the directory itself.
    let names = [path, &target].map(|path| path.file_name().map(ToOwned::to_owned));
    let parents = directories.clone();
    let handler = move |event: notify::Result<Event>| {
        let is_relevant = event.as_ref().map_or(true, |event| {
            let is_ours = |path: &PathBuf| {
                parents.contains(path) || names.iter().any(|name| path.file_name() == name.as_deref())
            };
            !event.kind.is_access() && (event.need_rescan() || event.paths.iter().any(is_ours))
        });
        if is_relevant {
            changed.notify_one();
        }
    };
    let mut watcher = notify::recommended_watcher(handler).map_err(io::Error::other)?;
    for directory in directories {
        watcher.watch(&directory, RecursiveMode::NonRecursive).map_err(io::Error::other)?;
    }
    Ok(watcher)
}

fn directory(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_path_buf()
}
