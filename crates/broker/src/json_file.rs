//! A list in a JSON file of the state directory. It holds no secret.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use authd_store::{StateDir, private};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::error;

use crate::blocking::blocking;

/// The file of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonFile {
    /// The name in the state directory.
    pub(crate) name: &'static str,
    /// The newest format that this version reads and writes.
    pub(crate) version: u32,
    /// Longest file that is read, in bytes.
    pub(crate) longest: u64,
    /// The log event of a damaged file, with what the user can do.
    pub(crate) damaged: &'static str,
}

/// The format of a file, whatever else it has.
#[derive(Deserialize)]
struct Format {
    version: u32,
}

impl JsonFile {
    pub(crate) fn path(self, state_dir: &Path) -> PathBuf {
        state_dir.join(self.name)
    }

    /// Reads the list; an absent file is an empty list. A damaged file is renamed. The file of a
    /// newer version of authd is an error, because this version would lose what it does not know.
    pub(crate) async fn read<T: Default + DeserializeOwned + Send + 'static>(
        self,
        state_dir: &StateDir,
    ) -> io::Result<T> {
        let path = self.path(state_dir.path());
        blocking(move || {
            let Some(text) = private::read_bounded(&path, self.longest)? else { return Ok(T::default()) };
            if let Ok(Format { version }) = serde_json::from_slice(&text)
                && version > self.version
            {
                let name = self.name;
                return Err(io::Error::other(format!(
                    "a newer version of authd has written {name}; upgrade authd"
                )));
            }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const FILE: JsonFile = JsonFile { name: "list.json", version: 1, longest: 1 << 10, damaged: "damaged" };

    #[tokio::test]
    async fn file_of_a_newer_version_is_an_error_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(directory.path().join("state")).unwrap();
        let path = FILE.path(state_dir.path());
        for newer in [r#"{"version": 2, "list": {}}"#, r#"{"version": 2, "list": ["of another form"]}"#] {
            private::atomic_write(&path, newer.as_bytes()).unwrap();
            let error = FILE.read::<BTreeMap<String, u32>>(&state_dir).await.unwrap_err();
            assert_eq!(error.to_string(), "a newer version of authd has written list.json; upgrade authd");
            assert_eq!(fs::read_to_string(&path).unwrap(), newer);
        }
        private::atomic_write(&path, br#"{"version": 1}"#).unwrap();
        assert_eq!(FILE.read::<BTreeMap<String, u32>>(&state_dir).await.unwrap()["version"], 1);
    }
}
