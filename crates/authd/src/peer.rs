//! The other end of one connection on the socket.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UnixStream;

use crate::{
    limits::{Permit, ProcessLimiter, Slot},
    socket,
};

/// The other end of one connection: whose it is, whether its process may hold it, and what it is doing. A connection
/// has one request at a time.
pub(crate) struct Peer {
    pid: Option<i32>,
    own: bool,
    permit: Permit,
    /// The connection's place among all.
    pub(crate) slot: Slot,
    /// The current request's body is still arriving, and something may read it.
    uploading: AtomicBool,
    /// A stop may cut the answer to the current request.
    expendable: AtomicBool,
}

impl Peer {
    /// The peer of a connection, as the kernel tells it.
    pub(crate) fn of(stream: &UnixStream, limiter: &ProcessLimiter, slot: Slot) -> Self {
        let pid = socket::peer_pid(stream);
        Self {
            pid,
            own: socket::is_own(stream),
            permit: limiter.permit(pid),
            slot,
            uploading: AtomicBool::new(false),
            expendable: AtomicBool::new(false),
        }
    }

    /// The process, if the system tells.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Whether it is a process of the user who runs the daemon.
    pub(crate) fn is_own(&self) -> bool {
        self.own
    }

    /// Whether its process holds no more connections than it may, now.
    pub(crate) fn is_within_limit(&self) -> bool {
        self.permit.take()
    }

    /// Records whether the current request's body is still arriving.
    pub(crate) fn set_uploading(&self, uploading: bool) {
        self.uploading.store(uploading, Ordering::Relaxed);
    }

    /// Records whether a stop may cut the answer to the current request.
    pub(crate) fn set_expendable(&self, expendable: bool) {
        self.expendable.store(expendable, Ordering::Relaxed);
    }

    /// Whether a stop may cut what is under way. It may not if that can be a refresh, a code exchange or a save: those
    /// run once the request is there, and their answer tells how they ended.
    pub(crate) fn may_be_cut(&self) -> bool {
        self.expendable.load(Ordering::Relaxed) || self.uploading.load(Ordering::Relaxed)
    }
}
