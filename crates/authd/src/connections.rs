//! The connections on the socket: accepted, counted, each served under its deadlines. What is said on
//! them is the router's business.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, extract::Request};
use bytes::Bytes;
use http::header;
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::AsyncReadExt,
    net::{UnixListener, UnixStream},
    sync::Notify,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::{
    answer::carries,
    hygiene,
    limits::{self, ConnectionLimiter, ProcessLimiter},
    peer::Peer,
    server::Guarded,
    tunnel::Switch,
};

/// The longest head of a request: the longest honest one holds a few tokens.
const MAX_HEAD: usize = 64 << 10;

/// How long a stop waits for a connection's first request, and for the rest of a request's head.
const GRACE: Duration = Duration::from_millis(500);

/// How long after a stop an answer is cut that neither refreshes nor saves anything.
const CUT_AFTER: Duration = Duration::from_secs(1);

/// How long an evicted connection may take to send what is left of its last answer.
const EVICTION_GRACE: Duration = Duration::from_millis(20);

/// How long to wait for a connection to close before the next try to accept one, if the last try failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How much is read of a body that nobody wants, and for how long.
const MAX_REST: u64 = 16 << 20;
const REST_DEADLINE: Duration = Duration::from_secs(2);

/// What bounds the connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How many one process may hold; it is told when it has more.
    pub(crate) per_process: usize,
    /// How long a connection may take over a request's head, or do nothing at all.
    pub(crate) head_deadline: Duration,
}

/// Serves connections until told to stop; then lets the answers that are under way go out.
pub(crate) async fn serve(listener: &UnixListener, routes: Guarded, bounds: Bounds, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let limiter = ConnectionLimiter::new(limits::socket_connections(hygiene::open_file_limit()));
    let processes = ProcessLimiter::new(bounds.per_process);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let slot = tokio::select! {
                    // A connection that was accepted is served, also while the daemon stops.
                    biased;
                    slot = limiter.admit() => slot,
                    () = stop.cancelled() => break,
                };
                let peer = Peer::of(&stream, &processes, slot);
                connections.spawn(connection(stream, routes.clone(), bounds, peer, stop.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely.
                warn!(%error, "a connection could not be accepted");
                drop(tokio::time::timeout(ACCEPT_PAUSE, limiter.close_one()).await);
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection(
    stream: UnixStream,
    routes: Guarded,
    bounds: Bounds,
    peer: Peer,
    stop: CancellationToken,
) {
    let peer = Arc::new(peer);
    let asked = Arc::new(Notify::new());
    let first_request = asked.clone();
    // The last answer came before the end of its request.
    let cut_short = Arc::new(AtomicBool::new(false));
    let cutting = cut_short.clone();
    let switch = Switch::default();
    let offered = switch.clone();
    let answering = peer.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        asked.notify_one();
        let busy = Busy::new(answering.clone());
        // Whoever wants another protocol may need the whole connection.
        if carries(request.headers(), &[header::UPGRADE]) {
            request.extensions_mut().insert(offered.clone());
        }
        let (routes, cutting) = (routes.clone(), cutting.clone());
        async move {
            let answer = routes.answer(&busy.0, request).await;
            let ends = |(name, value): (_, &_)| name == header::CONNECTION && value == "close";
            if answer.headers().iter().any(ends) {
                cutting.store(true, Ordering::Relaxed);
            }
            Ok::<_, Infallible>(answer.map(|body| UnderWay { body, _busy: busy }))
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_deadline)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let ended = tokio::select! {
        // A request that has arrived is read before anything else, so that an eviction finds out about it.
        biased;
        ended = &mut connection => ended,
        () = peer.slot.evicted() => {
            debug!("an idle connection is closed to make room for a new one");
            Pin::new(&mut connection).graceful_shutdown();
            match wind_down(&mut connection, &peer, EVICTION_GRACE, &stop).await {
                Some(ended) => ended,
                None => return,
            }
        }
        () = stop.cancelled() => {
            // hyper hangs up at once where it has read nothing yet. Whoever has just connected is about
            // to ask, and was not told to ask somebody else.
            tokio::select! {
                _ = &mut connection => return,
                () = first_request.notified() => {}
                () = tokio::time::sleep(GRACE) => {}
            }
            Pin::new(&mut connection).graceful_shutdown();
            match wind_down(&mut connection, &peer, GRACE, &stop).await {
                Some(ended) => ended,
                None => return,
            }
        }
    };
    match ended {
        Ok(()) if cut_short.load(Ordering::Relaxed) => {
            if let Some(parts) = connection.into_parts() {
                tokio::select! {
                    () = drain(parts.io.into_inner()) => {}
                    () = peer.slot.evicted() => {}
                }
            }
        }
        Ok(()) => {}
        Err(error) => debug!(%error, "a connection broke off"),
    }
    if let Some(tunnel) = switch.thrown() {
        let _busy = Busy::new(peer);
        tunnel.run(&stop).await;
    }
}

/// Waits for the end of a connection that was told to shut down: for an answer that is under way as long as it takes,
/// unless a stop may cut it, and else for this long. None: it has not ended by then.
async fn wind_down<C: Future + Unpin>(
    connection: &mut C,
    peer: &Peer,
    grace: Duration,
    stop: &CancellationToken,
) -> Option<C::Output> {
    let cut = async {
        stop.cancelled().await;
        tokio::time::sleep(CUT_AFTER).await;
    };
    let mut cut = std::pin::pin!(cut);
    loop {
        tokio::select! {
            biased;
            ended = &mut *connection => return Some(ended),
            () = &mut cut, if peer.may_be_cut() => return None,
            () = tokio::time::sleep(grace) => if peer.slot.is_idle() { return None },
        }
    }
}

/// Reads what a client still writes that has been answered, to no purpose but that one which looks for its
/// answer only when it has sent everything gets to see it.
async fn drain(stream: UnixStream) {
    let (mut rest, mut nowhere) = (stream.take(MAX_REST), tokio::io::sink());
    drop(tokio::time::timeout(REST_DEADLINE, tokio::io::copy(&mut rest, &mut nowhere)).await);
}

/// A request that is being answered: as long as this is there, the connection is not idle.
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

/// An answer's body. The answer is under way until the last piece of it is.
struct UnderWay {
    body: Body,
    _busy: Busy,
}

impl http_body::Body for UnderWay {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
