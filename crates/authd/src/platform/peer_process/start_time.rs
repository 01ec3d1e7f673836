//! The wall-clock time at which a process has started.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use rustix::{
    param::clock_ticks_per_second,
    time::{ClockId, clock_gettime},
};

/// A second in nanoseconds.
const SECOND: i128 = 1_000_000_000;

/// A millisecond in nanoseconds.
const MILLISECOND: i128 = 1_000_000;

/// How far two measurements of one boot time may be apart, in nanoseconds: one clock tick on most
/// machines.
const TOLERANCE: u64 = 10_000_000;

/// Converts the time since the boot. Two calls for one process give the same result until the clock
/// is set: only then does the boot time change by more than the measurement's error.
#[derive(Debug, Default)]
pub(super) struct BootClock {
    /// The boot, in nanoseconds since 1970.
    boot: AtomicI64,
}

impl BootClock {
    /// The time so many clock ticks after the boot, in milliseconds.
    pub(super) fn time_of(&self, ticks: u64) -> Option<Timestamp> {
        let boot = i128::from(self.steady(measure()));
        let after = i128::from(ticks) * SECOND / i128::from(clock_ticks_per_second());
        Timestamp::from_millisecond(((boot + after) / MILLISECOND).try_into().ok()?).ok()
    }

    /// The boot time of an earlier measurement, unless the clock was set since then.
    fn steady(&self, measured: i64) -> i64 {
        let known = self.boot.load(Ordering::Relaxed);
        if known.abs_diff(measured) <= TOLERANCE {
            return known;
        }
        self.boot.store(measured, Ordering::Relaxed);
        measured
    }
}

/// The boot as the clocks say now, in nanoseconds since 1970.
fn measure() -> i64 {
    let nanoseconds = |clock| {
        let time = clock_gettime(clock);
        i128::from(time.tv_sec) * SECOND + i128::from(time.tv_nsec)
    };
    let boot = nanoseconds(ClockId::Realtime) - nanoseconds(ClockId::Boottime);
    i64::try_from(boot).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_time_changes_only_with_the_clock() {
        let clock = BootClock::default();
        let boot = 1_795_000_000_000_000_000;
        assert_eq!(clock.steady(boot), boot);
        assert_eq!(clock.steady(boot + 3_000), boot);
        assert_eq!(clock.steady(boot - 9_000_000), boot);
        let set = boot + 3_600_000_000_000;
        assert_eq!(clock.steady(set), set);
        assert_eq!(clock.steady(set - 1), set);
    }

    #[test]
    fn a_tick_is_a_hundredth_of_a_second() {
        let clock = BootClock::default();
        let (boot, later) = (clock.time_of(0).expect("a time"), clock.time_of(12_345).expect("a time"));
        assert_eq!(later.duration_since(boot).as_millis(), 123_450);
        assert_eq!(clock.time_of(u64::MAX), None);
    }
}
