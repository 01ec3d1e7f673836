//! authd: the local daemon that owns OAuth logins, like ssh-agent for OAuth. It keeps the callback
//! server up, is the only owner of every refresh token, and answers on a Unix socket.
//!
//! Commands go down, snapshots come up, nothing goes sideways:
//!
//! ```text
//!   connections ─► server ─► logins ─► keeper ─► profile ─► oauth, store
//!                    │          ▲         │         │
//!       callback ────┼──────────┘         ▼         ▼
//!                    └─ reads ◄──── directory ◄── facts
//! ```
//!
//! What it never does: prompt, open a browser, or decide what `oauth` decides.

mod answer;
mod app;
mod blocking;
mod callback;
mod cli;
mod clock;
mod codex;
mod config;
mod connections;
mod diagnosis;
mod events;
mod facts;
mod hooks;
mod hygiene;
mod inherited;
mod keeper;
mod limits;
mod locks;
mod logins;
mod metrics;
mod notify;
mod peer;
mod profile;
mod relay;
mod reply;
mod sealed;
mod server;
mod signin;
mod socket;
mod telemetry;
mod tunnel;

pub use app::{App, Exit, StartError, check};
pub use cli::{Args, Asked, HELP};
pub use config::{Config, ConfigError, Source};
pub use hygiene::{Hygiene, harden};
pub use inherited::Inherited;
pub use telemetry::Telemetry;
