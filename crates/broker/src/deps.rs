//! What the broker's tasks share.

use std::sync::Arc;

use authd_fleet::Fleet;
use authd_oauth::Endpoint;
use authd_store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{events::EventBus, metrics::RefreshCounters, snapshot::RenderContext};

pub(crate) struct BrokerDeps {
    pub(crate) endpoint: Endpoint,
    /// This node's store. It always holds pending logins, clients and Codex originals.
    pub(crate) store: Store,
    /// The fleet's store, if it is configured.
    pub(crate) fleet: Option<Fleet>,
    /// Whether a node without profiles uses the fleet's store.
    pub(crate) prefers_fleet: bool,
    /// Replaced by a reload.
    pub(crate) render_context: watch::Receiver<Arc<RenderContext>>,
    pub(crate) refreshes: RefreshCounters,
    pub(crate) events: EventBus,
    /// Cancelled when the shutdown starts: finish what must not be interrupted, start nothing.
    pub(crate) stopping: CancellationToken,
    /// Cancelled when no sign-in can arrive any more: an actor that has saved everything may end.
    pub(crate) closing: CancellationToken,
}
