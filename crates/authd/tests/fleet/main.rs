//! Five daemons share their logins in a PostgreSQL server, while daemons are killed and paused, the
//! server is killed and paused, and connections are cut. The provider's ledger is the judge: no
//! refresh token may be sent twice while its successor may still arrive.
//!
//! `AUTHD_FLEET_REFRESHES` sets the number of refreshes.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test panics where it cannot continue")]

mod chaos;
mod nodes;
mod proxy;
mod takeover;
