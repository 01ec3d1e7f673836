//! `WebSocket`: after a 101 the bytes of the client and the upstream are copied in both directions,
//! unparsed. A slow reader on one side blocks the writer on the other.
//!
//! The task that serves the client's connection runs the tunnel, so that the tunnel counts as a
//! connection of its process and ends with the daemon. The handler puts the upstream's end into the
//! [`UpgradeSlot`], from which that task takes it when the 101 was sent.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{body::Body, extract::Request, response::Response};
use hyper::{
    body::Incoming,
    upgrade::{self, OnUpgrade, Parts, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, copy, split, unix::AsyncFd};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::headers;
use crate::platform::ClientStream;

/// How long the other direction may continue once one side has closed.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a tunnel may continue once the shutdown starts.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Hands a tunnel from the handler to the task that serves the connection.
#[derive(Clone, Default)]
pub(crate) struct UpgradeSlot(Arc<Mutex<Option<Tunnel>>>);

/// A client's request for a WebSocket.
pub(super) struct UpgradeRequest {
    client: OnUpgrade,
    slot: UpgradeSlot,
}

impl UpgradeRequest {
    /// Takes the upgrade out of a request that asks for a WebSocket.
    pub(super) fn take(request: &mut Request) -> Option<Self> {
        let is_websocket = headers::is_websocket_upgrade(request.headers());
        let parts = request.extensions_mut();
        let (client, slot) = (parts.remove::<OnUpgrade>()?, parts.remove::<UpgradeSlot>()?);
        is_websocket.then_some(Self { client, slot })
    }

    /// The upstream's 101. Its end of the connection goes to the task that serves the client.
    pub(super) async fn accept(
        self,
        mut accepted: http::Response<Incoming>,
    ) -> Result<Response, hyper::Error> {
        let upstream = upgrade::on(&mut accepted).await?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = accepted.status();
        *response.headers_mut() = headers::returned(std::mem::take(accepted.headers_mut()), true);
        self.slot.put(Tunnel { client: self.client, upstream });
        Ok(response)
    }
}

/// Both ends of an upgraded connection.
pub(crate) struct Tunnel {
    /// The client's end, available when the 101 was sent.
    pub(crate) client: OnUpgrade,
    /// The upstream's end.
    pub(crate) upstream: Upgraded,
}

impl UpgradeSlot {
    fn put(&self, tunnel: Tunnel) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }

    /// Takes the tunnel, if there is one.
    pub(crate) fn take(&self) -> Option<Tunnel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Tunnel {
    /// Copies bytes in both directions until one side closes or the daemon stops.
    pub(crate) async fn run(self, stop: &CancellationToken) {
        let Ok(client) = self.client.await.inspect_err(|error| debug!(%error, "client not upgraded")) else {
            return;
        };
        let Ok(Parts { io, read_buf, .. }) = client.downcast::<TokioIo<ClientStream>>() else {
            return debug!("client of a tunnel has an unknown stream");
        };
        let client = io.into_inner();
        let hung_up = hung_up(client.as_fd().try_clone_to_owned());
        let (from_client, to_client) = split(client);
        let from_client = read_buf.chain(from_client);
        let (from_upstream, to_upstream) = split(TokioIo::new(self.upstream));
        let mut out = std::pin::pin!(copy_until_end(from_client, to_upstream));
        let mut back = std::pin::pin!(copy_until_end(from_upstream, to_client));
        // Dropping both ends closes both connections.
        let copied = async {
            tokio::select! {
                () = &mut out => drop(tokio::time::timeout(DRAIN_TIMEOUT, back).await),
                () = &mut back => drop(tokio::time::timeout(DRAIN_TIMEOUT, out).await),
                // A client that has gone is detected even while the upstream reads nothing.
                () = hung_up => drop(tokio::time::timeout(DRAIN_TIMEOUT, out).await),
            }
        };
        let stopped = async {
            stop.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        tokio::select! {
            () = copied => {}
            () = stopped => {}
        }
    }
}

/// Copies one direction to its end, then closes the writing side.
async fn copy_until_end(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    if let Err(error) = copy(&mut from, &mut to).await {
        debug!(%error, "tunnel ended");
    }
    let _ = to.shutdown().await;
}

/// Returns when the other end of this socket is closed, even if nothing is read from it. A peer
/// that has closed only its writing side counts as open. The descriptor must be a duplicate:
/// clearing its readiness would block other waiters on a shared one.
async fn hung_up(socket: io::Result<OwnedFd>) {
    // Only the writable side shows whether the peer is open.
    #[expect(deprecated, reason = "its successor is unsafe for descriptors that are not owned; this one is")]
    let watched = socket.map(|socket| AsyncFd::with_interest(socket, Interest::WRITABLE));
    let Ok(Ok(socket)) = watched else { return std::future::pending().await };
    while let Ok(mut guard) = socket.ready(Interest::WRITABLE).await {
        if guard.ready().is_write_closed() {
            return;
        }
        guard.clear_ready();
    }
}
