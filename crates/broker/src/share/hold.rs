//! Held shares: a held share ends when nothing has held it for some seconds. So it ends with the
//! process that holds it, however that process ends.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// How long a held share lasts without a holder. A holder that lost its connection, because the
/// daemon restarted, has this time to hold the share again. It is measured on the monotonic clock:
/// a suspended machine stops the holder, too.
const GRACE: Duration = Duration::from_secs(10);

/// How many holders a share has, and since when it has none.
#[derive(Debug)]
pub(super) struct Holders {
    count: usize,
    /// When the last holder left, or when the daemon made or read the share.
    released_at: Instant,
}

/// Holds a share until it is dropped.
#[derive(Debug)]
pub struct ShareHold {
    holders: Arc<Mutex<Holders>>,
    share_ended: CancellationToken,
    /// Wakes the owner of the shares, which ends a share that nothing holds.
    released: Arc<Notify>,
}

impl Holders {
    pub(super) fn new(now: Instant) -> Self {
        Self { count: 0, released_at: now }
    }

    fn add(&mut self) {
        self.count += 1;
    }

    fn remove(&mut self, now: Instant) {
        self.count -= 1;
        self.released_at = now;
    }

    /// When the share ends if nothing holds it until then. `None` while something holds it.
    pub(super) fn end(&self) -> Option<Instant> {
        (self.count == 0).then(|| self.released_at + GRACE)
    }
}

impl ShareHold {
    pub(super) fn new(
        holders: Arc<Mutex<Holders>>,
        share_ended: CancellationToken,
        released: Arc<Notify>,
    ) -> Self {
        holders.lock().unwrap_or_else(PoisonError::into_inner).add();
        Self { holders, share_ended, released }
    }

    /// Waits until the share has ended.
    pub async fn share_ended(&self) {
        self.share_ended.cancelled().await;
    }
}

impl Drop for ShareHold {
    fn drop(&mut self) {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner).remove(Instant::now());
        self.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_without_a_holder_ends_after_the_grace_period() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut holders = Holders::new(start);
        // Nothing has held it yet: it was just made, or the daemon has just read it.
        assert_eq!(holders.end(), Some(after(10)));
        holders.add();
        assert_eq!(holders.end(), None);
        holders.add();
        holders.remove(after(100));
        assert_eq!(holders.end(), None, "one holder is left");
        holders.remove(after(200));
        assert_eq!(holders.end(), Some(after(210)));
        // A holder that comes back in time.
        holders.add();
        assert_eq!(holders.end(), None);
        holders.remove(after(300));
        assert_eq!(holders.end(), Some(after(310)));
    }
}
