//! `store.json`: which store holds the records of a state directory. It is written before the first record
//! is saved, so a store that holds records is always known. An unreadable or damaged file makes the store
//! unavailable; it is never taken as missing and never overwritten.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Kind, LegacyIndex, StateDir, StoreError, file, legacy_index, private};

/// The version that this program reads and writes.
const VERSION: u32 = 1;

/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 16;

/// Where the records are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    /// The store in use, once it holds a record.
    pub(crate) kind: Option<Kind>,
    /// A store with copies that an interrupted or finished migration left; they are to be deleted.
    pub(crate) other: Option<Kind>,
}

impl Placement {
    /// A placement. The memory store is never remembered, and the store in use holds no leftovers.
    pub(crate) fn new(kind: Option<Kind>, other: Option<Kind>) -> Self {
        let lasting = |kind: Option<Kind>| kind.filter(|kind| *kind != Kind::Memory);
        let kind = lasting(kind);
        Self { kind, other: lasting(other).filter(|other| Some(*other) != kind) }
    }
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other: Option<Kind>,
}

/// The file and its content.
#[derive(Debug)]
pub(crate) struct PlacementFile {
    state_dir: StateDir,
    content: Placement,
    /// Whether the file is known to hold the content. After a failed write it may hold either.
    durable: bool,
}

impl PlacementFile {
    /// Reads the file. If there is none, an index of an earlier authd tells, or the sealed records do.
    pub(crate) fn read(state_dir: StateDir) -> Result<(Self, Option<LegacyIndex>), StoreError> {
        let legacy = legacy_index::read(state_dir.path())?;
        let path = path(&state_dir);
        let read = private::read_bounded(&path, MAX_FILE).map_err(StoreError::unavailable)?;
        let (content, durable) = match (read, &legacy) {
            (Some(text), _) => (parse(&path, &text)?, true),
            (None, Some(index)) => (Placement::new(index.store, index.leaving), false),
            (None, None) => (Placement::default(), false),
        };
        let mut file = Self { state_dir, content, durable };
        if !durable && content != Placement::default() {
            file.write(content)?;
        }
        if file.content.kind.is_none() && file::holds_records(file.state_dir.path())? {
            file.content = Placement::new(Some(Kind::File), file.content.other);
        }
        Ok((file, legacy))
    }

    /// The content.
    pub(crate) fn get(&self) -> Placement {
        self.content
    }

    /// Makes sure that the file names this kind, before a record is saved to it.
    pub(crate) fn remember(&mut self, kind: Kind) -> Result<(), StoreError> {
        self.state_dir.ensure().map_err(StoreError::unavailable)?;
        let gone = private::is_absent(&path(&self.state_dir)).map_err(StoreError::unavailable)?;
        if self.durable && !gone && self.content.kind == Some(kind) {
            return Ok(());
        }
        self.write(Placement { kind: Some(kind), ..self.content })
    }

    /// Replaces the content, durably.
    pub(crate) fn write(&mut self, content: Placement) -> Result<(), StoreError> {
        let Placement { kind, other } = content;
        let text = serde_json::to_vec(&Written { version: VERSION, kind, other })
            .map_err(|error| StoreError::Unavailable { detail: error.to_string() })?;
        self.durable = false;
        self.state_dir
            .ensure()
            .and_then(|()| private::atomic_write(&path(&self.state_dir), &text))
            .map_err(StoreError::unavailable)?;
        (self.content, self.durable) = (content, true);
        Ok(())
    }
}

fn path(state_dir: &StateDir) -> PathBuf {
    state_dir.path().join("store.json")
}

fn parse(path: &Path, text: &[u8]) -> Result<Placement, StoreError> {
    let problem = match serde_json::from_slice::<Written>(text) {
        Ok(Written { version: VERSION, kind, other })
            if kind != Some(Kind::Memory)
                && other != Some(Kind::Memory)
                && (kind.is_none() || kind != other) =>
        {
            return Ok(Placement { kind, other });
        }
        Ok(Written { version, .. }) if version > VERSION => {
            format!("was written by a newer authd (version {version}); install that one again")
        }
        Ok(_) => "is damaged".to_owned(),
        Err(error) => format!("is damaged ({error})"),
    };
    Err(StoreError::Unavailable {
        detail: format!(
            "{} {problem}. It says which store holds the logins, so it is left alone; restore it, or write \
             {{\"version\":1,\"kind\":\"file\"}} (or \"keychain\") into it",
            path.display()
        ),
    })
}
