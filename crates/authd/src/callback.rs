//! The persistent callback server: where browsers return to after a sign-in. It listens on both loopback
//! addresses for as long as the daemon runs, gives its port away when another program asks politely,
//! and takes it back. What a return means is decided by the logins.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use authd_api::CallbackState;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

mod door;
mod page;
mod ports;
#[cfg(test)]
mod tests;

use door::Door;
pub(crate) use page::{Arrival, Who};
use ports::{Bound, Trouble};

/// How often a port that somebody else has is looked at. Nothing looks while the first port is ours.
const LOOK: Duration = Duration::from_secs(5);

/// How often it is looked whether the program that we gave the port to is done with it.
const LOOK_YIELDED: Duration = Duration::from_secs(1);

/// More browsers do not return at once.
const MAX_CONNECTIONS: usize = 64;

/// How long a stop waits for a browser that has connected to ask.
const GRACE: Duration = Duration::from_millis(500);

/// The longest head of a request: longer ones are refused before they are read to the end.
const MAX_HEAD: usize = 16 << 10;

/// What the server asks the logins.
pub(crate) trait Arrivals: Clone + Send + Sync + 'static {
    /// What a browser's return means. The state is checked before anything has an effect.
    fn arrive(&self, query: &str) -> impl Future<Output = Arrival> + Send;

    /// How many logins wait for their person.
    fn pending(&self) -> usize;
}

/// How the server is, for everybody to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallbackFacts {
    /// Whether a browser would be answered.
    pub(crate) state: CallbackState,
    /// Where it listens.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Why it does not, or not where it should.
    pub(crate) detail: Option<String>,
    /// The port that it should have, if another program has it.
    pub(crate) taken: Option<u16>,
    settled: bool,
}

impl CallbackFacts {
    /// The port that a redirect URI may name.
    pub(crate) fn port(&self) -> Option<u16> {
        self.addresses.first().map(SocketAddr::port)
    }
}

impl Default for CallbackFacts {
    fn default() -> Self {
        let (state, addresses) = (CallbackState::Unavailable, Vec::new());
        Self { state, addresses, detail: None, taken: None, settled: false }
    }
}

/// Waits until it is known whether the server listens.
pub(crate) async fn settled(mut facts: watch::Receiver<CallbackFacts>) {
    drop(facts.wait_for(|facts| facts.settled).await);
}

/// The server, before it runs.
#[derive(Clone, Debug)]
pub(crate) struct CallbackServer {
    ports: Vec<u16>,
    yield_for: Duration,
    head_deadline: Duration,
    whole_deadline: Duration,
}

/// Why a round of listening ended.
enum Ended {
    Stopped,
    Yielded,
    FirstPortFree(Bound),
}

impl CallbackServer {
    /// A server on the first of these ports that is free.
    pub(crate) fn new(ports: Vec<u16>, yield_for: Duration) -> Self {
        // An exchange may take a while, and its browser waits for it.
        let (head_deadline, whole_deadline) = (Duration::from_secs(10), Duration::from_secs(120));
        Self { ports, yield_for, head_deadline, whole_deadline }
    }

    /// Serves until told to stop. Listeners that were open before come first.
    pub(crate) async fn run<A: Arrivals>(
        self,
        arrivals: A,
        facts: watch::Sender<CallbackFacts>,
        inherited: Vec<std::net::TcpListener>,
        stop: CancellationToken,
    ) {
        let connections = TaskTracker::new();
        let mut next = Bound::inherited(inherited);
        loop {
            let bound = match next.take().map_or_else(|| ports::bind_first(&self.ports), Ok) {
                Ok(bound) => bound,
                Err(trouble) => {
                    if facts.borrow().detail.as_ref() != Some(&trouble.detail) {
                        let detail = &trouble.detail;
                        warn!(detail, "no browser can return; pasting and device logins work");
                    }
                    show(&facts, CallbackState::Unavailable, Vec::new(), Some(trouble));
                    tokio::select! {
                        () = tokio::time::sleep(LOOK) => continue,
                        () = stop.cancelled() => break,
                    }
                }
            };
            let addresses = bound.addresses();
            info!(?addresses, "browsers can return");
            show(&facts, CallbackState::Listening, addresses, bound.trouble.clone());
            match self.listen(&bound, &arrivals, &connections, &stop).await {
                Ended::Stopped => break,
                Ended::FirstPortFree(first) => next = Some(first),
                Ended::Yielded => {
                    let port = bound.port();
                    drop(bound);
                    info!(port, "the callback's port is left to a program that asked for it");
                    let detail = format!("port {port} was left to a program that asked for it");
                    let trouble = Trouble { detail, taken: None };
                    show(&facts, CallbackState::Yielded, Vec::new(), Some(trouble));
                    tokio::select! {
                        () = self.while_used(port) => {}
                        () = stop.cancelled() => break,
                    }
                }
            }
        }
        connections.close();
        connections.wait().await;
    }

    async fn listen<A: Arrivals>(
        &self,
        bound: &Bound,
        arrivals: &A,
        connections: &TaskTracker,
        stop: &CancellationToken,
    ) -> Ended {
        let asked_to_yield = Arc::new(Notify::new());
        let door = Door { port: bound.port(), leaves: !bound.held, asked_to_yield: asked_to_yield.clone() };
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => return Ended::Stopped,
                () = asked_to_yield.notified() => return Ended::Yielded,
                stream = bound.accept() => stream,
                () = tokio::time::sleep(LOOK), if bound.is_fallback() => {
                    // A login that is pending names the port we are on.
                    if arrivals.pending() == 0
                        && let Ok(first) = ports::bind_first(&self.ports[..1])
                    {
                        return Ended::FirstPortFree(first);
                    }
                    continue;
                }
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                debug!("too many browsers at once");
                continue;
            };
            let serving = self.clone().serve(stream, door.clone(), arrivals.clone(), stop.clone());
            connections.spawn(async move {
                serving.await;
                drop(place);
            });
        }
    }

    async fn serve<A: Arrivals>(self, stream: TcpStream, door: Door, arrivals: A, stop: CancellationToken) {
        let asked = AtomicBool::new(false);
        let service = service_fn(|request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let (door, arrivals) = (&door, &arrivals);
            async move { Ok::<Response<_>, Infallible>(door.answer(&request, arrivals).await) }
        });
        // A stop waits for an answer that is under way, and not for a browser that has not asked.
        let left = async {
            stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
            if asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_deadline)
            .max_buf_size(MAX_HEAD)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            ended = tokio::time::timeout(self.whole_deadline, connection) => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "a browser's connection broke off"),
                Err(_) => debug!("a browser's connection took too long"),
            },
            () = left => {}
        }
    }

    /// Waits until the port was used and is free again, or the time is up.
    async fn while_used(&self, port: u16) {
        let done_with_it = async {
            let mut seen = false;
            loop {
                tokio::time::sleep(LOOK_YIELDED.min(self.yield_for)).await;
                let used = TcpStream::connect(("127.0.0.1", port)).await.is_ok();
                if seen && !used {
                    return;
                }
                seen |= used;
            }
        };
        drop(tokio::time::timeout(self.yield_for, done_with_it).await);
    }
}

fn show(
    facts: &watch::Sender<CallbackFacts>,
    state: CallbackState,
    addresses: Vec<SocketAddr>,
    trouble: Option<Trouble>,
) {
    let (detail, taken) = trouble.map(|trouble| (trouble.detail, trouble.taken)).unzip();
    facts.send_replace(CallbackFacts { state, addresses, detail, taken: taken.flatten(), settled: true });
}

/// Accepting from a listener that may not be there.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                warn!(%error, "a browser's connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
