//! The messages and rules of the protocol, one module for each.
#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails by panicking")]

mod claims;
mod client;
mod codex;
mod device;
mod error_responses;
mod modes;
mod own_credentials;
mod pkce;
mod provider;
mod quota;
mod records;
mod refusals;
mod routing;
mod schedule;
mod sign_in;
mod token_responses;
