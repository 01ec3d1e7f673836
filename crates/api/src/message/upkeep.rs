//! The messages about looking after things: diagnosis, moves of the store, logins shared with other
//! programs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{StoreKind, StoreStatus};
use crate::{ErrorCode, ProfileName};

/// `GET /v1/diagnosis`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Diagnosis {
    /// What was looked at.
    pub findings: Vec<Finding>,
}

/// How one thing is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finding {
    /// What was looked at: `store`, `callback`, a host, a profile …
    pub check: String,
    /// Whether it is well.
    pub state: FindingState,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// What a request that meets this fails with.
    pub code: Option<ErrorCode>,
}

/// Whether a thing is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FindingState {
    /// It is.
    Ok,
    /// It works, but not as it should.
    Warning,
    /// It does not work.
    Failed,
    /// A state that this version of the client does not know.
    #[serde(other)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    Unknown,
}

impl Finding {
    /// The same, with what to do about it.
    #[must_use]
    pub fn remedy(self, remedy: &str) -> Self {
        Self { remedy: Some(remedy.to_owned()), ..self }
    }
}

/// The body of `POST /v1/store/migrate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MigrateBody {
    /// The store that everything is to move to: `keychain` or `file`.
    #[cfg_attr(feature = "schema", schemars(with = "crate::openapi::Lasting"))]
    pub to: StoreKind,
}

/// What moving everything came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Migrated {
    /// How many records were moved: profiles, and logins that are pending.
    pub records: usize,
    /// Why the old store still holds its copies, if it does; they are deleted at the next start.
    pub left_behind: Option<String>,
    /// The store in use now.
    pub store: StoreStatus,
}

/// The body of `POST /v1/import`: takes over another program's login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ImportBody {
    /// Whose login.
    pub source: Program,
    /// Its login file, from the root; without one, where the program keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::openapi::RootedPath>"))]
    pub path: Option<PathBuf>,
    /// The profile that it becomes; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
}

/// The body of `POST /v1/profiles/{profile}/export`: gives the login to another program, and forgets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExportBody {
    /// To whom.
    pub target: Program,
    /// Its login file, from the root; without one, where the program keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::openapi::RootedPath>"))]
    pub path: Option<PathBuf>,
}

/// A program whose login files authd knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// The Codex CLI.
    Codex,
}

/// The body of `PUT` and `DELETE /v1/profiles/{profile}/codex`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CodexBody {
    /// The home directory of Codex, from the root; without one, `~/.codex`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::openapi::RootedPath>"))]
    pub home: Option<PathBuf>,
}

/// A login file of another program, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LoginFile {
    /// The profile.
    pub profile: ProfileName,
    /// The file.
    pub path: PathBuf,
    /// What became of the file, once nobody keeps it supplied any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<LoginFileOutcome>,
}

/// What became of a login file that is supplied no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LoginFileOutcome {
    /// What was there before is there again.
    Restored,
    /// There was nothing to restore, and nothing is there now.
    Removed,
    /// Somebody signed in there meanwhile: that login was left as it is.
    LeftAlone,
    /// An outcome that this version of the client does not know.
    #[serde(other)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    Unknown,
}
