//! Five daemons share their logins in a PostgreSQL server, while daemons are killed and paused, the
//! server is killed and paused, and connections are cut. Four of them run in network namespaces, if
//! root runs the test, and two have a wrong clock. The provider's ledger is the judge: no refresh
//! token may be sent twice while its successor may still arrive.
//!
//! `AUTHD_FLEET_REFRESHES` sets the number of refreshes.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test panics where it cannot continue")]

mod chaos;
mod namespace;
mod nodes;
mod proxy;
mod takeover;
