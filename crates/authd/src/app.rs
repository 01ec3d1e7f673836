//! The daemon's life: build → run → drain. It owns every task, the signals, and the word to systemd
//! that all is ready; it knows no rule of any of them.

use std::{path::Path, process::ExitCode, time::Duration};

use authd_api::Paths;
use authd_oauth::Endpoint;
use authd_store::{StateDir, StateDirError, Store};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

mod reload;
mod signals;

use self::{
    reload::Reloadable,
    signals::{Asked, Signals},
};
use crate::{
    callback::{self, CallbackFacts},
    clock,
    codex::{self, homes::ManagedHomes},
    config::{Config, ConfigError, Source},
    connections::{self, Bounds},
    events::Events,
    hooks, hygiene,
    inherited::Inherited,
    keeper::keeper,
    locks::{LockError, SocketLock},
    logins::Logins,
    metrics::Metrics,
    notify::{self, Health},
    profile::ProfileDeps,
    relay::Relay,
    server::{self, Front},
    socket::{Socket, SocketError},
    telemetry::Telemetry,
};

/// How long a stop waits for refreshes, exchanges and saves that are under way.
const DRAIN: Duration = Duration::from_secs(10);

/// How the daemon ended. The numbers are those of sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was asked to.
    Asked = 0,
    /// The configuration cannot be used.
    Config = 64,
    /// There is no socket to be had.
    Unavailable = 69,
    /// A part of it ended unasked.
    Internal = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Asked => 0,
            Exit::Config => 64,
            Exit::Unavailable => 69,
            Exit::Internal => 70,
        })
    }
}

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Mend the configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Mend the configuration: a value in it cannot be used here.
    #[error("{0}")]
    Setting(String),
    /// Use the daemon that is there.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Free the socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The state directory cannot be used, or belongs to another daemon.
    #[error(transparent)]
    State(#[from] StateDirError),
    /// The system refused something every daemon needs.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

impl StartError {
    /// The exit code that says so.
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

/// The daemon, with its configuration read and nothing outside touched.
pub struct App {
    paths: Paths,
    source: Source,
    config: Config,
    telemetry: Telemetry,
}

/// Whether a daemon could start with this configuration: what it names outside itself is read, and
/// nothing is changed.
pub fn check(config: &Config) -> Result<(), StartError> {
    let Config { provider, client, network, .. } = config;
    match Endpoint::new(provider.clone(), client.clone(), network.clone()) {
        Ok(_) => Ok(()),
        Err(error) => Err(StartError::Setting(error.to_string())),
    }
}

impl App {
    /// A daemon with the configuration that was read from there.
    pub fn new(paths: Paths, source: Source, config: Config, telemetry: Telemetry) -> Self {
        Self { paths, source, config, telemetry }
    }

    /// Runs until a signal, or until a part of it ends unasked. Whoever started it is told when it listens.
    pub async fn run(self, inherited: Inherited, announce: fn(&Path)) -> Result<Exit, StartError> {
        let started_at = clock::now();
        let Self { paths, source, config, telemetry } = self;
        let mut signals = Signals::install()?;
        hygiene::raise_open_files();
        let socket_lock = SocketLock::take(&paths.socket)?;
        let state_dir = StateDir::open(&paths.state_dir)?;
        let socket = Socket::open(&paths.socket, inherited.socket, &socket_lock)?;
        let endpoint = Endpoint::new(config.provider.clone(), config.client.clone(), config.network.clone())
            .map_err(|error| StartError::Setting(error.to_string()))?;

        let relay =
            Relay::new(config.network.clone()).map_err(|error| StartError::Setting(error.to_string()))?;
        let store = Store::open(config.store.for_state_dir(&paths.state_dir), state_dir.clone());
        let metrics = Metrics::new(started_at, &store);
        if let Err(error) = store.probe().await {
            warn!(%error, "the store does not answer yet; it is tried again");
        }
        config.store.compare(store.remembered());

        let (soft, closing) = (CancellationToken::new(), CancellationToken::new());
        let (reloadable, rendering, settings, limits) = Reloadable::new(source, telemetry, &config);
        let events = Events::new();
        let deps = ProfileDeps {
            endpoint: endpoint.clone(),
            store: store.clone(),
            rendering: rendering.clone(),
            events: events.clone(),
            metrics: metrics.clone(),
            stopping: soft.clone(),
            closing: closing.clone(),
        };
        let homes = ManagedHomes::new(state_dir.clone());
        let (notices, notified) = mpsc::unbounded_channel();
        let (keeper, keeping) = keeper(deps, homes.clone(), notices);
        let (callback_facts, callback) = watch::channel(CallbackFacts::default());
        let logins = Logins::new(
            settings,
            endpoint.clone(),
            keeper.clone(),
            store.clone(),
            callback.clone(),
            events.clone(),
            soft.clone(),
        );
        let (codex, sharing) =
            codex::codex(homes, notified, keeper.clone(), store.clone(), events.clone(), soft.clone());
        let hooks = hooks::watch(config.hooks.clone(), events.clone(), keeper.clone(), soft.clone());
        let front = Front {
            keeper,
            codex,
            logins: logins.clone(),
            relay,
            events: events.clone(),
            metrics,
            stopping: soft.clone(),
            endpoint: endpoint.clone(),
            callback: callback.clone(),
            store: store.watch(),
            limits,
            started_at,
        };

        let (mut doors, mut tasks) = (JoinSet::new(), JoinSet::new());
        let alarm = tokio::spawn(clock::keep_alarm());
        tasks.spawn(keeping);
        tasks.spawn(sharing);
        tasks.spawn(hooks);
        let server = callback::CallbackServer::new(config.callback.ports.clone(), config.callback.yield_for);
        doors.spawn(server.run(logins.clone(), callback_facts, inherited.callback, soft.clone()));
        let bounds = Bounds {
            per_process: config.socket.max_connections,
            head_deadline: config.socket.header_timeout,
        };
        let (routes, stop) = (server::routes(front), soft.clone());
        doors.spawn(async move { connections::serve(&socket.listener, routes, bounds, stop).await });
        tasks.spawn(recover(store.clone(), soft.clone()));
        tasks.spawn(restore(logins.clone(), soft.clone()));
        callback::settled(callback.clone()).await;
        info!(socket = %paths.socket.display(), "listening");
        announce(&paths.socket);
        let health = Health { callback, store: store.watch() };
        notify::ready(&paths.socket, &health);
        let (socket_path, stop) = (paths.socket.clone(), soft.clone());
        tasks.spawn(async move { notify::narrate(&socket_path, health, stop).await });
        if let Some(patience) = notify::watchdog() {
            tasks.spawn(notify::feed_watchdog(patience, store.clone(), soft.clone()));
        }

        let exit = live(&mut doors, &mut tasks, &mut signals, &reloadable).await;
        notify::stopping();
        soft.cancel();
        drain(doors, &logins, closing, tasks, &mut signals).await;
        alarm.abort();
        // Not before the last save.
        drop((socket_lock, state_dir));
        Ok(exit)
    }
}

/// Tries a store that does not answer again and again.
async fn recover(store: Store, stop: CancellationToken) {
    tokio::select! {
        () = store.recover_loop() => error!("the store's thread has died, and cannot come back in this process"),
        () = stop.cancelled() => {}
    }
}

/// Takes pending logins up again, once the store can be listed.
async fn restore(logins: Logins, stop: CancellationToken) {
    tokio::select! {
        () = logins.restore() => stop.cancelled().await,
        () = stop.cancelled() => {}
    }
}

/// Until a signal asks for the end, or a part of the daemon ends unasked.
async fn live(
    doors: &mut JoinSet<()>,
    tasks: &mut JoinSet<()>,
    signals: &mut Signals,
    reloadable: &Reloadable,
) -> Exit {
    loop {
        let ended = tokio::select! {
            Some(ended) = doors.join_next() => ended,
            Some(ended) = tasks.join_next() => ended,
            asked = signals.next() => match asked {
                Asked::Stop => return Exit::Asked,
                Asked::Reload => {
                    reloadable.reload().await;
                    continue;
                }
            },
        };
        error!(?ended, "a part of authd ended unasked; it is better to start anew");
        return Exit::Internal;
    }
}

/// Lets what must not be cancelled come to its end: answers; then the sign-ins whose code has been
/// brought; then refreshes and saves, which a sign-in may be waiting for.
async fn drain(
    mut doors: JoinSet<()>,
    logins: &Logins,
    closing: CancellationToken,
    mut tasks: JoinSet<()>,
    signals: &mut Signals,
) {
    let drained = async {
        while doors.join_next().await.is_some() {}
        logins.drain().await;
        closing.cancel();
        while tasks.join_next().await.is_some() {}
    };
    tokio::select! {
        () = drained => info!("stopped"),
        () = tokio::time::sleep(DRAIN) => warn!("stopped, with work still under way after {} s", DRAIN.as_secs()),
        () = signals.second_stop() => warn!("stopped at once"),
    }
}
