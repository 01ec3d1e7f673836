//! The entries of the audit log: which process used which profile. Contains no secret.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ProfileName;

/// One line of the audit log. Equal uses within a minute are several uses of one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// The time of the use, or of the last one if there are several.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub time: Timestamp,
    /// The number of the request, as in the log of the daemon; of the last one if there are
    /// several. Absent if no request caused the use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// What was done.
    pub action: AuditAction,
    /// How often.
    pub count: u64,
    /// The profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// The generation of the credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The id of the share, for a request through one, or for a share that was made or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// The id of the login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// The first segment of a relayed path below the base URL of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The process. Absent for a client on loopback, which the kernel does not name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
}

/// What an audit entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuditAction {
    /// The daemon handed out the headers of a profile, which contain its token or key.
    Headers,
    /// The daemon sent a request to the provider with the credential of a profile.
    Relay,
    /// A client requested a refresh.
    Refresh,
    /// A client started a login.
    LoginStarted,
    /// A login has signed a user in.
    Login,
    /// A client stored a token or key of the user's own.
    TokenStored,
    /// A client signed a profile out.
    SignOut,
    /// A client took a login over from another program.
    Import,
    /// A client gave a login to another program.
    Export,
    /// A client made the daemon supply a Codex home with tokens.
    CodexInstalled,
    /// A client ended the supply of a Codex home.
    CodexUninstalled,
    /// A client made a share.
    Share,
    /// A client ended a share.
    Unshare,
    /// An action that this version of the client does not know.
    #[serde(other)]
    Unknown,
}

/// A process, as the kernel described it when it connected.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Process {
    /// The process id, as the daemon sees it. 0 for a process outside of the daemon's container.
    pub pid: i32,
    /// The user id.
    pub uid: u32,
    /// When the process started. Absent, as everything below, if the process ended before the
    /// daemon could read it, or if the system does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub started_at: Option<Timestamp>,
    /// The path of the executable, in the mount namespace of the process, or the end of a path of
    /// more than 512 characters. Here and in the command name, what is not printable is escaped, as
    /// in `\n`, `\u{1b}` and `\xff`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// The command name, at most 15 bytes. A process can change its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The systemd unit: the one of the user's service manager, else the one of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The id of the outermost container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

impl Process {
    /// A process of which only the ids are known.
    pub const fn of_ids(pid: i32, uid: u32) -> Self {
        Self { pid, uid, started_at: None, executable: None, command: None, unit: None, container: None }
    }
}

/// Where the audit log is, and whether it works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditStatus {
    /// Where the entries go.
    pub to: AuditTarget,
    /// The path of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why the last write failed. The daemon tries again, and serves credentials meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The number of uses that were not recorded, since the start of the daemon.
    pub lost: u64,
}

/// Where audit entries go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuditTarget {
    /// Nowhere.
    #[default]
    Off,
    /// To a file in the state directory.
    File,
    /// To the journal of systemd.
    Journal,
    /// A target that this version of the client does not know.
    #[serde(other)]
    Unknown,
}
