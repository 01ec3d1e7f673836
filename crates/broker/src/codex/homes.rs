//! The list of the Codex homes that use a profile, in the state directory. It holds no secret.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use authd_api::ProfileName;
use authd_oauth::Intent;
use authd_store::{StateDir, Store, private};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::json_file::JsonFile;

/// The service name of Codex's keychain items.
const SERVICE: &str = "Codex Auth";

/// The file of the list.
const FILE: JsonFile = JsonFile {
    name: "codex.json",
    version: 1,
    longest: 1 << 20,
    damaged: "list of Codex homes damaged; install them again",
};

/// From the registry to the Codex manager.
#[derive(Debug)]
pub(crate) enum CodexNotice {
    /// An import was interrupted, and authd owns the grant.
    Import(ProfileName, Intent),
    /// The list of homes has changed.
    HomesChanged,
}

/// A Codex home that uses a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManagedHome {
    pub(crate) profile: ProfileName,
    /// The store holds the original login.
    pub(crate) restorable: bool,
    /// The original login became the profile.
    pub(crate) taken: bool,
    /// Whether the home keeps its login in the keychain.
    #[serde(default)]
    pub(crate) item: bool,
    /// The target of `auth.json` if that is a symbolic link. `codex logout` deletes the link, and
    /// authd makes it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<String>,
    /// Fingerprints of the texts that authd wrote or is about to write, if only these show that a
    /// login is authd's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) written: Vec<String>,
    #[serde(default, skip_serializing_if = "Phase::is_installed")]
    pub(crate) phase: Phase,
}

/// The progress of an installation or its removal. The next start finishes an interrupted one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// The original login is being saved and replaced.
    Installing,
    /// The home gets the profile's access tokens.
    #[default]
    Installed,
    /// The original login is being restored.
    Removing,
}

impl Phase {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires this signature")]
    fn is_installed(&self) -> bool {
        *self == Self::Installed
    }
}

/// The Codex homes that the list in a state directory names. Changes nothing, and needs no broker.
pub fn codex_homes(state_dir: &Path) -> io::Result<Vec<PathBuf>> {
    match private::read_bounded(&FILE.path(state_dir), FILE.longest)? {
        Some(text) => Ok(serde_json::from_slice::<HomesFile>(&text)?.homes.into_keys().collect()),
        None => Ok(Vec::new()),
    }
}

/// All homes, by path.
pub(crate) type Homes = BTreeMap<PathBuf, ManagedHome>;

#[derive(Default, Serialize, Deserialize)]
struct HomesFile {
    version: u32,
    homes: Homes,
}

/// The list of homes; a cheap handle. The first use reads the file. After a failed read the list is
/// neither empty nor overwritten.
#[derive(Clone, Debug)]
pub(crate) struct ManagedHomes(Arc<HomesInner>);

#[derive(Debug)]
struct HomesInner {
    state_dir: StateDir,
    homes: Mutex<Option<Homes>>,
    /// Codex's keychain items. One shared store keeps the calls in order.
    keychain: OnceLock<Store>,
    /// Whether the file may differ from the list, because a write failed.
    unsaved: AtomicBool,
}

impl ManagedHomes {
    pub(crate) fn new(state_dir: StateDir) -> Self {
        Self(Arc::new(HomesInner {
            state_dir,
            homes: Mutex::default(),
            keychain: OnceLock::new(),
            unsaved: AtomicBool::new(false),
        }))
    }

    /// Codex's keychain items. The first call connects.
    pub(crate) fn keychain(&self, ours: &Store) -> Store {
        self.0.keychain.get_or_init(|| ours.of_another_program(SERVICE)).clone()
    }

    pub(crate) fn state_dir(&self) -> &StateDir {
        &self.0.state_dir
    }

    pub(crate) async fn all(&self) -> io::Result<Homes> {
        let mut homes = self.0.homes.lock().await;
        match &*homes {
            Some(homes) => Ok(homes.clone()),
            None => Ok(homes.insert(self.read().await?).clone()),
        }
    }

    /// Changes the list and writes the file. After a failed write the list is unchanged.
    pub(crate) async fn change(&self, change: impl FnOnce(&mut Homes)) -> io::Result<()> {
        let mut homes = self.0.homes.lock().await;
        let current = match homes.take() {
            Some(homes) => homes,
            None => self.read().await?,
        };
        let mut changed = current.clone();
        change(&mut changed);
        let written = if changed == current { Ok(()) } else { self.write(changed.clone()).await };
        *homes = Some(if written.is_ok() { changed } else { current });
        written
    }

    /// Changes one home, if it is in the list.
    pub(crate) async fn change_home(
        &self,
        home: &Path,
        change: impl FnOnce(&mut ManagedHome),
    ) -> io::Result<()> {
        self.change(|homes| {
            if let Some(managed) = homes.get_mut(home) {
                change(managed);
            }
        })
        .await
    }

    pub(crate) fn is_unsaved(&self) -> bool {
        self.0.unsaved.load(Ordering::Relaxed)
    }

    /// Records that the file was deleted with the state directory.
    pub(crate) fn mark_unsaved(&self) {
        self.0.unsaved.store(true, Ordering::Relaxed);
    }

    /// Writes the list again after a failed write.
    pub(crate) async fn retry_write(&self) -> io::Result<()> {
        let homes = self.0.homes.lock().await;
        match &*homes {
            Some(homes) if self.is_unsaved() => self.write(homes.clone()).await,
            Some(_) | None => Ok(()),
        }
    }

    /// Changes the name of a profile in the homes that use it.
    pub(crate) async fn rename_profile(&self, from: &ProfileName, to: &ProfileName) -> io::Result<()> {
        self.change(|homes| {
            for home in homes.values_mut().filter(|home| home.profile == *from) {
                home.profile = to.clone();
            }
        })
        .await
    }

    async fn read(&self) -> io::Result<Homes> {
        FILE.read::<HomesFile>(&self.0.state_dir).await.map(|file| file.homes)
    }

    async fn write(&self, homes: Homes) -> io::Result<()> {
        let written = FILE.write(&self.0.state_dir, &HomesFile { version: FILE.version, homes }).await;
        self.0.unsaved.store(written.is_err(), Ordering::Relaxed);
        written
    }
}
