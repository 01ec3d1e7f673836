//! An unfinished move of a grant. It is saved with the record before the first step of the move, so
//! that the daemon's next start can finish the move or undo it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The move under way. An intent that a newer authd wrote makes the record unreadable for this one
/// ([`super::RecordError::UnknownIntent`]): it must not serve a grant that may have another owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Intent {
    /// The record is being copied to another profile name. If a record with the same grant id
    /// exists under that name, the rename happened, and this record is to be deleted. Otherwise it
    /// did not.
    RenameTo {
        /// The new profile name.
        name: String,
    },
    /// The record is the copy that a rename made of the one under `name`. While that one exists
    /// with the same grant id, the rename is not finished, and only one of the two may be used.
    CopyOf {
        /// The old profile name.
        name: String,
    },
    /// A rename failed after the copy was written. The record under `name` with the same grant id
    /// is to be deleted; this record stays.
    DiscardCopy {
        /// The profile name of the copy.
        name: String,
    },
    /// The grant is being written to a login location of the Codex CLI.
    ExportTo {
        /// The Codex home directory.
        #[serde(with = "any_path")]
        home: PathBuf,
        /// The login file.
        #[serde(with = "any_path")]
        path: PathBuf,
        /// Whether the login is a keychain item instead of the file.
        item: bool,
    },
    /// The grant was taken from a login location of the Codex CLI, and the copy there can still
    /// spend the refresh token.
    ImportFrom {
        /// The Codex home directory.
        #[serde(with = "any_path")]
        home: PathBuf,
        /// The login file.
        #[serde(with = "any_path")]
        path: PathBuf,
        /// Whether the login is a keychain item instead of the file.
        item: bool,
        /// The fingerprint of the refresh token in that copy
        /// ([`crate::RefreshToken::fingerprint`]). A record with another token has been refreshed
        /// since.
        token: String,
    },
}

impl Intent {
    /// Whether the grant may be copied at any moment, so that its refresh token must not change.
    pub(crate) fn pins_token(&self) -> bool {
        match self {
            Self::RenameTo { .. } | Self::CopyOf { .. } | Self::ExportTo { .. } => true,
            Self::DiscardCopy { .. } | Self::ImportFrom { .. } => false,
        }
    }
}

/// A path as JSON: text if it is UTF-8, else its bytes. Every path survives the round trip.
mod any_path {
    use std::{
        ffi::OsString,
        os::unix::ffi::{OsStrExt, OsStringExt},
        path::{Path, PathBuf},
    };

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum PathForm {
        Utf8(String),
        Bytes(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => text.serialize(serializer),
            None => path.as_os_str().as_bytes().serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Ok(match PathForm::deserialize(deserializer)? {
            PathForm::Utf8(text) => text.into(),
            PathForm::Bytes(bytes) => OsString::from_vec(bytes).into(),
        })
    }
}
