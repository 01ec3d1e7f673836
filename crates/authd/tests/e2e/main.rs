//! End-to-end tests: the daemon's binary over real sockets against the strict sandbox.
#![expect(clippy::unwrap_used, reason = "a test panics where it cannot continue")]

mod access;
mod added_providers;
mod audit;
mod audit_actions;
#[cfg(target_os = "linux")]
mod audit_disk;
#[cfg(target_os = "linux")]
mod audit_process;
#[cfg(target_os = "linux")]
mod audit_strace;
#[expect(dead_code, reason = "each target uses a part of it")]
#[path = "../authorization_server/mod.rs"]
mod authorization_server;
mod bearer_limits;
mod bearer_profile;
mod bearer_refresh;
mod bearer_relay;
mod browser;
mod callback_addresses;
mod codex;
mod codex_homes;
mod contract;
mod defined_clients;
mod defined_device;
mod defined_login;
mod defined_secrets;
mod desktop_session;
mod device;
mod doors;
mod egress;
mod etag;
mod events;
#[cfg(target_os = "linux")]
mod fleet;
mod fleet_settings;
mod framing;
mod headers;
mod helpers;
mod lifecycle;
mod login;
mod metrics;
mod metrics_port;
#[cfg(target_os = "linux")]
mod namespaces;
mod own_credentials;
mod own_tokens;
mod providers;
mod quota;
mod refusals;
mod relay;
mod relay_stream;
mod retry;
mod routing;
mod share;
mod share_attacks;
mod share_browser;
mod share_client;
mod share_compat;
mod share_ends;
mod share_hold;
mod share_paths;
mod share_secrets;
mod share_status;
#[cfg(target_os = "linux")]
mod stalled_tunnel;
mod step_up;
mod store;
mod system_faults;
mod unread_bodies;
mod upstream;
mod websocket;
