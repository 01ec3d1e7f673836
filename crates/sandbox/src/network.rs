//! The listening port, which can be closed and opened again to simulate a lost network.

use std::{io, net::SocketAddr, time::Duration};

use axum::{Router, body::Body, response::Response};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::middleware::CloseConnection;

/// Most connections at a time. Others wait in the backlog.
const MAX_CONNECTIONS: usize = 1024;
/// Longest time for the TLS handshake and for a request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// The port. Dropping it closes the port and every connection.
pub(crate) struct Network {
    address: SocketAddr,
    /// Whether the port should be open.
    requested: watch::Sender<bool>,
    /// Whether the port is open.
    open: watch::Receiver<bool>,
    task: AbortHandle,
}

impl Network {
    pub(crate) fn start(address: SocketAddr, tls: Option<TlsAcceptor>, router: Router) -> io::Result<Self> {
        let listener = bind(address)?.listen(1024)?;
        let address = listener.local_addr()?;
        let (requested, request) = watch::channel(true);
        let (opened, open) = watch::channel(true);
        let task = tokio::spawn(run(listener, address, tls, router, request, opened)).abort_handle();
        Ok(Self { address, requested, open, task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens or closes the port, and returns when that is done.
    pub(crate) async fn set_open(&self, open: bool) {
        self.requested.send_replace(open);
        let is_done = self.open.clone().wait_for(|now| *now == open).await.is_ok();
        assert!(is_done, "the sandbox lost its port {}", self.address);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An extension of every request: signals that the port was closed, for tasks that outlive the
/// request.
#[derive(Clone)]
pub(crate) struct ClosedSignal(watch::Receiver<bool>);

impl ClosedSignal {
    /// Returns when the port was closed.
    pub(crate) async fn closed(&mut self) {
        // An error means that the sandbox was dropped.
        let _ = self.0.wait_for(|open| !open).await;
    }
}

async fn run(
    mut listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    mut request: watch::Receiver<bool>,
    opened: watch::Sender<bool>,
) -> io::Result<()> {
    loop {
        serve(&listener, tls.as_ref(), &router, &mut request).await;
        drop(listener);
        // A bound socket that does not listen refuses connections, and reserves the port.
        let closed = bind(address)?;
        opened.send_replace(false);
        if request.wait_for(|open| *open).await.is_err() {
            return Ok(());
        }
        listener = closed.listen(1024)?;
        opened.send_replace(true);
    }
}

/// Accepts connections until the port should be closed, then closes all connections.
async fn serve(
    listener: &TcpListener,
    tls: Option<&TlsAcceptor>,
    router: &Router,
    request: &mut watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let closed = ClosedSignal(request.clone());
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                // The client closed the connection before it was accepted.
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(accept(stream, tls.cloned(), router.clone(), closed.clone()));
            }
            Some(_) = connections.join_next() => {}
            _ = request.wait_for(|open| !open) => break,
        }
    }
    connections.shutdown().await;
}

async fn accept(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router, closed: ClosedSignal) {
    // Small writes of a stream must not wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve_connection(stream, router, closed).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
                serve_connection(stream, router, closed).await;
            }
        }
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    closed: ClosedSignal,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(closed.clone());
        respond(router.clone(), request)
    });
    // The client closed the connection, or a fault did. Both are expected.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

async fn respond(router: Router, request: Request<Incoming>) -> io::Result<Response> {
    let router = TowerToHyperService::new(router);
    let response = match hyper::service::Service::call(&router, request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    match response.extensions().get::<CloseConnection>() {
        Some(CloseConnection) => Err(io::Error::other("closed by a fault")),
        None => Ok(response),
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
