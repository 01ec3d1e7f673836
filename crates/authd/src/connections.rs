//! The connections on the socket: accepted, counted, each served under its deadlines. What is said on
//! them is the router's business.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
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
    server::{Guarded, Peer},
    socket,
    tunnel::Switch,
};

/// The longest head of a request: the longest honest one holds a few tokens.
const MAX_HEAD: usize = 64 << 10;

/// How long a stop waits for a connection's first request, and for the rest of a request's head.
const GRACE: Duration = Duration::from_millis(500);

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
    let crowd = Crowd::default();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, routes.clone(), bounds, crowd.clone(), stop.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: those in use come back by their deadlines.
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
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
    crowd: Crowd,
    stop: CancellationToken,
) {
    let place = crowd.join(socket::peer_pid(&stream));
    let peer = match &place {
        _ if !socket::is_own(&stream) => Peer::Foreign,
        place if place.position > bounds.per_process => Peer::Crowding,
        _ => Peer::Own,
    };
    // Whoever holds a clone of this is a request that is being answered.
    let answering = Arc::new(());
    let idle = Arc::downgrade(&answering);
    let asked = Arc::new(Notify::new());
    let first_request = asked.clone();
    // The last answer came before the end of its request.
    let cut_short = Arc::new(AtomicBool::new(false));
    let cutting = cut_short.clone();
    let switch = Switch::default();
    let offered = switch.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        asked.notify_one();
        // Whoever wants another protocol may need the whole connection.
        if carries(request.headers(), &[header::UPGRADE]) {
            request.extensions_mut().insert(offered.clone());
        }
        let (answer, answering) = (routes.clone().answer(peer, request), answering.clone());
        let cutting = cutting.clone();
        async move {
            let answer = answer.await;
            let ends = |(name, value): (_, &_)| name == header::CONNECTION && value == "close";
            if answer.headers().iter().any(ends) {
                cutting.store(true, Ordering::Relaxed);
            }
            Ok::<_, Infallible>(answer.map(|body| UnderWay { body, _answering: answering }))
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_deadline)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            // hyper hangs up at once where it has read nothing yet. Whoever has just connected is about
            // to ask, and was not told to ask somebody else.
            tokio::select! {
                _ = &mut connection => return,
                () = first_request.notified() => {}
                () = tokio::time::sleep(GRACE) => {}
            }
            Pin::new(&mut connection).graceful_shutdown();
            // A request that was already on its way here is answered; half of one is not waited for.
            loop {
                match tokio::time::timeout(GRACE, &mut connection).await {
                    Ok(ended) => break ended,
                    Err(_) if idle.strong_count() > 1 => {}
                    Err(_) => return,
                }
            }
        }
    };
    match ended {
        Ok(()) if cut_short.load(Ordering::Relaxed) => {
            if let Some(parts) = connection.into_parts() {
                drain(parts.io.into_inner()).await;
            }
        }
        Ok(()) => {}
        Err(error) => debug!(%error, "a connection broke off"),
    }
    if let Some(tunnel) = switch.thrown() {
        tunnel.run(&stop).await;
    }
}

/// Reads what a client still writes that has been answered, to no purpose but that one which looks for its
/// answer only when it has sent everything gets to see it.
async fn drain(stream: UnixStream) {
    let (mut rest, mut nowhere) = (stream.take(MAX_REST), tokio::io::sink());
    drop(tokio::time::timeout(REST_DEADLINE, tokio::io::copy(&mut rest, &mut nowhere)).await);
}

/// An answer's body. The answer is under way until the last piece of it is.
struct UnderWay {
    body: Body,
    _answering: Arc<()>,
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

/// How many connections each process holds.
#[derive(Clone, Default)]
struct Crowd(Arc<Mutex<HashMap<Option<i32>, usize>>>);

/// One connection's place among its process's; given back when dropped.
struct Place {
    crowd: Crowd,
    pid: Option<i32>,
    position: usize,
}

impl Crowd {
    fn join(&self, pid: Option<i32>) -> Place {
        let mut counts = self.counts();
        let count = counts.entry(pid).or_default();
        *count += 1;
        Place { crowd: self.clone(), pid, position: *count }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Option<i32>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts();
        if let Some(count) = counts.get_mut(&self.pid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.pid);
            }
        }
    }
}
