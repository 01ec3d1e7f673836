//! Sleeps until a wall-clock time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::time::{Wake, now};
#[cfg(target_os = "linux")]
use super::wall_timer;

/// Length of one sleep where the system has no wall timer. tokio's timers stop while the machine is
/// suspended.
const SLICE: Duration = Duration::from_secs(30);

/// A slice that took this much longer or shorter means a suspended machine or a clock that was set.
const GAP: SignedDuration = SignedDuration::from_secs(30);

/// Runs the system's wall timer, which wakes every sleeper. Returns at once on systems without one.
pub(crate) async fn run_timer() {
    #[cfg(target_os = "linux")]
    wall_timer::run().await;
}

/// Sleeps until the wall clock shows `at`; for ever without one. The remaining time is measured on
/// the boot-time clock; setting the wall clock ends the sleep.
pub(crate) async fn sleep_until(at: Option<Timestamp>) -> Wake {
    let Some(at) = at else { return std::future::pending().await };
    loop {
        let start = now();
        let Ok(left) = Duration::try_from(at.duration_since(start)) else { return Wake::Deadline };
        if left.is_zero() {
            return Wake::Deadline;
        }
        #[cfg(target_os = "linux")]
        match wall_timer::sleep(left).await {
            Some(Wake::Deadline) => continue,
            Some(Wake::ClockJump) => return Wake::ClockJump,
            None => {}
        }
        let slice = left.min(SLICE);
        tokio::time::sleep(slice).await;
        let took = now().duration_since(start);
        let expected = SignedDuration::try_from(slice).unwrap_or(SignedDuration::MAX);
        if took.saturating_sub(expected).abs() > GAP {
            return Wake::ClockJump;
        }
    }
}
