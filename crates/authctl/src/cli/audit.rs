//! The arguments of `audit`.

use std::str::FromStr;

use clap::Args;
use jiff::Timestamp;

use super::TimeArg;

#[derive(Args, Debug)]
pub(crate) struct AuditArgs {
    /// Print new entries as they arrive
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Print entries from this time on, for example 1h (ago) or 2026-11-23T14:00:00Z [default: all
    /// that are kept]
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<SinceArg>,
}

/// A time, or how long it is ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SinceArg {
    Ago(TimeArg),
    At(Timestamp),
}

impl SinceArg {
    pub(crate) fn timestamp(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(ago) => now.checked_sub(ago.duration()).unwrap_or(Timestamp::MIN),
            Self::At(at) => at,
        }
    }
}

impl FromStr for SinceArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at = || text.parse().ok().map(Self::At);
        let since = text.parse().ok().map(Self::Ago).or_else(at);
        since.ok_or("not a time such as 1h (ago), 7d or 2026-11-23T14:00:00Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_a_timestamp_or_how_long_it_is_ago() {
        let now: Timestamp = "2026-11-23T14:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("1h", "2026-11-23T13:00:00Z"),
            ("90", "2026-11-23T13:58:30Z"),
            ("2026-11-20T08:00:00+01:00", "2026-11-20T07:00:00Z"),
        ] {
            let since = text.parse::<SinceArg>().unwrap().timestamp(now);
            assert_eq!(since, expected.parse().unwrap(), "{text}");
        }
        for text in ["", "yesterday", "-1h", "2026-11-20", "14:00"] {
            assert!(text.parse::<SinceArg>().is_err(), "{text}");
        }
    }
}
