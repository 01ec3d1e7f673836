//! The log, written to stderr; the service manager stores it. It never contains a secret: our
//! secret types cannot be formatted, and messages of other crates below a warning are dropped
//! whatever the filter says, because they can contain headers, bodies and URLs.

use std::{
    env, io,
    panic::{self, PanicHookInfo},
};

use tracing::{Level, Metadata, Subscriber, error, level_filters::LevelFilter, warn};
use tracing_subscriber::{
    Layer, Registry,
    filter::{FilterFn, Targets, filter_fn},
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::config::{LogConfig, LogFormat};

/// The crates that may log below a warning. An allow list, so that a new dependency changes
/// nothing.
const OWN_CRATES: [&str; 6] =
    ["authd", "authd_api", "authd_broker", "authd_fleet", "authd_oauth", "authd_store"];

/// The running log. A clone is the same log.
#[derive(Clone)]
pub struct Telemetry {
    filter: FilterHandle,
}

type FilterHandle = reload::Handle<Targets, Registry>;

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineFormat {
    WithTime,
    WithoutTime,
    Json,
}

impl Telemetry {
    /// Starts the log and sends panics to it. Must be called once.
    pub fn start(log: &LogConfig) -> Self {
        let (subscriber, filter) =
            subscriber(&requested_filter(log), line_format(log.format, is_journal()), io::stderr);
        subscriber.init();
        panic::set_hook(Box::new(log_panic));
        Self { filter }
    }

    /// Replaces the filter. The format stays.
    pub fn reload(&self, log: &LogConfig) {
        if let Err(error) = self.filter.reload(filter(&requested_filter(log))) {
            warn!(%error, "log filter not changed");
        }
    }
}

/// The filter of `RUST_LOG`, else of the configuration.
fn requested_filter(log: &LogConfig) -> String {
    env::var("RUST_LOG").ok().filter(|filter| !filter.trim().is_empty()).unwrap_or_else(|| log.filter.clone())
}

fn line_format(format: LogFormat, journal: bool) -> LineFormat {
    match (format, journal) {
        (LogFormat::Json, _) => LineFormat::Json,
        (LogFormat::Plain, _) | (LogFormat::Auto, true) => LineFormat::WithoutTime,
        (LogFormat::Auto, false) => LineFormat::WithTime,
    }
}

/// Whether stderr is the journal. systemd sets `JOURNAL_STREAM` to device and inode of the stream,
/// because a program started by a service inherits the variable, but not always the stream.
fn is_journal() -> bool {
    let Ok(journal) = env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(io::stderr())
        .is_ok_and(|stream| journal == format!("{}:{}", stream.st_dev, stream.st_ino))
}

fn subscriber<W>(
    requested: &str,
    line_format: LineFormat,
    writer: W,
) -> (impl Subscriber + Send + Sync, FilterHandle)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(requested));
    let lines = fmt::layer().with_writer(writer).with_ansi(false).with_target(false);
    let lines = match line_format {
        LineFormat::WithTime => lines.boxed(),
        LineFormat::WithoutTime => lines.without_time().boxed(),
        LineFormat::Json => lines.json().boxed(),
    };
    (tracing_subscriber::registry().with(filter).with(own_crates_or_warnings()).with(lines), handle)
}

/// Parses the valid parts of a filter; without any, the level is `info`. `RUST_LOG` may be set for
/// other programs, with a syntax that only they know.
fn filter(requested: &str) -> Targets {
    let is_valid = |part: &&str| !part.trim().is_empty() && part.parse::<Targets>().is_ok();
    let parts: Vec<&str> = requested.split(',').filter(is_valid).collect();
    let parsed = parts.join(",").parse::<Targets>().ok().filter(|_| !parts.is_empty());
    parsed.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
}

/// The rule above all filters. It is a layer of its own because a longer directive could override
/// one in a filter.
fn own_crates_or_warnings() -> FilterFn {
    filter_fn(|metadata: &Metadata<'_>| *metadata.level() <= Level::WARN || is_own(metadata.target()))
}

fn is_own(target: &str) -> bool {
    target.split("::").next().is_some_and(|name| OWN_CRATES.contains(&name))
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    error!(location, "panicked: {}", message.unwrap_or("no message"));
}

#[cfg(test)]
mod tests;
