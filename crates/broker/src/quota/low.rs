//! Which windows have become low: each is announced once, until it starts again.

use authd_oauth::quota::{Percent, QuotaWindow};
use jiff::{SignedDuration, Timestamp};

/// How long a window is remembered after its reset: the provider may state it a little longer.
const KEPT: SignedDuration = SignedDuration::from_mins(5);

/// Most remembered windows.
const MAX_REMEMBERED: usize = 64;

/// The windows that were announced, each with the reset that was stated last.
#[derive(Debug, Default)]
pub(super) struct AnnouncedWindows(Vec<QuotaWindow>);

impl AnnouncedWindows {
    /// The windows of a reading that have at most `low` percent left, and were not announced. Now
    /// they are. With `low` 0 there are none.
    pub(super) fn announce(&mut self, windows: &[QuotaWindow], low: u8, now: Timestamp) -> Vec<QuotaWindow> {
        let Some(low) = Percent::new(low.into()).filter(|_| low > 0) else { return Vec::new() };
        self.0.retain(|known| !known.is_over(now.saturating_sub(KEPT).unwrap_or(now)));
        let mut announced = Vec::new();
        for window in windows.iter().filter(|window| !window.is_over(now)) {
            let is_known = |known: &QuotaWindow| known.is_same_window(window) && known.resets_with(window);
            let known = self.0.iter().position(is_known);
            let is_low = window.used.left() <= low;
            match known {
                // The reset may move by seconds with each reading.
                Some(index) if is_low => {
                    self.0[index].resets_at = window.resets_at.or(self.0[index].resets_at);
                }
                // Without the time of a reset, more room is the sign of one. With it, the same
                // window has a figure that was rounded otherwise.
                Some(index) if window.resets_at.is_none() || self.0[index].resets_at.is_none() => {
                    self.0.remove(index);
                }
                None if is_low => {
                    self.0.push(window.clone());
                    announced.push(window.clone());
                }
                Some(_) | None => {}
            }
        }
        let excess = self.0.len().saturating_sub(MAX_REMEMBERED);
        self.0.drain(..excess);
        announced
    }
}

#[cfg(test)]
mod tests {
    use authd_oauth::quota::Limit;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    fn window(used: f64, resets_at: Option<i64>) -> QuotaWindow {
        QuotaWindow {
            limit: Limit::Account,
            seconds: Some(18_000),
            used: Percent::new(used).unwrap(),
            resets_at: resets_at.map(at),
            as_of: at(0),
        }
    }

    /// How many windows each reading announces, given as its time, used percent and reset.
    fn announced(readings: &[(i64, f64, Option<i64>)]) -> Vec<usize> {
        let mut known = AnnouncedWindows::default();
        let announce = |(now, used, reset): &(i64, f64, Option<i64>)| {
            known.announce(&[window(*used, *reset)], 10, at(*now)).len()
        };
        readings.iter().map(announce).collect()
    }

    #[test]
    fn window_is_announced_once_until_it_starts_again() {
        let reset = 9000;
        let readings = [
            (0, 89.9, Some(reset)),
            (10, 90.0, Some(reset)),
            (20, 95.0, Some(reset + 3)),
            // A reading that is rounded otherwise is of the same window.
            (30, 89.0, Some(reset - 2)),
            (40, 91.0, Some(reset)),
            // The provider states the old window for some seconds after its reset.
            (reset + 4, 91.0, None),
            (reset + 10, 0.0, Some(reset + 18_000)),
            (reset + 900, 93.0, Some(reset + 18_000)),
            (reset + 910, 94.0, Some(reset + 18_001)),
        ];
        assert_eq!(announced(&readings), [0, 1, 0, 0, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn reset_that_creeps_is_the_same_window_and_one_that_jumps_is_another() {
        let creeping: Vec<_> = (0..100).map(|n| (n * 60, 95.0, Some(9000 + n * 60))).collect();
        assert_eq!(announced(&creeping).iter().sum::<usize>(), 1);
        // The provider has reset the window ahead of its time.
        let jumping = [(0, 95.0, Some(9000)), (60, 1.0, Some(18_060)), (120, 95.0, Some(18_060))];
        assert_eq!(announced(&jumping), [1, 0, 1]);
    }

    #[test]
    fn window_without_a_reset_is_announced_again_after_it_had_room() {
        let readings = [(0, 95.0, None), (10, 96.0, None), (20, 50.0, None), (30, 95.0, None)];
        assert_eq!(announced(&readings), [1, 0, 0, 1]);
    }

    #[test]
    fn windows_are_told_apart_and_zero_turns_it_off() {
        let week = QuotaWindow { seconds: Some(604_800), ..window(92.0, Some(9000)) };
        let spark = Limit::Named { id: "codex_bengalfox".into(), name: None };
        let model = QuotaWindow { limit: spark, ..window(93.0, Some(9000)) };
        let windows = [window(91.0, Some(9000)), week, model];
        let mut known = AnnouncedWindows::default();
        assert_eq!(known.announce(&windows, 10, at(0)), windows);
        assert_eq!(known.announce(&windows, 10, at(1)), []);
        // What is over by now says nothing.
        assert_eq!(AnnouncedWindows::default().announce(&windows, 10, at(9000)), []);
        assert_eq!(AnnouncedWindows::default().announce(&[window(100.0, None)], 0, at(0)), []);
    }
}
