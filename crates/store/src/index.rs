//! What is remembered beside the secrets, and is none: which profiles there are, whose they are, and which store
//! holds them. It is written whole or not at all, and can be rebuilt from the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{Kind, private};

/// The version this program writes and reads.
const VERSION: u32 = 1;

/// The index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    version: u32,
    /// The store that holds the records, once one does.
    pub store: Option<Kind>,
    /// The store that everything was moved from, while it may still hold records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Kind>,
    /// Names under which a record may lie still that is of no use any more.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub discarded: BTreeSet<String>,
    /// The highest generation of any profile that is gone: a new one goes on from there, so that no
    /// entity tag is ever used twice.
    #[serde(default)]
    pub generations: u64,
    /// The run whose last words the service manager keeps, for the very next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<String>,
    /// The profile used when none is named.
    pub default: Option<String>,
    /// The profiles, and whose they are; that is not known of those that the store alone told of.
    #[serde(default)]
    pub profiles: BTreeMap<String, Option<Whose>>,
}

/// Whose a profile is, which its record tells, too: so much has to be known while that cannot be read. Nobody's, if
/// it is a key of somebody's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whose {
    /// The user.
    pub user_id: Option<Box<str>>,
    /// The workspace.
    pub account_id: Option<Box<str>>,
}

/// What a state directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// An index.
    Index(Index),
    /// None yet.
    Missing,
    /// One that cannot be read; it was moved aside, and this says why.
    Damaged(String),
}

impl Default for Index {
    fn default() -> Self {
        Self {
            version: VERSION,
            store: None,
            leaving: None,
            discarded: BTreeSet::new(),
            generations: 0,
            handover: None,
            default: None,
            profiles: BTreeMap::new(),
        }
    }
}

impl Loaded {
    /// The store that is remembered.
    pub fn store(&self) -> Option<Kind> {
        match self {
            Self::Index(index) => index.store,
            Self::Missing | Self::Damaged(_) => None,
        }
    }
}

impl Index {
    /// Reads a state directory's index.
    pub fn load(state_dir: &Path) -> Loaded {
        let path = path(state_dir);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Loaded::Missing,
            Err(error) => return Loaded::Damaged(error.to_string()),
        };
        match serde_json::from_str::<Self>(&text) {
            Ok(index) if index.version == VERSION => Loaded::Index(index.packed()),
            Ok(index) => set_aside(&path, &format!("it has version {}", index.version)),
            Err(error) => set_aside(&path, &error.to_string()),
        }
    }

    /// The same in less room: a map that is filled in order leaves half of each node empty, one that is made of all
    /// at once does not.
    fn packed(self) -> Self {
        Self { profiles: self.profiles.into_iter().collect(), ..self }
    }

    /// Writes the index.
    pub fn save(&self, state_dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        private::atomic_write(&path(state_dir), &text)
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("index.json")
}

fn set_aside(path: &Path, reason: &str) -> Loaded {
    let aside = path.with_extension("json.damaged");
    match fs::rename(path, &aside) {
        Ok(()) => Loaded::Damaged(format!("{reason}; it was moved to {}", aside.display())),
        Err(error) => Loaded::Damaged(format!("{reason}; and it could not be moved aside: {error}")),
    }
}
