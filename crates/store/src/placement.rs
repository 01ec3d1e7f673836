//! `store.json`: which store holds the records of a state directory. It is written before the first
//! record is saved, so a store that holds records is always known. An unreadable or damaged file
//! makes the store unavailable. It never counts as missing and is never overwritten.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Kind, LegacyIndex, StateDir, StoreError, file, legacy_index, private};

/// The version of a file of one machine.
const VERSION: u32 = 1;

/// The version of a file that names a fleet. An authd that knows no fleet refuses it, instead of
/// finding no profiles.
const FLEET_VERSION: u32 = 2;

/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 16;

/// Where the records of the profiles are. All other records are always in the store of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProfilePlace {
    /// In the store of this machine.
    #[default]
    Local,
    /// In the store of this machine, and perhaps copies in the database of the fleet: a move there
    /// has begun.
    ToFleet,
    /// In the database of the fleet.
    Fleet,
    /// In the database of the fleet, and perhaps copies in the store of this machine: a move back
    /// has begun.
    ToLocal,
}

impl ProfilePlace {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires this signature")]
    fn is_local(&self) -> bool {
        *self == Self::Local
    }
}

/// Where the records are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placement {
    /// The store in use, once it holds a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<Kind>,
    /// A store with copies from an interrupted or finished migration. Recovery deletes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) other: Option<Kind>,
    /// Why files were chosen instead of the keychain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fallback: Option<String>,
    /// Where the records of the profiles are.
    #[serde(default, skip_serializing_if = "ProfilePlace::is_local")]
    pub(crate) profiles: ProfilePlace,
}

impl Placement {
    /// The memory store is never remembered, and the store in use holds no copies.
    fn new(kind: Option<Kind>, other: Option<Kind>) -> Self {
        let lasting = |kind: Option<Kind>| kind.filter(|kind| *kind != Kind::Memory);
        let kind = lasting(kind);
        let other = lasting(other).filter(|other| Some(*other) != kind);
        Self { kind, other, fallback: None, profiles: ProfilePlace::Local }
    }

    /// The records of this machine are in other stores; those of the profiles stay where they are.
    pub(crate) fn with_stores(&self, kind: Kind, other: Kind) -> Self {
        Self { profiles: self.profiles, ..Self::new(Some(kind), Some(other)) }
    }

    fn version(&self) -> u32 {
        if self.profiles.is_local() { VERSION } else { FLEET_VERSION }
    }

    fn is_same_place(&self, other: &Self) -> bool {
        (self.kind, self.other) == (other.kind, other.other)
    }
}

/// The JSON document in `store.json`.
#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    #[serde(flatten)]
    placement: Placement,
}

/// `store.json` and its content.
#[derive(Debug)]
pub(crate) struct PlacementFile {
    state_dir: StateDir,
    content: Placement,
    /// Whether the file is known to hold the content. After a failed write it holds the old content
    /// or the new one.
    durable: bool,
}

impl PlacementFile {
    /// Reads the file. If it does not exist, its content comes from the index of an earlier authd,
    /// or from the presence of encrypted records.
    pub(crate) fn read(state_dir: StateDir) -> Result<(Self, Option<LegacyIndex>), StoreError> {
        let legacy = legacy_index::read(state_dir.path())?;
        let path = path(&state_dir);
        let read = private::read_bounded(&path, MAX_FILE)?;
        let (content, durable) = match (read, &legacy) {
            (Some(text), _) => (parse(&path, &text)?, true),
            (None, Some(index)) => (Placement::new(index.store, index.leaving), false),
            (None, None) => (Placement::default(), false),
        };
        let mut file = Self { state_dir, content, durable };
        if !durable && file.content != Placement::default() {
            file.write(file.content.clone())?;
        }
        if file.content.kind.is_none() && file::has_records(file.state_dir.path())? {
            let profiles = file.content.profiles;
            file.content = Placement { profiles, ..Placement::new(Some(Kind::File), file.content.other) };
        }
        Ok((file, legacy))
    }

    pub(crate) fn get(&self) -> &Placement {
        &self.content
    }

    /// Makes sure that the file names this kind, and why it was chosen. Call it before saving a
    /// record to that store.
    pub(crate) fn remember(&mut self, kind: Kind, fallback: Option<&str>) -> Result<(), StoreError> {
        self.state_dir.ensure()?;
        let is_absent = private::is_absent(&path(&self.state_dir))?;
        if self.durable && !is_absent && self.content.kind == Some(kind) {
            return Ok(());
        }
        let fallback = fallback.map(str::to_owned);
        self.write(Placement { kind: Some(kind), fallback, ..self.content.clone() })
    }

    /// Records where the records of the profiles are.
    pub(crate) fn set_profiles(&mut self, profiles: ProfilePlace) -> Result<(), StoreError> {
        self.state_dir.ensure()?;
        let is_absent = private::is_absent(&path(&self.state_dir))?;
        // An absent file means local.
        let is_written = if is_absent { profiles.is_local() } else { self.durable };
        if is_written && self.content.profiles == profiles {
            return Ok(());
        }
        self.write(Placement { profiles, ..self.content.clone() })
    }

    /// Replaces the content durably.
    pub(crate) fn write(&mut self, placement: Placement) -> Result<(), StoreError> {
        let document = Document { version: placement.version(), placement };
        let text = serde_json::to_vec(&document).map_err(StoreError::unavailable)?;
        self.durable = false;
        self.state_dir.ensure()?;
        private::atomic_write(&path(&self.state_dir), &text)?;
        (self.content, self.durable) = (document.placement, true);
        Ok(())
    }
}

fn path(state_dir: &StateDir) -> PathBuf {
    state_dir.path().join("store.json")
}

fn parse(path: &Path, text: &[u8]) -> Result<Placement, StoreError> {
    let problem = match serde_json::from_slice::<Document>(text) {
        Ok(Document { version, placement })
            if version == placement.version()
                && Placement::new(placement.kind, placement.other).is_same_place(&placement) =>
        {
            return Ok(placement);
        }
        Ok(Document { version, .. }) if version > FLEET_VERSION => {
            format!("was written by a newer authd (version {version}); install that one again")
        }
        Ok(_) => "is damaged".to_owned(),
        Err(error) => format!("is damaged ({error})"),
    };
    Err(StoreError::unavailable(format!(
        "{} {problem}. authd does not overwrite it, because it names the store that holds the logins; \
         restore it, or write {{\"version\":1,\"kind\":\"file\"}} (or \"keychain\") into it, or \
         {{\"version\":2,\"profiles\":\"fleet\"}} if the logins are in PostgreSQL",
        path.display()
    )))
}
