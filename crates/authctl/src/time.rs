//! Moments as people say them: how long from now, and what the clock on the wall will show.

use jiff::{Timestamp, tz::TimeZone};

/// As they are told. What prints by a pattern would print by any, and all of that would be linked.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// This moment: the one place where this program reads the clock.
#[expect(clippy::disallowed_methods, reason = "the one place where this program reads the clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// How far a moment is from now, in its two largest units: `in 52 min`, `3 d 4 h ago`, `now`.
pub(crate) fn relative(moment: Timestamp, now: Timestamp) -> String {
    let seconds = moment.as_second() - now.as_second();
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {}", length(seconds.unsigned_abs())),
        ..0 => format!("{} ago", length(seconds.unsigned_abs())),
    }
}

/// A length of time in its two largest units, rounded down: `45 s`, `52 min`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn length(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {small_unit}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => two(hours, "h", minutes % 60, "min"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// What is left until a moment, as a countdown shows it: `14:32`. Nothing is left of the past.
pub(crate) fn countdown(until: Timestamp, now: Timestamp) -> String {
    let left = (until.as_second() - now.as_second()).max(0);
    format!("{}:{:02}", left / 60, left % 60)
}

/// A moment on the wall clock of a place: `15:04` within half a day, else `25 Nov 15:04`.
pub(crate) fn on_the_clock(moment: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let near = moment.as_second().abs_diff(now.as_second()) < 86_400 / 2;
    let there = moment.to_zoned_datetime(zone.clone());
    let time = format!("{:02}:{:02}", there.hour(), there.minute());
    let month = MONTHS[usize::from(there.month().unsigned_abs()) - 1];
    if near { time } else { format!("{} {month} {time}", there.day()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_764_000_000 + seconds).unwrap()
    }

    #[test]
    fn moments_are_told_from_now() {
        let cases = [
            (0, "now"),
            (1, "in 1 s"),
            (59, "in 59 s"),
            (60, "in 1 min"),
            (52 * 60 + 59, "in 52 min"),
            (3600, "in 1 h"),
            (2 * 3600 + 5 * 60, "in 2 h 5 min"),
            (86_400 - 1, "in 23 h 59 min"),
            (3 * 86_400 + 4 * 3600, "in 3 d 4 h"),
            (10 * 86_400, "in 10 d"),
            (-1, "1 s ago"),
            (-3 * 60, "3 min ago"),
            (-(86_400 + 3600), "1 d 1 h ago"),
        ];
        for (seconds, words) in cases {
            assert_eq!(relative(at(seconds), at(0)), words);
        }
        assert!(relative(Timestamp::MAX, Timestamp::MIN).starts_with("in "));
    }

    #[test]
    fn a_countdown_ends_at_nothing() {
        assert_eq!(countdown(at(14 * 60 + 32), at(0)), "14:32");
        assert_eq!(countdown(at(5), at(0)), "0:05");
        assert_eq!(countdown(at(-5), at(0)), "0:00");
    }

    #[test]
    fn the_clock_shows_the_day_only_when_it_is_another() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let now = "2026-11-23T14:00:00Z".parse().unwrap();
        let near = "2026-11-23T16:30:00Z".parse().unwrap();
        let far = "2026-11-25T08:05:00Z".parse().unwrap();
        assert_eq!(on_the_clock(near, now, &zone), "17:30");
        assert_eq!(on_the_clock(far, now, &zone), "25 Nov 09:05");
    }
}
