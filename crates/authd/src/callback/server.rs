//! The persistent callback server. It listens on its addresses while the daemon runs: by default on
//! both of loopback. Other machines can reach the others, so those serve the redirect alone.
//! When another program requests its first port, it yields the port, moves to the next free one,
//! and takes the first one back later. The logins handle the redirects.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use authd_api::CallbackState;
use authd_broker::CallbackServerState;
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

use super::{
    handler::CallbackHandler,
    port_yield::{Yielded, taken_back, until_unused},
    ports::{self, BindError, BoundPort},
    request::RequestHandler,
};
use crate::platform::{ConnectionLimiter, Slot, callback_connections, open_file_limit};

/// Interval at which a used first port is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// How long a shutdown waits for the request of a browser that has connected.
const GRACE: Duration = Duration::from_millis(500);

/// Longest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// Waits until the server has tried to listen.
pub(crate) async fn wait_until_tried(mut state: watch::Receiver<CallbackServerState>) {
    drop(state.wait_for(|state| state.has_tried).await);
}

/// The server, before it runs.
#[derive(Clone, Debug)]
pub(crate) struct CallbackServer {
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
    yield_for: Duration,
    pub(super) max_connections: usize,
    head_deadline: Duration,
    deadline: Duration,
}

/// What every listener needs.
pub(super) struct Context<H> {
    pub(super) handler: H,
    pub(super) state: watch::Sender<CallbackServerState>,
    pub(super) connections: TaskTracker,
    pub(super) limiter: ConnectionLimiter,
    pub(super) stop: CancellationToken,
}

/// Why a listener ended.
pub(super) enum ListenEnd {
    Stopped,
    Yielded,
    FirstPortFree(BoundPort),
}

impl CallbackServer {
    /// A server on these addresses, and on the first of these ports that is free there.
    pub(crate) fn new(addresses: Vec<IpAddr>, ports: Vec<u16>, yield_for: Duration) -> Self {
        // The browser waits for the code exchange.
        let (head_deadline, deadline) = (Duration::from_secs(10), Duration::from_secs(120));
        let max_connections = callback_connections(open_file_limit());
        Self { addresses, ports, yield_for, max_connections, head_deadline, deadline }
    }

    /// Serves until the shutdown. Inherited listeners are used first.
    pub(crate) async fn run<H: CallbackHandler>(
        self,
        handler: H,
        state: watch::Sender<CallbackServerState>,
        inherited: Vec<std::net::TcpListener>,
        stop: CancellationToken,
    ) {
        let connections = TaskTracker::new();
        let limiter = ConnectionLimiter::new(self.max_connections);
        let context = Context { handler, state, connections, limiter, stop };
        let mut next = BoundPort::inherited(inherited, &self.addresses);
        let mut yielded = None;
        loop {
            match next.take().map_or_else(|| self.bind(yielded.as_ref()), Ok) {
                Ok(bound) => {
                    let addresses = bound.addresses();
                    info!(?addresses, "callback server listening");
                    if addresses.iter().any(|address| !address.ip().is_loopback()) {
                        warn!("other machines can reach the callback server; see [callback] addresses");
                    }
                    context.publish(CallbackState::Listening, addresses, bound.fallback_reason.clone());
                    match self.listen(&bound, &mut yielded, &context).await {
                        ListenEnd::Stopped => break,
                        ListenEnd::FirstPortFree(first) => next = Some(first),
                        ListenEnd::Yielded => {
                            let port = bound.port();
                            info!(port, "callback port yielded to another program");
                            yielded =
                                Some(Yielded { port, done: Box::pin(until_unused(port, self.yield_for)) });
                        }
                    }
                }
                Err(error) => {
                    let detail = &error.detail;
                    if context.state.borrow().detail.as_ref() != Some(detail) {
                        warn!(detail, "callback server not listening; pasted and device logins still work");
                    }
                    let state = match yielded {
                        Some(_) => CallbackState::Yielded,
                        None => CallbackState::Unavailable,
                    };
                    context.publish(state, Vec::new(), Some(error));
                    tokio::select! {
                        () = tokio::time::sleep(RETRY) => {}
                        () = taken_back(&mut yielded) => {}
                        () = context.stop.cancelled() => break,
                    }
                }
            }
        }
        context.connections.close();
        context.connections.wait().await;
    }

    /// Binds the first free port, except a yielded one.
    fn bind(&self, yielded: Option<&Yielded>) -> Result<BoundPort, BindError> {
        let Some(Yielded { port, .. }) = yielded else { return self.bind_first(&self.ports) };
        let detail = format!("port {port} is yielded to another program");
        let error = BindError { detail, taken: None };
        // Only the first port is ever yielded.
        match self.bind_first(&self.ports[1..]) {
            Ok(mut bound) => {
                bound.fallback_reason = Some(error);
                Ok(bound)
            }
            Err(_) => Err(error),
        }
    }

    fn bind_first(&self, ports: &[u16]) -> Result<BoundPort, BindError> {
        ports::bind_first(&self.addresses, ports)
    }

    pub(super) async fn listen<H: CallbackHandler>(
        &self,
        bound: &BoundPort,
        yielded: &mut Option<Yielded>,
        context: &Context<H>,
    ) -> ListenEnd {
        let Context { handler, connections, limiter, stop, .. } = context;
        let yield_requested = Arc::new(Notify::new());
        // The Codex CLI requests only the first port. If all ports could be yielded, any program
        // could keep browsers out with one request for each.
        let can_yield = !bound.manager_owned && !bound.is_fallback();
        let requests = RequestHandler {
            port: bound.port(),
            is_exposed: false,
            can_yield,
            yield_requested: yield_requested.clone(),
        };
        let mut retry = tokio::time::interval_at(Instant::now() + RETRY, RETRY);
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => return ListenEnd::Stopped,
                () = yield_requested.notified() => return ListenEnd::Yielded,
                stream = bound.accept() => stream,
                () = taken_back(yielded) => {
                    retry.reset_immediately();
                    continue;
                }
                _ = retry.tick(), if bound.is_fallback() && yielded.is_none() => {
                    // A pending login has the current port in its redirect URI.
                    if handler.pending() > 0 {
                        continue;
                    }
                    match self.bind_first(&self.ports[..1]) {
                        Ok(first) => return ListenEnd::FirstPortFree(first),
                        Err(error) => {
                            context.publish(CallbackState::Listening, bound.addresses(), Some(error));
                            continue;
                        }
                    }
                }
            };
            let (stream, ip) = match stream {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "callback connection not accepted");
                    limiter.pause_after_failed_accept().await;
                    continue;
                }
            };
            // Evicts the connections that have been idle longest.
            let slot = tokio::select! {
                () = stop.cancelled() => return ListenEnd::Stopped,
                slot = limiter.admit() => slot,
            };
            connections.spawn(self.clone().serve(
                stream,
                slot,
                RequestHandler { is_exposed: !ip.is_loopback(), ..requests.clone() },
                handler.clone(),
                stop.clone(),
            ));
        }
    }

    async fn serve<H: CallbackHandler>(
        self,
        stream: TcpStream,
        slot: Slot,
        requests: RequestHandler,
        handler: H,
        stop: CancellationToken,
    ) {
        let service = service_fn(|request: Request<Incoming>| {
            slot.set_busy();
            let (requests, handler) = (&requests, &handler);
            async move { Ok::<Response<_>, Infallible>(requests.respond(&request, handler).await) }
        });
        // A shutdown waits for a response in progress, not for a connection without a request.
        let idle_at_stop = async {
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
            // A request that has arrived is read first, so that its connection is not evicted.
            biased;
            ended = tokio::time::timeout(self.deadline, connection) => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "callback connection ended"),
                Err(_) => debug!("callback connection took too long"),
            },
            () = slot.evicted() => debug!("idle callback connection closed to make room"),
            () = idle_at_stop => {}
        }
    }
}

impl<H> Context<H> {
    /// Publishes the state of the server if it has changed.
    fn publish(&self, state: CallbackState, addresses: Vec<std::net::SocketAddr>, error: Option<BindError>) {
        let (detail, taken) = error.map(|error| (error.detail, error.taken)).unzip();
        let new = CallbackServerState { state, addresses, detail, taken: taken.flatten(), has_tried: true };
        self.state.send_if_modified(|old| std::mem::replace(old, new.clone()) != new);
    }
}

#[cfg(test)]
mod tests;
