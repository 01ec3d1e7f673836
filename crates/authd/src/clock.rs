//! The daemon's clocks: the wall clock, one that cannot be set, and sleeping by it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};

#[cfg(target_os = "linux")]
mod alarm;

/// Without an alarm, a sleep is cut into slices of this length, because tokio's timers stand still while the machine
/// is suspended.
const SLICE: Duration = Duration::from_secs(30);

/// A slice that took this much longer or shorter by the wall clock means a suspended machine or a clock that was set.
const GAP: SignedDuration = SignedDuration::from_secs(30);

/// A clock that moved by less than this is being disciplined (NTP), not set.
const SET_BY: SignedDuration = SignedDuration::from_secs(1);

/// Keeps the alarm that sleepers are woken by, where the system has one.
pub(crate) async fn keep_alarm() {
    #[cfg(target_os = "linux")]
    alarm::keep().await;
}

/// The time of the wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// The time since the machine was started. This clock cannot be set, and goes on while the machine is suspended.
fn uptime() -> SignedDuration {
    #[cfg(target_os = "linux")]
    let clock = ClockId::CLOCK_BOOTTIME;
    // On macOS this clock goes on in suspend.
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::CLOCK_MONOTONIC;
    // The call fails for an unknown clock alone.
    let time = clock_gettime(clock).map_or((0, 0), |time| (time.tv_sec(), time.tv_nsec()));
    SignedDuration::new(time.0, i32::try_from(time.1).unwrap_or_default())
}

/// Notices that the wall clock was set.
#[derive(Debug)]
pub(crate) struct SetWatch {
    /// The wall clock's time at which the uptime was zero.
    origin: Timestamp,
}

impl SetWatch {
    /// Watches from now on.
    pub(crate) fn new() -> Self {
        Self { origin: origin() }
    }

    /// By how much the wall clock was set since the last look, if it was.
    pub(crate) fn set_by(&mut self) -> Option<SignedDuration> {
        let origin = origin();
        let by = origin.duration_since(self.origin);
        if by.abs() < SET_BY {
            return None;
        }
        self.origin = origin;
        Some(by)
    }
}

fn origin() -> Timestamp {
    now().checked_sub(uptime()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The time has come.
    Deadline,
    /// The machine was suspended, or its clock was set: times have to be looked at again.
    ClockJump,
}

/// Sleeps until the wall clock shows `at`, or for ever. The time that is left is measured on a clock that cannot be
/// set; a wall clock that is set ends the sleep.
pub(crate) async fn sleep_until(at: Option<Timestamp>) -> Wake {
    let Some(at) = at else { return std::future::pending().await };
    loop {
        let before = now();
        let Ok(left) = Duration::try_from(at.duration_since(before)) else { return Wake::Deadline };
        if left.is_zero() {
            return Wake::Deadline;
        }
        #[cfg(target_os = "linux")]
        match alarm::sleep(left).await {
            Some(Wake::Deadline) => continue,
            Some(Wake::ClockJump) => return Wake::ClockJump,
            None => {}
        }
        let slice = left.min(SLICE);
        tokio::time::sleep(slice).await;
        let took = now().duration_since(before);
        let expected = SignedDuration::try_from(slice).unwrap_or(SignedDuration::MAX);
        if took.saturating_sub(expected).abs() > GAP {
            return Wake::ClockJump;
        }
    }
}
