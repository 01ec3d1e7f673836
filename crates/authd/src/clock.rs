//! The one place that reads the wall clock, and the one that sleeps by it. It decides nothing.

use std::time::Duration;

use jiff::Timestamp;

#[cfg(target_os = "linux")]
mod alarm;

/// Without an alarm, a sleep is cut into slices of this length. Timers follow the monotonic clock, which stands still in
/// suspend and knows nothing of a clock that is set; looking at the wall clock twice a minute bounds
/// how late a token's expiry is noticed.
const SLICE: Duration = Duration::from_secs(30);

/// A slice that took this much longer than it should means that the machine slept.
const GAP: Duration = Duration::from_secs(30);

/// Keeps the alarm that sleepers are woken by, where the system has one.
pub(crate) async fn keep_alarm() {
    #[cfg(target_os = "linux")]
    alarm::keep().await;
}

/// What the wall clock says.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slept {
    /// The time has come.
    Through,
    /// The machine slept meanwhile, or its clock was set forward.
    Woke,
}

/// Sleeps until the wall clock shows `at`, or for ever.
pub(crate) async fn sleep_until(at: Option<Timestamp>) -> Slept {
    let Some(at) = at else { return std::future::pending().await };
    loop {
        let before = now();
        let Ok(left) = Duration::try_from(at.duration_since(before)) else { return Slept::Through };
        if left.is_zero() {
            return Slept::Through;
        }
        #[cfg(target_os = "linux")]
        match alarm::sleep_until(at).await {
            Some(Slept::Through) => continue,
            Some(Slept::Woke) => return Slept::Woke,
            None => {}
        }
        let slice = left.min(SLICE);
        tokio::time::sleep(slice).await;
        let took = Duration::try_from(now().duration_since(before)).unwrap_or_default();
        if took > slice + GAP {
            return Slept::Woke;
        }
    }
}
