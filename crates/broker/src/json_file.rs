//! A list in a JSON file of the state directory. It holds no secret.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use authd_store::{StateDir, private};
use serde::{Serialize, de::DeserializeOwned};
use tracing::error;

use crate::blocking::blocking;

/// The file of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonFile {
    /// The name in the state directory.
    pub(crate) name: &'static str,
    /// Longest file that is read, in bytes.
    pub(crate) longest: u64,
    /// The log event of a damaged file, with what the user can do.
    pub(crate) damaged: &'static str,
}

impl JsonFile {
    pub(crate) fn path(self, state_dir: &Path) -> PathBuf {
        state_dir.join(self.name)
    }

    /// Reads the list; an absent file is an empty list. A damaged file is renamed.
    pub(crate) async fn read<T: Default + DeserializeOwned + Send + 'static>(
        self,
        state_dir: &StateDir,
    ) -> io::Result<T> {
        let path = self.path(state_dir.path());
        blocking(move || {
            let Some(text) = private::read_bounded(&path, self.longest)? else { return Ok(T::default()) };
            serde_json::from_slice(&text).or_else(|error| {
                let backup = path.with_extension("json.damaged");
                error!(%error, backup = %backup.display(), "{}", self.damaged);
                let with_path =
                    |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                fs::rename(&path, &backup).map_err(with_path)?;
                Ok(T::default())
            })
        })
        .await
    }

    /// Replaces the list durably. After an error the file holds the old list or the new one.
    pub(crate) async fn write(self, state_dir: &StateDir, list: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(list).expect("paths, names, times and numbers have a JSON form");
        let (path, state_dir) = (self.path(state_dir.path()), state_dir.clone());
        blocking(move || state_dir.ensure().and_then(|()| private::atomic_write(&path, &text))).await
    }
}
