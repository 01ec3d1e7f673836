//! The two clocks, and the reasons to wake.

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The time was reached.
    Deadline,
    /// The machine was suspended or its clock was set: the caller checks its deadlines again.
    ClockJump,
}

/// The time of the wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The time since boot, suspend included. This clock cannot be set.
pub(crate) fn uptime() -> SignedDuration {
    #[cfg(target_os = "linux")]
    let clock = ClockId::CLOCK_BOOTTIME;
    // On macOS this clock continues during suspend.
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::CLOCK_MONOTONIC;
    // The call fails only for an unknown clock.
    let time = clock_gettime(clock).map_or((0, 0), |time| (time.tv_sec(), time.tv_nsec()));
    SignedDuration::new(time.0, i32::try_from(time.1).unwrap_or_default())
}
