//! Announces changes to event streams, hooks and Codex homes. An event names what changed and
//! carries no state (one exception is explained below): each subscriber reads the current snapshot,
//! so no event is stale and none holds a secret.

use std::{path::PathBuf, sync::Arc};

use authd_api::ProfileName;
use authd_oauth::QuotaReading;
use tokio::sync::broadcast;

/// Events kept for a slow subscriber. One that falls further behind gets `RecvError::Lagged`.
const BACKLOG: usize = 256;

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeEvent {
    /// A profile was added, changed or removed.
    Profile(ProfileName),
    /// The login with this id changed.
    Login(String),
    /// A managed Codex home was added, changed or removed.
    CodexHome(PathBuf),
    /// The share with this id was made, renamed with its profile, or has ended.
    Share(Arc<str>),
    /// A figure of the quota of a profile changed.
    Quota(ProfileName),
    /// Windows of the quota of a profile have become low: the only ones in this reading. Each is
    /// announced once, so this event carries what it announces.
    QuotaLow(ProfileName, Arc<QuotaReading>),
}

/// Publishes change events to any number of subscribers.
#[derive(Clone, Debug)]
pub struct EventBus(broadcast::Sender<ChangeEvent>);

impl EventBus {
    pub(crate) fn new() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }

    pub(crate) fn publish(&self, event: ChangeEvent) {
        // Sending fails only without subscribers.
        drop(self.0.send(event));
    }

    /// Receives every event from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<ChangeEvent> {
        self.0.subscribe()
    }
}
