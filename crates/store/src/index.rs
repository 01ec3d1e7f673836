//! What is remembered beside the secrets, and is none: which profiles there are, whose they are, and which store
//! holds them. It is written whole or not at all, and can be rebuilt from the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    num::ParseIntError,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

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
    #[serde(default, deserialize_with = "profiles")]
    pub profiles: BTreeMap<String, Option<Whose>>,
}

/// Whose a profile is: a mark that is the same for the same person, and tells nobody who that is. Who it is stands in
/// the record; this is for the time when that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Whose([u8; 16]);

impl From<[u8; 16]> for Whose {
    fn from(mark: [u8; 16]) -> Self {
        Self(mark)
    }
}

impl From<Whose> for String {
    fn from(Whose(mark): Whose) -> Self {
        format!("{:032x}", u128::from_be_bytes(mark))
    }
}

impl TryFrom<String> for Whose {
    type Error = ParseIntError;

    fn try_from(text: String) -> Result<Self, ParseIntError> {
        u128::from_str_radix(&text, 16).map(|mark| Self(mark.to_be_bytes()))
    }
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
            Ok(index) if index.version == VERSION => Loaded::Index(index),
            Ok(index) => set_aside(&path, &format!("it has version {}", index.version)),
            Err(error) => set_aside(&path, &error.to_string()),
        }
    }

    /// Writes the index.
    pub fn save(&self, state_dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        private::atomic_write(&path(state_dir), &text)
    }
}

/// The profiles as written. What another version says of whose they are is not known to this one. They are put into
/// the map all at once: one that is filled in order leaves half of each node empty.
fn profiles<'de, D: Deserializer<'de>>(written: D) -> Result<BTreeMap<String, Option<Whose>>, D::Error> {
    let written = BTreeMap::<String, Value>::deserialize(written)?;
    Ok(written.into_iter().map(|(name, whose)| (name, serde_json::from_value(whose).ok())).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_a_profile_is_comes_back_and_what_another_version_says_of_it_is_not_known() {
        let whose = Some(Whose::from([7; 16]));
        let index = Index {
            profiles: BTreeMap::from([("a".to_owned(), whose), ("b".to_owned(), None)]),
            ..Index::default()
        };
        let text = serde_json::to_string(&index).unwrap();
        assert!(text.contains(&"07".repeat(16)), "{text}");
        assert_eq!(serde_json::from_str::<Index>(&text).unwrap(), index);
        for other in [r#"{"user_id":"u"}"#, r#""no mark""#, "7"] {
            let written = format!(r#"{{"version":1,"store":null,"default":"a","profiles":{{"a":{other}}}}}"#);
            let read: Index = serde_json::from_str(&written).unwrap();
            assert_eq!((read.default.as_deref(), read.profiles["a"]), (Some("a"), None), "{other}");
        }
    }
}
