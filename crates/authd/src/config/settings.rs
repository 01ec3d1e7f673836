//! The validated configuration.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use authd_api::AuditTarget;
use authd_broker::ProviderDefinitions;
use authd_oauth::{ClientIdentity, ModePreference, Network, Provider};
use serde::Deserialize;

/// The validated configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The built-in provider.
    pub(crate) provider: Provider,
    /// The definitions of other providers.
    pub(crate) providers: Arc<ProviderDefinitions>,
    /// The client identity that requests carry.
    pub(crate) client: ClientIdentity,
    /// Whether relayed requests carry the client identity even if they have their own.
    pub(crate) override_client: bool,
    /// The default model of `authctl ask`.
    pub(crate) model: Option<String>,
    /// The `OpenAI-Organization` header.
    pub(crate) organization: Option<String>,
    /// The `OpenAI-Project` header.
    pub(crate) project: Option<String>,
    /// The callback server.
    pub(crate) callback: CallbackConfig,
    /// Logins.
    pub(crate) login: LoginConfig,
    /// Refreshes.
    pub(crate) refresh: RefreshConfig,
    /// The store.
    pub(crate) store: StoreConfig,
    /// The network.
    pub(crate) network: Network,
    /// The socket.
    pub(crate) socket: SocketConfig,
    /// The port of the metrics.
    pub(crate) metrics: MetricsConfig,
    /// The quotas.
    pub(crate) quota: QuotaConfig,
    /// The hooks.
    pub(crate) hooks: HookConfig,
    /// The audit log.
    pub(crate) audit: AuditConfig,
    /// The log.
    pub log: LogConfig,
}

/// The callback server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallbackConfig {
    /// The addresses that it listens on.
    pub(crate) addresses: Vec<IpAddr>,
    /// Its ports, in the order they are tried; 0 is any free one.
    pub(crate) ports: Vec<u16>,
    /// How long the first port is yielded to another program.
    pub(crate) yield_for: Duration,
    /// Lifetime of a browser login.
    pub(crate) login_lifetime: Duration,
}

/// Logins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoginConfig {
    /// The mode of a login that requests none.
    pub(crate) mode: ModePreference,
    /// The workspaces that are accepted; empty for any.
    pub(crate) workspaces: Vec<String>,
}

/// Refreshes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefreshConfig {
    /// How much longer a credential must last when a request says nothing.
    pub(crate) min_ttl: Duration,
    /// Longest time a request waits for a refresh.
    pub(crate) wait: Duration,
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreConfig {
    /// Whether a state directory without profiles uses the database of the fleet.
    pub(super) is_fleet_preferred: bool,
    /// The store of this machine.
    pub(super) local: authd_store::StorePreference,
    pub(super) deadline: Duration,
    pub(super) service: String,
    pub(super) passphrase_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) memory_control: Option<PathBuf>,
    pub(super) postgres: PostgresConfig,
}

/// The kind of store that `[store] kind` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StoreChoice {
    /// The keychain if it works, otherwise files.
    #[default]
    Auto,
    /// The keychain.
    Keychain,
    /// age-encrypted files.
    File,
    /// Memory: records are lost when the daemon ends.
    Memory,
    /// The database of a fleet for the profiles, and the store that `[store.postgres] local` names
    /// for everything else.
    Postgres,
}

/// The database of a fleet. `fleet` reads the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PostgresConfig {
    /// The file with the connection string.
    pub(super) url_file: Option<PathBuf>,
    /// The file with the identity that seals the records.
    pub(super) key_file: Option<PathBuf>,
    /// The schema of the tables.
    pub(super) schema: String,
    /// The name of this node.
    pub(super) node: Arc<str>,
    /// Whether connections are encrypted.
    pub(super) tls: authd_fleet::Tls,
    /// A file of CA certificates; without it, that of the network.
    pub(super) ca_file: Option<PathBuf>,
    /// The time between two polls for changes whose notification was lost.
    pub(super) poll: Duration,
}

/// The socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SocketConfig {
    /// How many connections one process may hold.
    pub(crate) max_connections: usize,
    /// Longest idle time of a connection.
    pub(crate) header_timeout: Duration,
}

/// The port of the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MetricsConfig {
    /// The address, on loopback; `None` for no port.
    pub(crate) listen: Option<SocketAddr>,
}

/// The quotas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuotaConfig {
    /// How much is left of a window, in percent, when it counts as low; 0 for never.
    pub(crate) low: u8,
}

/// The audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuditConfig {
    /// Where the entries go.
    pub(crate) to: AuditTarget,
    /// Longest file, in bytes.
    pub(crate) size: u64,
    /// How many files are kept.
    pub(crate) files: usize,
}

impl AuditConfig {
    /// Most files that can be kept.
    pub(crate) const MOST_FILES: usize = 50;
}

/// Where the configuration sends audit entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AuditDestination {
    /// Nowhere.
    Off,
    /// To a file in the state directory.
    File,
    /// To the journal of systemd.
    Journal,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The filter, in the syntax of tracing-subscriber's `Targets`.
    pub(crate) filter: String,
    /// The format.
    pub(crate) format: LogFormat,
}

/// The format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// Without timestamps under journald, which adds them; else with timestamps.
    #[default]
    Auto,
    /// Without timestamps.
    Plain,
    /// One JSON object a line.
    Json,
}

/// What to do when a user has to act.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HookConfig {
    /// The command for a profile that needs a new sign-in; empty for none.
    pub(crate) login_required: Vec<String>,
    /// The command for a profile whose newest credential cannot be saved; empty for none.
    pub(crate) unsaved: Vec<String>,
    /// The command for windows of a quota that have become low; empty for none.
    pub(crate) quota_low: Vec<String>,
    /// Whether to show desktop notifications.
    pub(crate) notify: bool,
}

impl StoreConfig {
    /// Logs a warning if another store than the configured one holds the credentials. The first
    /// write chose it.
    pub(crate) fn warn_if_other(&self, remembered: Option<authd_store::Kind>) {
        if let (Some(wanted), Some(held)) = (self.local.kind(), remembered)
            && wanted != held
        {
            tracing::warn!(%held, %wanted, "another store holds the credentials; to move them: authctl store migrate");
        }
    }

    /// The file of the key, if the configuration names one.
    pub(crate) fn key_file(&self) -> Option<&Path> {
        self.key_file.as_deref()
    }

    /// The files that the store reads, as far as the configuration names them.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let PostgresConfig { url_file, key_file, ca_file, .. } = &self.postgres;
        let files = [&self.passphrase_file, &self.key_file, url_file, key_file, ca_file];
        files.into_iter().flatten().map(PathBuf::as_path)
    }

    /// The configuration of the store crate, with files below this state directory.
    pub(crate) fn for_state_dir(&self, state_dir: &Path) -> authd_store::Config {
        authd_store::Config {
            kind: self.local,
            service: self.service.clone(),
            key: authd_store::KeySource {
                credentials_directory: credentials_directory(),
                passphrase_file: self.passphrase_file.clone(),
                key_file: self.key_file.clone().unwrap_or_else(|| state_dir.join("store.key")),
            },
            deadline: self.deadline,
            memory_control: self.memory_control.clone(),
        }
    }
}

/// The directory with the credentials that systemd passes to the service.
pub(super) fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}
