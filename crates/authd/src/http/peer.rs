//! The client of one connection.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use authd_api::Process;
use authd_broker::Share;
use tokio::{net::unix::UCred, sync::watch};

use crate::platform::{ClientStream, Permit, ProcessLimiter, ProcessReader, Slot, peer_is_own};

/// Where a client connects.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    /// The socket of the daemon's user.
    Own,
    /// The socket of this share.
    ShareSocket(Share),
    /// A loopback listener on this port: for the shares that have a key, or for the metrics.
    Loopback(u16),
}

/// The client of one connection, and the state of its current request. A connection has one request
/// at a time.
pub(super) struct Peer {
    pub(super) door: Door,
    /// As of the connection. `None` for TCP.
    credentials: Option<UCred>,
    own: bool,
    /// The process of a Unix socket, once it was read or requested.
    process: OnceLock<Arc<Process>>,
    permit: Permit,
    /// The connection's slot in the limiter.
    pub(super) slot: Slot,
    /// The number of the current request; 0 if it has none.
    request: AtomicU64,
    /// Whether the body of the current request is still arriving and may be read.
    uploading: AtomicBool,
    /// Whether a shutdown may interrupt the current response.
    interruptible: AtomicBool,
    /// The share whose socket this is, or that the last request used.
    share: Option<watch::Sender<Option<Share>>>,
}

impl Peer {
    /// The peer of a connection, as the kernel reports it.
    pub(super) fn of(stream: &ClientStream, door: Door, limiter: &ProcessLimiter, slot: Slot) -> Self {
        let credentials = match stream {
            ClientStream::Unix(stream) => stream.peer_cred().ok(),
            ClientStream::Tcp(_) => None,
        };
        let pid = credentials.and_then(|peer| peer.pid());
        let share = match &door {
            Door::Own => None,
            Door::ShareSocket(share) => Some(watch::Sender::new(Some(share.clone()))),
            Door::Loopback(_) => Some(watch::Sender::default()),
        };
        Self {
            door,
            credentials,
            own: credentials.as_ref().is_some_and(peer_is_own),
            process: OnceLock::new(),
            permit: limiter.permit(pid),
            slot,
            request: AtomicU64::new(0),
            uploading: AtomicBool::new(false),
            interruptible: AtomicBool::new(false),
            share,
        }
    }

    /// The process id, if the system reports it.
    pub(super) fn pid(&self) -> Option<i32> {
        self.credentials?.pid()
    }

    /// Reads the process for the audit log, while the log is on. A program that the process
    /// executes later is not read.
    pub(super) fn identify(&self, stream: &ClientStream, reader: &ProcessReader) {
        let (ClientStream::Unix(stream), Some(ids)) = (stream, self.ids()) else { return };
        if let Some(process) = reader.read(stream, &ids) {
            self.process.get_or_init(|| Arc::new(process));
        }
    }

    /// The process, if the kernel names it. Only its ids are known if it ended before the daemon
    /// could read the rest, or if the audit log was off then.
    pub(super) fn process(&self) -> Option<Arc<Process>> {
        let ids = self.ids()?;
        Some(self.process.get_or_init(|| Arc::new(ids)).clone())
    }

    fn ids(&self) -> Option<Process> {
        let peer = self.credentials?;
        Some(Process::of_ids(peer.pid()?, peer.uid()))
    }

    /// Whether the process runs as the daemon's user.
    pub(super) fn is_own(&self) -> bool {
        self.own
    }

    /// Whether its process is within its limit of connections.
    pub(super) fn is_within_limit(&self) -> bool {
        self.permit.try_acquire()
    }

    /// Closes the connection at the end of this share, until a request uses another one.
    pub(super) fn set_share(&self, share: &Share) {
        let Some(current) = &self.share else { return };
        current.send_if_modified(|current| {
            let is_other = current.as_ref().is_none_or(|current| current.id != share.id);
            if is_other {
                *current = Some(share.clone());
            }
            is_other
        });
    }

    /// The id of the share that the current request uses.
    pub(super) fn share_id(&self) -> Option<Arc<str>> {
        Some(self.share.as_ref()?.borrow().as_ref()?.id.clone())
    }

    /// Returns when the share of the connection has ended.
    pub(super) async fn share_ended(&self) {
        let Some(share) = &self.share else { return std::future::pending().await };
        let mut current = share.subscribe();
        loop {
            let share = current.borrow_and_update().clone();
            let ended = share.map(|share| share.ended().clone()).unwrap_or_default();
            tokio::select! {
                () = ended.cancelled() => return,
                Ok(()) = current.changed() => {}
            }
        }
    }

    /// Sets the number of the current request.
    pub(super) fn set_request(&self, number: u64) {
        self.request.store(number, Ordering::Relaxed);
    }

    /// The number of the current request, if it has one.
    pub(super) fn request(&self) -> Option<u64> {
        Some(self.request.load(Ordering::Relaxed)).filter(|number| *number > 0)
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
