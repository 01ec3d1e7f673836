//! authd: the local daemon that owns OAuth logins, like ssh-agent for OAuth. The broker owns the
//! logins; this crate gives it an HTTP API on a Unix socket, a callback server, a relay, a
//! configuration and a process.
//!
//! ```text
//! app ─► http, callback, relay, hooks ─► audit ─► platform, config, telemetry ─► store_monitor
//! ```

mod app;
mod audit;
mod callback;
mod cli;
mod config;
mod hooks;
mod http;
mod platform;
mod relay;
mod request_head;
mod store_monitor;
mod telemetry;

pub use app::{App, Exit, StartError, check, used_paths};
pub use cli::{Args, CliAction, HELP};
pub use config::{Config, ConfigError, ConfigProblem, LogConfig, Source};
pub use platform::{Hardening, InheritedSockets, LockError, MemoryLock, SocketError, harden};
pub use telemetry::Telemetry;
