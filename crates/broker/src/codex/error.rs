//! Why a command about a Codex home failed.

use std::{io, path::PathBuf};

use authd_api::ProfileName;
use authd_oauth::CodexError;
use authd_store::StoreError;

use crate::{registry::RegistryError, snapshot::ProfileSnapshot};

/// Why a command about a Codex home failed.
#[derive(Debug)]
pub enum CodexHomeError {
    /// No path is given, and `HOME` is not set.
    NoHome,
    /// The path is not absolute.
    Relative(PathBuf),
    /// The file cannot be read or written.
    File(PathBuf, io::Error),
    /// The home directory does not exist.
    HomeMissing(PathBuf),
    /// Another program, usually Codex, holds this lock file of the login.
    Locked(PathBuf),
    /// The file has other names (hard links), which would keep the old login.
    HardLinked(PathBuf, u64),
    /// The file is read-only.
    ReadOnly(PathBuf),
    /// The list of homes cannot be read or written.
    Homes(io::Error),
    /// An earlier change of this home is not finished.
    Interrupted(PathBuf),
    /// The file is not a login that can be imported.
    Login(PathBuf, CodexError),
    /// The file holds no sign-in.
    NotSignedIn(PathBuf),
    /// The file is in the external form: another program owns the login.
    External(PathBuf),
    /// The same user is signed in under this profile.
    AlreadySignedIn(ProfileName),
    /// The refresh of the imported login failed. The file is unchanged.
    Unusable(PathBuf, Box<ProfileSnapshot>),
    /// authd does not manage this home.
    NotManaged(PathBuf),
    /// The login of this home became this profile, so there is nothing to restore.
    Taken(PathBuf, ProfileName),
    /// The target holds another login, which would be lost.
    Occupied(PathBuf),
    /// The earlier login of this home is in the store and would never be restored.
    Unrestored(PathBuf),
    /// The profile has no workspace id, which Codex needs.
    NoWorkspace(ProfileName),
    /// The profile is of a defined provider, whose tokens Codex cannot use.
    OtherProvider(ProfileName),
    /// The registry failed for this profile.
    Registry(ProfileName, RegistryError),
    /// The store failed.
    Store(StoreError),
    /// The daemon stops, or the profile was removed or replaced meanwhile.
    Stopping,
}

impl CodexHomeError {
    /// Wraps an error of the registry for this profile.
    pub(super) fn registry(name: &ProfileName) -> impl Fn(RegistryError) -> Self + use<> {
        let name = name.clone();
        move |error| Self::Registry(name.clone(), error)
    }
}

impl From<StoreError> for CodexHomeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
