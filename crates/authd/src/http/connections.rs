//! Accepts the connections of a listener, limits them, and serves each within its deadlines.

use std::{
    borrow::Borrow,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Request, response::Response};
use http::header;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{io::AsyncReadExt, sync::Notify};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;
use tracing::{debug, warn};

use super::{
    body_tracking::BodyStatus,
    extract::contains_any,
    peer::{Door, Peer},
};
use crate::{
    platform::{ClientListener, ClientStream, ConnectionLimiter, ProcessLimiter, ProcessReader},
    relay::{BodyEvent, BodyObserver, ObservedBody, UpgradeSlot},
};

/// Longest head of a request, in bytes. The longest legitimate one holds a few tokens.
const MAX_HEAD: usize = 64 << 10;

/// How long a shutdown waits for a connection's first request, and for the rest of a request's
/// head.
const GRACE: Duration = Duration::from_millis(500);

/// How long a shutdown waits for an interruptible response.
const INTERRUPT_AFTER: Duration = Duration::from_secs(1);

/// How long an evicted connection may take to send the rest of its last response.
const EVICTION_GRACE: Duration = Duration::from_millis(20);

/// How much of an unread body is drained, in bytes, and for how long.
const MAX_DRAIN: u64 = 16 << 20;
const DRAIN_DEADLINE: Duration = Duration::from_secs(2);

/// The limits of a connection.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionSettings {
    /// How many connections one process may hold.
    pub(crate) per_process: usize,
    /// How long a connection may be idle or take for a request's head.
    pub(crate) head_deadline: Duration,
    /// Reads the process of each connection for the audit log.
    pub(crate) processes: Arc<ProcessReader>,
}

/// Serves connections until the shutdown, then finishes the responses in progress.
pub(crate) async fn serve(
    listener: impl Borrow<ClientListener>,
    door: Door,
    router: Router,
    settings: ConnectionSettings,
    limiter: ConnectionLimiter,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let processes = ProcessLimiter::new(settings.per_process);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.borrow().accept() => accepted,
        };
        match accepted {
            Ok(stream) => {
                let slot = tokio::select! {
                    // An accepted connection is served even during the shutdown.
                    biased;
                    slot = limiter.admit() => slot,
                    () = stop.cancelled() => break,
                };
                let peer = Arc::new(Peer::of(&stream, door.clone(), &processes, slot));
                let served = connection(stream, router.clone(), settings.clone(), peer.clone(), stop.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = served => {}
                        () = peer.share_ended() => debug!("connection closed at the end of its share"),
                    }
                });
            }
            Err(error) => {
                // Most likely there are no file descriptors left.
                warn!(%error, "connection not accepted");
                limiter.pause_after_failed_accept().await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection(
    stream: ClientStream,
    router: Router,
    settings: ConnectionSettings,
    peer: Arc<Peer>,
    stop: CancellationToken,
) {
    peer.identify(&stream, &settings.processes);
    let received = Arc::new(Notify::new());
    let first_request = received.clone();
    // Whether the last response was sent before its request was read.
    let unread = Arc::new(AtomicBool::new(false));
    let set_unread = unread.clone();
    let upgrade_slot = UpgradeSlot::default();
    let offered_slot = upgrade_slot.clone();
    let request_peer = peer.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        received.notify_one();
        let busy = Busy::new(request_peer.clone());
        let (body_status, mut request) = BodyStatus::track(request, &request_peer);
        if contains_any(request.headers(), &[header::UPGRADE]) {
            request.extensions_mut().insert(offered_slot.clone());
        }
        request.extensions_mut().insert(request_peer.clone());
        let (mut router, set_unread) = (router.clone(), set_unread.clone());
        async move {
            let mut response: Response = match router.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            body_status.close_if_unread(&mut response);
            let closes = |(name, value): (_, &_)| name == header::CONNECTION && value == "close";
            if response.headers().iter().any(closes) {
                set_unread.store(true, Ordering::Relaxed);
            }
            Ok::<_, Infallible>(response.map(|body| ObservedBody::new(body, busy)))
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head_deadline)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let ended = tokio::select! {
        // A request that has arrived is read first, so that its connection is not evicted.
        biased;
        ended = &mut connection => ended,
        () = peer.slot.evicted() => {
            debug!("idle connection closed to make room");
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            match finish(&mut connection, &peer, EVICTION_GRACE, &stop).await {
                Some(ended) => ended,
                None => return,
            }
        }
        () = stop.cancelled() => {
            // hyper closes a connection at once if it has read nothing yet. A client that has just
            // connected is about to send its request.
            tokio::select! {
                _ = &mut connection => return,
                () = first_request.notified() => {}
                () = tokio::time::sleep(GRACE) => {}
            }
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            match finish(&mut connection, &peer, GRACE, &stop).await {
                Some(ended) => ended,
                None => return,
            }
        }
    };
    match ended {
        Ok(()) if unread.load(Ordering::Relaxed) => {
            if let Some(parts) = connection.into_parts() {
                tokio::select! {
                    () = drain(parts.io.into_inner()) => {}
                    () = peer.slot.evicted() => {}
                }
            }
        }
        Ok(()) => {}
        Err(error) => debug!(%error, "connection ended"),
    }
    if let Some(tunnel) = upgrade_slot.take() {
        let _busy = Busy::new(peer);
        tunnel.run(&stop).await;
    }
}

/// Waits for the end of a connection that shuts down: for a response in progress as long as it
/// takes, unless a shutdown may interrupt it, else for `grace`. `None` if the connection has not
/// ended by then.
async fn finish<C: Future + Unpin>(
    connection: &mut C,
    peer: &Peer,
    grace: Duration,
    stop: &CancellationToken,
) -> Option<C::Output> {
    let interrupt = async {
        stop.cancelled().await;
        tokio::time::sleep(INTERRUPT_AFTER).await;
    };
    let mut interrupt = std::pin::pin!(interrupt);
    loop {
        tokio::select! {
            biased;
            ended = &mut *connection => return Some(ended),
            () = &mut interrupt, if peer.is_interruptible() => return None,
            () = tokio::time::sleep(grace) => if peer.slot.is_idle() { return None },
        }
    }
}

/// Reads the rest of a request after its response, so that a client that reads the response only
/// when it has sent everything receives it.
async fn drain(stream: ClientStream) {
    let (mut rest, mut nowhere) = (stream.take(MAX_DRAIN), tokio::io::sink());
    drop(tokio::time::timeout(DRAIN_DEADLINE, tokio::io::copy(&mut rest, &mut nowhere)).await);
}

/// Marks the connection as busy until it is dropped.
struct Busy(Arc<Peer>);

impl Busy {
    fn new(peer: Arc<Peer>) -> Self {
        peer.slot.set_busy();
        Self(peer)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.slot.set_idle();
    }
}

/// Keeps the connection busy until the last frame of a response is sent.
impl BodyObserver for Busy {
    fn observe(&mut self, _: BodyEvent<'_>) {}
}
