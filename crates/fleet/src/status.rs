//! The state of the database as this node sees it.

use std::time::{Duration, Instant};

use authd_store::StoreError;
use jiff::SignedDuration;
use tokio::sync::watch;

/// Whether the database can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseState {
    /// No call has ended yet.
    Connecting,
    /// The last call succeeded.
    Connected,
    /// The last call failed.
    Unavailable {
        /// The cause, and what to do.
        detail: String,
    },
}

/// What a node did since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Claims that were granted.
    pub claims_granted: u64,
    /// Claims that had to wait.
    pub claims_waited: u64,
    /// Granted claims on a token that may have been sent before.
    pub takeovers: u64,
    /// Writes that were based on an outdated state.
    pub conflicts: u64,
    /// Connections that replaced a lost one.
    pub reconnections: u64,
}

/// The state of the database as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetStatus {
    /// Whether the database can be used.
    pub state: DatabaseState,
    /// The server's version, such as `15.4`.
    pub server_version: Option<String>,
    /// How far the database's clock is ahead of this machine's.
    pub clock_ahead: Option<SignedDuration>,
    /// The duration of the last call that succeeded.
    pub latency: Option<Duration>,
    /// When the database last answered.
    pub last_contact: Option<Instant>,
    /// What this node did.
    pub counters: Counters,
}

/// The owner of the status.
#[derive(Debug)]
pub(crate) struct StatusSender(watch::Sender<FleetStatus>);

impl StatusSender {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(FleetStatus {
            state: DatabaseState::Connecting,
            server_version: None,
            clock_ahead: None,
            latency: None,
            last_contact: None,
            counters: Counters::default(),
        }))
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<FleetStatus> {
        self.0.subscribe()
    }

    /// Waits until the last call succeeded.
    pub(crate) async fn until_connected(&self) {
        let mut status = self.subscribe();
        status.wait_for(|status| status.state == DatabaseState::Connected).await.expect("the sender is self");
    }

    /// The database answered.
    pub(crate) fn succeeded(&self, latency: Duration) {
        self.0.send_modify(|status| {
            status.state = DatabaseState::Connected;
            status.latency = Some(latency);
            status.last_contact = Some(Instant::now());
        });
    }

    /// A call failed.
    pub(crate) fn failed(&self, error: &StoreError) {
        let detail = match error {
            StoreError::Unavailable { detail } | StoreError::Refused { detail } => detail.clone(),
            error => error.to_string(),
        };
        self.0.send_modify(|status| status.state = DatabaseState::Unavailable { detail });
    }

    /// A connection was made.
    pub(crate) fn connected(&self, version: &str, clock_ahead: SignedDuration) {
        self.0.send_modify(|status| {
            status.server_version = Some(version.to_owned());
            status.clock_ahead = Some(clock_ahead);
        });
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counters)) {
        self.0.send_modify(|status| change(&mut status.counters));
    }

    /// Whether a connection was made before, so that the clocks were compared.
    pub(crate) fn was_connected(&self) -> bool {
        self.0.borrow().clock_ahead.is_some()
    }
}
