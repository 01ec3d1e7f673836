//! Detects that the wall clock was set.

use jiff::{SignedDuration, Timestamp};

use super::time::{now, uptime};

/// A smaller change is NTP slewing the clock, not a set clock.
const SMALLEST_CHANGE: SignedDuration = SignedDuration::from_secs(1);

/// Compares the wall clock with the boot-time clock, which cannot be set.
#[derive(Debug)]
pub(crate) struct SetWatch {
    boot_time: Timestamp,
}

impl SetWatch {
    pub(crate) fn new() -> Self {
        Self { boot_time: boot_time() }
    }

    /// By how much the wall clock was set since the last call; `None` if it was not.
    pub(crate) fn set_by(&mut self) -> Option<SignedDuration> {
        let boot_time = boot_time();
        let by = boot_time.duration_since(self.boot_time);
        if by.abs() < SMALLEST_CHANGE {
            return None;
        }
        self.boot_time = boot_time;
        Some(by)
    }
}

/// The wall-clock time of the boot, as the wall clock counts now. A machine that is suspended
/// between the reads of the two clocks would look as if its clock had been set. The reads are
/// repeated then.
fn boot_time() -> Timestamp {
    loop {
        let (before, at, after) = (uptime(), now(), uptime());
        if after.saturating_sub(before) < SMALLEST_CHANGE {
            return at.checked_sub(after).unwrap_or(Timestamp::UNIX_EPOCH);
        }
    }
}
