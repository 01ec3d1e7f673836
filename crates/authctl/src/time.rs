//! Points in time as text: relative to now, and as the local clock time.

use jiff::{Timestamp, tz::TimeZone};

/// jiff's own formatting of a pattern would link code for every possible pattern.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[expect(clippy::disallowed_methods, reason = "the one place where this program reads the clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// The distance from now in its two largest units: `in 52 min`, `3 d 4 h ago`, `now`.
pub(crate) fn relative(time: Timestamp, now: Timestamp) -> String {
    let seconds = time.as_second() - now.as_second();
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {}", duration(seconds.unsigned_abs())),
        ..0 => format!("{} ago", duration(seconds.unsigned_abs())),
    }
}

/// A duration in its two largest units, rounded down: `45 s`, `52 min`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) if minutes % 60 == 0 => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ if hours % 24 == 0 => format!("{days} d"),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// The time left, in minutes and seconds: `14:32`. Never negative.
pub(crate) fn countdown(until: Timestamp, now: Timestamp) -> String {
    let left = (until.as_second() - now.as_second()).max(0);
    format!("{}:{:02}", left / 60, left % 60)
}

/// The time in a zone: `15:04` if it is less than half a day away, else `25 Nov 15:04`.
pub(crate) fn clock_time(time: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let is_near = time.as_second().abs_diff(now.as_second()) < 86_400 / 2;
    let local = time.to_zoned_datetime(zone.clone());
    let clock = format!("{:02}:{:02}", local.hour(), local.minute());
    let month = MONTHS[usize::from(local.month().unsigned_abs()) - 1];
    if is_near { clock } else { format!("{} {month} {clock}", local.day()) }
}

/// The time in a zone with seconds: `15:04:05`.
pub(crate) fn clock_time_with_seconds(time: Timestamp, zone: &TimeZone) -> String {
    let local = time.to_zoned_datetime(zone.clone());
    format!("{:02}:{:02}:{:02}", local.hour(), local.minute(), local.second())
}

/// The day and the time in a zone: ` 4 Nov 09:05:30`. Always 15 columns.
pub(crate) fn date_time(time: Timestamp, zone: &TimeZone) -> String {
    let local = time.to_zoned_datetime(zone.clone());
    let month = MONTHS[usize::from(local.month().unsigned_abs()) - 1];
    format!("{:>2} {month} {}", local.day(), clock_time_with_seconds(time, zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_764_000_000 + seconds).unwrap()
    }

    #[test]
    fn relative_time_has_two_units() {
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
        for (seconds, expected) in cases {
            assert_eq!(relative(at(seconds), at(0)), expected);
        }
        assert!(relative(Timestamp::MAX, Timestamp::MIN).starts_with("in "));
    }

    #[test]
    fn countdown_stops_at_zero() {
        assert_eq!(countdown(at(14 * 60 + 32), at(0)), "14:32");
        assert_eq!(countdown(at(5), at(0)), "0:05");
        assert_eq!(countdown(at(-5), at(0)), "0:00");
    }

    #[test]
    fn clock_time_shows_the_date_only_when_far_away() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let now = "2026-11-23T14:00:00Z".parse().unwrap();
        let near = "2026-11-23T16:30:00Z".parse().unwrap();
        let far = "2026-11-25T08:05:00Z".parse().unwrap();
        assert_eq!(clock_time(near, now, &zone), "17:30");
        assert_eq!(clock_time(far, now, &zone), "25 Nov 09:05");
    }
}
