//! The Codex homes that use a profile, as the state directory remembers them. No secret is here.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
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
use tracing::error;

use crate::blocking::blocking;

/// The name of Codex's items in the keychain.
const SERVICE: &str = "Codex Auth";

/// The longest list that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What the owner of the Codex homes has to hear from the registry.
#[derive(Debug)]
pub(crate) enum CodexNotice {
    /// An import was interrupted; its grant is ours.
    Import(ProfileName, Intent),
    /// A profile has another name in the list.
    HomesChanged,
}

/// A Codex home that uses a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManagedHome {
    pub(crate) profile: ProfileName,
    /// What was there before is sealed in the store.
    pub(crate) restorable: bool,
    /// What was there before is the profile itself.
    pub(crate) taken: bool,
    /// The home keeps its login in the keychain.
    #[serde(default)]
    pub(crate) item: bool,
    /// How far an installation or its removal is.
    #[serde(default, skip_serializing_if = "Phase::is_installed")]
    pub(crate) phase: Phase,
}

/// How far an installation or its removal is. A crash leaves one that has begun to the next start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// What was there before is being sealed, and replaced.
    Installing,
    /// The home is kept supplied.
    #[default]
    Installed,
    /// What was there before is being restored.
    Removing,
}

impl Phase {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
    fn is_installed(&self) -> bool {
        *self == Self::Installed
    }
}

/// All homes, by path.
pub(crate) type Homes = BTreeMap<PathBuf, ManagedHome>;

#[derive(Serialize, Deserialize)]
struct HomesFile {
    version: u32,
    homes: Homes,
}

/// The list of homes; a cheap handle. It is read at the first use, and a list that could not be read is neither taken
/// for empty nor written over.
#[derive(Clone, Debug)]
pub(crate) struct ManagedHomes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state_dir: StateDir,
    homes: Mutex<Option<Homes>>,
    /// Codex's items in the keychain, for all that look at them: calls to one keychain keep their order.
    keychain: OnceLock<Store>,
    /// A write failed, so that the file may say something else than the list.
    unsettled: AtomicBool,
}

impl ManagedHomes {
    /// The list in a state directory. Nothing is read yet.
    pub(crate) fn new(state_dir: StateDir) -> Self {
        Self(Arc::new(Inner {
            state_dir,
            homes: Mutex::default(),
            keychain: OnceLock::new(),
            unsettled: AtomicBool::new(false),
        }))
    }

    /// Codex's items in the keychain; connected to when a home may have one.
    pub(crate) fn keychain(&self, ours: &Store) -> Store {
        self.0.keychain.get_or_init(|| ours.of_another_program(SERVICE)).clone()
    }

    /// The state directory that has the list.
    pub(crate) fn state_dir(&self) -> &StateDir {
        &self.0.state_dir
    }

    /// All homes.
    pub(crate) async fn all(&self) -> io::Result<Homes> {
        let mut homes = self.0.homes.lock().await;
        match &*homes {
            Some(homes) => Ok(homes.clone()),
            None => Ok(homes.insert(self.read().await?).clone()),
        }
    }

    /// Changes the list, durably.
    pub(crate) async fn change(&self, change: impl FnOnce(&mut Homes)) -> io::Result<()> {
        let mut homes = self.0.homes.lock().await;
        let before = match homes.take() {
            Some(homes) => homes,
            None => self.read().await?,
        };
        let mut after = before.clone();
        change(&mut after);
        let written = if after == before { Ok(()) } else { self.write(after.clone()).await };
        *homes = Some(if written.is_ok() { after } else { before });
        written
    }

    /// Whether a write failed since the last one that succeeded.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.0.unsettled.load(Ordering::Relaxed)
    }

    /// The file was removed with the state directory.
    pub(crate) fn unsettle(&self) {
        self.0.unsettled.store(true, Ordering::Relaxed);
    }

    /// Writes the list again after a write that failed.
    pub(crate) async fn write_again(&self) -> io::Result<()> {
        let homes = self.0.homes.lock().await;
        match &*homes {
            Some(homes) if self.is_unsettled() => self.write(homes.clone()).await,
            Some(_) | None => Ok(()),
        }
    }

    /// The homes that use a profile follow it to another name.
    pub(crate) async fn rename_profile(&self, from: &ProfileName, to: &ProfileName) -> io::Result<()> {
        self.change(|homes| {
            for home in homes.values_mut().filter(|home| home.profile == *from) {
                home.profile = to.clone();
            }
        })
        .await
    }

    async fn read(&self) -> io::Result<Homes> {
        let path = self.path();
        blocking(move || {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
            let Some(text) = private::read_bounded(&path, MAX_FILE).map_err(named)? else {
                return Ok(Homes::default());
            };
            match serde_json::from_slice::<HomesFile>(&text) {
                Ok(file) => Ok(file.homes),
                Err(error) => {
                    let aside = path.with_extension("json.damaged");
                    error!(%error, aside = %aside.display(), "the list of Codex homes is damaged; install them again");
                    fs::rename(&path, &aside).map_err(named)?;
                    Ok(Homes::default())
                }
            }
        })
        .await
    }

    async fn write(&self, homes: Homes) -> io::Result<()> {
        let (path, state_dir) = (self.path(), self.0.state_dir.clone());
        let file = HomesFile { version: 1, homes };
        let text = serde_json::to_vec_pretty(&file).expect("paths and names have a JSON form");
        let write = move || state_dir.ensure().and_then(|()| private::atomic_write(&path, &text));
        let written = blocking(write).await;
        self.0.unsettled.store(written.is_err(), Ordering::Relaxed);
        written
    }

    fn path(&self) -> PathBuf {
        self.0.state_dir.path().join("codex.json")
    }
}
