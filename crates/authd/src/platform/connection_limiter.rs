//! Limits on open connections: what one client process may hold, and what all clients of a
//! listener may hold together. When a listener is full, a new connection takes the place of the one
//! that has been idle longest.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

/// Longest wait for a connection to close after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Descriptors reserved for the store, calls to the provider, and files that are always open.
const RESERVED: usize = 48;

/// The least and the most connections on the socket, whatever the limit on descriptors is.
const SOCKET: (usize, usize) = (8, 1 << 16);

/// How many connections the socket may hold: at most half of the descriptors that this process may
/// have open.
pub(crate) fn socket_connections(descriptors: usize) -> usize {
    let (least, most) = SOCKET;
    (descriptors / 2).min(descriptors.saturating_sub(RESERVED)).clamp(least, most)
}

/// How many connections the sockets of all shares may hold, and how many their loopback listener.
/// Every program can connect to loopback, and must not evict the holder of a socket.
pub(crate) fn share_connections(descriptors: usize) -> usize {
    (descriptors / 16).clamp(4, 256)
}

/// How many sockets of shares may be open. Each needs a descriptor as long as its share lasts.
pub(crate) fn share_sockets(descriptors: usize) -> usize {
    (descriptors / 8).max(4)
}

/// How many connections the callback server may hold.
pub(crate) fn callback_connections(descriptors: usize) -> usize {
    (descriptors / 8).clamp(4, 64)
}

/// Bounds the connections of one listener; a cheap handle.
#[derive(Clone)]
pub(crate) struct ConnectionLimiter(Arc<Connections>);

struct Connections {
    limit: usize,
    slots: Mutex<BTreeMap<u64, Arc<SlotState>>>,
    /// Counts events. The number of an event serves as its time.
    clock: AtomicU64,
    /// Whether a new connection waits for a slot.
    waiting: AtomicBool,
    /// One task waits at a time.
    admission: tokio::sync::Mutex<()>,
    /// Notified when a connection has closed, and while one waits, whenever one becomes idle.
    changed: Notify,
}

/// The slot of one connection, free again when dropped. A connection is idle while it has no
/// request in progress, also before its first request.
pub(crate) struct Slot {
    id: u64,
    state: Arc<SlotState>,
    connections: Arc<Connections>,
}

struct SlotState {
    /// Since when it is idle, by the clock of the limiter; [`BUSY`] while it is not.
    idle_since: AtomicU64,
    evicted: AtomicBool,
    evict: Notify,
}

const BUSY: u64 = u64::MAX;

impl ConnectionLimiter {
    /// At most this many connections.
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Connections {
            limit,
            slots: Mutex::default(),
            clock: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            admission: tokio::sync::Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// A place for a connection that was accepted. Returns once there is room, for which the
    /// connections that have been idle longest are evicted.
    pub(crate) async fn admit(&self) -> Slot {
        let _admission = self.0.admission.lock().await;
        let slot = self.0.clone().slot();
        self.0.waiting.store(true, Ordering::SeqCst);
        while let Some(excess) = self.excess() {
            self.0.evict(excess);
            self.0.changed.notified().await;
        }
        self.0.waiting.store(false, Ordering::SeqCst);
        slot.set_idle();
        slot
    }

    /// Makes room after a failed accept: evicts the connection that has been idle longest, and
    /// returns when a connection has closed, at the latest after [`ACCEPT_PAUSE`].
    pub(crate) async fn pause_after_failed_accept(&self) {
        let closed = async {
            let _admission = self.0.admission.lock().await;
            self.0.evict(1);
            self.0.changed.notified().await;
        };
        drop(tokio::time::timeout(ACCEPT_PAUSE, closed).await);
    }

    fn excess(&self) -> Option<usize> {
        self.0.slots().len().checked_sub(self.0.limit).filter(|excess| *excess > 0)
    }
}

impl Connections {
    fn slot(self: Arc<Self>) -> Slot {
        let (id, state) = (self.tick(), Arc::new(SlotState::busy()));
        self.slots().insert(id, state.clone());
        Slot { id, state, connections: self }
    }

    /// Evicts idle connections until so many are about to close.
    fn evict(&self, wanted: usize) {
        let slots = self.slots();
        let closing = slots.values().filter(|slot| slot.evicted.load(Ordering::SeqCst)).count();
        for _ in closing..wanted {
            let idle = slots.values().filter(|slot| slot.is_idle() && !slot.evicted.load(Ordering::SeqCst));
            let Some(oldest) = idle.min_by_key(|slot| slot.idle_since.load(Ordering::SeqCst)) else { return };
            oldest.evicted.store(true, Ordering::SeqCst);
            oldest.evict.notify_one();
        }
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<SlotState>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotState {
    fn busy() -> Self {
        Self { idle_since: AtomicU64::new(BUSY), evicted: AtomicBool::new(false), evict: Notify::new() }
    }

    fn is_idle(&self) -> bool {
        self.idle_since.load(Ordering::SeqCst) != BUSY
    }
}

impl Slot {
    /// A request of this connection is being answered from now on. If the connection was evicted,
    /// it no longer is.
    pub(crate) fn set_busy(&self) {
        self.state.idle_since.store(BUSY, Ordering::SeqCst);
        if self.state.evicted.swap(false, Ordering::SeqCst) {
            self.connections.changed.notify_one();
        }
    }

    /// The connection is idle from now on.
    pub(crate) fn set_idle(&self) {
        self.state.idle_since.store(self.connections.tick(), Ordering::SeqCst);
        if self.connections.waiting.load(Ordering::SeqCst) {
            self.connections.changed.notify_one();
        }
    }

    /// Whether no request of this connection is being answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.is_idle()
    }

    /// Returns when this connection was evicted and is idle still. It must close then.
    pub(crate) async fn evicted(&self) {
        loop {
            self.state.evict.notified().await;
            if self.state.evicted.load(Ordering::SeqCst) {
                return;
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.slots().remove(&self.id);
        self.connections.changed.notify_one();
    }
}

/// Limits what each client process may hold at once.
#[derive(Clone)]
pub(crate) struct ProcessLimiter {
    limit: usize,
    counts: Arc<Mutex<HashMap<Option<i32>, usize>>>,
}

/// A request for one of the slots of a process. A slot that it holds is free again when dropped.
pub(crate) struct Permit {
    limiter: ProcessLimiter,
    pid: Option<i32>,
    held: AtomicBool,
}

impl ProcessLimiter {
    /// At most this many for each process.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, counts: Arc::default() }
    }

    /// A permit of this process. It takes a slot now if one is free.
    pub(crate) fn permit(&self, pid: Option<i32>) -> Permit {
        let permit = Permit { limiter: self.clone(), pid, held: AtomicBool::new(false) };
        permit.try_acquire();
        permit
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Option<i32>, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Whether this permit has a slot. Takes one if the process has one free by now.
    pub(crate) fn try_acquire(&self) -> bool {
        if self.held.load(Ordering::Relaxed) {
            return true;
        }
        let mut counts = self.limiter.counts();
        let count = counts.entry(self.pid).or_default();
        let free = *count < self.limiter.limit;
        if free {
            *count += 1;
            self.held.store(true, Ordering::Relaxed);
        }
        free
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.held.load(Ordering::Relaxed) {
            return;
        }
        let mut counts = self.limiter.counts();
        if let Some(count) = counts.get_mut(&self.pid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.pid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a future is still pending after a short time.
    async fn is_pending<T>(future: impl Future<Output = T>) -> bool {
        tokio::time::timeout(Duration::from_millis(20), future).await.is_err()
    }

    #[tokio::test]
    async fn a_new_connection_evicts_the_longest_idle_one() {
        let limiter = ConnectionLimiter::new(2);
        let (first, second) = (limiter.admit().await, limiter.admit().await);
        first.set_busy();
        first.set_idle();
        let (third, ()) = tokio::join!(limiter.admit(), async {
            second.evicted().await;
            assert!(is_pending(first.evicted()).await);
            drop(second);
        });
        drop((first, third));
        assert!(limiter.0.slots().is_empty());
    }

    #[tokio::test]
    async fn a_connection_with_a_request_is_not_evicted() {
        let limiter = ConnectionLimiter::new(1);
        let first = limiter.admit().await;
        first.set_busy();
        assert!(is_pending(limiter.admit()).await);
        // A connection is not evicted either if its request arrives before the eviction takes
        // effect.
        first.set_idle();
        let (second, ()) = tokio::join!(limiter.admit(), async {
            while !first.state.evicted.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
            first.set_busy();
            assert!(is_pending(first.evicted()).await);
            first.set_idle();
            first.evicted().await;
            drop(first);
        });
        drop(second);
    }

    #[tokio::test]
    async fn failed_accept_takes_no_slot_from_a_new_connection() {
        let limiter = ConnectionLimiter::new(1);
        let first = limiter.admit().await;
        first.set_busy();
        tokio::join!(limiter.pause_after_failed_accept(), limiter.admit(), async { drop(first) });
    }

    #[test]
    fn at_most_half_of_the_descriptors_are_for_connections() {
        for (descriptors, connections) in
            [(0, 8), (64, 16), (256, 128), (1024, 512), (1 << 20, 1 << 16), (usize::MAX, 1 << 16)]
        {
            assert_eq!(socket_connections(descriptors), connections, "{descriptors}");
        }
    }

    #[test]
    fn a_returned_permit_can_be_taken_again() {
        let limiter = ProcessLimiter::new(2);
        let (first, second, third) =
            (limiter.permit(Some(1)), limiter.permit(Some(1)), limiter.permit(Some(1)));
        assert!(first.try_acquire() && second.try_acquire() && !third.try_acquire());
        assert!(limiter.permit(Some(2)).try_acquire(), "another process has its own limit");
        drop(first);
        assert!(third.try_acquire() && !limiter.permit(Some(1)).try_acquire());
        drop((second, third));
        assert!(limiter.counts().is_empty());
    }
}
