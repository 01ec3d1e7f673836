//! Starts and stops the owners of profiles, logins, shares, providers and Codex homes.

use std::sync::Arc;

use authd_fleet::{Fleet, Task};
use authd_oauth::Endpoint;
use authd_store::{StateDir, Store};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::{
    clock,
    codex::{CodexManager, ManagedHomes, codex_manager},
    deps::BrokerDeps,
    events::EventBus,
    login::{CallbackServerState, ListenRequest, LoginSettings, Logins},
    metrics::RefreshCounters,
    provider::{self, ProviderDefinitions, ProviderDirectory},
    quota::Quotas,
    registry::{ProfileRegistry, registry},
    share::{self, Shares},
    snapshot::RenderContext,
};

/// The store of a fleet.
pub struct FleetSetup {
    /// The store.
    pub fleet: Fleet,
    /// The task that receives changes. The broker runs it.
    pub task: Task,
    /// Whether a node without profiles uses this store.
    pub is_preferred: bool,
}

/// What a broker is made of.
pub struct BrokerConfig {
    /// The provider's endpoints.
    pub endpoint: Endpoint,
    /// The store of the credentials.
    pub store: Store,
    /// The store of the fleet, if it is configured.
    pub fleet: Option<FleetSetup>,
    /// The state directory, which holds the lists of Codex homes, shares and added providers.
    pub state_dir: StateDir,
    /// The settings of rendered credentials; a reload replaces them.
    pub render_context: watch::Receiver<Arc<RenderContext>>,
    /// The settings of logins; a reload replaces them.
    pub login_settings: watch::Receiver<Arc<LoginSettings>>,
    /// The provider definitions of the configuration; a reload replaces them.
    pub providers: watch::Receiver<Arc<ProviderDefinitions>>,
    /// How much is left of a window, in percent, when it counts as low; a reload replaces it.
    pub quota_low: watch::Receiver<u8>,
    /// The state of the callback server.
    pub callback: watch::Receiver<CallbackServerState>,
    /// Opens the ports of redirect URIs that the callback server does not listen on.
    pub listeners: mpsc::Sender<ListenRequest>,
    /// Cancelled when the shutdown starts. The broker cancels it after a panic.
    pub stopping: CancellationToken,
}

/// Cheap handles of everything that the broker owns.
#[derive(Clone)]
pub struct Broker {
    /// The profiles.
    pub registry: ProfileRegistry,
    /// The logins.
    pub logins: Logins,
    /// The Codex homes.
    pub codex: CodexManager,
    /// The shares.
    pub shares: Shares,
    /// The quotas.
    pub quotas: Quotas,
    /// The provider definitions.
    pub providers: ProviderDirectory,
    /// The change events.
    pub events: EventBus,
    /// The refresh counters.
    pub refreshes: RefreshCounters,
    /// The store of the fleet, if it is configured.
    pub fleet: Option<Fleet>,
}

/// The broker's tasks.
pub struct BrokerTasks {
    tasks: JoinSet<()>,
    /// Wakes every sleeping task. Ends by itself on systems without such a timer.
    timer: JoinHandle<()>,
    logins: Logins,
    closing: CancellationToken,
}

impl Broker {
    /// Starts the broker. The handles work at once; the profiles are known once the store was
    /// listed.
    pub async fn start(config: BrokerConfig) -> (Self, BrokerTasks) {
        if let Err(error) = config.store.probe().await {
            warn!(%error, "store not available; retrying");
        }
        let timer = tokio::spawn(clock::run_timer());
        let mut tasks = JoinSet::new();
        let prefers_fleet = config.fleet.as_ref().is_some_and(|setup| setup.is_preferred);
        let fleet = config.fleet.map(|FleetSetup { fleet, task, .. }| {
            tasks.spawn(follow_fleet(task, config.stopping.clone()));
            fleet
        });
        let deps = Arc::new(BrokerDeps {
            endpoint: config.endpoint,
            store: config.store,
            fleet: fleet.clone(),
            prefers_fleet,
            render_context: config.render_context,
            refreshes: RefreshCounters::default(),
            events: EventBus::new(),
            stopping: config.stopping,
            closing: CancellationToken::new(),
        });
        let quotas = Quotas::new(deps.endpoint.clone(), deps.events.clone(), config.quota_low);
        let homes = ManagedHomes::new(config.state_dir.clone());
        let shares = Shares::new(config.state_dir.clone(), deps.events.clone());
        let providers = ProviderDirectory::new(config.state_dir.clone(), config.providers);
        let (notices, notice_receiver) = mpsc::unbounded_channel();
        let (registry, registry_task) = registry(deps.clone(), homes.clone(), shares.clone(), notices);
        let (codex, codex_task) = codex_manager(deps.clone(), registry.clone(), homes, notice_receiver);
        let callback = (config.callback, config.listeners);
        let logins =
            Logins::new(deps.clone(), registry.clone(), providers.clone(), config.login_settings, callback);
        tasks.spawn(registry_task);
        tasks.spawn(codex_task);
        tasks.spawn(share::run(shares.clone(), config.state_dir, deps.stopping.clone()));
        tasks.spawn(provider::run(providers.clone(), deps.stopping.clone()));
        tasks.spawn(recover_store(deps.store.clone(), deps.stopping.clone()));
        tasks.spawn(restore_logins(logins.clone(), deps.stopping.clone()));
        let (events, refreshes, closing) =
            (deps.events.clone(), deps.refreshes.clone(), deps.closing.clone());
        let broker = Self {
            registry,
            logins: logins.clone(),
            codex,
            shares,
            quotas,
            providers,
            events,
            refreshes,
            fleet,
        };
        (broker, BrokerTasks { tasks, timer, logins, closing })
    }
}

impl BrokerTasks {
    /// Waits until a task has ended. Before a shutdown, that is a fault.
    pub async fn ended(&mut self) {
        let ended = self.tasks.join_next().await;
        error!(?ended, "broker task exited unexpectedly");
    }

    /// Finishes what must not be interrupted: code exchanges, then the refreshes and saves that
    /// they may wait for. The caller has cancelled [`BrokerConfig::stopping`], and no request is in
    /// progress.
    pub async fn drain(mut self) {
        self.logins.drain().await;
        self.closing.cancel();
        while self.tasks.join_next().await.is_some() {}
        self.timer.abort();
    }
}

/// Receives the changes of a fleet.
async fn follow_fleet(task: Task, stopping: CancellationToken) {
    tokio::select! {
        () = task => {}
        () = stopping.cancelled() => {}
    }
}

/// Retries a store that does not answer.
async fn recover_store(store: Store, stopping: CancellationToken) {
    tokio::select! {
        () = store.recover_loop() => error!("store thread ended; it cannot be restarted in this process"),
        () = stopping.cancelled() => {}
    }
}

/// Restores the pending logins once the store can be listed.
async fn restore_logins(logins: Logins, stopping: CancellationToken) {
    tokio::select! {
        () = logins.restore() => stopping.cancelled().await,
        () = stopping.cancelled() => {}
    }
}
