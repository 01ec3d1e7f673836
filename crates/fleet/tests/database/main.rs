//! The fleet against a real PostgreSQL server.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test panics where it cannot continue")]

mod errors;
mod fixture;
mod outages;
mod proxy;
mod records;
