//! Where and when a text is shown.

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    output::{Output, Style},
    time,
};

/// Where and when a text is shown.
pub(crate) struct Screen {
    pub(crate) now: Timestamp,
    pub(crate) zone: TimeZone,
    /// The columns of the terminal; `None` for a file or a pipe, whose lines are not cut.
    pub(crate) width: Option<usize>,
    pub(crate) style: Style,
}

impl Screen {
    /// Standard output, now.
    pub(crate) fn stdout(out: Output) -> Self {
        Self { now: time::now(), zone: TimeZone::system(), width: out.width(), style: out.stdout_style }
    }

    /// Standard error, now.
    pub(crate) fn stderr(out: Output) -> Self {
        Self { style: out.stderr_style, ..Self::stdout(out) }
    }

    /// A point in time, relative to now and as the local clock shows it.
    pub(crate) fn time(&self, at: Timestamp) -> String {
        format!("{} ({})", time::relative(at, self.now), time::clock_time(at, self.now, &self.zone))
    }
}
