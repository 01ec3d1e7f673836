//! The task that opens and closes the listeners of shares as the shares change.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use authd_api::ShareDoor;
use authd_broker::{Share, ShareSnapshot, Shares};
use axum::Router;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::listener;
use crate::{
    http::{
        connections::{ConnectionSettings, serve},
        peer::Door,
    },
    platform::{ClientListener, ConnectionLimiter, open_file_limit, share_connections, share_sockets},
};

/// Wait before a listener that cannot be opened is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Why doors are closed that should be open, by the share's id.
type DoorErrors = BTreeMap<Arc<str>, String>;

/// A request to the task.
enum Command {
    /// Opens the loopback listener if none is open. Returns its port.
    Loopback(oneshot::Sender<io::Result<u16>>),
    /// Opens the door of a share, if it is not open.
    Open(Share, oneshot::Sender<io::Result<()>>),
}

/// A cheap handle of the task.
#[derive(Clone)]
pub(crate) struct ShareDoorsHandle {
    directory: Arc<Path>,
    commands: mpsc::Sender<Command>,
    errors: watch::Receiver<DoorErrors>,
}

/// The task's state.
pub(crate) struct ShareDoors {
    directory: Arc<Path>,
    commands: mpsc::Receiver<Command>,
    errors: watch::Sender<DoorErrors>,
    /// The servers of the sockets, by the share's id.
    sockets: BTreeMap<Arc<str>, CancellationToken>,
    /// The servers on loopback, by port.
    ports: BTreeMap<u16, CancellationToken>,
    servers: JoinSet<()>,
    /// Limits the connections of all sockets.
    socket_limiter: ConnectionLimiter,
    /// Limits the connections on loopback.
    loopback_limiter: ConnectionLimiter,
    /// How many sockets may be open.
    most_sockets: usize,
}

impl ShareDoorsHandle {
    /// The port of the loopback listener, which is opened if necessary.
    pub(crate) async fn loopback(&self) -> io::Result<u16> {
        self.send(Command::Loopback).await
    }

    /// Opens the door of a share.
    pub(crate) async fn open(&self, share: Share) -> io::Result<()> {
        self.send(|done| Command::Open(share, done)).await
    }

    /// Why the door of a share is closed, if it is.
    pub(crate) fn error(&self, id: &str) -> Option<String> {
        self.errors.borrow().get(id).cloned()
    }

    /// The socket of a share.
    pub(crate) fn socket(&self, id: &str) -> PathBuf {
        listener::socket(&self.directory, id)
    }

    async fn send<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<io::Result<T>>) -> Command,
    ) -> io::Result<T> {
        let stopping = || io::Error::other("the daemon is stopping");
        let (done, reply) = oneshot::channel();
        self.commands.send(command(done)).await.map_err(|_| stopping())?;
        reply.await.map_err(|_| stopping())?
    }
}

/// Passes on the panic of a server, after which its door would be closed in silence.
fn resume_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

impl ShareDoors {
    /// The doors of a daemon with this socket.
    pub(crate) fn new(daemon_socket: &Path) -> (Self, ShareDoorsHandle) {
        let (sender, commands) = mpsc::channel(16);
        let (errors, errors_receiver) = watch::channel(DoorErrors::new());
        let directory: Arc<Path> = listener::directory(daemon_socket).into();
        let handle =
            ShareDoorsHandle { directory: directory.clone(), commands: sender, errors: errors_receiver };
        let limiter = || ConnectionLimiter::new(share_connections(open_file_limit()));
        let doors = Self {
            directory,
            commands,
            errors,
            sockets: BTreeMap::new(),
            ports: BTreeMap::new(),
            servers: JoinSet::new(),
            socket_limiter: limiter(),
            loopback_limiter: limiter(),
            most_sockets: share_sockets(open_file_limit()),
        };
        (doors, handle)
    }

    /// Opens the doors of the shares. The returned future keeps them open until the shutdown, then
    /// finishes the responses in progress.
    pub(crate) async fn start(
        mut self,
        shares: Shares,
        router: Router,
        settings: ConnectionSettings,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send {
        let changes = shares.watch();
        let server = Server { router, settings, stop };
        if shares.all().await.is_ok() {
            self.remove_old_sockets(&shares);
        }
        self.update(&shares, &server).await;
        self.run(shares, changes, server)
    }

    async fn run(
        mut self,
        shares: Shares,
        mut changes: watch::Receiver<Option<ShareSnapshot>>,
        server: Server,
    ) {
        let mut retry_at = Instant::now() + RETRY;
        loop {
            let failed = !self.errors.borrow().is_empty();
            tokio::select! {
                // A share that has ended makes room for a new one.
                biased;
                () = server.stop.cancelled() => break,
                Ok(()) = changes.changed() => self.update(&shares, &server).await,
                () = tokio::time::sleep_until(retry_at), if failed => {
                    self.update(&shares, &server).await;
                    retry_at = Instant::now() + RETRY;
                }
                Some(command) = self.commands.recv() => self.handle_command(command, &server).await,
                Some(ended) = self.servers.join_next() => resume_panic(ended),
            }
            // While a door is closed, other events do not postpone the retry.
            if !failed {
                retry_at = Instant::now() + RETRY;
            }
        }
        while let Some(ended) = self.servers.join_next().await {
            resume_panic(ended);
        }
    }

    async fn handle_command(&mut self, command: Command, server: &Server) {
        match command {
            Command::Loopback(done) => {
                let port = match self.ports.keys().next() {
                    Some(port) => Ok(*port),
                    None => self.open_loopback(0, server).await,
                };
                // The caller may have gone. The next update closes an unused listener.
                done.send(port).ok();
            }
            Command::Open(share, done) => {
                done.send(self.open(&share, server).await).ok();
            }
        }
    }

    /// Opens the doors that are missing, and closes those whose share has ended.
    async fn update(&mut self, shares: &Shares, server: &Server) {
        let snapshot = shares.snapshot().unwrap_or_default();
        let gone: Vec<_> = self.sockets.keys().filter(|id| !snapshot.contains_key(&**id)).cloned().collect();
        for id in gone {
            self.close_socket(&id);
        }
        let used: BTreeSet<_> = snapshot.values().filter_map(|share| share.terms.port).collect();
        // The caller of `loopback` may be about to make a share. Then `open` opens its port again.
        self.ports.retain(|port, stop| {
            let is_used = used.contains(port);
            if !is_used {
                stop.cancel();
            }
            is_used
        });
        let mut errors = DoorErrors::new();
        for share in snapshot.values() {
            if let Err(error) = self.open(share, server).await {
                errors.insert(share.id.clone(), error.to_string());
            }
        }
        for (id, error) in errors.iter().filter(|(id, _)| !self.errors.borrow().contains_key(&***id)) {
            warn!(share = &**id, error, "door of a share not opened; retrying");
        }
        self.errors.send_replace(errors);
    }

    /// Opens the door of a share, if it is not open.
    async fn open(&mut self, share: &Share, server: &Server) -> io::Result<()> {
        match (share.terms.door, share.terms.port) {
            (ShareDoor::Loopback, Some(port)) if !self.ports.contains_key(&port) => {
                self.open_loopback(port, server).await.map(drop)
            }
            (ShareDoor::Socket, _) if !self.sockets.contains_key(&share.id) => {
                if self.sockets.len() >= self.most_sockets {
                    let (open, why) = (self.sockets.len(), "the daemon may open few files (ulimit -n)");
                    return Err(io::Error::other(format!("{open} sockets of shares are open, and {why}")));
                }
                let listener = listener::open_socket(&self.directory, &share.id)?;
                let stop = server.stop.child_token();
                let (door, limiter) = (Door::ShareSocket(share.clone()), self.socket_limiter.clone());
                self.servers.spawn(server.clone().run(listener, door, limiter, stop.clone()));
                self.sockets.insert(share.id.clone(), stop);
                Ok(())
            }
            (ShareDoor::Loopback | ShareDoor::Socket, _) => Ok(()),
        }
    }

    async fn open_loopback(&mut self, port: u16, server: &Server) -> io::Result<u16> {
        let (listener, port) = listener::open_loopback(port).await?;
        let stop = server.stop.child_token();
        info!(port, "loopback listener for shares opened");
        let (door, limiter) = (Door::Loopback(port), self.loopback_limiter.clone());
        self.servers.spawn(server.clone().run(listener, door, limiter, stop.clone()));
        self.ports.insert(port, stop);
        Ok(port)
    }

    fn close_socket(&mut self, id: &str) {
        if let Some(stop) = self.sockets.remove(id) {
            stop.cancel();
        }
        if let Err(error) = listener::remove_socket(&self.directory, id) {
            warn!(%error, share = id, "socket of an ended share not removed");
        }
    }

    /// Removes the sockets of shares that ended while no daemon ran.
    fn remove_old_sockets(&mut self, shares: &Shares) {
        let snapshot = shares.snapshot().unwrap_or_default();
        for id in listener::existing(&self.directory) {
            if !snapshot.contains_key(&*id) {
                self.close_socket(&id);
            }
        }
    }
}

/// What every server needs.
#[derive(Clone)]
struct Server {
    router: Router,
    settings: ConnectionSettings,
    /// Cancelled when the shutdown starts.
    stop: CancellationToken,
}

impl Server {
    fn run(
        self,
        listener: ClientListener,
        door: Door,
        limiter: ConnectionLimiter,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send {
        let Self { router, mut settings, .. } = self;
        if matches!(door, Door::Loopback(_)) {
            // The process of a TCP client is not known.
            settings.per_process = usize::MAX;
        }
        serve(listener, door, router, settings, limiter, stop)
    }
}

#[cfg(test)]
mod tests;
