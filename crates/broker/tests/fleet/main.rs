//! Brokers of several nodes that share their grants in one PostgreSQL database. The provider's
//! ledger is the judge: a refresh token that is sent twice revokes its whole family.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed test panics")]

mod failures;
mod fixture;
mod migration;
mod nodes;
#[path = "../support/mod.rs"]
mod support;
mod unread_list;
