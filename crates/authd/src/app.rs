//! The daemon's life: build → run → drain. It owns every task, the signals, and the word to systemd
//! that all is ready; it knows no rule of any of them.

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use authd_api::Paths;
use authd_oauth::{Endpoint, Http, Purpose};
use authd_store::{Index, Kind, Store};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    callback::{self, CallbackFacts},
    clock, codex,
    config::{Config, ConfigError},
    connections::{self, Bounds},
    events::Events,
    facts::Rendering,
    handover::Handover,
    hooks, hygiene,
    inherited::Inherited,
    keeper::{find_index, keeper},
    logins::{Logins, Settings},
    metrics::Metrics,
    notify::{self, Health},
    profile::Tools,
    relay::Relay,
    server::{self, Front, Limits},
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
    /// Free the socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The state directory cannot be used.
    #[error("{0}")]
    State(String),
    /// The system refused something every daemon needs.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

impl StartError {
    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Setting(_) | Self::State(_) => Exit::Config,
            Self::Socket(_) => Exit::Unavailable,
            Self::System(_) => Exit::Internal,
        }
    }
}

/// The daemon, with its configuration read and nothing outside touched.
pub struct App {
    paths: Paths,
    config: Config,
    telemetry: Telemetry,
}

/// The parts of the configuration that a reload replaces, each where its reader watches it.
struct Reloadable {
    rendering: watch::Sender<Arc<Rendering>>,
    settings: watch::Sender<Arc<Settings>>,
    limits: watch::Sender<Limits>,
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
    /// A daemon with this configuration.
    pub fn new(paths: Paths, config: Config, telemetry: Telemetry) -> Self {
        Self { paths, config, telemetry }
    }

    /// Runs until a signal, or until a part of it ends unasked.
    pub async fn run(self, inherited: Inherited) -> Result<Exit, StartError> {
        let started_at = clock::now();
        let Self { paths, config, telemetry } = self;
        let mut signals = Signals::install()?;
        hygiene::raise_open_files();
        authd_store::private::ensure_private_dir(&paths.state_dir)
            .map_err(|error| StartError::State(error.to_string()))?;
        let socket = Socket::open(&paths.socket, inherited.socket)?;
        let endpoint = Endpoint::new(config.provider.clone(), config.client.clone(), config.network.clone())
            .map_err(|error| StartError::Setting(error.to_string()))?;

        let http = Http::new(config.network.clone(), Purpose::Relay)
            .map_err(|error| StartError::Setting(error.to_string()))?;
        let mut loaded = Index::load(&paths.state_dir);
        let handover = Handover::take(inherited.handover, &mut loaded, &paths.state_dir);
        let store = Store::open(config.store.for_state_dir(&paths.state_dir), loaded.store());
        config.store.compare(loaded.store());
        let metrics = Metrics::new(started_at, &store);
        if let Err(error) = store.probe().await {
            warn!(%error, "the store does not answer yet; it is tried again");
        }

        let soft = CancellationToken::new();
        let (reloadable, rendering, settings, limits) = Reloadable::new(&config);
        let events = Events::new();
        let tools = Tools {
            endpoint: endpoint.clone(),
            store: store.clone(),
            rendering: rendering.clone(),
            reading: Arc::new(Semaphore::new(1)),
            events: events.clone(),
            handover: handover.clone(),
            metrics: metrics.clone(),
            stopping: soft.clone(),
        };
        let index = find_index(loaded, &tools).await;
        let (keeper, keeping) = keeper(paths.state_dir.clone(), index, tools);
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
        logins.restore(&handover).await;
        let (codex, sharing) = codex::codex(&paths.state_dir, keeper.clone(), store.clone(), soft.clone());
        let hooks = hooks::watch(config.hooks.clone(), events.clone(), keeper.clone(), soft.clone());
        let front = Front {
            keeper,
            codex,
            logins: logins.clone(),
            relay: Relay::new(http),
            events: events.clone(),
            metrics,
            stopping: soft.clone(),
            endpoint: endpoint.clone(),
            callback: callback.clone(),
            store: store.watch(),
            limits,
            started_at,
        };

        let mut tasks = JoinSet::new();
        let alarm = tokio::spawn(clock::keep_alarm());
        tasks.spawn(keeping);
        tasks.spawn(sharing);
        tasks.spawn(hooks);
        let server = callback::CallbackServer::new(config.callback.ports.clone(), config.callback.yield_for);
        tasks.spawn(server.run(logins.clone(), callback_facts, inherited.callback, soft.clone()));
        let bounds = Bounds {
            per_process: config.socket.max_connections,
            head_deadline: config.socket.header_timeout,
        };
        let (routes, stop) = (server::routes(front), soft.clone());
        tasks.spawn(async move { connections::serve(&socket.listener, routes, bounds, stop).await });
        let (healing, stop) = (store.clone(), soft.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = healing.heal() => {}
                () = stop.cancelled() => {}
            }
        });
        callback::settled(callback.clone()).await;
        info!(socket = %paths.socket.display(), "listening");
        let health = Health { callback, store: store.watch() };
        notify::ready(&paths.socket, &health);
        let (socket_path, stop) = (paths.socket.clone(), soft.clone());
        tasks.spawn(async move { notify::narrate(&socket_path, health, stop).await });
        if let Some(patience) = notify::watchdog() {
            tasks.spawn(notify::feed_watchdog(patience, store.clone(), soft.clone()));
        }

        let exit = live(&mut tasks, &mut signals, || reload(&paths.config, &reloadable, &telemetry)).await;
        notify::stopping();
        soft.cancel();
        drain(tasks, &logins, &mut signals).await;
        alarm.abort();
        hand_over(&handover, &store, &logins, &paths.state_dir);
        Ok(exit)
    }
}

/// Until a signal asks for the end, or a part of the daemon ends unasked.
async fn live(tasks: &mut JoinSet<()>, signals: &mut Signals, reload: impl Fn()) -> Exit {
    loop {
        tokio::select! {
            Some(ended) = tasks.join_next() => {
                error!(?ended, "a part of authd ended unasked; it is better to start anew");
                return Exit::Internal;
            }
            asked = signals.next() => match asked {
                Asked::Stop => return Exit::Asked,
                Asked::Reload => reload(),
            },
        }
    }
}

/// Lets what must not be cancelled come to its end: refreshes, exchanges, saves, answers.
async fn drain(mut tasks: JoinSet<()>, logins: &Logins, signals: &mut Signals) {
    let drained = async {
        while tasks.join_next().await.is_some() {}
        logins.drain().await;
    };
    tokio::select! {
        () = drained => info!("stopped"),
        () = tokio::time::sleep(DRAIN) => warn!("stopped, with work still under way after {} s", DRAIN.as_secs()),
        () = signals.second_stop() => warn!("stopped at once"),
    }
}

/// Files need no person to open them, and what is in memory is not to outlive the daemon: only what a
/// keychain holds is left to the next run.
fn hand_over(handover: &Handover, store: &Store, logins: &Logins, state_dir: &Path) {
    if store.status().kind == Some(Kind::Keychain) {
        logins.leave(handover);
        handover.give(state_dir);
    }
}

impl Reloadable {
    #[expect(clippy::type_complexity, reason = "three channels, taken apart where it is called")]
    fn new(
        config: &Config,
    ) -> (Self, watch::Receiver<Arc<Rendering>>, watch::Receiver<Arc<Settings>>, watch::Receiver<Limits>)
    {
        let (rendering, seen_rendering) = watch::channel(Arc::new(rendering(config)));
        let (settings, seen_settings) = watch::channel(Arc::new(settings(config)));
        let (limits, seen_limits) = watch::channel(limits(config));
        (Self { rendering, settings, limits }, seen_rendering, seen_settings, seen_limits)
    }
}

/// Takes over what a running daemon can take over. A file that cannot be used changes nothing.
fn reload(path: &Path, reloadable: &Reloadable, telemetry: &Telemetry) {
    notify::reloading();
    match Config::load(path) {
        Ok(config) => {
            telemetry.reload(&config.log);
            reloadable.rendering.send_replace(Arc::new(rendering(&config)));
            reloadable.settings.send_replace(Arc::new(settings(&config)));
            reloadable.limits.send_replace(limits(&config));
            info!("reloaded; endpoints, ports, network and store take effect at the next start");
        }
        Err(error) => error!(%error, "the configuration was not reloaded"),
    }
    notify::reloaded();
}

fn rendering(config: &Config) -> Rendering {
    Rendering {
        provider: config.provider.clone(),
        client: config.client.clone(),
        organization: config.organization.clone(),
        project: config.project.clone(),
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        lifetime: config.callback.login_lifetime,
        mode: config.login.mode,
        workspaces: config.login.workspaces.clone(),
        first_port: config.callback.ports.first().copied().unwrap_or_default(),
        provider: config.provider.clone(),
    }
}

fn limits(config: &Config) -> Limits {
    Limits { min_ttl: config.refresh.min_ttl, patience: config.refresh.wait, model: config.model.clone() }
}

/// What a signal asks for.
enum Asked {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }

    async fn second_stop(&mut self) {
        while let Asked::Reload = self.next().await {}
    }
}
