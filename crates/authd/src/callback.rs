//! The persistent callback server: where browsers return to after a sign-in. It listens on both loopback
//! addresses for as long as the daemon runs. When another program asks politely for its first port, it leaves that,
//! moves to the next configured one that is free, and takes the first one back later. What a return means is decided by the logins.

use std::{convert::Infallible, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use authd_api::CallbackState;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

mod door;
mod page;
mod ports;
#[cfg(test)]
mod tests;

use door::Door;
pub(crate) use page::{Arrival, Link, Who};
use ports::{Bound, Trouble};

use crate::{
    hygiene,
    limits::{self, ConnectionLimiter, Slot},
};

/// Where links to a login's authorize URL are; the rest of the path is a token.
pub(crate) const LINK_PATH: &str = "/go/";

/// How often a port that somebody else has is looked at. Nothing looks while the first port is ours.
const LOOK: Duration = Duration::from_secs(5);

/// How often it is looked whether the program that we gave the port to is done with it.
const LOOK_YIELDED: Duration = Duration::from_secs(1);

/// How long to wait for a connection to close before the next try to accept one, if the last try failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a stop waits for a browser that has connected to ask.
const GRACE: Duration = Duration::from_millis(500);

/// The longest head of a request: longer ones are refused before they are read to the end.
const MAX_HEAD: usize = 16 << 10;

/// What the server asks the logins.
pub(crate) trait Arrivals: Clone + Send + Sync + 'static {
    /// What a browser's return means. The state is checked before anything has an effect.
    fn arrive(&self, query: &str) -> impl Future<Output = Arrival> + Send;

    /// Where the link with this token leads. To ask is to use it.
    fn follow(&self, token: &str) -> Link;

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
    max_connections: usize,
    head_deadline: Duration,
    whole_deadline: Duration,
}

/// What every round of listening needs.
struct Context<A> {
    arrivals: A,
    facts: watch::Sender<CallbackFacts>,
    connections: TaskTracker,
    limiter: ConnectionLimiter,
    stop: CancellationToken,
}

/// The first port, while it is left to another program.
struct Yielded {
    port: u16,
    /// Ready when the port can be taken back.
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
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
        let max_connections = limits::callback_connections(hygiene::open_file_limit());
        Self { ports, yield_for, max_connections, head_deadline, whole_deadline }
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
        let limiter = ConnectionLimiter::new(self.max_connections);
        let context = Context { arrivals, facts, connections, limiter, stop };
        let mut next = Bound::inherited(inherited);
        let mut yielded = None;
        loop {
            match next.take().map_or_else(|| self.bind(yielded.as_ref()), Ok) {
                Ok(bound) => {
                    let addresses = bound.addresses();
                    info!(?addresses, "browsers can return");
                    context.show(CallbackState::Listening, addresses, bound.trouble.clone());
                    match self.listen(&bound, &mut yielded, &context).await {
                        Ended::Stopped => break,
                        Ended::FirstPortFree(first) => next = Some(first),
                        Ended::Yielded => {
                            let port = bound.port();
                            info!(port, "the callback's port is left to a program that asked for it");
                            yielded =
                                Some(Yielded { port, over: Box::pin(while_used(port, self.yield_for)) });
                        }
                    }
                }
                Err(trouble) => {
                    let detail = &trouble.detail;
                    if context.facts.borrow().detail.as_ref() != Some(detail) {
                        warn!(detail, "no browser can return; pasting and device logins work");
                    }
                    let state = match yielded {
                        Some(_) => CallbackState::Yielded,
                        None => CallbackState::Unavailable,
                    };
                    context.show(state, Vec::new(), Some(trouble));
                    tokio::select! {
                        () = tokio::time::sleep(LOOK) => {}
                        () = taken_back(&mut yielded) => {}
                        () = context.stop.cancelled() => break,
                    }
                }
            }
        }
        context.connections.close();
        context.connections.wait().await;
    }

    /// The first port that is free, other than the one that is left to another program.
    fn bind(&self, yielded: Option<&Yielded>) -> Result<Bound, Trouble> {
        let Some(Yielded { port, .. }) = yielded else { return ports::bind_first(&self.ports) };
        let detail = format!("port {port} was left to a program that asked for it");
        let trouble = Trouble { detail, taken: None };
        // It is always the first one.
        match ports::bind_first(&self.ports[1..]) {
            Ok(mut bound) => {
                bound.trouble = Some(trouble);
                Ok(bound)
            }
            Err(_) => Err(trouble),
        }
    }

    async fn listen<A: Arrivals>(
        &self,
        bound: &Bound,
        yielded: &mut Option<Yielded>,
        context: &Context<A>,
    ) -> Ended {
        let Context { arrivals, connections, limiter, stop, .. } = context;
        let asked_to_yield = Arc::new(Notify::new());
        // The Codex CLI asks for the first port alone. If the others were left, too, any program could keep browsers
        // out with one request for each.
        let leaves = !bound.held && !bound.is_fallback();
        let door = Door { port: bound.port(), leaves, asked_to_yield: asked_to_yield.clone() };
        let mut look = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => return Ended::Stopped,
                () = asked_to_yield.notified() => return Ended::Yielded,
                stream = bound.accept() => stream,
                () = taken_back(yielded) => {
                    look.reset_immediately();
                    continue;
                }
                _ = look.tick(), if bound.is_fallback() && yielded.is_none() => {
                    // A login that is pending names the port we are on.
                    if arrivals.pending() > 0 {
                        continue;
                    }
                    match ports::bind_first(&self.ports[..1]) {
                        Ok(first) => return Ended::FirstPortFree(first),
                        Err(trouble) => {
                            context.show(CallbackState::Listening, bound.addresses(), Some(trouble));
                            continue;
                        }
                    }
                }
            };
            let stream = match stream {
                Ok(stream) => stream,
                Err(error) => {
                    warn!(%error, "a browser's connection could not be accepted");
                    drop(tokio::time::timeout(ACCEPT_PAUSE, limiter.close_one()).await);
                    continue;
                }
            };
            // Connections that have sent no request for the longest time make room.
            let slot = tokio::select! {
                () = stop.cancelled() => return Ended::Stopped,
                slot = limiter.admit() => slot,
            };
            connections.spawn(self.clone().serve(stream, slot, door.clone(), arrivals.clone(), stop.clone()));
        }
    }

    async fn serve<A: Arrivals>(
        self,
        stream: TcpStream,
        slot: Slot,
        door: Door,
        arrivals: A,
        stop: CancellationToken,
    ) {
        let service = service_fn(|request: Request<Incoming>| {
            slot.set_busy();
            let (door, arrivals) = (&door, &arrivals);
            async move { Ok::<Response<_>, Infallible>(door.answer(&request, arrivals).await) }
        });
        // A stop waits for an answer that is under way, and not for a browser that has not asked.
        let left = async {
            stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
            if !slot.is_idle() {
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
            // A request that has arrived is read before anything else, so that an eviction finds out about it.
            biased;
            ended = tokio::time::timeout(self.whole_deadline, connection) => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "a browser's connection broke off"),
                Err(_) => debug!("a browser's connection took too long"),
            },
            () = slot.evicted() => debug!("a connection without a request is closed to make room for a new one"),
            () = left => {}
        }
    }
}

impl<A> Context<A> {
    /// Publishes how the server is, if that has changed.
    fn show(&self, state: CallbackState, addresses: Vec<SocketAddr>, trouble: Option<Trouble>) {
        let (detail, taken) = trouble.map(|trouble| (trouble.detail, trouble.taken)).unzip();
        let shown = CallbackFacts { state, addresses, detail, taken: taken.flatten(), settled: true };
        self.facts.send_if_modified(|facts| std::mem::replace(facts, shown.clone()) != shown);
    }
}

/// Returns when the port that is left to another program can be taken back, if there is one.
async fn taken_back(yielded: &mut Option<Yielded>) {
    match yielded {
        Some(port) => (&mut port.over).await,
        None => std::future::pending().await,
    }
    *yielded = None;
}

/// Waits until the port was used and is free again, or the time is up.
async fn while_used(port: u16, longest: Duration) {
    let done_with_it = async {
        let mut seen = false;
        loop {
            tokio::time::sleep(LOOK_YIELDED.min(longest)).await;
            let used = TcpStream::connect(("127.0.0.1", port)).await.is_ok();
            if seen && !used {
                return;
            }
            seen |= used;
        }
    };
    drop(tokio::time::timeout(longest, done_with_it).await);
}
