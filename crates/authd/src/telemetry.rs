//! The log: one writer, to stderr. It never holds a secret: our own types cannot be printed, and the
//! libraries that see secrets are held at `warn`, whatever anybody asks for.

use std::io;

use tracing::{level_filters::LevelFilter, warn};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

use crate::config::{Log, LogFormat};

/// The crates whose own logs may hold headers, bodies or URLs with a query.
const SEE_SECRETS: [&str; 9] =
    ["hyper", "hyper_util", "reqwest", "rustls", "h2", "zbus", "axum", "tower", "secret_service"];

/// The log, and the handle that changes its filter.
pub struct Telemetry {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Telemetry {
    /// Starts the log. To be called once.
    pub fn start(log: &Log) -> Self {
        let (filter, handle) = reload::Layer::new(filter(log));
        let plain = log.format == LogFormat::Plain || std::env::var_os("JOURNAL_STREAM").is_some();
        let layer = fmt::layer().with_writer(io::stderr).with_ansi(false).with_target(false);
        let layer = match log.format {
            LogFormat::Json => layer.json().boxed(),
            LogFormat::Auto | LogFormat::Plain if plain => layer.without_time().boxed(),
            LogFormat::Auto | LogFormat::Plain => layer.boxed(),
        };
        tracing_subscriber::registry().with(filter).with(layer).init();
        Self { filter: handle }
    }

    /// Takes over another filter.
    pub fn reload(&self, log: &Log) {
        if let Err(error) = self.filter.reload(filter(log)) {
            warn!(%error, "the log's filter was not changed");
        }
    }
}

/// What `RUST_LOG` says, else the configuration; with the clamp on those that see secrets.
fn filter(log: &Log) -> EnvFilter {
    let asked = std::env::var("RUST_LOG").ok().filter(|asked| !asked.trim().is_empty());
    clamped(asked.as_deref().unwrap_or(&log.filter))
}

fn clamped(asked: &str) -> EnvFilter {
    let own = asked.split(',').filter(|directive| !SEE_SECRETS.iter().any(|name| names(directive, name)));
    let clamps = SEE_SECRETS.map(|name| format!("{name}=warn"));
    let all: Vec<&str> = own.chain(clamps.iter().map(String::as_str)).collect();
    EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse_lossy(all.join(","))
}

/// Whether a directive is about a crate or a module of it: such a directive would win by being longer.
fn names(directive: &str, crate_name: &str) -> bool {
    directive.trim().split(['=', ':', '[']).next().is_some_and(|target| target == crate_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_turn_on_what_sees_secrets() {
        for asked in ["trace", "hyper=trace", "reqwest::connect=trace,info", "hyper_util[span]=trace", ""] {
            let filter = clamped(asked).to_string();
            for name in SEE_SECRETS {
                assert!(filter.contains(&format!("{name}=warn")), "{asked}: {filter}");
                assert!(!filter.contains(&format!("{name}=trace")), "{asked}: {filter}");
                assert!(!filter.contains(&format!("{name}::")), "{asked}: {filter}");
            }
        }
    }
}
