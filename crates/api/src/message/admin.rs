//! The messages of administration: diagnosis, store migration, and logins of other programs.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{StoreKind, StoreStatus};
use crate::{ErrorCode, Problem, ProfileName};

/// The response to `GET /v1/diagnosis`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Diagnosis {
    /// The findings of all checks.
    pub findings: Vec<Finding>,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Finding {
    /// What was checked: `store`, `callback`, a host, a profile …
    pub check: String,
    /// Whether it works.
    pub state: FindingState,
    /// The details.
    pub detail: String,
    /// What the user can do.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub remedy: Option<String>,
    /// The error code of requests that fail for this reason.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub code: Option<ErrorCode>,
}

/// Whether the checked thing works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FindingState {
    /// It works.
    Ok,
    /// It works with restrictions.
    Warning,
    /// It does not work.
    Failed,
    /// A state that this version of the client does not know.
    #[serde(other)]
    Unknown,
}

impl Finding {
    fn new(check: &str, state: FindingState, detail: String, code: Option<ErrorCode>) -> Self {
        Self { check: check.to_owned(), state, detail, remedy: None, code }
    }

    /// It works.
    pub fn ok(check: &str, detail: String) -> Self {
        Self::new(check, FindingState::Ok, detail, None)
    }

    /// It works with restrictions.
    pub fn warning(check: &str, detail: String) -> Self {
        Self::new(check, FindingState::Warning, detail, None)
    }

    /// It does not work, and requests fail with this code.
    pub fn failed(check: &str, detail: String, code: ErrorCode) -> Self {
        Self::new(check, FindingState::Failed, detail, Some(code))
    }

    /// Requests fail with this problem.
    pub fn from_problem(check: &str, problem: &Problem) -> Self {
        let finding = Self::failed(check, problem.detail.clone(), problem.code);
        Self { remedy: problem.hint.clone(), ..finding }
    }

    /// Sets the remedy.
    #[must_use]
    pub fn remedy(self, remedy: &str) -> Self {
        Self { remedy: Some(remedy.to_owned()), ..self }
    }
}

/// The body of `POST /v1/store/migrate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MigrateBody {
    /// The target store: `keychain`, `file` or `postgres`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub to: StoreKind,
}

/// The result of a store migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Migrated {
    /// The number of moved records: profiles and pending logins.
    pub records: usize,
    /// Why the old store still holds records, if it does. The daemon deletes copies, and moves the
    /// rest between a machine and its fleet, later.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub left_behind: Option<String>,
    /// The store in use now.
    pub store: StoreStatus,
}

/// The body of `POST /v1/import`: imports another program's login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImportBody {
    /// The other program.
    pub source: Program,
    /// The absolute path of its login file. The default is the program's own location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, pattern = "^/"))]
    pub path: Option<PathBuf>,
    /// The profile to create; `default` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
}

/// The body of `POST /v1/profiles/{profile}/export`: exports the login to another program and
/// deletes the profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ExportBody {
    /// The other program.
    pub target: Program,
    /// The absolute path of its login file. The default is the program's own location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, pattern = "^/"))]
    pub path: Option<PathBuf>,
}

/// A program whose login files authd can read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// The Codex CLI.
    Codex,
}

/// The body of `PUT` and `DELETE /v1/profiles/{profile}/codex`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CodexBody {
    /// The absolute path of the Codex home. The default is `~/.codex`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, pattern = "^/"))]
    pub home: Option<PathBuf>,
}

/// The response to `GET /v1/codex`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CodexHomes {
    /// The managed Codex homes, sorted by path.
    pub homes: Vec<CodexHome>,
}

/// A Codex home that authd supplies with access tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CodexHome {
    /// The home directory of Codex.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub home: PathBuf,
    /// The login file; the home if Codex keeps its login in the keychain.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub path: PathBuf,
    /// Whether Codex keeps its login in the keychain.
    pub keychain: bool,
    /// The profile that the home uses.
    pub profile: ProfileName,
    /// What the home held when authd last looked.
    pub state: CodexHomeState,
    /// The target of the login file, if that is a symbolic link.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required))]
    pub link: Option<PathBuf>,
    /// When authd last wrote the login.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime, required))]
    pub last_written: Option<Timestamp>,
    /// Why the login is not up to date.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub last_error: Option<Problem>,
}

/// What a managed Codex home holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CodexHomeState {
    /// The login that authd wrote.
    Present,
    /// No login.
    Missing,
    /// A login of a user or of another program, which authd does not overwrite.
    ForeignLogin,
    /// The login cannot be read.
    Unreadable,
    /// authd has not looked yet.
    Pending,
    /// A state that this version of the client does not know.
    #[serde(other)]
    Unknown,
}

/// A login file of another program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoginFile {
    /// The profile.
    pub profile: ProfileName,
    /// The file.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub path: PathBuf,
    /// What happened to the file when authd stopped managing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<LoginFileOutcome>,
}

/// What happened to a login file when authd stopped managing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LoginFileOutcome {
    /// The previous login was restored.
    Restored,
    /// There was no previous login, and the file was removed.
    Removed,
    /// The file contains a newer login of the program and was not changed.
    LeftAlone,
    /// An outcome that this version of the client does not know.
    #[serde(other)]
    Unknown,
}
