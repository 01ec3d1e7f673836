//! The sandbox's door: one listening port, which can be closed and opened again as if the network had gone.
//! What is said through it is the router's business.

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

use crate::gate::HangUp;

/// How many connections are served at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(60);

/// The open (or closed) door. Dropping it closes the port and every connection.
pub(crate) struct Network {
    address: SocketAddr,
    wanted: watch::Sender<bool>,
    open: watch::Receiver<bool>,
    task: AbortHandle,
}

impl Network {
    pub(crate) fn start(address: SocketAddr, tls: Option<TlsAcceptor>, router: Router) -> io::Result<Self> {
        let listener = bind(address)?.listen(1024)?;
        let address = listener.local_addr()?;
        let (wanted, wants) = watch::channel(true);
        let (opened, open) = watch::channel(true);
        let task = tokio::spawn(run(listener, address, tls, router, wants, opened)).abort_handle();
        Ok(Self { address, wanted, open, task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens or closes, and returns when it has happened.
    pub(crate) async fn set_open(&self, open: bool) {
        self.wanted.send_replace(open);
        let done = self.open.clone().wait_for(|now| *now == open).await.is_ok();
        assert!(done, "the sandbox lost its port {}", self.address);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells what outlives its request when the door is closed. It is among every request's extensions.
#[derive(Clone)]
pub(crate) struct Door(watch::Receiver<bool>);

impl Door {
    /// Returns when everything that came through the door must end.
    pub(crate) async fn closed(&mut self) {
        // An error means that the sandbox is gone, and its door with it.
        let _ = self.0.wait_for(|wanted| !wanted).await;
    }
}

async fn run(
    mut listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    mut wants: watch::Receiver<bool>,
    opened: watch::Sender<bool>,
) -> io::Result<()> {
    loop {
        serve(&listener, tls.as_ref(), &router, &mut wants).await;
        drop(listener);
        // A socket that is bound and does not listen refuses connections, and keeps the port from others.
        let closed = bind(address)?;
        opened.send_replace(false);
        if wants.wait_for(|wanted| *wanted).await.is_err() {
            return Ok(());
        }
        listener = closed.listen(1024)?;
        opened.send_replace(true);
    }
}

/// Serves until the door shall be closed; connections still open end with it.
async fn serve(
    listener: &TcpListener,
    tls: Option<&TlsAcceptor>,
    router: &Router,
    wants: &mut watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let door = Door(wants.clone());
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                // A connection that died before it was accepted concerns nobody.
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(connection(stream, tls.cloned(), router.clone(), door.clone()));
            }
            Some(_) = connections.join_next() => {}
            _ = wants.wait_for(|wanted| !wanted) => break,
        }
    }
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router, door: Door) {
    // Without it the small writes of a stream would wait for one another.
    let _ = stream.set_nodelay(true);
    match tls {
        None => speak(stream, router, door).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIME, tls.accept(stream)).await {
                speak(stream, router, door).await;
            }
        }
    }
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router, door: Door) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(door.clone());
        answer(router.clone(), request)
    });
    // Errors here are the client's going away and the faults' hanging up: both are meant.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

async fn answer(router: Router, request: Request<Incoming>) -> io::Result<Response> {
    let router = TowerToHyperService::new(router);
    let response = match hyper::service::Service::call(&router, request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    match response.extensions().get::<HangUp>() {
        Some(HangUp) => Err(io::Error::other("hung up on demand")),
        None => Ok(response),
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
