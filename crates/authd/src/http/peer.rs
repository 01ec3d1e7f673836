//! The client of one connection on the socket.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UnixStream;

use crate::platform::{Permit, ProcessLimiter, Slot, peer_is_own, peer_pid};

/// The client of one connection, and the state of its current request. A connection has one request
/// at a time.
pub(super) struct Peer {
    pid: Option<i32>,
    own: bool,
    permit: Permit,
    /// The connection's slot in the limiter.
    pub(super) slot: Slot,
    /// Whether the body of the current request is still arriving and may be read.
    uploading: AtomicBool,
    /// Whether a shutdown may interrupt the current response.
    interruptible: AtomicBool,
}

impl Peer {
    /// The peer of a connection, as the kernel reports it.
    pub(super) fn of(stream: &UnixStream, limiter: &ProcessLimiter, slot: Slot) -> Self {
        let pid = peer_pid(stream);
        Self {
            pid,
            own: peer_is_own(stream),
            permit: limiter.permit(pid),
            slot,
            uploading: AtomicBool::new(false),
            interruptible: AtomicBool::new(false),
        }
    }

    /// The process id, if the system reports it.
    pub(super) fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Whether the process runs as the daemon's user.
    pub(super) fn is_own(&self) -> bool {
        self.own
    }

    /// Whether its process is within its limit of connections.
    pub(super) fn is_within_limit(&self) -> bool {
        self.permit.try_acquire()
    }

    /// Records whether the current request's body is still arriving.
    pub(super) fn set_uploading(&self, uploading: bool) {
        self.uploading.store(uploading, Ordering::Relaxed);
    }

    /// Records whether a shutdown may interrupt the current response.
    pub(super) fn set_interruptible(&self, interruptible: bool) {
        self.interruptible.store(interruptible, Ordering::Relaxed);
    }

    /// Whether a shutdown may interrupt the connection. It must not interrupt a refresh, a code
    /// exchange or a save: they start once the request has arrived, and the response reports their
    /// result.
    pub(super) fn is_interruptible(&self) -> bool {
        self.interruptible.load(Ordering::Relaxed) || self.uploading.load(Ordering::Relaxed)
    }
}
