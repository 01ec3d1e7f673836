//! The log: one writer, to stderr. It never holds a secret: our own types cannot be printed, and other
//! people's crates, whose detail is headers, bodies and URLs, are not heard below a warning, whatever
//! anybody asks for. It keeps no file and rotates nothing: that is the service manager's.

use std::{
    env, io,
    panic::{self, PanicHookInfo},
};

use tracing::{Level, Metadata, Subscriber, error, level_filters::LevelFilter, warn};
use tracing_subscriber::{
    Layer, Registry,
    filter::{FilterFn, ParseError, Targets, filter_fn},
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::config::{Log, LogFormat};

/// The crates that may say more than warnings: ours, which have no way to print a secret. It is a list
/// of those that may, and not of those that may not, so that a new dependency changes nothing.
const OURS: [&str; 4] = ["authd", "authd_api", "authd_oauth", "authd_store"];

/// The log, and the handle that changes its filter.
pub struct Telemetry {
    filter: Handle,
}

type Handle = reload::Handle<Targets, Registry>;

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Timed,
    Untimed,
    Json,
}

impl Telemetry {
    /// Starts the log, and sends panics there. To be called once.
    pub fn start(log: &Log) -> Self {
        let (subscriber, filter) = subscriber(&asked(log), look(log.format, is_journal()), io::stderr);
        subscriber.init();
        panic::set_hook(Box::new(log_panic));
        Self { filter }
    }

    /// Takes over another filter; the look stays.
    pub fn reload(&self, log: &Log) {
        if let Err(error) = self.filter.reload(filter(&asked(log))) {
            warn!(%error, "the log's filter was not changed");
        }
    }
}

/// Whether a text is a filter.
pub(crate) fn check(filter: &str) -> Result<(), ParseError> {
    filter.parse::<Targets>().map(drop)
}

/// The filter that was asked for: what `RUST_LOG` says, else the configuration.
fn asked(log: &Log) -> String {
    env::var("RUST_LOG").ok().filter(|asked| !asked.trim().is_empty()).unwrap_or_else(|| log.filter.clone())
}

fn look(format: LogFormat, journal: bool) -> Look {
    match (format, journal) {
        (LogFormat::Json, _) => Look::Json,
        (LogFormat::Plain, _) | (LogFormat::Auto, true) => Look::Untimed,
        (LogFormat::Auto, false) => Look::Timed,
    }
}

/// Whether stderr is the journal: systemd names the stream by its device and inode, because programs
/// started from a service inherit the variable, but not always the stream.
fn is_journal() -> bool {
    let Ok(named) = env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(io::stderr())
        .is_ok_and(|stream| named == format!("{}:{}", stream.st_dev, stream.st_ino))
}

fn subscriber<W>(asked: &str, look: Look, writer: W) -> (impl Subscriber + Send + Sync, Handle)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(asked));
    let lines = fmt::layer().with_writer(writer).with_ansi(false).with_target(false);
    let lines = match look {
        Look::Timed => lines.boxed(),
        Look::Untimed => lines.without_time().boxed(),
        Look::Json => lines.json().boxed(),
    };
    (tracing_subscriber::registry().with(filter).with(clamp()).with(lines), handle)
}

/// What can be read of a filter; where that is nothing, what is worth knowing. `RUST_LOG` may be meant for
/// other programs, and may hold words that are only theirs.
fn filter(asked: &str) -> Targets {
    let reads = |part: &&str| !part.trim().is_empty() && part.parse::<Targets>().is_ok();
    let parts: Vec<&str> = asked.split(',').filter(reads).collect();
    let read = parts.join(",").parse::<Targets>().ok().filter(|_| !parts.is_empty());
    read.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
}

/// The rule above all filters. It is a layer of its own because no directive in a filter is safe from a
/// longer one.
fn clamp() -> FilterFn {
    filter_fn(|metadata: &Metadata<'_>| *metadata.level() <= Level::WARN || is_ours(metadata.target()))
}

fn is_ours(target: &str) -> bool {
    target.split("::").next().is_some_and(|name| OURS.contains(&name))
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let said = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    error!(place, "panicked: {}", said.unwrap_or("for no reason that can be shown"));
}

#[cfg(test)]
mod tests;
