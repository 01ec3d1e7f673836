//! The stores of a node of a fleet.

use serde::{Deserialize, Serialize};

use super::{StoreKind, StoreState};

/// The store of this machine, which has everything but the profiles: pending logins, registered
/// clients and Codex's own logins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LocalStore {
    /// The kind of store; `null` until one works.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub kind: Option<StoreKind>,
    /// Whether the store works.
    pub state: StoreState,
    /// Where the credentials are, or what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The error of the keychain, if the daemon chose files because of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
}

/// The database of the fleet, as this node sees it. The counters start with the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FleetStatus {
    /// The name of this node.
    pub node: String,
    /// The server and its database, without the password.
    pub server: String,
    /// The schema of the tables.
    pub schema: String,
    /// The version of the server, such as `15.4`; `null` before the first connection.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub server_version: Option<String>,
    /// Whether the database can be used.
    pub state: FleetState,
    /// Why the database cannot be used, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The duration of the last call that succeeded, in milliseconds, rounded up.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub latency_ms: Option<u64>,
    /// How far the clock of the server is ahead of this machine's, in milliseconds.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub clock_ahead_ms: Option<i64>,
    /// The time since the database last answered, in milliseconds.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub lag_ms: Option<u64>,
    /// The renewals that this node was allowed to make.
    pub claims_granted: u64,
    /// The renewals that had to wait, for another node for example.
    pub claims_waited: u64,
    /// The renewals with a refresh token that a lost node may have used before.
    pub takeovers: u64,
    /// The writes that were based on an outdated state.
    pub conflicts: u64,
    /// The connections that replaced a lost one.
    pub reconnections: u64,
}

/// The largest difference between the clocks that needs no mention, in milliseconds. The rules of a
/// fleet do not depend on it, but the expiry of a token does.
const MAX_CLOCK_DIFFERENCE: u64 = 5_000;

impl FleetStatus {
    /// The clock of the database compared with this machine's, in words, once it is known.
    pub fn clock_text(&self) -> Option<String> {
        let ahead = self.clock_ahead_ms?;
        let side = if ahead < 0 { "behind" } else { "ahead of" };
        let difference = ahead.unsigned_abs();
        let (seconds, tenths) = (difference / 1000, difference % 1000 / 100);
        Some(format!("the clock of the database is {seconds}.{tenths} s {side} this machine's"))
    }

    /// Whether the clocks differ so much that the user should set them.
    pub fn clocks_differ(&self) -> bool {
        self.clock_ahead_ms.is_some_and(|ahead| ahead.unsigned_abs() > MAX_CLOCK_DIFFERENCE)
    }
}

/// Whether the database of a fleet can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FleetState {
    /// The daemon has not contacted it yet.
    Connecting,
    /// The last call succeeded.
    Connected,
    /// The last call failed. The daemon tries again by itself.
    Unavailable,
    /// A state that this version of the client does not know.
    #[serde(other)]
    Unknown,
}
