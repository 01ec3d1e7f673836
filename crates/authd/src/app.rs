//! Builds the daemon, runs it, and shuts it down.

mod callback_handler;
mod fleet;
mod reload;
mod signals;
mod used_paths;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use authd_api::Paths;
use authd_broker::{Broker, BrokerConfig, BrokerTasks, CallbackServerState, now};
use authd_oauth::Endpoint;
use authd_store::{StateDir, StateDirError, Store};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use self::used_paths::used_paths;
use self::{
    callback_handler::LoginCallbacks,
    reload::Reload,
    signals::{SignalAction, Signals},
};
use crate::{
    audit::{self, AuditWriter},
    callback::{self, CallbackServer},
    config::{CallbackConfig, Config, ConfigError, Source},
    hooks::{self, Describe},
    http::{self, AppState, ConnectionSettings, Door, Metrics, ShareDoors, convert},
    platform::{
        ConnectionLimiter, Health, InheritedSockets, LockError, ProcessLimiter, Socket, SocketError,
        SocketLock, feed_watchdog, notify_ready, notify_stopping, open_file_limit, raise_open_files,
        socket_connections, update_status, watchdog_timeout,
    },
    relay::Relay,
    store_monitor::StoreMonitor,
    telemetry::Telemetry,
};

/// Longest time a shutdown waits for refreshes, exchanges and saves.
const DRAIN: Duration = Duration::from_secs(10);

/// Most event streams and holds of shares of one process.
const MOST_STREAMS: usize = 64;

/// The event streams and holds of one process take at most this fraction of the connections.
const STREAM_SHARE: usize = 4;

/// What hooks get on stdin.
const DESCRIBE: Describe = Describe {
    profile: |snapshot, name| convert::profile_of(snapshot, name, now()),
    low_quota: |name, low| convert::quota(name, Some(low), now()),
};

/// How the daemon ended. `authd --help` lists the exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Stopped by a signal, or the configuration is valid.
    Requested = 0,
    /// The configuration is invalid.
    Config = 64,
    /// The socket is not available, or another daemon owns the state directory.
    Unavailable = 69,
    /// A task ended unexpectedly.
    Internal = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A value of the configuration cannot be used on this machine.
    #[error("{0}")]
    Setting(String),
    /// The socket was not locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The socket was not opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The state directory cannot be used or belongs to another daemon.
    #[error(transparent)]
    State(#[from] StateDirError),
    /// The system refused a resource.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

impl StartError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::State(StateDirError::AlreadyOwned { .. }) | Self::Lock(_) | Self::Socket(_) => {
                Exit::Unavailable
            }
            Self::Config(_) | Self::Setting(_) | Self::State(_) => Exit::Config,
            Self::System(_) => Exit::Internal,
        }
    }
}

/// A daemon that has not started.
pub struct App {
    paths: Paths,
    source: Source,
    config: Config,
    telemetry: Telemetry,
}

/// Checks that a daemon could start with this configuration. Reads the files that it names, and
/// changes nothing.
pub fn check(config: &Config) -> Result<(), StartError> {
    let Config { provider, client, network, .. } = config;
    Endpoint::new(provider.clone(), client.clone(), network.clone())
        .map_err(|error| StartError::Setting(error.to_string()))?;
    fleet::set_up(config).map(drop).map_err(StartError::Setting)
}

impl App {
    /// A daemon with the configuration that was read from `source`.
    pub fn new(paths: Paths, source: Source, config: Config, telemetry: Telemetry) -> Self {
        Self { paths, source, config, telemetry }
    }

    /// Runs until a signal or a fault. Calls `announce` once the daemon listens.
    pub async fn run(self, inherited: InheritedSockets, announce: fn(&Path)) -> Result<Exit, StartError> {
        let started_at = now();
        let Self { paths, source, config, telemetry } = self;
        let mut signals = Signals::install()?;
        raise_open_files();
        inherited.warn_about_unused();
        let socket_lock = SocketLock::take(&paths.socket)?;
        let state_dir = StateDir::open(&paths.state_dir)?;
        let socket = Socket::open(&paths.socket, inherited.socket, &socket_lock)?;
        state_dir.name_socket(&paths.socket);
        let invalid = |error: authd_oauth::NetworkError| StartError::Setting(error.to_string());
        let endpoint = Endpoint::new(config.provider.clone(), config.client.clone(), config.network.clone())
            .map_err(invalid)?;
        let relay = Relay::new(config.network.clone()).map_err(invalid)?;

        let fleet = fleet::set_up(&config).map_err(StartError::Setting)?;
        let store = Store::open(config.store.for_state_dir(&paths.state_dir), state_dir.clone());
        let metrics = Metrics::new(started_at, &store, fleet.as_ref().map(|setup| &setup.fleet));
        let stopping = CancellationToken::new();
        let (callback_sender, callback) = watch::channel(CallbackServerState::default());
        let (listeners, listen_requests) = mpsc::channel(1);
        let (reload, settings) =
            Reload::new(source, telemetry, (endpoint.clone(), relay.clone()), &config, fleet.is_some());
        let (broker, mut broker_tasks) = Broker::start(BrokerConfig {
            endpoint: endpoint.clone(),
            store: store.clone(),
            fleet,
            state_dir: state_dir.clone(),
            render_context: settings.render_context,
            login_settings: settings.logins,
            providers: settings.providers,
            quota_low: settings.quota_low,
            callback: callback.clone(),
            listeners,
            stopping: stopping.clone(),
        })
        .await;
        config.store.warn_if_other(store.remembered());
        let stores = StoreMonitor::new(store.watch(), broker.fleet.clone(), broker.registry.watch());
        let (audit, audit_writer) = AuditWriter::new(settings.audit, state_dir.clone());
        let streams_per_process = MOST_STREAMS.min(socket_connections(open_file_limit()) / STREAM_SHARE);
        let metrics_error = watch::Sender::new(None);
        let (doors, doors_handle) = ShareDoors::new(&paths.socket);
        let state = Arc::new(AppState {
            broker: broker.clone(),
            doors: doors_handle,
            relay,
            metrics,
            stopping: stopping.clone(),
            endpoint,
            audit: audit.clone(),
            callback: callback.clone(),
            stores: stores.clone(),
            settings: settings.requests,
            metrics_error: metrics_error.subscribe(),
            streams: ProcessLimiter::new(streams_per_process),
            started_at,
        });

        let (mut servers, mut tasks) = (JoinSet::new(), JoinSet::new());
        let (recorded, processes) = (CancellationToken::new(), audit.processes());
        let logins =
            audit::record_logins(audit, broker.events.subscribe(), broker.logins.clone(), recorded.clone());
        tasks.spawn(audit_writer.run(logins));
        let hook_events = broker.events.subscribe();
        tasks.spawn(hooks::watch(config.hooks, hook_events, broker.registry, DESCRIBE, stopping.clone()));
        let CallbackConfig { addresses, ports, yield_for, .. } = config.callback;
        let callback_server = CallbackServer::new(addresses, ports, yield_for);
        let handler = LoginCallbacks(broker.logins.clone());
        servers.spawn(callback_server.clone().serve_further_ports(
            handler.clone(),
            listen_requests,
            stopping.clone(),
        ));
        servers.spawn(callback_server.run(handler, callback_sender, inherited.callback, stopping.clone()));
        let connection_settings = ConnectionSettings {
            per_process: config.socket.max_connections,
            head_deadline: config.socket.header_timeout,
            processes,
        };
        let (router, settings) = (http::share_router(state.clone()), connection_settings.clone());
        servers.spawn(doors.start(broker.shares, router, settings, stopping.clone()).await);
        if let Some(address) = config.metrics.listen {
            let (state, settings) = (state.clone(), connection_settings.clone());
            servers.spawn(http::serve_metrics(address, state, settings, metrics_error, stopping.clone()));
        }
        let (router, stop, socket_file) = (http::router(state), stopping.clone(), socket.file.clone());
        servers.spawn(async move {
            let limiter = ConnectionLimiter::new(socket_connections(open_file_limit()));
            http::serve(&socket.listener, Door::Own, router, connection_settings, limiter, stop).await;
        });
        callback::wait_until_tried(callback.clone()).await;
        info!(socket = %paths.socket.display(), "listening");
        announce(&paths.socket);
        report_to_manager(&mut tasks, paths.socket, Health { callback, stores }, store, stopping.clone());

        let exit = wait_for_exit(&mut servers, &mut tasks, &mut broker_tasks, &mut signals, &reload).await;
        stop_all(&stopping, servers, broker_tasks, recorded, tasks, &mut signals).await;
        // An aborted server has left the file. The locks are released only after the last save, and
        // in this order: a daemon that gets that of the socket also gets the state directory.
        socket_file.remove();
        drop(state_dir);
        drop(socket_lock);
        Ok(exit)
    }
}

/// Reports readiness to the service manager, then every change of the status line.
fn report_to_manager(
    tasks: &mut JoinSet<()>,
    socket: PathBuf,
    health: Health,
    store: Store,
    stopping: CancellationToken,
) {
    notify_ready(&socket, &health);
    let stop = stopping.clone();
    tasks.spawn(async move { update_status(&socket, health, stop).await });
    if let Some(timeout) = watchdog_timeout() {
        tasks.spawn(feed_watchdog(timeout, store, stopping));
    }
}

/// Waits for a signal to stop, or for a task that ends unexpectedly.
async fn wait_for_exit(
    servers: &mut JoinSet<()>,
    tasks: &mut JoinSet<()>,
    broker_tasks: &mut BrokerTasks,
    signals: &mut Signals,
    reload: &Reload,
) -> Exit {
    loop {
        let ended = tokio::select! {
            Some(ended) = servers.join_next() => ended,
            Some(ended) = tasks.join_next() => ended,
            () = broker_tasks.ended() => return Exit::Internal,
            action = signals.next() => match action {
                SignalAction::Stop => return Exit::Requested,
                SignalAction::Reload => {
                    reload.run().await;
                    continue;
                }
            },
        };
        error!(?ended, "background task exited unexpectedly; shutting down");
        return Exit::Internal;
    }
}

/// Begins the shutdown. Finishes the responses in progress, then the broker's work. After both,
/// nothing more is recorded in the audit log.
async fn stop_all(
    stopping: &CancellationToken,
    mut servers: JoinSet<()>,
    broker_tasks: BrokerTasks,
    recorded: CancellationToken,
    mut tasks: JoinSet<()>,
    signals: &mut Signals,
) {
    notify_stopping();
    stopping.cancel();
    let drained = async {
        while servers.join_next().await.is_some() {}
        broker_tasks.drain().await;
        recorded.cancel();
        while tasks.join_next().await.is_some() {}
    };
    tokio::select! {
        () = drained => info!("stopped"),
        () = tokio::time::sleep(DRAIN) => warn!(seconds = DRAIN.as_secs(), "stopped with unfinished work"),
        () = signals.second_stop() => warn!("stopped at once by a second signal"),
    }
}
