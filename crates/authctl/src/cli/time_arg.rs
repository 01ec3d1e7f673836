//! A time on the command line: a number of seconds, or a time with its unit as in the
//! configuration.

use std::{str::FromStr, time::Duration};

use jiff::{Span, SpanRelativeTo};

/// The longest time that is accepted: no wait and no lifetime is longer.
const MAX: Duration = Duration::from_secs(366 * 86_400);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeArg(Duration);

impl TimeArg {
    pub(crate) fn duration(self) -> Duration {
        self.0
    }

    /// The time in seconds, rounded up.
    pub(crate) fn seconds(self) -> u64 {
        self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0)
    }
}

impl FromStr for TimeArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = match text.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => span(text),
        };
        time.filter(|time| *time <= MAX)
            .map(Self)
            .ok_or("not seconds or a time with its unit, such as 90, 5m, 12h or 7d")
    }
}

/// A time with its unit. A day has 24 hours; longer units have no fixed length.
fn span(text: &str) -> Option<Duration> {
    let span: Span = text.parse().ok()?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_times_with_a_unit_are_accepted() {
        for (text, seconds) in [
            ("0", 0),
            ("90", 90),
            ("5m", 300),
            ("1h 30m", 5400),
            ("PT2M", 120),
            ("1.5h", 5400),
            ("500ms", 1),
            ("7d", 604_800),
        ] {
            assert_eq!(text.parse().map(TimeArg::seconds), Ok(seconds), "{text}");
        }
        assert_eq!("500ms".parse().map(TimeArg::duration), Ok(Duration::from_millis(500)));
        for text in
            ["", "m", "5 apples", "-5m", "-5", "1.5", "1mo", "99999999999999999999", "18446744073709551615"]
        {
            assert!(text.parse::<TimeArg>().is_err(), "{text}");
        }
    }
}
