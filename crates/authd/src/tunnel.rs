//! A connection that has stopped being HTTP: after a 101 the client's and the upstream's bytes are joined
//! as they come. What they say to each other is theirs; nothing is parsed, and a slow reader on one side
//! holds up the writer on the other.
//!
//! The task that serves the connection runs the tunnel as well, so that a tunnel counts among its
//! process's connections and ends with the daemon. A handler can only leave the upstream's end at the
//! [`Switch`], where that task finds it when the 101 has gone out.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::upgrade::{OnUpgrade, Parts, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, copy, split, unix::AsyncFd},
    net::UnixStream,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// How long the rest may take once one side has closed. A WebSocket whose one half is closed has no more to say.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// How long the rest may take once the daemon stops.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Where a handler leaves a tunnel for the task that serves its connection.
#[derive(Clone, Default)]
pub(crate) struct Switch(Arc<Mutex<Option<Tunnel>>>);

/// Both ends of a connection that is about to stop being HTTP.
pub(crate) struct Tunnel {
    /// The client's end, when the 101 has gone out to it.
    pub(crate) client: OnUpgrade,
    /// The upstream's end.
    pub(crate) upstream: Upgraded,
}

impl Switch {
    /// Leaves a tunnel.
    pub(crate) fn throw(&self, tunnel: Tunnel) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }

    /// The tunnel, if one was left.
    pub(crate) fn thrown(&self) -> Option<Tunnel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Tunnel {
    /// Carries bytes both ways until either side closes, or the daemon stops.
    pub(crate) async fn run(self, stop: &CancellationToken) {
        let Ok(client) = self.client.await.inspect_err(|error| debug!(%error, "no tunnel after all")) else {
            return;
        };
        let Ok(Parts { io, read_buf, .. }) = client.downcast::<TokioIo<UnixStream>>() else {
            return debug!("a tunnel's client is not on the socket");
        };
        let client = io.into_inner();
        let hung_up = hung_up(client.as_fd().try_clone_to_owned());
        let (from_client, to_client) = client.into_split();
        let from_client = read_buf.chain(from_client);
        let (from_upstream, to_upstream) = split(TokioIo::new(self.upstream));
        let mut out = std::pin::pin!(carry(from_client, to_upstream));
        let mut back = std::pin::pin!(carry(from_upstream, to_client));
        // Whoever is cut off after its last words sees the connection close: both ends are dropped here.
        let carried = async {
            tokio::select! {
                () = &mut out => drop(tokio::time::timeout(LAST_WORDS, back).await),
                () = &mut back => drop(tokio::time::timeout(LAST_WORDS, out).await),
                // While the upstream reads nothing, nobody comes to the end of what the client has said.
                () = hung_up => drop(tokio::time::timeout(LAST_WORDS, out).await),
            }
        };
        let stopped = async {
            stop.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        tokio::select! {
            () = carried => {}
            () = stopped => {}
        }
    }
}

/// Carries what one side says to the other until it has said all, and passes that on too.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    if let Err(error) = copy(&mut from, &mut to).await {
        debug!(%error, "a tunnel broke off");
    }
    let _ = to.shutdown().await;
}

/// Returns when the other end of this socket is closed, whether or not anybody reads. Who has only said all
/// that he has to say still listens, and is there. It takes a descriptor of its own: to wait for the next
/// change is to forget what there was, which would keep others waiting on a descriptor that they share.
async fn hung_up(socket: io::Result<OwnedFd>) {
    // Whoever can still be written to is there. How much there is to read says nothing about that.
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
