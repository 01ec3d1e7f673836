//! The real daemon over real sockets against the strict sandbox: every flow a person or a program goes
//! through, and everything that may go wrong on the way.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod again;
mod browser;
mod codex;
mod contract;
mod device;
mod doors;
mod egress;
mod etag;
mod figures;
mod headers;
mod life;
mod login;
mod news;
mod pipe;
mod relay;
#[cfg(target_os = "linux")]
mod stalled;
mod store;
mod support;
mod system;
mod uploads;
mod upstream;
mod websocket;
