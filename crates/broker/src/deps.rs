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

#[cfg(test)]
impl BrokerDeps {
    /// A memory store that reads its faults from `control`, and no provider. The sender reloads the
    /// settings of rendered credentials.
    pub(crate) fn of_memory(
        state_dir: &authd_store::StateDir,
        control: Option<std::path::PathBuf>,
    ) -> (Arc<Self>, watch::Sender<Arc<RenderContext>>) {
        let render_context = RenderContext::of_openai();
        let (provider, client) = (render_context.provider.clone(), render_context.client.clone());
        let config = authd_store::Config {
            kind: authd_store::StorePreference::Memory,
            service: "authd".to_owned(),
            key: authd_store::KeySource {
                credentials_directory: None,
                passphrase_file: None,
                key_file: state_dir.path().join("store.key"),
            },
            // Long, so that a busy machine does not exceed it.
            deadline: std::time::Duration::from_secs(20),
            memory_control: control,
        };
        let (reload, render_context) = watch::channel(Arc::new(render_context));
        let deps = Self {
            endpoint: Endpoint::new(provider, client, authd_oauth::Network::default()).expect("no proxy"),
            store: Store::open(config, state_dir.clone()),
            fleet: None,
            prefers_fleet: false,
            render_context,
            refreshes: RefreshCounters::default(),
            events: EventBus::new(),
            stopping: CancellationToken::new(),
            closing: CancellationToken::new(),
        };
        (Arc::new(deps), reload)
    }
}
